// SPDX-License-Identifier: Apache-2.0
// The service on the test bed, as an operator meets it: it answers while its guest unpacks, and stops cleanly.
import assert from "node:assert/strict";
import { FROM_SOURCE, umbra, withFolder } from "./umbra.ts";

/** Starts `umbra serve` on a free port and hands over its address once it says where it listens. */
async function serving(
  folder: string,
  body: (address: string, stop: (signal: Deno.Signal) => Promise<Deno.CommandStatus>) => Promise<void>,
): Promise<void> {
  const [program, ...before] = FROM_SOURCE;
  const child = new Deno.Command(program, {
    args: [
      ...before,
      "serve",
      "--backend",
      "emulator",
      "--data",
      `${folder}/data`,
      "--listen",
      "127.0.0.1:0",
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), 120_000);
  const errors = new Response(child.stderr).text();
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    let address: string | undefined;
    while (!address) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`serve ended: ${said}${await errors}`);
      said += value;
      address = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0];
    }
    // What it says later is read as well, so that it never waits for us.
    const rest = (async () => {
      while (!(await reader.read()).done);
    })();
    await body(address, async (signal) => {
      child.kill(signal);
      await rest;
      return await child.status;
    });
  } finally {
    clearTimeout(timer);
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended already, as it should.
    }
    await child.status;
    await errors;
  }
}

Deno.test("serve answers every path while its guest unpacks, finds the payloads, and ends on SIGTERM", () =>
  withFolder((folder) =>
    serving(folder, async (address, stop) => {
      const description = await (await fetch(`${address}/openapi.json`)).json();
      const deadline = Date.now() + 60_000;
      let malicious = 0;
      for (let round = 0; malicious === 0 || round < 3; round++) {
        assert.ok(Date.now() < deadline, "no malicious verdict within a minute");
        for (const path of Object.keys(description.paths)) {
          const response = await fetch(address + path, { signal: AbortSignal.timeout(10_000) });
          const text = await response.text();
          assert.equal(response.status, 200, `${path}: ${text.slice(0, 300)}`);
        }
        const status = await (await fetch(`${address}/api/v1/status`)).json();
        malicious = status.verdictCounts.malicious;
        for (const { pages } of status.domains) {
          assert.equal(pages.seen, pages.stored + pages.deduplicated + pages.lost);
          assert.equal(pages.lost, 0);
        }
        // Answers are a few milliseconds apart otherwise; the guest needs some of the time.
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const page = await (await fetch(address)).text();
      assert.match(page, /UMBRA_selftest_payload/);
      const asked = performance.now();
      const { code, signal } = await stop("SIGTERM");
      assert.deepEqual({ code, signal }, { code: 0, signal: null });
      assert.ok(performance.now() - asked < 10_000);
      assert.ok([...Deno.readDirSync(`${folder}/data`)].length > 0, "nothing was kept");
    })
  ));

Deno.test("serve refuses an address that other machines reach, unless that is said", () =>
  withFolder(async (folder) => {
    const { code, stderr } = await umbra(
      ["serve", "--backend", "emulator", "--data", folder, "--listen", "0.0.0.0:0"],
      { seconds: 30 },
    );
    assert.equal(code, 2);
    assert.match(stderr, /^[^\n]*add --expose[^\n]*\n$/);
  }));
