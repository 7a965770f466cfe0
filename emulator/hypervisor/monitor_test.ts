// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import type { MonitorEvent } from "../../core/ports.ts";
import { Bridge } from "../../xen/bridge.ts";
import type { DomainModel } from "./domain.ts";
import { A, D, NX, P, TestGuest, U, W } from "./testing/test_guest.ts";
import { GuestPageFault } from "./types.ts";

const READ = 0, WRITE = 1, FETCH = 2;
const GDT = 0x8000_1000, PCR = 0x8000_2000, THREAD = 0x8000_3000, PROCESS = 0x8000_4000;
const CODE = 0x0040_1000;

/** A guest with as much of Windows 7's structures as names its process, watched through the bridge. */
class WatchedGuest extends TestGuest {
  readonly bridge: Bridge;

  constructor(options: { ringPages?: number; ringEvents?: number; watch?: boolean } = {}) {
    super({ guestFrames: 512 });
    for (const va of [GDT, PCR, THREAD, PROCESS]) this.map(va, P | W | NX);
    // The base of entry 6: bytes 2 to 4 and 7.
    this.word(GDT + 6 * 8, (PCR & 0xffff) << 16 >>> 0);
    this.word(GDT + 6 * 8 + 4, ((PCR & 0xff00_0000) | ((PCR >>> 16) & 0xff)) >>> 0);
    this.word(PCR + 0x124, THREAD);
    this.vcpu.cpu.gdtr = { base: GDT, limit: 0xff };
    this.process(PROCESS, this.cr3, 1234, "virus.exe");
    this.current(PROCESS, PROCESS);
    this.vcpu.loadCr3(this.cr3);
    this.bridge = new Bridge(this.model.transport, options);
    if (options.watch ?? true) this.bridge.watch(this.domain.id, [{ kind: "prefix", pattern: "virus" }]);
  }

  word(va: number, value: number): void {
    this.vcpu.writeVirtual(va, new Uint8Array(Uint32Array.of(value).buffer));
  }

  process(at: number, cr3: number, pid: number, name: string): void {
    this.word(at + 0x18, cr3);
    this.word(at + 0xb4, pid);
    this.word(at + 0x1a8, 0x7ffd_0000);
    this.word(at + 0xb8, at + 0xb8);
    this.vcpu.writeVirtual(at + 0x16c, new TextEncoder().encode(name.padEnd(15, "\0")));
  }

  /** Whose thread runs, and in whose address space. */
  current(owner: number, space: number): void {
    this.word(THREAD + 0x150, owner);
    this.word(THREAD + 0x50, space);
  }

  /** A second process whose kernel half is the first one's. */
  secondSpace(name: string): number {
    const cr3 = this.newSpace();
    this.set(cr3 + 16, this.get(this.cr3 + 16));
    this.vcpu.loadCr3(this.cr3);
    this.map(PROCESS + 0x1000, P | W | NX);
    this.process(PROCESS + 0x1000, cr3, 4321, name);
    return cr3;
  }

  switchTo(owner: number, space: number, cr3: number): void {
    this.current(owner, space);
    this.vcpu.loadCr3(cr3);
  }

  /** Ring 3 writes bytes to its memory. */
  write(va: number, ...bytes: number[]): void {
    const answer = this.translate(va, WRITE, true);
    assert.ok(answer >= 0 && (answer & 2), `write to 0x${va.toString(16)}: ${answer}`);
    this.machine.memory.frame(Math.floor(answer / 8)).set(bytes, va % 4096);
  }

  /** Ring 3 fetches from its memory. */
  execute(va: number): void {
    const answer = this.translate(va, FETCH, true);
    assert.ok(answer >= 0 && (answer & 4), `fetch from 0x${va.toString(16)}: ${answer}`);
  }

  /** All events waiting, acknowledged, with their pages; as the service does it, until nothing comes. */
  events(): { event: MonitorEvent; page: Uint8Array | undefined }[] {
    const all: { event: MonitorEvent; page: Uint8Array | undefined }[] = [];
    for (;;) {
      const events = this.bridge.fetch(this.domain.id, 1000);
      if (events.length === 0) return all;
      const pages = new Map<number, Uint8Array>();
      const snapshots = events.map((event) => event.snapshot).filter((snapshot) => snapshot > 0);
      this.bridge.copy(this.domain.id, snapshots, (snapshot, bytes) => {
        if (bytes) pages.set(snapshot, bytes.slice());
      });
      this.bridge.acknowledge(this.domain.id, events[events.length - 1].sequence);
      for (const event of events) all.push({ event, page: pages.get(event.snapshot) });
    }
  }

  kinds(): string[] {
    return this.events().map(({ event }) => `${event.kind} ${event.va.toString(16)} ${event.content}`);
  }
}

