// SPDX-License-Identifier: Apache-2.0
/**
 * SSE and SSE2 on floating point (SDM volume 1, 10.4 and 11.4, appendix E). What the host's arithmetic gives
 * exactly is taken from it; flags, other roundings and the edges go through the exact arithmetic.
 *
 * @module
 */
import { type Core, Flag } from "../core.ts";
import { GuestFault } from "../fault.ts";
import * as f80 from "../float80.ts";
import { type Environment, FloatFlag } from "../float80.ts";
import type { OpView } from "../op_view.ts";
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
  readMemory,
  S,
  sse,
  storeMmx,
  storeXmm,
} from "./simd_operands.ts"; // deno-fmt-ignore

type Width = 32 | 64;
const XM = 19;
const DAZ = 0x40, FTZ = 0x8000, PRECISION = 0x20;

const views = (buffer: ArrayBufferLike) => ({
  f32: new Float32Array(buffer as ArrayBuffer),
  f64: new Float64Array(buffer as ArrayBuffer),
});
const DF = views(D.u8.buffer), SF = views(S.u8.buffer);
const LEAST = { 32: 2 ** -126, 64: 2 ** -1022 } as const;
const MOST = { 32: 3.4028234663852886e38, 64: Number.MAX_VALUE } as const;

/** Rounding and flags of the current instruction. */
const env: Environment = { rounding: 0, precision: 53, flags: 0 };
const quietEnv: Environment = { rounding: 0, precision: 64, flags: 0 };

function begin(core: Core, width: Width): void {
  env.rounding = (core.mxcsr >> 13) & 3;
  env.precision = width === 64 ? 53 : 24;
  env.least = width === 64 ? -1022 : -126;
  env.most = width === 64 ? 1023 : 127;
  env.flags = 0;
}
/** Takes the flags into MXCSR; an unmasked one raises #XM. */
function end(core: Core): void {
  const flags = env.flags & 0x3f;
  const before = core.mxcsr;
  core.mxcsr |= flags;
  if (flags & ~(before >> 7)) throw new GuestFault(core.cr4 & 0x400 ? XM : 6);
}

const value = (lanes: typeof DF, width: Width, i: number) => width === 64 ? lanes.f64[i] : lanes.f32[i];
const bits = (lanes: typeof D, width: Width, i: number) => width === 64 ? lanes.u64[i] : BigInt(lanes.u32[i]);
function setBits(width: Width, i: number, raw: bigint): void {
  if (width === 64) D.u64[i] = raw;
  else D.u32[i] = Number(raw);
}
const quietBit = (width: Width) => width === 64 ? 1n << 51n : 1n << 22n;
const isSignaling = (raw: bigint, width: Width) => (raw & quietBit(width)) === 0n;
const isDenormal = (v: number, width: Width) => v !== 0 && Math.abs(v) < LEAST[width];
const fetch = (raw: bigint, width: Width) => f80.fromBits(raw, width, quietEnv);

/** Replaces denormals by zeros under DAZ. */
function flushDenormals(core: Core, width: Width, lanes: typeof D, floats: typeof DF, count: number): void {
  if (!(core.mxcsr & DAZ)) return;
  for (let i = 0; i < count; i++) {
    if (!isDenormal(value(floats, width, i), width)) continue;
    if (width === 64) lanes.u64[i] &= 1n << 63n;
    else lanes.u32[i] &= 0x8000_0000;
  }
}

/** A rounded result, as bits; under FTZ a tiny one becomes zero, even when it is exact. */
function finish(core: Core, result: f80.Float80, width: Width): bigint {
  const tiny = (env.flags & FloatFlag.underflow) !== 0 ||
    (!f80.isZero(result) && result.exponent - 16383 < env.least!);
  if (core.mxcsr & FTZ && tiny && core.mxcsr & 0x800) {
    env.flags |= FloatFlag.precision | FloatFlag.underflow;
    return BigInt(result.sign) << BigInt(width - 1);
  }
  return f80.toBits(result, width, quietEnv);
}

