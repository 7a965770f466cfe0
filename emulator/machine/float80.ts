// SPDX-License-Identifier: Apache-2.0
/**
 * Arithmetic on the x87's 80-bit numbers, exact to the bit (SDM volume 1, 4.8 and 8.5; IEEE 754): every
 * operation is done on integers of any size and rounded once.
 *
 * @module
 */

/** An 80-bit number: sign, biased exponent (15 bits), significand with its explicit integer bit. */
export interface Float80 {
  readonly sign: number;
  readonly exponent: number;
  readonly significand: bigint;
}

/** Exception flags, as in the status word. */
export const FloatFlag = {
  invalid: 1,
  denormal: 2,
  zeroDivide: 4,
  overflow: 8,
  underflow: 16,
  precision: 32,
} as const;
/** C1 of the status word: the result was rounded up. */
export const ROUNDED_UP = 0x200;

/** How results are rounded, and what happened. */
export interface Environment {
  /** 0 nearest, 1 down, 2 up, 3 to zero (the RC field). */
  rounding: number;
  /** Bits of the significand: 24, 53 or 64 (the PC field). */
  precision: number;
  /** Range of exponents when it is not that of 80-bit numbers. */
  least?: number;
  most?: number;
  /**
   * Overflow and underflow, if they are not masked: the result then is one whose exponent is off by
   * {@link WRAP} (SDM volume 1, 8.5.4 and 8.5.5).
   */
  unmasked?: number;
  /** Collected {@link FloatFlag}s and {@link ROUNDED_UP}. */
  flags: number;
}

interface Format {
  readonly precision: number;
  readonly least: number;
  readonly most: number;
}
const DOUBLE: Format = { precision: 53, least: -1022, most: 1023 };
const SINGLE: Format = { precision: 24, least: -126, most: 127 };
const WRAP = 24576;
const BIAS = 16383, TOP = 0x7fff;
const INTEGER_BIT = 1n << 63n, QUIET_BIT = 1n << 62n, FRACTION = INTEGER_BIT - 1n;

export const zero = (sign: number): Float80 => ({ sign, exponent: 0, significand: 0n });
export const infinity = (sign: number): Float80 => ({ sign, exponent: TOP, significand: INTEGER_BIT });
/** The "real indefinite" NaN. */
export const INDEFINITE: Float80 = { sign: 1, exponent: TOP, significand: INTEGER_BIT | QUIET_BIT };
export const ONE: Float80 = { sign: 0, exponent: BIAS, significand: INTEGER_BIT };

/** Numbers with an exponent but no integer bit: no operand on a P6. */
export const isUnsupported = (a: Float80): boolean =>
  a.exponent !== 0 && (a.significand & INTEGER_BIT) === 0n;
export const isZero = (a: Float80): boolean => a.exponent === 0 && a.significand === 0n;
export const isInfinity = (a: Float80): boolean => a.exponent === TOP && a.significand === INTEGER_BIT;
export const isNaN80 = (a: Float80): boolean => a.exponent === TOP && (a.significand & FRACTION) !== 0n;
export const isSignaling = (a: Float80): boolean => isNaN80(a) && (a.significand & QUIET_BIT) === 0n;
export const isDenormal = (a: Float80): boolean => a.exponent === 0 && a.significand !== 0n;

/** Number of bits of a positive integer. */
export function bitLength(v: bigint): number {
  const hex = v.toString(16);
  return hex.length * 4 - (Math.clz32(parseInt(hex[0], 16)) - 28);
}

/** A finite number is its significand times two to this power. */
export const power = (a: Float80): number => (a.exponent === 0 ? 1 : a.exponent) - BIAS - 63;

interface Rounded {
  /** Significand, its lowest bit worth 2^exponent. Zero when everything was lost. */
  value: bigint;
  exponent: number;
  overflow: boolean;
}

function shiftRound(
  sign: number,
  value: bigint,
  shift: number,
  rounding: number,
): [bigint, boolean, boolean] {
  if (shift <= 0) return [value << BigInt(-shift), false, false];
  const s = BigInt(shift);
  const rest = value & ((1n << s) - 1n);
  const kept = value >> s;
  if (rest === 0n) return [kept, false, false];
  const half = 1n << (s - 1n);
  const up = rounding === 0
    ? rest > half || (rest === half && (kept & 1n) === 1n)
    : rounding === 1
    ? sign === 1
    : rounding === 2
    ? sign === 0
    : false;
  return [up ? kept + 1n : kept, true, up];
}

