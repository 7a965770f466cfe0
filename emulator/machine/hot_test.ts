// SPDX-License-Identifier: Apache-2.0
/** What can happen in the middle of hot code happens as in the interpreter, instruction by instruction. */
import assert from "node:assert/strict";
import type { InterpretedCpu } from "./cpu.ts";
import { Guest, Place } from "./fixture.ts";
import { tlbIndex } from "./layout.ts";
import { tierDefaults } from "./mod.ts";
import { Register, type Tier } from "./types.ts";

const HOT = 3;
const DATA = 0x40000;

/** Runs `body` on a fresh guest in each tier with the code; the results must be the same. Returns one. */
function both<T>(code: string, body: (guest: Guest, tier: Tier) => T, hotEntries = HOT): T {
  const [first, second] = (["interpreter", "jit"] as const).map((tier) => {
    const before = { ...tierDefaults };
    Object.assign(tierDefaults, { tier, hotEntries });
    try {
      const guest = new Guest(3).code(code);
      const result = body(guest, tier);
      const compiled = (guest.cpu as InterpretedCpu).jitStatistics?.compiled ?? 0;
      assert.equal(compiled > 0, tier === "jit", "hot code is compiled");
      return result;
    } finally {
      Object.assign(tierDefaults, before);
    }
  });
  assert.deepEqual(second, first);
  return second;
}
function state({ cpu }: Guest): string {
  const registers = Array.from({ length: 8 }, (_, r) => cpu.getRegister(r).toString(16));
  return `${cpu.instructions} ${cpu.eip.toString(16)} ${cpu.eflags.toString(16)} ${cpu.cr2} ${registers}`;
}

// add eax,ebx | inc esi | dec edi | adc edx,0 | dec ecx | jnz
const CARRIES = "01 d8 46 4f 83 d2 00 49 75 f6 0f 01 c1";

Deno.test("CF outlives INC and DEC in hot code", () => {
  both(CARRIES, (guest) => {
    const { cpu } = guest;
    const rounds = 1000, step = 0x9e37_79b9;
    cpu.setRegister(Register.ebx, step);
    cpu.setRegister(Register.ecx, rounds);
    cpu.run(100_000);
    assert.equal(cpu.getRegister(Register.edx), Math.floor(rounds * step / 2 ** 32));
    return state(guest);
  });
});

// The carry of the last ADD of a round is read at the head of the next one, with DEC and JNZ in between:
// adc edx,0 | mov [esi],edx | add eax,ebx | dec ecx | jnz
const ACROSS = "83 d2 00 89 16 01 d8 49 75 f6 0f 01 c1";

Deno.test("CF outlives the way around a hot loop", () => {
  both(ACROSS, (guest) => {
    const { cpu } = guest;
    const rounds = 1000, step = 0x9e37_79b9;
    cpu.setRegister(Register.esi, DATA);
    cpu.setRegister(Register.ebx, step);
    cpu.setRegister(Register.ecx, rounds);
    cpu.run(100_000);
    // The last sum's carry is left in the flags.
    assert.equal(cpu.getRegister(Register.edx), Math.floor((rounds - 1) * step / 2 ** 32));
    return state(guest);
  });
});

Deno.test("CF of ADD and of ADC meet in one block of hot code", () => {
  // inc edi | test edi,1 | jz +4 | add eax,ebx | jmp +3 | stc | adc eax,ebx | adc edx,0 | dec ecx | jnz | jmp $
  both("47 f7 c7 01 00 00 00 74 04 01 d8 eb 03 f9 11 d8 83 d2 00 49 75 ea eb fe", (guest) => {
    const { cpu } = guest;
    const start = (rounds: number, edi: number, limit: number) => {
      cpu.eip = Place.code;
      cpu.setRegister(7, edi);
      cpu.setRegister(Register.eax, 5);
      cpu.setRegister(Register.ebx, 0xffff_ffff);
      cpu.setRegister(Register.ecx, rounds);
      cpu.setRegister(Register.edx, 0);
      cpu.run(limit);
    };
    // So that both ways, each of them around the loop and to its end, are known when it is hot.
    for (let i = 0; i < 20; i++) start(2, i, 200);
    start(1000, 0, 12_000);
    // ADC of all ones with a carry gives the operand again, and a carry; ADD one less, and a carry but from 0.
    let sum = 5, carries = 0;
    for (let n = 1; n <= 1000; n++) {
      sum += 0xffff_ffff + (n & 1 ? 0 : 1);
      if (sum >= 2 ** 32) carries++;
      sum %= 2 ** 32;
    }
    assert.equal(cpu.getRegister(Register.edx), carries);
    return state(guest);
  }, 20);
});