/** One lane of an arithmetic operation, by the opcode's low digit. */
function lane(core: Core, opcode: number, width: Width, i: number): void {
  const a = value(DF, width, i), b = value(SF, width, i);
  const rootOnly = opcode === 0x51;
  const minmax = opcode === 0x5d || opcode === 0x5f;
  if (Number.isNaN(b) || (Number.isNaN(a) && !rootOnly)) {
    const ra = bits(D, width, i), rb = bits(S, width, i);
    const nanA = Number.isNaN(a) && !rootOnly;
    const signaling = (nanA && isSignaling(ra, width)) || (Number.isNaN(b) && isSignaling(rb, width));
    if (minmax || signaling) env.flags |= FloatFlag.invalid;
    setBits(width, i, minmax ? rb : (nanA ? ra : rb) | quietBit(width));
    return;
  }
  if (minmax) {
    if (isDenormal(a, width) || isDenormal(b, width)) env.flags |= FloatFlag.denormal;
    const keep = opcode === 0x5d ? a < b : a > b;
    if (!keep) setBits(width, i, bits(S, width, i));
    return;
  }
  const tame = (v: number) => v === 0 || (Math.abs(v) >= LEAST[width] && Math.abs(v) <= MOST[width]);
  if (env.rounding === 0 && core.mxcsr & PRECISION && tame(b) && (tame(a) || rootOnly)) {
    let r: number;
    if (opcode === 0x58) r = a + b;
    else if (opcode === 0x59) r = a * b;
    else if (opcode === 0x5c) r = a - b;
    else if (opcode === 0x5e) r = a / b;
    else r = Math.sqrt(b);
    if (width === 32) r = Math.fround(r);
    // Zero is exact only as a sum, or as a product with zero.
    const exactZero = r === 0 &&
      (opcode === 0x58 || opcode === 0x5c || a === 0 || (b === 0 && opcode !== 0x5e));
    if ((r !== 0 && tame(r) && Math.abs(r) > LEAST[width]) || exactZero) {
      if (width === 64) DF.f64[i] = r;
      else DF.f32[i] = r;
      return;
    }
  }
  const denormal = isDenormal(b, width) || (isDenormal(a, width) && !rootOnly);
  const before = env.flags;
  const x = fetch(bits(D, width, i), width), y = fetch(bits(S, width, i), width);
  const own: Environment = { ...env, flags: 0 };
  let r: f80.Float80;
  if (opcode === 0x58) r = f80.add(x, y, own);
  else if (opcode === 0x59) r = f80.multiply(x, y, own);
  else if (opcode === 0x5c) r = f80.add(x, y, own, true);
  else if (opcode === 0x5e) r = f80.divide(x, y, own);
  else r = f80.squareRoot(y, own);
  env.flags = own.flags & ~FloatFlag.denormal;
  // Invalid and division by zero take precedence over a denormal operand.
  if (denormal && !(own.flags & (FloatFlag.invalid | FloatFlag.zeroDivide))) env.flags |= FloatFlag.denormal;
  const raw = finish(core, r, width);
  env.flags |= before;
  setBits(width, i, raw);
}

/** Width and number of lanes by the mandatory prefix: ps, pd, ss, sd. */
const SHAPES: [Width, number][] = [[32, 4], [64, 2], [32, 1], [64, 1]];
function loadPair(core: Core, op: OpView): [width: Width, count: number] {
  const [width, count] = SHAPES[prefixOf(op)];
  loadW(core, op, S, (width / 8) * count);
  loadXmm(core, op.reg, D);
  begin(core, width);
  flushDenormals(core, width, D, DF, count);
  flushDenormals(core, width, S, SF, count);
  return [width, count];
}

/** Loads both operands whole. */
function loadSame(core: Core, op: OpView, width: Width): void {
  loadW(core, op, S, 16);
  loadXmm(core, op.reg, D);
  begin(core, width);
  flushDenormals(core, width, D, DF, 128 / width);
  flushDenormals(core, width, S, SF, 128 / width);
}

/** RCPPS and RSQRTPS: a result of 12 bits, no flags; denormals count as zero (SDM volume 2). */
function approximate(raw: number, v: number, root: boolean): number {
  const sign = raw & 0x8000_0000;
  if (Number.isNaN(v)) return (raw | 0x0040_0000) >>> 0;
  if (isDenormal(v, 32) || v === 0) return (sign | 0x7f80_0000) >>> 0;
  if (root && v < 0) return 0xffc0_0000;
  const r = Math.fround(1 / (root ? Math.sqrt(v) : v));
  if (Math.abs(r) <= LEAST[32]) return sign >>> 0;
  scratch.setFloat32(0, r);
  return ((scratch.getUint32(0) + 0x400) & ~0x7ff) >>> 0;
}
const scratch = new DataView(new ArrayBuffer(4));