/** Rounds `value` × 2^`exponent` (value > 0) to a format. */
function round(sign: number, value: bigint, exponent: number, format: Format, env: Environment): Rounded {
  const { precision, least, most } = format;
  const high = exponent + bitLength(value) - 1;
  const lowest = Math.max(high, least) - precision + 1;
  const [kept, inexact, up] = shiftRound(sign, value, lowest - exponent, env.rounding);
  // Not masked, underflow is reported of exact results too.
  if (high < least && !inexact && (env.unmasked ?? 0) & FloatFlag.underflow) env.flags |= FloatFlag.underflow;
  if (inexact) {
    env.flags |= FloatFlag.precision | (up ? ROUNDED_UP : 0);
    if (high < least) {
      // Tiny after rounding: as if the exponent had no limit.
      const [free] = shiftRound(sign, value, high - precision + 1 - exponent, env.rounding);
      if (high < least - 1 || bitLength(free) <= precision) env.flags |= FloatFlag.underflow;
    }
  }
  const overflow = kept !== 0n && lowest + bitLength(kept) - 1 > most;
  if (overflow) {
    env.flags = (env.flags & ~ROUNDED_UP) | FloatFlag.overflow | FloatFlag.precision;
  }
  return { value: kept, exponent: lowest, overflow };
}

/** Overflow gives infinity or the greatest number, by the rounding. */
const toInfinity = (sign: number, env: Environment) =>
  env.rounding === 0 || (env.rounding === 1 && sign === 1) || (env.rounding === 2 && sign === 0);

/** Rounds to an 80-bit number under the precision control. */
export function pack(
  sign: number,
  value: bigint,
  exponent: number,
  env: Environment,
  precision = env.precision,
): Float80 {
  if (value === 0n) return zero(sign);
  if (env.unmasked) {
    const wrapped = packWrapped(sign, value, exponent, env, precision);
    if (wrapped) return wrapped;
  }
  const format = { precision, least: env.least ?? -16382, most: env.most ?? 16383 };
  const r = round(sign, value, exponent, format, env);
  if (r.overflow) {
    if (toInfinity(sign, env)) {
      env.flags |= ROUNDED_UP;
      return infinity(sign);
    }
    return {
      sign,
      exponent: format.most + BIAS,
      significand: ((1n << BigInt(precision)) - 1n) << BigInt(64 - precision),
    };
  }
  if (r.value === 0n) return zero(sign);
  const bits = bitLength(r.value);
  const high = r.exponent + bits - 1;
  if (high < -16382) return { sign, exponent: 0, significand: r.value << BigInt(r.exponent + 16445) };
  return { sign, exponent: high + BIAS, significand: r.value << BigInt(64 - bits) };
}

/** The result of an unmasked overflow or underflow; undefined when there is none. */
function packWrapped(
  sign: number,
  value: bigint,
  exponent: number,
  env: Environment,
  precision: number,
): Float80 | undefined {
  const free = { ...env, unmasked: 0, flags: 0 };
  // Rounded as if the exponent had no limit: moved to the middle first.
  const middle = exponent + bitLength(value);
  const r = pack(sign, value, exponent - middle, free, precision);
  const biased = r.exponent + middle;
  const flag = biased >= TOP ? FloatFlag.overflow : biased <= 0 ? FloatFlag.underflow : 0;
  if ((flag & env.unmasked!) === 0) return undefined;
  const wrapped = biased + (biased <= 0 ? WRAP : -WRAP);
  env.flags |= free.flags | flag;
  if (wrapped > 0 && wrapped < TOP) return { ...r, exponent: wrapped };
  // Too far off even for that: as if it were masked.
  env.flags = (env.flags & ~ROUNDED_UP) | FloatFlag.precision | (wrapped <= 0 ? 0 : ROUNDED_UP);
  return wrapped <= 0 ? zero(sign) : infinity(sign);
}

