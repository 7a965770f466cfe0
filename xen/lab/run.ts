// SPDX-License-Identifier: Apache-2.0
/**
 * Runs a suite on real Xen in an emulated machine: `deno run -A xen/lab/run.ts SUITE`. Builds what it
 * needs; what the suite leaves is put into `build/xen/SUITE.result/`, the console into `build/xen/SUITE.log`.
 * Prints one line a check, and ends with 1 when one failed or is missing.
 *
 * @module
 */
import { bootBochs } from "./bochs.ts";
import { buildXen, stockXen } from "./build.ts";
import { checkLine, type CheckResult, readChecks } from "./dom0/checks.ts";
import { makeDom0 } from "./initramfs.ts";
import type { Machine } from "./machine.ts";
import { bootQemu } from "./qemu.ts";
import { exists, KEPT, run } from "./shell.ts";
import { type Suite, SUITES } from "./suites.ts";

/** How a suite came out: its script's exit code, its checks, and where its files are. */
export interface LabResult {
  readonly code: number;
  readonly checks: readonly CheckResult[];
  readonly folder: string;
  readonly log: string;
  readonly seconds: number;
}

/** Boots Xen with a dom0 that runs the suite. Throws when it did not come to its end, with the last lines. */
export async function runSuite(suite: Suite): Promise<LabResult> {
  const xen = suite.hypervisor === "stock" ? await stockXen() : await buildXen(suite.hypervisor === "debug");
  const dom0 = await makeDom0(suite.name, [
    ...await suite.files(),
    { to: "/lab/suite.sh", text: suite.script },
  ]);
  const log = `${KEPT}/${suite.name}.log`, results = `${KEPT}/${suite.name}.out`;
  const folder = `${KEPT}/${suite.name}.result`;
  for (const path of [log, results, folder]) if (exists(path)) await Deno.remove(path, { recursive: true });
  const started = performance.now();
  const boot: Machine = suite.machine === "bochs" ? bootBochs : bootQemu;
  const { name, cpus = 2, xenOptions = "", limit } = suite;
  await boot({ name, xen, dom0, cpus, xenOptions, limit, log, results })
    .catch((error: Error) => console.error(error.message));
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  await Deno.mkdir(folder);
  const said = exists(log) ? await Deno.readTextFile(log) : "";
  const checks = readChecks(said);
  await run(["tar", "-xf", results, "-C", folder]).catch(() => {});
  for (const path of [results, dom0.initramfs]) if (exists(path)) await Deno.remove(path);
  if (!exists(`${folder}/code`)) {
    for (const check of checks) console.log(checkLine(check));
    const last = said.trim().split("\n").slice(-15).join("\n");
    throw new Error(`Cannot finish suite ${suite.name}: no result after ${seconds} s; last lines:\n${last}`);
  }
  return { code: Number(await Deno.readTextFile(`${folder}/code`)), checks, folder, log, seconds };
}

if (import.meta.main) {
  const suite = SUITES.find(({ name }) => name === Deno.args[0]);
  if (!suite || Deno.args.length !== 1) {
    console.error("Usage: run.ts SUITE, one of:");
    for (const { name, description } of SUITES) console.error(`  ${name.padEnd(10)} ${description}`);
    Deno.exit(2);
  }
  try {
    const { code, checks, folder, log, seconds } = await runSuite(suite);
    for (const check of checks) console.log(checkLine(check));
    const failed = checks.filter(({ ok }) => !ok).length;
    const counted = checks.length ? `, ${checks.length - failed} checks passed, ${failed} failed` : "";
    console.log(
      `${suite.name}: ${
        code === 0 ? "ran" : `failed with ${code}`
      } in ${seconds} s${counted}; ${folder}, ${log}`,
    );
    Deno.exit(code === 0 && failed === 0 ? 0 : 1);
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(1);
  }
}
