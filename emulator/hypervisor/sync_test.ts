// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import type { DomainModel } from "./domain.ts";
import { A, D, NX, P, PS, TestGuest, U, W } from "./testing/test_guest.ts";

const READ = 0, WRITE = 1, FETCH = 2;
/** Where the guest maps its own page tables. */
const TABLES = 0x9000_0000;

/** Maps the guest frame that holds an entry at {@link TABLES} + n pages; returns the entry's address there. */
function window(guest: TestGuest, n: number, gpa: number): number {
  guest.map(TABLES + n * 4096, P | W | NX, Math.floor(gpa / 4096));
  return TABLES + n * 4096 + gpa % 4096;
}

/** The guest's CPU writes a 64-bit word: through its translation, into the frame. */
function store(guest: TestGuest, va: number, value: bigint): void {
  const answer = guest.translate(va, WRITE, false);
  assert.ok(answer >= 0 && (answer & 2), `store to 0x${va.toString(16)}: ${answer}`);
  const frame = guest.machine.memory.frame(Math.floor(answer / 8));
  new DataView(frame.buffer, frame.byteOffset + va % 4096, 8).setBigUint64(0, value, true);
}

function invlpg(guest: TestGuest, va: number): void {
  guest.vcpu.cpu.host.invalidatePage(va);
}

function frameOf(guest: TestGuest, va: number, user = true): number {
  const answer = guest.translate(va, READ, user);
  assert.ok(answer >= 0);
  return Math.floor(answer / 8);
}

Deno.test("guest code writes a page table: seen at once for new entries, by INVLPG for changed ones", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  const entry = window(guest, 0, guest.entry(0x40_0000));
  const first = frameOf(guest, 0x40_0000);
  // A table in the shadow is write-protected...
  assert.equal(guest.translate(entry, READ, false) & 2, 0);
  const other = guest.frame();
  store(guest, entry, BigInt(other) * 4096n | P | W | U);
  // ...the entry that changed may be stale here, and never is after INVLPG.
  invlpg(guest, 0x40_0000);
  assert.notEqual(frameOf(guest, 0x40_0000), first);
  assert.equal(frameOf(guest, 0x40_0000), machineFrame(guest, other));
  store(guest, entry, 0n);
  invlpg(guest, 0x40_0000);
  assert.equal(guest.faultOf(0x40_0000, READ, true), 4);
  store(guest, entry, BigInt(other) * 4096n | P | U);
  assert.equal(frameOf(guest, 0x40_0000), machineFrame(guest, other));
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), 7);
});

function machineFrame(guest: TestGuest, gfn: number): number {
  return (guest.domain as DomainModel).machineFrame(gfn);
}

Deno.test("a page table is write-protected through every mapping, also one whose D bit is set", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  const table = Math.floor(guest.entry(0x40_0000) / 4096);
  guest.map(TABLES, P | W, table);
  guest.map(TABLES + 4096, P | W | A | D, table);
  // Written before it is a table in the shadow, so it starts out of sync.
  assert.equal(guest.translate(TABLES, WRITE, false) & 2, 2);
  frameOf(guest, 0x40_0000);
  guest.vcpu.loadCr3(guest.cr3);
  assert.equal(guest.translate(TABLES, READ, false) & 2, 0);
  assert.equal(guest.translate(TABLES + 4096, READ, false) & 2, 0);
});

Deno.test("INVLPG takes in the entry of its address and no other of the table", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  const gfn = guest.map(0x40_1000, P | W | U);
  const entry = window(guest, 0, guest.entry(0x40_0000));
  frameOf(guest, 0x40_0000);
  frameOf(guest, 0x40_1000);
  const domain = guest.domain as DomainModel, mfn = machineFrame(guest, gfn);
  store(guest, entry, 0n);
  store(guest, entry + 8, 0n);
  invlpg(guest, 0x40_0000);
  assert.equal(guest.faultOf(0x40_0000, READ, true), 4);
  assert.equal(domain.countMappings(mfn), 1, "the other may be stale, and is in Xen");
  guest.vcpu.loadCr3(guest.cr3);
  assert.equal(domain.countMappings(mfn), 0);
  assert.equal(guest.faultOf(0x40_1000, READ, true), 4);
});

