// SPDX-License-Identifier: Apache-2.0
/**
 * Generated instructions and states for the differential test: from a table row and random numbers to bytes,
 * registers and memory that make the instruction meaningful most of the time.
 *
 * @module
 */
import type { Random } from "./random.ts";
import { Flag, type Row, rows, shiftNames, undefinedAfterShift, undefinedFlags } from "./rows.ts";

/** Memory that cases run in; user pages, identity-mapped, shared layout of both engines. */
export const Layout = {
  /** Reached by 16-bit addresses; two pages, the one behind them is not mapped. */
  low: 0x8000,
  /** Data and stack; two pages, the one behind them is not mapped. */
  data: 0x200000,
  windowSize: 0x2000,
  /** One page that is not writable. */
  readOnly: 0x206000,
  /** Code, filled with HLT around the instruction; not writable. */
  code: 0x100000,
  codeSize: 0x4000,
  /** Base of FS; the other segments are flat. */
  fsBase: 0x00fe_dcb8,
} as const;

const { low, data, windowSize, readOnly, code, codeSize, fsBase } = Layout;
const EAX = 0, ECX = 1, EDX = 2, EBX = 3, ESP = 4, EBP = 5, ESI = 6, EDI = 7, EIP = 8, EFLAGS = 9;

/** A memory operand: `base + index * scale + displacement`; -1 is no register. */
interface MemoryOperand {
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: number;
  readonly address16: boolean;
  /** What the segment adds. */
  readonly segmentBase: number;
}

/** An instruction ready to be placed. */
export interface Instruction {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: number;
  /** Operand size in bits. */
  readonly bits: number;
  readonly memory?: MemoryOperand;
  readonly row: Row;
  readonly repeated: boolean;
  /** Count of a shift, -1 if it is CL. */
  readonly count: number;
  /** The register operand (ModRM.reg), -1 if none. */
  readonly register: number;
  /** Given for chains: how many instructions a call of `run` may do, and the flags undefined at the end. */
  readonly slice?: number;
  readonly undefinedAtEnd?: number;
  /** NOPs in front of it, so that there is enough to compile; a run begins with them. */
  readonly lead?: number;
  /** The register in ModRM.rm, -1 if that is memory or there is none. */
  readonly target: number;
}

const NOP = 0x90;
/** Where a run of the instruction begins. */
export const startOf = (instruction: Instruction): number => instruction.address - (instruction.lead ?? 0);
/** The bytes at {@link startOf}. */
export const codeOf = ({ lead, bytes }: Instruction): Uint8Array<ArrayBuffer> =>
  lead === undefined ? bytes : new Uint8Array([...new Array<number>(lead).fill(NOP), ...bytes]);

/** Registers before a case: eax to edi, eip, eflags. */
export type State = Uint32Array;

/** Writes a little-endian word into the memory of both engines. */
export type Poke = (address: number, value: number) => void;

function word(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff);
}

const ADDRESS16 = [[EBX, ESI], [EBX, EDI], [EBP, ESI], [EBP, EDI], [ESI, -1], [EDI, -1], [EBP, -1], [
  EBX,
  -1,
]];

function encodeMemory16(r: Random, reg: number): { bytes: number[]; memory: MemoryOperand } {
  const mod = r.below(3);
  const rm = r.below(8);
  if (mod === 0 && rm === 6) {
    const displacement = low + r.below(windowSize - 16);
    const memory = { base: -1, index: -1, scale: 1, displacement, address16: true, segmentBase: 0 };
    return { bytes: [reg << 3 | rm, ...word(displacement, 2)], memory };
  }
  const displacement = mod === 0 ? 0 : mod === 1 ? (r.word() << 24) >> 24 : r.word() & 0xffff;
  const [base, index] = ADDRESS16[rm];
  const memory = { base, index, scale: 1, displacement, address16: true, segmentBase: 0 };
  return { bytes: [mod << 6 | reg << 3 | rm, ...word(displacement, mod)], memory };
}

