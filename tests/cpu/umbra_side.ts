// SPDX-License-Identifier: Apache-2.0
/**
 * Runs generated cases on umbra's CPU: user code in ring 3 with flat segments, every gate of the IDT leading
 * to a handler that halts, so that exceptions are seen by the way the guest would see them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { InterpretedCpu } from "../../emulator/machine/cpu.ts";
import { createMachine, tierDefaults } from "../../emulator/machine/mod.ts";
import { Access, type Cpu, type CpuHost, Segment } from "../../emulator/machine/types.ts";
import { codeOf, type Instruction, Layout, startOf, type State } from "./cases.ts";
import type { WordDifference } from "./known_errors.ts";
import { dataDescriptor, type Outcome, Windows } from "./unicorn_side.ts";

const { low, data, windowSize, readOnly, code, codeSize } = Layout;

/** Supervisor memory: handlers (16 bytes a vector), tables, ring-0 stack. */
const HANDLERS = 0x300000;
const TABLES = 0x301000;
const IDT = TABLES + 0x400;
const TSS = TABLES;
const GDT = TABLES + 0x200;
const STACK_TOP = 0x303000;
const KERNEL_CODE = 0x08,
  KERNEL_DATA = 0x10,
  USER_CODE = 0x1b,
  USER_DATA = 0x23,
  TASK = 0x28,
  USER_FS = 0x33,
  USER_LIMITED = 0x3b;
const HLT = 0xf4;
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

const present = 1, write = 2, user = 4;

/** Page permissions of the layout: readable 1, writable 2, executable 4; 0 is not mapped. */
function permissions(va: number, byUser: boolean): number {
  const within = (start: number, size: number) => va >= start && va < start + size;
  if (within(low, windowSize) || within(data, windowSize)) return 3;
  if (within(readOnly, 0x1000)) return 1;
  if (within(code, codeSize)) return 5;
  if (!byUser && within(HANDLERS, 0x3000)) return 7;
  return 0;
}

/** How umbra runs the cases. */
export interface UmbraSideOptions {
  /** Entries after which a block is compiled; 0 (the default) for the interpreter alone. */
  readonly hotEntries?: number;
  /** ES ends a page early, so that the CPU takes no segment for flat. */
  readonly limited?: boolean;
}

/** Frames of the layout; code goes to frames behind them when it is compiled. */
const FRAMES = 0x400, CODE_FRAMES = 0x4000;
/** Instructions placed in a frame before the next one is taken: code that often changes is not compiled. */
const PLACED_IN_FRAME = 8;

/** umbra's CPU with the layout of the cases. */
export class UmbraSide {
  readonly cpu: Cpu;
  readonly outcome: Outcome = { vector: -1, errorCode: 0, address: 0, state: new Uint32Array(10) };
  readonly #frame: (number: number) => Uint8Array;
  readonly #windowPages: readonly Uint8Array[];
  readonly #compiles: boolean;
  readonly #limited: boolean;
  #placed: Instruction | undefined;
  #placements = 0;
  /** First of the frames that the code is in. */
  #codeFrame = code >>> 12;

