// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { CR0_WP, CR4_PAE, CR4_PSE, EFER_NXE } from "./entries.ts";
import { A, D, NX, P, PS, TestGuest, U, W } from "./testing/test_guest.ts";

const READ = 0, WRITE = 1, FETCH = 2;

/** Intel's rules written down plainly once more: error code, or -1. */
function reference(
  levels: readonly { entry: bigint; reserved: bigint }[],
  access: number,
  user: boolean,
  wp: boolean,
  nxe: boolean,
): number {
  const code = (access === WRITE ? 2 : 0) | (user ? 4 : 0) | (access === FETCH && nxe ? 16 : 0);
  let w = true, u = true, x = true;
  for (const { entry, reserved } of levels) {
    if (!(entry & P)) return code;
    if (entry & (reserved | (nxe ? 0n : NX))) return code | 8 | 1;
    if (!(entry & W)) w = false;
    if (!(entry & U)) u = false;
    if (entry & NX) x = false;
  }
  if (user && !u) return code | 1;
  if (access === FETCH && !x) return code | 1;
  if (access === WRITE && !w && (user || wp)) return code | 1;
  return -1;
}

const HIGH_RESERVED = 0x7fff_fff0_0000_0000n;
const flags = fc.bigInt({ min: 0n, max: 63n }).map((bits) =>
  (bits & 1n ? W : 0n) | (bits & 2n ? U : 0n) | (bits & 4n ? NX : 0n) | ((bits & 24n) ? P : 0n) |
  (bits & 32n ? A : 0n)
);
const reservedBit = fc.option(fc.integer({ min: 36, max: 62 }), { freq: 6 });

Deno.test("guest #PF: error codes of every permission combination are those of the plain walk", () => {
  const guest = new TestGuest();
  const va = 0x0040_1000;
  const gfn = guest.map(va, P);
  const leafAt = guest.entry(va);
  const directoryAt = guest.directoryEntry(va);
  const table = guest.get(directoryAt) & 0xf_ffff_f000n;
  fc.assert(
    fc.property(
      flags,
      flags,
      reservedBit,
      reservedBit,
      fc.constantFrom(READ, WRITE, FETCH),
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (directory, leaf, directoryReserved, leafReserved, access, user, wp, nxe) => {
        const bit = (n: number | null) => n === null ? 0n : 1n << BigInt(n);
        const l2 = table | directory | bit(directoryReserved);
        const l1 = BigInt(gfn) * 4096n | leaf | bit(leafReserved);
        guest.set(directoryAt, l2);
        guest.set(leafAt, l1);
        const { cpu } = guest.vcpu;
        cpu.cr0 = ((cpu.cr0 & ~CR0_WP) | (wp ? CR0_WP : 0)) >>> 0;
        cpu.efer = nxe ? EFER_NXE : 0;
        guest.vcpu.loadCr3(guest.cr3);
        const expected = reference(
          [{ entry: l2, reserved: HIGH_RESERVED }, { entry: l1, reserved: HIGH_RESERVED }],
          access,
          user,
          wp,
          nxe,
        );
        assert.equal(guest.faultOf(va, access as 0, user), expected);
        // Asked again, from the shadow this time.
        assert.equal(guest.faultOf(va, access as 0, user), expected);
        // Accessed and dirty bits: set by an access that is allowed, untouched by one that is not.
        const ok = expected < 0;
        assert.equal(guest.get(leafAt), ok ? l1 | A | (access === WRITE ? D : 0n) : l1);
        assert.equal(guest.get(directoryAt), ok ? l2 | A : l2);
      },
    ),
    { numRuns: 3000 },
  );
});

Deno.test("NX: a fetch from a page with XD faults with I, P (fails without the NX check)", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U | NX);
  guest.map(0x40_1000, P | W | U);
  assert.equal(guest.faultOf(0x40_0000, READ, true), -1);
  assert.equal(guest.faultOf(0x40_0000, FETCH, true), 1 | 4 | 16);
  assert.equal(guest.faultOf(0x40_1000, FETCH, true), -1);
});