Deno.test("S1 and S2: a page that is written and run is captured as it ran (fails without the S2 split)", () => {
  const guest = new WatchedGuest();
  guest.map(CODE, P | W | U);
  guest.write(CODE, 0x90, 0xc3);
  assert.equal(guest.translate(CODE, READ, true) & 4, 0, "data is not executable");
  guest.execute(CODE + 1);
  assert.equal(guest.translate(CODE, READ, true) & 2, 0, "code is not writable");
  guest.write(CODE, 0xcc, 0xc3);
  assert.equal(guest.translate(CODE, READ, true) & 4, 0, "written code is data again");
  guest.execute(CODE);
  const seen = guest.events();
  assert.deepEqual(
    seen.map(({ event }) => [event.kind, event.va, event.content, event.pid]),
    [["process-start", 0, "none", 1234], ["S1", CODE, "captured", 1234], ["S2", CODE, "captured", 1234]],
  );
  assert.deepEqual([...seen[1].page!.subarray(0, 3)], [0x90, 0xc3, 0]);
  assert.deepEqual([...seen[2].page!.subarray(0, 3)], [0xcc, 0xc3, 0]);
  assert.equal(seen[1].event.hopTo, CODE + 1);
  // The guest's own entry is not touched.
  assert.equal(guest.get(guest.entry(CODE)) & (P | W | U | NX), P | W | U);
});

Deno.test("a page that comes back to code unchanged is counted and not copied again", () => {
  const guest = new WatchedGuest();
  guest.map(CODE, P | W | U);
  guest.write(CODE, 0xc3);
  guest.execute(CODE);
  guest.write(CODE, 0xc3);
  guest.execute(CODE);
  assert.deepEqual(guest.kinds().slice(1), ["S1 401000 captured", "S2 401000 unchanged"]);
});

Deno.test("another process is left alone (fails without the CR3 filter)", () => {
  const guest = new WatchedGuest();
  const other = guest.secondSpace("innocent.exe");
  guest.map(CODE, P | W | U, undefined, other);
  guest.switchTo(PROCESS + 0x1000, PROCESS + 0x1000, other);
  guest.write(CODE, 0xc3);
  guest.execute(CODE);
  assert.deepEqual(guest.kinds(), ["process-start 0 none"]);
  guest.map(CODE, P | W | U);
  guest.switchTo(PROCESS, PROCESS, guest.cr3);
  guest.write(CODE, 0xc3);
  guest.execute(CODE);
  assert.deepEqual(guest.kinds(), ["S1 401000 captured"]);
});

Deno.test("an entry the kernel rewrites does not become executable by that (fails without the monitor's filter)", () => {
  const guest = new WatchedGuest();
  const gfn = guest.map(CODE, P | W | U);
  guest.write(CODE, 0xc3);
  for (const flags of [P | W | U | A | D, P | U | A, P | W | U | A]) {
    guest.set(guest.entry(CODE), BigInt(gfn) * 4096n | flags);
    assert.equal(guest.translate(CODE, READ, true) & 4, 0);
  }
  guest.execute(CODE);
  assert.deepEqual(guest.kinds().slice(1), ["S1 401000 captured"]);
  guest.set(guest.entry(CODE), BigInt(gfn) * 4096n | P | W | U | A | D);
  assert.equal(guest.translate(CODE, READ, true) & 2, 0, "and code does not become writable by it");
});

Deno.test("aliases: a write through one address takes execution from the other", () => {
  const guest = new WatchedGuest();
  const gfn = guest.map(CODE, P | W | U);
  guest.map(0x50_0000, P | W | U | NX, gfn);
  guest.write(CODE, 0xc3);
  guest.execute(CODE);
  assert.equal(guest.translate(0x50_0000, READ, true) & 2, 0);
  guest.write(0x50_0000, 0xcc);
  assert.equal(guest.translate(CODE, READ, true) & 4, 0);
  guest.execute(CODE);
  const seen = guest.events().slice(1);
  assert.deepEqual(seen.map(({ event }) => event.kind), ["S1", "S2"]);
  assert.equal(seen[1].page![0], 0xcc);
});

Deno.test("the kernel's writes to a user page make it dirty, across pages too", () => {
  const guest = new WatchedGuest();
  guest.map(CODE, P | W | U);
  guest.map(CODE + 4096, P | W | U);
  guest.execute(CODE);
  guest.execute(CODE + 4096);
  guest.vcpu.writeVirtual(CODE + 4094, Uint8Array.of(1, 2, 3, 4));
  assert.deepEqual([...guest.vcpu.readVirtual(CODE + 4094, 4)], [1, 2, 3, 4]);
  guest.execute(CODE);
  guest.execute(CODE + 4096);
  const seen = guest.events();
  const last = (va: number) => seen.findLast(({ event, page }) => event.va === va && page)!.page!;
  assert.deepEqual([...last(CODE).subarray(4094)], [1, 2]);
  assert.deepEqual([...last(CODE + 4096).subarray(0, 2)], [3, 4]);
});

