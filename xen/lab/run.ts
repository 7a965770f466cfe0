// SPDX-License-Identifier: Apache-2.0
/**
 * Runs a suite on real Xen in QEMU, by software emulation: `deno run -A xen/lab/run.ts SUITE`. Builds what it
 * needs; what the suite leaves is put into `build/xen/SUITE.result/`, the console into `build/xen/SUITE.log`.
 * Prints one line a check, and ends with 1 when one failed or is missing.
 *
 * @module
 */
import { buildXen, stockXen } from "./build.ts";
import { checkLine, type CheckResult, readChecks } from "./dom0/checks.ts";
import { makeDom0 } from "./initramfs.ts";
import { exists, KEPT, run } from "./shell.ts";
import { type Suite, SUITES } from "./suites.ts";

/**
 * Without the features that QEMU's emulation lacks or gets wrong for a dom0. (With AVX, programs of dom0 crashed now and
 * then while a guest ran beside them.)
 */
const CPU = "EPYC,smap=off,smep=off,monitor=off,rdtscp=off,avx=off,avx2=off,fma=off,f16c=off,xsave=off";
const MEMORY = 3072, DOM0_MEMORY = 2048;
/** Bytes of the disk by which results leave. */
const RESULT_BYTES = 512 << 20;

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
  await Deno.writeFile(results, new Uint8Array());
  await Deno.truncate(results, RESULT_BYTES);
  const started = performance.now();
  await run([
    ...["timeout", "-s", "KILL", String(suite.limit), "nice", "-n", "3"],
    "qemu-system-x86_64",
    ...["-accel", "tcg,thread=multi", "-cpu", CPU, "-m", String(MEMORY), "-smp", String(suite.cpus ?? 2)],
    ...["-display", "none", "-no-reboot", "-nodefaults"],
    ...["-monitor", `unix:${suite.name}.monitor,server=on,wait=off`],
    ...["-serial", `file:${log}`],
    ...["-drive", `file=${results},if=virtio,format=raw,cache=unsafe`],
    ...["-kernel", xen],
    "-append",
    "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all conring_size=1M " +
    `dom0_mem=${DOM0_MEMORY}M,max:${DOM0_MEMORY}M dom0_max_vcpus=1 ${suite.xenOptions ?? ""}`,
    "-initrd",
    `${dom0.kernel} console=hvc0 earlyprintk=xen rdinit=/init,${dom0.initramfs}`,
  ], { cwd: KEPT }).catch((error: Error) => console.error(error.message));
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  await Deno.mkdir(folder);
  const said = exists(log) ? await Deno.readTextFile(log) : "";
  const checks = readChecks(said);
  await run(["tar", "-xf", results, "-C", folder]).catch(() => {});
  await Deno.remove(results);
  await Deno.remove(dom0.initramfs);
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