Deno.test("a write sets D, a read does not; W comes to the shadow only with D", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  assert.equal(guest.translate(0x40_0000, READ, true) & 2, 0);
  assert.equal(guest.get(guest.entry(0x40_0000)) & (A | D), A);
  assert.equal(guest.translate(0x40_0000, WRITE, true) & 2, 2);
  assert.equal(guest.get(guest.entry(0x40_0000)) & (A | D), A | D);
});

Deno.test("CR0.WP clear: ring 0 writes a read-only page, ring 3 does not", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | U);
  guest.vcpu.cpu.cr0 = (guest.vcpu.cpu.cr0 & ~CR0_WP) >>> 0;
  guest.vcpu.loadCr3(guest.cr3);
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), 1 | 2 | 4);
  assert.equal(guest.faultOf(0x40_0000, WRITE, false), -1);
  assert.equal(guest.get(guest.entry(0x40_0000)) & D, D);
  // The right is ring 0's alone.
  assert.equal(guest.faultOf(0x40_0000, WRITE, true), 1 | 2 | 4);
});

Deno.test("page-directory-pointer entries are those of the CR3 load; reserved bits in them fault", () => {
  const guest = new TestGuest();
  guest.map(0x40_0000, P | W | U);
  assert.equal(guest.faultOf(0x40_0000, READ, true), -1);
  const root = guest.get(guest.cr3);
  guest.set(guest.cr3, 0n);
  guest.vcpu.cpu.host.invalidatePage(0x40_0000);
  assert.equal(guest.faultOf(0x40_0000, READ, true), -1);
  guest.vcpu.loadCr3(guest.cr3);
  assert.equal(guest.faultOf(0x40_0000, READ, true), 4);
  for (const reserved of [W, U, A, D, 1n << 36n, NX]) {
    guest.set(guest.cr3, root | reserved);
    guest.vcpu.loadCr3(guest.cr3);
    assert.equal(guest.faultOf(0x40_0000, READ, true), 1 | 4 | 8, `bit ${reserved.toString(16)}`);
  }
  guest.set(guest.cr3, root);
  guest.vcpu.loadCr3(guest.cr3);
  assert.equal(guest.faultOf(0x40_0000, READ, true), -1);
});

Deno.test("2 MiB pages are splintered, with the rights, A and D of their directory entry", () => {
  const guest = new TestGuest({ guestFrames: 1200, frames: 4096 });
  const at = guest.directoryEntry(0x60_0000);
  // Frames 512 to 1023.
  guest.set(at, 0x20_0000n | PS | P | U | W);
  const first = guest.translate(0x60_0000, READ, true);
  assert.equal(first & 2, 0);
  assert.equal(guest.get(at) & (A | D), A);
  const last = guest.translate(0x7f_f123, WRITE, true);
  assert.equal(guest.get(at) & (A | D), A | D);
  guest.domain.writePhysical(0x20_0000, Uint8Array.of(0x11));
  guest.domain.writePhysical(0x3f_f000, Uint8Array.of(0x22));
  assert.equal(guest.machine.memory.frame(Math.floor(first / 8))[0], 0x11);
  assert.equal(guest.machine.memory.frame(Math.floor(last / 8))[0], 0x22);
  // Rights of the directory entry are those of all its pages.
  guest.set(at, 0x20_0000n | PS | P | U | NX);
  assert.equal(guest.faultOf(0x7f_f123, WRITE, true), 1 | 2 | 4);
  assert.equal(guest.faultOf(0x60_0000, FETCH, true), 1 | 4 | 16);
  // Bits 20 to 13 are reserved.
  guest.set(at, 0x20_2000n | PS | P | U);
  assert.equal(guest.faultOf(0x60_0000, READ, true), 1 | 4 | 8);
});

