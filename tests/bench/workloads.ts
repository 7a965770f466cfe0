// SPDX-License-Identifier: Apache-2.0
/**
 * The benchmark programs with their inputs and right results.
 *
 * W1 a tight ALU loop; W2 a byte-wise LZ decoder, 4 MB of output four times; W3 a real NRV2E bit loop, 4 MB
 * twice; W4 RC4 over 8 MB. `turns` rewrites its own page 100,000 times and runs it each time. `nx` calls a page that is not executable, `np` one that is not present.
 *
 * @module
 */
import { workloadCode } from "./workloads/code.ts";
import { packBytewise, packNrv2e, pseudoText } from "./encoders.ts";

/** Where the programs are loaded; the multiboot header is there. */
export const LOAD_ADDRESS = 0x100000;
/** Where W2 and W3 read their packed input. */
export const IN_ADDRESS = 0x400000;
/** Where W1 to W4 write their result. */
export const OUT_ADDRESS = 0x800000;
/** Physical memory that every program fits in, bytes. */
export const MEMORY_SIZE = 0x1000000;
/** The serial port that gets `S` at the start and `E` at the end. */
export const SERIAL_PORT = 0x3f8;
/** Instructions from the OUT of `S` to the OUT of `E` besides the timed part: OUT, JMP before it, two MOV behind. */
export const SERIAL_INSTRUCTIONS = 4;

const OUTPUT_SIZE = 4 * 1024 * 1024;

/** One benchmark program, ready to be loaded. */
export interface Workload {
  readonly name: string;
  /** Bytes for {@link LOAD_ADDRESS}: a multiboot image. */
  readonly image: Uint8Array<ArrayBuffer>;
  /** First address of the timed part, and the address behind it. */
  readonly start: number;
  readonly done: number;
  /** Instructions from `start` to `done`; undefined for the programs that are not timed. */
  readonly instructions: number | undefined;
  /** The right bytes at {@link OUT_ADDRESS} after the run. */
  readonly expected: Uint8Array;
}

/** Counted by the CPU under test and by native Unicorn; a test compares. */
const INSTRUCTIONS: Readonly<Record<string, number>> = {
  w1: 200_000_006,
  w2: 126_672_637,
  w3: 130_760_717,
  w4: 100_666_645,
};

/** Rounds of the program `turns`. */
export const TURNS = 100_000;

/** Result of `turns`: the patched bytes, folded. */
function resultOfTurns(): Uint8Array {
  let sum = 0;
  for (let n = TURNS; n > 0; n--) sum = (Math.imul(sum, 3) + (n & 0xff)) | 0;
  return new Uint8Array(new Int32Array([sum]).buffer);
}

/** Result of W1 by plain arithmetic. */
function resultOfW1(): Uint8Array {
  let a = 0x12345678 | 0;
  let b = 0x9abcdef0 | 0;
  for (let n = 40_000_000; n > 0; n--) {
    a = (a + n) | 0;
    b ^= a;
    a = (a << 5) | (a >>> 27);
  }
  return new Uint8Array(new Int32Array([a, b]).buffer);
}

/** Result of W4: the RC4 key stream over zeros. */
function resultOfW4(): Uint8Array {
  const key = new TextEncoder().encode("0123456789abcdef");
  const box = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (let i = 0, j = 0; i < 256; i++) {
    j = (j + box[i] + key[i & 15]) & 0xff;
    [box[i], box[j]] = [box[j], box[i]];
  }
  const out = new Uint8Array(8 * 1024 * 1024);
  for (let n = 0, i = 0, j = 0; n < out.length; n++) {
    i = (i + 1) & 0xff;
    const x = box[i];
    j = (j + x) & 0xff;
    const y = box[j];
    box[i] = y;
    box[j] = x;
    out[n] = box[(x + y) & 0xff];
  }
  return out;
}

function withInput(code: Uint8Array, packed: Uint8Array): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(IN_ADDRESS - LOAD_ADDRESS + packed.length);
  image.set(code);
  image.set(packed, IN_ADDRESS - LOAD_ADDRESS);
  return image;
}

const made = new Map<string, Workload>();

/** Makes the program `name` (`w1` to `w4`, `turns`, `nx`, `np`) with its input and right result. */
export function workload(name: string): Workload {
  const known = made.get(name);
  if (known !== undefined) return known;
  if (!(name in workloadCode)) throw new RangeError(`Cannot make workload "${name}": no such program`);
  let image = Uint8Array.fromHex(workloadCode[name]);
  const view = new DataView(image.buffer);
  let expected: Uint8Array = new Uint8Array(0);
  if (name === "w1") expected = resultOfW1();
  if (name === "w4") expected = resultOfW4();
  if (name === "turns") expected = resultOfTurns();
  if (name === "w2" || name === "w3") {
    expected = pseudoText(OUTPUT_SIZE);
    image = withInput(image, (name === "w2" ? packBytewise : packNrv2e)(expected));
  }
  const timed = name.startsWith("w");
  const result: Workload = {
    name,
    image,
    start: timed ? view.getUint32(0x20, true) : view.getUint32(0x1c, true),
    done: timed ? view.getUint32(0x24, true) : 0,
    instructions: INSTRUCTIONS[name],
    expected,
  };
  made.set(name, result);
  return result;
}

/** The entry point in the multiboot header of a program. */
export function entryPoint(image: Uint8Array): number {
  return new DataView(image.buffer, image.byteOffset).getUint32(0x1c, true);
}
