// SPDX-License-Identifier: Apache-2.0
// Which processes are watched, and what is said of them.
import assert from "node:assert/strict";
import type { WatchRule } from "../core/ports.ts";
import { Bridge } from "./bridge.ts";
import { NX, TestGuest, WRITE } from "./testing/guest.ts";
import { pages, RULE, scene } from "./testing/scene.ts";

Deno.test("a process that a rule names is announced once, with path and command line", () => {
  const { guest, bridge, virus, other, events } = scene();
  guest.switchTo(other);
  assert.deepEqual(events(), []);
  guest.switchTo(virus);
  guest.switchTo(other);
  guest.switchTo(virus);
  const [start, ...rest] = events();
  assert.equal(rest.length, 0);
  assert.equal(start.kind, "process-start");
  assert.equal(start.pid, 100);
  assert.deepEqual(bridge.process(1, start.process), {
    key: start.process,
    pid: 100,
    parentPid: 0,
    cr3: virus.cr3,
    name: "virus.exe",
    path: "C:\\test\\virus.exe",
    commandLine: `"C:\\test\\virus.exe" -x`,
    partial: false,
  });
  assert.equal(bridge.process(1, 77), undefined);
});

Deno.test("rules: exact, glob, pid and all", () => {
  const watched = (rule: WatchRule) => {
    const guest = new TestGuest();
    const processes = [
      guest.process(4, "virus.exe"),
      guest.process(8, "viruslike.exe"),
      guest.process(12, "a-very-long-virus-name.exe"),
    ];
    const bridge = new Bridge(guest.transport);
    bridge.watch(1, [rule]);
    for (const process of processes) guest.switchTo(process);
    return bridge.fetch(1, 10).map((event) => event.pid);
  };
  assert.deepEqual(watched({ kind: "prefix", pattern: "VIRUS" }), [4, 8]);
  assert.deepEqual(watched({ kind: "exact", pattern: "Virus.exe" }), [4]);
  assert.deepEqual(watched({ kind: "exact", pattern: "a-very-long-virus-name.exe" }), [12]);
  assert.deepEqual(watched({ kind: "exact", pattern: "a-very-long-virus" }), []);
  assert.deepEqual(watched({ kind: "glob", pattern: "*virus*name.ex?" }), [12]);
  assert.deepEqual(watched({ kind: "glob", pattern: "virus" }), []);
  assert.deepEqual(watched({ kind: "pid", pattern: "8" }), [8]);
  assert.deepEqual(watched({ kind: "all", pattern: "" }), [4, 8, 12]);
});

Deno.test("processes that no rule names are passed over", () => {
  const { guest, bridge, virus, other, events } = scene();
  guest.switchTo(virus);
  events();
  guest.switchTo(other);
  guest.map(other, 0x40_1000, { w: true, x: true });
  guest.write(0x40_1000, [1]);
  guest.run(0x40_1000);
  assert.equal(guest.shadowOf(0x40_1000)! & (WRITE | NX), WRITE, "their entries are not narrowed");
  assert.deepEqual(events(), []);
  const { faults, faultsPassed } = bridge.statistics(1);
  assert.equal(faults, 1);
  assert.equal(faultsPassed, 1);
});

Deno.test("children of a watched process are watched, orphans born in its life too", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  const child = guest.process(300, "harmless.exe", { parent: 100, created: 5n });
  guest.switchTo(child);
  guest.switchTo(virus);
  guest.exit(virus);
  const late = guest.process(301, "late.exe", { parent: 100, created: 50n });
  const later = guest.process(302, "later.exe", { parent: 100, created: 500n });
  guest.switchTo(late);
  guest.switchTo(later);
  assert.deepEqual(
    events().filter((event) => event.kind.startsWith("process")).map((event) => `${event.kind} ${event.pid}`),
    ["process-start 100", "process-start 300", "process-end 100", "process-start 301"],
  );
});

Deno.test("a process that runs what a watched one wrote into it is watched from then on", () => {
  const { guest, virus, other, events, bytes } = scene();
  guest.switchTo(other);
  guest.map(other, 0x70_0000, { w: true, x: true });
  guest.write(0x70_0000, [1]);
  guest.switchTo(virus);
  guest.switchTo(other, virus);
  guest.write(0x70_0000, [0x90, 0xc3], 0x8010_0000);
  guest.switchTo(other);
  assert.equal(events().length, 1);
  guest.run(0x70_0000);
  const found = events();
  assert.deepEqual(found.map((event) => `${event.kind} ${event.pid}`), ["process-start 200", "S1 200"]);
  assert.equal(found[1].hop, true);
  assert.deepEqual([...bytes.get(found[1].sequence)!.subarray(0, 2)], [0x90, 0xc3]);
});

