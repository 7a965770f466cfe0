// SPDX-License-Identifier: Apache-2.0
/** State of the x87: register stack, control, status, and the pointers to the last instruction. @module */
import {
  type Environment,
  type Float80,
  FloatFlag,
  INDEFINITE,
  isNaN80,
  isZero,
  ROUNDED_UP,
  zero,
} from "./float80.ts";

const PRECISION = [24, 24, 53, 64];
const C1 = 0x200, STACK_FAULT = 0x40, SUMMARY = 0x8080;
/** Condition bits C0, C2, C3. */
export const CONDITION_BITS = 0x4500;

/** The x87 of one CPU. */
export class Fpu {
  control = 0x37f;
  /** Status word without TOP. */
  status = 0;
  top = 0;
  /** Registers by physical number; a set bit in `empty` means that there is none. */
  readonly registers: Float80[] = new Array<Float80>(8).fill(zero(0));
  empty = 0xff;
  ip = 0;
  cs = 0;
  opcode = 0;
  dp = 0;
  ds = 0;
  /** Flags and rounding of the current instruction. */
  readonly env: Environment = { rounding: 0, precision: 64, flags: 0 };

  init(): void {
    this.control = 0x37f;
    this.status = 0;
    this.top = 0;
    this.empty = 0xff;
    this.ip =
      this.cs =
      this.opcode =
      this.dp =
      this.ds =
        0;
  }
  /** The status word. */
  get statusWord(): number {
    return (this.status & ~0x3800) | (this.top << 11);
  }
  set statusWord(value: number) {
    this.status = value & 0x477f;
    this.top = (value >> 11) & 7;
    this.summarize();
  }
  /** ES and B tell whether an exception is pending that is not masked. */
  summarize(): void {
    if (this.status & ~this.control & 0x3f) this.status |= SUMMARY;
    else this.status &= ~SUMMARY;
  }
  get pending(): boolean {
    return (this.status & 0x80) !== 0;
  }
  /** The tag word: 0 valid, 1 zero, 2 special, 3 empty. */
  get tagWord(): number {
    let tags = 0;
    this.registers.forEach((r, i) => {
      const special = r.exponent === 0x7fff || r.exponent === 0 || r.significand >> 63n === 0n;
      tags |= ((this.empty >> i) & 1 ? 3 : isZero(r) ? 1 : special ? 2 : 0) << (2 * i);
    });
    return tags;
  }
  set tagWord(value: number) {
    this.empty = 0;
    for (let i = 0; i < 8; i++) if (((value >> (2 * i)) & 3) === 3) this.empty |= 1 << i;
  }

  /** Starts an instruction: its rounding, no flags yet. */
  begin(): Environment {
    this.env.rounding = (this.control >> 10) & 3;
    this.env.precision = PRECISION[(this.control >> 8) & 3];
    this.env.unmasked = ~this.control & (FloatFlag.overflow | FloatFlag.underflow);
    this.env.flags = 0;
    return this.env;
  }
  /**
   * Takes the flags into the status. False when an unmasked exception forbids the result; then nothing that would
   * have come of it is noted either. A result that is `stored` in memory is forbidden by overflow and underflow too.
   */
  end(stored = false): boolean {
    const { env } = this;
    const unmasked = env.flags & ~this.control;
    const range = FloatFlag.overflow | FloatFlag.underflow;
    const operand = (unmasked & (FloatFlag.invalid | FloatFlag.zeroDivide | FloatFlag.denormal)) !== 0;
    const forbidden = operand || (stored && (unmasked & range) !== 0);
    if (operand) env.flags &= ~(range | FloatFlag.precision);
    if (forbidden) {
      env.flags &= ~FloatFlag.precision;
      if (!(env.flags & STACK_FAULT)) env.flags &= ~ROUNDED_UP;
    }
    this.status = (this.status & ~C1) | (env.flags & 0x3f) | (env.flags & STACK_FAULT);
    if (env.flags & ROUNDED_UP) this.status |= C1;
    this.summarize();
    return !forbidden;
  }
  isEmpty(i: number): boolean {
    return ((this.empty >> ((this.top + i) & 7)) & 1) === 1;
  }
  /** ST(i); an empty one is a stack fault and gives the indefinite NaN. */
  get(i: number): Float80 {
    if (this.isEmpty(i)) {
      this.env.flags |= FloatFlag.invalid | STACK_FAULT;
      return INDEFINITE;
    }
    return this.registers[(this.top + i) & 7];
  }
  set(i: number, value: Float80): void {
    const at = (this.top + i) & 7;
    this.registers[at] = value;
    this.empty &= ~(1 << at);
  }
  pop(): void {
    this.empty |= 1 << this.top;
    this.top = (this.top + 1) & 7;
  }
  /** Pushes, unless an exception forbids it. A full stack is a fault and gives the indefinite NaN. */
  push(value: Float80): void {
    const full = !this.isEmpty(7);
    if (full) this.env.flags |= FloatFlag.invalid | STACK_FAULT | ROUNDED_UP;
    if (!this.end()) return;
    this.top = (this.top - 1) & 7;
    this.set(0, full ? INDEFINITE : value);
  }
  setConditions(bits: number): void {
    this.status = (this.status & ~CONDITION_BITS) | bits;
  }
  /** Class of a register for FXAM: C3, C2, C0. */
  classify(i: number): number {
    if (this.isEmpty(i)) return 0x4100;
    const r = this.registers[(this.top + i) & 7];
    if (isZero(r)) return 0x4000;
    if (r.exponent === 0) return 0x4400;
    if (r.significand >> 63n === 0n) return 0;
    if (isNaN80(r)) return 0x0100;
    return r.exponent === 0x7fff ? 0x0500 : 0x0400;
  }
}
