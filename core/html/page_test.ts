// SPDX-License-Identifier: Apache-2.0
// The page for analysts, drawn from what a guest, a sample and an engine could say at worst.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Scanner, TracedCall } from "../ports.ts";
import { MemoryFiles } from "../capture/files.ts";
import { emulate } from "../service/emulate.ts";
import { page, ScriptedEmulator, type ScriptedEvent } from "../testing/scripted.ts";
import { PageCollector } from "./collect.ts";
import { analysisPage } from "./page.ts";
import { timeScale } from "./timeline.ts";
import { foldCalls } from "./trace.ts";

const MARKUP = `"><script>alert(1)</script><img src=x onerror=alert(2)>'\u202e`;

function call(change: Partial<TracedCall>): TracedCall {
  return {
    instructions: 1,
    tsc: 1,
    pid: 1001,
    tid: 8,
    from: 0x401000,
    dll: "kernel32.dll",
    name: "Sleep",
    args: [],
    result: 0,
    ...change,
  };
}

/** An engine that finds the same bytes everywhere and calls them by a hostile name. */
function hostileScanner(): Scanner {
  return {
    engines: () => [],
    scan: (unit) =>
      Promise.resolve([{
        unit: unit.id,
        engine: MARKUP,
        status: "malicious",
        threats: [{ name: MARKUP, offset: 3 }],
      }]),
    close: () => Promise.resolve(),
  };
}

async function draw(calls: readonly TracedCall[]): Promise<string> {
  const events: ScriptedEvent[] = [
    { kind: "process-start", process: 1, pid: 1001 },
    {
      kind: "S2",
      process: 1,
      pid: 1001,
      va: 0x401000,
      hop: true,
      hopTo: 0x401010,
      layer: 1,
      content: "captured",
      page: new Uint8Array(4096).fill(0x3c),
      tsc: 77n,
    },
    { kind: "S1", process: 1, pid: 1001, va: 0x402000, layer: 1, content: "lost", tsc: 90n },
  ];
  const emulator = new ScriptedEmulator(
    [{ events, end: { reason: "exited", detail: MARKUP } }],
    (hypervisor) => hypervisor.identify(1, MARKUP, { path: MARKUP, commandLine: MARKUP }),
  );
  const collected = new PageCollector();
  let drawn = "";
  await emulate(emulator, { name: MARKUP, bytes: new Uint8Array(4) }, {
    umbra: "0.0.0",
    maxInstructions: 10,
    timeLimit: 0,
    args: [],
    files: new MemoryFiles(),
    scanner: collected.watching(hostileScanner()),
    recorder: collected,
    onReport: async (report) => {
      drawn = await analysisPage({ report, collected, trace: { calls, made: calls.length } });
    },
  });
  return drawn;
}

Deno.test("the page loads nothing, and no text from outside becomes markup in it", async () => {
  const page = await draw([
    call({ name: MARKUP, dll: MARKUP, args: [{ value: 0x402000, text: MARKUP }] }),
    call({ name: "KiUserExceptionDispatcher", from: 0, args: [{ value: 0xc0000005 }, { value: 0x401000 }] }),
  ]);
  assert.equal(page.match(/<script>/g)?.length, 1, "its own script, and no other");
  assert.doesNotMatch(page, /<img|onerror=alert\(2\)>|<[^>]+\s(?:src|srcset|style|on\w+)=/i);
  assert.doesNotMatch(page, /https?:|url\(|@import/);
  assert.doesNotMatch(page, /\u202e/);
  // What is shown of it is still there for people to read.
  assert.match(page, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/);
  assert.match(page, /access violation/);
});

Deno.test("the page shows pages by layer and state, and the bytes that were found", async () => {
  const page = await draw([]);
  assert.match(page, /<rect class="s-hop"[^>]*><title>00401000, layer 1: jumped into/);
  assert.match(page, /<rect class="s-lost"[^>]*><title>00402000, layer 1: content lost/);
  assert.match(page, /00401000 {2}3c 3c 3c <b>3c<\/b> 3c/);
});

Deno.test("the time scale keeps the order of moments and stays within the picture", () => {
  fc.assert(fc.property(
    fc.array(fc.nat(2 ** 40), { minLength: 2, maxLength: 80 }),
    fc.array(fc.nat(2 ** 40), { minLength: 2, maxLength: 20 }),
    (edges, moments) => {
      const at = timeScale(edges, 1000);
      const places = moments.sort((a, b) => a - b).map(at);
      for (const [index, place] of places.entries()) {
        assert.ok(place >= 0 && place <= 1000.001, `${place}`);
        assert.ok(index === 0 || place >= places[index - 1]);
      }
    },
  ));
});

Deno.test("calls in a row that only differ in time and result are one row", () => {
  const rows = foldCalls([
    call({ tsc: 1, result: 1 }),
    call({ tsc: 2, result: 2 }),
    call({ tsc: 3, args: [{ value: 5 }] }),
    call({ tsc: 4 }),
  ]);
  assert.deepEqual(rows.map(({ count }) => count), [2, 1, 1]);
});

Deno.test("what the engines are told of in advance reaches them through the collector", async () => {
  const told: string[] = [];
  const scanner: Scanner = {
    ...hostileScanner(),
    sift: (units) => Promise.resolve(void told.push(...units.map(({ id }) => id))),
  };
  const unit = {
    id: "page:1",
    kind: "page",
    sha256: "",
    bytes: page(""),
    va: 0,
    layer: 0,
    processes: [],
  } as const;
  await new PageCollector().watching(scanner).sift?.([unit]);
  assert.deepEqual(told, ["page:1"]);
  assert.equal(new PageCollector().watching(hostileScanner()).sift, undefined);
});