/** Bits of a double (64) or single (32), rounded from an 80-bit number. */
export function toBits(a: Float80, bits: 32 | 64, env: Environment): bigint {
  const format = bits === 64 ? DOUBLE : SINGLE;
  const field = BigInt(format.precision - 1);
  const sign = BigInt(a.sign) << BigInt(bits - 1);
  const top = (1n << BigInt(bits - format.precision)) - 1n;
  if (isUnsupported(a)) {
    env.flags |= FloatFlag.invalid;
    return (1n << BigInt(bits - 1)) | (top << field) | (1n << (field - 1n));
  }
  if (isNaN80(a)) {
    if (isSignaling(a)) env.flags |= FloatFlag.invalid;
    const payload = (a.significand & FRACTION) >> BigInt(63 - format.precision + 1);
    return sign | (top << field) | payload | (1n << (field - 1n));
  }
  if (isInfinity(a)) return sign | (top << field);
  if (isZero(a)) return sign;
  const r = round(a.sign, a.significand, power(a), format, env);
  if (r.overflow) {
    if (toInfinity(a.sign, env)) {
      env.flags |= ROUNDED_UP;
      return sign | (top << field);
    }
    return sign | ((top << field) - 1n);
  }
  if (r.value === 0n) return sign;
  const high = r.exponent + bitLength(r.value) - 1;
  if (high < format.least) return sign | r.value;
  const mantissa = r.value << BigInt(format.precision - bitLength(r.value));
  return sign | (BigInt(high - format.least + 1) << field) | (mantissa & ((1n << field) - 1n));
}

/** The 80-bit number of the bits of a double or single. Signaling NaNs become quiet and raise invalid. */
export function fromBits(raw: bigint, bits: 32 | 64, env: Environment): Float80 {
  const format = bits === 64 ? DOUBLE : SINGLE;
  const field = BigInt(format.precision - 1);
  const sign = Number(raw >> BigInt(bits - 1));
  const top = (1 << (bits - format.precision)) - 1;
  const exponent = Number(raw >> field) & top;
  const fraction = raw & ((1n << field) - 1n);
  const wide = fraction << (63n - field);
  if (exponent === top) {
    if (fraction === 0n) return infinity(sign);
    if ((wide & QUIET_BIT) === 0n) env.flags |= FloatFlag.invalid;
    return { sign, exponent: TOP, significand: INTEGER_BIT | QUIET_BIT | wide };
  }
  if (exponent === 0) {
    if (fraction === 0n) return zero(sign);
    env.flags |= FloatFlag.denormal;
    const length = bitLength(fraction);
    const high = format.least - format.precision + length;
    return { sign, exponent: high + BIAS, significand: fraction << BigInt(64 - length) };
  }
  return { sign, exponent: exponent - format.most + BIAS, significand: INTEGER_BIT | wide };
}

/** The 80-bit number of a signed integer of at most 64 bits. */
export function fromInteger(value: bigint): Float80 {
  if (value === 0n) return zero(0);
  const magnitude = value < 0n ? -value : value;
  const length = bitLength(magnitude);
  return {
    sign: value < 0n ? 1 : 0,
    exponent: BIAS + length - 1,
    significand: magnitude << BigInt(64 - length),
  };
}

/** Rounds to an integer of `bits`; out of range, NaN and infinity give the indefinite integer. */
export function toInteger(a: Float80, bits: number, env: Environment, rounding = env.rounding): bigint {
  const least = -(1n << BigInt(bits - 1));
  const invalid = () => {
    env.flags = (env.flags & ~(FloatFlag.precision | ROUNDED_UP)) | FloatFlag.invalid;
    return least;
  };
  if (a.exponent === TOP || isUnsupported(a) || power(a) > 0) return invalid();
  if (isZero(a)) return 0n;
  const [kept, inexact, up] = shiftRound(a.sign, a.significand, Math.min(-power(a), 80), rounding);
  const value = a.sign ? -kept : kept;
  if (value < least || value > -least - 1n) return invalid();
  if (inexact) env.flags |= FloatFlag.precision | (up ? ROUNDED_UP : 0);
  return value;
}

/** FRNDINT. */
export function toIntegral(a: Float80, env: Environment): Float80 {
  const nan = checkOperands(a, a, env);
  if (nan) return nan;
  if (a.exponent === TOP || isZero(a) || power(a) >= 0) return a;
  const [kept, inexact, up] = shiftRound(a.sign, a.significand, Math.min(-power(a), 80), env.rounding);
  if (inexact) env.flags |= FloatFlag.precision | (up ? ROUNDED_UP : 0);
  return kept === 0n ? zero(a.sign) : { ...fromInteger(kept), sign: a.sign };
}

