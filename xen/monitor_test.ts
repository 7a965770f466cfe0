// SPDX-License-Identifier: Apache-2.0
// The monitor's module, driven by a little guest through the bridge.
import assert from "node:assert/strict";
import type { MonitorEvent, WatchRule, WatchSettings } from "../core/ports.ts";
import { Bridge, type BridgeOptions } from "./bridge.ts";
import { build } from "./build_monitor.ts";
import { NX, type Process, TestGuest, WRITE } from "./testing/guest.ts";

await build();

const PAGE = 4096;
const RULE: WatchRule = { kind: "prefix", pattern: "virus" };

interface Scene {
  readonly guest: TestGuest;
  readonly bridge: Bridge;
  readonly virus: Process;
  readonly other: Process;
  /** Everything fetched and not asked for yet; acknowledges it. Snapshots' bytes go to `bytes`. */
  events(): MonitorEvent[];
  /** First byte(s) of captured pages, by sequence. */
  readonly bytes: Map<number, Uint8Array>;
}

function scene(
  settings: WatchSettings = {},
  options: BridgeOptions = {},
  rules: readonly WatchRule[] = [RULE],
): Scene {
  const guest = new TestGuest();
  const virus = guest.process(100, "virus.exe"), other = guest.process(200, "calm.exe");
  const bridge = new Bridge(guest.transport, options);
  const bytes = new Map<number, Uint8Array>();
  bridge.watch(1, rules, settings);
  return {
    guest,
    bridge,
    virus,
    other,
    bytes,
    events() {
      const all: MonitorEvent[] = [];
      for (;;) {
        const some = bridge.fetch(1, 100);
        if (some.length === 0) return all;
        all.push(...some);
        const carrying = some.filter((event) => event.snapshot !== 0);
        bridge.copy(1, carrying.map((event) => event.snapshot), (snapshot, page) => {
          const event = carrying.find((each) => each.snapshot === snapshot)!;
          if (page) bytes.set(event.sequence, page.slice());
        });
        bridge.acknowledge(1, some.at(-1)!.sequence);
      }
    },
  };
}

const pages = (events: readonly MonitorEvent[]) =>
  events.filter((event) => event.va !== 0).map((event) =>
    `${event.kind} ${event.va.toString(16)} ${event.content}${event.hop ? " hop" : ""}`
  );

function balanced(bridge: Bridge): void {
  const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = bridge.statistics(1);
  assert.equal(pagesSeen, pagesCaptured + pagesUnchanged + pagesLost);
}

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

Deno.test("S1: a page that comes to run is captured, with the environment of the event", () => {
  const { guest, virus, events, bytes } = scene();
  guest.switchTo(virus);
  const gfn = guest.map(virus, 0x40_1000, { x: true });
  guest.bytes(gfn).fill(0xc3);
  guest.run(0x40_1010);
  const event = events().at(-1)!;
  assert.equal(event.kind, "S1");
  assert.equal(event.va, 0x40_1000);
  assert.equal(event.gfn, gfn);
  assert.equal(event.pid, 100);
  assert.equal(event.tid, 101);
  assert.equal(event.eip, 0x40_1010);
  assert.equal(event.esp, 0x12_f000);
  assert.equal(event.errorCode, 0x14);
  assert.equal(event.tsc, BigInt(guest.tsc));
  assert.equal(event.hop, false);
  assert.equal(event.newShadowEntry & (WRITE | NX), 0n);
  assert.deepEqual(bytes.get(event.sequence), new Uint8Array(PAGE).fill(0xc3));
});

Deno.test("a page made executable by its rights, after writing, is S1 again", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { x: true });
  guest.run(0x40_1000);
  guest.protect(virus, 0x40_1000, { w: true });
  guest.write(0x40_1800, [1], 0x40_2000);
  guest.protect(virus, 0x40_1000, { x: true });
  guest.run(0x40_1000);
  assert.deepEqual(pages(events()), ["S1 401000 captured", "S1 401000 captured hop"]);
});

