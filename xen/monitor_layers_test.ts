// SPDX-License-Identifier: Apache-2.0
// Layers, coalesced turns, and what is left at the end.
import assert from "node:assert/strict";
import { balanced, PAGE, pages, RULE, scene, unpack } from "./testing/scene.ts";

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
  const { guest, bridge, virus, events, bytes } = scene({ coalesceAfter: 8, coalesceWindow: 10_000n });
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
  const { guest, virus, events } = scene({ coalesceAfter: 2, coalesceWindow: 100n });
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

Deno.test("at exit what was written is captured although the tables lead to it no more", () => {
  const { guest, bridge, virus, other, events, bytes } = scene();
  guest.switchTo(virus);
  guest.vad(virus, 0x50_0000, 4);
  for (let i = 0; i < 4; i++) {
    guest.map(virus, 0x50_0000 + i * PAGE, { w: true });
    guest.write(0x50_0000 + i * PAGE, [i + 1]);
  }
  // Seen to be dirty through another mapping, then mapped here and written without a fault of its own.
  const gfn = guest.map(virus, 0x60_0000, { w: true });
  guest.write(0x60_0000, [9]);
  guest.unmap(virus, 0x60_0000);
  guest.map(virus, 0x61_0000, { w: true }, gfn);
  guest.write(0x61_0000, [10]);
  guest.exit(virus, true);
  guest.switchTo(other);
  const residue = events().filter((event) => event.kind === "residue");
  const first = residue.map((event) => [event.va, bytes.get(event.sequence)![0], event.allocationBase]);
  assert.deepEqual(first.sort((a, b) => a[0] - b[0]), [
    ...[1, 2, 3, 4].map((n) => [0x50_0000 + (n - 1) * PAGE, n, 0x50_0000]),
    [0x61_0000, 10, 0],
  ]);
  balanced(bridge);
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

Deno.test("drained means that everything is in the ring, nothing behind it", () => {
  const { guest, bridge, virus } = scene({}, { ringPages: 2, ringEvents: 8 });
  guest.poke(virus.cr3, 0x7ffd_f008, 0x1_0000);
  guest.switchTo(virus);
  guest.vad(virus, 0x1_0000, 8);
  for (let i = 0; i < 8; i++) guest.map(virus, 0x1_0000 + i * PAGE, { w: true, x: true });
  guest.write(0x1_2000, [0xcc], 0x50_0000);
  bridge.unwatch(1);
  let captured = 0;
  const take = () => {
    const events = bridge.fetch(1, 100);
    captured += events.filter((event) => event.snapshot !== 0).length;
    if (events.length) bridge.acknowledge(1, events.at(-1)!.sequence);
    return events.length;
  };
  while (!bridge.drained(1)) assert.ok(take() > 0, "not drained, and nothing to fetch");
  take();
  assert.equal(captured, 8);
});
