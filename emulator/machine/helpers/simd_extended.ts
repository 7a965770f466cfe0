// SPDX-License-Identifier: Apache-2.0
/** SSE3 moves, and SSSE3 on MMX and XMM registers (SDM volume 2). @module */
import type { OpView } from "../op_view.ts";
import type { Lanes, PackedOperation } from "../simd.ts";
import type { Helper } from "./helper.ts";
import {
  D,
  enterMmx,
  loadMmx,
  loadQ,
  loadW,
  loadXmm,
  mmx,
  opcodeOf,
  prefixOf,
  S,
  sse,
  storeMmx,
  storeXmm,
} from "./simd_operands.ts"; // deno-fmt-ignore

const saturate = (v: number) => v < -32768 ? -32768 : v > 32767 ? 32767 : v;

/** Neighbours with each other: those of the destination, then those of the source. */
const horizontal =
  (view: "i16" | "i32", f: (a: number, b: number) => number): PackedOperation => (d, s, n) => {
    const half = n / (view === "i16" ? 4 : 8);
    const a = d[view].slice(), b = s[view].slice();
    for (let i = 0; i < half; i++) {
      d[view][i] = f(a[2 * i], a[2 * i + 1]);
      d[view][half + i] = f(b[2 * i], b[2 * i + 1]);
    }
  };
const lanes = (
  view: "i8" | "i16" | "i32",
  f: (a: number, b: number) => number,
): PackedOperation =>
(d, s) => {
  for (let i = 0; i < d[view].length; i++) d[view][i] = f(d[view][i], s[view][i]);
};
const sign = (a: number, b: number) => b < 0 ? -a : b === 0 ? 0 : a;
const absolute = (_a: number, b: number) => Math.abs(b);

/** By the third opcode byte. */
const OPERATIONS: Readonly<Record<number, PackedOperation>> = {
  0x00: (d, s, n) => {
    const old = d.u8.slice();
    for (let i = 0; i < n; i++) d.u8[i] = s.u8[i] & 0x80 ? 0 : old[s.u8[i] & (n - 1)];
  },
  0x01: horizontal("i16", (a, b) => a + b),
  0x02: horizontal("i32", (a, b) => a + b),
  0x03: horizontal("i16", (a, b) => saturate(a + b)),
  0x04: (d, s) => {
    const a = d.u8.slice();
    for (let i = 0; i < 8; i++) {
      d.i16[i] = saturate(a[2 * i] * s.i8[2 * i] + a[2 * i + 1] * s.i8[2 * i + 1]);
    }
  },
  0x05: horizontal("i16", (a, b) => a - b),
  0x06: horizontal("i32", (a, b) => a - b),
  0x07: horizontal("i16", (a, b) => saturate(a - b)),
  0x08: lanes("i8", sign),
  0x09: lanes("i16", sign),
  0x0a: lanes("i32", sign),
  0x0b: lanes("i16", (a, b) => ((Math.imul(a, b) >> 14) + 1) >> 1),
  0x1c: lanes("i8", absolute),
  0x1d: lanes("i16", absolute),
  0x1e: lanes("i32", absolute),
};

/** PALIGNR: destination above source, shifted right by bytes. */
function align(d: Lanes, s: Lanes, n: number, by: number): void {
  const joined = [...s.u8.subarray(0, n), ...d.u8.subarray(0, n)];
  for (let i = 0; i < n; i++) d.u8[i] = joined[i + by] ?? 0;
}
function operate(op: OpView, n: number): void {
  const opcode = opcodeOf(op);
  // The only one in the map of 0F 3A.
  if (opcode === 0x0f) align(D, S, n, op.immediate & 0xff);
  else OPERATIONS[opcode](D, S, n);
}

export const simdExtendedHelpers: Record<string, Helper> = {
  mmxSsse3: mmx((core, op) => {
    loadQ(core, op, S);
    loadMmx(core, op.reg, D);
    operate(op, 8);
    enterMmx(core);
    storeMmx(core, op.reg, D);
  }),
  sseSsse3: sse((core, op) => {
    loadW(core, op, S);
    loadXmm(core, op.reg, D);
    operate(op, 16);
    storeXmm(core, op.reg, D);
  }),
  sseDuplicate: sse((core, op) => {
    // MOVDDUP reads eight bytes; MOVSLDUP and MOVSHDUP take even and odd words.
    const quads = prefixOf(op) === 3;
    loadW(core, op, S, quads ? 8 : 16);
    const odd = opcodeOf(op) === 0x16 ? 1 : 0;
    for (let i = 0; i < 4; i++) D.u32[i] = S.u32[quads ? i & 1 : (i & 2) | odd];
    storeXmm(core, op.reg, D);
  }),
};
