// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { suite } from "../../emulator/samples/suite.ts";
import { umbra } from "./umbra.ts";

Deno.test("umbra selftest passes and says what each sample showed", async () => {
  const { code, stdout, stderr } = await umbra(["selftest"], { seconds: 60 });
  assert.equal(code, 0, stdout + stderr);
  for (const { name } of suite) {
    assert.match(stdout, new RegExp(`^passed  ${name}:`, "m"));
  }
});
