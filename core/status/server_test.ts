// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { isLocalHost, parseListen } from "./listen.ts";
import { metricsText } from "./metrics.ts";
import { RateMeter } from "./rates.ts";
import { openApi, routes } from "./routes.ts";
import { startStatusServer, statusApp } from "./server.ts";
import type { StatusSnapshot } from "./snapshot.ts";

/** A picture in which every text is the one given. */
function picture(text: string, more: Partial<StatusSnapshot> = {}): StatusSnapshot {
  const statistics = {
    domain: 1,
    events: 120,
    pagesSeen: 40,
    pagesCaptured: 30,
    pagesUnchanged: 9,
    pagesLost: 1,
    turnsCoalesced: 3,
    vcpuPauses: 2,
    faults: 500,
    faultsPassed: 300,
    processesRefused: 0,
    processesDisplaced: 0,
  };
  return {
    version: "0.1.0",
    startedAt: 1_000_000,
    now: 1_090_000,
    ready: true,
    problems: [text],
    hypervisor: { abi: 1, name: text, copyPages: 512, ringEvents: 1024, ringPages: 1024 },
    domains: [{
      domain: 1,
      name: text,
      state: "watched",
      statistics,
      pages: { seen: 40, stored: 30, deduplicated: 9, lost: 1 },
    }],
    engines: [{
      name: text,
      version: text,
      knowledge: text,
      state: "unavailable",
      detail: text,
      scans: { malicious: 1, clean: 7, incomplete: 1, error: 0 },
    }],
    verdicts: [{
      at: 1_080_000,
      domain: 1,
      pid: 4,
      name: text,
      path: text,
      verdict: "malicious",
      threats: [{ engine: text, threat: text }],
    }],
    verdictCounts: { malicious: 1, clean: 2, incomplete: 0, error: 0 },
    ...more,
  };
}

const app = (snapshot: StatusSnapshot) => statusApp(() => snapshot, { localOnly: true });
const ask = (snapshot: StatusSnapshot, path: string, init: RequestInit = {}) =>
  app(snapshot).request(`http://localhost${path}`, { headers: { host: "localhost:8080" }, ...init });

Deno.test("every route answers with its type and the safe headers; the description lists exactly them", async () => {
  for (const route of routes) {
    const response = await ask(picture("x"), route.path);
    assert.equal(response.status, 200, route.path);
    assert.equal(response.headers.get("content-type"), route.type);
    assert.match(response.headers.get("content-security-policy")!, /^default-src 'none'; style-src 'sha256-/);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    assert.ok((await response.text()).length > 0);
  }
  const described = openApi("0.1.0") as { paths: Record<string, unknown> };
  assert.deepEqual(Object.keys(described.paths), routes.map(({ path }) => path));
});

Deno.test("not ready is 503 with the reasons; the process still is healthy", async () => {
  const snapshot = picture("x", { ready: false, problems: ["no engine is ready"] });
  const response = await ask(snapshot, "/readyz");
  assert.equal(response.status, 503);
  assert.deepEqual(await response.json(), { status: "not ready", problems: ["no engine is ready"] });
  assert.equal((await ask(snapshot, "/healthz")).status, 200);
});

Deno.test("nothing changes anything, nothing else is there, other sites' names are refused", async () => {
  assert.equal((await ask(picture("x"), "/", { method: "POST" })).status, 405);
  assert.equal((await ask(picture("x"), "/nothing")).status, 404);
  assert.equal((await ask(picture("x"), "/", { headers: { host: "evil.example:8080" } })).status, 403);
  assert.equal((await ask(picture("x"), "/metrics", { headers: {} })).status, 403);
});

Deno.test("text of guests and engines never becomes markup or a second metric", async () => {
  const hostile = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "<script>alert(1)</script>",
      `"><img src=x onerror=y>`,
      'a\nb{c="d"} 1',
      "\u202e&amp;",
      '\\"\n',
    ),
  );
  await fc.assert(
    fc.asyncProperty(hostile, async (text) => {
      const page = await (await ask(picture(text), "/")).text();
      const plain = await (await ask(picture("x"), "/")).text();
      const tags = (html: string) => html.match(/<[^>]*>/g)!.length;
      assert.equal(tags(page), tags(plain));
      assert.equal(
        metricsText(picture(text)).split("\n").length,
        metricsText(picture("x")).split("\n").length,
      );
    }),
    { numRuns: 60 },
  );
});

Deno.test("metrics: each name is explained once, each line is one sample", () => {
  const text = metricsText(picture('say "hi"\\'));
  for (const line of text.trimEnd().split("\n")) {
    assert.match(line, /^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="([^"\\]|\\.)*"(,\w+="([^"\\]|\\.)*")*\})? \d+)$/);
  }
  assert.match(text, /^umbra_pages_lost_total\{domain="1"\} 1$/m);
  const helped = [...text.matchAll(/^# HELP (\w+)/gm)].map((match) => match[1]);
  assert.equal(new Set(helped).size, helped.length);
});

Deno.test("listen addresses: loopback is fine, others only when said, nonsense never", () => {
  assert.deepEqual(parseListen("127.0.0.1:8080", false), {
    hostname: "127.0.0.1",
    port: 8080,
    loopback: true,
  });
  assert.deepEqual(parseListen("[::1]:0", false), { hostname: "::1", port: 0, loopback: true });
  assert.equal(parseListen("0.0.0.0:80", true).loopback, false);
  for (
    const text of ["0.0.0.0:80", "[::]:80", "192.168.0.7:80", "umbra.example:80", "127.0.0.1.evil.example:80"]
  ) {
    assert.throws(() => parseListen(text, false), /add --expose/, text);
  }
  for (
    const text of ["", "80", ":80", "localhost", "localhost:99999", "a b:80", "::1:80", "http://localhost:80"]
  ) {
    assert.throws(() => parseListen(text, true), /HOST:PORT is wanted/, text);
  }
  assert.ok(isLocalHost("LOCALHOST") && isLocalHost("[::1]:8080") && isLocalHost("127.0.0.1"));
  assert.ok(!isLocalHost("localhost.evil.example") && !isLocalHost(undefined) && !isLocalHost(""));
});

Deno.test("rates follow the counter and forget what is old", () => {
  const meter = new RateMeter(10_000);
  assert.equal(meter.perSecond, 0);
  meter.sample(0, 100);
  assert.equal(meter.perSecond, 0);
  meter.sample(2000, 300);
  assert.equal(meter.perSecond, 100);
  for (let at = 4000; at <= 40_000; at += 2000) meter.sample(at, 300);
  assert.equal(meter.perSecond, 0);
  meter.sample(42_000, 10);
  assert.equal(meter.perSecond, 0);
});

Deno.test("the server listens where it says and stops", async () => {
  const server = startStatusServer(() => picture("x"), parseListen("127.0.0.1:0", false));
  const response = await fetch(`http://127.0.0.1:${server.port}/healthz`);
  assert.deepEqual(await response.json(), { status: "ok" });
  await server.close();
  await assert.rejects(fetch(`http://127.0.0.1:${server.port}/healthz`));
});
