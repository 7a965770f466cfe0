// SPDX-License-Identifier: Apache-2.0
/**
 * The x87's transcendental functions (SDM volume 1, 8.3.5 to 8.3.10): series on integers that stand for fixed
 * point, with so many bits that the one rounding at the end is right in all but a vanishing number of cases. The
 * argument of sine, cosine and tangent is reduced by π of 66 bits, as processors do it (8.3.8).
 *
 * @module
 */
import * as f80 from "./float80.ts";
import { bitLength, type Environment, type Float80, FloatFlag, power } from "./float80.ts";

/** Significant bits that series are computed with. */
const WORKING = 160;
/** π and ln 2 with 256 bits of fraction. */
const FRACTION = 256;
const PI = 0x3_243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89n;
const LN2 = 0xb17217f7d1cf79abc9e3b39803f2f6af40f343267298b62d8a0d175b8baafa2bn;
/** π as the processor has it, in units of 2^-66. */
const PI66 = 0xc90fdaa22168c234cn;

/** A magnitude of `value` × 2^`exponent`; `exact` when nothing was cut off. */
interface Fixed {
  readonly value: bigint;
  readonly exponent: number;
  readonly exact?: boolean;
}

const magnitude = (v: bigint) => v < 0n ? -v : v;
/** Shifts left, or right when `by` is negative. */
const shift = (v: bigint, by: number) => by >= 0 ? v << BigInt(by) : v >> BigInt(-by);
/** Rounds a result; transcendental results are never exact but where it is said. */
function finish(sign: number, { value, exponent, exact }: Fixed, env: Environment): Float80 {
  const v = exact ? value : (value << 8n) | 1n;
  return f80.pack(sign, v, exact ? exponent : exponent - 8, env, 64);
}
/** The fixed point in which v × 2^p has {@link WORKING} significant bits: how many bits of fraction, and v in it. */
function normalise(v: bigint, p: number): [bits: number, fixed: bigint] {
  const bits = WORKING - (bitLength(magnitude(v)) + p);
  return [bits, shift(v, p + bits)];
}

// Series. Arguments and results are fixed point with `bits` bits of fraction.

/** Sum of t^n/n! for n = first, first + step, …; with `alternate` the signs alternate. */
function exponential(t: bigint, bits: number, first: 0 | 1, step: 1 | 2, alternate: boolean): bigint {
  const b = BigInt(bits);
  const factor = step === 1 ? t : (t * t) >> b;
  let term = first === 0 ? 1n << b : t, sum = term;
  for (let n = first; term !== 0n && term !== -1n;) {
    term = (term * factor) >> b;
    for (let i = 0; i < step; i++) term /= BigInt(++n);
    if (alternate) term = -term;
    sum += term;
  }
  return sum;
}
/** Sum of t^n/n for odd n: the inverse hyperbolic tangent, with `alternate` the inverse tangent. */
function inverseTangent(t: bigint, bits: number, alternate: boolean): bigint {
  const b = BigInt(bits), square = (t * t) >> b;
  let term = t, sum = t;
  for (let n = 3n; term !== 0n && term !== -1n; n += 2n) {
    term = (term * square) >> b;
    if (alternate) term = -term;
    sum += term / n;
  }
  return sum;
}

/** Sine and cosine of a reduced argument, before rounding. */
interface Turn {
  readonly sine: Fixed;
  readonly cosine: Fixed;
  readonly sineSign: number;
  readonly cosineSign: number;
}
/** Below this power of two a sine is its argument to all bits that count, and a cosine is 1. */
const TINY = -70;

/** Finite a ≠ 0 below 2^63. */
function turn(a: Float80): Turn {
  let v = a.significand, p = power(a), quadrant = 0;
  if (a.exponent >= 0x3ffe) {
    const unit = Math.min(p, -67);
    const x = v << BigInt(p - unit), quarter = PI66 << BigInt(-67 - unit);
    const turns = (2n * x + quarter) / (2n * quarter);
    v = x - turns * quarter;
    p = unit;
    quadrant = Number(turns & 3n);
  }
  const negative = v < 0n;
  v = magnitude(v);
  let sine: Fixed, cosine: Fixed;
  if (bitLength(v) + p < TINY) {
    // Both are a little less.
    sine = { value: (v << 80n) - 1n, exponent: p - 80 };
    cosine = { value: (1n << 200n) - 1n, exponent: -200 };
  } else {
    const [bits, t] = normalise(v, p);
    sine = { value: exponential(t, bits, 1, 2, true), exponent: -bits };
    cosine = { value: exponential(t, bits, 0, 2, true), exponent: -bits };
  }
  const s = negative ? 1 : 0;
  const turned = [
    { sine, cosine, sineSign: s, cosineSign: 0 },
    { sine: cosine, cosine: sine, sineSign: 0, cosineSign: 1 ^ s },
    { sine, cosine, sineSign: 1 ^ s, cosineSign: 1 },
    { sine: cosine, cosine: sine, sineSign: 1, cosineSign: s },
  ][quadrant];
  return { ...turned, sineSign: turned.sineSign ^ a.sign };
}