Deno.test("a budget may end at any instruction of hot code", () => {
  // A loop of three blocks: mov eax,[esi] | test cl,1 | jz +2 | inc ebx | inc edx | sub eax,ecx | dec ecx | jnz
  both("8b 06 f6 c1 01 74 02 43 42 29 c8 49 75 f2 0f 01 c1", (guest) => {
    const { cpu } = guest;
    const lines: string[] = [];
    cpu.setRegister(Register.esi, DATA);
    cpu.setRegister(Register.ecx, 0x7fff_ffff);
    cpu.run(1000);
    for (let limit = 1; limit <= 300; limit++) {
      const before = cpu.instructions;
      assert.equal(cpu.run(limit).kind, "budget");
      assert.equal(cpu.instructions - before, limit);
      lines.push(state(guest));
    }
    return lines;
  });
});

Deno.test("a fault in hot code leaves the state in front of the instruction", () => {
  // add ebx,1 | mov [esi],ebx | add esi,4 | adc edi,edi | dec ecx | jnz
  const trap = both("83 c3 01 89 1e 83 c6 04 11 ff 49 75 f3 0f 01 c1", (guest) => {
    const { cpu, permissions } = guest;
    permissions.set((DATA >> 12) + 2, 1);
    cpu.setRegister(Register.esi, DATA);
    cpu.setRegister(Register.ecx, 100_000);
    const trap = guest.trap(100_000);
    return { ...trap, state: state(guest) };
  });
  const rounds = 0x2000 / 4;
  assert.equal(trap.vector, 14);
  assert.equal(trap.errorCode, 7, "a write of ring 3 to a page that is there");
  assert.equal(trap.eip, Place.code + 3);
  // The full rounds, ADD, and in the handler PUSH and VMCALL.
  assert.match(trap.state, new RegExp(`^${rounds * 6 + 1 + 2} `));
});

Deno.test("a page that was read in hot code is not writable for that", () => {
  // mov eax,[esi] | inc eax | cmp ecx,1 | jnz +2 | mov [esi],eax | dec ecx | jnz | jmp $
  const trap = both("8b 06 40 83 f9 01 75 02 89 06 49 75 f3 eb fe", (guest) => {
    const { cpu, permissions } = guest;
    cpu.setRegister(Register.esi, DATA);
    // Hot with a page that may be written, and in few rounds, so that the store is compiled too.
    for (let i = 0; i < 20; i++) {
      cpu.eip = Place.code;
      cpu.setRegister(Register.ecx, 2);
      cpu.run(1000);
    }
    permissions.set(DATA >> 12, 1);
    cpu.flushPage(DATA);
    cpu.eip = Place.code;
    cpu.setRegister(Register.ecx, 500);
    const trap = guest.trap(20_000);
    return { ...trap, state: state(guest), word: guest.word(DATA) };
  });
  assert.equal(trap.vector, 14);
  assert.equal(trap.errorCode, 7);
  assert.equal(trap.eip, Place.code + 8);
  assert.equal(trap.word, 20);
});

Deno.test("a store that crosses into a page that must not be written faults in hot code", () => {
  // mov [esi],ebx | add esi,4 | dec ecx | jnz
  const trap = both("89 1e 83 c6 04 49 75 f8 0f 01 c1", (guest) => {
    const { cpu, permissions } = guest;
    permissions.set((DATA >> 12) + 1, 1);
    cpu.setRegister(Register.esi, DATA + 2);
    cpu.setRegister(Register.ecx, 100_000);
    cpu.setRegister(Register.ebx, 0xffff_ffff);
    const trap = guest.trap(100_000);
    return { ...trap, cr2: cpu.cr2, esi: cpu.getRegister(Register.esi), last: guest.word(DATA + 0xffc) };
  });
  assert.equal(trap.vector, 14);
  assert.equal(trap.cr2, DATA + 0x1000);
  assert.equal(trap.esi, DATA + 0xffe);
  assert.equal(trap.last, 0xffff, "nothing of the store that failed is there");
});

Deno.test("hot code may rewrite itself", () => {
  // mov eax,imm | add ebx,eax | test cx,0x3ff | jnz +6 | mov [imm],ecx | dec ecx | jnz
  const imm = Place.code + 1;
  const address = [0, 8, 16, 24].map((s) => ((imm >> s) & 0xff).toString(16).padStart(2, "0")).join(" ");
  const sum = both(
    `b8 05 00 00 00 01 c3 66 f7 c1 ff 03 75 06 89 0d ${address} 49 75 e9 0f 01 c1`,
    (guest) => {
      const { cpu } = guest;
      cpu.setRegister(Register.ecx, 20_000);
      cpu.run(1_000_000);
      return { sum: cpu.getRegister(Register.ebx), state: state(guest) };
    },
  );
  let value = 5, expected = 0;
  for (let n = 20_000; n > 0; n--) {
    expected = (expected + value) >>> 0;
    if ((n & 0x3ff) === 0) value = n;
  }
  assert.equal(sum.sum, expected);
});

