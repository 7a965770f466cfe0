// SPDX-License-Identifier: Apache-2.0
/**
 * Shifts and rotates (SDM volume 1, 7.3.6). A masked count of zero changes nothing. OF follows the
 * one-bit formula for every count, as processors do.
 *
 * @module
 */
import {
  and,
  type Builder,
  type Expr,
  or,
  remU,
  rotl,
  sar,
  shl,
  shr,
  type Size,
  sub,
  type Value,
  wideU,
  wrap,
  xor,
} from "../ir.ts"; // deno-fmt-ignore
import { signed } from "../ir.ts";
import type { RowSource } from "../row.ts";

type Local = Expr & { op: "local" };
/** Computes result, CF and OF for a value and a count that is not zero. */
type Shift = (
  b: Builder,
  a: Local,
  count: Local,
  size: Size,
) => { result: Value; carry: Value; overflow: Value };

const bit = (v: Value, n: number): Expr => and(n === 0 ? v : shr(v, n), 1);
const top = (v: Value, size: Size): Expr => bit(v, size - 1);

const shiftLeft: Shift = (b, a, count, size) => {
  const result = b.let(shl(a, count));
  const carry = b.let(size === 32 ? and(shr(a, sub(32, count)), 1) : bit(result, size));
  return { result, carry, overflow: xor(top(result, size), carry) };
};
const shiftRight: Shift = (b, a, count, size) => {
  const result = b.let(shr(a, count));
  const carry = and(shr(a, sub(count, 1)), 1);
  return { result, carry, overflow: xor(bit(result, size - 2), top(result, size)) };
};
const shiftArithmetic: Shift = (b, a, count, size) => {
  const wide = b.let(signed(a, size));
  return { result: sar(wide, count), carry: and(sar(wide, sub(count, 1)), 1), overflow: 0 };
};
const rotateLeft: Shift = (b, a, count, size) => {
  const n = size === 32 ? count : b.let(and(count, size - 1));
  const result = b.let(size === 32 ? rotl(a, n) : or(shl(a, n), shr(a, sub(size, n))));
  return { result, carry: and(result, 1), overflow: xor(top(result, size), and(result, 1)) };
};
const rotateRight: Shift = (b, a, count, size) => {
  const n = b.let(and(count, size - 1));
  const result = b.let(size === 32 ? rotl(a, sub(32, n)) : or(shr(a, n), shl(a, sub(size, n))));
  return { result, carry: top(result, size), overflow: xor(top(result, size), bit(result, size - 2)) };
};

function shift(kind: Shift): (b: Builder) => void {
  return (b) => {
    const a = b.modify(0);
    const count = b.let(and(b.read(1), 31));
    b.if(count, () => {
      const { result, carry, overflow } = kind(b, a, count, b.size);
      const r = b.let(result);
      b.write(0, r);
      b.flagsFrom(r, carry, overflow);
    });
  };
}
/** Rotates keep SF, ZF, AF and PF. */
function rotate(kind: Shift): (b: Builder) => void {
  return (b) => {
    const a = b.modify(0);
    const count = b.let(and(b.read(1), 31));
    b.if(count, () => {
      const { result, carry, overflow } = kind(b, a, count, b.size);
      b.write(0, result);
      b.setCarry(carry, overflow);
    });
  };
}
/** Rotates through CF: a ring of size + 1 bits, in 64-bit arithmetic. */
function rotateCarry(left: boolean): (b: Builder) => void {
  return (b) => {
    const ring = b.size + 1;
    const a = b.modify(0);
    const masked = and(b.read(1), 31);
    const count = b.let(b.size === 32 ? masked : remU(masked, ring));
    b.if(count, () => {
      const value = b.let(or(wideU(a), shl(wideU(b.carry), b.size)));
      const n = b.let(wideU(count));
      const rest = sub(ring, n);
      const turned = b.let(left ? or(shl(value, n), shr(value, rest)) : or(shr(value, n), shl(value, rest)));
      const result = b.let(wrap(turned));
      const carry = b.let(and(wrap(shr(turned, b.size)), 1));
      b.write(0, result);
      b.setCarry(carry, xor(top(result, b.size), left ? carry : bit(result, b.size - 2)));
    });
  };
}
/**
 * SHLD and SHRD. The value stands between copies of what is shifted in, so that 16-bit counts above 16 (result
 * undefined) take bits from the first operand again, as P6 processors do.
 */
function double(left: boolean): (b: Builder) => void {
  return (b) => {
    const a = b.modify(0), c = b.read(1);
    const count = b.let(and(b.read(2), 31));
    b.if(count, () => {
      const n = b.let(wideU(count));
      let result: Local, carry: Expr;
      const size = b.size;
      if (left) {
        const low = size === 32 ? wideU(c) : or(shl(wideU(c), 16), wideU(a));
        const value = b.let(or(shl(wideU(a), 32), low));
        const shifted = b.let(shl(value, n));
        result = b.let(wrap(shr(shifted, 32)));
        carry = and(shr(a, sub(size, count)), 1);
        if (size === 16) carry = and(wrap(shr(shifted, 48)), 1);
      } else {
        const high = size === 32 ? shl(wideU(c), 32) : or(shl(wideU(a), 32), shl(wideU(c), 16));
        const value = b.let(or(high, wideU(a)));
        result = b.let(wrap(shr(value, n)));
        carry = and(wrap(shr(value, sub(n, 1))), 1);
      }
      const cf = b.let(carry);
      b.write(0, result);
      b.flagsFrom(result, cf, and(shr(xor(result, a), size - 1), 1));
    });
  };
}

const KINDS: [name: string, semantics: (b: Builder) => void][] = [
  ["rol", rotate(rotateLeft)],
  ["ror", rotate(rotateRight)],
  ["rcl", rotateCarry(true)],
  ["rcr", rotateCarry(false)],
  ["shl", shift(shiftLeft)],
  ["shr", shift(shiftRight)],
  ["sal", shift(shiftLeft)],
  ["sar", shift(shiftArithmetic)],
];

export const shiftRows: RowSource[] = [
  ...KINDS.flatMap(([name, semantics], digit): RowSource[] => [
    [`c0 /${digit}`, name, "Eb,Ib", semantics],
    [`c1 /${digit}`, name, "Ev,Ib", semantics],
    [`d0 /${digit}`, name, "Eb,1", semantics],
    [`d1 /${digit}`, name, "Ev,1", semantics],
    [`d2 /${digit}`, name, "Eb,CL", semantics],
    [`d3 /${digit}`, name, "Ev,CL", semantics],
  ]),
  ["0f a4", "shld", "Ev,Gv,Ib", double(true)],
  ["0f a5", "shld", "Ev,Gv,CL", double(true)],
  ["0f ac", "shrd", "Ev,Gv,Ib", double(false)],
  ["0f ad", "shrd", "Ev,Gv,CL", double(false)],
];
