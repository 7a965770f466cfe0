// SPDX-License-Identifier: Apache-2.0
/**
 * What the CPU is to the rooms around it, and what it needs from them. The machine knows neither Windows nor
 * Xen: everything outside it is behind {@link CpuHost}.
 *
 * @module
 */

/** Bytes in a page frame. */
export const PAGE_SIZE = 4096;

/** Why an address is translated (bit 0 write, bit 1 fetch; both clear: read). */
export const Access = { read: 0, write: 1, fetch: 2 } as const;
/** One of {@link Access}. */
export type Access = (typeof Access)[keyof typeof Access];

/**
 * Result of {@link CpuHost.translate}, packed into a number so that a miss allocates nothing.
 *
 * - `frame * 8 + permissions` with bit 0 readable, bit 1 writable, bit 2 executable: fill the TLB with that;
 *   the access asked for must be among the permissions.
 * - `-1 - errorCode`: raise #PF with this error code and CR2 = the address.
 * - {@link TRANSLATE_HOLD}: leave the run loop before the instruction, nothing done (exit `held`).
 */
export type Translation = number;
/** See {@link Translation}. */
export const TRANSLATE_HOLD: Translation = -0x1_0000;

/** The hypervisor around a CPU. All calls are synchronous, in the middle of an instruction. */
export interface CpuHost {
  /**
   * A linear address missed the TLB. `user` is true for accesses with CPL 3 (never for implicit supervisor
   * accesses to descriptor tables and the TSS). The page is cached until {@link Cpu.flush…}.
   */
  translate(va: number, access: Access, user: boolean): Translation;
  /** CR0, CR3 or CR4 was written by the guest and the CPU took the value (its TLB is already flushed). */
  controlRegisterWritten(register: 0 | 3 | 4, value: number): void;
  /**
   * True when the four PAE page-directory-pointer entries at a CR3 may be loaded: none that is present has a
   * reserved bit set. Asked before the CPU takes a control register that loads them; without it they may.
   */
  directoryPointersValid?(cr3: number): boolean;
  /** The guest executed INVLPG (its own TLB entry is already gone). */
  invalidatePage(va: number): void;
  portRead(port: number, size: 1 | 2 | 4): number;
  portWrite(port: number, size: 1 | 2 | 4, value: number): void;
}

/** Why {@link Cpu.run} came back. EIP is the next instruction to run. */
export type CpuExit =
  /** The instruction limit was reached, exactly. */
  | { readonly kind: "budget" }
  /** VMCALL in ring 0; EIP is behind it. */
  | { readonly kind: "vmcall" }
  /** HLT in ring 0; EIP is behind it. */
  | { readonly kind: "halt" }
  /** {@link CpuHost.translate} answered TRANSLATE_HOLD; EIP is at the instruction, which did nothing. */
  | { readonly kind: "held" }
  /** {@link Cpu.requestStop} was called by the host during the run. */
  | { readonly kind: "stop" }
  /** Triple fault. */
  | { readonly kind: "shutdown"; readonly detail: string }
  /** An instruction the CPU does not model; EIP is at it. `bytes` are up to 15 bytes of code there. */
  | { readonly kind: "unsupported"; readonly bytes: Uint8Array; readonly address: number };

/** Segment register numbers, as encoded in instructions. */
export const Segment = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;
/** General register numbers, as encoded in instructions. */
export const Register = { eax: 0, ecx: 1, edx: 2, ebx: 3, esp: 4, ebp: 5, esi: 6, edi: 7 } as const;

/** A descriptor-table register. */
export interface TableRegister {
  base: number;
  limit: number;
}

/**
 * One x86-32 CPU over page frames of a {@link FrameMemory}. Registers are live: they can be read and written
 * whenever `run` is not executing (and inside {@link CpuHost} callbacks they are current as of the start of
 * the instruction).
 */
export interface Cpu {
  /** Connects what is around the CPU; must be done before the first run. */
  host: CpuHost;
  /** Runs until an exit, at most `limit` instructions (exact). */
  run(limit: number): CpuExit;
  /** Makes the current or next `run` return `stop` at the next instruction boundary. */
  requestStop(): void;
  /** Instructions retired since reset; also drives the virtual TSC. */
  readonly instructions: number;
  /** Virtual TSC = instructions + this offset (the host may advance it for sleeps). */
  tscOffset: number;

  /** General registers, index as {@link Register}; Uint32 semantics. */
  getRegister(index: number): number;
  setRegister(index: number, value: number): void;
  eip: number;
  /** Whole EFLAGS, with bit 1 set. */
  eflags: number;
  cr0: number;
  cr2: number;
  /** Setting CR3 from outside flushes the TLB but does not call the host. */
  cr3: number;
  cr4: number;
  efer: number;
  gdtr: TableRegister;
  idtr: TableRegister;
  /** Debug registers 0–3, 6, 7. */
  getDebugRegister(index: number): number;
  setDebugRegister(index: number, value: number): void;
  /** Current privilege level. */
  readonly cpl: number;
  /** An external interrupt may be raised now: IF is set, and neither STI nor MOV SS has just run. */
  readonly interruptible: boolean;
  selector(segment: number): number;
  segmentBase(segment: number): number;
  /**
   * Sets a segment register's hidden part directly. `limit` in bytes; `attributes` are bits 8 to 23 of the
   * descriptor's second word, shifted right by 8 (flat code ring 3: 0xc0fb, data: 0xc0f3). CS sets the CPL.
   */
  setSegment(segment: number, selector: number, base: number, limit: number, attributes: number): void;
  /** Loads a segment register from the descriptor tables, as MOV/IRET would, without privilege checks. */
  loadSegment(segment: number, selector: number): void;
  /** Loads TR from the GDT as LTR would. */
  loadTaskRegister(selector: number): void;
  readonly tssBase: number;

  /**
   * Delivers an exception or interrupt through the guest's IDT before the next instruction.
   * `external` false: a software INT (gate DPL is checked).
   */
  raise(vector: number, errorCode?: number): void;

  /** Forgets every translation (all privilege levels). */
  flushAll(): void;
  /** Forgets the translation of one page. */
  flushPage(va: number): void;
  /** Forgets every translation to this frame (after permissions of a frame were narrowed). */
  flushFrame(frame: number): void;
  /** Something outside the CPU wrote into this frame: decoded code from it is dropped. */
  frameWritten(frame: number, offset: number, length: number): void;
}

/** Page frames of the machine (machine frame numbers from 0), in one WebAssembly memory. */
export interface FrameMemory {
  readonly frames: number;
  /** The 4096 bytes of a frame; a live view. Throws RangeError for a number out of range. */
  frame(number: number): Uint8Array;
  /** Reads and writes 32-bit little-endian words; `offset` is 4-aligned within the frame. */
  readWord(frame: number, offset: number): number;
  writeWord(frame: number, offset: number, value: number): void;
}

/** How a CPU runs: interpreted only, or with hot regions compiled. Both do the same. */
export type Tier = "interpreter" | "jit";

/** A machine: frames and the CPUs that share them. */
export interface Machine {
  readonly memory: FrameMemory;
  readonly cpus: readonly Cpu[];
}
