// SPDX-License-Identifier: Apache-2.0
/**
 * The one table of instructions. The decoder, the interpreter generator and tests are made from it.
 *
 * @module
 */
import { makeRow, type OperandSpec, type Row, type RowSource } from "./row.ts";
import { aluRows } from "./rows/alu.ts";
import { bitRows } from "./rows/bits.ts";
import { controlRows } from "./rows/control.ts";
import { dataRows } from "./rows/data.ts";
import { floatRows } from "./rows/float.ts";
import { muldivRows } from "./rows/muldiv.ts";
import { mmxRows, sseRows } from "./rows/simd.ts";
import { shiftRows } from "./rows/shift.ts";
import { stringRows } from "./rows/string.ts";
import { systemRows } from "./rows/system.ts";

/** Encodings that are no instruction: #UD in the guest. */
const undefinedSource: RowSource = ["", "(undefined)", "", "undefined", { ends: true }];

/** All rows. A row's id is its position. */
export const rows: readonly Row[] = [
  undefinedSource,
  ...aluRows,
  ...shiftRows,
  ...muldivRows,
  ...bitRows,
  ...dataRows,
  ...stringRows,
  ...controlRows,
  ...systemRows,
  ...floatRows,
  ...mmxRows,
  ...sseRows,
].map((source, id) => makeRow(id, source));
/** What bytes decode to that are no instruction (#UD). */
export const undefinedRow = rows[0];

/** Number of handlers that every module has before those of the rows (see generate.ts). */
export const FIXED_HANDLERS = 6;
/** Handlers of single instructions; behind them those of pairs with a conditional jump. */
const singleHandlers = rows.reduce((next, row) => {
  row.firstHandler = next;
  return next + row.variants.length;
}, FIXED_HANDLERS);
/** Number of all handlers. */
export const handlerCount = rows.reduce((next, row) => {
  if (!row.fuses) return next;
  row.firstFused = next;
  return next + 16 * row.variants.length;
}, singleHandlers);
/** Condition code of a conditional jump, or -1. */
export const jumpCondition: readonly number[] = rows.map((row) =>
  /^7.$/.test(row.opcode)
    ? parseInt(row.opcode[1], 16)
    : /^0f 8.$/.test(row.opcode)
    ? parseInt(row.opcode[4], 16)
    : -1
);

/** Prefixes that select another instruction behind 0F, in the order of their encodings. */
const MANDATORY = ["66", "f3", "f2"];

/** What the decoder does for one opcode: nothing known, a row without ModRM, or a row for each ModRM byte. */
export interface Encoding {
  row?: Row;
  byModrm?: Row[];
}

const usesModrm = (o: OperandSpec) => "EGMRSCDPQVW".includes(o[0]) && !["CL", "DX"].includes(o);
const memoryOnly = (row: Row) => row.operands.some((o) => o[0] === "M");

/** First of the opcodes behind 0F 38 and 0F 3A; 256 on those with 66. */
export const MAP_38 = 1280, MAP_3A = 1792;

/**
 * Encodings by opcode: 0–255 one-byte, 256–511 behind 0F, then behind 66 0F, F3 0F and F2 0F, then behind 0F 38,
 * 66 0F 38, 0F 3A and 66 0F 3A.
 */
export const encodings: readonly Encoding[] = (() => {
  const table: Encoding[] = Array.from({ length: 2304 }, () => ({}));
  const group = (opcode: number) => (table[opcode].byModrm ??= new Array<Row>(256).fill(undefinedRow));
  const fill = (opcode: number, row: Row, from: number, to: number, digit = -1) => {
    const entries = group(opcode);
    for (let m = from; m < to; m++) if (digit < 0 || ((m >> 3) & 7) === digit) entries[m] = row;
  };
  // Where a prefix selects an instruction, prefixes without one have none, not the one without a prefix.
  const selected: [number, number][] = [
    [0x10, 0x17],
    [0x28, 0x2f],
    [0x50, 0x7f],
    [0xae, 0xae],
    [0xc2, 0xc6],
    [
      0xd0,
      0xff,
    ],
  ];
  for (const [from, to] of selected) {
    for (let o = from; o <= to; o++) for (const map of [256, 512, 768, 1024]) group(map + o);
  }
  for (const row of rows) {
    if (row.opcode === "") continue;
    const parts = row.opcode.split(" ");
    const prefixed = parts.length > 1 && parts[1] === "0f"
      ? 512 + 256 * MANDATORY.indexOf(parts.shift()!)
      : 0;
    let map = prefixed || (parts[0] === "0f" ? 256 : 0);
    if (map !== 0) parts.shift();
    // The two maps of three-byte opcodes are those whose first byte says so.
    if (map !== 0 && (parts[0] === "38" || parts[0] === "3a")) {
      map = (parts.shift() === "38" ? MAP_38 : MAP_3A) + (prefixed === 0 ? 0 : 256);
    }
    const opcode = map + parseInt(parts[0], 16);
    const extra = parts[1];
    if (extra === undefined) {
      if (!row.operands.some(usesModrm)) table[opcode].row = row;
      else fill(opcode, row, 0, memoryOnly(row) ? 0xc0 : 256);
    } else if (extra.startsWith("/")) {
      // `/4r` is the register forms only, `/r` those of all digits.
      const registers = extra.endsWith("r");
      fill(
        opcode,
        row,
        registers ? 0xc0 : 0,
        memoryOnly(row) ? 0xc0 : 256,
        extra === "/r" ? -1 : Number(extra[1]),
      );
    } else group(opcode)[parseInt(extra, 16)] = row;
  }
  return table;
})();

/** Immediate bytes of a row, in order: the letters after I, J, A, O of its operands. */
export const immediates: readonly OperandSpec[][] = rows.map((row) =>
  row.operands.filter((o) =>
    "IJAO".includes(o[0]) && o !== ("AL" as OperandSpec) && o !== ("AX" as OperandSpec)
  )
);

/** A number that changes when handlers are numbered otherwise (FNV-1a over the rows). */
export const tableFingerprint: number = rows.reduce((hash, row) => {
  const text = `${row.opcode}|${row.mnemonic}|${row.operands}|${row.firstHandler}|${row.firstFused}`;
  for (const c of text) hash = Math.imul(hash ^ c.charCodeAt(0), 0x0100_0193);
  return hash;
}, 0x811c_9dc5 | 0);
