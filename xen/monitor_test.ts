// SPDX-License-Identifier: Apache-2.0
// Turns from data to code, S1 and S2, and the frames behind the addresses.
import assert from "node:assert/strict";
import { NX, WRITE } from "./testing/guest.ts";
import { PAGE, pages, scene } from "./testing/scene.ts";

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