Deno.test("an instruction that TypeScript does may rewrite the hot code around it", () => {
  // test cl,0x3f | jnz +14 | movd xmm0,ecx | movd [imm],xmm0 | jmp +0 | mov eax,imm | add ebx,eax | dec ecx | jnz
  // | jmp $; the second one without the jump, so that the instruction is of the block that it rewrites.
  for (const [jump, imm] of [["eb 00", 20], ["66 90", 20]] as const) {
    const address = [0, 8, 16, 24].map((s) =>
      (((Place.code + imm) >> s) & 0xff).toString(16).padStart(2, "0")
    );
    const code = `f6 c1 3f 75 0e 66 0f 6e c1 66 0f 7e 05 ${address.join(" ")} ${jump}` +
      "b8 05 00 00 00 01 c3 49 75 e3 eb fe";
    const sum = both(code, (guest) => {
      const { cpu } = guest;
      cpu.cr4 |= 0x200;
      // Short rounds at first, so that all ways are known when the loop is hot.
      for (const rounds of [65, 65, 65, 700]) {
        cpu.eip = Place.code;
        cpu.setRegister(Register.ebx, 0);
        cpu.setRegister(Register.ecx, rounds);
        cpu.run(20_000);
      }
      return { sum: cpu.getRegister(Register.ebx), state: state(guest) };
    }, 100);
    // The runs before left 64 in the code.
    let value = 64, expected = 0;
    for (let n = 700; n > 0; n--) {
      if ((n & 0x3f) === 0) value = n;
      expected += value;
    }
    assert.equal(sum.sum, expected);
  }
});

Deno.test("TF set in hot code traps behind one instruction", () => {
  both(CARRIES, (guest) => {
    const { cpu } = guest;
    cpu.setRegister(Register.ebx, 0x9e37_79b9);
    cpu.setRegister(Register.ecx, 0x7fff_ffff);
    const lines: string[] = [];
    for (let i = 0; i < 40; i++) {
      cpu.run(600 + i);
      cpu.eflags |= 0x100;
      const before = cpu.instructions, { eip } = cpu;
      const trap = guest.trap();
      assert.equal(trap.vector, 1);
      assert.equal(cpu.instructions - before, 3, "one instruction, PUSH and VMCALL of the handler");
      assert.notEqual(trap.eip, eip);
      lines.push(JSON.stringify(trap), state(guest));
      // Back to where it was, without TF.
      cpu.loadSegment(1, trap.cs);
      for (const s of [2, 3, 0]) cpu.loadSegment(s, trap.ss!);
      cpu.setRegister(Register.esp, trap.esp!);
      cpu.eip = trap.eip;
      cpu.eflags = trap.eflags & ~0x100;
    }
    return lines;
  });
});

Deno.test("pages that share a place in the TLB do not mix in hot code", () => {
  // mov eax,[esi] | add [edi],eax | mov edx,[ebp] | add ebx,edx | add esi,4 | dec ecx | jnz
  both("8b 06 01 07 8b 55 00 01 d3 83 c6 04 49 75 f1 0f 01 c1", (guest) => {
    const { cpu } = guest;
    // Memory comes again each 4 MiB, so that there are pages far enough from each other.
    const host = cpu.host;
    let asked = 0;
    cpu.host = Object.assign(Object.create(host), {
      translate: (va: number) => {
        asked++;
        return ((va >>> 12) & 0x3ff) * 8 + 7;
      },
    });
    const pages = [0x100, 0x501, 0x902];
    assert.deepEqual(pages.map((page) => tlbIndex(page << 12)), [0x100, 0x100, 0x100]);
    const [a, b, c] = pages.map((page) => page << 12);
    for (let i = 0; i < 1024; i++) guest.words(0x100_000 + 4 * i, i);
    guest.words(0x102_000, 7);
    cpu.setRegister(Register.esi, a);
    cpu.setRegister(Register.edi, b);
    cpu.setRegister(Register.ebp, c);
    cpu.setRegister(Register.ecx, 1024);
    cpu.run(100_000);
    assert.equal(guest.word(0x101_000), 1024 * 1023 / 2);
    assert.equal(cpu.getRegister(Register.ebx), 7 * 1024);
    assert.ok(asked < 10, `the host was asked ${asked} times`);
    // A flush reaches what was pushed out of its place, too: the host is asked for each page again.
    const reads: number[] = [];
    const touch = (flush: () => void) => {
      for (const page of pages) {
        cpu.setRegister(Register.esi, page << 12);
        cpu.setRegister(Register.ecx, 1);
        cpu.setRegister(Register.edi, 0x300_000);
        cpu.setRegister(Register.ebp, 0x300_000);
        cpu.eip = Place.code;
        cpu.run(6);
        if (page === pages[0]) {
          asked = 0;
          flush();
        }
      }
      reads.push(asked);
    };
    // The trap at the end led into ring 0, whose translations are its own.
    touch(() => {});
    touch(() => {});
    touch(() => {
      for (const page of pages) cpu.flushPage(page << 12);
    });
    touch(() => {
      for (const page of pages) cpu.flushFrame(page & 0x3ff);
    });
    touch(() => cpu.flushAll());
    // At last the code's page and that of EDI and EBP, too.
    assert.deepEqual(reads.slice(1), [0, 2, 2, 4]);
    return [state(guest), ...reads];
  });
});
