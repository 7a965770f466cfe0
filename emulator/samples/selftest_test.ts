// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { compare } from "./selftest.ts";
import { suite } from "./suite.ts";

const inject = suite.find(({ name }) => name === "inject")!.expected;

/** What a good run of the sample that injects looks like. */
function good() {
  const event = (kind: "S1" | "S2", pid: number, layer: number, sha256: string) => ({
    kind,
    process: pid,
    pid,
    layer,
    sha256,
  });
  return {
    staticVerdict: "clean",
    verdict: "malicious",
    end: "exited",
    endDetail: "exit code 0",
    processes: [{ pid: 4, name: "inject.exe" }, { pid: 8, name: "inject.exe" }],
    events: [
      event("S1", 4, 0, "aa"),
      event("S1", 8, 0, "aa"),
      event("S1", 8, 1, "bb"),
      event("S2", 8, 1, "bb"),
    ],
    marked: new Set(["bb"]),
    payloads: [new Set(["bb"])],
    inTheClear: 0,
    pages: { stored: 2, lost: 0 },
  };
}

Deno.test("a run as expected has nothing wrong", () => {
  assert.deepEqual(compare(inject, good()), []);
});

Deno.test("each thing that is not as expected is said", () => {
  const wrong = (change: Partial<ReturnType<typeof good>>) =>
    compare(inject, { ...good(), ...change }).join("; ");
  assert.match(wrong({ staticVerdict: "malicious" }), /static scan: malicious instead of clean/);
  assert.match(wrong({ verdict: "clean" }), /emulation: clean instead of malicious/);
  assert.match(wrong({ end: "crashed", endDetail: "at 0" }), /end: crashed \(at 0\) instead of exited/);
  assert.match(wrong({ endDetail: "exit code 1" }), /end: exited \(exit code 1\) instead of/);
  assert.match(wrong({ processes: [{ pid: 4, name: "inject.exe" }] }), /processes: inject.exe instead of/);
  assert.match(wrong({ pages: { stored: 2, lost: 1 } }), /lost pages: 1 instead of 0/);
  assert.match(
    wrong({ events: good().events.slice(0, 2) }),
    /layers: 1 instead of 2.*layers with the marker: none/,
  );
  assert.match(wrong({ marked: new Set() }), /layers with the marker: none instead of 1/);
  assert.match(
    wrong({ marked: new Set(["aa", "bb"]) }),
    /the marker was captured in process 4, not only in 8/,
  );
  assert.match(wrong({ events: [] }), /no S1/);
  assert.match(wrong({ payloads: [new Set(["aa"])] }), /whole payloads captured: 0 instead of 1/);
  assert.match(wrong({ inTheClear: 1 }), /payloads in the file in the clear: 1 instead of 0/);
});
