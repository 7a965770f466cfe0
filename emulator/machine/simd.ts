// SPDX-License-Identifier: Apache-2.0
/** Packed integer operations on 8 or 16 bytes, by the second opcode byte (SDM volume 2). @module */

/** Sixteen bytes, seen as lanes of every size. */
export class Lanes {
  readonly u8 = new Uint8Array(16);
  readonly i8 = new Int8Array(this.u8.buffer);
  readonly u16 = new Uint16Array(this.u8.buffer);
  readonly i16 = new Int16Array(this.u8.buffer);
  readonly u32 = new Uint32Array(this.u8.buffer);
  readonly i32 = new Int32Array(this.u8.buffer);
  readonly u64 = new BigUint64Array(this.u8.buffer);
}

/** Changes `d` by `s`; `n` is the number of bytes, 8 or 16. */
export type PackedOperation = (d: Lanes, s: Lanes, n: number) => void;

type View = "u8" | "i8" | "u16" | "i16" | "u32" | "i32";
const WIDTH: Record<View, number> = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4 };

/** One result for each pair of lanes. */
const each = (view: View, f: (a: number, b: number) => number): PackedOperation => (d, s, n) => {
  const a = d[view], b = s[view];
  for (let i = 0; i < n / WIDTH[view]; i++) a[i] = f(a[i], b[i]);
};
const clamp = (low: number, high: number) => (v: number) => v < low ? low : v > high ? high : v;
const i8 = clamp(-128, 127), u8 = clamp(0, 255), i16 = clamp(-32768, 32767), u16 = clamp(0, 65535);

const unpack = (view: "u8" | "u16" | "u32", high: boolean): PackedOperation => (d, s, n) => {
  const a = d[view].slice(), b = s[view].slice();
  const lanes = n / WIDTH[view], from = high ? lanes / 2 : 0;
  for (let i = 0; i < lanes / 2; i++) {
    d[view][2 * i] = a[from + i];
    d[view][2 * i + 1] = b[from + i];
  }
};
const unpack64 = (high: boolean): PackedOperation => (d, s) => {
  const at = high ? 1 : 0;
  const [a, b] = [d.u64[at], s.u64[at]];
  d.u64[0] = a;
  d.u64[1] = b;
};
const narrow =
  (from: "i16" | "i32", to: "i8" | "u8" | "i16", f: (v: number) => number): PackedOperation => (d, s, n) => {
    const lanes = n / WIDTH[from];
    const a = d[from].slice(), b = s[from].slice();
    for (let i = 0; i < lanes; i++) {
      d[to][i] = f(a[i]);
      d[to][lanes + i] = f(b[i]);
    }
  };
/** Shifts all lanes by one count; beyond the width the result is zero, or all sign. */
function shift(view: "u16" | "i16" | "u32" | "i32", left: boolean): PackedOperation {
  const bits = 8 * WIDTH[view];
  const signed = view[0] === "i";
  return (d, s, n) => {
    const count = s.u64[0] > 63n ? 64 : Number(s.u64[0]);
    const a = d[view];
    for (let i = 0; i < n / WIDTH[view]; i++) {
      if (count >= bits) a[i] = signed ? a[i] >> 31 : 0;
      else a[i] = left ? a[i] << count : signed ? a[i] >> count : a[i] >>> count;
    }
  };
}
const shift64 = (left: boolean): PackedOperation => (d, s, n) => {
  const count = s.u64[0];
  for (let i = 0; i < n / 8; i++) d.u64[i] = count > 63n ? 0n : left ? d.u64[i] << count : d.u64[i] >> count;
};
const quads = (f: (a: bigint, b: bigint) => bigint): PackedOperation => (d, s, n) => {
  for (let i = 0; i < n / 8; i++) d.u64[i] = f(d.u64[i], s.u64[i]);
};

/** PSRLDQ and PSLLDQ: by bytes. */
export const shiftBytes = (left: boolean): PackedOperation => (d, s) => {
  const count = s.u64[0] > 15n ? 16 : Number(s.u64[0]);
  const old = d.u8.slice();
  for (let i = 0; i < 16; i++) d.u8[i] = old[left ? i - count : i + count] ?? 0;
};

