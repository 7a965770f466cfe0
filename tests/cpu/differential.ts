// SPDX-License-Identifier: Apache-2.0
/**
 * Compares umbra's CPU with native Unicorn, case by case.
 *
 * @module
 */
import { type Instruction, type Poke, undefinedAfter } from "./cases.ts";
import { Random } from "./random.ts";
import { Flag } from "./rows.ts";
import { NotModelled, UmbraSide } from "./umbra_side.ts";
import { type Outcome, UnicornSide, Windows } from "./unicorn_side.ts";
import { STATUS } from "./vector_cases.ts";

/** One difference, ready to print. */
export interface Difference {
  readonly name: string;
  readonly text: string;
}

/** What a run of the comparison came to. */
export interface Comparison {
  readonly cases: number;
  readonly faults: number;
  /** Cases passed over because of a row of {@link knownErrors}, by its reason. */
  readonly excused: ReadonlyMap<string, number>;
  /** Cases that umbra's CPU says it does not model, by name. */
  readonly notModelled: ReadonlyMap<string, number>;
  readonly differences: readonly Difference[];
}

/** EFLAGS bits that are compared; the rest is not the business of user code. RF is set in pushed flags. */
const COMPARED_FLAGS = 0x0024_4fd5;

const REGISTER_NAMES = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags"];

/** A case in which the engines differ. */
interface Case {
  readonly instruction: Instruction;
  readonly unicorn: Outcome;
  readonly umbra: Outcome;
  /** Everything that differs, in words; with it the words of memory. */
  readonly what: readonly string[];
  readonly memory: readonly WordDifference[];
}

/** A known error of Unicorn 2.0.1. */
interface KnownError {
  readonly reason: string;
  applies(c: Case): boolean;
}

/** Exception flags and C1 of the x87 status word. */
const X87_EXCEPTIONS = 0x02ff;

/**
 * True when memory differs only in these bits of the stored x87 status words, or in the quiet bit of a
 * stored NaN (Unicorn loads a signalling NaN as it is).
 */
function onlyStatus(memory: readonly WordDifference[], bits: number): boolean {
  return memory.every(({ address, unicorn, umbra }) =>
    address === STATUS || address === STATUS + 4
      ? ((unicorn ^ umbra) & ~bits) === 0
      : (unicorn ^ umbra) === 0x0008_0000 && (umbra & 0x7ff8_0000) === 0x7ff8_0000
  );
}

