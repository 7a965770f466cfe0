// SPDX-License-Identifier: Apache-2.0
/**
 * Records what the processor of this machine does: a 32-bit static ELF program made of generated instructions,
 * run once, which writes registers, flags and results after each of them to its standard output. Integer
 * instructions have register operands only; x87, MMX and SSE sequences touch one page of the program at fixed
 * addresses. None branches or enters the kernel.
 *
 * @module
 */
import { type Instruction, Layout, makeInstruction, prepare, type State, usesRegister } from "./cases.ts";
import { Random } from "./random.ts";
import { rows } from "./rows.ts";
import { makeSequence, prepareSequence, RESULT, type Sequence, STATUS } from "./vector_cases.ts";

/** Instructions that make sense with registers alone and are available on every IA-32 processor. */
const NAMES = new Set(
  ("add or adc sbb and sub xor cmp test inc dec not neg mul imul div idiv rol ror rcl rcr shl shr sal sar " +
    "shld shrd bt bts btr btc bsf bsr bswap mov movzx movsx xchg xadd cmpxchg lahf sahf cbw cwd daa das aaa aas " +
    "aam aad salc clc stc cmc cld std nop").split(" "),
);
const ROWS = rows.filter((row) =>
  (NAMES.has(row.name) || /^(set|cmov)/.test(row.name)) && row.operands.every((o) => !/^[MOJ]/.test(o))
);

/** One recorded case. */
export interface Vector {
  readonly instruction: Instruction;
  readonly before: State;
  /** Words written to memory before it. */
  readonly pokes: readonly (readonly [address: number, value: number])[];
  /** eax to edi, eip (not recorded: 0), eflags after the instruction. */
  readonly after: State;
  /** The words at {@link RESULT_WORDS} after a sequence. */
  readonly results: Uint32Array;
}

/** Addresses of the words that sequences leave their results in. */
export const RESULT_WORDS: readonly number[] = [
  ...Array.from({ length: 16 }, (_, i) => RESULT + 4 * i),
  STATUS,
  STATUS + 4,
];

const BASE = 0x08048000;
const RECORD_SIZE = 4 * (9 + RESULT_WORDS.length);
const ESP = 4;

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

function vector(instruction: Instruction, before: State, pokes: Vector["pokes"] = []): Vector {
  return {
    instruction,
    before,
    pokes,
    after: new Uint32Array(10),
    results: new Uint32Array(RESULT_WORDS.length),
  };
}

/** Makes `count` integer cases; {@link record} fills in what comes after. */
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
    vectors.push(vector(instruction, before));
  }
  return vectors;
}

/** Makes `count` cases of x87, MMX or SSE sequences; {@link record} fills in what comes after. */
export function makeSequences(kind: Sequence["kind"], seed: number, count: number): Vector[] {
  const r = new Random(seed);
  return Array.from({ length: count }, () => {
    const sequence = makeSequence(kind, r);
    const before = new Uint32Array(10);
    const pokes: [number, number][] = RESULT_WORDS.map((address) => [address, 0]);
    prepareSequence(sequence, r, before, (address, value) => pokes.push([address, value]));
    return vector(sequence, before, pokes);
  });
}

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

/** The ELF file (System V ABI; a PT_LOAD segment for the program, one for the data window) that runs the cases. */
export function makeProgram(vectors: readonly Vector[]): Uint8Array<ArrayBuffer> {
  const headerSize = 52 + 2 * 32;
  const pieces: number[][] = [];
  let size = headerSize;
  const put = (...bytes: number[]) => {
    pieces.push(bytes);
    size += bytes.length;
  };
  const registers = [0, 1, 2, 3, 5, 6, 7];
  const output = BASE + 0x0100_0000;
  for (const [i, { instruction, before, pokes }] of vectors.entries()) {
    const out = output + i * RECORD_SIZE;
    for (const [address, value] of pokes) put(0xc7, 0x05, ...word(address), ...word(value)); // mov [], imm32
    for (const n of registers) put(0xb8 | n, ...word(before[n])); // mov r32, imm32
    put(0x68, ...word(before[9]), 0x9d); // push imm32; popf
    put(...instruction.bytes);
    put(0x9c); // pushf
    for (const n of registers) put(0x89, 0x05 | n << 3, ...word(out + 4 * n)); // mov [out], r32
    put(0x8f, 0x05, ...word(out + 32)); // pop dword [out+32]
    if (pokes.length === 0) continue;
    for (const [n, address] of RESULT_WORDS.entries()) {
      put(0xa1, ...word(address), 0xa3, ...word(out + 36 + 4 * n)); // mov eax, []; mov [], eax
    }
  }
  const outputSize = vectors.length * RECORD_SIZE;
  put(0xbb, ...word(1), 0xb9, ...word(output), 0xba, ...word(outputSize)); // ebx = 1, ecx, edx
  put(0xb8, ...word(4), 0xcd, 0x80); // write
  put(0x85, 0xc0, 0x7e, 0x06, 0x01, 0xc1, 0x29, 0xc2, 0x75, 0xed); // until all is written or it fails
  put(0x31, 0xdb, 0xb8, ...word(1), 0xcd, 0x80); // exit(0)

  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]); // ELF, 32 bits, little-endian
  const half = (at: number, value: number) => view.setUint16(at, value, true);
  const put32 = (at: number, value: number) => view.setUint32(at, value, true);
  half(16, 2); // ET_EXEC
  half(18, 3); // EM_386
  put32(20, 1);
  put32(24, BASE + headerSize);
  put32(28, 52);
  half(40, 52);
  half(42, 32);
  half(44, 2);
  const segments = [
    [1, 0, Layout.data, Layout.data, 0, Layout.windowSize, 6, 0x1000], // PT_LOAD, rw
    [1, 0, BASE, BASE, size, 0x0100_0000 + outputSize, 7, 0x1000], // PT_LOAD, rwx
  ];
  segments.flat().forEach((value, i) => put32(52 + 4 * i, value));
  let at = headerSize;
  for (const piece of pieces) {
    file.set(piece, at);
    at += piece.length;
  }
  return file;
}

/** Runs the cases on this machine's processor and fills in `after`. Throws when it cannot run 32-bit programs. */
export function record(vectors: Vector[]): void {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, makeProgram(vectors));
    Deno.chmodSync(path, 0o700);
    const run = new Deno.Command(path, { stdout: "piped", stderr: "null", stdin: "null" }).outputSync();
    if (!run.success || run.stdout.length !== vectors.length * RECORD_SIZE) {
      throw new Error(
        `Cannot record the host CPU: exit code ${run.code}, signal ${run.signal}, ` +
          `${run.stdout.length} bytes of ${vectors.length * RECORD_SIZE}`,
      );
    }
    const view = new DataView(run.stdout.buffer, run.stdout.byteOffset);
    for (const [i, vector] of vectors.entries()) {
      for (let n = 0; n < 8; n++) vector.after[n] = view.getUint32(i * RECORD_SIZE + 4 * n, true);
      vector.after[ESP] = vector.before[ESP];
      vector.after[9] = view.getUint32(i * RECORD_SIZE + 32, true);
      for (const n of RESULT_WORDS.keys()) {
        vector.results[n] = view.getUint32(i * RECORD_SIZE + 36 + 4 * n, true);
      }
    }
  } finally {
    Deno.removeSync(path);
  }
}
