// SPDX-License-Identifier: Apache-2.0
/** Both tiers do the same: results, events and instruction counts. */
import assert from "node:assert/strict";
import { xorshift32 } from "../../tests/bench/encoders.ts";
import { runOnBareCpu } from "../../tests/bench/bare_peer.ts";
import { OUT_ADDRESS, workload } from "../../tests/bench/workloads.ts";
import { Guest, Place, Selector } from "./fixture.ts";
import type { InterpretedCpu } from "./cpu.ts";
import { tierDefaults } from "./mod.ts";
import { Register, Segment, type Tier } from "./types.ts";

/** Runs with a tier and blocks that are hot soon. */
function withTier<T>(tier: Tier, hotEntries: number, body: () => T): T {
  const before = { ...tierDefaults };
  Object.assign(tierDefaults, { tier, hotEntries });
  try {
    return body();
  } finally {
    Object.assign(tierDefaults, before);
  }
}

const DATA = 0x40000;
const HOT = 3;

/** A random program of loops, calls, stores into code and accesses that fault now and then. */
class Program {
  readonly bytes: number[] = [];
  readonly starts: number[] = [];
  readonly immediates: number[] = [];
  readonly #next: () => number;
  constructor(seed: number) {
    this.#next = xorshift32(Math.imul(seed + 1, 0x9e3779b1));
    for (let i = 0; i < 8; i++) this.#next();
    const length = 20 + this.below(60);
    for (let i = 0; i < length; i++) {
      this.starts.push(this.bytes.length);
      this.bytes.push(...this.#instruction(i, length));
    }
    this.bytes.push(0x0f, 0x01, 0xc1);
    this.#link();
  }
  readonly #jumps: { at: number; size: 1 | 4; to: number }[] = [];
  #link(): void {
    const starts = [...this.starts, this.bytes.length - 3];
    for (const { at, size, to } of this.#jumps) {
      let distance = starts[to] - (at + size);
      if (size === 1 && (distance < -128 || distance > 127)) distance = 0;
      for (let i = 0; i < size; i++) this.bytes[at + i] = (distance >> (8 * i)) & 0xff;
    }
  }
  below(n: number): number {
    return Math.floor(this.#next() / 0x1_0000_0000 * n);
  }
  #pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
  /** ModRM with what follows: a register or data near ESI, EDI, EBP or an address. */
  #modrm(reg: number, memory = this.below(2) === 0): number[] {
    const r = reg << 3;
    if (!memory) return [0xc0 | r | this.#pick([0, 0, 1, 2, 2, 3, 3, 5])];
    switch (this.below(6)) {
      case 0:
        return [0x05 | r, this.below(256), this.#pick([0, 1, 0x0f, 0x10]), DATA >> 16, 0];
      case 1:
        return [0x46 | r, this.below(256)];
      case 2:
        return [0x47 | r, this.below(256)];
      case 3:
        return [0x44 | r, 0x1e, this.below(256)]; // [esi+ebx]
      case 4:
        return [0x44 | r, 0x24, this.below(64)]; // [esp+n]
      default:
        return [0x04 | r, 0x8d, this.below(256), 0xf0, DATA >> 16, 0]; // [ecx*4+data]
    }
  }
  #target(i: number, length: number, size: 1 | 4, lead: number[]): number[] {
    const back = this.below(3) > 0;
    const to = back ? Math.max(0, i - this.below(8)) : Math.min(length, i + 1 + this.below(6));
    this.#jumps.push({ at: this.bytes.length + lead.length, size, to });
    return [...lead, ...new Array(size).fill(0)];
  }
  #instruction(i: number, length: number): number[] {
    const reg = this.#pick([0, 1, 2, 3, 0, 1, 2, 3, 5]);
    const prefix = this.below(6) === 0 ? [0x66] : [];
    const immediate = (n: number) => Array.from({ length: n }, () => this.below(256));
    const wide = prefix.length ? 2 : 4;
    switch (this.below(36)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return [...prefix, this.below(8) * 8 + this.#pick([0, 1, 2, 3]), ...this.#modrm(reg)];
      case 4:
      case 5:
        return [...prefix, 0x83, ...this.#modrm(this.below(8)), ...immediate(1)];
      case 6:
        return [...prefix, 0x81, ...this.#modrm(this.below(8)), ...immediate(wide)];
      case 7:
        return [0x80, ...this.#modrm(this.below(8)), ...immediate(1)];
      case 8:
        return [...prefix, this.#pick([0x40, 0x48]) + this.#pick([0, 1, 2, 3])];
      case 9:
      case 10:
        return [...prefix, this.#pick([0xc0, 0xc1]), ...this.#modrm(this.below(8)), ...immediate(1)];
      case 11:
        return [...prefix, this.#pick([0xd0, 0xd1, 0xd2, 0xd3]), ...this.#modrm(this.below(8))];
      case 12:
        return [...prefix, this.#pick([0xf6, 0xf7]), ...this.#modrm(this.#pick([2, 3, 4, 5, 6, 7]))];
      case 13:
        return this.below(4)
          ? [...prefix, 0x0f, this.#pick([0xa3, 0xab, 0xb3, 0xbb, 0xaf, 0xc1, 0xb1]), ...this.#modrm(reg)]
          : [...prefix, 0x0f, this.#pick([0xa4, 0xac, 0xba]), ...this.#modrm(4 | reg), ...immediate(1)];
      case 14:
        return [0x0f, 0x90 + this.below(16), ...this.#modrm(0)];
      case 15:
        return [...prefix, 0x0f, 0x40 + this.below(16), ...this.#modrm(reg)];
      case 16:
        return [...prefix, 0x0f, this.#pick([0xb6, 0xb7, 0xbe, 0xbf, 0xbc, 0xbd]), ...this.#modrm(reg)];
      case 17:
        return [...prefix, 0x8d, ...this.#modrm(reg, true)];
      case 18:
        return [...prefix, this.#pick([0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x84, 0x85]), ...this.#modrm(reg)];
      case 19:
        return [this.#pick([0x50, 0x58]) + reg];
      case 20:
        return [
          this.#pick([
            0xf8,
            0xf9,
            0xf5,
            0x9f,
            0x9e,
            0x98,
            0x99,
            0xd6,
            0x9c,
            0x27,
            0x37,
            0xfc,
            0xfc,
            0xfd,
            0x90,
          ]),
        ];
      case 21:
        return [this.#pick([0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xae])];
      case 22:
        return [
          0xb9,
          this.below(40),
          0,
          0,
          0,
          this.#pick([0xf3, 0xf2]),
          this.#pick([0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xae]),
        ];
      case 23:
        this.immediates.push(this.bytes.length + 1);
        return [0xb8 + reg, ...immediate(4)];
      case 24:
        return this.#pick([[0x0f, 0x31], [0xd9, 0xe8], [0xde, 0xc1], [0x0f, 0xc8 + reg], [
          0xbe,
          0x80,
          0,
          DATA >> 16,
          0,
        ], [
          0xbf,
          0,
          0x10,
          DATA >> 16,
          0,
        ]]);
      case 25: {
        if (this.immediates.length === 0) return [0x90];
        // Store into the code, rarely.
        const at = Place.code + this.#pick(this.immediates);
        return this.below(4) ? [0x90] : [0xa2, at & 0xff, (at >> 8) & 0xff, (at >> 16) & 0xff, 0];
      }
      case 26:
        return this.#target(i, length, 4, [0xe8]);
      case 27:
        return this.below(2) ? [0xc3] : [0x90];
      case 28:
        return this.#target(i, length, 1, [this.#pick([0xe0, 0xe1, 0xe2, 0xe3, 0xeb])]);
      case 34:
      case 35: {
        // What sets CF, INC or DEC or a rotate behind it, and what reads the flags then.
        const r = () => this.#pick([0, 1, 2, 3]);
        const setter = this.#pick([[0x01], [0x11], [0x29], [0x39], [0xd1]]);
        const bytes = [...prefix, ...setter, 0xc0 | (setter[0] === 0xd1 ? 4 << 3 : r() << 3) | r()];
        for (let n = this.below(4); n > 0; n--) {
          const one = this.#pick([[0x40 + r()], [0x48 + r()], [0xfe, 0xc0 + r()], [0xfe, 0xc8 + r()], [
            0xd1,
            0xc0 | (this.below(2) << 3) | r(),
          ]]);
          bytes.push(...one);
        }
        switch (this.below(4)) {
          case 0:
            return [...bytes, 0x11, 0xc0 | (r() << 3) | r()]; // adc
          case 1:
            return [...bytes, 0x0f, 0x90 + this.below(16), 0xc0 | r()]; // setcc
          case 2:
            return [...bytes, 0xd1, 0xd0 | r()]; // rcl
          default:
            return this.#target(i, length, 1, [...bytes, 0x70 + this.below(16)]);
        }
      }
      case 29:
        return this.#target(i, length, 4, [0x0f, 0x80 + this.below(16)]);
      default: {
        // Mostly behind what sets the flags for it.
        const setters: number[][] = [
          [],
          [0x80, ...this.#modrm(7), ...immediate(1)],
          [0x3c, ...immediate(1)],
          [...prefix, 0x39, ...this.#modrm(reg)],
          [0x84, ...this.#modrm(reg)],
          [...prefix, 0x48 + this.#pick([0, 1, 2, 3])],
          [...prefix, 0x01, ...this.#modrm(reg), 0x40],
          [0x29, ...this.#modrm(reg), 0x0f, 0x94, 0xc2],
          [0x38, ...this.#modrm(reg), 0x41],
        ];
        return this.#target(i, length, 1, [...this.#pick(setters), 0x70 + this.below(16)]);
      }
    }
  }
}

/** Runs a program in slices; what the host and the guest see, line by line. */
function trace(seed: number, tier: Tier): { lines: string[]; compiled: number } {
  const program = new Program(seed);
  const choose = xorshift32(seed ^ 0x1234567);
  const lines: string[] = [];
  const guest = withTier(tier, HOT, () => new Guest(3));
  const { cpu } = guest;
  guest.onTranslate = (va, access) =>
    lines.push(`translate ${va.toString(16)} ${access} at ${cpu.instructions}`);
  guest.bytes(Place.code, program.bytes);
  guest.permissions.set((DATA >> 12) + 0x10, 1);
  const restart = () => {
    cpu.loadSegment(Segment.cs, Selector.code3);
    for (const s of [Segment.ss, Segment.ds, Segment.es]) cpu.loadSegment(s, Selector.data3);
    cpu.setRegister(Register.esp, Place.stack3);
    cpu.setRegister(6, DATA + 0x80);
    cpu.setRegister(7, DATA + 0x1000);
    cpu.setRegister(3, choose() & 0x1fff);
    cpu.eflags = 0x202;
    cpu.eip = Place.code + program.starts[choose() % program.starts.length];
  };
  restart();
  for (let step = 0, left = 12_000; step < 120 && left > 0; step++) {
    const limit = 1 + choose() % (step % 4 === 0 ? 60 : 900);
    if (choose() % 7 === 0) cpu.flushPage(DATA + (choose() & 0x3000));
    if (choose() % 11 === 0) cpu.flushAll();
    if (choose() % 13 === 0) cpu.eflags |= 0x100;
    const before = cpu.instructions;
    const exit = cpu.run(limit);
    left -= cpu.instructions - before;
    const registers = Array.from({ length: 8 }, (_, r) => cpu.getRegister(r).toString(16));
    lines.push(
      `${exit.kind} ${cpu.instructions} ${cpu.eip.toString(16)} ${
        cpu.eflags.toString(16)
      } ${cpu.cr2} ${registers}`,
    );
    if (exit.kind === "vmcall") {
      const esp = cpu.getRegister(Register.esp);
      lines.push(`trap ${[0, 4, 8, 12, 16, 20].map((at) => guest.word(esp + at).toString(16))}`);
      restart();
    } else if (exit.kind !== "budget") restart();
  }
  let hash = 0;
  for (let page = 0; page < 256; page++) {
    for (const byte of guest.machine.memory.frame(page)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  }
  lines.push(`memory ${hash}`);
  return { lines, compiled: (cpu as InterpretedCpu).jitStatistics?.compiled ?? 0 };
}

const PROGRAMS = Number(Deno.args[0] ?? 300), FIRST = Number(Deno.args[1] ?? 0);
Deno.test("random programs run the same in both tiers", () => {
  let compiled = 0;
  for (let seed = FIRST; seed < FIRST + PROGRAMS; seed++) {
    const second = trace(seed, "jit");
    const first = trace(seed, "interpreter");
    const at = first.lines.findIndex((line, i) => line !== second.lines[i]);
    assert.equal(
      at,
      -1,
      `program ${seed}, line ${at}:\n${
        first.lines.slice(Math.max(0, at - 3), at + 1).join("\n")
      }\nbut compiled\n${second.lines[at]}`,
    );
    assert.equal(second.lines.length, first.lines.length);
    compiled += second.compiled;
  }
  assert.ok(compiled > PROGRAMS, `only ${compiled} regions were compiled`);
});

Deno.test("a page that loses its right to execute ends a region that spans it", () => {
  const [first, second] = (["interpreter", "jit"] as const).map((tier) => {
    const guest = withTier(tier, HOT, () => new Guest(3, tier));
    const lines: string[] = [];
    // inc eax; jmp +0x1000 | inc ebx; jmp back
    guest.code("40 e9 fa 0f 00 00", Place.code).code("43 e9 fa ef ff ff", Place.code + 0x1000);
    guest.cpu.run(2000);
    assert.ok(tier === "interpreter" || (guest.cpu as InterpretedCpu).jitStatistics!.compiled > 0);
    guest.onTranslate = (va, access) => lines.push(`${va} ${access} ${guest.cpu.instructions}`);
    guest.cpu.flushPage(Place.code);
    guest.cpu.run(100);
    guest.permissions.set((Place.code + 0x1000) >>> 12, 3);
    guest.cpu.flushPage(Place.code + 0x1000);
    const trap = guest.trap();
    return [...lines, JSON.stringify(trap), guest.cpu.instructions, guest.cpu.getRegister(0), guest.cpu.cr2];
  });
  assert.deepEqual(second, first);
  assert.equal(second.at(-1), Place.code + 0x1000);
});

for (const name of ["w1", "w2", "w3", "w4"]) {
  Deno.test(`${name} runs the same in both tiers`, () => {
    const program = workload(name);
    const most = 3_000_000;
    const [first, second] = (["interpreter", "jit"] as const).map((tier) =>
      withTier(tier, 50, () => runOnBareCpu(program.image, most))
    );
    assert.equal(second.end, first.end);
    assert.equal(second.instructions, first.instructions);
    assert.deepEqual(second.read(OUT_ADDRESS, 0x40000), first.read(OUT_ADDRESS, 0x40000));
  });
}