Deno.test("S2: a writable and executable page is never both, and each turn is an event", () => {
  const { guest, virus, events, bytes } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.read(0x40_1000);
  assert.equal(guest.shadowOf(0x40_1000)! & (WRITE | NX), NX, "a new page starts as data, not writable yet");
  for (const byte of [1, 2, 3]) {
    guest.write(0x40_1000, [byte], 0x40_1800);
    assert.equal(guest.shadowOf(0x40_1000)! & (WRITE | NX), WRITE | NX);
    guest.run(0x40_1000);
    assert.equal(guest.shadowOf(0x40_1000)! & (WRITE | NX), 0n);
  }
  const turns = events();
  assert.deepEqual(pages(turns), ["S1 401000 captured", "S2 401000 captured", "S2 401000 captured"]);
  assert.deepEqual(turns.slice(1).map((event) => bytes.get(event.sequence)![0]), [1, 2, 3]);
});

Deno.test("a turn with unchanged content is counted and carries no page", () => {
  const { guest, bridge, virus, events } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.write(0x40_1000, [9], 0x40_1800);
  guest.run(0x40_1000);
  guest.write(0x40_1000, [9], 0x40_1800);
  guest.run(0x40_1000);
  const turns = events();
  assert.deepEqual(pages(turns), ["S1 401000 captured", "S2 401000 unchanged"]);
  assert.equal(turns.at(-1)!.snapshot, 0);
  const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = bridge.statistics(1);
  assert.deepEqual([pagesSeen, pagesCaptured, pagesUnchanged, pagesLost], [2, 1, 1, 0]);
});

Deno.test("the snapshot is what ran, whatever the guest does before it is copied", () => {
  const { guest, virus, events, bytes } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.write(0x40_1000, [0xaa], 0x40_1800);
  guest.run(0x40_1000);
  guest.write(0x40_1000, [0xbb], 0x40_1800);
  const event = events().find((each) => each.kind === "S1")!;
  assert.equal(bytes.get(event.sequence)![0], 0xaa);
});

Deno.test("a write through a second mapping of the frame is as good as one through its own", () => {
  const { guest, virus, events, bytes } = scene();
  guest.switchTo(virus);
  const gfn = guest.map(virus, 0x40_1000, { x: true });
  guest.map(virus, 0x50_0000, { w: true }, gfn);
  guest.run(0x40_1000);
  guest.write(0x50_0000, [7], 0x40_3000);
  assert.equal(guest.shadowOf(0x40_1000), undefined, "the executable mapping is gone");
  guest.run(0x40_1000);
  const turns = events();
  assert.deepEqual(pages(turns), ["S1 401000 captured", "S1 401000 captured hop"]);
  assert.equal(bytes.get(turns.at(-1)!.sequence)![0], 7);
});

Deno.test("a write by another process's thread, attached, or through its own mapping, is seen", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(virus);
  const gfn = guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.map(other, 0x60_0000, { w: true }, gfn);
  guest.run(0x40_1000);
  guest.switchTo(virus, other);
  guest.write(0x40_1000, [1], 0x8010_0000);
  guest.switchTo(virus);
  guest.run(0x40_1000);
  guest.switchTo(other);
  guest.write(0x60_0000, [2]);
  guest.switchTo(virus);
  guest.run(0x40_1000);
  assert.deepEqual(pages(events()), [
    "S1 401000 captured",
    "S2 401000 captured hop",
    "S2 401000 captured hop",
  ]);
});

