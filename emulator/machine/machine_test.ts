// SPDX-License-Identifier: Apache-2.0
// Faults, gates, privilege, budget, self-modifying code: what the rooms around the CPU rely on.
import assert from "node:assert/strict";
import { Guest, Place, Selector } from "./fixture.ts";
import { createMachine } from "./mod.ts";
import { type Cpu, Register, Segment } from "./types.ts";

const { eax, ecx, esp, esi, edi } = Register;
const CODE = Place.code;

Deno.test("a page fault is precise: EIP, error code, CR2, registers and flags as before", () => {
  const g = new Guest().code("b8 05000000  3d 05000000  50  01 05 00000500"); // mov, cmp, push, add [0x50000], eax
  g.permissions.set(0x50, 1);
  const before = g.cpu.getRegister(esp);
  const t = g.trap();
  assert.deepEqual([t.vector, t.errorCode, t.eip, t.cs], [14, 7, CODE + 11, Selector.code3]);
  assert.equal(g.cpu.cr2, 0x50000);
  assert.equal(t.esp, before - 4);
  assert.equal(t.eflags & 0x8d5, 0x44, "flags are those of CMP");
  assert.equal(g.cpu.getRegister(eax), 5);
  assert.equal(g.cpu.getRegister(esp), Place.stack0 - 28, "SS, ESP, EFLAGS, CS, EIP, error code, vector");
  assert.equal(g.cpu.selector(Segment.ss), Selector.data0);
  assert.equal(g.cpu.cpl, 0);
});

Deno.test("error codes tell read, write, fetch, user, present", () => {
  const cases: [string, number, number, number, number][] = [
    ["a1 00000500", 0, 4, 0x50000, CODE],
    ["a3 00000500", 0, 6, 0x50000, CODE],
    ["a3 00000500", 1, 7, 0x50000, CODE],
    ["b8 00000500 ff e0", 3, 21, 0x50000, 0x50000],
    ["b8 00000500 ff e0", 0, 20, 0x50000, 0x50000],
  ];
  for (const [hex, permissions, code, address, eip] of cases) {
    const g = new Guest().code(hex);
    g.permissions.set(0x50, permissions);
    const t = g.trap();
    assert.deepEqual([t.vector, t.errorCode, g.cpu.cr2, t.eip], [14, code, address, eip], hex);
  }
});

Deno.test("a store over two pages faults as a whole and changes neither", () => {
  const g = new Guest().code("b8 78563412 a3 feff0400"); // mov [0x4fffe], eax
  g.permissions.set(0x50, 1);
  const t = g.trap();
  assert.deepEqual([t.vector, t.errorCode, g.cpu.cr2], [14, 7, 0x50000]);
  assert.equal(g.word(0x4fffc), 0);
  g.permissions.delete(0x50);
  g.cpu.flushAll();
  g.cpu.loadSegment(Segment.cs, Selector.code3);
  g.cpu.eip = CODE;
  assert.equal(g.cpu.run(2).kind, "budget");
  assert.deepEqual([g.word(0x4fffc), g.word(0x50000)], [0x56780000, 0x1234]);
});

Deno.test("an instruction over two pages is fetched from both, and checked again after a flush", () => {
  const at = 0x50ffe;
  const g = new Guest().code("b8 01000000 eb fe", at);
  g.cpu.eip = at;
  g.permissions.set(0x51, 3);
  const t = g.trap();
  assert.deepEqual([t.vector, t.errorCode, t.eip, g.cpu.cr2], [14, 21, at, 0x51000]);
  g.permissions.delete(0x51);
  const again = () => {
    g.cpu.loadSegment(Segment.cs, Selector.code3);
    g.cpu.eip = at;
    return g.cpu.run(1).kind;
  };
  g.cpu.flushAll();
  assert.equal(again(), "budget");
  assert.equal(g.cpu.getRegister(eax), 1);
  // A write into the second page changes the instruction.
  g.bytes(0x51000, [9]);
  assert.equal(again(), "budget");
  assert.equal(g.cpu.getRegister(eax), 0x901 & 0xff | 0x900);
  g.permissions.set(0x51, 3);
  g.cpu.flushFrame(0x51);
  g.cpu.loadSegment(Segment.cs, Selector.code3);
  g.cpu.eip = at;
  assert.equal(g.trap().errorCode, 21);
});

