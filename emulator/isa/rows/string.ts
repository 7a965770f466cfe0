// SPDX-License-Identifier: Apache-2.0
/**
 * String instructions (SDM volume 1, 7.3.9). Each iteration is complete in itself: registers are updated, so
 * that a fault, the budget or a trap can come between any two; one iteration is one instruction retired.
 *
 * @module
 */
import { add, and, type Builder, type Expr, ne, not, or, select, sub, type Value } from "../ir.ts";
import type { RowSource } from "../row.ts";

const COUNT = 1, SOURCE = 6, DESTINATION = 7, EXTRA = 0;

/** An index register under the address size. */
function index(b: Builder, register: number): Expr {
  return b.variant.general ? and(b.reg(register), b.state("addressMask")) : b.reg(register);
}
function setIndex(b: Builder, register: number, value: Value): void {
  if (!b.variant.general) return b.setReg(register, value);
  const mask = b.state("addressMask");
  b.setReg(register, or(and(value, mask), and(b.reg(register), not(mask))));
}
/** Plus or minus the element size, by DF. */
function step(b: Builder): Expr {
  return b.let(select(and(b.state("eflags"), 0x400), -b.bytes, b.bytes));
}
function advance(b: Builder, by: Expr, ...registers: number[]): void {
  for (const register of registers) setIndex(b, register, add(b.reg(register), by));
}

/** Wraps one iteration in the repeat prefix of the variant. */
function repeated(
  iteration: (b: Builder) => void,
  tests: boolean,
  bulk?: "movs" | "stos",
): (b: Builder) => void {
  return (b) => {
    const { repeat } = b.variant;
    if (repeat === 0) return iteration(b);
    b.if(index(b, COUNT), () => {
      if (bulk && !b.variant.general) b.emit({ do: "bulk", kind: bulk, size: b.size });
      iteration(b);
      setIndex(b, COUNT, sub(b.reg(COUNT), 1));
      const more = ne(index(b, COUNT), 0);
      b.if(tests ? and(more, b.condition(repeat === 1 ? 4 : 5)) : more, () => b.emit({ do: "again" }));
    });
  };
}

const read = (b: Builder) => b.load(b.resolve("operand", index(b, SOURCE), b.bytes, false));

function moveString(b: Builder): void {
  const value = read(b);
  const target = b.resolve(EXTRA, index(b, DESTINATION), b.bytes, true);
  b.store(target, value);
  b.commit(target);
  advance(b, step(b), SOURCE, DESTINATION);
}
function storeString(b: Builder): void {
  const target = b.resolve(EXTRA, index(b, DESTINATION), b.bytes, true);
  b.store(target, b.reg(0, b.size));
  b.commit(target);
  advance(b, step(b), DESTINATION);
}
function loadString(b: Builder): void {
  b.setReg(0, read(b), b.size);
  advance(b, step(b), SOURCE);
}
function compareString(b: Builder): void {
  const a = read(b);
  const c = b.load(b.resolve(EXTRA, index(b, DESTINATION), b.bytes, false));
  b.flags("sub", a, c, b.let(sub(a, c)));
  advance(b, step(b), SOURCE, DESTINATION);
}
function scanString(b: Builder): void {
  const a = b.let(b.reg(0, b.size));
  const c = b.load(b.resolve(EXTRA, index(b, DESTINATION), b.bytes, false));
  b.flags("sub", a, c, b.let(sub(a, c)));
  advance(b, step(b), DESTINATION);
}

type Semantics = (b: Builder) => void;
const pair = (opcode: number, name: string, semantics: Semantics, repeat: "rep" | "repe"): RowSource[] => [
  [opcode.toString(16), `${name}b`, "", semantics, { implicit: true, fixed: 8, repeat }],
  [(opcode + 1).toString(16), `${name}w`, "", semantics, { implicit: true, repeat }],
];

export const stringRows: RowSource[] = [
  ...pair(0xa4, "movs", repeated(moveString, false, "movs"), "rep"),
  ...pair(0xa6, "cmps", repeated(compareString, true), "repe"),
  ...pair(0xaa, "stos", repeated(storeString, false, "stos"), "rep"),
  ...pair(0xac, "lods", repeated(loadString, false), "rep"),
  ...pair(0xae, "scas", repeated(scanString, true), "repe"),
  ["6c", "insb", "", "inString", { ends: true }],
  ["6d", "insw", "", "inString", { ends: true }],
  ["6e", "outsb", "", "outString", { ends: true }],
  ["6f", "outsw", "", "outString", { ends: true }],
];