/** Relation of two lanes. */
function relate(
  a: number,
  b: number,
  i: number,
  width: Width,
  quiet: boolean,
): "unordered" | "less" | "equal" | "greater" {
  if (Number.isNaN(a) || Number.isNaN(b)) {
    const signaling = (Number.isNaN(a) && isSignaling(bits(D, width, i), width)) ||
      (Number.isNaN(b) && isSignaling(bits(S, width, i), width));
    if (!quiet || signaling) env.flags |= FloatFlag.invalid;
    return "unordered";
  }
  if (isDenormal(a, width) || isDenormal(b, width)) env.flags |= FloatFlag.denormal;
  return a < b ? "less" : a > b ? "greater" : "equal";
}

/** A lane as a 32-bit integer. */
function integer(raw: bigint, width: Width, truncate: boolean): number {
  const own: Environment = { ...env, flags: 0 };
  const result = Number(f80.toInteger(fetch(raw, width), 32, own, truncate ? 3 : env.rounding));
  env.flags |= own.flags;
  return result;
}
/** Bits of a float made from a 32-bit integer. */
const fromInteger = (v: number, width: Width) => f80.toBits(f80.fromInteger(BigInt(v)), width, env);

/** Bits of a float in the other width. */
function convert(core: Core, raw: bigint, from: Width, v: number): bigint {
  const to = from === 64 ? 32 : 64;
  if (Number.isNaN(v)) {
    if (isSignaling(raw, from)) env.flags |= FloatFlag.invalid;
    return f80.toBits(fetch(raw, from), to, quietEnv);
  }
  const x = fetch(raw, from);
  if (to === 64 || f80.isZero(x) || f80.isInfinity(x)) {
    if (isDenormal(v, from)) env.flags |= FloatFlag.denormal;
    return f80.toBits(x, to, quietEnv);
  }
  const before = env.flags | (isDenormal(v, from) ? FloatFlag.denormal : 0);
  env.flags = 0;
  const result = finish(core, f80.pack(x.sign, x.significand, f80.power(x), env), to);
  env.flags |= before;
  return result;
}