/** Where Unicorn 2.0.1 is wrong, each with the reason. */
export const knownErrors: readonly KnownError[] = [
  {
    reason: "F6 /1 and F7 /1 are TEST on every processor (the host CPU test shows it); Unicorn raises #UD",
    applies: (c) =>
      c.instruction.name === "test" && c.instruction.row.extension === 1 && c.unicorn.vector === 6,
  },
  {
    reason: "LOCK NEG: Unicorn takes the flags from something else than the result; without LOCK it is right",
    applies: ({ instruction, what }) =>
      instruction.name === "neg" && instruction.bytes.includes(0xf0) && what.length === 1 &&
      what[0].startsWith("flags"),
  },
  {
    reason: "exception flags and C1 of x87, MXCSR: Unicorn leaves them out (the host CPU test has them)",
    applies: ({ what, memory }) =>
      what.length === 1 && memory.length > 0 && onlyStatus(memory, X87_EXCEPTIONS),
  },
  {
    reason: "FNSTSW AX after the same",
    applies: ({ instruction, what, memory, unicorn, umbra }) =>
      instruction.name === "fnstsw ax" && what.every((w) => /^(eax|memory)/.test(w)) &&
      onlyStatus(memory, X87_EXCEPTIONS) && ((unicorn.state[0] ^ umbra.state[0]) & ~X87_EXCEPTIONS) === 0,
  },
  {
    reason: "FSQRT of a negative number: Unicorn sets C2",
    applies: ({ instruction, what, memory }) =>
      instruction.name === "fsqrt" && what.length === 1 && onlyStatus(memory, X87_EXCEPTIONS | 0x400),
  },
  {
    reason:
      "FPREM, FPREM1, FSCALE by way of doubles, FXTRACT of infinities, unnormal numbers by FLD m80: the host CPU test decides",
    applies: ({ instruction, memory, what }) =>
      /^(fprem1?|fscale|fxtract|fld m80)$/.test(instruction.name) && what.length === 1 && memory.length > 0,
  },
  {
    reason:
      "SSE arithmetic on two NaNs gives the first (SDM volume 1, 4.8.3.5); Unicorn follows the x87's rule",
    applies: ({ instruction, what, memory }) =>
      /^(0|66|f2|f3) 0f 5[89ce]$/.test(instruction.name) && what.length === 1 && memory.length > 0 &&
      memory.every(({ address, unicorn, umbra }) =>
        address === STATUS
          ? ((unicorn ^ umbra) & ~X87_EXCEPTIONS) === 0
          : (umbra & 0x7f80_0000) === 0x7f80_0000 || address % 8 === 0
      ),
  },
  {
    reason: "FCOMI and its kin clear OF, SF and AF; Unicorn leaves them",
    applies: ({ instruction, what, memory, unicorn, umbra }) =>
      /^fu?comip?$/.test(instruction.name) && what.every((w) => /^(flags|memory)/.test(w)) &&
      ((unicorn.state[9] ^ umbra.state[9]) & COMPARED_FLAGS & ~(Flag.of | Flag.sf | Flag.af)) === 0 &&
      onlyStatus(memory, X87_EXCEPTIONS),
  },
  {
    reason: "ENTER faults when a write at the final ESP would (SDM volume 2, ENTER); Unicorn does not look",
    applies: ({ instruction, unicorn, what }) =>
      instruction.name === "enter" && unicorn.vector < 0 && what[0] === "vector -1/14",
  },
  {
    reason: "two operands on two faulting pages: the SDM does not say which is reported",
    applies: ({ instruction, unicorn, what }) =>
      (instruction.name === "enter" || instruction.name === "cmps") && unicorn.vector === 14 &&
      what.length === 1 && what[0] === "cr2",
  },
  {
    reason:
      "an element across a page end whose second page faults: Unicorn writes the first part all the same",
    applies: ({ instruction, unicorn, what, memory }) =>
      instruction.repeated && unicorn.vector === 14 && (unicorn.address & 0xfff) === 0 && what.length === 1 &&
      memory.length === 1,
  },
];

const hex = (n: number) => (n >>> 0).toString(16);

function describe(
  instruction: Instruction,
  before: Uint32Array,
  unicorn: Outcome,
  umbra: Outcome,
  what: readonly string[],
): string {
  const registers = REGISTER_NAMES.map((name, i) => {
    const [b, u, m] = [before[i], unicorn.state[i], umbra.state[i]];
    return u === m && b === u ? `${name}=${hex(b)}` : `${name}=${hex(b)}→${hex(u)}/${hex(m)}`;
  });
  const fault = (o: Outcome) =>
    o.vector < 0 ? "done" : `#${o.vector}(${hex(o.errorCode)})${o.vector === 14 ? "@" + hex(o.address) : ""}`;
  return `${instruction.name} ${instruction.bytes.toHex()}: ${what.join(", ")}; ${fault(unicorn)}/${
    fault(umbra)
  } ${registers.join(" ")} (before→Unicorn/umbra)`;
}

