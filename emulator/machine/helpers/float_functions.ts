// SPDX-License-Identifier: Apache-2.0
/** x87 instructions that compute transcendental functions, and packed decimals (SDM volume 1, 8.3; volume 2). @module */
import * as f80 from "../float80.ts";
import { type Float80, FloatFlag } from "../float80.ts";
import type { Environment } from "../float80.ts";
import type { Fpu } from "../fpu.ts";
import * as transcendental from "../transcendental.ts";
import { read64, unary, waiting, write64 } from "./float.ts";
import type { Helper } from "./helper.ts";

const C2 = 0x400, STACK_FAULT = 0x40;

/** Replaces ST(0) by a function of the angle in it; beyond 2^63 leaves it and says so in C2. */
const ofAngle = (compute: (a: Float80, env: Environment) => Float80): Helper =>
  waiting((f) => {
    const a = f.get(0);
    if (!f.isEmpty(0) && transcendental.outOfRange(a)) return beyond(f);
    const result = f.isEmpty(0) ? f80.INDEFINITE : compute(a, f.env);
    if (!f.end()) return;
    f.status &= ~C2;
    f.set(0, result);
  });
function beyond(f: Fpu): void {
  f.end();
  f.status |= C2;
}

/** Replaces ST(0) by a first function of it and pushes a second one. */
const ofAngleTwice = (
  first: (a: Float80, env: Environment) => Float80,
  second: (a: Float80, env: Environment) => Float80,
): Helper =>
  waiting((f) => {
    const full = !f.isEmpty(7), empty = f.isEmpty(0);
    const a = f.get(0);
    if (!empty && !full && transcendental.outOfRange(a)) return beyond(f);
    let below = f80.INDEFINITE, top = f80.INDEFINITE;
    if (full) f.env.flags |= FloatFlag.invalid | STACK_FAULT | f80.ROUNDED_UP;
    else if (!empty) {
      below = first(a, f.env);
      top = second(a, f.env);
    }
    if (!f.end()) return;
    f.status &= ~C2;
    f.set(0, below);
    f.top = (f.top - 1) & 7;
    f.set(0, top);
  });

/** Replaces ST(1) by a function of both, and pops. */
const ofTwo = (compute: (a: Float80, b: Float80, env: Environment) => Float80): Helper =>
  waiting((f) => {
    const a = f.get(0), b = f.get(1);
    const result = f.env.flags & STACK_FAULT ? f80.INDEFINITE : compute(a, b, f.env);
    if (!f.end()) return;
    f.set(1, result);
    f.pop();
  });

const DIGITS = 18, MOST = 10n ** 18n - 1n;
/** The indefinite packed decimal. */
const DECIMAL_INDEFINITE = { low: 0xc000_0000_0000_0000n, high: 0xffff };

export const floatFunctionHelpers: Record<string, Helper> = {
  fsin: ofAngle(transcendental.sine),
  fcos: ofAngle(transcendental.cosine),
  fsincos: ofAngleTwice(transcendental.sine, transcendental.cosine),
  fptan: ofAngleTwice(
    transcendental.tangent,
    // The NaN that a NaN or infinity gives is pushed as well.
    (a, env) => a.exponent === 0x7fff || f80.isUnsupported(a) ? transcendental.tangent(a, env) : f80.ONE,
  ),
  fpatan: ofTwo(transcendental.angle),
  fyl2x: ofTwo(transcendental.logarithmTimes),
  fyl2xp1: ofTwo(transcendental.logarithmPlusOneTimes),
  f2xm1: unary((a, f) => transcendental.exponentialMinusOne(a, f.env)),
  fbld: waiting((f, core, op) => {
    const at = op.memory(10, false);
    const low = read64(core, at), high = core.read((at + 8) | 0, 2);
    let value = 0n;
    for (let i = DIGITS - 1; i >= 0; i--) {
      value = value * 10n + (i < 16 ? (low >> BigInt(4 * i)) & 15n : BigInt((high >> (4 * (i - 16))) & 15));
    }
    f.push({ ...f80.fromInteger(value), sign: high >> 15 });
  }),
  fbstp: waiting((f, core, op) => {
    const a = f.get(0);
    const at = op.memory(10, true);
    core.prepareWrite(at, 10);
    const before = f.env.flags;
    const integer = f80.toInteger(a, 64, f.env);
    const magnitude = integer < 0n ? -integer : integer;
    let { low, high } = DECIMAL_INDEFINITE;
    if (f.env.flags & FloatFlag.invalid || magnitude > MOST) f.env.flags = before | FloatFlag.invalid;
    else {
      const digits = magnitude.toString().padStart(DIGITS, "0");
      low = BigInt(`0x${digits.slice(2)}`);
      high = (a.sign << 15) | parseInt(digits.slice(0, 2), 16);
    }
    if (!f.end()) return;
    write64(core, at, low);
    core.write((at + 8) | 0, 2, high);
    f.pop();
  }),
};
