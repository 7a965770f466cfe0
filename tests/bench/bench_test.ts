// SPDX-License-Identifier: Apache-2.0
// The benchmark command's own manners; what it measures is not tested.
import assert from "node:assert/strict";
import { main } from "../../bench.ts";
import { median, printTable } from "./measure.ts";

/** Runs `body` with the console's output collected. */
async function said(body: () => unknown): Promise<{ readonly out: string; readonly err: string }> {
  const { log, error } = console;
  const out: string[] = [], err: string[] = [];
  console.log = (...words: unknown[]) => void out.push(words.join(" "));
  console.error = (...words: unknown[]) => void err.push(words.join(" "));
  try {
    await body();
  } finally {
    Object.assign(console, { log, error });
  }
  return { out: out.join("\n"), err: err.join("\n") };
}

Deno.test("wrong usage ends with 2 and says what is wrong", async () => {
  for (
    const [args, text] of [
      [["nonesuch"], `no suite "nonesuch"`],
      [["cpu", "unpack"], `no suite "cpu unpack"`],
      [["cpu", "--runs", "0"], "--runs 0"],
      [["cpu", "--runs", "many"], "--runs many"],
      [["cpu", "--nonesuch"], "nonesuch"],
    ] as const
  ) {
    const { err } = await said(async () => assert.equal(await main(args), 2));
    assert.ok(err.includes(text), err);
  }
});

Deno.test("--help names the suites", async () => {
  const { out } = await said(async () => assert.equal(await main(["--help"]), 0));
  assert.match(out, /cpu, unpack/);
});

Deno.test("the median of an even number of values lies between the middle ones", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.throws(() => median([]), RangeError);
});

Deno.test("the table shows ratios to peers and facts as they are", async () => {
  const suite = { name: "s", peers: ["other"], run: () => Promise.resolve([]) };
  const rows = [{ name: "a", unit: "x/s", runs: 5, umbra: 10, other: 4, end: "exited" }];
  const { out } = await said(() => printTable(suite, "machine", rows));
  assert.match(out, /a +x\/s +5 +10 +4 \(umbra ×2\.5\) +exited/);
});
