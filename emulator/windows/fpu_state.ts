// SPDX-License-Identifier: Apache-2.0
/**
 * The x87 and SSE registers of the threads: one thread's are in the CPU, the others' in kernel memory. And
 * their two forms in a CONTEXT: FLOATING_SAVE_AREA (as FNSAVE writes it) and ExtendedRegisters (FXSAVE).
 *
 * Source: Intel SDM volume 1, sections 8.1.10 and 10.5.1; winnt.h.
 *
 * @module
 */
import { FPU_AREA } from "./boot.ts";
import type { ProcessorTables } from "./boot.ts";
import { get16, get32, put16, put32 } from "./bytes.ts";
import type { KernelMemory } from "./kernel_memory.ts";
import type { Thread } from "./process.ts";

/** Offsets in an FXSAVE area. */
const Fx = {
  control: 0,
  status: 2,
  tags: 4,
  opcode: 6,
  instruction: 8,
  instructionSelector: 12,
  operand: 16,
  operandSelector: 20,
  mxcsr: 24,
  mxcsrMask: 28,
  registers: 32,
} as const;
/** MXCSR bits of a processor that says nothing of them: all but denormals-are-zeros. */
const DEFAULT_MXCSR = 0xffbf;

/** Whose registers are in the CPU. */
export class FpuState {
  private owner: Thread | undefined;

  constructor(
    private readonly memory: KernelMemory,
    private readonly tables: ProcessorTables,
    private readonly threads: readonly Thread[],
  ) {}

  /** Puts a thread's registers into the CPU; false when they are there. General registers must be out. */
  take(thread: Thread): boolean {
    if (this.owner === thread) return false;
    this.store();
    thread.fpuArea ||= this.tables.newFpuArea() ?? 0;
    if (thread.fpuArea !== 0) this.tables.moveFpu(thread.fpuArea, true);
    this.owner = thread;
    return true;
  }

  /** Brings the area of the thread whose registers are in the CPU up to date. */
  private store(): void {
    const { owner } = this;
    if (owner && owner.fpuArea !== 0 && this.threads.includes(owner)) {
      this.tables.moveFpu(owner.fpuArea, false);
    }
  }

  /** A thread's registers as FXSAVE writes them. General registers must be out of the CPU. */
  read(thread: Thread): Uint8Array {
    if (this.owner === thread) this.store();
    thread.fpuArea ||= this.tables.newFpuArea() ?? 0;
    return thread.fpuArea === 0 ? new Uint8Array(FPU_AREA) : this.memory.read(thread.fpuArea, FPU_AREA);
  }

  /** Gives a thread registers, made such that FXRSTOR takes them. */
  write(thread: Thread, area: Uint8Array): void {
    const known = this.read(thread);
    if (thread.fpuArea === 0) return;
    const bytes = area.slice();
    const mask = get32(known, Fx.mxcsrMask) || DEFAULT_MXCSR;
    put32(bytes, Fx.mxcsr, get32(bytes, Fx.mxcsr) & mask);
    put32(bytes, Fx.mxcsrMask, get32(known, Fx.mxcsrMask));
    this.memory.write(thread.fpuArea, bytes);
    if (this.owner === thread) this.tables.moveFpu(thread.fpuArea, true);
  }
}

/** Unmasked exceptions that the x87 status word reports: bits as in it, with bit 6 for a stack fault. */
export function pendingX87(area: Uint8Array): number {
  const status = get16(area, Fx.status);
  return (status & ~get16(area, Fx.control) & 0x3f) | (status & 0x40);
}

/** Unmasked exceptions that MXCSR reports, bits as in it. */
export function pendingSse(area: Uint8Array): number {
  const mxcsr = get32(area, Fx.mxcsr);
  return mxcsr & ~(mxcsr >>> 7) & 0x3f;
}

/** Address of the last x87 instruction that was not a control one; 0 when it is not known. */
export function x87Instruction(area: Uint8Array): number {
  return get32(area, Fx.instruction);
}

/** Bytes of a FLOATING_SAVE_AREA. */
export const FLOAT_SAVE_SIZE = 0x70;
const FLOAT_REGISTERS = 28;

/** Two-bit tag of a register's content: 0 valid, 1 zero, 2 special. */
function tagOf(area: Uint8Array, at: number): number {
  const exponent = get16(area, at + 8) & 0x7fff;
  const [low, high] = [get32(area, at), get32(area, at + 4)];
  if (exponent === 0) return low === 0 && high === 0 ? 1 : 2;
  return exponent === 0x7fff || high < 0x8000_0000 ? 2 : 0;
}

/** The FLOATING_SAVE_AREA of an FXSAVE area. */
export function floatSaveOf(area: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FLOAT_SAVE_SIZE);
  const top = (get16(area, Fx.status) >>> 11) & 7;
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    const isUsed = (area[Fx.tags] >>> i) & 1;
    const at = Fx.registers + 16 * ((i - top) & 7);
    tags |= (isUsed ? tagOf(area, at) : 3) << (2 * i);
    bytes.set(area.subarray(Fx.registers + 16 * i, Fx.registers + 16 * i + 10), FLOAT_REGISTERS + 10 * i);
  }
  const words = [
    0xffff_0000 | get16(area, Fx.control),
    0xffff_0000 | get16(area, Fx.status),
    0xffff_0000 | tags,
    get32(area, Fx.instruction),
    get16(area, Fx.instructionSelector) | (get16(area, Fx.opcode) << 16),
    get32(area, Fx.operand),
    0xffff_0000 | get16(area, Fx.operandSelector),
  ];
  words.forEach((word, i) => put32(bytes, 4 * i, word));
  return bytes;
}

/** Takes the x87 registers of a FLOATING_SAVE_AREA into an FXSAVE area. */
export function applyFloatSave(area: Uint8Array, bytes: Uint8Array): void {
  put16(area, Fx.control, get16(bytes, 0));
  put16(area, Fx.status, get16(bytes, 4));
  const tags = get16(bytes, 8);
  area[Fx.tags] = 0;
  for (let i = 0; i < 8; i++) {
    if (((tags >>> (2 * i)) & 3) !== 3) area[Fx.tags] |= 1 << i;
    const from = FLOAT_REGISTERS + 10 * i;
    area.set(bytes.subarray(from, from + 10), Fx.registers + 16 * i);
  }
  put32(area, Fx.instruction, get32(bytes, 12));
  put16(area, Fx.instructionSelector, get16(bytes, 16));
  put16(area, Fx.opcode, get16(bytes, 18) & 0x7ff);
  put32(area, Fx.operand, get32(bytes, 20));
  put16(area, Fx.operandSelector, get16(bytes, 24));
}
