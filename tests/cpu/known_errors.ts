// SPDX-License-Identifier: Apache-2.0
/**
 * Where native Unicorn 2.0.1 is wrong, or the architecture leaves a choice: the only differences that the
 * comparison passes over. Each row says for which instructions, what the difference is, and why umbra is right;
 * a run prints how many cases each row excused.
 *
 * @module
 */
import type { Instruction } from "./cases.ts";
import { Flag } from "./rows.ts";
import type { Outcome } from "./unicorn_side.ts";
import { STATUS, STORE } from "./vector_layout.ts";

/** Words of memory that differ, by their address. */
export interface WordDifference {
  readonly address: number;
  readonly unicorn: number;
  readonly umbra: number;
}

/** A case in which the engines differ. */
export interface DifferentCase {
  readonly instruction: Instruction;
  readonly unicorn: Outcome;
  readonly umbra: Outcome;
  /** Everything that differs, in words; with it the words of memory. */
  readonly what: readonly string[];
  readonly memory: readonly WordDifference[];
}

/** A known error of Unicorn 2.0.1. */
export interface KnownError {
  /** The instructions concerned. */
  readonly instruction: string;
  /** What Unicorn does. */
  readonly condition: string;
  /** Why that is no error of umbra. */
  readonly reason: string;
  applies(c: DifferentCase): boolean;
}

/** EFLAGS bits that are compared; the rest is not the business of user code. RF is set in pushed flags. */
export const COMPARED_FLAGS = 0x0024_4fd5;
/** Exception flags and C1 of the x87 status word. */
const X87_EXCEPTIONS = 0x02ff;

/** True when a word of a NaN differs in its quiet bit only, and umbra's is set. */
const quietOnly = (unicorn: number, umbra: number, nan: number, quiet: number) =>
  (unicorn ^ umbra) === quiet && (umbra & nan) === (nan | 0);

/**
 * True when memory differs only in these bits of the stored x87 status words, or in the quiet bit of a
 * stored NaN (Unicorn loads a signalling NaN as it is).
 */
function onlyStatus(memory: readonly WordDifference[], bits: number): boolean {
  return memory.every(({ address, unicorn, umbra }) =>
    address === STATUS || address === STATUS + 4
      ? ((unicorn ^ umbra) & ~bits) === 0
      : quietOnly(unicorn, umbra, 0x7ff8_0000, 0x0008_0000) ||
        quietOnly(unicorn, umbra, 0x7fc0_0000, 0x0040_0000) ||
        (address === STORE + 4 && quietOnly(unicorn, umbra, 0xc000_0000 | 0, 0x4000_0000))
  );
}

