// SPDX-License-Identifier: Apache-2.0
// Whatever a program asks of its memory: the address space stays whole, what was promised is kept and given
// back, and contents are where they were put.
import assert from "node:assert/strict";
import fc from "fast-check";
import { PAGE_SIZE } from "../machine/types.ts";
import { ProcessVirtual } from "./api_call.ts";
import { Memory, USER_END } from "./constants.ts";
import { Section } from "./sections.ts";
import { bootKernel } from "./testing/guest.ts";
import { Mm } from "./vad.ts";

/** Addresses near each other, so that calls meet; and some from anywhere. */
const place = fc.oneof(
  { weight: 8, arbitrary: fc.nat(0x60).map((step) => 0x2000_0000 + step * 0x1000) },
  { weight: 4, arbitrary: fc.nat(0x60000).map((offset) => 0x2000_0000 + offset) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }) },
  { weight: 1, arbitrary: fc.constant(0) },
);
const length = fc.oneof(
  { weight: 6, arbitrary: fc.nat(0x12).map((pages) => pages * 0x1000) },
  { weight: 3, arbitrary: fc.nat(0x21000) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }) },
);
const protect = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x104, 0x140) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }) },
);
const type = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0x1000, 0x2000, 0x3000, 0x103000, 0x80000) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }) },
);
const step = fc.oneof(
  fc.record({ kind: fc.constant("allocate" as const), place, length, type, protect }),
  fc.record({ kind: fc.constant("free" as const), place, length, release: fc.boolean() }),
  fc.record({ kind: fc.constant("protect" as const), place, length, protect }),
  fc.record({ kind: fc.constant("map" as const), place, length, protect, section: fc.nat(2) }),
  fc.record({ kind: fc.constant("unmap" as const), place }),
  fc.record({ kind: fc.constant("touch" as const), place, write: fc.boolean() }),
  fc.record({ kind: fc.constant("dep" as const), on: fc.boolean() }),
);

/** Walks the address space by VirtualQuery: regions meet end to end and cover it. Returns what is committed. */
function survey(query: (address: number) => ReturnType<ProcessVirtual["query"]>): number {
  let committed = 0;
  let regions = 0;
  for (let at = 0; at < USER_END;) {
    const region = query(at);
    assert.equal(region.base, at);
    assert.ok(region.size > 0 && region.size % PAGE_SIZE === 0);
    assert.ok(++regions < 5000);
    if (region.state === Memory.commit) committed += region.size;
    else assert.ok(region.state === Memory.reserve || region.state === Memory.free);
    if (region.state !== Memory.free) assert.ok(region.allocationBase <= at);
    at += region.size;
  }
  return committed;
}

Deno.test("any sequence of calls leaves an address space that is whole, and takes nothing with it", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), (steps) => {
      const { kernel, process } = bootKernel();
      const { manager, memory } = process.user!;
      kernel.attach(process, () => {
        const before = { used: kernel.ledger.used, ranges: manager.vads.ranges.length };
        const own = new Set(manager.vads.ranges);
        const sections = [
          new Section(kernel.domain, kernel.frames, 4, Mm.readWrite),
          new Section(kernel.domain, kernel.frames, 0x20, Mm.executeReadWrite),
          new Section(kernel.domain, kernel.frames, 0x20, Mm.readWrite, { reserved: true }),
        ];
        const handles = sections.map((section) => process.handles.open(section));
        const view = new ProcessVirtual(process, process.threads[0]);
        for (const one of steps) {
          if (one.kind === "allocate") {
            const made = manager.allocate(one.place, one.length, one.type, one.protect);
            assert.equal(made.status === 0, made.size > 0);
          } else if (one.kind === "free") {
            // What the process needs to live is not touched here.
            const vad = manager.vads.find(Math.floor(one.place / PAGE_SIZE));
            if (vad && own.has(vad)) continue;
            manager.free(one.place, one.length, one.release ? Memory.release : Memory.decommit);
          } else if (one.kind === "protect") {
            const vad = manager.vads.find(Math.floor(one.place / PAGE_SIZE));
            if (vad && own.has(vad)) continue;
            manager.protect(one.place, one.length, one.protect);
          } else if (one.kind === "map") {
            const base = one.place - one.place % 0x1_0000;
            view.mapView(handles[one.section], base, 0, one.length, one.protect);
          } else if (one.kind === "unmap") {
            const vad = manager.vads.find(Math.floor(one.place / PAGE_SIZE));
            if (vad && !own.has(vad)) view.unmapView(one.place);
          } else if (one.kind === "dep") {
            manager.executeAnywhere = !one.on;
          } else if (memory.accessible(one.place, 4, one.write)) {
            const value = (one.place * 2654435761) >>> 0;
            if (one.write) {
              memory.setU32(one.place, value);
              assert.equal(memory.u32(one.place), value);
            } else memory.u32(one.place);
          }
          assert.ok(kernel.ledger.used >= 0 && kernel.ledger.used <= kernel.ledger.limit);
        }
        survey((address) => manager.query(address));
        for (const vad of [...manager.vads.ranges]) {
          if (own.has(vad)) continue;
          if (vad.kind === "private") manager.free(vad.start * PAGE_SIZE, 0, Memory.release);
          else assert.equal(manager.unmap(vad.start * PAGE_SIZE), 0);
        }
        for (const handle of handles) process.handles.close(handle);
        sections.forEach((section) => section.release());
        assert.deepEqual({ used: kernel.ledger.used, ranges: manager.vads.ranges.length }, before);
      });
    }),
    { numRuns: 25, seed: 20261125 },
  );
});

Deno.test("what a process had is free again when it is cleared: commitment, ranges and frames", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
      const { kernel, process } = bootKernel();
      const { manager, memory } = process.user!;
      const round = () =>
        kernel.attach(process, () => {
          for (const one of steps) {
            if (one.kind === "allocate") manager.allocate(one.place, one.length, one.type, one.protect);
            else if (one.kind === "touch" && memory.accessible(one.place, 1, one.write)) {
              if (one.write) memory.setU8(one.place, 1);
              else memory.u8(one.place);
            }
          }
          manager.clear();
          assert.equal(kernel.ledger.used, 0);
          assert.equal(manager.vads.ranges.length, 0);
          return kernel.frames.free;
        });
      // The first round leaves page tables behind, which the second uses again.
      const first = round();
      assert.equal(round(), first);
    }),
    { numRuns: 15, seed: 20261126 },
  );
});