Deno.test("the budget is exact for every limit, also inside REP", () => {
  // mov ecx,5; mov edi,0x50000; rep stosb; inc eax x3; dec ecx; jnz self; jmp self
  const hex = "b9 05000000 bf 00000500 f3 aa 40 40 40 b9 03000000 49 75 fd eb fe";
  for (const step of [1, 2, 3, 7, 48, 100]) {
    const g = new Guest().code(hex);
    let total = 0;
    while (total < 200) {
      assert.equal(g.cpu.run(step).kind, "budget");
      total += step;
      assert.equal(g.cpu.instructions, total);
    }
    const whole = new Guest().code(hex);
    whole.cpu.run(total);
    assert.deepEqual([g.cpu.eip, g.cpu.getRegister(eax), g.cpu.eflags], [
      whole.cpu.eip,
      whole.cpu.getRegister(eax),
      whole.cpu.eflags,
    ]);
    assert.deepEqual([g.cpu.getRegister(eax), g.cpu.getRegister(ecx)], [3, 0]);
  }
  const g = new Guest().code(hex);
  g.cpu.run(5);
  assert.deepEqual([g.cpu.getRegister(ecx), g.cpu.getRegister(edi), g.cpu.eip], [2, 0x50003, CODE + 10]);
});

Deno.test("a large REP MOVS is exact, and stops at the fault with its registers", () => {
  const g = new Guest().code("b9 00200000 be 00000500 bf 00000600 f3 a5 0f0b"); // 8192 dwords
  for (let i = 0; i < 8; i++) g.words(0x50000 + 4096 * i, i + 1);
  g.permissions.set(0x63, 1);
  const t = g.trap(100_000);
  assert.deepEqual([t.vector, t.errorCode, g.cpu.cr2, t.eip], [14, 7, 0x63000, CODE + 15]);
  assert.deepEqual([g.cpu.getRegister(ecx), g.cpu.getRegister(esi), g.cpu.getRegister(edi)], [
    0x2000 - 0xc00,
    0x53000,
    0x63000,
  ]);
  assert.deepEqual([g.word(0x60000), g.word(0x61000), g.word(0x62000), g.word(0x63000)], [1, 2, 3, 0]);
  // mov x3, 0xc00 iterations, and the handler's PUSH and VMCALL.
  assert.equal(g.cpu.instructions, 3 + 0xc00 + 2);
});

Deno.test("overlapping REP MOVSB repeats its pattern", () => {
  const g = new Guest().code("b9 10000000 be 00000500 bf 01000500 c6 06 7a f3 a4 0f0b");
  assert.equal(g.trap().vector, 6);
  assert.deepEqual([g.word(0x50000), g.word(0x5000c), g.word(0x50010)], [0x7a7a7a7a, 0x7a7a7a7a, 0x7a]);
});

Deno.test("code that changes the next instruction of its own block runs the new one", () => {
  // mov byte [target+1], 5; target: mov al, 1; ud2
  const g = new Guest().code("c6 05 08000100 05  b0 01 0f0b");
  assert.equal(g.trap().vector, 6);
  assert.equal(g.cpu.getRegister(eax), 5);
});

Deno.test("code that changes another block, linked and hot, runs the new one", () => {
  // mov ecx, 100; l: call f; dec ecx; jnz l; mov byte [f+1], 9; mov ecx, 1; call f; ud2   f: mov al, 1; ret
  const g = new Guest().code("b9 64000000 e8 f60f0000 49 75 f8 c6 05 01100100 09 e8 e70f0000 0f0b");
  g.code("b0 01 c3", 0x11000);
  const t = g.trap();
  assert.deepEqual([t.vector, g.cpu.getRegister(eax)], [6, 9]);
});

Deno.test("a loop that rewrites its own immediate each turn stays right", () => {
  // mov ecx, 1000; l: inc dword [imm]; add eax, imm; loop; ud2
  const g = new Guest().code("b9 e8030000 ff 05 0c000100 05 00000000 49 75 f2 0f0b");
  const t = g.trap(100_000);
  assert.equal(t.vector, 6);
  assert.equal(g.cpu.getRegister(eax), (1000 * 1001) / 2);
});

