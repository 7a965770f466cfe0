// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { firstDifference, streamOf } from "./stream.ts";

const EVENT = {
  sequence: 2,
  kind: "S1",
  domain: 1,
  vcpu: 0,
  process: 1,
  pid: 1012,
  tid: 1016,
  va: 0x460000,
  gfn: 0x44b,
  guestEntry: "0x44b067",
  oldShadowEntry: "0x80000000b7e4b067",
  newShadowEntry: "0xb7e4b025",
  errorCode: 21,
  layer: 1,
  hop: true,
  hopFrom: 0x401222,
  hopTo: 0x460000,
  snapshot: 2,
  content: "captured",
  turns: 1,
  allocationBase: 0x400000,
  allocationSize: 0x80000,
  eip: 0x460000,
  esp: 0x12ffe4,
  tsc: "0x1355efc40e",
  outcome: "stored",
  sha256: "72f705364d7138f686aac38c9de61ccbfc02651f028f8b1706f6768ca59c1b09",
};
const REPORT = JSON.stringify({
  processes: [{ pid: 1012, name: "virus.exe", path: "C:\\virus.exe", verdict: "" }],
});
const stream = (...events: readonly Partial<typeof EVENT>[]) =>
  streamOf(events.map((event) => JSON.stringify({ ...EVENT, ...event })).join("\n") + "\n", REPORT);

Deno.test("what must differ between two worlds makes no difference", () => {
  const other = { sequence: 7, domain: 9, snapshot: 4, tsc: "0x1", newShadowEntry: "0x1025" };
  assert.equal(firstDifference(stream(EVENT), stream(other), ["a", "b"]), undefined);
});

Deno.test("what the guest decides does, and the first difference is shown with its fields and surroundings", () => {
  const differences: readonly Partial<typeof EVENT>[] = [
    { kind: "S2" },
    { pid: 1 },
    { va: 0x461000 },
    { gfn: 1 },
    { errorCode: 20 },
    { layer: 2 },
    { hop: false },
    { hopFrom: 1 },
    { content: "unchanged" },
    { turns: 2 },
    { allocationSize: 1 },
    { eip: 1 },
    { guestEntry: "0x44b065" },
    { oldShadowEntry: "0x0" },
    { newShadowEntry: "0xb7e4b027" },
    { sha256: "0".repeat(64) },
    { vcpu: 1 },
  ];
  for (const difference of differences) {
    const text = firstDifference(stream({}, {}), stream({}, difference), ["real Xen", "test bed"]);
    assert.match(text ?? "", /^The streams differ at line 3 in /, JSON.stringify(difference));
  }
  const text = firstDifference(stream({}, {}, {}), stream({}, { va: 0x461000 }), ["real Xen", "test bed"])!;
  assert.match(text, /^The streams differ at line 3 in va \(460000, 461000\):\nreal Xen \(4 lines\):\n {4}/);
  assert.match(text, /\n {2}> .*"va":"461000"/);
  assert.match(firstDifference(stream({}, {}), stream({}), ["a", "b"])!, /line 3:[^]*> \(its end\)/);
});
