// SPDX-License-Identifier: Apache-2.0
/**
 * Measurements: `deno task bench [SUITE] [--json] [--runs N]`. Nothing here is a test: no time is asserted.
 * Every result that a run computes is still checked, so that a fast wrong answer counts for nothing.
 *
 * With `--json` one object goes to stdout: `{"suite","machine","rows":[{"name","unit","runs","umbra",…}]}`,
 * medians in the row's unit, one more member for each peer or variant.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { machineName, printTable, type Suite } from "./tests/bench/measure.ts";
import { suite as cpu } from "./tests/bench/cpu_suite.ts";
import { suite as unpack } from "./tests/bench/unpack_suite.ts";
import { suite as xen } from "./tests/bench/xen_suite.ts";

const suites: readonly Suite[] = [cpu, unpack, xen];

/** Runs the command; returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let options;
  try {
    options = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { json: { type: "boolean" }, runs: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`);
    return 2;
  }
  const names = suites.map((s) => s.name).join(", ");
  if (options.values.help) {
    console.log(`Usage: deno task bench [SUITE] [--json] [--runs N]\n\nSuites: ${names}`);
    return 0;
  }
  const wanted = options.positionals[0] ?? "cpu";
  const suite = suites.find((s) => s.name === wanted);
  const runs = Number(options.values.runs ?? 5);
  if (suite === undefined || options.positionals.length > 1) {
    console.error(`bench: no suite "${options.positionals.join(" ")}"; there are ${names}`);
    return 2;
  }
  if (!Number.isInteger(runs) || runs < 1 || runs > 1000) {
    console.error(`bench: --runs ${options.values.runs} is not a number from 1 to 1000`);
    return 2;
  }
  const rows = await suite.run(runs, (message) => console.error(`bench: ${message}`));
  const machine = machineName();
  if (options.values.json) console.log(JSON.stringify({ suite: suite.name, machine, rows }));
  else printTable(suite, machine, rows);
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