Deno.test("a fault looks ahead: up to 32 entries, not over one that stands or that would fault again", () => {
  const guest = new TestGuest();
  const pages = Array.from({ length: 40 }, (_, i) => guest.map(0x40_0000 + i * 4096, P | W | U | A | D));
  const mapped = () =>
    pages.map((gfn) => (guest.domain as DomainModel).countMappings(machineFrame(guest, gfn))).join("");
  frameOf(guest, 0x40_0000 + 5 * 4096);
  assert.equal(mapped(), "0".repeat(5) + "1".repeat(32) + "0".repeat(3));
  frameOf(guest, 0x40_0000);
  assert.equal(mapped(), "1".repeat(37) + "0".repeat(3));
  const other = new TestGuest();
  const flags = [P | U | A, P | W | U | A | D, 0n, P | W | U | A, P | U | A | D];
  const gfns = flags.map((each, i) => other.map(0x40_0000 + i * 4096, each));
  frameOf(other, 0x40_0000);
  assert.deepEqual(
    gfns.map((gfn) => (other.domain as DomainModel).countMappings(machineFrame(other, gfn))),
    [1, 1, 0, 0, 0],
  );
});

Deno.test("CR3 load takes in what guest code wrote into page tables", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  guest.map(0x40_1000, P | W | U);
  const entry = window(guest, 0, guest.entry(0x40_0000));
  frameOf(guest, 0x40_0000);
  assert.equal(guest.faultOf(0x40_1000, WRITE, true), -1);
  store(guest, entry, 0n);
  store(guest, entry + 8, guest.get(guest.entry(0x40_1000)) & ~W);
  guest.vcpu.loadCr3(guest.cr3);
  assert.equal(guest.faultOf(0x40_0000, READ, true), 4);
  assert.equal(guest.faultOf(0x40_1000, WRITE, true), 7);
  assert.equal(guest.faultOf(0x40_1000, READ, true), -1);
});

Deno.test("guest code writes a directory: a table put in another's place, rights taken away", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  const otherGfn = guest.frame();
  guest.map(0x60_0000, P | W | U, otherGfn);
  frameOf(guest, 0x40_0000);
  frameOf(guest, 0x60_0000);
  const directory = window(guest, 0, guest.directoryEntry(0x40_0000));
  store(guest, directory, guest.get(guest.directoryEntry(0x60_0000)));
  invlpg(guest, 0x40_0000);
  assert.equal(frameOf(guest, 0x40_0000), machineFrame(guest, otherGfn));
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), -1);
  store(guest, directory, guest.get(guest.directoryEntry(0x60_0000)) & ~W);
  invlpg(guest, 0x40_0000);
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), 7);
  assert.equal(guest.faultOf(0x60_0000, WRITE, true), -1);
  store(guest, directory, 0n);
  invlpg(guest, 0x40_0000);
  assert.equal(guest.faultOf(0x40_0000, READ, true), 4);
});

Deno.test("writeEntry holds at once; accessed and dirty bits taken away come back with the next access", () => {
  const guest = new TestGuest();
  const gfn = guest.map(0x40_0000, P | W | U);
  const at = guest.entry(0x40_0000);
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), -1);
  guest.set(at, BigInt(gfn) * 4096n | P | W | U);
  assert.equal(guest.faultOf(0x40_0000, READ, true), -1);
  assert.equal(guest.get(at) & (A | D), A);
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), -1);
  assert.equal(guest.get(at) & (A | D), A | D);
  guest.set(at, BigInt(gfn) * 4096n | P | U | A | NX);
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), 7);
  assert.equal(guest.faultOf(0x40_0000, FETCH, true), 21);
  guest.set(at, 0n);
  assert.equal(guest.faultOf(0x40_0000, READ, true), 4);
});

