// SPDX-License-Identifier: Apache-2.0
/** Bit tests and scans, condition bytes, compare-and-exchange (SDM volume 1, 7.3.7; volume 2). @module */
import {
  add,
  and,
  type Builder,
  clz,
  ctz,
  eq,
  type Expr,
  isZero,
  not,
  or,
  sar,
  shl,
  shr,
  signed,
  sub,
  type Value,
  xor,
} from "../ir.ts"; // deno-fmt-ignore
import type { RowSource } from "../row.ts";

type Local = Expr & { op: "local" };
type Change = ((value: Value, mask: Value) => Value) | undefined;

const CHANGES: [name: string, change: Change][] = [
  ["bt", undefined],
  ["bts", or],
  ["btr", (value, mask) => and(value, not(mask))],
  ["btc", xor],
];

/** A bit whose number is an immediate or lies in the operand itself. */
function near(b: Builder, change: Change): void {
  const value = change ? b.modify(0) : b.read(0);
  const n = b.let(and(b.read(1), b.size - 1));
  if (change) b.write(0, change(value, shl(1, n)));
  b.setCarry(and(shr(value, n), 1));
}

/** The bit number in a register reaches beyond a memory operand (SDM volume 2, 3.1.1.9). */
function far(change: Change): (b: Builder) => void {
  return (b) => {
    if (b.variant.place === "register") return near(b, change);
    const number = b.let(signed(b.read(1), b.size));
    const distance = shl(sar(number, b.size === 32 ? 5 : 4), b.size === 32 ? 2 : 1);
    const offset = and(add(b.address(0), distance), b.state("addressMask"));
    const host = b.resolve("operand", offset, b.bytes, change !== undefined);
    const value = b.load(host);
    const n = b.let(and(number, b.size - 1));
    if (change) {
      b.store(host, change(value, shl(1, n)));
      b.commit(host);
    }
    b.setCarry(and(shr(value, n), 1));
  };
}

/** A source of zero leaves the destination and sets ZF; the other flags are undefined. */
function scan(find: (value: Local) => Value): (b: Builder) => void {
  return (b) => {
    const value = b.read(1);
    b.if(value, () => b.write(0, find(value)));
    b.flags("logic", value, value, value);
  };
}

function exchangeAdd(b: Builder): void {
  const a = b.modify(0), c = b.read(1);
  const sum = b.let(add(a, c));
  b.write(1, a);
  b.write(0, sum);
  b.flags("add", a, c, sum);
}

/** Memory is written whatever the comparison says. */
function compareExchange(b: Builder): void {
  const value = b.modify(0), source = b.read(1);
  const accumulator = b.let(b.reg(0, b.size));
  const r = b.let(sub(accumulator, value));
  b.flags("sub", accumulator, value, r);
  b.if(eq(accumulator, value), () => b.write(0, source), () => {
    b.write(0, value);
    b.setReg(0, value, b.size);
  });
}

function compareExchange8(b: Builder): void {
  const host = b.resolve("operand", b.address(0), 8, true);
  const low = b.load(host, 0, 32), high = b.load(host, 4, 32);
  const same = b.let(isZero(or(xor(low, b.reg(0)), xor(high, b.reg(2)))));
  b.if(same, () => {
    b.store(host, b.reg(3), 0, 32);
    b.store(host, b.reg(1), 4, 32);
  }, () => {
    b.setReg(0, low);
    b.setReg(2, high);
  });
  b.commit(host);
  b.setZero(same);
}

export const CONDITIONS = [
  "o",
  "no",
  "b",
  "nb",
  "z",
  "nz",
  "be",
  "a",
  "s",
  "ns",
  "p",
  "np",
  "l",
  "ge",
  "le",
  "g",
];
const hex = (n: number) => n.toString(16).padStart(2, "0");

export const bitRows: RowSource[] = [
  ...CHANGES.flatMap(([name, change], i): RowSource[] => [
    [`0f ${hex(0xa3 + 8 * i)}`, name, "Ev,Gv", far(change), { lock: i > 0 }],
    [`0f ba /${4 + i}`, name, "Ev,Ib", (b) => near(b, change), { lock: i > 0 }],
  ]),
  ["0f bc", "bsf", "Gv,Ev", scan(ctz)],
  ["0f bd", "bsr", "Gv,Ev", scan((value) => sub(31, clz(value)))],
  ["0f c0", "xadd", "Eb,Gb", exchangeAdd, { lock: true }],
  ["0f c1", "xadd", "Ev,Gv", exchangeAdd, { lock: true }],
  ["0f b0", "cmpxchg", "Eb,Gb", compareExchange, { lock: true }],
  ["0f b1", "cmpxchg", "Ev,Gv", compareExchange, { lock: true }],
  ["0f c7 /1", "cmpxchg8b", "Mq", compareExchange8, { lock: true, fixed: 32 }],
  ...CONDITIONS.flatMap((name, code): RowSource[] => [
    [`0f ${hex(0x90 + code)}`, `set${name}`, "Eb", (b) => b.write(0, b.condition(code))],
    [`0f ${hex(0x40 + code)}`, `cmov${name}`, "Gv,Ev", (b) => {
      const value = b.read(1);
      b.if(b.condition(code), () => b.write(0, value));
    }],
  ]),
  ...Array.from({ length: 8 }, (_, r): RowSource => [`0f ${hex(0xc8 + r)}`, "bswap", "Zv", (b) => {
    const v = b.modify(0);
    if (b.size === 16) return b.write(0, 0);
    const swapped = or(
      or(shl(v, 24), shl(and(v, 0xff00), 8)),
      or(and(shr(v, 8), 0xff00), shr(v, 24)),
    );
    b.write(0, swapped);
  }]),
];
