// SPDX-License-Identifier: Apache-2.0
// The data centre: room, policies, VIRQs, bounds.
import assert from "node:assert/strict";
import type { MonitorEvent } from "../core/ports.ts";
import { Bridge } from "./bridge.ts";
import { balanced, PAGE, pages, RULE, scene, unpack } from "./testing/scene.ts";

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

Deno.test("early turns and hops are told of without delay, once each time all was fetched", () => {
  const { guest, bridge, virus } = scene();
  guest.switchTo(virus);
  const run = (i: number) => {
    bridge.fetch(1, 1000);
    const before = guest.virqs;
    guest.map(virus, 0x40_0000 + i * PAGE, { w: true, x: true });
    guest.run(0x40_0000 + i * PAGE);
    return guest.virqs - before;
  };
  for (let i = 0; i < 64; i++) assert.equal(run(i), 1, `turn ${i}`);
  assert.equal(run(64), 0, "no longer early");
  bridge.fetch(1, 1000);
  const before = guest.virqs;
  for (const page of [0x40_0000, 0x40_1000]) {
    guest.write(page, [1], 0x40_3000);
    guest.run(page);
  }
  assert.equal(guest.virqs - before, 1, "two hops, nothing fetched between");
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
