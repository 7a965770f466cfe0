// SPDX-License-Identifier: Apache-2.0
/**
 * Compares umbra's CPU with native Unicorn, case by case.
 *
 * @module
 */
import { type Instruction, type Poke, type State, undefinedAfter } from "./cases.ts";
import { COMPARED_FLAGS, knownErrors, type WordDifference } from "./known_errors.ts";
import { Random } from "./random.ts";
import { UmbraSide, type UmbraSideOptions } from "./umbra_side.ts";
import { type Outcome, UnicornSide, Windows } from "./unicorn_side.ts";

/** One difference, ready to print. */
export interface Difference {
  readonly name: string;
  readonly text: string;
}

/** What a run of the comparison came to. */
export interface Comparison {
  readonly cases: number;
  readonly faults: number;
  /** Cases passed over because of each row of {@link knownErrors}. */
  readonly excused: readonly number[];
  readonly differences: readonly Difference[];
  /** Regions that umbra's second tier compiled. */
  readonly compiled: number;
}

/** Generated instructions, each run from several random states. */
export interface Plan<I extends Instruction = Instruction> {
  readonly name: string;
  readonly seed: number;
  readonly instructions: number;
  readonly states: number;
  /** Makes an instruction; takes nothing but numbers from `r`, so that a plan can be gone through without running it. */
  readonly make: (r: Random, index: number) => I;
  readonly prepare: (instruction: I, r: Random, state: State, poke: Poke) => void;
  /** How umbra runs them. */
  readonly umbra?: UmbraSideOptions;
}

const REGISTER_NAMES = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags"];

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

/** The instructions of a plan, in its order. */
export function* instructionsOf<I extends Instruction>(plan: Plan<I>): Generator<I> {
  const r = new Random(plan.seed);
  for (let n = 0; n < plan.instructions; n++) yield plan.make(r, n);
}

/** Runs a plan on both engines. Stops after `most` differences. */
export function compare<I extends Instruction>(plan: Plan<I>, most = 100): Comparison {
  // States come from another sequence than instructions, see Plan.make.
  const r = new Random(~plan.seed);
  const unicorn = new UnicornSide();
  const umbra = new UmbraSide(plan.umbra);
  const differences: Difference[] = [];
  const excused = knownErrors.map(() => 0);
  let cases = 0;
  let faults = 0;
  const { words, bytes } = unicorn.windows;
  for (let i = 0; i < words.length; i++) words[i] = r.value();
  umbra.storeWindows(bytes);
  const untouched = new Windows(new Uint8Array(Windows.size));
  const view = new DataView(bytes.buffer);
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
    for (const instruction of instructionsOf(plan)) {
      unicorn.place(instruction);
      umbra.place(instruction);
      for (let s = 0; s < plan.states; s++) {
        cases++;
        pokes.length = 0;
        plan.prepare(instruction, r, before, poke);
        for (const [address, value] of pokes) umbra.poke(address, value);
        untouched.bytes.set(bytes);
        const a = unicorn.run(before);
        const b = umbra.run(before);
        if (a.vector >= 0) faults++;
        const what = outcomeDifferences(instruction, before, a, b);
        // Unicorn may have done half of the instruction; the architecture says nothing of it happened.
        if (b.vector >= 0 && b.vector === a.vector && !instruction.repeated) bytes.set(untouched.bytes);
        const memory = umbra.differences(bytes);
        if (memory.length > 0) {
          umbra.storeWindows(bytes);
          const text = memory.slice(0, 4).map((w) => `[${hex(w.address)}] ${hex(w.unicorn)}/${hex(w.umbra)}`);
          what.push(`memory ${text.join(" ")}`);
        }
        if (what.length === 0) continue;
        const known = findKnown(instruction, a, b, what, memory);
        if (known >= 0) {
          excused[known]++;
          continue;
        }
        differences.push({ name: instruction.name, text: describe(instruction, before, a, b, what) });
        if (differences.length >= most) break;
      }
      if (differences.length >= most) break;
    }
  } finally {
    unicorn.close();
  }
  return { cases, faults, excused, differences, compiled: umbra.compiledRegions };
}

function findKnown(
  instruction: Instruction,
  unicorn: Outcome,
  umbra: Outcome,
  what: readonly string[],
  memory: readonly WordDifference[],
): number {
  return knownErrors.findIndex((error) => error.applies({ instruction, unicorn, umbra, what, memory }));
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
