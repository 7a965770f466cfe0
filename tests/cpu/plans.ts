// SPDX-License-Identifier: Apache-2.0
/**
 * What is compared with native Unicorn, and how much of it. The coverage test goes through the same plans.
 *
 * @module
 */
import { makeInstruction, prepare } from "./cases.ts";
import { makeChain, prepareChain } from "./chains.ts";
import type { Plan } from "./differential.ts";
import { rows } from "./rows.ts";
import { makeSequence, prepareSequence } from "./vector_cases.ts";
import type { Sequence } from "./vector_layout.ts";

/** Seed and number of cases: UMBRA_SEED and UMBRA_CASES make the runs others or longer. */
export const SEED = Number(Deno.env.get("UMBRA_SEED") ?? 1);
export const CASES = Number(Deno.env.get("UMBRA_CASES") ?? 2_100_000);

/** States an instruction is run from, before the next instruction is made. */
const STATES = 16;
/** Blocks are hot at once, or soon. */
const AT_ONCE = 1, SOON = 3;

/** Instructions for `share` (of 1) of all cases. */
const instructions = (share: number) => Math.ceil(CASES * share / STATES);

const integer = {
  states: STATES,
  make: (...[r, index]: Parameters<Plan["make"]>) => makeInstruction(rows[index % rows.length], r),
  prepare,
};
const chains = { states: STATES, make: makeChain, prepare: prepareChain };

/** Integer instructions: one at a time; with segments that are not flat; compiled; in loops. */
export const integerPlans: readonly Plan[] = [
  { ...integer, name: "integer", seed: SEED, instructions: instructions(0.58) },
  {
    ...integer,
    name: "integer, segments with limits",
    seed: SEED + 1,
    instructions: instructions(0.06),
    umbra: { limited: true },
  },
  {
    ...integer,
    name: "integer, compiled",
    seed: SEED + 2,
    instructions: instructions(0.1),
    make: (r, index) => ({ ...integer.make(r, index), lead: 3 }),
    umbra: { hotEntries: AT_ONCE },
  },
  { ...chains, name: "loops", seed: SEED + 3, instructions: instructions(0.01) },
  {
    ...chains,
    name: "loops, compiled",
    seed: SEED + 4,
    instructions: instructions(0.01),
    umbra: { hotEntries: SOON },
  },
];

/** Sequences of x87, MMX and SSE. */
export const vectorPlans: readonly Plan<Sequence>[] = ([["x87", 0.1], ["mmx", 0.05], ["sse", 0.1]] as const)
  .map(([kind, share]) => ({
    name: kind,
    seed: SEED,
    instructions: instructions(share),
    states: STATES,
    make: (r) => makeSequence(kind, r, "unicorn"),
    prepare: prepareSequence,
  }));
