// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { checkLine, must, readChecks, runChecks } from "./checks.ts";

Deno.test("checks are told on the console, the failed ones counted, and read back from it", async () => {
  const said: string[] = [];
  const log = console.log;
  console.log = (...words: unknown[]) => said.push(words.join(" "));
  let failed;
  try {
    failed = await runChecks([
      { name: "good", run: () => "two pages" },
      { name: "bad", run: () => must(false, "one page is missing") as unknown as string },
      { name: "late", limit: 0.05, run: () => new Promise<string>(() => {}) },
    ]);
  } finally {
    console.log = log;
  }
  assert.equal(failed, 2);
  const console_ = ["(XEN) something", ...said, 'lab-check {"name":"cut o'].join("\n");
  const read = readChecks(console_);
  assert.deepEqual(read.map(({ name, ok, detail }) => [name, ok, detail]), [
    ["good", true, "two pages"],
    ["bad", false, "one page is missing"],
    ["late", false, "it took longer than 0.05 seconds"],
  ]);
  assert.match(checkLine(read[1]), /^FAILED bad: one page is missing \(\d+(\.\d)? s\)$/);
});

Deno.test("a console that ends lines as serial lines do is read as well", () => {
  const line = 'lab-check {"name":"a","ok":true,"detail":"b","seconds":1}';
  assert.equal(readChecks(`x\r\n${line}\r\n`).length, 1);
});