function encodeMemory(r: Random, reg: number): { bytes: number[]; memory: MemoryOperand } {
  const mod = r.below(3);
  let displacement = mod === 0 ? 0 : mod === 1 ? (r.word() << 24) >> 24 : r.word() | 0;
  const rm = r.oneIn(4) ? 4 : r.below(8);
  let base = rm;
  let index = -1;
  let scale = 1;
  const bytes = [mod << 6 | reg << 3 | rm];
  if (rm === 4) {
    const sib = r.word() & 0xff;
    bytes.push(sib);
    base = sib & 7;
    index = (sib >>> 3) & 7;
    scale = 1 << (sib >>> 6);
    if (index === 4) {
      index = -1;
      scale = 1;
    }
  }
  let size = mod === 2 ? 4 : mod;
  if (mod === 0 && base === 5) {
    base = -1;
    size = 4;
    displacement = index < 0 ? pointer(r) | 0 : r.word() | 0;
  }
  bytes.push(...word(displacement, size));
  return { bytes, memory: { base, index, scale, displacement, address16: false, segmentBase: 0 } };
}

/** An address for data: mostly inside a window, sometimes across its end, on the read-only page or nowhere. */
function pointer(r: Random): number {
  const kind = r.below(64);
  if (kind === 0) return data + windowSize - 1 - r.below(8);
  if (kind === 1) return readOnly + r.below(4000);
  if (kind === 2) return data + windowSize + r.below(256);
  if (kind < 8) return data + 0x1000 - r.below(10);
  return data + r.below(windowSize - 64);
}

/** Makes an instruction of `row` with random operands, or undefined if the encoding asked for is of no use. */
export function makeInstruction(row: Row, r: Random): Instruction {
  const prefixes: number[] = [];
  let bits = 32;
  const branch = row.operands.some((o) => o[0] === "J") || /^(ret|call|jmp|int|ud2)/.test(row.name);
  const wide = branch || row.operands.some((o) => /[vz]$/.test(o)) || row.operands.length === 0 ||
    row.name === "push";
  // (A branch with 16 bits leads to low addresses, where no code is.)
  if (wide && r.oneIn(4)) {
    prefixes.push(0x66);
    bits = 16;
  }
  if (row.operands.some((o) => o[1] === "b")) bits = bits === 16 || !/b$/.test(row.operands[0]) ? bits : 8;
  let repeated = false;
  const isString = row.opcode.length === 1 && row.opcode[0] >= 0xa4 && row.opcode[0] <= 0xaf &&
    row.operands.length === 0;
  let address16 = false;
  if (isString) {
    if (r.oneIn(2)) {
      prefixes.push(r.pick([0xf2, 0xf3]));
      repeated = true;
    }
    address16 = r.oneIn(8);
    if (address16) prefixes.push(0x67);
  }
  const body: number[] = [...row.opcode];
  let memory: MemoryOperand | undefined;
  let register = -1;
  let target = -1;
  let count = -1;
  const modrm = row.operands.some((o) => o[0] === "E" || o[0] === "M");
  if (row.operands[0]?.[0] === "R") {
    target = r.below(8);
    body[body.length - 1] |= target;
  }
  if (modrm) {
    const reg = row.extension >= 0 ? row.extension : r.below(8);
    if (row.extension < 0) register = reg;
    if (row.operands.some((o) => o[0] === "M") || r.oneIn(2)) {
      address16 = r.oneIn(16);
      if (address16) prefixes.push(0x67);
      const encoded = address16 ? encodeMemory16(r, reg) : encodeMemory(r, reg);
      body.push(...encoded.bytes);
      memory = encoded.memory;
      // Flat segments: any of the writable ones is the same memory.
      const segment = r.below(32);
      if (segment < 2) prefixes.push(r.pick([0x26, 0x36, 0x3e]));
      if (segment > 29 && !address16 && (memory.base >= 0 || memory.index >= 0)) {
        prefixes.push(0x64);
        memory = { ...memory, segmentBase: fsBase };
      }
      if (row.lock && row.operands[0][0] !== "G" && r.oneIn(8)) prefixes.push(0xf0);
    } else {
      target = r.below(8);
      body.push(0xc0 | reg << 3 | target);
    }
  }
  const address = r.oneIn(16)
    ? code + 0x1000 - 1 - r.below(12)
    : code + 0x1000 + 0x20 * r.below((codeSize - 0x2000) / 0x20);
  for (const operand of row.operands) {
    const size = /b$/.test(operand) ? 1 : /w$/.test(operand) ? 2 : bits === 16 ? 2 : 4;
    if (operand[0] === "I") {
      let value = r.value();
      if (row.name === "ret") value = 4 * r.below(64);
      if (row.name === "enter" && size === 2) value = r.below(1024);
      if (row.name === "enter" && size === 1) value = r.oneIn(2) ? 0 : r.below(36);
      if (row.name === "aam" && r.oneIn(4)) value = 0;
      if (row.name === "shld" || row.name === "shrd") {
        if (bits === 16) value %= 17;
      }
      if (size === 1) count = value & 31;
      body.push(...word(value, size));
    } else if (operand[0] === "J") {
      const reach = size === 1 ? 112 : 0x7f0;
      // Not back into the instruction itself, which would make another one or a loop without end.
      const displacement = r.below(2 * reach) - reach;
      body.push(...word(displacement < 0 && displacement > -16 ? displacement - 16 : displacement, size));
    } else if (operand[0] === "O") {
      body.push(...word(pointer(r), 4));
    }
  }
  if (shiftNames.includes(row.name) && (row.opcode[0] & 0xfe) === 0xd0) count = 1;
  if ((row.opcode[0] & 0xfe) === 0xd2 || row.opcode[1] === 0xa5 || row.opcode[1] === 0xad) count = -1;
  const bytes = new Uint8Array([...prefixes, ...body]);
  return {
    name: row.name,
    bytes,
    address,
    bits,
    memory: memory ??
      (isString && address16
        ? { base: -1, index: -1, scale: 1, displacement: 0, address16: true, segmentBase: 0 }
        : undefined),
    row,
    repeated,
    count,
    register,
    target,
  };
}

