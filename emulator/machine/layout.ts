// SPDX-License-Identifier: Apache-2.0
/**
 * Where everything lies in the machine's linear memory. The first part holds one area per CPU (state, TLB,
 * jump cache, predecoded code), the second the page frames. All offsets are bytes.
 *
 * @module
 */

/** Most CPUs a machine can have. Areas are reserved for all of them; untouched memory costs nothing. */
export const MAX_CPUS = 4;
/** Bytes of one CPU's area. The first area begins at AREA_BASE, so that address 0 is never valid. */
export const AREA_BASE = 0x1_0000;
export const AREA_SIZE = 0x200_0000;
/** Address of page frame 0. Whatever lies below is no guest memory. */
export const FRAMES_BASE = AREA_BASE + MAX_CPUS * AREA_SIZE;

/** Offsets in a CPU's area. */
export const State = {
  /** Eight general registers, 4 bytes each. */
  registers: 0x00,
  eip: 0x20,
  /** Lazy flags: sign-extended result, and the word described in flags.ts. */
  flagResult: 0x24,
  flagAux: 0x28,
  /** EFLAGS without the six arithmetic flags. */
  eflags: 0x2c,
  /** A register that is always zero: base or index of an address that has none. */
  zero: 0x30,
  /** Instructions that may still run in this slice. */
  budget: 0x34,
  /** Counts changes that may end the right to execute from some page. */
  generation: 0x38,
  /** Number of the current mode: code size, CPL, segments (see blocks.ts). */
  mode: 0x3c,
  /** Address of the TLB bank of the current privilege level. */
  tlb: 0x40,
  /** 0xffffffff or 0xffff by the stack segment's B flag. */
  stackMask: 0x44,
  /** Counts blocks of compiled regions that died: a region that sees it change is none any more. */
  deaths: 0x48,
  /** Six segment caches of SEGMENT_SIZE bytes, by segment number. */
  segments: 0x80,
  /** Copy of bytes of an access that crosses a page. */
  bounce: 0x180,
  /** A block that is never valid: where unlinked jumps point. */
  deadBlock: 0x200,
  /** Where compiled regions keep pages of streams (page as 64 bits, addend), and flags between blocks. */
  streams: 0x1000,
  betweenBlocks: 0x1800,
  /** A bank that stays empty: what every access misses while alignment is checked. */
  emptyBank: 0x4000,
  /** Direct-mapped cache of jump targets. */
  jumpCache: 0x8000,
  /** Two TLB banks (supervisor, user). */
  tlbBanks: 0x1_0000,
  /** Predecoded blocks. */
  arena: 0x1_8000,
} as const;

/** Offsets in a segment cache. An access at `offset` is good when `offset - low` and its end are ≤ `span`. */
export const SegmentField = { base: 0, low: 4, span: 8, denyRead: 12, denyWrite: 16 } as const;
export const SEGMENT_SIZE = 0x20;

/** TLB entries: tag for reads, writes, fetches (page address or 1), and host address minus linear address. */
export const TLB_ENTRIES = 1024;
export const TLB_ENTRY_SIZE = 16;
export const TLB_BANK_SIZE = TLB_ENTRIES * TLB_ENTRY_SIZE;
export const TLB_ADDEND = 12;
export const TLB_INVALID = 1;
/**
 * Number of the entry in its bank for a linear address: the two halves of the page number, so that areas of
 * the same shape at round distances do not meet.
 */
export function tlbIndex(linear: number): number {
  return ((linear >>> 12) ^ (linear >>> 22)) & (TLB_ENTRIES - 1);
}

/** Jump cache: entries of two words, EIP and block. */
export const JUMP_ENTRIES = 4096;

/** Fields of a predecoded instruction. Slots are addresses of registers in the state. */
export const Op = {
  handler: 0,
  /** Register slot of the first and of the second operand. */
  slot0: 4,
  slot1: 8,
  immediate: 12,
  displacement: 16,
  base: 20,
  index: 24,
  scale: 28,
  /** Address of the segment cache of the memory operand. */
  segment: 32,
  /** 0xffffffff or 0xffff by address size. */
  mask: 36,
  eip: 40,
  next: 44,
  /** Block of the taken target, and of the instruction behind. */
  taken: 48,
  fallthrough: 52,
  /** Instructions of the block from this one on, itself included. */
  remaining: 56,
  /** What helpers need to know, see {@link OpInfo}. */
  info: 60,
} as const;
export const OP_SIZE = 64;

/** Bit fields of {@link Op.info}: row number in the low 12 bits, then these (shift amounts). */
export const OpInfo = {
  rowMask: 0xfff,
  reg: 12,
  rm: 15,
  isRegister: 18,
  operand16: 19,
  address16: 20,
  repeat: 21,
  segment: 23,
  general: 26,
} as const;

/** Fields of a block's header, which takes the place of one op. */
export const Block = {
  /** {@link State.generation} for which the block's page is known to be executable; -1: dead. */
  generation: 0,
  /** Instructions in the block. */
  count: 4,
  eip: 8,
  mode: 12,
  /** Linear page and TLB addend it was decoded from; page 2 (impossible): asks the host each generation. */
  page: 16,
  addend: 20,
  /** Entries until the block is hot, and the handler of its first op, where that is `heat` or a region. */
  heat: 24,
  first: 28,
} as const;

/** What a handler returns when the run loop of WebAssembly ends. */
export const Exit = {
  /** The slice is used up or the next block does not fit in. EIP is current. */
  budget: 0,
  /** An exception is pending, or something else that the CPU object noted. EIP is what it noted. */
  event: 1,
} as const;

/** Results of a helper (an instruction in TypeScript). */
export const HelperResult = {
  /** Go on behind the instruction. */
  next: 0,
  /** EIP was set; go on there. */
  jump: 1,
  /** Leave WebAssembly: something is pending. */
  event: 2,
} as const;
