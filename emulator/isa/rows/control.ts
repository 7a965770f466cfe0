// SPDX-License-Identifier: Apache-2.0
/** Control transfers (SDM volume 1, 7.3.8; far forms and gates are helpers, volume 3, 5.8 and 6.12). @module */
import { add, and, type Builder, isZero, ne, sub } from "../ir.ts";
import type { RowSource } from "../row.ts";
import { CONDITIONS } from "./bits.ts";

const hex = (n: number) => n.toString(16).padStart(2, "0");
const ends = { ends: true };
const stack = { ends: true, implicit: true };

const call = (b: Builder) => {
  b.push(b.state("nextEip"));
  b.branch();
};
const callIndirect = (b: Builder) => {
  const target = b.read(0);
  b.push(b.state("nextEip"));
  b.jump(target);
};
const returns = (b: Builder) => {
  const top = b.let(b.stack(0));
  const target = b.load(b.resolve(2, top, b.bytes, false));
  b.setStack(add(top, b.bytes));
  b.jump(target);
};
const returnsPopping = (b: Builder) => {
  const top = b.let(b.stack(0));
  const target = b.load(b.resolve(2, top, b.bytes, false));
  b.setStack(add(add(top, b.bytes), b.state("operandImmediate")));
  b.jump(target);
};
/** LOOP, LOOPE, LOOPNE: the count register follows the address size. */
const loop = (code?: number) => (b: Builder) => {
  const next = b.let(sub(b.reg(1), 1));
  if (b.variant.general) {
    // With 16-bit addresses only CX counts; the operand's mask says which.
    const mask = b.state("addressMask");
    b.setReg(1, add(and(next, mask), sub(b.reg(1), and(b.reg(1), mask))));
    const more = ne(and(next, mask), 0);
    b.branch(code === undefined ? more : and(more, b.condition(code)));
    return;
  }
  b.setReg(1, next);
  b.branch(code === undefined ? next : and(ne(next, 0), b.condition(code)));
};

export const controlRows: RowSource[] = [
  ...CONDITIONS.flatMap((name, code): RowSource[] => [
    [hex(0x70 + code), `j${name}`, "Jb", (b) => b.branch(b.condition(code)), ends],
    [`0f ${hex(0x80 + code)}`, `j${name}`, "Jz", (b) => b.branch(b.condition(code)), ends],
  ]),
  ["eb", "jmp", "Jb", (b) => b.branch(), ends],
  ["e9", "jmp", "Jz", (b) => b.branch(), ends],
  ["e8", "call", "Jz", call, stack],
  ["ff /2", "call", "Ev", callIndirect, { ...stack, hot: true }],
  ["ff /4", "jmp", "Ev", (b) => b.jump(b.read(0)), { ends: true, hot: true }],
  ["c3", "ret", "", returns, stack],
  ["c2", "ret", "Iw", returnsPopping, stack],
  ["e0", "loopne", "Jb", loop(5), stack],
  ["e1", "loope", "Jb", loop(4), stack],
  ["e2", "loop", "Jb", loop(), stack],
  ["e3", "jcxz", "Jb", (b) => {
    b.branch(isZero(b.variant.general ? and(b.reg(1), b.state("addressMask")) : b.reg(1)));
  }, stack],
  ["9a", "call far", "Ap", "callFar", ends],
  ["ea", "jmp far", "Ap", "jumpFar", ends],
  ["ff /3", "call far", "Mp", "callFar", ends],
  ["ff /5", "jmp far", "Mp", "jumpFar", ends],
  ["ca", "ret far", "Iw", "returnFar", ends],
  ["cb", "ret far", "", "returnFar", ends],
  ["cf", "iret", "", "interruptReturn", ends],
  ["cc", "int3", "", "breakpoint", ends],
  ["cd", "int", "Ib", "softwareInterrupt", ends],
  ["ce", "into", "", "overflowTrap", ends],
  ["f1", "icebp", "", "debugTrap", ends],
  ["62", "bound", "Gv,Ma".replace("Ma", "M"), "bound"],
];
