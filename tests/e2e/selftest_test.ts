// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { umbra } from "./umbra.ts";

Deno.test("umbra selftest passes, in time, and says what each sample showed", async () => {
  const started = performance.now();
  const { code, stdout, stderr } = await umbra(["selftest"], { seconds: 60 });
  assert.equal(code, 0, stdout + stderr);
  assert.ok(performance.now() - started < 20_000 * (Deno.env.get("CI") === "true" ? 3 : 1));
  for (
    const name of ["plain", "alloc", "inplace", "twolayers", "rewrite", "mapping", "inject", "unwatched"]
  ) {
    assert.match(stdout, new RegExp(`^.*\\b${name}\\b.*$`, "m"));
  }
});