/** Compares engines over instructions that `make` supplies, each from `states` random states. */
export function compare<I extends Instruction>(options: {
  readonly seed: number;
  readonly instructions: number;
  readonly states: number;
  readonly make: (r: Random, index: number) => I;
  readonly prepare: (instruction: I, r: Random, state: Uint32Array, poke: Poke) => void;
  /** Stop after so many differences. */
  readonly most?: number;
}): Comparison {
  const r = new Random(options.seed);
  const unicorn = new UnicornSide();
  const umbra = new UmbraSide();
  const differences: Difference[] = [];
  const excused = new Map<string, number>();
  const notModelled = new Map<string, number>();
  let cases = 0;
  let faults = 0;
  const words = unicorn.windows.words;
  for (let i = 0; i < words.length; i++) words[i] = r.value();
  umbra.windows.words.set(words);
  umbra.storeWindows();
  const untouched = words.slice();
  const view = new DataView(unicorn.windows.bytes.buffer);
  const pokes: [number, number][] = [];
  const poke: Poke = (address, value) => {
    const at = Windows.offset(address);
    const end = Windows.offset(address + 3);
    if (at < 0 || end !== at + 3) return;
    view.setUint32(at, value, true);
    pokes.push([address, value]);
  };
  const before = new Uint32Array(10);
  try {
    for (let n = 0; n < options.instructions; n++) {
      const instruction = options.make(r, n);
      unicorn.place(instruction);
      umbra.place(instruction);
      for (let s = 0; s < options.states; s++) {
        cases++;
        pokes.length = 0;
        options.prepare(instruction, r, before, poke);
        for (const [address, value] of pokes) umbra.poke(address, value);
        untouched.set(words);
        const a = unicorn.run(before);
        let b: Outcome;
        try {
          b = umbra.run(before);
        } catch (error) {
          if (!(error instanceof NotModelled)) throw error;
          notModelled.set(instruction.name, (notModelled.get(instruction.name) ?? 0) + 1);
          umbra.windows.words.set(words);
          umbra.storeWindows();
          continue;
        }
        if (a.vector >= 0) faults++;
        umbra.loadWindows();
        const what = outcomeDifferences(instruction, before, a, b);
        let memory: WordDifference[] = [];
        if (b.vector >= 0 && b.vector === a.vector && !instruction.repeated) {
          // Unicorn may have done half of the instruction; the architecture says nothing of it happened.
          if (!sameWords(untouched, umbra.windows.words)) {
            memory = wordDifferences(untouched, umbra.windows.words);
            umbra.windows.words.set(untouched);
            umbra.storeWindows();
          }
          words.set(untouched);
        } else if (!sameWords(words, umbra.windows.words)) {
          memory = wordDifferences(words, umbra.windows.words);
          umbra.windows.words.set(words);
          umbra.storeWindows();
        }
        if (memory.length > 0) {
          const text = memory.slice(0, 4).map((w) => `[${hex(w.address)}] ${hex(w.unicorn)}/${hex(w.umbra)}`);
          what.push(`memory ${text.join(" ")}`);
        }
        if (what.length === 0) continue;
        const known = knownErrors.find((error) =>
          error.applies({ instruction, unicorn: a, umbra: b, what, memory })
        );
        if (known !== undefined) {
          excused.set(known.reason, (excused.get(known.reason) ?? 0) + 1);
          continue;
        }
        differences.push({ name: instruction.name, text: describe(instruction, before, a, b, what) });
        if (differences.length >= (options.most ?? 100)) {
          return { cases, faults, excused, notModelled, differences };
        }
      }
    }
  } finally {
    unicorn.close();
  }
  return { cases, faults, excused, notModelled, differences };
}

function outcomeDifferences(
  instruction: Instruction,
  before: Uint32Array,
  a: Outcome,
  b: Outcome,
): string[] {
  const what: string[] = [];
  if (a.vector !== b.vector) return [`vector ${a.vector}/${b.vector}`];
  // A fault leaves everything as it was, except that a repeated instruction keeps what it has done.
  const fault = a.vector >= 0 && !instruction.repeated;
  const expected = fault ? before : a.state;
  for (let i = 0; i < 8; i++) {
    if (expected[i] !== b.state[i]) what.push(REGISTER_NAMES[i]);
  }
  if (a.vector < 0) {
    if (a.state[8] !== b.state[8]) what.push("eip");
  } else {
    // Faults report the instruction, traps (#BP, #OF) the one behind; Unicorn's EIP says neither.
    const trap = a.vector === 3 || a.vector === 4;
    const right = instruction.address + (trap ? instruction.bytes.length : 0);
    if (b.state[8] !== right) what.push(`eip in the exception frame ${hex(right)}/${hex(b.state[8])}`);
  }
  if (a.vector === 14) {
    if (a.address !== b.address) what.push("cr2");
    // A read-modify-write may ask for both rights at once, Unicorn reads first.
    if ((a.errorCode | 2) !== (b.errorCode | 2) || (a.errorCode & ~b.errorCode & 2) !== 0) {
      what.push("error code");
    }
  }
  const flags = COMPARED_FLAGS & ~(a.vector < 0 ? undefinedAfter(instruction, before) : 0);
  const different = (expected[9] ^ b.state[9]) & flags;
  if (different !== 0) what.push(`flags ${hex(different)}`);
  return what;
}

function sameWords(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Words of memory that differ, by their address. */
export interface WordDifference {
  readonly address: number;
  readonly unicorn: number;
  readonly umbra: number;
}

function wordDifferences(a: Uint32Array, b: Uint32Array): WordDifference[] {
  const found: WordDifference[] = [];
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) found.push({ address: Windows.address(4 * i), unicorn: a[i], umbra: b[i] });
  }
  return found;
}
