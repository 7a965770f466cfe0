// SPDX-License-Identifier: Apache-2.0
// The program of the lab's dom0: runs the checks of the suite that is named.
import { type Check, runChecks } from "./checks.ts";
import { bridgeChecks } from "./bridge.ts";
import { collect } from "./collect.ts";
import { equalityChecks } from "./equality.ts";
import { exerciserChecks } from "./exerciser_checks.ts";
import { fuzzChecks } from "./fuzz.ts";
import { lifeChecks } from "./life.ts";
import { linuxChecks } from "./linux.ts";
import { modelChecks } from "./model.ts";
import { numbersChecks } from "./numbers.ts";
import { refusalChecks, stockChecks } from "./refusals.ts";
import { watchChecks } from "./watch.ts";

/** What each suite checks. */
const SUITES: Readonly<Record<string, readonly Check[]>> = {
  core: [
    ...bridgeChecks,
    ...exerciserChecks,
    ...watchChecks,
    ...equalityChecks,
    ...refusalChecks,
    ...fuzzChecks,
  ],
  equality: equalityChecks,
  exerciser: exerciserChecks,
  life: lifeChecks,
  linux: linuxChecks,
  model: modelChecks,
  numbers: numbersChecks,
  refusals: refusalChecks,
  stock: stockChecks,
  fuzz: fuzzChecks,
  watch: watchChecks,
};

const [name, ...rest] = Deno.args;
if (name === "collect") {
  await collect(Number(rest[0]), rest[1]);
  Deno.exit(0);
}
let failed = 0;
for (const suite of name.split("+")) failed += await runChecks(SUITES[suite]);
Deno.exit(failed === 0 ? 0 : 1);
