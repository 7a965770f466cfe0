// SPDX-License-Identifier: Apache-2.0
/**
 * Records what the processor of this machine does: a 32-bit static ELF program made of generated instructions,
 * run once, which writes registers, flags and results after each of them to its standard output. Integer
 * instructions have register operands only; x87, MMX and SSE sequences touch one page of the program at fixed
 * addresses. None branches, faults or enters the kernel.
 *
 * @module
 */
import { type Instruction, Layout, makeInstruction, prepare, type State, usesRegister } from "./cases.ts";
import { Random } from "./random.ts";
import { rows } from "./rows.ts";
import { makeSequence, prepareSequence } from "./vector_cases.ts";
import { BLOCK, BLOCK_SIZE, FXSAVE_BLOCK_SIZE, type Kind } from "./vector_layout.ts";

/** Instructions that make sense with registers alone and are available on every IA-32 processor. */
const NAMES = new Set(
  ("add or adc sbb and sub xor cmp test inc dec not neg mul imul div idiv rol ror rcl rcr shl shr sal sar " +
    "shld shrd bt bts btr btc bsf bsr bswap mov movzx movsx xchg xadd cmpxchg lahf sahf cbw cwd daa das aaa aas " +
    "aam aad salc clc stc cmc cld std nop").split(" "),
);
const ROWS = rows.filter((row) =>
  (NAMES.has(row.name) || /^(set|cmov)/.test(row.name)) && row.operands.every((o) => !/^[MOJ]/.test(o))
);

/** Cases of each kind in a run: UMBRA_HOST_CASES in all. */
export const HOST_CASES: Readonly<Record<Kind | "integer", number>> = (() => {
  const all = Number(Deno.env.get("UMBRA_HOST_CASES") ?? 220_000);
  const share = (part: number) => Math.ceil(all * part);
  return { integer: share(0.4), x87: share(0.25), mmx: share(0.1), sse: share(0.245), fxsave: share(0.005) };
})();

/** One case. */
export interface Vector {
  readonly instruction: Instruction;
  readonly before: State;
  /** The words at {@link BLOCK} before it; none for integer instructions. */
  readonly block: Uint32Array<ArrayBuffer>;
}

/** What the processor did in one case. */
export interface Recorded {
  /** eax to edi (ESP is not recorded: 0), eip (0), eflags after the instruction. */
  readonly state: State;
  /** The words at {@link BLOCK} after it. */
  readonly block: Uint32Array;
}

const BASE = 0x08048000;
const ESP = 4;
/** Registers in the order of POPA, flags behind them. */
const SAVED = [7, 6, 5, ESP, 3, 2, 1, 0, 9];
const SAVED_SIZE = 4 * SAVED.length;

/** True when a division of this state would raise #DE. */
function divisionFaults(instruction: Instruction, s: State): boolean {
  const { name, bits, target } = instruction;
  const size = BigInt(bits);
  const low = (n: number, count: bigint) => BigInt.asUintN(Number(count), BigInt(n));
  let divisor = low(s[target], size);
  if (bits === 8) divisor = low(target < 4 ? s[target] : s[target - 4] >>> 8, 8n);
  let dividend = bits === 8 ? low(s[0], 16n) : (low(s[2], size) << size) | low(s[0], size);
  if (divisor === 0n) return true;
  if (name === "div") return dividend / divisor >> size !== 0n;
  dividend = BigInt.asIntN(bits * 2, dividend);
  divisor = BigInt.asIntN(bits, divisor);
  const quotient = dividend / divisor;
  return BigInt.asIntN(bits, quotient) !== quotient;
}

const NO_BLOCK = new Uint32Array(0);

/** Makes `count` integer cases. */
export function makeVectors(seed: number, count: number): Vector[] {
  const r = new Random(seed);
  const vectors: Vector[] = [];
  while (vectors.length < count) {
    const instruction = makeInstruction(ROWS[vectors.length % ROWS.length], r);
    if (instruction.memory !== undefined || usesRegister(instruction, ESP)) continue;
    // AAM 0 raises #DE.
    if (instruction.name === "aam" && instruction.bytes.at(-1) === 0) continue;
    const before = new Uint32Array(10);
    prepare(instruction, r, before, () => {});
    if (/div$/.test(instruction.name) && divisionFaults(instruction, before)) continue;
    vectors.push({ instruction, before, block: NO_BLOCK });
  }
  return vectors;
}

/** Makes `count` cases of sequences. */
export function makeSequences(kind: Kind, seed: number, count: number): Vector[] {
  const r = new Random(seed);
  const words = (kind === "fxsave" ? FXSAVE_BLOCK_SIZE : BLOCK_SIZE) / 4;
  return Array.from({ length: count }, () => {
    const instruction = makeSequence(kind, r, "host");
    const before = new Uint32Array(10);
    const block = new Uint32Array(words);
    prepareSequence(instruction, r, before, (address, value) => block[(address - BLOCK) >>> 2] = value);
    return { instruction, before, block };
  });
}

