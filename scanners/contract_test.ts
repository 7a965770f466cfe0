// SPDX-License-Identifier: Apache-2.0
// The contract every engine keeps. A new engine is in `engineFactories`, and so is tested here.
import assert from "node:assert/strict";
import { type Engine, type EngineFactory, InputError, type ScanResult, type Unit } from "../core/ports.ts";
import { sha256 } from "../core/hash.ts";
import { EICAR, engineFactories, SELFTEST_MARKER } from "./mod.ts";

const TIMEOUT = 60_000;

function unit(bytes: Uint8Array, kind: Unit["kind"] = "page"): Unit {
  const hash = sha256(bytes);
  return { id: `${kind}:${hash}`, kind, sha256: hash, bytes, va: 0x401000, layer: 1, processes: [1] };
}

const text = (value: string) => new TextEncoder().encode(value);

/** 4096 bytes with a text in the middle. */
function pageWith(value: string): Uint8Array {
  const bytes = new Uint8Array(4096).fill(0x90);
  bytes.set(text(value), 1000);
  return bytes;
}

const clean = pageWith("nothing to see here");
const malicious = pageWith(SELFTEST_MARKER);

function checkResult(result: ScanResult): void {
  assert.ok(["malicious", "clean", "incomplete", "error"].includes(result.status));
  assert.equal(result.threats.length > 0, result.status === "malicious");
  if (result.status !== "malicious" && result.status !== "clean") {
    assert.ok(result.detail, "a reason is given");
  }
  for (const { name, offset } of result.threats) {
    assert.ok(name.length > 0);
    if (offset !== undefined) assert.ok(Number.isSafeInteger(offset) && offset >= 0);
  }
}

function contract(factory: EngineFactory, name: string, body: (engine: Engine) => Promise<void>): void {
  Deno.test(`engine ${factory.name}: ${name}`, async () => {
    const engine = factory.create({ rules: [] });
    await engine.start();
    try {
      await body(engine);
    } finally {
      await engine.close();
    }
  });
}

