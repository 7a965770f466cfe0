// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { Memory, Protect, Status } from "./constants.ts";
import { Section } from "./sections.ts";
import { bootKernel } from "./testing/guest.ts";
import { GuestFault } from "./user_memory.ts";
import { Mm } from "./vad.ts";

const BOTH = Memory.reserve | Memory.commit;

function setUp() {
  const { kernel, process } = bootKernel();
  const { manager, memory } = process.user!;
  const inside = <T>(act: () => T): T => kernel.attach(process, act);
  return { kernel, process, manager, memory, inside };
}

/** Code of the exception an access raises; 0 when it raises none. */
function exceptionOf(act: () => unknown): number {
  try {
    act();
    return 0;
  } catch (error) {
    if (error instanceof GuestFault) return error.code;
    throw error;
  }
}

Deno.test("memory is reserved in steps of 64 KiB, committed in pages, zero at first", () => {
  const { manager, memory, inside } = setUp();
  const at = manager.allocate(0x50_1234, 0x2000, Memory.reserve, Protect.readWrite);
  assert.deepEqual(at, { status: 0, base: 0x50_0000, size: 0x4000 });
  assert.equal(inside(() => exceptionOf(() => memory.u32(0x50_0000))), Status.accessViolation);
  assert.equal(manager.allocate(0x50_1fff, 2, Memory.commit, Protect.readWrite).size, 0x2000);
  assert.equal(inside(() => memory.u32(0x50_1000)), 0);
  inside(() => memory.setU32(0x50_1ffe, 0x1234_5678));
  assert.equal(inside(() => memory.u32(0x50_1ffe)), 0x1234_5678);
  const query = manager.query(0x50_1abc);
  assert.equal(query.base, 0x50_1000);
  assert.equal(query.allocationBase, 0x50_0000);
  assert.equal(query.size, 0x2000);
  assert.equal(query.state, Memory.commit);
  assert.equal(manager.query(0x50_0000).state, Memory.reserve);
  assert.equal(manager.query(0x50_4000).state, Memory.free);
});

Deno.test("what Windows refuses is refused with its status", () => {
  const { manager } = setUp();
  const { base } = manager.allocate(0, 0x1_0000, BOTH, Protect.readWrite);
  const status = (b: number, size: number, type: number, protect: number) =>
    manager.allocate(b, size, type, protect).status;
  assert.equal(status(base, 0x1000, Memory.reserve, Protect.readWrite), Status.conflictingAddresses);
  assert.equal(status(0, 0, BOTH, Protect.readWrite), Status.invalidParameter4);
  assert.equal(status(0, 0x1000, BOTH, 3), Status.invalidPageProtection);
  assert.equal(status(0x10, 0x1000, BOTH, Protect.readWrite), Status.conflictingAddresses);
  assert.equal(status(0x7ffe_0000, 0x1000, BOTH, Protect.readWrite), Status.conflictingAddresses);
  assert.equal(status(0x8000_0000, 0x1000, BOTH, Protect.readWrite), Status.invalidParameter2);
  assert.equal(status(0, 0x7000_0000, BOTH, Protect.readWrite), Status.commitmentLimit);
  assert.equal(status(0, 0x7f00_0000, Memory.reserve, Protect.readWrite), Status.noMemory);
  assert.equal(manager.free(base + 0x1000, 0, Memory.release).status, Status.freeVmNotAtBase);
  assert.equal(manager.free(base, 0x2_0000, Memory.release).status, Status.unableToFreeVm);
  assert.equal(manager.free(0x6000_0000, 0, Memory.release).status, Status.memoryNotAllocated);
  assert.equal(manager.protect(base, 0x2_0000, Protect.readOnly).status, Status.conflictingAddresses);
  assert.equal(manager.free(base, 0, Memory.release).status, 0);
  assert.equal(manager.query(base).state, Memory.free);
});

