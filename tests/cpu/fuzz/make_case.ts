// SPDX-License-Identifier: Apache-2.0
/**
 * Hostile guests for the fuzz: code, registers, descriptor tables and page tables of one case, from one seed.
 *
 * @module
 */
import { rows } from "../../../emulator/isa/mod.ts";
import type { Cpu } from "../../../emulator/machine/types.ts";
import { Random } from "../random.ts";

/** Guest-physical frames of a case's guest. */
export const FRAMES = 48;
/** Where things lie, by frame; the rest is data. */
const Frame = {
  directory: 1,
  table: 5,
  gdt: 13,
  idt: 14,
  tss: 15,
  handlers: 16,
  code: 20,
  stack: 28,
  data: 32,
} as const;
const PAGE = 4096;

/** What a case's guest begins with: bytes of its memory and the registers. */
export interface FuzzCase {
  readonly seed: number;
  readonly memory: Uint8Array;
  enter(cpu: Cpu): void;
  /** Limits of the runs, one after the other. */
  readonly slices: readonly number[];
}

const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/** An encoding of a row of the CPU's own table, with random operands. */
function encode(r: Random): number[] {
  const row = r.pick(rows);
  const bytes: number[] = [];
  while (r.oneIn(4)) bytes.push(r.pick(PREFIXES));
  const parts = row.opcode.split(" ").filter((part) => part !== "");
  let modrm = r.below(256);
  // Near addresses more often than far ones.
  if (r.oneIn(2)) modrm = (modrm & 0x38) | r.pick([0x05, 0x40, 0x43, 0x46, 0x47, 0xc0, 0xc1, 0xc3]);
  for (const part of parts) {
    if (part.startsWith("/")) {
      const digit = part[1] === "r" ? -1 : Number(part[1]);
      if (part.endsWith("r")) modrm |= 0xc0;
      if (digit >= 0) modrm = (modrm & 0xc7) | (digit << 3);
    } else if (parts.indexOf(part) === 2) modrm = parseInt(part, 16);
    else bytes.push(parseInt(part, 16));
  }
  bytes.push(modrm);
  if ((modrm & 0xc7) === 0x05) bytes.push(...word(r.below(FRAMES * PAGE)));
  for (let i = r.below(6); i > 0; i--) bytes.push(r.below(256));
  return bytes;
}
const word = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];

/** Code: random bytes, encodings of the table, or such with some bits turned over; loops now and then. */
function code(r: Random, length: number): Uint8Array {
  const bytes: number[] = [];
  const kind = r.below(4);
  while (bytes.length < length) {
    if (kind === 0) bytes.push(r.below(256));
    else if (r.below(12) === 0) bytes.push(0xe2, (-2 - r.below(Math.min(100, bytes.length + 1))) & 0xff);
    else if (r.oneIn(12)) {
      bytes.push(0x70 + r.below(16), (-2 - r.below(Math.min(60, bytes.length + 1))) & 0xff);
    } else bytes.push(...encode(r));
  }
  if (kind === 3) { for (let i = r.below(20); i > 0; i--) bytes[r.below(length)] ^= 1 << r.below(8); }
  return Uint8Array.from(bytes.slice(0, length));
}

/** A frame that an entry names: mostly one of the guest's, else any. */
function someFrame(r: Random): number {
  return r.oneIn(8) ? r.word() & 0xf_ffff : r.oneIn(4) ? r.below(FRAMES + 4) : r.below(FRAMES);
}

/** Page tables of both formats: the identity, then with entries that are anything. */
function pageTables(view: DataView, r: Random, pae: boolean): void {
  const size = pae ? 8 : 4;
  const put = (frame: number, index: number, low: number, high = 0) => {
    view.setUint32(frame * PAGE + index * size, low >>> 0, true);
    if (pae) view.setUint32(frame * PAGE + index * size + 4, high >>> 0, true);
  };
  if (pae) {
    // Pointers in frame 1, the directory in 2, tables from 5 on.
    for (let i = 0; i < 4; i++) {
      put(Frame.directory, i, ((Frame.directory + 1) * PAGE) | 1 | (r.oneIn(30) ? r.word() & 0x1e6 : 0));
    }
    put(Frame.directory + 1, 0, (Frame.table * PAGE) | 7);
  } else put(Frame.directory, 0, (Frame.table * PAGE) | 7);
  const directory = pae ? Frame.directory + 1 : Frame.directory;
  for (let i = 0; i < FRAMES; i++) put(Frame.table, i, (i * PAGE) | 7);
  // A second way to all frames, and the tables through themselves.
  put(directory, 1, (Frame.table * PAGE) | 7);
  put(directory, 2, (directory * PAGE) | 7);
  put(directory, 3, (0 << 21) | 0x87);
  for (let i = r.below(40); i > 0; i--) {
    const table = r.pick([Frame.table, Frame.table, directory, Frame.table + 1]);
    const index = r.oneIn(3) ? r.below(PAGE / size) : r.below(FRAMES);
    const flags = r.oneIn(6) ? r.word() & 0xfff : 7 & ~(r.oneIn(3) ? 1 << r.below(3) : 0);
    put(table, index, (someFrame(r) << 12) | flags, r.oneIn(4) ? r.word() : r.oneIn(6) ? 0x8000_0000 : 0);
  }
}