Deno.test("a directory that maps itself as a table stays true to its entries", () => {
  const guest = new TestGuest();
  const directory = guest.get(guest.cr3 + 8) & 0xf_ffff_f000n;
  // The last 2 MiB of the second gigabyte are its tables; the last page of them is the directory.
  guest.set(Number(directory) + 511 * 8, directory | P | W);
  const self = 0x7fff_f000;
  guest.map(0x4000_0000, P | W | U);
  const first = frameOf(guest, 0x4000_0000);
  assert.equal(guest.translate(self, READ, false) & 2, 0);
  const gfn = guest.frame();
  // Entry 0 of the first table, through the self-map.
  store(guest, 0x7fe0_0000, BigInt(gfn) * 4096n | P | U);
  invlpg(guest, 0x4000_0000);
  assert.notEqual(frameOf(guest, 0x4000_0000), first);
  assert.equal(guest.faultOf(0x4000_0000, WRITE, true), 7);
  store(guest, self, 0n);
  invlpg(guest, 0x4000_0000);
  assert.equal(guest.faultOf(0x4000_0000, READ, true), 4);
});

Deno.test("a large page: guest code takes its dirty bit, its rights and its place away", () => {
  const guest = new TestGuest({ guestFrames: 1600, frames: 4096 });
  const directory = window(guest, 0, guest.directoryEntry(0x60_0000));
  guest.set(guest.directoryEntry(0x60_0000), 0x20_0000n | PS | P | U | W);
  assert.equal(guest.faultOf(0x60_5000, WRITE, true), -1);
  store(guest, directory, 0x20_0000n | PS | P | U | W | A);
  // In the middle of it other tables go out of sync, until all are brought back.
  for (let i = 1; i <= 20; i++) {
    const va = 0x1000_0000 + i * 0x20_0000;
    guest.map(va, P | W | U);
    frameOf(guest, va);
    store(guest, window(guest, i, guest.entry(va)), 0n);
    assert.equal(guest.faultOf(0x60_6000, i % 2 ? READ : WRITE, true), -1);
  }
  invlpg(guest, 0x60_0000);
  store(guest, directory, 0x20_0000n | PS | P | U | W | A);
  invlpg(guest, 0x60_0000);
  assert.equal(guest.translate(0x60_5000, READ, true) & 2, 0);
  assert.equal(guest.get(guest.directoryEntry(0x60_0000)) & D, 0n);
  assert.equal(guest.faultOf(0x60_5000, WRITE, true), -1);
  assert.equal(guest.get(guest.directoryEntry(0x60_0000)) & D, D);
  store(guest, directory, 0x20_0000n | PS | P | U | A);
  invlpg(guest, 0x60_0000);
  assert.equal(guest.faultOf(0x60_5000, WRITE, true), 7);
  store(guest, directory, 0x40_0000n | PS | P | U | A);
  invlpg(guest, 0x60_0000);
  assert.equal(frameOf(guest, 0x60_5000), machineFrame(guest, 0x405));
});