Deno.test("protections hold for the kernel's accesses in the program's name too", () => {
  const { manager, memory, inside } = setUp();
  const { base } = manager.allocate(0, 0x2000, BOTH, Protect.readWrite);
  inside(() => memory.setU32(base, 5));
  assert.equal(manager.protect(base, 0x1000, Protect.readOnly).old, Protect.readWrite);
  assert.equal(inside(() => exceptionOf(() => memory.setU32(base, 6))), Status.accessViolation);
  assert.equal(inside(() => memory.u32(base)), 5);
  manager.protect(base, 0x1000, Protect.noAccess);
  assert.equal(inside(() => exceptionOf(() => memory.u32(base))), Status.accessViolation);
  manager.protect(base, 0x1000, Protect.readWrite);
  assert.equal(inside(() => memory.u32(base)), 5);
  assert.equal(memory.accessible(base, 0x2000, true), true);
  assert.equal(memory.accessible(base, 0x2001, false), false);
});

Deno.test("a guard page raises once", () => {
  const { manager, memory, inside } = setUp();
  const { base } = manager.allocate(0, 0x1000, BOTH, Protect.readWrite | Protect.guard);
  assert.equal(manager.query(base).protect, Protect.readWrite | Protect.guard);
  assert.equal(inside(() => exceptionOf(() => memory.u32(base))), Status.guardPageViolation);
  assert.equal(inside(() => exceptionOf(() => memory.u32(base))), 0);
});

Deno.test("decommitted memory is gone and comes back zero; releases can split a range", () => {
  const { kernel, manager, memory, inside } = setUp();
  const used = kernel.ledger.used;
  const { base } = manager.allocate(0, 0x4_0000, BOTH, Protect.readWrite);
  inside(() => memory.setU32(base + 0x1_0000, 7));
  manager.free(base + 0x1_0000, 0x1000, Memory.decommit);
  assert.equal(manager.query(base + 0x1_0000).state, Memory.reserve);
  manager.allocate(base + 0x1_0000, 0x1000, Memory.commit, Protect.readWrite);
  assert.equal(inside(() => memory.u32(base + 0x1_0000)), 0);
  assert.equal(manager.free(base + 0x1_0000, 0x1_0000, Memory.release).status, 0);
  assert.equal(manager.query(base + 0x1_0000).state, Memory.free);
  assert.equal(manager.query(base + 0x2_0000).allocationBase, base + 0x2_0000);
  manager.free(base, 0, Memory.release);
  manager.free(base + 0x2_0000, 0, Memory.release);
  assert.equal(kernel.ledger.used, used);
});

Deno.test("two views of a section are the same memory", () => {
  const { kernel, manager, memory, inside } = setUp();
  const section = new Section(kernel.domain, kernel.frames, 4, Mm.readWrite);
  const first = manager.mapSection(section, "mapped", 0, 0, 4, Mm.readWrite);
  const second = manager.mapSection(section, "mapped", 0, 2, 2, Mm.readOnly);
  inside(() => memory.setU32(first.base + 0x2000, 0xabcd));
  assert.equal(inside(() => memory.u32(second.base)), 0xabcd);
  assert.equal(inside(() => exceptionOf(() => memory.setU32(second.base, 1))), Status.accessViolation);
  const free = kernel.frames.free;
  manager.unmap(first.base);
  manager.unmap(second.base + 0x1000);
  section.release();
  assert.equal(kernel.frames.free, free + 1);
});

Deno.test("a page of a shared image that is written becomes the process's own", () => {
  const { kernel, manager, memory, inside } = setUp();
  const ntdll = kernel.dlls.file("ntdll.dll")!;
  const base = ntdll.image.definition.base;
  const before = inside(() => memory.u32(base + 0x1000));
  assert.equal(manager.protect(base + 0x1000, 4, Protect.executeReadWrite).old, Protect.executeRead);
  assert.equal(manager.query(base + 0x1000).protect, Protect.executeWriteCopy);
  inside(() => memory.setU32(base + 0x1000, 0x9090_9090));
  assert.equal(manager.query(base + 0x1000).protect, Protect.executeReadWrite);
  const shared = kernel.domain.readPhysical(ntdll.section.frame(1, false)! * 4096, 4);
  assert.equal(new DataView(shared.buffer).getUint32(0, true), before);
  assert.equal(inside(() => memory.u32(base + 0x1000)), 0x9090_9090);
});