Deno.test("a page that turns from writable to executable and back faults at each turn", () => {
  const g = new Guest().code(
    "c6 05 00000500 b0  c6 05 02000500 c3  b9 03000000 8d 05 00000500 " +
      "fe 05 01000500 ff d0 b8 00000500 49 75 f0 0f0b",
  );
  // W xor X: the page is one or the other, as the monitor makes it.
  let turns = 0;
  g.permissions.set(0x50, 3);
  g.onTranslate = (va, access) => {
    if (va >>> 12 !== 0x50) return;
    const wanted = access === 2 ? 5 : 3;
    if (g.permissions.get(0x50) === wanted) return;
    turns++;
    g.permissions.set(0x50, wanted);
    g.cpu.flushFrame(0x50);
  };
  const t = g.trap();
  assert.equal(t.vector, 6);
  assert.equal(turns, 5, "three fetches, two writes after the first");
});

Deno.test("code loses the right to execute in the middle of its own block", () => {
  // The page is executable only until its own store; the next instruction must fault.
  const g = new Guest().code("90 a3 00010500 90 90 0f0b", 0x50000);
  g.cpu.eip = 0x50000;
  g.permissions.set(0x50, 5);
  g.onTranslate = (va, access) => {
    if (va >>> 12 !== 0x50 || access !== 1) return;
    g.permissions.set(0x50, 3);
    g.cpu.flushFrame(0x50);
  };
  const t = g.trap();
  assert.deepEqual([t.vector, t.errorCode, t.eip, g.cpu.cr2], [14, 21, 0x50006, 0x50006]);
});

Deno.test("TF traps after each instruction, and the trap's frame has TF set", () => {
  const g = new Guest().code("40 40 40");
  g.cpu.eflags |= 0x100;
  const t = g.trap();
  assert.deepEqual([t.vector, t.eip, t.eflags & 0x100], [1, CODE + 1, 0x100]);
  assert.equal(g.cpu.getDebugRegister(6) & 0x4000, 0x4000);
  assert.equal(g.cpu.eflags & 0x100, 0, "the gate cleared TF");
});

Deno.test("POPF that sets TF traps after the next instruction, POP SS shields one", () => {
  const g = new Guest().code("9c 81 0c24 00010000 9d 40 40");
  assert.deepEqual((({ vector, eip }) => [vector, eip])(g.trap()), [1, CODE + 10]);
  const h = new Guest().code("16 9c 81 0c24 00010000 9d 17 40 40");
  assert.deepEqual((({ vector, eip }) => [vector, eip])(h.trap()), [1, CODE + 12]);
});

Deno.test("INT n returns behind itself, checks the gate, changes the stack; IRET comes back", () => {
  const g = new Guest().code("cd 80 40");
  const t = g.trap();
  assert.deepEqual([t.vector, t.eip, t.cs, t.esp, t.ss], [
    0x80,
    CODE + 2,
    Selector.code3,
    Place.stack3,
    Selector.data3,
  ]);
  // The model's way back: drop the vector, IRETD.
  g.code("83 c4 04 cf", 0x4000);
  g.cpu.eip = 0x4000;
  assert.equal(g.cpu.run(3).kind, "budget");
  assert.deepEqual([g.cpu.eip, g.cpu.cpl, g.cpu.getRegister(esp), g.cpu.getRegister(eax)], [
    CODE + 3,
    3,
    Place.stack3,
    1,
  ]);
  const closed = new Guest().code("cd 20").trap();
  assert.deepEqual([closed.vector, closed.errorCode, closed.eip], [13, 0x20 * 8 + 2, CODE]);
});