/** The NaN that an operation on these operands gives, or undefined; notes invalid and denormal operands. */
export function checkOperands(a: Float80, b: Float80, env: Environment): Float80 | undefined {
  if (isUnsupported(a) || isUnsupported(b)) {
    env.flags |= FloatFlag.invalid;
    return INDEFINITE;
  }
  const x = isNaN80(a), y = isNaN80(b);
  if (!x && !y) {
    if (isDenormal(a) || isDenormal(b)) env.flags |= FloatFlag.denormal;
    return undefined;
  }
  const signalingA = isSignaling(a), signalingB = isSignaling(b);
  if (signalingA || signalingB) env.flags |= FloatFlag.invalid;
  const quiet = (n: Float80): Float80 => ({ ...n, significand: n.significand | QUIET_BIT });
  if (!x) return quiet(b);
  if (!y) return quiet(a);
  // One signaling, one quiet: the quiet one; otherwise the larger significand, then the positive one.
  if (signalingA !== signalingB) return signalingA ? b : a;
  const larger = a.significand === b.significand
    ? (a.sign <= b.sign ? a : b)
    : a.significand > b.significand
    ? a
    : b;
  return quiet(larger);
}
/** An invalid operation takes precedence over a denormal operand. */
export function invalid(env: Environment): Float80 {
  env.flags = (env.flags & ~FloatFlag.denormal) | FloatFlag.invalid;
  return INDEFINITE;
}

/** a + b, or a − b when `minus`. */
export function add(a: Float80, b: Float80, env: Environment, minus = false): Float80 {
  const nan = checkOperands(a, b, env);
  if (nan) return nan;
  const sign = minus ? b.sign ^ 1 : b.sign;
  if (isInfinity(a)) return isInfinity(b) && a.sign !== sign ? invalid(env) : a;
  if (isInfinity(b)) return infinity(sign);
  const zeroSign = a.sign === sign ? sign : env.rounding === 1 ? 1 : 0;
  if (isZero(a) && isZero(b)) return zero(zeroSign);
  let pa = power(a), pb = power(b);
  let x = a.significand, y = b.significand;
  // Beyond this distance the smaller one only tells that the result is inexact.
  const limit = 140;
  if (x !== 0n && y !== 0n) {
    if (pa - pb > limit) [y, pb] = [1n, pa - limit];
    else if (pb - pa > limit) [x, pa] = [1n, pb - limit];
  }
  const p = x === 0n ? pb : y === 0n ? pa : Math.min(pa, pb);
  if (x !== 0n) x <<= BigInt(pa - p);
  if (y !== 0n) y <<= BigInt(pb - p);
  const sum = (a.sign ? -x : x) + (sign ? -y : y);
  if (sum === 0n) return zero(zeroSign);
  return pack(sum < 0n ? 1 : 0, sum < 0n ? -sum : sum, p, env);
}

/** a × b. */
export function multiply(a: Float80, b: Float80, env: Environment): Float80 {
  const nan = checkOperands(a, b, env);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (isInfinity(a) || isInfinity(b)) return isZero(a) || isZero(b) ? invalid(env) : infinity(sign);
  return pack(sign, a.significand * b.significand, power(a) + power(b), env);
}

/** a ÷ b. */
export function divide(a: Float80, b: Float80, env: Environment): Float80 {
  const nan = checkOperands(a, b, env);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (isInfinity(a)) return isInfinity(b) ? invalid(env) : infinity(sign);
  if (isInfinity(b)) return zero(sign);
  if (isZero(b)) {
    if (isZero(a)) return invalid(env);
    env.flags = (env.flags & ~FloatFlag.denormal) | FloatFlag.zeroDivide;
    return infinity(sign);
  }
  if (isZero(a)) return zero(sign);
  // Enough quotient bits for any operands, and one that stands for the rest.
  const shift = 66 + Math.max(0, bitLength(b.significand) - bitLength(a.significand)) + 1;
  const numerator = a.significand << BigInt(shift);
  const quotient = numerator / b.significand;
  const sticky = numerator % b.significand === 0n ? 0n : 1n;
  return pack(sign, (quotient << 1n) | sticky, power(a) - power(b) - shift - 1, env);
}

