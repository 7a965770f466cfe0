// SPDX-License-Identifier: Apache-2.0
/**
 * A small guest for tests: identity translation with permissions a page, a GDT with flat segments of ring 0
 * and 3, a TSS, and an IDT whose handlers push their vector and leave by VMCALL.
 *
 * @module
 */
import { build } from "./build_cpu.ts";
import { createMachine } from "./mod.ts";
import {
  Access,
  type Cpu,
  type CpuExit,
  type Machine,
  Register,
  Segment,
  type Tier,
  TRANSLATE_HOLD,
} from "./types.ts";

await build();

/** Selectors of the guest. */
export const Selector = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss: 0x28,
  gate: 0x33,
  small: 0x3b,
} as const;
/** Addresses of the guest. */
export const Place = {
  gdt: 0x1000,
  idt: 0x1800,
  tss: 0x2000,
  handlers: 0x3000,
  stack0: 0x9000,
  stack3: 0xb000,
  code: 0x10000,
} as const;
const FRAMES = 1024;

/** What a handler found on its stack. */
export interface Trap {
  vector: number;
  errorCode: number | undefined;
  eip: number;
  cs: number;
  eflags: number;
  /** Stack of the outer level, when there was a change. */
  esp: number | undefined;
  ss: number | undefined;
}

const WITH_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

/** A machine with one CPU and the guest's tables. */
export class Guest {
  readonly machine: Machine;
  readonly cpu: Cpu;
  /** Permissions (bits read, write, execute) of pages that do not have all; 0: not present. */
  readonly permissions = new Map<number, number>();
  /** Pages whose accesses are held. */
  readonly held = new Set<number>();
  /** Called before each translation. */
  onTranslate: ((va: number, access: Access) => void) | undefined;
  readonly output: number[] = [];
  translations = 0;

  constructor(ring: 0 | 3 = 3, tier?: Tier) {
    this.machine = createMachine({ frames: FRAMES, ...(tier ? { tier } : {}) });
    this.cpu = this.machine.cpus[0];
    this.cpu.host = {
      translate: (va, access, user) => {
        this.translations++;
        this.onTranslate?.(va, access);
        const page = va >>> 12;
        if (this.held.has(page)) return TRANSLATE_HOLD;
        const allowed = page < FRAMES ? this.permissions.get(page) ?? 7 : 0;
        const needed = access === Access.read ? 1 : access === Access.write ? 2 : 4;
        if (allowed & needed) return page * 8 + allowed;
        const code = (allowed ? 1 : 0) | (access === Access.write ? 2 : 0) | (user ? 4 : 0) |
          (access === Access.fetch ? 16 : 0);
        return -1 - code;
      },
      controlRegisterWritten: () => {},
      invalidatePage: () => {},
      portRead: () => 0x5a,
      portWrite: (_port, _size, value) => void this.output.push(value),
    };
    const descriptors: [number, number][] = [
      [0, 0],
      [0x0000ffff, 0x00cf9b00],
      [0x0000ffff, 0x00cf9300],
      [0x0000ffff, 0x00cffb00],
      [0x0000ffff, 0x00cff300],
      [(Place.tss << 16) | 0x67, 0x00008b00 | (Place.tss >>> 16)],
      // A call gate to the first handler with two parameters, and a data segment of 16 bytes at 0x20000.
      [(Selector.code0 << 16) | Place.handlers, 0x0000ec02],
      [0x0000000f, 0x0040f302],
    ];
    descriptors.forEach(([low, high], i) => this.words(Place.gdt + 8 * i, low, high));
    for (let v = 0; v < 256; v++) {
      const stub = Place.handlers + 16 * v;
      // push imm32; vmcall
      this.bytes(stub, [0x68, v, 0, 0, 0, 0x0f, 0x01, 0xc1]);
      const open = v === 3 || v === 4 || v >= 0x80;
      this.words(Place.idt + 8 * v, (Selector.code0 << 16) | stub, open ? 0xee00 : 0x8e00);
    }
    this.words(Place.tss + 4, Place.stack0, Selector.data0);
    this.words(Place.tss + 0x64, 0x680000); // no port map
    const { cpu } = this;
    cpu.gdtr = { base: Place.gdt, limit: 8 * descriptors.length - 1 };
    cpu.idtr = { base: Place.idt, limit: 0x7ff };
    cpu.loadTaskRegister(Selector.tss);
    cpu.loadSegment(Segment.cs, ring === 3 ? Selector.code3 : Selector.code0);
    for (const s of [Segment.ss, Segment.ds, Segment.es, Segment.fs, Segment.gs]) {
      cpu.loadSegment(s, ring === 3 ? Selector.data3 : Selector.data0);
    }
    cpu.setRegister(Register.esp, Place.stack3);
    cpu.eip = Place.code;
  }
  /** Writes bytes as the host does. */
  bytes(at: number, data: ArrayLike<number>): void {
    for (let i = 0; i < data.length; i++) {
      this.machine.memory.frame((at + i) >>> 12)[(at + i) & 4095] = data[i];
    }
    for (let page = at >>> 12; page <= (at + data.length - 1) >>> 12; page++) {
      this.cpu.frameWritten(page, 0, 4096);
    }
  }
  words(at: number, ...values: number[]): void {
    values.forEach((v, i) =>
      this.bytes(at + 4 * i, [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24])
    );
  }
  word(at: number): number {
    const b = (i: number) => this.machine.memory.frame((at + i) >>> 12)[(at + i) & 4095];
    return (b(0) | (b(1) << 8) | (b(2) << 16) | (b(3) << 24)) >>> 0;
  }
  /** Puts code (hex bytes, blanks allowed) at an address, by default where EIP starts. */
  code(hex: string, at: number = Place.code): this {
    const clean = hex.replace(/\s+/g, "");
    this.bytes(
      at,
      Uint8Array.from({ length: clean.length / 2 }, (_, i) => parseInt(clean.slice(2 * i, 2 * i + 2), 16)),
    );
    return this;
  }
  /** Runs until a handler or VMCALL; returns the exit. */
  run(limit = 10_000): CpuExit {
    return this.cpu.run(limit);
  }
  /** Runs into a handler and reads its frame. */
  trap(limit = 10_000): Trap {
    const exit = this.run(limit);
    if (exit.kind !== "vmcall") throw new Error(`Cannot read a trap: the run ended with ${exit.kind}`);
    let at = this.cpu.getRegister(Register.esp);
    const next = () => this.word((at += 4) - 4);
    const vector = next();
    const errorCode = WITH_CODE.has(vector) ? next() : undefined;
    const [eip, cs, eflags] = [next(), next(), next()];
    const outer = (cs & 3) > 0;
    return {
      vector,
      errorCode,
      eip,
      cs,
      eflags,
      esp: outer ? next() : undefined,
      ss: outer ? next() : undefined,
    };
  }
}