Deno.test("exceptions of user code: #DE, #BP, #OF, #BR, #UD, #GP, icebp", () => {
  const cases: [string, number, number | undefined, number][] = [
    ["31 c9 f7 f1", 0, undefined, 2],
    ["cc", 3, undefined, 1],
    ["b0 7f 04 01 ce", 4, undefined, 5],
    ["f1", 1, undefined, 1],
    ["0f0b", 6, undefined, 0],
    ["f0 90", 6, undefined, 0],
    ["f0 01 c0", 6, undefined, 0],
    ["8d c0", 6, undefined, 0],
    ["fa", 13, 0, 0],
    ["f4", 13, 0, 0],
    ["e4 60", 13, 0, 0],
    ["0f 20 c0", 13, 0, 0],
    ["0f 01 c1", 6, undefined, 0],
    ["66 b8 0800 8e d8", 13, 8, 4],
    ["66 b8 f0ff 8e d8", 13, 0xfff0, 4],
    ["66".repeat(15) + "90", 13, 0, 0],
    ["31 c0 8e d8 a1 00000500", 13, 0, 4],
    ["b8 3b000000 8e d8 a1 0d000000", 13, 0, 7],
    ["62 05 00000500", 5, undefined, 0],
  ];
  for (const [hex, vector, errorCode, at] of cases) {
    const g = new Guest().code(hex);
    g.words(0x50000, 5, 9);
    const t = g.trap();
    assert.deepEqual([t.vector, t.errorCode, t.eip], [vector, errorCode, CODE + at], hex);
  }
});

Deno.test("a segment with a base and a limit works up to its last byte", () => {
  const g = new Guest().code("b8 3b000000 8e e0 64 a1 0c000000 0f0b");
  g.words(0x2000c, 0xabcd1234);
  assert.equal(g.trap().vector, 6);
  assert.equal(g.cpu.getRegister(eax), 0xabcd1234);
});

Deno.test("a call gate changes the stack and copies its parameters", () => {
  const g = new Guest().code("68 22000000 68 11000000 9a 00000000 3300");
  const exit = g.run();
  assert.equal(exit.kind, "vmcall");
  const top = g.cpu.getRegister(esp);
  const frame = Array.from({ length: 7 }, (_, i) => g.word(top + 4 * i));
  assert.deepEqual(frame, [0, CODE + 17, Selector.code3, 0x11, 0x22, Place.stack3 - 8, Selector.data3]);
});

Deno.test("a fault without a present handler is a double fault, without a stack the CPU shuts down", () => {
  const g = new Guest().code("0f0b");
  g.words(Place.idt + 8 * 6 + 4, 0x0e00);
  g.words(Place.idt + 8 * 11 + 4, 0x0e00);
  const t = g.trap();
  assert.deepEqual([t.vector, t.errorCode, t.eip], [8, 0, CODE]);
  const h = new Guest().code("0f0b");
  h.permissions.set((Place.stack0 - 1) >>> 12, 0);
  assert.equal(h.run().kind, "shutdown");
});

Deno.test("a held access does nothing and is repeated", () => {
  const g = new Guest().code("40 01 05 00000500 40");
  g.held.add(0x50);
  assert.equal(g.run().kind, "held");
  assert.deepEqual([g.cpu.eip, g.cpu.instructions], [CODE + 1, 1]);
  g.held.clear();
  assert.equal(g.cpu.run(2).kind, "budget");
  assert.deepEqual([g.word(0x50000), g.cpu.getRegister(eax)], [1, 2]);
});

Deno.test("a stop comes after the instruction in which it was asked for", () => {
  const g = new Guest().code("40 a3 00000500 40 40 eb fe");
  g.onTranslate = (_va, access) => {
    if (access === 1) g.cpu.requestStop();
  };
  assert.equal(g.run().kind, "stop");
  assert.deepEqual([g.cpu.eip, g.cpu.instructions], [CODE + 6, 2]);
  assert.equal(g.cpu.run(1).kind, "budget");
  assert.equal(g.cpu.getRegister(eax), 2);
});

Deno.test("POPF in ring 3 keeps IF and IOPL; in ring 0 it changes them", () => {
  const hex = "68 00320000 9d 9c 58 0f0b";
  const user = new Guest().code(hex);
  user.trap();
  assert.equal(user.cpu.getRegister(eax) & 0x3200, 0);
  const kernel = new Guest(0).code(hex);
  kernel.trap();
  assert.equal(kernel.cpu.getRegister(eax) & 0x3200, 0x3200);
});

