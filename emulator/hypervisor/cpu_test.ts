// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { Register } from "../machine/types.ts";
import type { DomainModel } from "./domain.ts";
import { CR0_WP } from "./entries.ts";
import { createBareGuest } from "./mod.ts";
import { asm, CODE, DATA, le32, OUT, RunningGuest } from "./testing/running_guest.ts";
import { A, D, NX, P, U, W } from "./testing/test_guest.ts";

Deno.test("ring 3 runs: #PF codes, CR2 and EIP reach the guest's own handler", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | U);
  guest.map(DATA, P | U | NX);
  guest.map(DATA + 0x1000, P | W);
  const fault = (code: number[][], errorCode: number, cr2: number) => {
    const out = guest.user(...code);
    assert.deepEqual([out.vector, out.errorCode, out.cr2], [14, errorCode, cr2]);
    return out;
  };
  assert.equal(guest.user(asm.load(DATA)).vector, OUT);
  assert.equal(fault([asm.store(DATA)], 7, DATA).eip, CODE);
  fault([asm.load(DATA + 0x1000)], 5, DATA + 0x1000);
  fault([asm.load(0x60_0000)], 4, 0x60_0000);
  fault([asm.store(0x60_0000)], 6, 0x60_0000);
  const fetched = fault([asm.movEax(DATA + 4), asm.callEax()], 21, DATA + 4);
  assert.equal(fetched.eip, DATA + 4);
  fault([asm.movEax(0x60_0000), asm.callEax()], 20, 0x60_0000);
  guest.set(guest.entry(DATA), guest.get(guest.entry(DATA)) | 1n << 40n);
  fault([asm.load(DATA)], 13, DATA);
  // A store that crosses into a page that refuses it writes nothing.
  const gfn = guest.map(DATA + 0x2000, P | W | U | NX);
  fault([asm.movEax(0x11223344), asm.store(DATA + 0x2ffe)], 6, DATA + 0x3000);
  assert.deepEqual([...guest.domain.readPhysical(gfn * 4096 + 0xffe, 2)], [0, 0]);
});

Deno.test("INVLPG: a changed entry may be stale before it, and is not after it", () => {
  const guest = new RunningGuest();
  const first = guest.mark(guest.map(DATA, P | W), 0x1111);
  const second = guest.mark(guest.frame(), 0x2222);
  const entry = guest.window(0, guest.entry(DATA));
  const { ebx, ecx } = guest.kernel(
    asm.load(DATA),
    asm.storeWord(entry, second * 4096 | 3),
    asm.load(DATA),
    asm.movEbxEax(),
    asm.invlpg(DATA),
    asm.load(DATA),
    asm.movEcxEax(),
  );
  assert.ok(ebx === 0x1111 || ebx === 0x2222);
  assert.equal(ecx, 0x2222);
  // Many rounds, so that the table goes in and out of sync.
  for (let i = 0; i < 50; i++) {
    const gfn = i % 2 ? second : first;
    const { eax } = guest.kernel(
      asm.storeWord(entry, gfn * 4096 | 3),
      asm.invlpg(DATA),
      asm.load(DATA),
    );
    assert.equal(eax, i % 2 ? 0x2222 : 0x1111);
    assert.equal(guest.get(guest.entry(DATA)), BigInt(gfn * 4096) | P | W | A);
  }
});

Deno.test("MOV CR3 takes in every entry that changed, and switches address spaces", () => {
  const guest = new RunningGuest();
  guest.mark(guest.map(DATA, P | W), 0x1111);
  guest.mark(guest.map(DATA + 0x1000, P | W), 0x1112);
  const second = guest.mark(guest.frame(), 0x2222);
  const table = guest.window(0, guest.entry(DATA));
  const { ebx, ecx } = guest.kernel(
    asm.load(DATA),
    asm.load(DATA + 0x1000),
    asm.storeWord(table, second * 4096 | 3),
    asm.storeWord(table + 8, second * 4096 | 1),
    asm.movEax(guest.cr3),
    asm.movCr3Eax(),
    asm.load(DATA),
    asm.movEbxEax(),
    asm.load(DATA + 0x1000),
    asm.movEcxEax(),
  );
  assert.deepEqual([ebx, ecx], [0x2222, 0x2222]);
  const other = guest.newSpace();
  guest.set(other + 16, guest.get(guest.cr3 + 16));
  guest.mark(guest.map(DATA, P | W, undefined, other), 0x3333);
  const after = guest.kernel(
    asm.movEax(other),
    asm.movCr3Eax(),
    asm.load(DATA),
    asm.movEbxEax(),
    asm.movEax(guest.cr3),
    asm.movCr3Eax(),
    asm.load(DATA),
    asm.movEcxEax(),
  );
  assert.deepEqual([after.ebx, after.ecx], [0x3333, 0x2222]);
});

