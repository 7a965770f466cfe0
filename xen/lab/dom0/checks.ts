// SPDX-License-Identifier: Apache-2.0
/**
 * Checks that run in the lab's dom0, one after the other, each told on the console as soon as it is done, so that
 * what was seen is known even when the machine then dies.
 *
 * @module
 */

/** One check. */
export interface Check {
  readonly name: string;
  /** Seconds it has; 300 when not said. */
  readonly limit?: number;
  /** Returns what was seen, in words; throws when it is not as it must be. */
  run(): Promise<string> | string;
}

/** How a check came out. */
export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** What was seen, or what was wrong. */
  readonly detail: string;
  readonly seconds: number;
}

const MARK = "lab-check ";

async function runOne({ name, limit = 300, run }: Check): Promise<CheckResult> {
  const started = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${limit} seconds`)), limit * 1000);
  });
  let ok = true, detail;
  try {
    detail = await Promise.race([Promise.resolve().then(run), late]);
  } catch (error) {
    ok = false;
    detail = error instanceof Error ? error.message : String(error);
    console.log(error instanceof Error ? error.stack : error);
  } finally {
    clearTimeout(timer);
  }
  return { name, ok, detail, seconds: Math.round((performance.now() - started) / 100) / 10 };
}

/** Runs the checks; returns how many failed. */
export async function runChecks(checks: readonly Check[]): Promise<number> {
  let failed = 0;
  for (const check of checks) {
    const result = await runOne(check);
    if (!result.ok) failed++;
    console.log(MARK + JSON.stringify(result));
  }
  return failed;
}

/** The checks that a console tells of. Lines that were cut off count for nothing. */
export function readChecks(console: string): CheckResult[] {
  return console.split("\n").filter((line) => line.startsWith(MARK)).flatMap((line) => {
    try {
      return [JSON.parse(line.slice(MARK.length)) as CheckResult];
    } catch {
      return [];
    }
  });
}

/** One line for people. */
export function checkLine({ name, ok, detail, seconds }: CheckResult): string {
  return `${ok ? "ok    " : "FAILED"} ${name}: ${detail} (${seconds} s)`;
}

/** Throws the reason when something is not so. */
export function must(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}
