// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task evaluate:packers [--only TEXT] [--out FILE]`: runs the samples of the evaluation and writes
 * `docs/evaluation.md`. With `--only`, the samples whose name holds the text; these go to `--out` or stdout.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { engineFactories, startScanner } from "../../scanners/mod.ts";
import { ROOT } from "../../tools/files.ts";
import { run } from "../e2e/programs.ts";
import { measure, type Row } from "./measure.ts";
import { page } from "./page.ts";
import { clamSamples, techniqueSamples, upxSamples } from "./samples.ts";

const PAGE = `${ROOT}docs/evaluation.md`;
/** Milliseconds an engine has for one unit. */
const TIMEOUT = 30_000;

/** Runs the command; returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let options;
  try {
    options =
      parseArgs({ args: [...args], options: { only: { type: "string" }, out: { type: "string" } } }).values;
  } catch (error) {
    console.error(`evaluate:packers: ${(error as Error).message}`);
    return 2;
  }
  const { only } = options;
  const folder = await Deno.makeTempDir({ prefix: "umbra-evaluate-" });
  const scanner = await startScanner(engineFactories.map((factory) => factory.create({ rules: [] })), {
    timeout: TIMEOUT,
    strict: true,
  });
  try {
    const wanted = (name: string) => only === undefined || name.includes(only);
    const samples = [...clamSamples(), ...await upxSamples(folder, wanted), ...techniqueSamples()]
      .filter(({ name }) => wanted(name));
    if (samples.length === 0) {
      console.error(`evaluate:packers: no sample's name holds "${only}"`);
      return 2;
    }
    const rows: Row[] = [];
    for (const sample of samples) {
      console.error(`evaluate:packers: ${sample.name}`);
      rows.push(await measure(sample, scanner));
    }
    const [compiler] = (await run("i686-w64-mingw32-gcc", ["--version"])).split("\n");
    const text = page(rows, compiler);
    const out = options.out ?? (only === undefined ? PAGE : undefined);
    if (out === undefined) console.log(text);
    else {
      await Deno.writeTextFile(out, text);
      await run(Deno.execPath(), ["fmt", "--quiet", out]);
    }
    return 0;
  } finally {
    await scanner.close();
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