Deno.test("capture takes W from every mapping, and who wrote counts, not only from where", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(virus);
  const gfn = guest.map(virus, 0x40_1000, { x: true });
  guest.map(virus, 0x50_0000, { w: true }, gfn);
  guest.map(other, 0x60_0000, { w: true }, gfn);
  for (const byte of [1, 2]) {
    guest.write(0x50_0000, [byte], 0x40_1000);
    guest.run(0x40_1000);
  }
  guest.switchTo(other);
  guest.write(0x60_0000, [3], 0x40_1800);
  guest.switchTo(virus);
  guest.run(0x40_1000);
  assert.deepEqual(pages(events()), [
    "S1 401000 captured",
    "S1 401000 captured",
    "S1 401000 captured hop",
  ]);
});

Deno.test("rights that change and change back are no new content", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { x: true });
  guest.run(0x40_1000);
  guest.protect(virus, 0x40_1000, {});
  guest.protect(virus, 0x40_1000, { x: true });
  guest.run(0x40_1000);
  assert.deepEqual(pages(events()), ["S1 401000 captured", "S1 401000 unchanged"]);
});

Deno.test("a kernel mapping of a captured frame loses W, and its write counts", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  const gfn = guest.map(virus, 0x40_1000, { x: true });
  guest.run(0x40_1000);
  const window = 0x9000_0000;
  guest.map(virus, window, { w: true }, gfn);
  guest.read(window, 0x8010_0000);
  assert.equal(guest.shadowOf(window)! & WRITE, 0n);
  guest.write(window, [5], 0x8010_0000);
  guest.run(0x40_1000);
  assert.deepEqual(pages(events()), ["S1 401000 captured", "S1 401000 captured hop"]);
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

/** A stub at 0x410000 that writes `count` pages from 0x401000 on and jumps to the third of them. */
function unpack(guest: TestGuest, process: Process, count = 4): void {
  guest.map(process, 0x41_0000, { x: true });
  guest.map(process, 0x40_0000, {});
  for (let i = 1; i <= count; i++) guest.map(process, 0x40_0000 + i * PAGE, { w: true, x: true });
  guest.run(0x41_0020);
  for (let i = 1; i <= count; i++) guest.write(0x40_0000 + i * PAGE, [i], 0x41_0040);
  guest.run(0x40_3004);
}

for (const vads of [true, false]) {
  Deno.test(`a hop captures the written pages of the allocation, ${vads ? "by VADs" : "by tables"}`, () => {
    const { guest, virus, events, bytes } = scene();
    guest.switchTo(virus);
    if (vads) {
      guest.vad(virus, 0x40_0000, 17);
      guest.vad(virus, 0x2_0000, 1);
      guest.vad(virus, 0x70_0000, 3);
    }
    guest.map(virus, 0x70_0000, { w: true });
    guest.write(0x70_0000, [1], 0x41_0000);
    unpack(guest, virus);
    // In the same layer: unchanged since, so nothing new is captured and nothing hops.
    guest.run(0x40_1000);
    const found = events();
    assert.deepEqual(pages(found), [
      "S1 410000 captured",
      "S1 403000 captured hop",
      "layer 401000 captured",
      "layer 402000 captured",
      "layer 404000 captured",
      "context 400000 captured",
      "S1 401000 unchanged",
    ]);
    const hop = found.find((event) => event.hop)!;
    assert.equal(hop.hopFrom, 0x41_0040);
    assert.equal(hop.hopTo, 0x40_3004);
    assert.equal(hop.layer, 1);
    assert.equal(hop.allocationBase, 0x40_0000);
    assert.equal(hop.allocationSize, vads ? 17 * PAGE : 5 * PAGE);
    assert.deepEqual(found.filter((event) => event.kind === "layer").map((event) => event.layer), [1, 1, 1]);
    assert.equal(bytes.get(found.find((event) => event.va === 0x40_4000)!.sequence)![0], 4);
  });
}

Deno.test("the next wave is the next layer and holds only what was written since", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  guest.vad(virus, 0x40_0000, 17);
  unpack(guest, virus);
  events();
  guest.write(0x40_1000, [0x55], 0x40_3040);
  guest.write(0x40_2000, [0x66], 0x40_3040);
  guest.run(0x40_2000);
  const found = events();
  assert.deepEqual(pages(found), ["S1 402000 captured hop", "layer 401000 captured"]);
  assert.deepEqual(found.map((event) => event.layer), [2, 2]);
});