Deno.test("paging off: every address is its own, through the physical map", () => {
  const guest = new TestGuest();
  const { cpu } = guest.vcpu;
  cpu.cr0 = 1;
  guest.vcpu.loadCr3(0);
  guest.domain.writePhysical(0x5678, Uint8Array.of(0xab));
  const answer = guest.translate(0x5000, WRITE, true);
  assert.equal(answer & 3, 3);
  assert.equal(guest.machine.memory.frame(Math.floor(answer / 8))[0x678], 0xab);
  assert.notEqual(Math.floor(answer / 8), 5);
  // Behind the end there is nothing: reads as ones.
  const nowhere = guest.translate(0xfee0_0000, READ, true);
  assert.equal(guest.machine.memory.frame(Math.floor(nowhere / 8))[7], 0xff);
});

Deno.test("32-bit paging without PAE: tables, 4 MiB pages, error codes without I", () => {
  const guest = new TestGuest({ guestFrames: 2100, frames: 4096 });
  const { cpu } = guest.vcpu;
  const directory = guest.frame() * 4096;
  const table = guest.frame() * 4096;
  const word = (gpa: number, value: number) =>
    guest.domain.writePhysical(gpa, new Uint8Array(Uint32Array.of(value).buffer));
  const read = (gpa: number) => new DataView(guest.domain.readPhysical(gpa, 4).buffer).getUint32(0, true);
  cpu.cr4 = CR4_PSE;
  guest.vcpu.loadCr3(directory);
  assert.equal(guest.faultOf(0x40_5000, FETCH, true), 4);
  word(directory + 4, table | 7);
  word(table + 5 * 4, 0x9000 | 7);
  word(table + 0x3ff * 4, 0xa000 | 5);
  assert.equal(guest.faultOf(0x40_5000, WRITE, true), -1);
  assert.equal(read(table + 5 * 4), 0x9067);
  assert.equal(read(directory + 4), (table | 0x27) >>> 0);
  assert.equal(guest.faultOf(0x7f_f000, READ, true), -1);
  assert.equal(guest.faultOf(0x7f_f000, WRITE, true), 7);
  // A 4 MiB page: frames 1024 to 2047, both halves.
  word(directory + 8, 0x40_0000 | 0x87);
  guest.domain.writePhysical(0x7f_f000, Uint8Array.of(0x77));
  const answer = guest.translate(0xbf_f000, WRITE, true);
  assert.equal(guest.machine.memory.frame(Math.floor(answer / 8))[0], 0x77);
  assert.equal(read(directory + 8), 0x40_00e7);
  word(directory + 8, 0x60_0000 | 0x87);
  assert.equal(guest.faultOf(0xbf_f000, READ, false), 9);
  // Without CR4.PSE bit 7 is ignored: the entry leads to a table at 0x600000.
  cpu.cr4 = 0;
  guest.vcpu.loadCr3(directory);
  assert.equal(guest.faultOf(0xbf_f000, READ, false), 0);
  cpu.cr4 = CR4_PAE;
});

Deno.test("32-bit tables where there is no memory read as ones: no fault of the host, nothing written", () => {
  const guest = new TestGuest();
  const { cpu } = guest.vcpu;
  cpu.cr4 = CR4_PSE;
  // No directory there; then a directory whose entry leads to no table.
  guest.vcpu.loadCr3(0x7fff_f000);
  assert.ok(guest.translate(0x1234, WRITE, false) >= 0 || guest.faultOf(0x1234, WRITE, false) >= 0);
  const directory = guest.frame() * 4096;
  guest.domain.writePhysical(directory, Uint8Array.of(0x67, 0xf0, 0xff, 0x7f));
  guest.vcpu.loadCr3(directory);
  assert.ok(guest.translate(0x1234, WRITE, false) >= 0, "the entry of ones maps a frame that is not there");
});