/** True when an operand of 16 or 32 bits is the general register `number`. */
export function usesRegister(instruction: Instruction, number: number): boolean {
  const { row, bits, register, target } = instruction;
  if (bits === 8) return false;
  return row.operands.slice(0, 2).some((operand) =>
    !operand.endsWith("b") && (operand[0] === "G" ? register : target) === number
  );
}

/** Sets one register so that the memory operand is at `wanted`. */
function aim(state: State, memory: MemoryOperand, wanted: number): void {
  const { base, index, scale } = memory;
  const displacement = memory.displacement + memory.segmentBase;
  if (memory.address16) {
    if (base < 0) return;
    const rest = wanted - displacement - (index < 0 ? 0 : state[index]);
    state[base] = (state[base] & 0xffff0000) | (rest & 0xffff);
  } else if (base >= 0 && base !== index) {
    state[base] = wanted - displacement - (index < 0 ? 0 : Math.imul(state[index], scale));
  } else if (index >= 0) {
    state[index] = Math.floor(((wanted - displacement) >>> 0) / (base === index ? scale + 1 : scale));
  }
}

/** The linear address of a memory operand in a state. */
export function effectiveAddress(memory: MemoryOperand, state: State): number {
  const sum = (memory.base < 0 ? 0 : state[memory.base]) + memory.displacement +
    (memory.index < 0 ? 0 : Math.imul(state[memory.index], memory.scale));
  return memory.address16 ? sum & 0xffff : (sum + memory.segmentBase) >>> 0;
}