Deno.test("a layer ends at its cap; what is left stays for later", () => {
  const { guest, virus, events } = scene({ layerCap: 2 });
  guest.switchTo(virus);
  guest.vad(virus, 0x40_0000, 17);
  unpack(guest, virus, 6);
  assert.deepEqual(pages(events()).slice(1), [
    "S1 403000 captured hop",
    "layer 401000 captured",
    "layer 402000 captured",
  ]);
  guest.exit(virus);
  assert.deepEqual(pages(events()), [
    "residue 404000 captured",
    "residue 405000 captured",
    "residue 406000 captured",
  ]);
});

Deno.test("self-modification of one page is turns, no layers", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  for (let i = 0; i < 5; i++) {
    guest.write(0x40_1800, [i + 1], 0x40_1000);
    guest.run(0x40_1800);
  }
  const found = events().slice(1);
  assert.equal(found.length, 5);
  assert.ok(found.every((event) => event.layer === 0 && !event.hop));
});

Deno.test("many turns of one page are coalesced: counted, and the last content kept", () => {
  const { guest, bridge, virus, events, bytes } = scene({ coalesceAfter: 8 }, { coalesceWindow: 10_000n });
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.map(virus, 0x40_2000, { w: true, x: true });
  for (let i = 0; i < 1000; i++) {
    guest.write(0x40_1800, [i, i >> 8], 0x40_1000);
    guest.run(0x40_1800);
  }
  assert.equal(pages(events()).length, 8);
  guest.write(0x40_2000, [1], 0x40_1000);
  guest.run(0x40_2000);
  const found = events();
  assert.deepEqual(pages(found), ["coalesced 401000 captured", "S1 402000 captured hop"]);
  assert.equal(found[0].turns, 992);
  assert.deepEqual([...bytes.get(found[0].sequence)!.subarray(0x800, 0x802)], [999 & 255, 999 >> 8]);
  assert.equal(bridge.statistics(1).turnsCoalesced, 992);
  balanced(bridge);
});

Deno.test("a coalescing window ends by time, and turns are events again", () => {
  const { guest, virus, events } = scene({ coalesceAfter: 2 }, { coalesceWindow: 100n });
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  const turn = (byte: number) => {
    guest.write(0x40_1800, [byte], 0x40_1000);
    guest.run(0x40_1800);
  };
  for (let i = 1; i <= 5; i++) turn(i);
  guest.tsc += 200;
  turn(6);
  const found = events().slice(1);
  assert.deepEqual(found.map((event) => `${event.kind} ${event.turns}`), [
    "S1 1",
    "S2 1",
    "coalesced 3",
    "S2 1",
  ]);
});

Deno.test("two pages that write each other do not flood either", () => {
  const { guest, bridge, virus, events } = scene({ coalesceAfter: 4 });
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.map(virus, 0x40_2000, { w: true, x: true });
  for (let i = 0; i < 500; i++) {
    guest.write(0x40_2000, [i, i >> 8, 1], 0x40_1000);
    guest.run(0x40_2000);
    guest.write(0x40_1000, [i, i >> 8, 2], 0x40_2000);
    guest.run(0x40_1000);
  }
  guest.exit(virus);
  const found = events();
  assert.ok(found.length < 20, `${found.length} events`);
  const turns = found.filter((event) => ["S1", "S2", "coalesced"].includes(event.kind));
  assert.equal(turns.reduce((sum, event) => sum + event.turns, 0), 1000);
  balanced(bridge);
});