Deno.test("two address spaces at one address have their own code", () => {
  const g = new Guest().code("b0 01 0f0b", 0x50000).code("b0 02 0f0b", 0x51000);
  let frame = 0x50;
  const { translate } = g.cpu.host;
  g.cpu.host.translate = (va, access, user) =>
    va >>> 12 === 0x50 ? frame * 8 + 7 : translate(va, access, user);
  for (let i = 0; i < 6; i++) {
    frame = 0x50 + (i & 1);
    g.cpu.cr3 = frame;
    g.cpu.loadSegment(Segment.cs, Selector.code3);
    g.cpu.loadSegment(Segment.ss, Selector.data3);
    g.cpu.eip = 0x50000;
    assert.equal(g.trap().vector, 6);
    assert.equal(g.cpu.getRegister(eax) & 0xff, 1 + (i & 1));
  }
});

Deno.test("any combination of flags survives POPF and PUSHF", () => {
  for (let bits = 0; bits < 64; bits++) {
    const flags = [1, 4, 0x10, 0x40, 0x80, 0x800].reduce(
      (sum, flag, i) => sum | (bits >> i & 1 ? flag : 0),
      2,
    );
    const g = new Guest().code("9d 9c 58 0f0b");
    g.words(Place.stack3 - 4, flags);
    g.cpu.setRegister(esp, Place.stack3 - 4);
    const t = g.trap();
    assert.equal(g.cpu.getRegister(eax) & 0x8d7, flags);
    assert.equal(t.eflags & 0x8d7, flags);
  }
});

Deno.test("a store of one CPU drops code that another has decoded", () => {
  const machine = createMachine({ frames: 64, cpus: 2 });
  const [a, b] = machine.cpus;
  for (const cpu of machine.cpus) {
    cpu.host = {
      translate: (va) => (va >>> 12) * 8 + 7,
      controlRegisterWritten: () => {},
      invalidatePage: () => {},
      portRead: () => 0,
      portWrite: () => {},
    };
  }
  machine.memory.frame(1).set([0xb0, 1, 0xf4]); // mov al, 1; hlt
  machine.memory.frame(2).set([0xc6, 0x05, 1, 0x10, 0, 0, 9, 0xf4]); // mov byte [0x1001], 9; hlt
  const run = (cpu: Cpu, eip: number) => {
    cpu.eip = eip;
    assert.equal(cpu.run(100).kind, "halt");
  };
  a.setRegister(eax, 0);
  run(b, 0x2000);
  run(a, 0x1000);
  assert.equal(a.getRegister(eax), 9);
  machine.memory.frame(2)[6] = 7;
  b.frameWritten(2, 6, 1);
  run(b, 0x2000);
  run(a, 0x1000);
  assert.equal(a.getRegister(eax), 7);
});

Deno.test("16-bit addresses wrap, and 0x66 cuts a branch target to 16 bits", () => {
  // mov bx, 0xffff; mov al, [bx+2] (16-bit address)
  const g = new Guest().code("66 bb ffff 67 8a 47 02 0f0b");
  g.bytes(1, [0x77]);
  assert.equal(g.trap().vector, 6);
  assert.equal(g.cpu.getRegister(eax) & 0xff, 0x77);
  const h = new Guest().code("66 eb 10");
  h.permissions.set(0, 0);
  const t = h.trap();
  assert.deepEqual([t.vector, t.eip], [14, 0x13]);
});

Deno.test("RDTSC counts instructions, CPUID announces NX, what is no instruction raises #UD", () => {
  const g = new Guest().code("90 90 0f31 b8 01000080 0fa2 0f 38 ff c0");
  const { vector, eip } = g.trap();
  assert.deepEqual([vector, eip], [6, CODE + 11]);
  assert.equal(g.cpu.getRegister(Register.edx) & (1 << 20), 1 << 20);
  const h = new Guest().code("90 90 0f31 0f0b");
  h.trap();
  assert.equal(h.cpu.getRegister(eax), 2);
});