/** Fills `state` with random registers that suit the instruction; may write memory with `poke`. */
export function prepare(instruction: Instruction, r: Random, state: State, poke: Poke): void {
  const { name, memory, bits, row } = instruction;
  for (let i = 0; i < 8; i++) state[i] = r.value();
  state[EIP] = instruction.address;
  state[EFLAGS] = (r.word() & 0xcd5) | 2;
  const stack = data + 0x800 + 4 * r.below(0x200) + (r.oneIn(16) ? r.below(4) : 0);
  state[ESP] = r.oneIn(64) ? pointer(r) : stack;
  if (name === "leave" || name === "enter") state[EBP] = data + 0x600 + 4 * r.below(0x100);
  if (name === "xlat") state[EBX] = pointer(r);
  const isString = row.operands.length === 0 && row.opcode[0] >= 0xa4 && row.opcode[0] <= 0xaf;
  if (isString) {
    const inLow = memory !== undefined;
    const place = () => inLow ? low + 0x200 + r.below(windowSize - 0x400) : pointer(r);
    const mask = inLow ? 0xffff0000 : 0;
    state[ESI] = (state[ESI] & mask) | place();
    state[EDI] = (state[EDI] & mask) | place();
    state[ECX] = (state[ECX] & mask) | r.below(r.oneIn(4) ? 40 : 6);
    if (r.oneIn(2) && (name === "cmps" || name === "scas")) state[EDI] = state[ESI];
    return;
  }
  if (/^bt[src]?$/.test(name) && memory !== undefined && instruction.register >= 0) {
    const offset = r.below(2000) - 1000;
    state[instruction.register] = bits === 16
      ? (state[instruction.register] & 0xffff0000) | (offset & 0xffff)
      : offset;
  }
  if ((name === "shld" || name === "shrd") && instruction.count < 0 && bits === 16) {
    state[ECX] = (state[ECX] & ~31) | r.below(17);
  }
  if (name === "idiv" || name === "div") {
    // Mostly quotients that fit.
    if (!r.oneIn(4)) state[EDX] = r.pick([0, 0xffffffff, 1, r.word() & 0xff]);
    if (!r.oneIn(4) && row.opcode[0] === 0xf6) state[EAX] &= 0xffff00ff;
  }
  if (memory !== undefined) {
    const inLow = memory.address16;
    aim(state, memory, inLow ? low + 0x40 + r.below(windowSize - 0x80) : pointer(r));
  }
  if ((name === "cmpxchg" || name === "cmpxchg8b") && memory !== undefined && r.oneIn(2)) {
    const at = effectiveAddress(memory, state);
    if (at >= data && at + 8 <= data + windowSize && memory.base !== EAX && memory.index !== EAX) {
      poke(at, state[EAX]);
      if (name === "cmpxchg8b" && memory.base !== EDX && memory.index !== EDX) poke(at + 4, state[EDX]);
    }
  }
  let destination = code + 0x1000 + r.below(0x1000);
  if (Math.abs(destination - instruction.address) < 0x20) destination += 0x40;
  if (name === "ret") poke(state[ESP], destination);
  if (row.opcode[0] === 0xff && (row.extension === 2 || row.extension === 4)) {
    if (memory === undefined) state[instruction.target] = destination;
    else poke(effectiveAddress(memory, state), destination);
  }
  // Bits that only ring 0 may change, or that need a debugger, stay as they are; all of them must be there to say so.
  if (name === "popf" && (state[ESP] & 0xfff) > 0xffc) state[ESP] -= 8;
  if (name === "popf") poke(state[ESP], (r.word() & 0xcd5) | 2);
}

/** Flags that the architecture leaves undefined after this instruction from this state. */
export function undefinedAfter(instruction: Instruction, before: State): number {
  const { name, bits } = instruction;
  if (instruction.undefinedAtEnd !== undefined) return instruction.undefinedAtEnd;
  const count = instruction.count < 0 ? before[ECX] & 31 : instruction.count;
  if (shiftNames.includes(name)) return undefinedAfterShift(name, count, bits);
  if (name === "shld" || name === "shrd") {
    if (count === 0) return 0;
    return Flag.af | (count === 1 ? 0 : Flag.of);
  }
  if (name === "and" || name === "or" || name === "xor") return Flag.af;
  return undefinedFlags[name] ?? 0;
}

/** Picks a row: each has the same chance. */
export function pickRow(r: Random): Row {
  return r.pick(rows);
}