Deno.test("pause: a full ring holds the vCPU, nothing is lost and nothing counted twice", () => {
  const { guest, bridge, virus, events } = scene({ whenFull: "pause" }, { ringPages: 3, ringEvents: 16 });
  guest.switchTo(virus);
  const found: MonitorEvent[] = [];
  let held = 0;
  for (let i = 0; i < 20; i++) {
    const va = 0x40_0000 + i * PAGE;
    guest.bytes(guest.map(virus, va, { x: true }))[0] = i;
    while (!guest.run(va)) {
      assert.ok(guest.held);
      assert.equal(guest.run(va), false);
      held++;
      found.push(...events());
      assert.ok(!guest.held);
    }
  }
  found.push(...events());
  assert.ok(held >= 5);
  assert.deepEqual(
    found.filter((event) => event.kind === "S1").map((event) => event.va),
    Array.from({ length: 20 }, (_, i) => 0x40_0000 + i * PAGE),
  );
  assert.deepEqual(found.map((event) => event.sequence), found.map((_, i) => i + 1));
  const { pagesSeen, pagesCaptured, pagesLost, vcpuPauses, faults } = bridge.statistics(1);
  assert.deepEqual([pagesSeen, pagesCaptured, pagesLost, vcpuPauses, faults], [20, 20, 0, held, 20]);
});

Deno.test("pause: a layer larger than the ring arrives whole, as it was at the hop", () => {
  const { guest, bridge, virus, events, bytes } = scene({}, { ringPages: 4, ringEvents: 8 });
  guest.switchTo(virus);
  guest.vad(virus, 0x40_0000, 64);
  events();
  unpack(guest, virus, 12);
  // The guest goes on and overwrites before anything is fetched.
  guest.write(0x40_c000, [0xee], 0x40_3000);
  guest.map(virus, 0x42_0000, { x: true });
  assert.equal(guest.run(0x42_0000), false, "the next capture waits");
  const found = events();
  assert.equal(found.filter((event) => event.kind === "layer").length, 11);
  assert.equal(bytes.get(found.find((event) => event.va === 0x40_c000)!.sequence)![0], 12);
  assert.equal(guest.run(0x42_0000), true);
  assert.equal(bridge.statistics(1).pagesLost, 0);
  balanced(bridge);
});

Deno.test("drop: a full ring keeps the event and counts the page lost", () => {
  const { guest, bridge, virus, events } = scene({ whenFull: "drop" }, { ringPages: 3, ringEvents: 64 });
  guest.switchTo(virus);
  for (let i = 0; i < 10; i++) {
    guest.map(virus, 0x40_0000 + i * PAGE, { x: true });
    assert.ok(guest.run(0x40_0000 + i * PAGE));
  }
  const found = events().slice(1);
  assert.deepEqual(found.map((event) => event.content), [
    ...Array(3).fill("captured"),
    ...Array(7).fill("lost"),
  ]);
  const { pagesSeen, pagesLost, vcpuPauses } = bridge.statistics(1);
  assert.deepEqual([pagesSeen, pagesLost, vcpuPauses], [10, 7, 0]);
  balanced(bridge);
});

Deno.test("drop: events that find no room are counted", () => {
  const { guest, bridge, virus } = scene({ whenFull: "drop" }, { ringPages: 3, ringEvents: 4 });
  guest.switchTo(virus);
  for (let i = 0; i < 10; i++) {
    guest.map(virus, 0x40_0000 + i * PAGE, { x: true });
    guest.run(0x40_0000 + i * PAGE);
  }
  const statistics = bridge.monitorStatistics(1);
  assert.equal(statistics.events_lost, 7n);
  assert.equal(statistics.pages_lost, 7n);
  balanced(bridge);
});

