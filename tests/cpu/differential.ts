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

/** A known error of Unicorn 2.0.1. */
interface KnownError {
  readonly reason: string;
  /** `what` is everything that differs, with the words of memory and the bits of EFLAGS among it. */
  applies(
    instruction: Instruction,
    unicorn: Outcome,
    what: readonly string[],
    memory: readonly WordDifference[],
    flags: number,
  ): boolean;
}

/** True for a status word of the x87 that differs in IE to PE, SF, ES or C1 only. */
function sameButForExceptions(word: WordDifference): boolean {
  return (word.address === STATUS || word.address === STATUS + 4) &&
    ((word.unicorn ^ word.umbra) & ~0x02ff) === 0;
}

/** Where Unicorn 2.0.1 is wrong, each with the reason. */
export const knownErrors: readonly KnownError[] = [
  {
    reason: "F6 /1 and F7 /1 are TEST on every processor (the host CPU test shows it); Unicorn raises #UD",
    applies: (i, unicorn) => i.name === "test" && i.row.extension === 1 && unicorn.vector === 6,
  },
  {
    reason: "LOCK NEG: Unicorn takes the flags from something else than the result; without LOCK it is right",
    applies: (i, _, what) =>
      i.name === "neg" && i.bytes.includes(0xf0) && what.length === 1 && what[0].startsWith("flags"),
  },
  {
    reason:
      "exception flags and C1 in the x87 status word: Unicorn leaves them out (the host CPU test has them)",
    applies: (_i, _u, what, memory) =>
      what.length === 1 && memory.length > 0 && memory.every(sameButForExceptions),
  },
  {
    reason: "FCOMI and its kin clear OF, SF and AF; Unicorn leaves them",
    applies: (i, _u, what, memory, flags) =>
      /^fu?comip?$/.test(i.name) && what.every((w) => /^(flags|memory)/.test(w)) &&
      (flags & COMPARED_FLAGS & ~(Flag.of | Flag.sf | Flag.af)) === 0 &&
      memory.every(sameButForExceptions),
  },
  {
    reason: "ENTER faults when a write at the final ESP would (SDM volume 2, ENTER); Unicorn does not look",
    applies: (i, unicorn, what) => i.name === "enter" && unicorn.vector < 0 && what[0] === "vector -1/14",
  },
  {
    reason: "two operands on two faulting pages: the SDM does not say which is reported",
    applies: (i, unicorn, what) =>
      (i.name === "enter" || i.name === "cmps") && unicorn.vector === 14 && what.length === 1 &&
      what[0] === "cr2",
  },
  {
    reason:
      "an element across a page end whose second page faults: Unicorn writes the first part all the same",
    applies: (i, unicorn, what) =>
      i.repeated && unicorn.vector === 14 && (unicorn.address & 0xfff) === 0 &&
      what.length === 1 && what[0].startsWith("memory"),
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
          error.applies(instruction, a, what, memory, a.state[9] ^ b.state[9])
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
