// SPDX-License-Identifier: Apache-2.0
// The page for analysts as a browser shows it.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { ROOT } from "../../tools/files.ts";
import { emulate, umbra, withFolder } from "./umbra.ts";

Deno.test({
  name:
    "emulate --html: a browser shows the page whole, under its own policy, and its links lead to the captures",
  ignore: !need("chromium"),
  fn: () =>
    withFolder(async (folder) => {
      const out = `${folder}/out`;
      const { output } = await emulate(`${ROOT}build/samples/inject.exe`, out, "--html");
      const { success, stdout, stderr } = await new Deno.Command("chromium", {
        args: [
          "--headless",
          "--no-sandbox",
          "--disable-gpu",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync",
          `--user-data-dir=${folder}/profile`,
          "--enable-logging=stderr",
          "--dump-dom",
          `file://${out}/report.html`,
        ],
      }).output();
      assert.ok(success);
      const [page, log] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      // A style or script that the policy refuses is named by the browser's console.
      assert.doesNotMatch(log, /CONSOLE|Content Security Policy/);
      for (const id of ["findings", "time", "map", "entries", "images", "calls", "processes", "limits"]) {
        assert.ok(page.includes(`<section id="${id}">`), id);
      }
      assert.match(page, /CreateRemoteThread/);
      assert.match(page, /UMBRA_selftest_payload/);
      const links = [...page.matchAll(/href="((?:pages|images)\/[^"]+)"/g)].map(([, path]) => path);
      assert.ok(links.length > 10, `${links.length} links`);
      for (const path of links) assert.ok(Deno.statSync(`${out}/${path}`).isFile, path);
      assert.equal(Deno.statSync(`${out}/report.html`).mode! & 0o777, 0o600);
      assert.ok(output.report.layers.length > 1);
    }),
});

Deno.test("emulate --html without --out is wrong usage", async () => {
  const { code, stderr } = await umbra(["emulate", `${ROOT}build/samples/plain.exe`, "--html"]);
  assert.equal(code, 2);
  assert.match(stderr, /^umbra: Cannot write report\.html: --html needs --out\n$/);
});
