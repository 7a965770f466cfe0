// SPDX-License-Identifier: Apache-2.0
/**
 * Runs a suite on real Xen in QEMU, by software emulation: `deno run -A xen/lab/run.ts SUITE`. Builds what it
 * needs; what the suite leaves is put into `build/xen/SUITE.result/`, the console into `build/xen/SUITE.log`.
 *
 * @module
 */
import { buildXen } from "./build.ts";
import { makeDom0 } from "./initramfs.ts";
import { exists, KEPT, run } from "./shell.ts";
import { type Suite, SUITES } from "./suites.ts";

/** Features that QEMU's emulation lacks or gets wrong for a dom0. */
const CPU = "EPYC,smap=off,smep=off,monitor=off,rdtscp=off";
const MEMORY = 3072, DOM0_MEMORY = 2048;

/** How a suite came out: its script's exit code, and where its files are. */
export interface LabResult {
  readonly code: number;
  readonly folder: string;
  readonly log: string;
  readonly seconds: number;
}

/** Boots Xen with a dom0 that runs the suite. Throws when it did not come to its end, with the last lines. */
export async function runSuite(suite: Suite): Promise<LabResult> {
  const xen = await buildXen();
  const dom0 = await makeDom0(suite.name, [
    ...await suite.files(),
    { to: "/lab/suite.sh", text: suite.script },
  ]);
  const log = `${KEPT}/${suite.name}.log`, results = `${KEPT}/${suite.name}.out`;
  const folder = `${KEPT}/${suite.name}.result`;
  for (const path of [results, folder]) if (exists(path)) await Deno.remove(path, { recursive: true });
  const started = performance.now();
  await run([
    "timeout",
    "-s",
    "KILL",
    String(suite.limit),
    "qemu-system-x86_64",
    ...["-accel", "tcg,thread=multi", "-cpu", CPU, "-m", String(MEMORY), "-smp", "2"],
    ...["-display", "none", "-no-reboot", "-nodefaults", "-monitor", "none"],
    ...["-serial", `file:${log}`, "-serial", `file:${results}`],
    ...["-kernel", xen],
    "-append",
    `console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=${DOM0_MEMORY}M,max:${DOM0_MEMORY}M dom0_max_vcpus=1`,
    "-initrd",
    `${dom0.kernel} console=hvc0 earlyprintk=xen rdinit=/init,${dom0.initramfs}`,
  ]).catch(() => {
    // It was stopped: what it left says how far it came.
  });
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  const left = exists(results) ? await Deno.readTextFile(results) : "";
  const end = left.indexOf("=end=");
  if (end < 0) {
    const last = exists(log) ? (await Deno.readTextFile(log)).trim().split("\n").slice(-15).join("\n") : "";
    throw new Error(`Cannot finish suite ${suite.name}: no result after ${seconds} s; last lines:\n${last}`);
  }
  await Deno.mkdir(folder);
  await run(["tar", "-xf", "-", "-C", folder], {
    input: Uint8Array.fromBase64(left.slice(0, end).replace(/\s/g, "")),
  });
  return { code: Number(await Deno.readTextFile(`${folder}/code`)), folder, log, seconds };
}

if (import.meta.main) {
  const suite = SUITES.find(({ name }) => name === Deno.args[0]);
  if (!suite || Deno.args.length !== 1) {
    console.error("Usage: run.ts SUITE, one of:");
    for (const { name, description } of SUITES) console.error(`  ${name.padEnd(10)} ${description}`);
    Deno.exit(2);
  }
  const { code, folder, log, seconds } = await runSuite(suite);
  console.log(
    `${suite.name}: ${code === 0 ? "ran" : `failed with ${code}`} in ${seconds} s; ${folder}, ${log}`,
  );
  Deno.exit(code === 0 ? 0 : 1);
}