Deno.test("at exit what was written and never captured comes as residue, then the end", () => {
  const { guest, bridge, virus, other, events, bytes } = scene({}, { ringPages: 2, ringEvents: 8 });
  guest.switchTo(virus);
  guest.vad(virus, 0x50_0000, 8);
  for (let i = 0; i < 8; i++) {
    guest.map(virus, 0x50_0000 + i * PAGE, { w: true });
    guest.write(0x50_0000 + i * PAGE, [i + 1]);
  }
  guest.map(virus, 0x60_0000, { w: true });
  guest.read(0x60_0000);
  guest.exit(virus);
  guest.switchTo(other);
  const found = events();
  assert.deepEqual(pages(found), Array.from({ length: 8 }, (_, i) => `residue 50${i}000 captured`));
  const residue = found.filter((event) => event.kind === "residue");
  assert.deepEqual(residue.map((event) => bytes.get(event.sequence)![0]), [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.ok(residue.every((event) => event.layer === 1 && event.allocationBase === 0x50_0000));
  assert.equal(found.at(-1)!.kind, "process-end");
  assert.equal(bridge.statistics(1).pagesLost, 0);
  balanced(bridge);
});

Deno.test("at unwatch the residue comes as the ring is acknowledged, until it is drained", () => {
  const { guest, bridge, virus, events } = scene({}, { ringPages: 2, ringEvents: 8 });
  guest.switchTo(virus);
  for (let i = 0; i < 20; i++) {
    guest.map(virus, 0x50_0000 + i * PAGE, { w: true });
    guest.write(0x50_0000 + i * PAGE, [i + 1]);
  }
  bridge.unwatch(1);
  assert.equal(bridge.drained(1), false);
  assert.throws(() => bridge.watch(1, [RULE]), /fetch and acknowledge/);
  assert.equal(events().filter((event) => event.kind === "residue").length, 20);
  assert.ok(bridge.drained(1));
  guest.map(virus, 0x60_0000, { x: true });
  guest.run(0x60_0000);
  assert.deepEqual(events(), [], "nothing comes after the end of the watch");
  bridge.watch(1, [RULE]);
  assert.deepEqual(events().map((event) => event.kind), ["process-start"]);
});

Deno.test("at exit the page whose entry goes first is captured too", () => {
  const { guest, virus, events, bytes } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x1_0000, { w: true });
  guest.write(0x1_0000, [0x77]);
  guest.exit(virus);
  const residue = events().filter((event) => event.kind === "residue");
  assert.deepEqual(pages(residue), ["residue 10000 captured"]);
  assert.equal(bytes.get(residue[0].sequence)![0], 0x77);
});

Deno.test("an end of watch emits what was being coalesced", () => {
  const { guest, bridge, virus, events } = scene({ coalesceAfter: 2 });
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  for (let i = 1; i <= 5; i++) {
    guest.write(0x40_1800, [i], 0x40_1000);
    guest.run(0x40_1800);
  }
  bridge.unwatch(1);
  assert.deepEqual(pages(events()), [
    "S1 401000 captured",
    "S2 401000 captured",
    "coalesced 401000 captured",
  ]);
  balanced(bridge);
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

Deno.test("a service that starts again gets what was not acknowledged", () => {
  const { guest, bridge, virus } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { x: true });
  guest.run(0x40_1000);
  assert.equal(bridge.fetch(1, 10).length, 2);
  assert.equal(bridge.fetch(1, 10).length, 0);
  bridge.acknowledge(1, 1);
  const second = new Bridge(guest.transport);
  second.watch(1, [RULE]);
  const [event] = second.fetch(1, 10);
  assert.equal(event.sequence, 2);
  second.copy(
    1,
    [event.snapshot, 99],
    (snapshot, bytes) => assert.equal(bytes?.length, snapshot === event.snapshot ? PAGE : undefined),
  );
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

Deno.test("VIRQs are few: one for what waits, more only when it grows or is urgent", () => {
  const { guest, bridge, virus } = scene({}, { virqEvents: 8 });
  guest.tsc = 20_000_000;
  guest.switchTo(virus);
  assert.equal(guest.virqs, 1);
  for (let i = 0; i < 16; i++) {
    guest.map(virus, 0x40_0000 + i * PAGE, { x: true });
    guest.run(0x40_0000 + i * PAGE);
  }
  assert.equal(guest.virqs, 3);
  bridge.fetch(1, 100);
  guest.tsc += 20_000_000;
  guest.map(virus, 0x60_0000, { x: true });
  guest.run(0x60_0000);
  assert.equal(guest.virqs, 4);
});

Deno.test("nothing is kept of a domain that is gone", () => {
  const { guest, bridge, virus } = scene({ coalesceAfter: 1 }, { ringPages: 4, ringEvents: 16 });
  let size = 0;
  for (let round = 0; round < 50; round++) {
    guest.switchTo(virus);
    for (let i = 0; i < 8; i++) {
      guest.map(virus, 0x40_0000 + i * PAGE, { w: true, x: true }, 2000 + i);
      guest.write(0x40_0000 + i * PAGE, [round], 0x40_0000 + i * PAGE);
      guest.run(0x40_0000 + i * PAGE);
    }
    guest.exports.umbra_domain_destroy(1);
    guest.exports.umbra_domain_create(1);
    guest.shadow.clear();
    bridge.watch(1, [RULE]);
    if (round === 5) size = guest.exports.memory.buffer.byteLength;
  }
  assert.equal(guest.exports.memory.buffer.byteLength, size);
});

Deno.test("pause: a VIRQ tells of what came into the ring by an acknowledgement", () => {
  const { guest, bridge, virus } = scene({}, { ringPages: 2, ringEvents: 4 });
  guest.switchTo(virus);
  guest.vad(virus, 0x40_0000, 64);
  bridge.acknowledge(1, bridge.fetch(1, 10).at(-1)!.sequence);
  unpack(guest, virus, 12);
  guest.map(virus, 0x42_0000, { x: true });
  assert.equal(guest.run(0x42_0000), false);
  let rounds = 0;
  for (let virqs = 0; guest.held; rounds++) {
    assert.ok(guest.virqs > virqs, "held, and nobody was told");
    virqs = guest.virqs;
    bridge.acknowledge(1, bridge.fetch(1, 1000).at(-1)!.sequence);
  }
  assert.ok(rounds > 4);
});

Deno.test("a process that ended does not begin again when its remains are tidied up", () => {
  const { guest, virus, other, events } = scene();
  guest.switchTo(virus);
  guest.exit(virus);
  guest.switchTo(other);
  guest.switchTo(virus, other);
  assert.deepEqual(events().map((event) => event.kind), ["process-start", "process-end"]);
});

Deno.test("a full frame table forgets what is captured, keeps what is not, and stays exact", () => {
  const { guest, bridge, virus, events } = scene({}, { frameCap: 64 });
  guest.switchTo(virus);
  const at = (i: number) => 0x40_0000 + i * PAGE;
  for (let i = 0; i < 300; i++) guest.map(virus, at(i), { w: true, x: true });
  for (let i = 0; i < 300; i++) {
    guest.write(at(i), [i & 255, 1], at(i));
    guest.run(at(i));
  }
  // A forgotten frame has no mapping left, so its next write and run are seen all the same.
  guest.write(at(0), [0, 2], at(0));
  guest.run(at(0));
  assert.equal(pages(events()).length, 301);
  const { frames, frames_refused } = bridge.monitorStatistics(1);
  assert.equal(frames, 64n);
  assert.equal(frames_refused, 0n);
  for (let i = 0; i < 80; i++) guest.write(at(i), [0xee], at(299));
  assert.ok(bridge.monitorStatistics(1).frames_refused as bigint > 0n, "what cannot be tracked is counted");
  guest.run(at(79));
  assert.equal(events().at(-1)!.content, "captured", "and what runs is captured even so");
});

Deno.test("pause: what is captured at once beyond all bounds is counted lost", () => {
  const { guest, bridge, virus, other, events } = scene({}, { ringPages: 2, spillCap: 3 });
  guest.switchTo(virus);
  for (let i = 0; i < 10; i++) {
    guest.map(virus, 0x50_0000 + i * PAGE, { w: true });
    guest.write(0x50_0000 + i * PAGE, [i]);
  }
  guest.exit(virus);
  guest.switchTo(other);
  const residue = events().filter((event) => event.kind === "residue");
  assert.deepEqual(residue.map((event) => event.content), [
    ...Array(5).fill("captured"),
    ...Array(5).fill("lost"),
  ]);
  assert.equal(bridge.statistics(1).pagesLost, 5);
  balanced(bridge);
});

Deno.test("what the loader wrote before the program first runs is no layer; what another wrote is", () => {
  for (const stranger of [false, true]) {
    const { guest, virus, other, events } = scene();
    guest.poke(virus.cr3, 0x7ffd_f008, 0x40_0000);
    guest.switchTo(virus);
    guest.vad(virus, 0x40_0000, 4);
    guest.vad(virus, 0x7700_0000, 1);
    for (const va of [0x40_0000, 0x40_1000, 0x40_2000]) guest.map(virus, va, { w: true, x: true });
    guest.map(virus, 0x7700_0000, { x: true });
    guest.run(0x7700_0000);
    if (stranger) guest.switchTo(virus, other);
    guest.write(0x40_1000, [1], stranger ? 0x8010_0000 : 0x7700_0010);
    guest.switchTo(virus);
    guest.run(0x40_1000);
    guest.write(0x40_2000, [2], 0x40_1000);
    guest.run(0x40_2000);
    assert.deepEqual(
      events().filter((event) => event.hop).map((event) => event.hopTo),
      stranger ? [0x40_1000, 0x40_2000] : [0x40_2000],
    );
  }
});

Deno.test("a hop back from the kernel is said to come from the process's own code", () => {
  const { guest, virus, events } = scene();
  guest.switchTo(virus);
  guest.map(virus, 0x40_1000, { w: true, x: true });
  guest.run(0x40_1010);
  guest.write(0x40_1800, [1], 0x8010_0000);
  guest.run(0x40_1020);
  const { hop, hopFrom, hopTo } = events().at(-1)!;
  assert.deepEqual([hop, hopFrom, hopTo], [true, 0x40_1010, 0x40_1020]);
});

for (const end of ["exit", "unwatch"]) {
  Deno.test(`${end}: an image that was unpacked and never run comes whole, header and all`, () => {
    const { guest, bridge, virus, events } = scene({}, { ringPages: 2, ringEvents: 8 });
    guest.poke(virus.cr3, 0x7ffd_f008, 0x1_0000);
    guest.switchTo(virus);
    guest.vad(virus, 0x1_0000, 4);
    guest.vad(virus, 0x50_0000, 2);
    for (const va of [0x1_0000, 0x1_1000, 0x1_2000, 0x50_0000]) guest.map(virus, va, { w: true, x: true });
    guest.map(virus, 0x50_1000, { w: true });
    guest.run(0x50_0000);
    guest.write(0x1_2000, [0xcc], 0x50_0000);
    guest.write(0x50_1000, [0xdd], 0x50_0000);
    if (end === "exit") guest.exit(virus);
    else bridge.unwatch(1);
    const found = events();
    assert.deepEqual(pages(found).sort(), [
      "S1 500000 captured",
      "context 10000 captured",
      "context 11000 captured",
      "residue 12000 captured",
      "residue 501000 captured",
    ]);
    const last = found.filter((event) => event.va !== 0 && event.kind !== "S1");
    assert.ok(last.every((event) => event.layer === 1));
    assert.equal(found.at(-1)!.kind, end === "exit" ? "process-end" : "context");
    if (end === "unwatch") assert.ok(bridge.drained(1));
  });
}

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