/** Square root. */
export function squareRoot(a: Float80, env: Environment): Float80 {
  const nan = checkOperands(a, a, env);
  if (nan) return nan;
  if (isZero(a)) return a;
  if (a.sign) return invalid(env);
  if (isInfinity(a)) return a;
  // At least 72 bits of root.
  const shift = 144 - bitLength(a.significand);
  let p = power(a) - shift, value = a.significand << BigInt(shift);
  if (p & 1) {
    value <<= 1n;
    p--;
  }
  const root = integerRoot(value);
  const sticky = root * root === value ? 0n : 1n;
  return pack(0, (root << 1n) | sticky, p / 2 - 1, env);
}
/** Square root of a positive integer, cut off. */
export function integerRoot(value: bigint): bigint {
  let x = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (x + value / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

/** Result of a comparison. */
export type Order = "less" | "equal" | "greater" | "unordered";

/** Compares; `quiet` does not raise invalid for quiet NaNs. */
export function compare(a: Float80, b: Float80, quiet: boolean, env: Environment): Order {
  if (isUnsupported(a) || isUnsupported(b) || isNaN80(a) || isNaN80(b)) {
    if (!quiet || isUnsupported(a) || isUnsupported(b) || isSignaling(a) || isSignaling(b)) {
      env.flags |= FloatFlag.invalid;
    }
    return "unordered";
  }
  if (isDenormal(a) || isDenormal(b)) env.flags |= FloatFlag.denormal;
  if (isZero(a) && isZero(b)) return "equal";
  const rank = (n: Float80) => {
    const magnitude = (BigInt(n.exponent === 0 ? 1 : n.exponent) << 64n) | n.significand;
    return isZero(n) ? 0n : n.sign ? -magnitude : magnitude;
  };
  const x = rank(a), y = rank(b);
  return x < y ? "less" : x > y ? "greater" : "equal";
}

/** a × 2^n, n an integer (FSCALE). */
export function scale(a: Float80, b: Float80, env: Environment): Float80 {
  const nan = checkOperands(a, b, env);
  if (nan) return nan;
  if (isInfinity(b)) {
    if (b.sign ? isInfinity(a) : isZero(a)) return invalid(env);
    return b.sign ? zero(a.sign) : infinity(a.sign);
  }
  if (isInfinity(a) || isZero(a)) return a;
  const quiet: Environment = { rounding: 3, precision: 64, flags: 0 };
  const n = b.exponent > BIAS + 20 ? (b.sign ? -0x1_0000 : 0x1_0000) : Number(toInteger(b, 64, quiet, 3));
  const by = Math.max(-0x1_0000, Math.min(0x1_0000, n));
  return pack(a.sign, a.significand, power(a) + by, env, 64);
}

/**
 * Remainder (FPREM: quotient cut off; FPREM1: to nearest). At most 63 bits of quotient at a time.
 *
 * @returns the remainder, the low bits of the quotient, and whether the reduction is complete.
 */
export function remainder(
  a: Float80,
  b: Float80,
  nearest: boolean,
  env: Environment,
): { value: Float80; quotient: number; complete: boolean } {
  const done = (value: Float80) => ({ value, quotient: 0, complete: true });
  const nan = checkOperands(a, b, env);
  if (nan) return done(nan);
  if (isInfinity(a) || isZero(b)) return done(invalid(env));
  // A denormal with an integer bit comes back as the normal number that it is.
  const whole = a.exponent === 0 && (a.significand & INTEGER_BIT) !== 0n;
  if (isInfinity(b) || isZero(a)) return done(whole ? { ...a, exponent: 1 } : a);
  const p = Math.min(power(a), power(b));
  const distance = power(a) + bitLength(a.significand) - power(b) - bitLength(b.significand);
  if (distance >= 64) {
    // Takes away 32 to 63 bits of the difference of the exponents (SDM volume 2, FPREM).
    const n = 32 + (distance % 32);
    const unit = b.significand << BigInt(Math.max(0, power(b) + distance - n - p));
    const x = a.significand << BigInt(power(a) - p);
    return { value: pack(a.sign, x % unit, p, env, 64), quotient: 0, complete: false };
  }
  const x = a.significand << BigInt(power(a) - p), y = b.significand << BigInt(power(b) - p);
  let quotient = x / y, rest = x % y, sign = a.sign;
  if (nearest && (rest * 2n > y || (rest * 2n === y && (quotient & 1n) === 1n))) {
    quotient++;
    rest = y - rest;
    sign ^= 1;
  }
  if (rest === 0n) return { value: zero(a.sign), quotient: Number(quotient & 7n), complete: true };
  return { value: pack(sign, rest, p, env, 64), quotient: Number(quotient & 7n), complete: true };
}