Deno.test("another process's thread that writes while attached makes the page dirty; writes into others are followed", () => {
  const guest = new WatchedGuest();
  const other = guest.secondSpace("innocent.exe");
  guest.map(0x70_0000, P | W | U, undefined, other);
  // The watched process's thread, attached to the other one's memory.
  guest.switchTo(PROCESS, PROCESS + 0x1000, other);
  guest.vcpu.writeVirtual(0x70_0000, Uint8Array.of(0x90, 0xc3));
  guest.switchTo(PROCESS, PROCESS, guest.cr3);
  guest.switchTo(PROCESS + 0x1000, PROCESS + 0x1000, other);
  guest.execute(0x70_0000);
  const seen = guest.events();
  assert.deepEqual(seen.map(({ event }) => [event.kind, event.pid]), [
    ["process-start", 1234],
    ["process-start", 4321],
    ["S1", 4321],
  ]);
  assert.deepEqual([...seen[2].page!.subarray(0, 2)], [0x90, 0xc3]);
});

Deno.test("readVirtual and writeVirtual: the guest's own faults, nothing half written", () => {
  const guest = new WatchedGuest();
  guest.map(CODE, P | W | U);
  guest.map(CODE + 4096, P | U);
  assert.throws(
    () => guest.vcpu.writeVirtual(CODE + 4092, new Uint8Array(8).fill(0xee)),
    (error) => error instanceof GuestPageFault && error.address === CODE + 4096 && error.errorCode === 3,
  );
  assert.deepEqual([...guest.vcpu.readVirtual(CODE + 4092, 8)], [0, 0, 0, 0, 0, 0, 0, 0]);
  assert.throws(
    () => guest.vcpu.readVirtual(0x1000, 1),
    (error) => error instanceof GuestPageFault && error.address === 0x1000 && error.errorCode === 0,
  );
});

Deno.test("data centre full: the vCPU is held before the page runs, and goes on after dom0 took the events", () => {
  const guest = new WatchedGuest({ ringEvents: 64, ringPages: 4 });
  let virqs = 0;
  guest.model.transport.onVirq(() => virqs++);
  const vas = Array.from({ length: 40 }, (_, i) => CODE + i * 4096);
  vas.forEach((va, i) => {
    guest.map(va, P | W | U);
    guest.write(va, 0xc3, i);
  });
  const captured: number[] = [];
  let holds = 0;
  for (const va of vas) {
    for (let tries = 0; guest.translate(va, FETCH, true) === -0x1_0000; tries++) {
      assert.ok(tries < 2, "released and held again without end");
      holds++;
      assert.ok(guest.vcpu.held);
      assert.equal(guest.vcpu.run(1000).kind, "held");
      // The kernel's model can still finish what it does for the guest.
      guest.vcpu.writeVirtual(vas[39] + 8, Uint8Array.of(7));
      assert.ok(guest.model.virqPending);
      guest.model.deliverVirq();
      for (const { page } of guest.events()) if (page) captured.push(page[1]);
    }
  }
  for (const { page } of guest.events()) if (page) captured.push(page[1]);
  assert.ok(holds > 0 && virqs > 0);
  assert.ok(!guest.vcpu.held);
  // The last page was written again while the vCPU was held, so it comes twice.
  assert.deepEqual(captured, [...vas.map((_, i) => i), 39]);
  const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = guest.bridge.statistics(guest.domain.id);
  assert.equal(pagesSeen, pagesCaptured + pagesUnchanged + pagesLost);
  assert.equal(pagesLost, 0);
});

Deno.test("a process that ends leaves what it wrote and never ran as residue", () => {
  const guest = new WatchedGuest();
  guest.map(CODE, P | W | U);
  guest.write(CODE, 0xde, 0xad);
  guest.word(PROCESS + 0x270, 4);
  guest.set(guest.entry(CODE), 0n);
  const seen = guest.events();
  const residue = seen.find(({ event }) => event.kind === "residue")!;
  assert.equal(residue.event.va, CODE);
  assert.deepEqual([...residue.page!.subarray(0, 2)], [0xde, 0xad]);
});

Deno.test("watched later: entries made before do not escape", () => {
  const guest = new WatchedGuest({ watch: false });
  guest.map(CODE, P | W | U);
  guest.write(CODE, 0xc3);
  guest.execute(CODE);
  assert.equal(guest.translate(CODE, READ, true) & 6, 6, "unwatched pages keep their rights");
  guest.bridge.watch(guest.domain.id, [{ kind: "all", pattern: "" }]);
  guest.execute(CODE);
  assert.deepEqual(guest.kinds(), ["process-start 0 none", "S1 401000 captured"]);
});