Deno.test("any mix of guest writes, loads and accesses: after INVLPG answers are those of the guest's tables", () => {
  const pages = 6;
  const base = 0x40_0000;
  const entryValue = fc.record({
    gfn: fc.integer({ min: 60, max: 70 }),
    flags: fc.constantFrom(0n, P | U, P | U | W, P | U | W | NX, P | W, P | U | A, P | U | W | A | D),
  });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("store" as const), page: fc.nat(pages - 1), value: entryValue }),
    fc.record({ kind: fc.constant("entry" as const), page: fc.nat(pages - 1), value: entryValue }),
    fc.record({
      kind: fc.constant("access" as const),
      page: fc.nat(pages - 1),
      access: fc.constantFrom(0, 1, 2),
      user: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("directory" as const), from: fc.nat(1), to: fc.nat(1) }),
    fc.record({ kind: fc.constant("load" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(16, 64), (steps, shadowFrames) => {
      const guest = new TestGuest({ shadowFrames });
      // Three pages in each of two tables.
      const vas = Array.from({ length: pages }, (_, i) => base + (i % 2) * 0x20_0000 + (i >> 1) * 4096);
      const original = [0, 1].map((i) => {
        guest.entry(vas[i]);
        return guest.get(guest.directoryEntry(vas[i]));
      });
      const tables = original.map((entry, i) => window(guest, i, Number(entry & 0xf_ffff_f000n)));
      const directory = window(guest, 2, guest.directoryEntry(base));
      for (const each of steps) {
        if (each.kind === "store") {
          store(
            guest,
            tables[each.page % 2] + (each.page >> 1) * 8,
            BigInt(each.value.gfn) * 4096n | each.value.flags,
          );
        } else if (each.kind === "entry") {
          guest.set(
            Number(original[each.page % 2] & 0xf_ffff_f000n) + (each.page >> 1) * 8,
            BigInt(each.value.gfn) * 4096n | each.value.flags,
          );
        } else if (each.kind === "access") {
          guest.translate(vas[each.page], each.access as 0, each.user);
        } else if (each.kind === "directory") {
          store(guest, directory + each.from * 8, original[each.to]);
        } else guest.vcpu.loadCr3(guest.cr3);
      }
      for (const va of vas) {
        // It takes in this address alone.
        invlpg(guest, va);
        for (const access of [READ, WRITE, FETCH] as const) {
          for (const user of [true, false]) {
            const entry = guest.get(guest.entry(va));
            const l2 = guest.get(guest.directoryEntry(va));
            const code = (access === WRITE ? 2 : 0) | (user ? 4 : 0) | (access === FETCH ? 16 : 0);
            const refused = !(entry & P)
              ? code
              : (user && !(entry & l2 & U)) || (access === WRITE && !(entry & l2 & W)) ||
                  (access === FETCH && (entry & NX))
              ? code | 1
              : -1;
            const answer = guest.translate(va, access, user);
            if (refused >= 0) assert.equal(answer, -1 - refused);
            else {
              assert.equal(
                Math.floor(answer / 8),
                machineFrame(guest, Number((entry & 0xf_ffff_f000n) / 4096n)),
              );
              assert.ok(answer & (1 << access));
            }
          }
        }
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("a full shadow pool is recycled and nothing is lost", () => {
  const guest = new TestGuest({ shadowFrames: 16 });
  const frames = new Map<number, number>();
  for (let i = 0; i < 40; i++) {
    const va = 0x40_0000 + i * 0x20_0000;
    frames.set(va, guest.map(va, P | W | U));
  }
  for (let round = 0; round < 3; round++) {
    for (const [va, gfn] of frames) {
      assert.equal(guest.faultOf(va, WRITE, true), -1);
      assert.equal(frameOf(guest, va), machineFrame(guest, gfn));
    }
  }
});

Deno.test("hostile tables: random bytes never throw, always end, never reach a frame outside the domain", () => {
  const address = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(31), fc.nat(511), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })), {
        minLength: 50,
        maxLength: 150,
      }),
      fc.array(fc.tuple(address, fc.constantFrom(0, 1, 2), fc.boolean(), fc.nat(9)), { maxLength: 60 }),
      fc.boolean(),
      (entries, accesses, tame) => {
        const guest = new TestGuest({ guestFrames: 32, shadowFrames: 16, frames: 128, domains: 2 });
        const victim = guest.model.createDomain({ guestFrames: 16 });
        for (const [frame, index, value] of entries) {
          // Tame ones mostly lead to frames that exist, so that walks get deep.
          const entry = tame ? (value & (0x1f_0fffn | (value & PS ? 0n : NX))) | P : value;
          guest.set(frame * 4096 + index * 8, entry);
          guest.set(frame * 4096 + (index & 3) * 8, entry & ~0x1e6n);
        }
        guest.vcpu.loadCr3(0);
        for (const [va, access, user, then] of accesses) {
          const answer = guest.translate(va & (tame ? 0xc0e0_3fff : -1), access as 0, user);
          if (answer >= 0) {
            const mfn = Math.floor(answer / 8);
            const own = (guest.domain as DomainModel).owns(mfn);
            assert.ok(own || guest.machine.memory.frame(mfn)[0] === 0xff);
            // The guest writes what it may write.
            if (answer & 2 && own) guest.machine.memory.frame(mfn)[(va & 0xff8) >>> 0] ^= 0x21;
          } else assert.equal((-1 - answer) & ~31, 0);
          if (then === 0) invlpg(guest, va);
          if (then === 1) guest.vcpu.loadCr3((va & 0x1f_ffe0) >>> 0);
        }
        assert.deepEqual(victim.readPhysical(0, 16 * 4096), new Uint8Array(16 * 4096));
        guest.model.destroyDomain(guest.domain.id);
      },
    ),
    { numRuns: 150 },
  );
});