  constructor(options: UmbraSideOptions = {}) {
    const hotEntries = options.hotEntries ?? 0;
    this.#compiles = hotEntries > 0;
    this.#limited = options.limited ?? false;
    const before = { ...tierDefaults };
    Object.assign(tierDefaults, this.#compiles ? { tier: "jit", hotEntries } : { tier: "interpreter" });
    const machine = createMachine({ frames: FRAMES + (this.#compiles ? CODE_FRAMES : 0) });
    Object.assign(tierDefaults, before);
    this.cpu = machine.cpus[0];
    this.#frame = (number) => machine.memory.frame(number);
    this.#windowPages = [low, low + 0x1000, data, data + 0x1000, readOnly].map((page) =>
      this.#frame(page >>> 12)
    );
    const host: CpuHost = {
      translate: (va, access, byUser) => {
        const may = permissions(va, byUser);
        const needed = access === Access.write ? 2 : access === Access.fetch ? 4 : 1;
        if ((may & needed) === 0) {
          return -1 -
            ((may === 0 ? 0 : present) | (access === Access.write ? write : 0) | (byUser ? user : 0));
        }
        return this.#frameAt(va) * 8 + may;
      },
      controlRegisterWritten() {},
      invalidatePage() {},
      portRead: () => 0,
      portWrite() {},
    };
    this.cpu.host = host;
    this.#buildTables();
    for (let page = 0; page < codeSize; page += 0x1000) this.#frame(this.#frameAt(code + page)).fill(HLT);
    this.#frame(HANDLERS >>> 12).fill(HLT);
    this.#reset();
  }

  /** Frame of a page. */
  #frameAt(va: number): number {
    const isCode = va >= code && va < code + codeSize;
    return isCode ? this.#codeFrame + ((va - code) >>> 12) : va >>> 12;
  }

  /** Regions that the second tier compiled. */
  get compiledRegions(): number {
    return (this.cpu as InterpretedCpu).jitStatistics?.compiled ?? 0;
  }

  #buildTables(): void {
    const frame = this.#frame(TABLES >>> 12);
    frame.fill(0);
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const descriptor = (selector: number, low: number, high: number) => {
      view.setUint32(GDT - TABLES + (selector & 0xf8), low, true);
      view.setUint32(GDT - TABLES + (selector & 0xf8) + 4, high, true);
    };
    descriptor(KERNEL_CODE, 0x0000ffff, 0x00cf9b00);
    descriptor(KERNEL_DATA, 0x0000ffff, 0x00cf9300);
    descriptor(USER_CODE, 0x0000ffff, 0x00cffb00);
    descriptor(USER_DATA, 0x0000ffff, 0x00cff300);
    view.setBigUint64(GDT - TABLES + (USER_FS & 0xf8), dataDescriptor(Layout.fsBase, 3), true);
    descriptor(USER_LIMITED, 0x0000fffe, 0x00cff300); // up to 0xffff_efff
    descriptor(TASK, ((TSS & 0xffff) << 16) | 0x67, 0x00008900 | (TSS & 0xff000000) | ((TSS >>> 16) & 0xff));
    view.setUint32(4, STACK_TOP, true);
    view.setUint32(8, KERNEL_DATA, true);
    for (let vector = 0; vector < 32; vector++) {
      const handler = HANDLERS + vector * 16;
      view.setUint32(IDT - TABLES + vector * 8, (KERNEL_CODE << 16) | (handler & 0xffff), true);
      view.setUint32(IDT - TABLES + vector * 8 + 4, (handler & 0xffff0000) | 0xee00, true);
    }
  }

  /** Protected mode, ring 3. */
  #reset(): void {
    const { cpu } = this;
    cpu.cr0 = 0x80010031; // PG, WP, NE, ET, PE
    cpu.cr4 = 0x620; // PAE, OSFXSR, OSXMMEXCPT
    cpu.gdtr = { base: GDT, limit: 0x3f };
    cpu.idtr = { base: IDT, limit: 32 * 8 - 1 };
    cpu.loadTaskRegister(TASK);
    this.#toUser();
  }

  #toUser(): void {
    const { cpu } = this;
    cpu.loadSegment(Segment.cs, USER_CODE);
    for (const segment of [Segment.ss, Segment.ds, Segment.es, Segment.gs]) {
      cpu.loadSegment(segment, USER_DATA);
    }
    if (this.#limited) cpu.loadSegment(Segment.es, USER_LIMITED);
    cpu.loadSegment(Segment.fs, USER_FS);
  }