Deno.test("SYSENTER enters ring 0 flat, SYSEXIT comes back", () => {
  const g = new Guest(0).code("b9 74010000 b8 08000000 31d2 0f30 41 b8 00900000 0f30 41 b8 00400000 0f30 f4");
  assert.equal(g.run().kind, "halt");
  g.code("0f34").code("b9 00b00000 ba 00000500 0f35", 0x4000).code("0f0b", 0x50000);
  g.cpu.loadSegment(Segment.cs, Selector.code3);
  g.cpu.loadSegment(Segment.ss, Selector.data3);
  g.cpu.eip = CODE;
  const t = g.trap();
  assert.deepEqual([t.vector, t.eip, t.cs, t.esp, t.ss], [6, 0x50000, 0x1b, 0xb000, 0x23]);
});

Deno.test("control registers refuse what there is not", () => {
  const cases: [string, number | undefined][] = [
    ["b8 10000080 0f 22 c0", 13], // CR0: PG without PE
    ["b8 11000020 0f 22 c0", 13], // CR0: NW without CD
    ["b8 00000080 0f 22 e0", 13], // CR4: bit 31
    ["b8 00800000 0f 22 e0", 13], // CR4: bit 15
    ["b8 01000000 0f 22 e0", 13], // CR4: VME, which CPUID does not announce
    ["b8 fc070000 0f 22 e0 0f0b", 6],
    ["0f 20 c8", 6], // CR1
    ["0f 22 f8", 6], // CR7
  ];
  for (const [hex, vector] of cases) assert.equal(new Guest(0).code(hex).trap().vector, vector, hex);
});

Deno.test("RDTSCP reads the counter and IA32_TSC_AUX, and obeys CR4.TSD", () => {
  const read = new Guest(0).code("b9 030100c0 b8 2a000000 31 d2 0f30 31 c9 0f01f9 0f0b");
  assert.equal(read.trap().vector, 6);
  assert.deepEqual([read.cpu.getRegister(eax), read.cpu.getRegister(ecx)], [5, 0x2a]);
  const refused = new Guest().code("0f01f9");
  refused.cpu.cr4 = 4;
  assert.deepEqual([refused.trap().vector, refused.cpu.instructions], [13, 2]);
});

Deno.test("the host is told when an interrupt may come: IF, and not right behind STI or MOV SS", () => {
  const g = new Guest(0).code("fb 90 16 17 90 fa 90"); // sti; nop; push ss; pop ss; nop; cli; nop
  const seen = Array.from({ length: 7 }, () => (g.cpu.run(1), g.cpu.interruptible));
  assert.deepEqual(seen, [false, true, true, false, true, false, false]);
});

Deno.test("breakpoints that the host sets work in ring 3, in both tiers, and cost nothing where they are not", () => {
  for (const tier of ["interpreter", "jit"] as const) {
    // l: inc eax; mov [0x50000], eax; cmp eax, 0x4000; jne l; hlt
    const g = new Guest(3, tier).code("40 a3 00000500 3d 00400000 75 f3 f4");
    g.cpu.run(20_000);
    g.cpu.setDebugRegister(0, 0x50000);
    g.cpu.setDebugRegister(1, CODE + 6);
    g.cpu.setDebugRegister(7, 0xd0000 | 1); // four bytes written
    const t = g.trap(100_000);
    assert.deepEqual([t.vector, t.eip, g.cpu.getDebugRegister(6) & 15], [1, CODE + 6, 1], tier);
    const count = g.cpu.getRegister(eax);
    assert.equal(g.word(0x50000), count);
    // One for execution, at the same place, and back.
    g.cpu.setDebugRegister(7, 4);
    g.cpu.setDebugRegister(6, 0);
    g.code("83 c4 04 cf", 0x4000);
    g.cpu.eip = 0x4000;
    const again = g.trap(100_000);
    assert.deepEqual([again.vector, again.eip, g.cpu.getDebugRegister(6) & 15], [1, CODE + 6, 2], tier);
    g.cpu.setDebugRegister(7, 0);
    g.cpu.eip = 0x4000;
    const end = g.trap(1_000_000);
    assert.deepEqual([end.vector, g.cpu.getRegister(eax)], [13, 0x4000], tier);
  }
});
