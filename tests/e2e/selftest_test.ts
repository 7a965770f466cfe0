// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { umbra } from "./umbra.ts";

Deno.test("umbra selftest passes and says what each sample showed", async () => {
  const { code, stdout, stderr } = await umbra(["selftest"], { seconds: 60 });
  assert.equal(code, 0, stdout + stderr);
  for (
    const name of ["plain", "alloc", "inplace", "twolayers", "rewrite", "mapping", "inject", "unwatched"]
  ) {
    assert.match(stdout, new RegExp(`^.*\\b${name}\\b.*$`, "m"));
  }
});