const helpers: Record<string, Helper> = {
  sseArithmetic: (core, op) => {
    const [width, count] = loadPair(core, op);
    const opcode = opcodeOf(op);
    for (let i = 0; i < count; i++) lane(core, opcode, width, i);
    end(core);
    storeXmm(core, op.reg, D);
  },
  sseHorizontal: (core, op) => {
    const width = prefixOf(op) === 1 ? 64 : 32, count = 128 / width;
    loadSame(core, op, width);
    // Neighbours face each other: those of the destination first, then those of the source.
    const all = width === 64 ? [...D.u64, ...S.u64] : [...D.u32, ...S.u32].map(BigInt);
    for (let i = 0; i < count; i++) {
      setBits(width, i, all[2 * i]);
      if (width === 64) S.u64[i] = all[2 * i + 1];
      else S.u32[i] = Number(all[2 * i + 1]);
    }
    for (let i = 0; i < count; i++) lane(core, opcodeOf(op) === 0x7c ? 0x58 : 0x5c, width, i);
    end(core);
    storeXmm(core, op.reg, D);
  },
  sseAddSub: (core, op) => {
    const width = prefixOf(op) === 1 ? 64 : 32;
    loadSame(core, op, width);
    for (let i = 0; i < 128 / width; i++) lane(core, i & 1 ? 0x58 : 0x5c, width, i);
    end(core);
    storeXmm(core, op.reg, D);
  },
  sseApproximate: (core, op) => {
    const count = prefixOf(op) === 0 ? 4 : 1;
    loadW(core, op, S, 4 * count);
    loadXmm(core, op.reg, D);
    for (let i = 0; i < count; i++) D.u32[i] = approximate(S.u32[i], SF.f32[i], opcodeOf(op) === 0x52);
    storeXmm(core, op.reg, D);
  },
  sseCompare: (core, op) => {
    const [width, count] = loadPair(core, op);
    const predicate = op.immediate & 7;
    const kind = predicate & 3;
    for (let i = 0; i < count; i++) {
      const order = relate(value(DF, width, i), value(SF, width, i), i, width, kind === 0 || kind === 3);
      const holds = kind === 0
        ? order === "equal"
        : kind === 1
        ? order === "less"
        : kind === 2
        ? order === "less" || order === "equal"
        : order === "unordered";
      setBits(width, i, holds !== predicate > 3 ? (1n << BigInt(width)) - 1n : 0n);
    }
    end(core);
    storeXmm(core, op.reg, D);
  },
  sseOrder: (core, op) => {
    const width = prefixOf(op) === 1 ? 64 : 32;
    loadW(core, op, S, width / 8);
    loadXmm(core, op.reg, D);
    begin(core, width);
    flushDenormals(core, width, D, DF, 1);
    flushDenormals(core, width, S, SF, 1);
    const order = relate(value(DF, width, 0), value(SF, width, 0), 0, width, opcodeOf(op) === 0x2e);
    end(core);
    const arithmetic = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf | Flag.of;
    const set = { greater: 0, less: Flag.cf, equal: Flag.zf, unordered: Flag.cf | Flag.zf | Flag.pf }[order];
    core.eflags = (core.eflags & ~arithmetic) | set;
  },
  sseFromInteger: (core, op) => {
    const width = prefixOf(op) === 2 ? 32 : 64;
    const v = op.readRm(4) | 0;
    loadXmm(core, op.reg, D);
    begin(core, width);
    setBits(width, 0, fromInteger(v, width));
    end(core);
    storeXmm(core, op.reg, D);
  },
  sseToInteger: (core, op) => {
    const width = prefixOf(op) === 2 ? 32 : 64;
    loadW(core, op, S, width / 8);
    begin(core, width);
    flushDenormals(core, width, S, SF, 1);
    const result = integer(bits(S, width, 0), width, opcodeOf(op) === 0x2c);
    end(core);
    core.setReg(op.reg, result);
  },
  sseConvert: (core, op) => {
    const prefix = prefixOf(op);
    const from: Width = prefix === 0 || prefix === 2 ? 32 : 64;
    const count = prefix < 2 ? 2 : 1;
    loadW(core, op, S, prefix === 1 ? 16 : (from / 8) * count);
    loadXmm(core, op.reg, D);
    begin(core, from === 64 ? 32 : 64);
    flushDenormals(core, from, S, SF, count);
    const results = Array.from(
      { length: count },
      (_, i) => convert(core, bits(S, from, i), from, value(SF, from, i)),
    );
    end(core);
    results.forEach((raw, i) => setBits(from === 64 ? 32 : 64, i, raw));
    if (prefix === 1) D.u64[1] = 0n;
    storeXmm(core, op.reg, D);
  },
  sseConvertPacked: (core, op) => {
    const wide = opcodeOf(op) === 0xe6, prefix = prefixOf(op);
    const widen = wide && prefix === 2;
    loadW(core, op, S, widen ? 8 : 16);
    begin(core, wide ? 64 : 32);
    D.u64.fill(0n);
    if (widen) { for (let i = 0; i < 2; i++) setBits(64, i, fromInteger(S.i32[i], 64)); }
    else if (wide) {
      flushDenormals(core, 64, S, SF, 2);
      for (let i = 0; i < 2; i++) D.i32[i] = integer(S.u64[i], 64, prefix === 1);
    } else if (prefix === 0) { for (let i = 0; i < 4; i++) setBits(32, i, fromInteger(S.i32[i], 32)); }
    else {
      flushDenormals(core, 32, S, SF, 4);
      for (let i = 0; i < 4; i++) D.i32[i] = integer(BigInt(S.u32[i]), 32, prefix === 2);
    }
    end(core);
    storeXmm(core, op.reg, D);
  },
  sseFromPacked: mmx((core, op) => {
    const width = prefixOf(op) === 1 ? 64 : 32;
    loadQ(core, op, S);
    loadXmm(core, op.reg, D);
    begin(core, width);
    for (let i = 0; i < 2; i++) setBits(width, i, fromInteger(S.i32[i], width));
    end(core);
    if (op.isRegister || width === 32) enterMmx(core);
    storeXmm(core, op.reg, D);
  }),
  sseToPacked: mmx((core, op) => {
    const width = prefixOf(op) === 1 ? 64 : 32;
    if (op.isRegister) loadXmm(core, op.rm, S);
    else readMemory(core, op, width === 64 ? 16 : 8, S, width === 64);
    begin(core, width);
    flushDenormals(core, width, S, SF, 2);
    loadMmx(core, op.reg, D);
    for (let i = 0; i < 2; i++) D.i32[i] = integer(bits(S, width, i), width, opcodeOf(op) === 0x2c);
    end(core);
    enterMmx(core);
    storeMmx(core, op.reg, D);
  }),
};

export const simdFloatHelpers: Record<string, Helper> = Object.fromEntries(
  Object.entries(helpers).map(([name, helper]) => [name, sse(helper)]),
);
