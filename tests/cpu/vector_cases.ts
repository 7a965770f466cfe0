// SPDX-License-Identifier: Apache-2.0
/**
 * Generated sequences for x87, MMX and SSE: load operands from memory, one operation, store the results, so that
 * memory and EFLAGS say everything.
 *
 * @module
 */
import { Layout, type Poke, type State } from "./cases.ts";
import type { Random } from "./random.ts";
import { fxsave, mmx, sse } from "./simd_cases.ts";
import { A, B, CONTROL, type Kind, type Oracle, RESULT, type Sequence } from "./vector_layout.ts";
import { x87 } from "./x87_cases.ts";

const GENERATORS = { x87, mmx, sse, fxsave } as const;

/** Makes a sequence of a kind. */
export function makeSequence(kind: Kind, r: Random, oracle: Oracle): Sequence {
  const { name, steps } = GENERATORS[kind](r, oracle);
  return {
    kind,
    oracle,
    name,
    bytes: new Uint8Array(steps.flat()),
    address: Layout.code + 0x1000 + 0x80 * r.below(0x20),
    bits: 32,
    row: { name, opcode: [], operands: ["-"], extension: -1, lock: false },
    repeated: false,
    count: -1,
    register: -1,
    target: -1,
  };
}

const DOUBLES = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  3,
  10,
  0.1,
  1e10,
  -1e10,
  2147483647,
  -2147483648,
  2147483648,
  4294967296,
  32767.5,
  -32768.5,
  1e300,
  1e-300,
  Infinity,
  -Infinity,
  NaN,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  2.2250738585072014e-308,
];

/** Eight packed decimal digits. */
function decimal(r: Random): number {
  let digits = 0;
  for (let i = 0; i < 8; i++) digits = digits << 4 | r.below(10);
  return digits >>> 0;
}

/** Fills a buffer of 16 bytes with an operand. */
function fillOperand(r: Random, scratch: DataView, host: boolean): void {
  switch (r.below(host ? 5 : 3)) {
    case 0:
      for (let i = 0; i < 16; i += 8) {
        scratch.setFloat64(i, r.oneIn(4) ? (r.word() | 0) / 1024 : r.pick(DOUBLES), true);
      }
      break;
    case 1:
      for (let i = 0; i < 16; i += 4) {
        scratch.setFloat32(i, r.oneIn(4) ? (r.word() | 0) / 1024 : r.pick(DOUBLES), true);
      }
      break;
    case 2:
      for (let i = 0; i < 16; i += 4) scratch.setUint32(i, r.value(), true);
      break;
    case 3:
      // An 80-bit number, mostly with its integer bit and of a size that means something.
      scratch.setUint32(0, r.value(), true);
      scratch.setUint32(4, r.oneIn(8) ? r.value() : r.value() | 0x8000_0000, true);
      scratch.setUint16(
        8,
        (r.oneIn(4) ? r.word() : 0x3fff + r.below(80) - 40) | (r.oneIn(2) ? 0x8000 : 0),
        true,
      );
      break;
    default:
      // Decimal digits.
      for (let i = 0; i < 16; i++) scratch.setUint8(i, r.below(10) << 4 | r.below(10));
      if (!r.oneIn(8)) scratch.setUint8(9, r.oneIn(2) ? 0x80 : 0);
  }
}

/** Fills registers and operands for a sequence. */
export function prepareSequence(sequence: Sequence, r: Random, state: State, poke: Poke): void {
  const host = sequence.oracle === "host";
  for (let i = 0; i < 8; i++) state[i] = r.value();
  state[4] = Layout.data + 0x1000;
  state[8] = sequence.address;
  state[9] = (r.word() & 0x8d5) | 2;
  if (sequence.name.startsWith("maskmov")) state[7] = RESULT + 0x20 + r.below(0x10);
  const scratch = new DataView(new ArrayBuffer(16));
  for (const address of host ? [A, A + 16, B, B + 16] : [A, B]) {
    fillOperand(r, scratch, host);
    for (let i = 0; i < 16; i += 4) poke(address + i, scratch.getUint32(i, true));
  }
  if (sequence.name === "f2xm1" || sequence.name === "fyl2xp1") {
    const exponent = (sequence.name === "f2xm1" ? 0x3ffe : 0x3ffc) -
      (r.oneIn(8) ? r.below(0x3ffc) : r.below(70));
    poke(B + 4, r.word() | 0x8000_0000);
    poke(B + 8, exponent | (r.oneIn(2) ? 0x8000 : 0));
  }
  // Digits that are none mean something else on every processor.
  if (sequence.name === "fbld") { for (let i = 0; i < 12; i += 4) poke(A + i, decimal(r)); }
  if (sequence.kind === "fxsave") {
    for (let i = 0; i < 512; i += 4) poke(RESULT + i, i === 24 ? r.word() & 0xffbf : i === 28 ? 0 : r.word());
  } else if (host) { for (let i = 0; i < 0x80; i += 4) poke(RESULT + i, r.word()); }
  if (sequence.kind !== "x87") {
    poke(CONTROL, host && r.oneIn(2) ? 0x1f80 | (r.word() & 0xe040) : 0x1f80);
    return;
  }
  // Mostly 53 bits of precision, as Windows sets it, and round to nearest; on a processor some unmasked exceptions.
  const precision = r.pick([0x0200, 0x0200, 0x0300, 0x0000]);
  const rounding = r.oneIn(4) ? r.below(4) << 10 : 0;
  poke(CONTROL, precision | rounding | (host && r.oneIn(4) ? 0x40 | r.below(64) : 0x7f));
}