Deno.test("a new entry that guest code writes is there without INVLPG; so is more right", () => {
  const guest = new RunningGuest();
  guest.map(DATA, P);
  const second = guest.mark(guest.frame(), 0x2222);
  const entry = guest.window(0, guest.entry(DATA));
  const { ebx } = guest.kernel(
    asm.load(DATA),
    asm.storeWord(entry + 8, second * 4096 | 3),
    asm.load(DATA + 0x1000),
    asm.movEbxEax(),
    asm.storeWord(entry, second * 4096 | 3),
    asm.invlpg(DATA),
    asm.movEax(0x5555),
    asm.store(DATA),
  );
  assert.equal(ebx, 0x2222);
  assert.equal(new DataView(guest.domain.readPhysical(second * 4096, 4).buffer).getUint32(0, true), 0x5555);
  assert.equal(guest.get(guest.entry(DATA)) & (A | D), A | D);
});

/** A program that writes a function of `mov eax, i; ret`, calls it, and does so n times in one page. */
function rewriting(n: number): number[][] {
  const code: number[][] = [];
  for (let i = 0; i < n; i++) {
    code.push(
      asm.storeByte(DATA, 0xb8),
      asm.storeWord(DATA + 1, i + 1),
      asm.storeByte(DATA + 5, 0xc3),
      asm.movEax(DATA),
      asm.callEax(),
    );
  }
  return code;
}

Deno.test("a repeated store into its own page is one turn, as is any store that goes there once", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | W | U);
  const bridge = guest.watch();
  // mov ecx, 16; mov edi, CODE + 0x800; rep stosd; mov byte [CODE + 0xc00], 1; mov byte [CODE + 0xc01], 2
  const code = [
    [0xb9, ...le32(16)],
    [0xbf, ...le32(CODE + 0x800)],
    [0xf3, 0xab],
    asm.storeByte(CODE + 0xc00, 1),
    asm.storeByte(CODE + 0xc01, 2),
  ];
  assert.equal(guest.user(...code).vector, OUT);
  const events = bridge.fetch(guest.domain.id, 100).filter((event) => event.va === CODE);
  assert.deepEqual(events.map(({ kind, eip }) => [kind, eip - CODE]), [["S1", 0], ["S2", 12], ["S2", 19], [
    "S2",
    26,
  ]]);
});

Deno.test("S1 and S2 by a running program: each version of its code is captured before it runs", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | U);
  guest.map(DATA, P | W | U);
  const bridge = guest.watch();
  assert.equal(guest.user(...rewriting(4)).vector, OUT);
  assert.equal(guest.vcpu.cpu.getRegister(Register.eax), 4);
  const events = bridge.fetch(guest.domain.id, 100).filter((event) => event.va === DATA);
  assert.deepEqual(events.map((event) => event.kind), ["S1", "S2", "S2", "S2"]);
  const seen: number[] = [];
  bridge.copy(guest.domain.id, events.map((event) => event.snapshot), (_, page) => seen.push(page![1]));
  assert.deepEqual(seen, [1, 2, 3, 4]);
  assert.equal(events[0].hopTo, DATA);
  assert.equal(Math.floor(events[0].hopFrom / 4096) * 4096, CODE);
});

Deno.test("code in a page that rewrites itself runs as written", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | W | U);
  const bridge = guest.watch();
  // The store changes the immediate of the instruction behind it.
  const code = asm.storeByte(CODE + 8, 0x77);
  const out = guest.user(code, asm.movEax(0x11));
  assert.equal(out.vector, OUT);
  assert.equal(guest.vcpu.cpu.getRegister(Register.eax), 0x77);
  const kinds = bridge.fetch(guest.domain.id, 100).filter((event) => event.va === CODE).map((e) => e.kind);
  assert.deepEqual(kinds, ["S1", "S2"]);
});

Deno.test("aliases by a running program: code written through the other address is seen and runs", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | U);
  const gfn = guest.map(DATA, P | W | U);
  const alias = DATA + 0x10_1000;
  guest.map(alias, P | W | U, gfn);
  const bridge = guest.watch();
  const out = guest.user(
    asm.storeWord(alias, 0x0000_01b8),
    asm.storeWord(alias + 4, 0x0000_c300),
    asm.movEax(DATA),
    asm.callEax(),
    asm.movEbxEax(),
    asm.storeByte(alias + 1, 2),
    asm.movEax(DATA),
    asm.callEax(),
  );
  assert.equal(out.vector, OUT);
  assert.deepEqual(
    [guest.vcpu.cpu.getRegister(Register.ebx), guest.vcpu.cpu.getRegister(Register.eax)],
    [1, 2],
  );
  const events = bridge.fetch(guest.domain.id, 100).filter((event) => event.va === DATA);
  assert.deepEqual(events.map((event) => event.kind), ["S1", "S2"]);
});

