// SPDX-License-Identifier: Apache-2.0
/** Moves, conversions, addresses, stack (SDM volume 1, 7.3.1). @module */
import { add, and, type Builder, sar, signed } from "../ir.ts";
import type { RowSource } from "../row.ts";

const hex = (n: number) => n.toString(16).padStart(2, "0");
const move = (b: Builder) => b.write(0, b.read(1));
const exchange = (b: Builder) => {
  const a = b.modify(0), c = b.read(1);
  b.write(0, c);
  b.write(1, a);
};
const push = (b: Builder) => b.push(b.read(0));

function pop(b: Builder): void {
  const top = b.let(b.stack(0));
  const value = b.load(b.resolve(2, top, b.bytes, false));
  b.prepare(0);
  b.setStack(add(top, b.bytes));
  b.write(0, value);
}

function pushAll(b: Builder): void {
  const top = b.let(b.stack(-8 * b.bytes));
  const host = b.resolve(2, top, 8 * b.bytes, true);
  for (let r = 0; r < 8; r++) b.store(host, b.reg(r, b.size), (7 - r) * b.bytes);
  b.commit(host);
  b.setStack(top);
}

function popAll(b: Builder): void {
  const top = b.let(b.stack(0));
  const host = b.resolve(2, top, 8 * b.bytes, false);
  const values = Array.from({ length: 8 }, (_, r) => b.load(host, (7 - r) * b.bytes));
  values.forEach((value, r) => {
    if (r !== 4) b.setReg(r, value, b.size);
  });
  b.setStack(add(top, 8 * b.bytes));
}

function leave(b: Builder): void {
  const frame = b.let(b.variant.general ? and(b.reg(5), b.state("stackMask")) : b.reg(5));
  const value = b.load(b.resolve(2, frame, b.bytes, false));
  b.setStack(add(frame, b.bytes));
  b.setReg(5, value, b.size);
}

/** XLAT: AL from the table at (E)BX. */
function translateByte(b: Builder): void {
  const at = add(b.reg(3), b.reg(0, 8));
  const host = b.resolve("operand", b.variant.general ? and(at, b.state("addressMask")) : at, 1, false);
  b.setReg(0, b.load(host, 0, 8), 8);
}

export const dataRows: RowSource[] = [
  ["88", "mov", "Eb,Gb", move, { hot: true }],
  ["89", "mov", "Ev,Gv", move, { hot: true }],
  ["8a", "mov", "Gb,Eb", move, { hot: true }],
  ["8b", "mov", "Gv,Ev", move, { hot: true }],
  ["a0", "mov", "AL,Ob", move, { hot: true }],
  ["a1", "mov", "AX,Ov", move, { hot: true }],
  ["a2", "mov", "Ob,AL", move, { hot: true }],
  ["a3", "mov", "Ov,AX", move, { hot: true }],
  ...Array.from({ length: 8 }, (_, r): RowSource => [hex(0xb0 + r), "mov", "Zb,Ib", move]),
  ...Array.from({ length: 8 }, (_, r): RowSource => [hex(0xb8 + r), "mov", "Zv,Iv", move]),
  ["c6 /0", "mov", "Eb,Ib", move, { hot: true }],
  ["c7 /0", "mov", "Ev,Iz", move, { hot: true }],
  ["0f b6", "movzx", "Gv,Eb", move, { hot: true }],
  ["0f b7", "movzx", "Gv,Ew", move, { hot: true }],
  ["0f be", "movsx", "Gv,Eb", (b) => b.write(0, signed(b.read(1), 8)), { hot: true }],
  ["0f bf", "movsx", "Gv,Ew", (b) => b.write(0, signed(b.read(1), 16)), { hot: true }],
  ["8d", "lea", "Gv,M", (b) => b.write(0, b.address(1)), { hot: true }],
  ["86", "xchg", "Eb,Gb", exchange, { hot: true, lock: true }],
  ["87", "xchg", "Ev,Gv", exchange, { hot: true, lock: true }],
  ["90", "nop", "", () => {}, { fixed: 32 }],
  ...Array.from({ length: 7 }, (_, r): RowSource => [hex(0x91 + r), "xchg", "Zv,AX", exchange]),
  ["0f 1f", "nop", "Ev", () => {}],
  ...[0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x0d].map((
    o,
  ): RowSource => [`0f ${hex(o)}`, "nop", "Ev", () => {}]),
  ["98", "cbw", "", (b) => {
    if (b.size === 16) b.setReg(0, signed(b.reg(0, 8), 8), 16);
    else b.setReg(0, signed(b.reg(0, 16), 16));
  }],
  ["99", "cwd", "", (b) => b.setReg(2, sar(signed(b.reg(0, b.size), b.size), 31), b.size)],
  ["d7", "xlat", "", translateByte, { implicit: true, fixed: 8 }],
  ...Array.from({ length: 8 }, (_, r): RowSource => [hex(0x50 + r), "push", "Zv", push, { implicit: true }]),
  ...Array.from({ length: 8 }, (_, r): RowSource => [hex(0x58 + r), "pop", "Zv", pop, { implicit: true }]),
  ["68", "push", "Iz", push, { implicit: true }],
  ["6a", "push", "Is", push, { implicit: true }],
  ["ff /6", "push", "Ev", push, { implicit: true, hot: true }],
  ["8f /0", "pop", "Ev", pop, { implicit: true, hot: true, pops: true }],
  ["60", "pusha", "", pushAll, { implicit: true }],
  ["61", "popa", "", popAll, { implicit: true }],
  ["9c", "pushf", "", (b) => b.push(and(b.eflags, 0xfcffff)), { implicit: true }],
  ["9d", "popf", "", "popf", { ends: true }],
  ["c9", "leave", "", leave, { implicit: true }],
  ["c8", "enter", "Iw,Ib", "enter"],
  [
    "fc",
    "cld",
    "",
    (b) => b.emit({ do: "setState", name: "eflags", value: and(b.state("eflags"), ~0x400) }),
    {
      fixed: 32,
    },
  ],
  ["fd", "std", "", "std", { fixed: 32 }],
  ["06", "push", "", "pushSegment"],
  ["0e", "push", "", "pushSegment"],
  ["16", "push", "", "pushSegment"],
  ["1e", "push", "", "pushSegment"],
  ["0f a0", "push", "", "pushSegment"],
  ["0f a8", "push", "", "pushSegment"],
  ["07", "pop", "", "popSegment", { ends: true }],
  ["17", "pop", "", "popSegment", { ends: true }],
  ["1f", "pop", "", "popSegment", { ends: true }],
  ["0f a1", "pop", "", "popSegment", { ends: true }],
  ["0f a9", "pop", "", "popSegment", { ends: true }],
  ["8c", "mov", "Ev,Sw", "storeSegment"],
  ["8e", "mov", "Sw,Ew", "loadSegment", { ends: true }],
  ["c4", "les", "Gv,Mp", "loadFarPointer", { ends: true }],
  ["c5", "lds", "Gv,Mp", "loadFarPointer", { ends: true }],
  ["0f b2", "lss", "Gv,Mp", "loadFarPointer", { ends: true }],
  ["0f b4", "lfs", "Gv,Mp", "loadFarPointer", { ends: true }],
  ["0f b5", "lgs", "Gv,Mp", "loadFarPointer", { ends: true }],
];