/** Descriptors: flat ones at the usual places, then anything. */
function descriptorTables(view: DataView, r: Random): void {
  const gdt = Frame.gdt * PAGE;
  const put = (index: number, low: number, high: number) => {
    view.setUint32(gdt + 8 * index, low >>> 0, true);
    view.setUint32(gdt + 8 * index + 4, high >>> 0, true);
  };
  put(1, 0xffff, 0x00cf9b00);
  put(2, 0xffff, 0x00cf9300);
  put(3, 0xffff, 0x00cffb00);
  put(4, 0xffff, 0x00cff300);
  put(5, ((Frame.tss * PAGE) << 16) | 0x67, 0x8900 | ((Frame.tss * PAGE) >>> 16));
  put(6, (gdt << 16) | 0xff, 0x8200 | (gdt >>> 16));
  put(
    7,
    (8 << 16) | ((Frame.handlers * PAGE) & 0xffff),
    0xec00 | ((Frame.handlers * PAGE) & 0xffff0000) | r.below(32),
  );
  put(8, (((Frame.tss * PAGE) + 0x400) << 16) | 0x67, 0x8900 | ((Frame.tss * PAGE) >>> 16));
  put(9, 8 * 8 << 16, 0xe500);
  put(10, 0xffff, 0x00009b00 | ((Frame.code * PAGE) >>> 16));
  put(
    11,
    ((Frame.data * PAGE) << 16) | r.below(0x1000),
    0x00409200 | ((Frame.data * PAGE) >>> 16) | (r.below(4) << 13),
  );
  for (let i = 12; i < 32; i++) put(i, r.word(), (r.word() & 0xff0f_ffff) | (r.below(2) << 15));
  for (let i = r.below(6); i > 0; i--) view.setUint8(gdt + 8 + r.below(31 * 8), r.below(256));
  for (let vector = 0; vector < 256; vector++) {
    const at = Frame.idt * PAGE + 8 * vector;
    const target = Frame.handlers * PAGE + 16 * (vector & 63);
    const selector = r.oneIn(40) ? r.word() & 0xffff : r.oneIn(20) ? 9 * 8 : 8;
    view.setUint32(at, ((selector << 16) | (target & 0xffff)) >>> 0, true);
    const type = r.oneIn(30) ? r.below(256) : selector === 72 ? 0xe5 : r.pick([0x8e, 0xee, 0x8f, 0xef, 0xe6]);
    view.setUint32(at + 4, ((target & 0xffff_0000) | (type << 8)) >>> 0, true);
  }
  const tss = Frame.tss * PAGE;
  for (const base of [tss, tss + 0x400]) {
    for (let i = 0; i < 0x68; i += 4) {
      view.setUint32(base + i, r.oneIn(4) ? r.word() : r.below(FRAMES * PAGE), true);
    }
    for (let ring = 0; ring < 3; ring++) {
      view.setUint32(base + 4 + 8 * ring, Frame.stack * PAGE + 0x800 + 0x100 * ring, true);
      view.setUint32(base + 8 + 8 * ring, r.oneIn(10) ? r.below(256) : 0x10 | ring, true);
    }
    view.setUint32(base + 0x4c, r.pick([8, 8, 0x1b, r.below(256)]), true);
    view.setUint32(base + 0x50, r.pick([0x10, 0x10, 0x23, r.below(256)]), true);
    view.setUint32(base + 0x20, Frame.code * PAGE + r.below(PAGE), true);
    view.setUint32(base + 0x1c, (Frame.directory * PAGE) | 0, true);
    view.setUint32(base + 0x24, r.below(0x1000) & ~0x100, true);
  }
}