for (const factory of engineFactories) {
  const scan = async (
    engine: Engine,
    bytes: Uint8Array,
    options: { timeout?: number; signal?: AbortSignal; kind?: Unit["kind"] } = {},
  ) => {
    const result = await engine.scan(unit(bytes, options.kind), {
      timeout: options.timeout ?? TIMEOUT,
      signal: options.signal,
    });
    checkResult(result);
    return result;
  };

  Deno.test(`engine ${factory.name}: says who it is`, async () => {
    const engine = factory.create({ rules: [] });
    const info = await engine.start();
    await engine.close();
    assert.equal(info.name, factory.name);
    assert.equal(engine.name, factory.name);
    assert.match(info.version, /\d/);
    assert.ok(info.knowledge.length > 0 && factory.description.length > 0);
  });

  contract(factory, "tells malicious from clean, in every kind of unit", async (engine) => {
    for (const kind of ["page", "region", "image", "file"] as const) {
      assert.equal((await scan(engine, clean, { kind })).status, "clean");
      const result = await scan(engine, malicious, { kind });
      assert.equal(result.status, "malicious");
      for (const { offset } of result.threats) if (offset !== undefined) assert.equal(offset, 1000);
    }
    assert.equal((await scan(engine, text(EICAR), { kind: "file" })).status, "malicious");
  });

  contract(factory, "leaves the unit's bytes as they were", async (engine) => {
    const bytes = malicious.slice();
    await scan(engine, bytes);
    assert.deepEqual(bytes, malicious);
  });

  contract(factory, "takes units of no byte, of one byte, and of many", async (engine) => {
    assert.equal((await scan(engine, new Uint8Array(0))).status, "clean");
    assert.equal((await scan(engine, new Uint8Array(1))).status, "clean");
    const big = new Uint8Array(32 * 1024 * 1024);
    big.set(text(SELFTEST_MARKER), big.length - 32);
    assert.equal((await scan(engine, big, { kind: "region" })).status, "malicious");
  });

  contract(factory, "a signature cut by the end of the unit is not in it", async (engine) => {
    assert.equal((await scan(engine, text(SELFTEST_MARKER).subarray(0, 31))).status, "clean");
  });

  contract(factory, "gives the same answer each time", async (engine) => {
    const first = await scan(engine, malicious);
    for (let round = 0; round < 5; round++) assert.deepEqual(await scan(engine, malicious), first);
  });

  contract(factory, "answers as ever for units it was told of before", async (engine) => {
    const units = [
      clean,
      malicious,
      new Uint8Array(0),
      text(SELFTEST_MARKER),
      text(SELFTEST_MARKER).subarray(1),
    ];
    const first = [];
    for (const bytes of units) first.push(await scan(engine, bytes));
    await engine.sift?.(units.map((bytes) => unit(bytes)), { timeout: TIMEOUT });
    for (const [index, bytes] of units.entries()) assert.deepEqual(await scan(engine, bytes), first[index]);
    const given = AbortSignal.abort();
    await engine.sift?.(units.map((bytes) => unit(bytes)), { timeout: TIMEOUT, signal: given });
    await engine.sift?.(units.map((bytes) => unit(bytes)), { timeout: 0 });
    for (const [index, bytes] of units.entries()) assert.deepEqual(await scan(engine, bytes), first[index]);
  });

  contract(factory, "answers scans that run at the same time, each with its own result", async (engine) => {
    const units = Array.from({ length: 20 }, (_, index) => index % 3 === 0 ? malicious : clean);
    const results = await Promise.all(units.map((bytes) => scan(engine, bytes)));
    results.forEach(({ status }, index) => assert.equal(status, index % 3 === 0 ? "malicious" : "clean"));
  });

  contract(factory, "ends in time with incomplete, and works afterwards", async (engine) => {
    const started = performance.now();
    const result = await scan(engine, new Uint8Array(128 * 1024 * 1024).fill(0x55), { timeout: 1 });
    assert.equal(result.status, "incomplete");
    assert.ok(performance.now() - started < 10_000);
    assert.equal((await scan(engine, malicious)).status, "malicious");
  });

  contract(factory, "ends on abort with incomplete, and works afterwards", async (engine) => {
    assert.equal((await scan(engine, malicious, { signal: AbortSignal.abort() })).status, "incomplete");
    const controller = new AbortController();
    const running = scan(engine, new Uint8Array(128 * 1024 * 1024).fill(0x55), { signal: controller.signal });
    setTimeout(() => controller.abort(), 0);
    assert.equal((await running).status, "incomplete");
    assert.equal((await scan(engine, malicious)).status, "malicious");
  });

  contract(factory, "answers for hostile bytes", async (engine) => {
    const hostile = [
      new Uint8Array(4096).fill(0xff),
      pageWith("\0\r\n\x1b[2J../../etc/passwd"),
      // A PE header that promises the world.
      Uint8Array.from(
        { length: 4096 },
        (_, at) =>
          at === 0
            ? 0x4d
            : at === 1
            ? 0x5a
            : at === 0x3c
            ? 0x40
            : at === 0x40
            ? 0x50
            : at === 0x41
            ? 0x45
            : at > 0x43
            ? 0xff
            : 0,
      ),
      text("PK\x03\x04" + "\xff".repeat(200)),
      text("%PDF-1.7\n" + "<<".repeat(1000)),
    ];
    for (const bytes of hostile) await scan(engine, bytes);
    assert.equal((await scan(engine, malicious)).status, "malicious", "it still works");
  });

  Deno.test(`engine ${factory.name}: after close it answers with an error, and closes again`, async () => {
    const engine = factory.create({ rules: [] });
    await engine.start();
    const waiting = scan(engine, new Uint8Array(64 * 1024 * 1024));
    await engine.close();
    assert.notEqual((await waiting).status, "clean", "what was cut short is not clean");
    assert.equal((await scan(engine, malicious)).status, "error");
    await engine.close();
  });

  Deno.test(`engine ${factory.name}: before start it answers with an error`, async () => {
    const engine = factory.create({ rules: [] });
    assert.equal((await scan(engine, malicious)).status, "error");
    await engine.close();
  });

  Deno.test(`engine ${factory.name}: refuses rules that are not there`, async () => {
    const engine = factory.create({ rules: ["/nowhere/rules.yar"] });
    await assert.rejects(engine.start(), InputError);
    await engine.close();
  });
}
