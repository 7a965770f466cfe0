// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { readSummary } from "./test.ts";

Deno.test("the summary line of deno test is read in all its forms", () => {
  const read = (line: string) => readSummary(`some test output\n\n${line}\n`);
  assert.deepEqual(read("ok | 3 passed | 0 failed (12ms)"), { passed: 3, failed: 0, ignored: 0 });
  assert.deepEqual(read("ok | 12 passed (4 steps) | 0 failed | 2 ignored (1m2s)"), {
    passed: 12,
    failed: 0,
    ignored: 2,
  });
  assert.deepEqual(read("FAILED | 1 passed | 2 failed (1 step) (12ms)"), {
    passed: 1,
    failed: 2,
    ignored: 0,
  });
  assert.deepEqual(read("\x1b[0m\x1b[32mok\x1b[0m | 5 passed | 0 failed \x1b[38;5;245m(3ms)\x1b[0m"), {
    passed: 5,
    failed: 0,
    ignored: 0,
  });
  assert.equal(readSummary("error: no test modules found"), undefined);
});
