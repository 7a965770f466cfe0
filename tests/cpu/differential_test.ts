// SPDX-License-Identifier: Apache-2.0
// umbra's CPU against native Unicorn on generated instructions and states. UMBRA_CASES and UMBRA_SEED make the
// run longer or another.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { compare, type Plan } from "./differential.ts";
import { knownErrors } from "./known_errors.ts";
import { CASES, plans, SEED } from "./plans.ts";

const ignore = !need("libunicorn2");
let all = 0;

function run(plan: Plan): void {
  const result = compare(plan);
  all += result.cases;
  const excused = knownErrors.map(({ instruction, condition, reason }, i) =>
    result.excused[i] === 0
      ? ""
      : `\n  ${result.excused[i]} passed over: ${instruction}: ${condition} (${reason})`
  );
  console.log(
    `${plan.name}: seed ${plan.seed}, ${result.cases} cases, ${result.faults} faults, ` +
      `${result.compiled} regions compiled${excused.join("")}`,
  );
  const byName = new Map<string, number>();
  for (const { name } of result.differences) byName.set(name, (byName.get(name) ?? 0) + 1);
  const counts = [...byName].map(([name, count]) => `${name} ${count}`).join(", ");
  const first = result.differences.slice(0, 20).map(({ text }) => text).join("\n");
  assert.equal(result.differences.length, 0, `seed ${plan.seed}: ${counts}\n${first}`);
  if (plan.umbra?.hotEntries) {
    assert.ok(result.compiled > plan.instructions / 4, "the second tier had its share");
  }
  if (plan.name.startsWith("integer")) {
    assert.ok(result.faults > result.cases / 100, "the cases raise faults too");
  }
}

for (const plan of plans(SEED, CASES)) {
  Deno.test({
    name: `${plan.name}: what native Unicorn does in registers, flags, memory, faults`,
    ignore,
    fn: () => run(plan),
  });
}

Deno.test({
  name: "all that was to be compared with Unicorn was",
  ignore,
  fn() {
    console.log(`Unicorn: ${all} cases from seed ${SEED}`);
    assert.ok(all >= CASES);
  },
});
