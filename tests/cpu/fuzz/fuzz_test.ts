// SPDX-License-Identifier: Apache-2.0
// Hostile guests: any bytes as code at every privilege, hostile page and descriptor tables, breakpoints, odd
// segments. Both tiers, on the bare CPU and under shadow paging with the monitor watching: no trap of WebAssembly,
// no exception of the host, no byte outside of the guest's memory changed, and both tiers do the same.
// UMBRA_CASES and UMBRA_SEED make it longer or another; a failure names its seed.
import assert from "node:assert/strict";
import { build } from "../../../emulator/machine/build_cpu.ts";
import { build as buildMonitor } from "../../../xen/build_monitor.ts";
import { FuzzHome, type Home } from "./home.ts";
import { makeCase } from "./make_case.ts";

await build();
await buildMonitor();

const SEED = Number(Deno.env.get("UMBRA_SEED") ?? 1);
const CASES = Number(Deno.env.get("UMBRA_CASES") ?? 1000);

/** Runs one case in both tiers and compares. */
function runCase(seed: number, homes: readonly FuzzHome[], ends: Map<string, number>): number {
  const fuzz = makeCase(seed);
  const [first, second] = homes.map((home) => {
    try {
      return home.run(fuzz);
    } catch (error) {
      throw new Error(`Cannot run case ${seed} in the ${home.name}: ${error}`, { cause: error });
    }
  });
  assert.deepEqual(
    second.lines,
    first.lines,
    `case ${seed}: the tiers differ (UMBRA_SEED=${seed} UMBRA_CASES=1)`,
  );
  ends.set(first.end, (ends.get(first.end) ?? 0) + 1);
  return first.instructions;
}

for (const home of ["bare CPU", "watched guest under shadow paging"] satisfies Home[]) {
  Deno.test(`any guest on the ${home}: no trap, nothing outside its memory, the same in both tiers`, () => {
    const homes = (["interpreter", "jit"] as const).map((tier) => new FuzzHome(home, tier));
    const ends = new Map<string, number>();
    let instructions = 0;
    for (let seed = SEED; seed < SEED + CASES; seed++) instructions += runCase(seed, homes, ends);
    for (const each of homes) each.checkOutside();
    console.log(
      `seeds ${SEED} to ${SEED + CASES - 1}: ${instructions} instructions, ends`,
      Object.fromEntries(ends),
    );
    assert.ok(instructions > 10 * CASES, `the cases ran ${instructions} instructions only`);
    assert.ok(CASES < 1000 || ends.size >= 3, "the cases end in few ways only");
    assert.ok(CASES < 1000 || homes[1].compiled > 0, "nothing was compiled");
  });
}

Deno.test("a guest whose alignment check faults on its own frame for ever shuts down", () => {
  const ends = new Map<string, number>();
  for (const home of ["bare CPU", "watched guest under shadow paging"] satisfies Home[]) {
    runCase(500_161, (["interpreter", "jit"] as const).map((tier) => new FuzzHome(home, tier)), ends);
  }
  assert.ok(ends.has("shutdown"));
});
