// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { Register } from "../machine/types.ts";
import type { CpuExit } from "../machine/types.ts";
import { build as buildMonitor } from "../../xen/build_monitor.ts";
import { Bridge } from "../../xen/bridge.ts";
import { createBareGuest } from "./mod.ts";
import { A, D, NX, P, TestGuest, U, W } from "./test_guest.ts";

await buildMonitor();

const GDT = 0x8000_1000, PCR = 0x8000_2000, THREAD = 0x8000_3000, PROCESS = 0x8000_4000;
const IDT = 0x8000_5000, STUBS = 0x8000_6000, STACK = 0x8000_7000, TSS = 0x8000_8000;
const KERNEL_CODE = 0x8001_0000, TABLES = 0x9000_0000;
const CODE = 0x0040_0000, USER_STACK = 0x0030_0000, DATA = 0x0050_0000;
/** The vector of user programs' way out. */
const OUT = 0x2e;

const le32 = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
/** A few instructions (Intel's manual, volume 2). */
const asm = {
  movEax: (value: number) => [0xb8, ...le32(value)],
  load: (va: number) => [0xa1, ...le32(va)],
  store: (va: number) => [0xa3, ...le32(va)],
  storeByte: (va: number, value: number) => [0xc6, 0x05, ...le32(va), value],
  storeWord: (va: number, value: number) => [0xc7, 0x05, ...le32(va), ...le32(value)],
  movEbxEax: () => [0x89, 0xc3],
  movEcxEax: () => [0x89, 0xc1],
  callEax: () => [0xff, 0xd0],
  invlpg: (va: number) => [0x0f, 0x01, 0x3d, ...le32(va)],
  movCr3Eax: () => [0x0f, 0x22, 0xd8],
  vmcall: () => [0x0f, 0x01, 0xc1],
  int: (vector: number) => [0xcd, vector],
};

/** How a program left its ring. */
interface Outcome {
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: number;
  /** EIP in the frame of the exception. */
  readonly eip: number;
}

/** A guest with descriptor tables whose exceptions and interrupts end in VMCALL. */
class RunningGuest extends TestGuest {
  constructor() {
    super({ guestFrames: 512 });
    for (const va of [GDT, PCR, THREAD, PROCESS, IDT, STACK, TSS]) this.map(va, P | W | NX);
    for (const va of [STUBS, KERNEL_CODE]) this.map(va, P | W);
    this.map(USER_STACK, P | W | U | NX);
    // Windows's selectors: 8 and 0x10 for ring 0, 0x1b and 0x23 for ring 3, 0x28 TSS, 0x30 KPCR.
    this.descriptor(1, 0, 0xf_ffff, 0xc9b);
    this.descriptor(2, 0, 0xf_ffff, 0xc93);
    this.descriptor(3, 0, 0xf_ffff, 0xcfb);
    this.descriptor(4, 0, 0xf_ffff, 0xcf3);
    this.descriptor(5, TSS, 0x67, 0x089);
    this.descriptor(6, PCR, 0xfff, 0x493);
    this.words(TSS + 4, STACK + 0x1000, 0x10);
    for (let vector = 0; vector < 256; vector++) {
      const stub = STUBS + vector * 8;
      this.words(
        IDT + vector * 8,
        ((8 << 16) | (stub & 0xffff)) >>> 0,
        ((stub & 0xffff_0000) | 0xee00) >>> 0,
      );
      this.vcpu.writeVirtual(stub, Uint8Array.from(asm.vmcall()));
    }
    this.words(PCR + 0x124, THREAD);
    this.words(THREAD + 0x50, PROCESS);
    this.words(THREAD + 0x150, PROCESS);
    this.words(PROCESS + 0x18, this.cr3);
    this.words(PROCESS + 0xb4, 77);
    this.words(PROCESS + 0xb8, PROCESS + 0xb8);
    this.vcpu.writeVirtual(PROCESS + 0x16c, new TextEncoder().encode("virus.exe"));
    const { cpu } = this.vcpu;
    cpu.gdtr = { base: GDT, limit: 0xff };
    cpu.idtr = { base: IDT, limit: 0x7ff };
    cpu.loadTaskRegister(0x28);
  }