/** The case of a seed. */
export function makeCase(seed: number): FuzzCase {
  const r = new Random(seed);
  const memory = new Uint8Array(FRAMES * PAGE);
  const view = new DataView(memory.buffer);
  const pae = r.below(3) > 0;
  pageTables(view, r, pae);
  descriptorTables(view, r);
  for (let f = Frame.data; f < FRAMES; f++) {
    for (let i = 0; i < 64; i++) view.setUint32(f * PAGE + 4 * r.below(1024), r.value(), true);
  }
  for (let f = Frame.code; f < Frame.stack; f++) memory.set(code(r, f === Frame.code ? 600 : 120), f * PAGE);
  // Handlers: back, forward, or anything.
  for (let i = 0; i < 64; i++) {
    const bytes = r.pick([
      [0xcf],
      [0x83, 0xc4, 0x04, 0xcf],
      [0xff, 0x04, 0x24, 0xcf],
      [0xff, 0x44, 0x24, 0x04, 0x83, 0xc4, 0x04, 0xcf],
      [0x0f, 0x01, 0xc1],
      [...code(r, 14)],
    ]);
    memory.set(bytes.slice(0, 16), Frame.handlers * PAGE + 16 * i);
  }
  const start = Frame.code * PAGE + (r.oneIn(4) ? r.below(8 * PAGE) : r.oneIn(2) ? 0 : r.below(600));
  const registers = Array.from({ length: 8 }, () => r.oneIn(3) ? r.value() : r.below(FRAMES * PAGE));
  registers[4] = r.oneIn(10) ? r.value() : Frame.stack * PAGE + 0x400 + (r.below(0x80) << 2);
  const ring = r.pick([0, 0, 3, 3, 1, 2]);
  const flags = (r.word() & 0x25_fed5 & ~(r.oneIn(6) ? 0 : 0x100) & ~(r.oneIn(8) ? 0 : 0x4_0000)) | 2;
  const paging = r.below(4) > 0;
  const cr0 = (0x11 | (paging ? 0x8000_0000 : 0) | (r.word() & 0x5_000e & (r.oneIn(3) ? -1 : 0x5_0000))) >>>
    0;
  const cr4 = (pae ? 0x20 : r.below(2) * 0x10) | 0x600 | (r.word() & 0x8c);
  const efer = pae && r.below(2) ? 0x800 : 0;
  const debug = Array.from(
    { length: 4 },
    () => r.pick([start, Frame.data * PAGE, Frame.stack * PAGE + 0x400]) + r.below(64),
  );
  const control = r.oneIn(3) ? r.word() & 0xffff_23ff : 0;
  const segments = Array.from({ length: 6 }, (_, i) => ({
    odd: r.oneIn(8) && i !== 1,
    selector: r.below(0x10000),
    base: r.oneIn(2) ? 0 : r.below(FRAMES * PAGE),
    limit: r.oneIn(2) ? 0xffff_ffff : r.below(FRAMES * PAGE),
    rights: r.oneIn(3) ? r.word() & 0x1_f0ff : r.pick([0xc0f3, 0x40f7, 0x00f3, 0xc0f1, 0xc0fb]),
  }));
  const small = r.oneIn(12);
  const limits = { gdt: r.oneIn(8) ? r.below(0x100) : 0xff, idt: r.oneIn(8) ? r.below(0x800) : 0x7ff };
  return {
    seed,
    memory,
    slices: Array.from({ length: 2 + r.below(5) }, () => 1 + r.below(r.oneIn(2) ? 20 : 400)),
    enter(cpu) {
      cpu.cr0 = cr0;
      cpu.cr4 = cr4;
      cpu.efer = efer;
      cpu.gdtr = { base: Frame.gdt * PAGE, limit: limits.gdt };
      cpu.idtr = { base: Frame.idt * PAGE, limit: limits.idt };
      cpu.cr3 = Frame.directory * PAGE;
      registers.forEach((value, i) => cpu.setRegister(i, value));
      for (let i = 0; i < 6; i++) cpu.setSegment(i, 0x10 | ring, 0, 0xffff_ffff, 0xc093 | (ring << 5));
      cpu.setSegment(1, 8 | ring, 0, 0xffff_ffff, (small ? 0x809b : 0xc09b) | (ring << 5));
      segments.forEach(({ odd, selector, base, limit, rights }, i) => {
        if (odd) cpu.setSegment(i, selector, base, limit, rights);
      });
      try {
        cpu.loadTaskRegister(0x28);
      } catch (error) {
        // The tables may not allow it: the case goes on without.
        if (!(error as Error).message.startsWith("Cannot load the task register")) throw error;
      }
      debug.forEach((value, i) => cpu.setDebugRegister(i, value));
      cpu.setDebugRegister(6, 0xffff0ff0);
      cpu.setDebugRegister(7, control);
      cpu.eflags = flags;
      cpu.eip = start;
    },
  };
}
