// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { ROOT } from "../../tools/files.ts";
import { withFolder } from "../e2e/umbra.ts";
import { need } from "../means.ts";
import { main } from "./packers.ts";
import { clamSamples, upxNames } from "./samples.ts";

const ignore = !need("clamav-testfiles", "mingw", "mingw++");

/** Cells of the rows of all tables, by their first. */
function rows(page: string): Map<string, string[]> {
  const lines = [...page.matchAll(/^\| (.+) \|$/gm)].map(([, line]) =>
    line.split("|").map((cell) => cell.trim())
  );
  return new Map(lines.map((cells) => [cells[0], cells]));
}

Deno.test({
  name: "the evaluation that stands in the documentation has a row for each packed sample",
  ignore,
  fn: () => {
    const page = rows(Deno.readTextFileSync(`${ROOT}docs/evaluation.md`));
    for (const name of [...clamSamples().map(({ name }) => name), ...upxNames()]) {
      assert.ok(page.has(name), `no row for ${name}: run deno task evaluate:packers`);
    }
  },
});

Deno.test({
  name: "samples of each kind are evaluated again as the documentation says, but for their times",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const written = rows(Deno.readTextFileSync(`${ROOT}docs/evaluation.md`));
      for (const only of ["clam-upx", "window, -1", "rewrite"]) {
        const out = `${folder}/page.md`;
        assert.equal(await main(["--only", only, "--out", out]), 0);
        const again = [...rows(Deno.readTextFileSync(out)).values()].slice(2);
        assert.equal(again.length, 1, only);
        const [cells] = again;
        // Sizes are the compiler's, instructions and pages the model's: what was recovered and proven stays.
        const told = (row: readonly string[]) =>
          row.slice(6).map((cell) => cell.replace(/\d+(?= calls)|of \d+/g, "N"));
        assert.deepEqual(told(cells), told(written.get(cells[0])!), only);
        assert.match(cells[6], /^100 % of \d+$/);
        assert.match(cells[3], /^\d+\.\d$/);
      }
      assert.equal(await main(["--only", "no such sample"]), 2);
      assert.equal(await main(["--every"]), 2);
    }),
});
