// SPDX-License-Identifier: Apache-2.0
// umbra's CPU against native Unicorn on generated instructions and states. UMBRA_CASES and UMBRA_SEED make the
// run longer or another.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { makeInstruction, prepare } from "./cases.ts";
import { makeChain, prepareChain } from "./chains.ts";
import { compare, type Comparison } from "./differential.ts";
import { rows } from "./rows.ts";
import { makeSequence, prepareSequence, type Sequence } from "./vector_cases.ts";

const ignore = !need("libunicorn2");
const seed = Number(Deno.env.get("UMBRA_SEED") ?? 1);
const cases = Number(Deno.env.get("UMBRA_CASES") ?? 200_000);
/** States an instruction is run from, before the next instruction is made. */
const STATES = 8;

function report(what: string, result: Comparison): void {
  const excused = [...result.excused].map(([reason, count]) => `\n  ${count} passed over: ${reason}`).join(
    "",
  );
  console.log(`${what}: seed ${seed}, ${result.cases} cases, ${result.faults} faults${excused}`);
  assert.deepEqual([...result.notModelled], [], "not modelled");
  const byName = new Map<string, number>();
  for (const { name } of result.differences) byName.set(name, (byName.get(name) ?? 0) + 1);
  const counts = [...byName].map(([name, count]) => `${name} ${count}`).join(", ");
  const first = result.differences.slice(0, 20).map(({ text }) => text).join("\n");
  assert.equal(result.differences.length, 0, `seed ${seed}: ${counts}\n${first}`);
}

Deno.test({
  name: "integer instructions do what native Unicorn does: registers, flags, memory, faults",
  ignore,
  fn() {
    const result = compare({
      seed,
      instructions: Math.ceil(cases / STATES),
      states: STATES,
      make: (r, index) => makeInstruction(rows[index % rows.length], r),
      prepare,
    });
    report("integer", result);
    assert.ok(result.faults > result.cases / 100, "the cases raise faults too");
  },
});

Deno.test({
  name: "loops of many instructions do what native Unicorn does, whatever the budget of a run",
  ignore,
  fn() {
    const result = compare({
      seed,
      instructions: Math.ceil(cases / STATES / 8),
      states: STATES,
      make: (r) => makeChain(r),
      prepare: prepareChain,
    });
    report("chains", result);
  },
});

for (const [kind, share] of [["x87", 8], ["mmx", 16], ["sse", 8]] as const) {
  Deno.test({
    name: `${kind} instructions do what native Unicorn does: results, status, flags`,
    ignore,
    fn() {
      const result = compare<Sequence>({
        seed,
        instructions: Math.ceil(cases / STATES / share),
        states: STATES,
        make: (r) => makeSequence(kind, r),
        prepare: prepareSequence,
      });
      report(kind, result);
    },
  });
}
