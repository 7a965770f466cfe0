// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { type Engine, InputError, type ScanResult, type Unit } from "../core/ports.ts";
import { startScanner } from "./orchestrator.ts";

const unit: Unit = {
  id: "page:1",
  kind: "page",
  sha256: "",
  bytes: new Uint8Array(1),
  va: 0,
  layer: 0,
  processes: [],
};
const good: ScanResult = { status: "clean", threats: [] };

/** An engine whose scans do what the test says. */
function engine(
  name: string,
  scan: () => ScanResult | Promise<ScanResult>,
  start?: () => void,
): Engine & { closed: boolean } {
  return {
    name,
    closed: false,
    start: () => {
      start?.();
      return Promise.resolve({ name, version: "1", knowledge: "none" });
    },
    scan: () => Promise.resolve(scan()),
    close() {
      this.closed = true;
      return Promise.resolve();
    },
  };
}

Deno.test("every engine is asked; answers come in the engines' order with the unit's id", async () => {
  const slow = engine("slow", () => new Promise((resolve) => setTimeout(() => resolve(good), 20)));
  const fast = engine("fast", () => ({ status: "malicious", threats: [{ name: "t", offset: 4 }] }));
  const scanner = await startScanner([slow, fast], { timeout: 1000 });
  assert.deepEqual(await scanner.scan(unit), [
    { unit: "page:1", engine: "slow", status: "clean", threats: [] },
    { unit: "page:1", engine: "fast", status: "malicious", threats: [{ name: "t", offset: 4 }] },
  ]);
  assert.deepEqual(scanner.engines().map(({ name, scans }) => [name, scans.clean, scans.malicious]), [[
    "slow",
    1,
    0,
  ], ["fast", 0, 1]]);
  await scanner.close();
  assert.ok(slow.closed && fast.closed);
});

Deno.test("an engine that fails again and again is cut off and not asked any more", async () => {
  let asked = 0;
  const bad = engine("bad", () => {
    asked++;
    throw new Error("broken\nengine");
  });
  const scanner = await startScanner([bad], { timeout: 1000, failures: 3 });
  for (let round = 0; round < 5; round++) {
    const [finding] = await scanner.scan(unit);
    assert.equal(finding.status, "error");
    assert.match(
      finding.detail!,
      round < 3 ? /^broken\\x0aengine$/ : /^cut off: 3 failures in a row, the last: broken/,
    );
  }
  assert.equal(asked, 3);
  assert.equal(scanner.engines()[0].state, "cut off");
});

Deno.test("a success between failures keeps an engine in", async () => {
  let asked = 0;
  const scanner = await startScanner([
    engine(
      "flaky",
      () => ++asked % 3 === 0 ? good : { status: "incomplete", threats: [], detail: "late" },
    ),
  ], { timeout: 1000, failures: 3 });
  for (let round = 0; round < 9; round++) await scanner.scan(unit);
  assert.equal(scanner.engines()[0].state, "ready");
  assert.deepEqual(scanner.engines()[0].scans, { malicious: 0, clean: 3, incomplete: 6, error: 0 });
});

Deno.test("an engine that fails at a look ahead, or never ends it, is scanned with all the same", async () => {
  const looked: string[] = [];
  const made = (name: string, sift?: Engine["sift"]): Engine => ({ ...engine(name, () => good), sift });
  const scanner = await startScanner([
    made("without"),
    made("rejects", () => Promise.reject(new Error("broken"))),
    made("throws", () => {
      throw new Error("broken");
    }),
    made("looks", (units) => {
      looked.push(...units.map(({ id }) => id));
      return Promise.resolve();
    }),
    made("hangs", () => new Promise(() => {})),
  ], { timeout: 10 });
  await scanner.sift!([unit, unit]);
  assert.deepEqual(looked, ["page:1", "page:1"]);
  await scanner.sift!([unit], AbortSignal.abort());
  assert.equal(looked.length, 2);
  assert.deepEqual((await scanner.scan(unit)).map(({ status }) => status), Array(5).fill("clean"));
  assert.ok(scanner.engines().every(({ state }) => state === "ready"));
  await scanner.close();
});

Deno.test("an engine that never answers is taken for hanging", async () => {
  const scanner = await startScanner([engine("hangs", () => new Promise(() => {}))], { timeout: 1 });
  const [finding] = await scanner.scan(unit);
  assert.deepEqual([finding.status, finding.detail], ["incomplete", "the engine hangs"]);
});

Deno.test("an engine's answer is a claim: it is checked", async () => {
  const answers: unknown[] = [
    undefined,
    { status: "perfect", threats: [] },
    { status: "malicious" },
    { status: "malicious", threats: [{ name: "x".repeat(1000), offset: -1 }] },
    { status: "malicious", threats: Array.from({ length: 1000 }, () => ({ name: "t" })) },
  ];
  const scanner = await startScanner([engine("liar", () => answers.shift() as ScanResult)], {
    timeout: 1000,
  });
  const said = [];
  while (answers.length > 0) said.push((await scanner.scan(unit))[0]);
  assert.deepEqual(said.map(({ status }) => status), [
    "error",
    "error",
    "malicious",
    "malicious",
    "malicious",
  ]);
  assert.deepEqual(said[2].threats, [{ name: "unnamed" }]);
  assert.deepEqual(said[3].threats, [{ name: "x".repeat(200) }]);
  assert.equal(said[4].threats.length, 64);
});

Deno.test("no more units are with an engine than allowed, and none waits for ever", async () => {
  let running = 0;
  let most = 0;
  const scanner = await startScanner([
    engine("counted", async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 1));
      running--;
      return good;
    }),
  ], { timeout: 1000, concurrency: 3 });
  const all = await Promise.all(Array.from({ length: 30 }, () => scanner.scan(unit)));
  assert.equal(all.length, 30);
  assert.equal(most, 3);
});

Deno.test("an engine that does not start is shown; strict, or refusing its input, it ends the start", async () => {
  const fine = engine("fine", () => good);
  const missing = () =>
    engine("missing", () => good, () => {
      throw new Error("not installed");
    });
  const scanner = await startScanner([fine, missing()], { timeout: 1000 });
  assert.deepEqual(scanner.engines().map(({ state, detail }) => [state, detail]), [["ready", ""], [
    "unavailable",
    "not installed",
  ]]);
  assert.equal((await scanner.scan(unit)).length, 1);
  await assert.rejects(startScanner([fine, missing()], { timeout: 1000, strict: true }), (error: Error) => {
    assert.ok(error instanceof InputError);
    assert.equal(error.message, 'Cannot use engine "missing": not installed');
    return true;
  });
  assert.ok(fine.closed, "what was started is closed");
  const refusing = engine("refusing", () => good, () => {
    throw new InputError("bad rules");
  });
  await assert.rejects(startScanner([refusing], { timeout: 1000 }), /bad rules/);
});

Deno.test("what the user aborts is incomplete and no failure of the engine", async () => {
  const scanner = await startScanner([engine("fine", () => good)], { timeout: 1000, failures: 1 });
  const [finding] = await scanner.scan(unit, AbortSignal.abort());
  assert.deepEqual([finding.status, finding.detail], ["incomplete", "aborted"]);
  assert.equal(scanner.engines()[0].state, "ready");
  const controller = new AbortController();
  const cut = engine("cut", () => {
    controller.abort();
    return { status: "incomplete", threats: [], detail: "aborted" };
  });
  const other = await startScanner([cut], { timeout: 1000, failures: 1 });
  await other.scan(unit, controller.signal);
  assert.equal(other.engines()[0].state, "ready");
});