Deno.test("data centre full: the program stops before the page runs and goes on exactly there", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | U);
  guest.map(CODE + 0x1000, P | U);
  guest.map(CODE + 0x2000, P | U);
  guest.map(DATA, P | W | U);
  const bridge = guest.watch({ ringPages: 2, ringEvents: 64 });
  guest.place(CODE, [...rewriting(20).flat(), ...asm.int(OUT)]);
  guest.start(CODE);
  let held = 0;
  const captured: number[] = [];
  const drain = () => {
    for (;;) {
      const events = bridge.fetch(guest.domain.id, 100);
      if (events.length === 0) return;
      bridge.copy(
        guest.domain.id,
        events.filter((event) => event.va === DATA && event.snapshot).map((event) => event.snapshot),
        (_, page) => captured.push(page![1]),
      );
      bridge.acknowledge(guest.domain.id, events[events.length - 1].sequence);
    }
  };
  let exit = guest.vcpu.run(100_000);
  for (; exit.kind === "held"; exit = guest.vcpu.run(100_000)) {
    held++;
    assert.ok(held < 100);
    assert.equal(guest.vcpu.cpu.eip, DATA);
    assert.ok(guest.vcpu.held && guest.model.virqPending);
    const { instructions } = guest.vcpu.cpu;
    assert.equal(guest.vcpu.run(10).kind, "held");
    assert.equal(guest.vcpu.cpu.instructions, instructions);
    guest.model.deliverVirq();
    drain();
  }
  assert.equal(guest.finish(exit).vector, OUT);
  drain();
  assert.ok(held >= 5);
  assert.equal(guest.vcpu.cpu.getRegister(Register.eax), 20);
  assert.deepEqual(captured, Array.from({ length: 20 }, (_, i) => i + 1));
  assert.equal(guest.vcpu.cpu.instructions, 20 * 6 + 20 + 1 + 1);
});

Deno.test("a bare image runs with paging off, its ports go to the handler", () => {
  const output: number[] = [];
  const guest = createBareGuest({
    // mov dx, 0x3f8; mov al, 'A'; out dx, al; in al, dx; mov [0x200000], al; hlt
    image: Uint8Array.of(
      ...[0x66, 0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee, 0xec],
      ...[0xa2, ...le32(0x20_0000), 0xf4],
    ),
    memory: 4 * 1024 * 1024,
    onPort: {
      read: (port) => port === 0x3f8 ? 0x5a : 0xff,
      write: (port, size, value) => void output.push(port, size, value),
    },
  });
  assert.equal(guest.vcpu.run(1000).kind, "halt");
  assert.deepEqual(output, [0x3f8, 1, 0x41]);
  assert.equal(guest.domain.readPhysical(0x20_0000, 1)[0], 0x5a);
});

Deno.test("CR0.WP clear: what ring 0 writes into a read-only code page is seen, each time", () => {
  const guest = new RunningGuest();
  guest.map(CODE, P | U);
  const gfn = guest.map(DATA, P | U);
  guest.domain.writePhysical(gfn * 4096, Uint8Array.of(0xb8, 1, 0, 0, 0, 0xc3));
  const bridge = guest.watch();
  guest.vcpu.cpu.cr0 = (guest.vcpu.cpu.cr0 & ~CR0_WP) >>> 0;
  for (let i = 2; i < 5; i++) {
    assert.equal(guest.user(asm.movEax(DATA), asm.callEax()).vector, OUT);
    assert.equal(guest.vcpu.cpu.getRegister(Register.eax), i - 1);
    guest.kernel(asm.storeByte(DATA + 1, i));
  }
  const seen: number[] = [];
  const events = bridge.fetch(guest.domain.id, 100).filter((event) => event.va === DATA);
  bridge.copy(guest.domain.id, events.map((event) => event.snapshot), (_, page) => seen.push(page![1]));
  assert.deepEqual(seen, [1, 2, 3]);
});

/** One thing that happens to the pages of a process; `page` 0 to 3 are two frames with two addresses each. */
const happening = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("call" as const), page: fc.nat(3) }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("store" as const), page: fc.nat(3), value: fc.nat(255) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("load" as const), page: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("kernel" as const), page: fc.nat(3), value: fc.nat(255) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("map" as const),
      page: fc.nat(3),
      frame: fc.nat(1),
      flags: fc.constantFrom(P | W | U, P | U | A, P | W | U | NX | A | D, P | W | U | A | D, 0n),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("switch" as const) }) },
);