  #write(address: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      this.#frame(this.#frameAt(address + i))[(address + i) & 0xfff] = bytes[i];
    }
    const first = Math.min(bytes.length, 0x1000 - (address & 0xfff));
    this.cpu.frameWritten(this.#frameAt(address), address & 0xfff, first);
    if (first < bytes.length) {
      this.cpu.frameWritten(this.#frameAt(address + first), 0, bytes.length - first);
    }
  }

  /** Copies windows into the guest's memory. */
  storeWindows(windows: Uint8Array): void {
    for (const [i, page] of this.#windowPages.entries()) {
      page.set(windows.subarray(i * 0x1000, (i + 1) * 0x1000));
    }
  }

  /** Words in which the guest's memory differs from these windows. */
  differences(windows: Uint8Array): WordDifference[] {
    const found: WordDifference[] = [];
    for (let i = 0; i < this.#windowPages.length; i++) {
      const page = this.#windowPages[i];
      const other = windows.subarray(i * 0x1000, (i + 1) * 0x1000);
      if (Buffer.compare(page, other) === 0) continue;
      const ours = new Uint32Array(page.buffer, page.byteOffset, 0x400);
      const theirs = new Uint32Array(other.buffer, other.byteOffset, 0x400);
      for (let n = 0; n < ours.length; n++) {
        if (ours[n] === theirs[n]) continue;
        const address = Windows.address(i * 0x1000 + 4 * n);
        found.push({ address, unicorn: theirs[n], umbra: ours[n] });
      }
    }
    return found;
  }

  /** Writes a little-endian word into the guest's memory; it lies in a window. */
  poke(address: number, value: number): void {
    for (let i = 0; i < 4; i++) {
      this.#frame((address + i) >>> 12)[(address + i) & 0xfff] = (value >>> (8 * i)) & 0xff;
    }
  }

  /** Writes words into the guest's memory; they lie in one page. */
  pokeWords(address: number, words: Uint32Array): void {
    const page = this.#frame(address >>> 12);
    page.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), address & 0xfff);
  }

  /** Reads words of the guest's memory; they lie in one page. */
  peekWords(address: number, count: number): Uint32Array {
    const page = this.#frame(address >>> 12);
    return new Uint32Array(page.slice(address & 0xfff, (address & 0xfff) + 4 * count).buffer);
  }

  /** Puts the instruction into the code page, with HLT in place of the one before it. */
  place(instruction: Instruction): void {
    if (this.#compiles && ++this.#placements % PLACED_IN_FRAME === 0) this.#takeFreshFrames();
    else if (this.#placed !== undefined) {
      this.#write(startOf(this.#placed), new Uint8Array(codeOf(this.#placed).length).fill(HLT));
    }
    this.#write(startOf(instruction), codeOf(instruction));
    this.#placed = instruction;
  }
  #takeFreshFrames(): void {
    const pages = codeSize >>> 12;
    this.#codeFrame += pages;
    // All used: those used first do as well, but for the code that is no longer compiled in them.
    if (this.#codeFrame < FRAMES || this.#codeFrame + pages > FRAMES + CODE_FRAMES) this.#codeFrame = FRAMES;
    for (let i = 0; i < pages; i++) {
      this.#frame(this.#codeFrame + i).fill(HLT);
      this.cpu.frameWritten(this.#codeFrame + i, 0, 0x1000);
    }
    this.cpu.flushAll();
  }

  /** Runs the placed instruction, or the sequence of them, from `before` until EIP is elsewhere. */
  run(before: State): Outcome {
    const { cpu, outcome } = this;
    const placed = this.#placed!;
    const { address, bytes } = placed;
    for (let i = 0; i < 8; i++) cpu.setRegister(i, before[i]);
    cpu.eip = before[8] - (placed.lead ?? 0);
    cpu.eflags = before[9];
    outcome.vector = -1;
    outcome.errorCode = outcome.address = 0;
    const slice = placed.slice ?? (this.#compiles ? 1000 : undefined);
    // Without a slice: one instruction at a time until EIP is elsewhere. With one: until the HLT behind.
    for (let left = slice === undefined ? 100 : 20_000_000; left > 0; left -= slice ?? 1) {
      const exit = cpu.run(slice ?? 1);
      if (exit.kind === "halt") break;
      if (exit.kind !== "budget") {
        const detail = exit.kind === "shutdown" ? exit.detail : "";
        throw new Error(`Cannot run ${bytes.toHex()}: the CPU left with ${exit.kind} ${detail}`);
      }
      const offset = cpu.eip - address;
      const outside = offset < -(placed.lead ?? 0) || offset >= bytes.length;
      if (slice === undefined && (outside || cpu.cpl === 0)) break;
    }
    for (let i = 0; i < 8; i++) outcome.state[i] = cpu.getRegister(i);
    outcome.state[8] = cpu.eip;
    outcome.state[9] = cpu.eflags;
    if (cpu.cpl === 0) this.#leaveHandler();
    if (slice !== undefined && this.#isEnd(placed)) {
      outcome.vector = -1;
      outcome.errorCode = outcome.address = 0;
    }
    return outcome;
  }

  /** True when the exception is that of the next instruction: #GP of HLT in ring 3, #PF of a jump to nowhere. */
  #isEnd(placed: Instruction): boolean {
    const { vector, address, state } = this.outcome;
    const eip = state[8];
    if (eip >= placed.address && eip < placed.address + placed.bytes.length) return false;
    return vector === 13 || (vector === 14 && address === eip);
  }

  /** Reads the exception's frame from the ring-0 stack and goes back to ring 3. */
  #leaveHandler(): void {
    const { cpu, outcome } = this;
    outcome.vector = (cpu.eip - HANDLERS) >>> 4;
    let at = cpu.getRegister(4);
    const frame = this.#frame((STACK_TOP - 1) >>> 12);
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const pop = () => {
      const value = view.getUint32(at & 0xfff, true);
      at += 4;
      return value;
    };
    if (WITH_ERROR_CODE.has(outcome.vector)) outcome.errorCode = pop();
    if (outcome.vector === 14) outcome.address = cpu.cr2;
    outcome.state[8] = pop();
    pop();
    outcome.state[9] = pop();
    outcome.state[4] = pop();
    this.#toUser();
  }
}
