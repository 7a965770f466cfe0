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
import type { Kind, Sequence } from "./vector_layout.ts";

/** Number of cases unless UMBRA_CASES says otherwise. */
export const DEFAULT_CASES = 2_100_000;
/** Seed and number of cases: UMBRA_SEED and UMBRA_CASES make the runs others or longer. */
export const SEED = Number(Deno.env.get("UMBRA_SEED") ?? 1);
export const CASES = Number(Deno.env.get("UMBRA_CASES") ?? DEFAULT_CASES);

/** States an instruction is run from, before the next instruction is made. */
const STATES = 16;
/** Blocks are hot at once, or soon. */
const AT_ONCE = 1, SOON = 3;

/** All that is compared with Unicorn: `cases` of it from `seed`. */
export function plans(seed: number, cases: number): readonly Plan[] {
  /** Instructions for `share` (of 1) of all cases. */
  const instructions = (share: number) => Math.ceil(cases * share / STATES);
  const integer = {
    states: STATES,
    make: (...[r, index]: Parameters<Plan["make"]>) => makeInstruction(rows[index % rows.length], r),
    prepare,
  };
  const chains = { states: STATES, make: makeChain, prepare: prepareChain };
  const sequences = (kind: Kind, share: number): Plan<Sequence> => ({
    name: kind,
    seed,
    instructions: instructions(share),
    states: STATES,
    make: (r) => makeSequence(kind, r, "unicorn"),
    prepare: prepareSequence,
  });
  return [
    { ...integer, name: "integer", seed, instructions: instructions(0.48) },
    {
      ...integer,
      name: "integer, segments with limits",
      seed: seed + 1,
      instructions: instructions(0.16),
      umbra: { limited: true },
    },
    {
      ...integer,
      name: "integer, compiled",
      seed: seed + 2,
      instructions: instructions(0.1),
      make: (r, index) => ({ ...integer.make(r, index), lead: 3 }),
      umbra: { hotEntries: AT_ONCE },
    },
    { ...chains, name: "loops", seed: seed + 3, instructions: instructions(0.01) },
    {
      ...chains,
      name: "loops, compiled",
      seed: seed + 4,
      instructions: instructions(0.01),
      umbra: { hotEntries: SOON },
    },
    // A sequence is prepared by what its own plan made.
    sequences("x87", 0.1) as unknown as Plan,
    sequences("mmx", 0.05) as unknown as Plan,
    sequences("sse", 0.1) as unknown as Plan,
  ];
}