Deno.test("injection through a shared section is seen, a frame used anew is none", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(virus);
  const shared = guest.map(virus, 0x50_0000, { w: true });
  const own = guest.map(virus, 0x51_0000, { w: true });
  guest.write(0x50_0000, [0xc3]);
  guest.write(0x51_0000, [0xc3]);
  guest.unmap(virus, 0x51_0000);
  guest.unmap(virus, 0x50_0000);
  guest.switchTo(other);
  guest.bytes(own).fill(0x11);
  guest.map(other, 0x71_0000, { x: true }, own);
  guest.run(0x71_0000);
  assert.deepEqual(events().map((event) => event.kind), ["process-start"]);
  guest.map(other, 0x70_0000, { x: true }, shared);
  guest.run(0x70_0000);
  assert.deepEqual(pages(events()), ["S1 700000 captured hop"]);
});

Deno.test("a watch that begins in the middle of a process drops what its entries allowed before", () => {
  const guest = new TestGuest();
  const virus = guest.process(100, "virus.exe");
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.run(0x40_1000);
  const bridge = new Bridge(guest.transport);
  bridge.watch(1, [RULE]);
  guest.run(0x40_1000);
  assert.deepEqual(pages(bridge.fetch(1, 10)), ["S1 401000 captured"]);
});

for (const field of ["number", "time of birth"]) {
  Deno.test(`a second process in the tables of one that vanished is told by its ${field}`, () => {
    const { guest, virus, events } = scene();
    guest.switchTo(virus);
    guest.poke(virus.cr3, virus.object + (field === "number" ? 0xb4 : 0xa0), 104);
    guest.switchTo(virus);
    assert.deepEqual(events().map((event) => `${event.kind} ${event.process}`), [
      "process-start 1",
      "process-end 1",
      "process-start 2",
    ]);
  });
}

Deno.test("an address space that is not the thread's is found in the list of processes", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(other);
  guest.cr3 = virus.cr3;
  guest.exports.umbra_cr3_loaded(1, 0);
  assert.deepEqual(events().map((event) => event.pid), [100]);
});

Deno.test("names without a path: cut ones match what they begin; no PEB is no user process", () => {
  const watched = (rule: WatchRule) => {
    const guest = new TestGuest();
    const system = guest.process(4, "System"), long = guest.process(8, "a-very-long-virus-name.exe");
    guest.poke(system.cr3, system.object + 0x1a8, 0);
    guest.poke(long.cr3, 0x7ffd_f010, 0);
    const bridge = new Bridge(guest.transport);
    bridge.watch(1, [rule]);
    guest.switchTo(system);
    guest.switchTo(long);
    return bridge.fetch(1, 10).map((event) => event.pid);
  };
  assert.deepEqual(watched({ kind: "exact", pattern: "a-very-long-virus-name.exe" }), [8]);
  assert.deepEqual(watched({ kind: "exact", pattern: "a-very-short-virus-name.exe" }), []);
  assert.deepEqual(watched({ kind: "all", pattern: "" }), [8]);
});

Deno.test("garbage in the guest's structures leads to nothing worse than a partial process", () => {
  const { guest, bridge, virus, events } = scene();
  // A PEB that points nowhere, a VAD that is its own child, a list that never ends.
  guest.poke(virus.cr3, 0x7ffd_f010, 0x7fff_0000);
  const node = guest.kernel(0x20);
  guest.poke(virus.cr3, node + 0xc, 0x7_0000);
  guest.poke(virus.cr3, node + 0x10, 0xffff_ffff);
  guest.poke(virus.cr3, node + 4, node);
  guest.poke(virus.cr3, node + 8, node);
  guest.poke(virus.cr3, virus.object + 0x280, node);
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.write(0x40_1000, [1]);
  guest.run(0x40_1000);
  const [start, hop] = events();
  assert.deepEqual([start.kind, hop.kind], ["process-start", "S1"]);
  const process = bridge.process(1, start.process)!;
  assert.equal(process.partial, true);
  assert.equal(process.path, "");
  assert.equal(process.name, "virus.exe");
  guest.poke(virus.cr3, virus.thread + 0x50, 0x9000_0000);
  guest.poke(virus.cr3, virus.thread + 0x150, 0xffff_fff0);
  guest.exports.umbra_cr3_loaded(1, 0);
});

Deno.test("a process that ended does not begin again when its remains are tidied up", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(virus);
  guest.exit(virus);
  guest.switchTo(other);
  guest.switchTo(virus, other);
  assert.deepEqual(events().map((event) => event.kind), ["process-start", "process-end"]);
});

Deno.test("a frame written for the first time may run elsewhere already", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(other);
  const shared = guest.map(other, 0x70_0000, { x: true });
  guest.run(0x70_0000);
  guest.switchTo(virus);
  guest.map(virus, 0x50_0000, { w: true }, shared);
  guest.write(0x50_0000, [0xc3]);
  guest.switchTo(other);
  guest.run(0x70_0000);
  assert.deepEqual(pages(events()), ["S1 700000 captured hop"]);
});