export const packedOperations: Readonly<Record<number, PackedOperation>> = {
  0x60: unpack("u8", false),
  0x61: unpack("u16", false),
  0x62: unpack("u32", false),
  0x63: narrow("i16", "i8", i8),
  0x64: each("i8", (a, b) => a > b ? -1 : 0),
  0x65: each("i16", (a, b) => a > b ? -1 : 0),
  0x66: each("i32", (a, b) => a > b ? -1 : 0),
  0x67: narrow("i16", "u8", u8),
  0x68: unpack("u8", true),
  0x69: unpack("u16", true),
  0x6a: unpack("u32", true),
  0x6b: narrow("i32", "i16", i16),
  0x6c: unpack64(false),
  0x6d: unpack64(true),
  0x74: each("i8", (a, b) => a === b ? -1 : 0),
  0x75: each("i16", (a, b) => a === b ? -1 : 0),
  0x76: each("i32", (a, b) => a === b ? -1 : 0),
  0xd1: shift("u16", false),
  0xd2: shift("u32", false),
  0xd3: shift64(false),
  0xd4: quads((a, b) => a + b),
  0xd5: each("i16", Math.imul),
  0xd8: each("u8", (a, b) => u8(a - b)),
  0xd9: each("u16", (a, b) => u16(a - b)),
  0xda: each("u8", Math.min),
  0xdb: each("i32", (a, b) => a & b),
  0xdc: each("u8", (a, b) => u8(a + b)),
  0xdd: each("u16", (a, b) => u16(a + b)),
  0xde: each("u8", Math.max),
  0xdf: each("i32", (a, b) => ~a & b),
  0xe0: each("u8", (a, b) => (a + b + 1) >> 1),
  0xe1: shift("i16", false),
  0xe2: shift("i32", false),
  0xe3: each("u16", (a, b) => (a + b + 1) >> 1),
  0xe4: each("u16", (a, b) => Math.imul(a, b) >>> 16),
  0xe5: each("i16", (a, b) => Math.imul(a, b) >> 16),
  0xe8: each("i8", (a, b) => i8(a - b)),
  0xe9: each("i16", (a, b) => i16(a - b)),
  0xea: each("i16", Math.min),
  0xeb: each("i32", (a, b) => a | b),
  0xec: each("i8", (a, b) => i8(a + b)),
  0xed: each("i16", (a, b) => i16(a + b)),
  0xee: each("i16", Math.max),
  0xef: each("i32", (a, b) => a ^ b),
  0xf1: shift("u16", true),
  0xf2: shift("u32", true),
  0xf3: shift64(true),
  0xf4: quads((a, b) => (a & 0xffff_ffffn) * (b & 0xffff_ffffn)),
  0xf5: (d, s, n) => {
    for (let i = 0; i < n / 4; i++) {
      d.i32[i] = Math.imul(d.i16[2 * i], s.i16[2 * i]) + Math.imul(d.i16[2 * i + 1], s.i16[2 * i + 1]);
    }
  },
  0xf6: (d, s, n) => {
    for (let q = 0; q < n / 8; q++) {
      let sum = 0;
      for (let i = 8 * q; i < 8 * q + 8; i++) sum += Math.abs(d.u8[i] - s.u8[i]);
      d.u64[q] = BigInt(sum);
    }
  },
  0xf8: each("i8", (a, b) => a - b),
  0xf9: each("i16", (a, b) => a - b),
  0xfa: each("i32", (a, b) => a - b),
  0xfb: quads((a, b) => a - b),
  0xfc: each("i8", (a, b) => a + b),
  0xfd: each("i16", (a, b) => a + b),
  0xfe: each("i32", (a, b) => a + b),
};

/** Opcode of the shift that an immediate form stands for: group 71, 72, 73 and ModRM digit. */
export function immediateShift(opcode: number, digit: number): PackedOperation {
  if (opcode === 0x73 && (digit === 3 || digit === 7)) return shiftBytes(digit === 7);
  const family = digit === 2 ? 0xd0 : digit === 4 ? 0xe0 : 0xf0;
  return packedOperations[family | (opcode & 3)];
}