/** Writes bytes and words one behind the other. */
class Writer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  at = 0;
  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }
  put(...bytes: number[]): void {
    for (const byte of bytes) this.bytes[this.at++] = byte;
  }
  /** One byte of opcode and a word. */
  op(opcode: number, value: number): void {
    this.bytes[this.at++] = opcode;
    this.word(value);
  }
  word(value: number): void {
    this.#view.setUint32(this.at, value, true);
    this.at += 4;
  }
  half(at: number, value: number): void {
    this.#view.setUint16(at, value, true);
  }
}

const HEADER_SIZE = 52 + 2 * 32;
/** Bytes of code that each case needs beside its own, and those at the end. */
const CASE_CODE = 64, END_CODE = 64;

/**
 * The ELF file (System V ABI; a PT_LOAD segment for the program, one for the data window) that runs the cases:
 * for each it copies the block into place, loads registers and flags, runs the instruction and stores all.
 */
export function makeProgram(vectors: readonly Vector[]): { file: Uint8Array; outputSize: number } {
  const blockSize = vectors[0].block.byteLength;
  const recordSize = blockSize + SAVED_SIZE;
  const codeSize = vectors.reduce(
    (sum, { instruction }) => sum + CASE_CODE + instruction.bytes.length,
    END_CODE,
  );
  const inputs = BASE + HEADER_SIZE + codeSize;
  const outputs = inputs + vectors.length * recordSize;
  const outputSize = vectors.length * recordSize;
  const w = new Writer(HEADER_SIZE + codeSize + outputSize);
  const copy = (from: number, to: number) => {
    w.put(0xfc); // cld
    w.op(0xbe, from); // mov esi
    w.op(0xbf, to); // mov edi
    w.op(0xb9, blockSize / 4); // mov ecx
    w.put(0xf3, 0xa5); // rep movsd
  };
  w.at = HEADER_SIZE;
  for (const [i, { instruction }] of vectors.entries()) {
    const input = inputs + i * recordSize, output = outputs + i * recordSize;
    if (blockSize > 0) copy(input, BLOCK);
    w.op(0xbc, input + blockSize); // mov esp
    w.put(0x61, 0x9d); // popa; popf
    w.put(...instruction.bytes);
    w.op(0xbc, output + recordSize); // mov esp
    w.put(0x9c, 0x60); // pushf; pusha
    if (blockSize > 0) copy(BLOCK, output);
  }
  w.op(0xbb, 1); // ebx: standard output
  w.op(0xb9, outputs);
  w.op(0xba, outputSize);
  w.op(0xb8, 4); // write
  w.put(0xcd, 0x80, 0x85, 0xc0, 0x7e, 0x06, 0x01, 0xc1, 0x29, 0xc2, 0x75, 0xed); // until all is written or it fails
  w.put(0x31, 0xdb);
  w.op(0xb8, 1); // exit(0)
  w.put(0xcd, 0x80);
  w.at = HEADER_SIZE + codeSize;
  for (const { before, block } of vectors) {
    for (const word of block) w.word(word);
    for (const n of SAVED) w.word(before[n]);
  }
  w.at = 0;
  w.put(0x7f, 0x45, 0x4c, 0x46, 1, 1, 1); // ELF, 32 bits, little-endian
  w.half(16, 2); // ET_EXEC
  w.half(18, 3); // EM_386
  w.half(40, 52);
  w.half(42, 32);
  w.half(44, 2);
  w.at = 20;
  w.word(1);
  w.word(BASE + HEADER_SIZE);
  w.word(52);
  w.at = 52;
  const size = w.bytes.length;
  const segments = [
    [1, 0, Layout.data, Layout.data, 0, Layout.windowSize, 6, 0x1000], // PT_LOAD, rw
    [1, 0, BASE, BASE, size, size + outputSize, 7, 0x1000], // PT_LOAD, rwx
  ];
  for (const value of segments.flat()) w.word(value);
  return { file: w.bytes, outputSize };
}

/**
 * Runs cases with blocks of one size on this machine's processor. Throws when it cannot run 32-bit programs, or
 * when one of the instructions faults.
 */
export function record(vectors: readonly Vector[]): Recorded[] {
  const path = Deno.makeTempFileSync();
  try {
    const { file, outputSize } = makeProgram(vectors);
    Deno.writeFileSync(path, file);
    Deno.chmodSync(path, 0o700);
    const run = new Deno.Command(path, { stdout: "piped", stderr: "null", stdin: "null" }).outputSync();
    if (!run.success || run.stdout.length !== outputSize) {
      throw new Error(
        `Cannot record the host CPU: exit code ${run.code}, signal ${run.signal}, ` +
          `${run.stdout.length} bytes of ${outputSize}`,
      );
    }
    const words = new Uint32Array(run.stdout.slice().buffer);
    const blockWords = vectors[0].block.length;
    return vectors.map((_, i) => {
      const start = i * (blockWords + SAVED.length);
      const state = new Uint32Array(10);
      for (const [n, register] of SAVED.entries()) state[register] = words[start + blockWords + n];
      state[ESP] = 0;
      return { state, block: words.subarray(start, start + blockWords) };
    });
  } finally {
    Deno.removeSync(path);
  }
}