Deno.test("dom0's memory: hypercalls reach its buffers and nothing beside them", () => {
  const guest = new WatchedGuest();
  const { transport } = guest.model;
  const buffer = transport.allocate(10);
  assert.equal(buffer.bytes.length, 4096);
  assert.equal(transport.call(0, buffer.address), 0);
  assert.notEqual(new DataView(buffer.bytes.buffer).getUint32(0, true), 0);
  for (const address of [0n, buffer.address - 8n, buffer.address + 4090n, (1n << 64n) - 4n]) {
    assert.equal(transport.call(0, address), -14, address.toString(16));
  }
  buffer.release();
  assert.equal(transport.call(0, buffer.address), -14);
  assert.throws(() => transport.allocate(0), RangeError);
});

Deno.test("turns between data and code are cheap and exact over many rounds", () => {
  const guest = new WatchedGuest();
  const gfn = guest.map(CODE, P | W | U);
  for (let i = 0; i < 5_000; i++) {
    guest.write(CODE, i & 0xff, i >> 8);
    guest.execute(CODE);
    if (i % 1000 === 0) guest.events();
  }
  const domain = guest.domain as DomainModel;
  assert.deepEqual(
    [...domain.readPhysical(gfn * 4096, 2)],
    [4_999 & 0xff, 4_999 >> 8],
  );
  guest.bridge.unwatch(guest.domain.id);
  const last = guest.events().findLast(({ page }) => page !== undefined)!;
  assert.deepEqual([...last.page!.subarray(0, 2)], [4_999 & 0xff, 4_999 >> 8]);
  const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = guest.bridge.statistics(guest.domain.id);
  assert.equal(pagesSeen, pagesCaptured + pagesUnchanged + pagesLost);
});

Deno.test("a watched guest that puts anything into its tables and structures: nothing throws, the counts add up", () => {
  const address = fc.oneof(
    fc.integer({ min: 0x40_0000, max: 0x7f_ffff }),
    fc.integer({ min: 0x8000_0000, max: 0x8000_8fff }),
    fc.integer({ min: 0, max: 0xffff_ffff }),
  );
  const step = fc.tuple(
    fc.constantFrom("entry", "access", "access", "access", "kernel", "invlpg", "load", "drain", "word"),
    address,
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.constantFrom(0, 1, 2),
    fc.boolean(),
  );
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 30, maxLength: 120 }),
      fc.constantFrom("pause" as const, "drop" as const),
      (steps, whenFull) => {
        const guest = new WatchedGuest({ ringPages: 8, ringEvents: 32, watch: false });
        const rules = [{ kind: "all" as const, pattern: "" }];
        guest.bridge.watch(guest.domain.id, rules, { whenFull, coalesceAfter: 3 });
        // User tables that the guest's own writes reach, at 0x400000 and 0x600000.
        for (const va of [0x40_0000, 0x60_0000]) guest.map(va + 0x1000, P | W | U, guest.entry(va) >>> 12);
        guest.map(0x40_2000, P | W | U, guest.directoryEntry(0x40_0000) >>> 12);
        const table = guest.entry(0x40_0000);
        for (const [kind, va, value, access, user] of steps) {
          if (kind === "entry") {
            const entry = value & (user ? 0x1ff_ffffn : 0x1f_0fffn) | P;
            guest.set(table + (va % 512) * 8, entry | U | (value & NX));
          } else if (kind === "access") {
            const answer = guest.translate(va, access as 0, user);
            if (answer >= 0 && (answer & 2)) {
              guest.machine.memory.writeWord(
                Math.floor(answer / 8),
                va & 0xffc,
                Number(value & 0xffff_ffffn),
              );
            }
          } else if (kind === "kernel") {
            try {
              guest.vcpu.writeVirtual(va, new Uint8Array(access * 3).fill(va));
            } catch (error) {
              assert.ok(error instanceof GuestPageFault);
            }
          } else if (kind === "word") {
            guest.domain.writePhysical((va & 0x1f_fffc) >>> 0, Uint8Array.of(Number(value & 255n), 0, 0x40));
          } else if (kind === "invlpg") guest.vcpu.cpu.host.invalidatePage(va);
          else if (kind === "load") guest.vcpu.loadCr3(user ? guest.cr3 : va & 0x1f_ffe0);
          else guest.events();
        }
        guest.bridge.unwatch(guest.domain.id);
        guest.events();
        const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = guest.bridge.statistics(
          guest.domain.id,
        );
        assert.equal(pagesSeen, pagesCaptured + pagesUnchanged + pagesLost);
        assert.ok(!guest.vcpu.held);
        guest.model.destroyDomain(guest.domain.id);
      },
    ),
    { numRuns: 100 },
  );
});
