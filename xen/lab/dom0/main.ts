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
import { vmxChecks } from "./vmx.ts";
import { watchChecks } from "./watch.ts";

/** Runs of the exerciser, each with room in the data centre and without. */
const RUNS = 10, RUNS_IN_BOCHS = 2;

/** What each suite checks. */
const SUITES: Readonly<Record<string, readonly Check[]>> = {
  core: [
    ...bridgeChecks,
    ...exerciserChecks(RUNS),
    ...watchChecks,
    ...equalityChecks,
    ...refusalChecks,
    ...fuzzChecks,
  ],
  equality: equalityChecks,
  exerciser: exerciserChecks(RUNS),
  life: lifeChecks,
  linux: linuxChecks,
  model: modelChecks,
  numbers: numbersChecks,
  refusals: refusalChecks,
  stock: stockChecks,
  fuzz: fuzzChecks,
  vmx: [...vmxChecks, ...bridgeChecks, ...exerciserChecks(RUNS_IN_BOCHS), ...equalityChecks],
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