Deno.test("whatever a guest does with aliases, rights and the kernel's help: what runs is what was captured", () => {
  fc.assert(
    fc.property(
      fc.array(happening, { minLength: 20, maxLength: 80 }),
      fc.constantFrom(20, 64),
      (all, pool) => {
        const guest = new RunningGuest({ shadowFrames: pool });
        const va = (page: number) => DATA + page * 0x20_1000;
        const frames = [0, 1].map(() => guest.frame());
        for (const gfn of frames) guest.domain.writePhysical(gfn * 4096, Uint8Array.of(0xc3));
        for (let page = 0; page < 4; page++) guest.map(va(page), P | W | U, frames[page % 2]);
        guest.map(CODE, P | U);
        const other = guest.newSpace();
        guest.set(other + 16, guest.get(guest.cr3 + 16));
        const bridge = guest.watch();
        const captured = new Map<number, Uint8Array>();
        const drain = () => {
          for (const event of bridge.fetch(guest.domain.id, 1000)) {
            if (event.snapshot) {
              bridge.copy(
                guest.domain.id,
                [event.snapshot],
                (_, page) => captured.set(event.gfn, page!.slice()),
              );
            }
            bridge.acknowledge(guest.domain.id, event.sequence);
          }
        };
        const check = (gfn: number) => {
          drain();
          assert.deepEqual(captured.get(gfn), guest.domain.readPhysical(gfn * 4096, 4096));
          // Nobody can write it now without a fault.
          const mfn = (guest.domain as DomainModel).machineFrame(gfn);
          assert.equal((guest.domain as DomainModel).countMappings(mfn, { writable: true }), 0);
        };
        const program: number[] = [];
        const step = (code: number[][]) => {
          program.splice(0, program.length, ...code.flat(), ...asm.int(OUT));
          guest.place(CODE, program);
          guest.start(CODE);
          for (let i = 0; i < 20; i++) {
            const at = guest.vcpu.cpu.eip;
            const exit = guest.vcpu.run(1);
            if (exit.kind !== "budget") {
              return;
            }
            for (let page = 0; page < 4; page++) {
              const entry = guest.get(guest.entry(va(page)));
              // The `ret` there ran (a fault would have led elsewhere, into ring 0).
              if (at === va(page) && guest.vcpu.cpu.cpl === 3) {
                check(
                  Number((entry & 0xf_ffff_f000n) / 4096n),
                );
              }
            }
          }
          assert.fail("the program did not end");
        };
        for (const each of all) {
          if (each.kind === "call") step([asm.movEax(va(each.page)), asm.callEax()]);
          else if (each.kind === "store") step([asm.storeByte(va(each.page) + 5, each.value)]);
          else if (each.kind === "load") step([asm.load(va(each.page))]);
          else if (each.kind === "kernel") {
            try {
              guest.vcpu.writeVirtual(va(each.page) + 6, Uint8Array.of(each.value));
            } catch (error) {
              assert.equal((error as Error).name, "GuestPageFault");
            }
          } else if (each.kind === "map") {
            const entry = each.flags && BigInt(frames[each.frame]) * 4096n | each.flags;
            guest.set(guest.entry(va(each.page)), entry);
          } else {
            guest.vcpu.loadCr3(other);
            guest.vcpu.loadCr3(guest.cr3);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("two vCPUs: what one writes loses execution on the other", () => {
  const guest = new RunningGuest({ vcpus: 2 });
  guest.map(CODE, P | U);
  guest.map(DATA, P | W | U);
  const bridge = guest.watch();
  const [, second] = guest.domain.vcpus;
  const first = guest.vcpu.cpu;
  second.cpu.cr4 = first.cr4;
  second.cpu.efer = first.efer;
  second.cpu.cr0 = first.cr0;
  second.cpu.gdtr = first.gdtr;
  second.loadCr3(guest.cr3);
  assert.equal(guest.user(...rewriting(1)).vector, OUT);
  second.writeVirtual(DATA + 1, Uint8Array.of(9));
  assert.equal(guest.user(asm.movEax(DATA), asm.callEax()).vector, OUT);
  assert.equal(first.getRegister(Register.eax), 9);
  const events = bridge.fetch(guest.domain.id, 100).filter((event) => event.va === DATA);
  assert.deepEqual(events.map((event) => [event.kind, event.vcpu]), [["S1", 0], ["S2", 0]]);
});
