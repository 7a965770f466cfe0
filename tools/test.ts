// SPDX-License-Identifier: Apache-2.0
/**
 * Runs `deno test` with the arguments given and ends with one plain line, `N passed, N failed`.
 *
 * @module
 */
import { ROOT } from "./files.ts";

/** The versions of packages are those of the lock file. (It is not named in `deno.json`: see docs/architecture.md.) */
const LOCKED = [`--lock=${ROOT}deno.lock`, "--frozen"];

/** Numbers of one `deno test` run. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly ignored: number;
}

/** Reads the summary line of `deno test` out of its output (the last one counts); undefined when there is none. */
export function readSummary(output: string): TestCounts | undefined {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
  const lines = [
    ...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed[^|]*\| (\d+) failed[^|(]*(?:\| (\d+) ignored)?/gm),
  ];
  const last = lines.at(-1);
  if (!last) return undefined;
  return { passed: Number(last[1]), failed: Number(last[2]), ignored: Number(last[3] ?? 0) };
}

async function run(args: readonly string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", ...LOCKED, ...args],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const decoder = new TextDecoder();
  // Only the tail is needed: the summary is the last thing deno prints.
  let tail = "";
  for await (const chunk of child.stdout) {
    await Deno.stdout.write(chunk);
    tail = (tail + decoder.decode(chunk, { stream: true })).slice(-4096);
  }
  const { code } = await child.status;
  const counts = readSummary(tail);
  if (!counts) {
    console.log("Cannot count the tests: deno test printed no summary");
    return code || 1;
  }
  if (counts.ignored > 0) console.log(`${counts.ignored} skipped`);
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  return code;
}

if (import.meta.main) Deno.exit(await run(Deno.args));