/** The table. */
export const knownErrors: readonly KnownError[] = [
  {
    instruction: "TEST, F6 /1 and F7 /1",
    condition: "raises #UD",
    reason: "every processor runs them as TEST; the host CPU test has them",
    applies: (c) =>
      c.instruction.name === "test" && c.instruction.row.extension === 1 && c.unicorn.vector === 6,
  },
  {
    instruction: "LOCK NEG",
    condition: "takes the flags from something else than the result",
    reason: "without LOCK it agrees, and LOCK changes no result (SDM volume 2, LOCK)",
    applies: ({ instruction, what }) =>
      instruction.name === "neg" && instruction.bytes.includes(0xf0) && what.length === 1 &&
      what[0].startsWith("flags"),
  },
  {
    instruction: "x87, SSE",
    condition: "leaves exception flags and C1 out of the status word, MXCSR",
    reason: "the host CPU test compares them bit by bit",
    applies: ({ what, memory }) =>
      what.length === 1 && memory.length > 0 && onlyStatus(memory, X87_EXCEPTIONS),
  },
  {
    instruction: "FNSTSW AX",
    condition: "stores such a status word in AX",
    reason: "the same",
    applies: ({ instruction, what, memory, unicorn, umbra }) =>
      instruction.name === "fnstsw ax" && what.every((w) => /^(eax|memory)/.test(w)) &&
      onlyStatus(memory, X87_EXCEPTIONS) && ((unicorn.state[0] ^ umbra.state[0]) & ~X87_EXCEPTIONS) === 0,
  },
  {
    instruction: "FSQRT",
    condition: "of a negative number sets C2",
    reason: "SDM volume 2, FSQRT: C2 is undefined; the host CPU leaves it clear",
    applies: ({ instruction, what, memory }) =>
      instruction.name === "fsqrt" && what.length === 1 && onlyStatus(memory, X87_EXCEPTIONS | 0x400),
  },
  {
    instruction: "FPREM, FPREM1, FSCALE, FXTRACT, FLD m80",
    condition: "computes by way of doubles; takes infinities and unnormal numbers for numbers",
    reason: "the host CPU test compares them bit by bit",
    applies: ({ instruction, memory, what }) =>
      /^(fprem1?|fscale|fxtract|fld m80)$/.test(instruction.name) && what.length === 1 && memory.length > 0,
  },
  {
    instruction: "SSE arithmetic",
    condition: "of two NaNs gives the one that the x87's rule selects",
    reason: "SDM volume 1, 4.8.3.5: the first operand",
    applies: ({ instruction, what, memory }) =>
      /^(0|66|f2|f3) 0f 5[89ce]$/.test(instruction.name) && what.length === 1 && memory.length > 0 &&
      memory.every(({ address, unicorn, umbra }) =>
        address === STATUS
          ? ((unicorn ^ umbra) & ~X87_EXCEPTIONS) === 0
          : (umbra & 0x7f80_0000) === 0x7f80_0000 || address % 8 === 0
      ),
  },
  {
    instruction: "FCOMI, FCOMIP, FUCOMI, FUCOMIP",
    condition: "leave OF, SF and AF",
    reason: "SDM volume 2, FCOMI: they are cleared; the host CPU clears them",
    applies: ({ instruction, what, memory, unicorn, umbra }) =>
      /^fu?comip?$/.test(instruction.name) && what.every((w) => /^(flags|memory)/.test(w)) &&
      ((unicorn.state[9] ^ umbra.state[9]) & COMPARED_FLAGS & ~(Flag.of | Flag.sf | Flag.af)) === 0 &&
      onlyStatus(memory, X87_EXCEPTIONS),
  },
  {
    instruction: "ENTER",
    condition: "does not look whether a write at the final ESP would fault",
    reason: "SDM volume 2, ENTER: #PF when it would",
    applies: ({ instruction, unicorn, what }) =>
      instruction.name === "enter" && unicorn.vector < 0 && what[0] === "vector -1/14",
  },
  {
    instruction: "ENTER, CMPS",
    condition: "reports the other one of two faulting pages",
    reason: "the SDM does not say which is reported",
    applies: ({ instruction, unicorn, what }) =>
      (instruction.name === "enter" || instruction.name === "cmps") && unicorn.vector === 14 &&
      what.length === 1 && what[0] === "cr2",
  },
  {
    instruction: "repeated string instructions",
    condition: "write the first part of an element whose second part lies on a page that faults",
    reason: "SDM volume 3, 6.5: a fault leaves the element undone",
    applies: ({ instruction, unicorn, what, memory }) =>
      instruction.repeated && unicorn.vector === 14 && (unicorn.address & 0xfff) === 0 && what.length === 1 &&
      memory.length === 1,
  },
  {
    instruction: "string instructions with ES",
    condition: "does not look at the segment's limit",
    reason: "SDM volume 3, 5.3: #GP beyond the limit",
    applies: ({ instruction, unicorn, umbra }) =>
      (/^(movs|cmps|stos|scas)$/.test(instruction.name) || instruction.bytes.includes(0x26)) &&
      unicorn.vector === 14 && umbra.vector === 13 && (unicorn.address >>> 0) >= 0xffff_ef00,
  },
];