/** True when the argument is out of range: the functions then leave it and set C2. */
export const outOfRange = (a: Float80): boolean =>
  a.exponent >= 0x3fff + 63 && a.exponent !== 0x7fff && !f80.isUnsupported(a);

/** What zero, infinity and NaNs give; undefined for other numbers. */
function special(a: Float80, atZero: Float80, env: Environment): Float80 | undefined {
  const nan = f80.checkOperands(a, a, env);
  if (nan) return nan;
  if (f80.isZero(a)) return atZero;
  return f80.isInfinity(a) ? f80.invalid(env) : undefined;
}

/** FSIN. */
export function sine(a: Float80, env: Environment): Float80 {
  const known = special(a, a, env);
  if (known) return known;
  const t = turn(a);
  return finish(t.sineSign, t.sine, env);
}
/** FCOS. */
export function cosine(a: Float80, env: Environment): Float80 {
  const known = special(a, f80.ONE, env);
  if (known) return known;
  const t = turn(a);
  return finish(t.cosineSign, t.cosine, env);
}
/** FPTAN. */
export function tangent(a: Float80, env: Environment): Float80 {
  const known = special(a, a, env);
  if (known) return known;
  const t = turn(a);
  const { sine: s, cosine: c } = t;
  const by = WORKING + bitLength(c.value);
  const value = (s.value << BigInt(by)) / c.value;
  const exponent = s.exponent - c.exponent - by;
  return finish(t.sineSign ^ t.cosineSign, { value, exponent }, env);
}

/** F2XM1: 2^a - 1 for -1 ≤ a ≤ 1; other arguments, for which nothing is promised, come back as they are. */
export function exponentialMinusOne(a: Float80, env: Environment): Float80 {
  const nan = f80.checkOperands(a, a, env);
  if (nan) return nan;
  if (f80.isInfinity(a)) return a.sign ? { ...f80.ONE, sign: 1 } : a;
  if (f80.isZero(a) || a.exponent > 0x3fff) return a;
  if (a.exponent === 0x3fff) {
    if (a.significand !== f80.ONE.significand) return a;
    return a.sign ? { ...f80.ONE, sign: 1, exponent: 0x3ffe } : a;
  }
  const [bits, x] = normalise(a.significand, power(a));
  const t = (x * LN2) >> BigInt(FRACTION);
  const value = magnitude(exponential(a.sign ? -t : t, bits, 1, 1, false));
  return finish(a.sign, { value, exponent: -bits }, env);
}

/** log2((2n + d) / (2n - d))… of a quotient d / s = (m - 1) / (m + 1): sign and magnitude of log2(m), plus `whole`. */
function logarithm(d: bigint, s: bigint, whole: number): Fixed & { readonly sign: number } {
  if (d === 0n) {
    return { sign: whole < 0 ? 1 : 0, value: BigInt(Math.abs(whole)), exponent: 0, exact: true };
  }
  const bits = WORKING + bitLength(s) - bitLength(magnitude(d));
  const z = (d << BigInt(bits)) / s;
  const natural = 2n * inverseTangent(z, bits, false);
  const sum = (natural << BigInt(FRACTION)) / LN2 + (BigInt(whole) << BigInt(bits));
  return { sign: sum < 0n ? 1 : 0, value: magnitude(sum), exponent: -bits };
}
/** log2 of v × 2^p. */
function logarithmOf(v: bigint, p: number): ReturnType<typeof logarithm> {
  // The number is m × 2^whole with m between 3/4 and 3/2.
  const length = bitLength(v);
  const unit = v >> BigInt(Math.max(0, length - 2)) === 3n ? length : length - 1;
  const one = 1n << BigInt(unit);
  return logarithm(v - one, v + one, p + unit);
}
/** y × a logarithm. */
function times(y: Float80, l: ReturnType<typeof logarithm>, env: Environment): Float80 {
  const product = { value: l.value * y.significand, exponent: l.exponent + power(y), exact: l.exact };
  return product.value === 0n ? f80.zero(y.sign ^ l.sign) : finish(y.sign ^ l.sign, product, env);
}

/** FYL2X: y × log2(x). */
export function logarithmTimes(x: Float80, y: Float80, env: Environment): Float80 {
  const nan = f80.checkOperands(x, y, env);
  if (nan) return nan;
  if (f80.isZero(x)) {
    if (f80.isZero(y)) return f80.invalid(env);
    if (!f80.isInfinity(y)) {
      env.flags = (env.flags & ~FloatFlag.denormal) | FloatFlag.zeroDivide;
    }
    return f80.infinity(y.sign ^ 1);
  }
  if (x.sign) return f80.invalid(env);
  if (f80.isInfinity(x)) return f80.isZero(y) ? f80.invalid(env) : f80.infinity(y.sign);
  const l = logarithmOf(x.significand, power(x));
  if (l.value === 0n) return f80.isInfinity(y) ? f80.invalid(env) : f80.zero(y.sign);
  if (f80.isInfinity(y)) return f80.infinity(y.sign ^ l.sign);
  return times(y, l, env);
}

