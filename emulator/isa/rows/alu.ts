// SPDX-License-Identifier: Apache-2.0
/** Binary arithmetic and logic (SDM volume 1, 7.3.2 and 7.3.3). @module */
import { add, and, type Builder, neg, not, or, select, sub, type Value, xor } from "../ir.ts";
import type { RowSource } from "../row.ts";

type Semantics = (b: Builder) => void;

const addition = (carried: boolean): Semantics => (b) => {
  const a = b.modify(0), c = b.read(1);
  const r = b.let(carried ? add(add(a, c), b.carry) : add(a, c));
  b.write(0, r);
  b.flags("add", a, c, r);
};
const subtraction = (carried: boolean): Semantics => (b) => {
  const a = b.modify(0), c = b.read(1);
  const r = b.let(carried ? sub(sub(a, c), b.carry) : sub(a, c));
  b.write(0, r);
  b.flags("sub", a, c, r);
};
const compare: Semantics = (b) => {
  const a = b.read(0), c = b.read(1);
  const r = b.let(sub(a, c));
  b.flags("sub", a, c, r);
};
const logic = (operation: (a: Value, c: Value) => Value): Semantics => (b) => {
  const a = b.modify(0), c = b.read(1);
  const r = b.let(operation(a, c));
  b.write(0, r);
  b.flags("logic", a, c, r);
};
const test: Semantics = (b) => {
  const a = b.read(0), c = b.read(1);
  const r = b.let(and(a, c));
  b.flags("logic", a, c, r);
};
const increment: Semantics = (b) => {
  const a = b.modify(0);
  const r = b.let(add(a, 1));
  b.write(0, r);
  b.flags("increment", a, 1, r);
};
const decrement: Semantics = (b) => {
  const a = b.modify(0);
  const r = b.let(sub(a, 1));
  b.write(0, r);
  b.flags("decrement", a, 1, r);
};
const complement: Semantics = (b) => b.write(0, not(b.modify(0)));
const negate: Semantics = (b) => {
  const a = b.modify(0);
  const r = b.let(neg(a));
  b.write(0, r);
  b.flags("sub", 0, a, r);
};

const FAMILIES: [name: string, semantics: Semantics, lock: boolean][] = [
  ["add", addition(false), true],
  ["or", logic(or), true],
  ["adc", addition(true), true],
  ["sbb", subtraction(true), true],
  ["and", logic(and), true],
  ["sub", subtraction(false), true],
  ["xor", logic(xor), true],
  ["cmp", compare, false],
];
const FORMS = ["Eb,Gb", "Ev,Gv", "Gb,Eb", "Gv,Ev", "AL,Ib", "AX,Iz"];
const hex = (n: number) => n.toString(16).padStart(2, "0");

export const aluRows: RowSource[] = [
  ...FAMILIES.flatMap(([name, semantics, lock], family) =>
    FORMS.map((form, i): RowSource => [
      hex(family * 8 + i),
      name,
      form,
      semantics,
      { hot: i < 4, lock: lock && i < 2, fuses: name === "cmp" },
    ])
  ),
  ...FAMILIES.flatMap(([name, semantics, lock], digit): RowSource[] => [
    [`80 /${digit}`, name, "Eb,Ib", semantics, { hot: true, lock, fuses: name === "cmp" }],
    [`81 /${digit}`, name, "Ev,Iz", semantics, { hot: true, lock, fuses: name === "cmp" }],
    [`82 /${digit}`, name, "Eb,Ib", semantics, { lock }],
    [`83 /${digit}`, name, "Ev,Is", semantics, { hot: true, lock, fuses: name === "cmp" }],
  ]),
  ["84", "test", "Eb,Gb", test, { hot: true, fuses: true }],
  ["85", "test", "Ev,Gv", test, { hot: true, fuses: true }],
  ["a8", "test", "AL,Ib", test],
  ["a9", "test", "AX,Iz", test],
  ["f6 /0", "test", "Eb,Ib", test, { hot: true }],
  ["f6 /1", "test", "Eb,Ib", test],
  ["f7 /0", "test", "Ev,Iz", test, { hot: true }],
  ["f7 /1", "test", "Ev,Iz", test],
  ...Array.from({ length: 8 }, (_, r): RowSource => [hex(0x40 + r), "inc", "Zv", increment, { fuses: true }]),
  ...Array.from({ length: 8 }, (_, r): RowSource => [hex(0x48 + r), "dec", "Zv", decrement, { fuses: true }]),
  ["fe /0", "inc", "Eb", increment, { hot: true, lock: true }],
  ["fe /1", "dec", "Eb", decrement, { hot: true, lock: true }],
  ["ff /0", "inc", "Ev", increment, { hot: true, lock: true }],
  ["ff /1", "dec", "Ev", decrement, { hot: true, lock: true }],
  ["f6 /2", "not", "Eb", complement, { lock: true }],
  ["f7 /2", "not", "Ev", complement, { hot: true, lock: true }],
  ["f6 /3", "neg", "Eb", negate, { lock: true }],
  ["f7 /3", "neg", "Ev", negate, { hot: true, lock: true }],
  ["f8", "clc", "", (b) => b.setCarry(0), { fixed: 32 }],
  ["f9", "stc", "", (b) => b.setCarry(1), { fixed: 32 }],
  ["f5", "cmc", "", (b) => b.setCarry(xor(b.carry, 1)), { fixed: 32 }],
  ["d6", "salc", "", (b) => b.setReg(0, select(b.carry, 0xff, 0), 8), { fixed: 32 }],
  ["9f", "lahf", "", (b) => b.setReg(4, b.eflags, 8), { fixed: 32 }],
  ["9e", "sahf", "", "sahf"],
];