  words(va: number, ...values: number[]): void {
    this.vcpu.writeVirtual(va, new Uint8Array(Uint32Array.from(values).buffer));
  }

  descriptor(index: number, base: number, limit: number, flags: number): void {
    this.words(
      GDT + index * 8,
      (((base & 0xffff) << 16) | (limit & 0xffff)) >>> 0,
      ((base & 0xff00_0000) | ((flags & 0xf00) << 12) | (limit & 0xf_0000) | ((flags & 0xff) << 8) |
        ((base >>> 16) & 0xff)) >>> 0,
    );
  }

  /** Puts code into a frame from outside (no write the monitor sees). */
  place(va: number, code: readonly number[]): void {
    const gfn = Number((this.get(this.entry(va)) & 0xf_ffff_f000n) / 4096n);
    this.domain.writePhysical(gfn * 4096 + va % 4096, Uint8Array.from(code));
  }

  /** Makes the vCPU ready to run at an address in ring 3 or 0. */
  start(eip: number, user = true): void {
    const { cpu } = this.vcpu;
    cpu.loadSegment(1, user ? 0x1b : 0x08);
    for (const segment of [0, 2, 3]) cpu.loadSegment(segment, user ? 0x23 : 0x10);
    cpu.setRegister(Register.esp, user ? USER_STACK + 0xff0 : STACK + 0x800);
    cpu.eip = eip;
  }

  /** Runs until a stub is reached; says which. */
  finish(exit: CpuExit = this.vcpu.run(100_000)): Outcome {
    const { cpu } = this.vcpu;
    assert.equal(exit.kind, "vmcall", JSON.stringify(exit));
    const vector = (cpu.eip - 3 - STUBS) / 8;
    const frame = new Uint32Array(this.vcpu.readVirtual(cpu.getRegister(Register.esp), 8).slice().buffer);
    const hasCode = [8, 10, 11, 12, 13, 14, 17].includes(vector);
    return {
      vector,
      errorCode: hasCode ? frame[0] : 0,
      cr2: cpu.cr2,
      eip: hasCode ? frame[1] : frame[0],
    };
  }

  /** Runs ring-3 code at {@link CODE}. */
  user(...code: number[][]): Outcome {
    this.place(CODE, [...code.flat(), ...asm.int(OUT)]);
    this.start(CODE);
    return this.finish();
  }

  /** Runs ring-0 code; it must get to its end. EAX, EBX, ECX as it left them. */
  kernel(...code: number[][]): { eax: number; ebx: number; ecx: number } {
    this.place(KERNEL_CODE, [...code.flat(), ...asm.vmcall()]);
    this.start(KERNEL_CODE, false);
    const exit = this.vcpu.run(100_000);
    const { cpu } = this.vcpu;
    assert.equal(exit.kind, "vmcall", JSON.stringify(exit));
    assert.equal(cpu.eip, KERNEL_CODE + code.flat().length + 3, `left at 0x${cpu.eip.toString(16)}`);
    return {
      eax: cpu.getRegister(Register.eax),
      ebx: cpu.getRegister(Register.ebx),
      ecx: cpu.getRegister(Register.ecx),
    };
  }

  /** Maps the guest frame that holds an entry; returns the entry's address there. */
  window(n: number, gpa: number): number {
    this.map(TABLES + n * 4096, P | W | NX, Math.floor(gpa / 4096));
    return TABLES + n * 4096 + gpa % 4096;
  }

  /** Puts a value into the first word of a guest frame. */
  mark(gfn: number, value: number): number {
    this.domain.writePhysical(gfn * 4096, Uint8Array.from(le32(value)));
    return gfn;
  }

  watch(options: { ringPages?: number; ringEvents?: number } = {}): Bridge {
    const bridge = new Bridge(this.model.transport, options);
    bridge.watch(this.domain.id, [{ kind: "prefix", pattern: "virus" }]);
    return bridge;
  }
}

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
  const alias = DATA + 0x10_0000;
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