/** FYL2XP1: y × log2(x + 1) for x from -(1 - √½) to √½ - 1; beyond, as far as there is a logarithm. */
export function logarithmPlusOneTimes(x: Float80, y: Float80, env: Environment): Float80 {
  const nan = f80.checkOperands(x, y, env);
  if (nan) return nan;
  if (f80.isZero(x)) return f80.isInfinity(y) ? f80.invalid(env) : f80.zero(x.sign ^ y.sign);
  if (f80.isInfinity(x)) {
    return x.sign || f80.isZero(y) ? f80.invalid(env) : f80.infinity(y.sign);
  }
  // Below -1 there is none; nothing is promised there.
  if (x.sign && x.exponent >= 0x3fff) return f80.invalid(env);
  if (f80.isInfinity(y)) return f80.infinity(x.sign ^ y.sign);
  if (f80.isZero(y)) return f80.zero(x.sign ^ y.sign);
  if (x.exponent > 0x3fff + 70) return logarithmTimes(x, y, env);
  const p = power(x), d = x.sign ? -x.significand : x.significand;
  if (bitLength(x.significand) + p < TINY) {
    // x / ln 2, and a little less towards minus infinity.
    const value = ((x.significand * y.significand) << BigInt(2 * FRACTION)) / LN2;
    return finish(x.sign ^ y.sign, { value, exponent: p + power(y) - FRACTION }, env);
  }
  const one = p < 0 ? 1n << BigInt(-p) : 1n, scaled = p < 0 ? d : d << BigInt(p);
  // Near zero by the small part itself, so that none of it is lost.
  const l = x.exponent < 0x3ffd
    ? logarithm(scaled, 2n * one + scaled, 0)
    : logarithmOf(one + scaled, Math.min(p, 0));
  return times(y, l, env);
}

/** The inverse tangent of n / d, 0 < n ≤ d, each an integer times a power of two. */
function inverseTangentOf(n: bigint, d: bigint, exponent: number): Fixed {
  const quotient = (n << BigInt(WORKING + 64)) / d;
  const p = exponent - WORKING - 64;
  if (bitLength(quotient) + p < TINY) {
    const exact = quotient * d === n << BigInt(WORKING + 64);
    return { value: (quotient << 80n) - (exact ? 1n : 0n), exponent: p - 80 };
  }
  let [bits, t] = normalise(quotient, p);
  let doublings = 0;
  const one = 1n << BigInt(bits);
  // atan t = 2 atan(t / (1 + √(1 + t²))).
  for (; t > one >> 3n; doublings++) {
    t = (t << BigInt(bits)) / (one + f80.integerRoot((one << BigInt(bits)) + t * t));
  }
  return { value: inverseTangent(t, bits, true) << BigInt(doublings), exponent: -bits };
}

/** FPATAN: the angle of the point (x, y). */
export function angle(x: Float80, y: Float80, env: Environment): Float80 {
  const nan = f80.checkOperands(x, y, env);
  if (nan) return nan;
  const quarters = (n: bigint): Float80 => finish(y.sign, { value: n * PI, exponent: -FRACTION - 2 }, env);
  if (f80.isInfinity(y)) return quarters(f80.isInfinity(x) ? (x.sign ? 3n : 1n) : 2n);
  if (f80.isZero(y) || f80.isInfinity(x)) return x.sign ? quarters(4n) : f80.zero(y.sign);
  if (f80.isZero(x)) return quarters(2n);
  const difference = power(y) + bitLength(y.significand) - power(x) - bitLength(x.significand);
  // Far from the diagonal the angle is a multiple of a quarter turn to all bits that count.
  if (difference > 200) return quarters(2n);
  const exponent = power(y) - power(x);
  if (difference < -200 && x.sign) return quarters(4n);
  const steep = difference > 0 ||
    (difference === 0 &&
      shift(y.significand, Math.max(0, exponent)) > shift(x.significand, Math.max(0, -exponent)));
  const small = steep
    ? inverseTangentOf(x.significand, y.significand, -exponent)
    : inverseTangentOf(y.significand, x.significand, exponent);
  if (!steep && !x.sign) return finish(y.sign, small, env);
  const a = shift(small.value, small.exponent + FRACTION);
  const value = steep ? (x.sign ? (PI >> 1n) + a : (PI >> 1n) - a) : PI - a;
  return finish(y.sign, { value, exponent: -FRACTION }, env);
}
