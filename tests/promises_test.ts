// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { ROOT } from "../tools/files.ts";

Deno.test("every test that docs/promises.md names exists, and every promise names one", () => {
  const promises = Deno.readTextFileSync(`${ROOT}docs/promises.md`).split(/^\d+\. /m).slice(1);
  assert.equal(promises.length, 6);
  for (const promise of promises) {
    const named = [...promise.matchAll(/- `(\S+_test\.ts)` "([^"]+)"/g)];
    assert.ok(named.length > 0, promise.slice(0, 60));
    for (const [, path, name] of named) {
      assert.ok(Deno.readTextFileSync(ROOT + path).includes(name), `${path} has no test "${name}"`);
    }
  }
});
