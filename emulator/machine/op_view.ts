// SPDX-License-Identifier: Apache-2.0
/** An op record as helpers see it: operands of the current instruction. @module */
import type { Core } from "./core.ts";
import { GuestFault, Vector } from "./fault.ts";
import { Op, OpInfo, SEGMENT_SIZE, SegmentField, State } from "./layout.ts";

/** A view that is moved from op to op. */
export class OpView {
  readonly #core: Core;
  #w = 0;
  info = 0;

  constructor(core: Core) {
    this.#core = core;
  }
  set(op: number, info: number): void {
    this.#w = op >>> 2;
    this.info = info;
  }
  #word(field: number): number {
    return this.#core.words[this.#w + (field >> 2)];
  }
  get immediate(): number {
    return this.#word(Op.immediate);
  }
  /** Second immediate: selector of a far pointer, nesting level of ENTER. */
  get second(): number {
    return this.#word(Op.taken);
  }
  /** Opcode byte, plus 256 behind 0F. */
  get opcode(): number {
    return this.#word(Op.fallthrough) & 0xffff;
  }
  get modrm(): number {
    return this.#word(Op.fallthrough) >>> 16;
  }
  get eip(): number {
    return this.#word(Op.eip);
  }
  get next(): number {
    return this.#word(Op.next);
  }
  /** Operand size in bytes: 2 or 4. */
  get size(): 2 | 4 {
    return (this.info >> OpInfo.operand16) & 1 ? 2 : 4;
  }
  get addressMask(): number {
    return this.#word(Op.mask);
  }
  get reg(): number {
    return (this.info >> OpInfo.reg) & 7;
  }
  get rm(): number {
    return (this.info >> OpInfo.rm) & 7;
  }
  get isRegister(): boolean {
    return ((this.info >> OpInfo.isRegister) & 1) === 1;
  }
  get repeat(): number {
    return (this.info >> OpInfo.repeat) & 3;
  }
  get segment(): number {
    return (this.info >> OpInfo.segment) & 7;
  }
  /** Offset of the memory operand. */
  get offset(): number {
    const words = this.#core.words;
    const base = words[this.#word(Op.base) >>> 2], index = words[this.#word(Op.index) >>> 2];
    return (base + this.#word(Op.displacement) + (index << this.#word(Op.scale))) & this.#word(Op.mask);
  }
  /** Linear address of `size` bytes at an offset in a segment, checked against it. */
  linear(segment: number, offset: number, size: number, write: boolean): number {
    const core = this.#core;
    const at = State.segments + segment * SEGMENT_SIZE;
    const span = core.state(at + SegmentField.span) >>> 0;
    const from = (offset - core.state(at + SegmentField.low)) >>> 0;
    const denied = core.state(at + (write ? SegmentField.denyWrite : SegmentField.denyRead));
    if (denied || from > span || ((from + size - 1) >>> 0) > span) {
      throw new GuestFault(segment === 2 ? Vector.ss : Vector.gp, 0);
    }
    return (core.segmentBase(segment) + offset) | 0;
  }
  /** Linear address of the memory operand plus a distance. */
  memory(size: number, write: boolean, distance = 0): number {
    return this.linear(this.segment, (this.offset + distance) & this.addressMask, size, write);
  }
  /** The ModRM operand, zero-extended. */
  readRm(size: number): number {
    const core = this.#core;
    if (!this.isRegister) return core.read(this.memory(size, false), size);
    return size === 1 ? core.reg8(this.rm) : size === 2 ? core.reg16(this.rm) : core.reg(this.rm);
  }
  writeRm(size: number, value: number): void {
    const core = this.#core;
    if (!this.isRegister) core.write(this.memory(size, true), size, value);
    else this.writeRegister(this.rm, size, value);
  }
  writeRegister(register: number, size: number, value: number): void {
    const core = this.#core;
    if (size === 1) core.setReg8(register, value);
    else if (size === 2) core.setReg16(register, value);
    else core.setReg(register, value);
  }

  // The stack, for helpers that push and pop several values and must not change anything when one faults.

  /** Offset `distance` from the top of the stack. */
  stackOffset(distance: number): number {
    const core = this.#core;
    return (core.reg(4) + distance) & core.state(State.stackMask);
  }
  peek(distance: number, size: number): number {
    return this.#core.read(this.linear(2, this.stackOffset(distance), size, false), size);
  }
  poke(distance: number, size: number, value: number): void {
    this.#core.write(this.linear(2, this.stackOffset(distance), size, true), size, value);
  }
  moveStack(distance: number): void {
    const core = this.#core;
    const mask = core.state(State.stackMask);
    core.setReg(4, (core.reg(4) & ~mask) | ((core.reg(4) + distance) & mask));
  }
}
