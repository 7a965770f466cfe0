// SPDX-License-Identifier: Apache-2.0
/**
 * Runs generated cases on umbra's CPU: user code in ring 3 with flat segments, every gate of the IDT leading
 * to a handler that halts, so that exceptions are seen by the way the guest would see them.
 *
 * @module
 */
import { createMachine } from "../../emulator/machine/mod.ts";
import { Access, type Cpu, type CpuHost, Segment } from "../../emulator/machine/types.ts";
import { type Instruction, Layout, type State } from "./cases.ts";
import { dataDescriptor, type Outcome, Windows } from "./unicorn_side.ts";

const { low, data, windowSize, readOnly, code, codeSize } = Layout;

/** Supervisor memory: handlers (16 bytes a vector), tables, ring-0 stack. */
const HANDLERS = 0x300000;
const TABLES = 0x301000;
const IDT = TABLES + 0x400;
const TSS = TABLES;
const GDT = TABLES + 0x200;
const STACK_TOP = 0x303000;
const KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER_CODE = 0x1b, USER_DATA = 0x23, TASK = 0x28, USER_FS = 0x33;
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

/** The CPU says that it does not model an instruction. */
export class NotModelled extends Error {
  override name = "NotModelled";
  constructor(readonly bytes: Uint8Array) {
    super(`Cannot run ${bytes.toHex()}: the CPU does not model it`);
  }
}

/** umbra's CPU with the layout of the cases. */
export class UmbraSide {
  readonly cpu: Cpu;
  readonly windows: Windows;
  readonly outcome: Outcome = { vector: -1, errorCode: 0, address: 0, state: new Uint32Array(10) };
  readonly #frame: (number: number) => Uint8Array;
  #placed: Instruction | undefined;

  constructor() {
    const machine = createMachine({ frames: 0x400 });
    this.cpu = machine.cpus[0];
    this.#frame = (number) => machine.memory.frame(number);
    this.windows = new Windows(new Uint8Array(Windows.size));
    const host: CpuHost = {
      translate(va, access, byUser) {
        const may = permissions(va, byUser);
        const needed = access === Access.write ? 2 : access === Access.fetch ? 4 : 1;
        if ((may & needed) === 0) {
          return -1 -
            ((may === 0 ? 0 : present) | (access === Access.write ? write : 0) | (byUser ? user : 0));
        }
        return (va >>> 12) * 8 + may;
      },
      controlRegisterWritten() {},
      invalidatePage() {},
      portRead: () => 0,
      portWrite() {},
    };
    this.cpu.host = host;
    this.#buildTables();
    for (let page = 0; page < codeSize; page += 0x1000) this.#frame((code + page) >>> 12).fill(HLT);
    this.#frame(HANDLERS >>> 12).fill(HLT);
    this.#reset();
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
    cpu.gdtr = { base: GDT, limit: 0x37 };
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
    cpu.loadSegment(Segment.fs, USER_FS);
  }

  #write(address: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      this.#frame((address + i) >>> 12)[(address + i) & 0xfff] = bytes[i];
    }
    const first = Math.min(bytes.length, 0x1000 - (address & 0xfff));
    this.cpu.frameWritten(address >>> 12, address & 0xfff, first);
    if (first < bytes.length) this.cpu.frameWritten((address >>> 12) + 1, 0, bytes.length - first);
  }

  #eachWindowPage(each: (frame: Uint8Array, part: Uint8Array) => void): void {
    const pages = [low, low + 0x1000, data, data + 0x1000, readOnly];
    for (const [i, page] of pages.entries()) {
      each(this.#frame(page >>> 12), this.windows.bytes.subarray(i * 0x1000, (i + 1) * 0x1000));
    }
  }

  /** Copies `windows` into the guest's memory. */
  storeWindows(): void {
    this.#eachWindowPage((frame, part) => frame.set(part));
  }

  /** Copies the guest's memory into `windows`. */
  loadWindows(): void {
    this.#eachWindowPage((frame, part) => part.set(frame));
  }

  /** Writes a little-endian word into the guest's memory; it lies in a window. */
  poke(address: number, value: number): void {
    for (let i = 0; i < 4; i++) {
      this.#frame((address + i) >>> 12)[(address + i) & 0xfff] = (value >>> (8 * i)) & 0xff;
    }
  }

  /** Reads a little-endian word of the guest's memory. */
  peek(address: number): number {
    let value = 0;
    for (let i = 0; i < 4; i++) value |= this.#frame((address + i) >>> 12)[(address + i) & 0xfff] << (8 * i);
    return value >>> 0;
  }

  /** Puts the instruction into the code page, with HLT in place of the one before it. */
  place(instruction: Instruction): void {
    if (this.#placed !== undefined) {
      this.#write(this.#placed.address, new Uint8Array(this.#placed.bytes.length).fill(HLT));
    }
    this.#write(instruction.address, instruction.bytes);
    this.#placed = instruction;
  }

  /** Runs the placed instruction, or the sequence of them, from `before` until EIP is elsewhere. */
  run(before: State): Outcome {
    const { cpu, outcome } = this;
    for (let i = 0; i < 8; i++) cpu.setRegister(i, before[i]);
    cpu.eip = before[8];
    cpu.eflags = before[9];
    outcome.vector = -1;
    outcome.errorCode = outcome.address = 0;
    const { address, bytes, slice } = this.#placed!;
    // Without a slice: one instruction at a time until EIP is elsewhere. With one: until the HLT behind.
    for (let left = slice === undefined ? 100 : 20_000_000; left > 0; left -= slice ?? 1) {
      const exit = cpu.run(slice ?? 1);
      if (exit.kind === "halt") break;
      if (exit.kind === "unsupported") throw new NotModelled(exit.bytes);
      if (exit.kind !== "budget") {
        const detail = exit.kind === "shutdown" ? exit.detail : "";
        throw new Error(`Cannot run ${bytes.toHex()}: the CPU left with ${exit.kind} ${detail}`);
      }
      const offset = cpu.eip - address;
      if (slice === undefined && (offset < 0 || offset >= bytes.length || cpu.cpl === 0)) break;
    }
    for (let i = 0; i < 8; i++) outcome.state[i] = cpu.getRegister(i);
    outcome.state[8] = cpu.eip;
    outcome.state[9] = cpu.eflags;
    if (cpu.cpl === 0) this.#leaveHandler();
    // HLT behind a chain is #GP in ring 3: that is its end.
    if (slice !== undefined && outcome.vector === 13 && outcome.state[8] === address + bytes.length) {
      outcome.vector = -1;
      outcome.errorCode = 0;
    }
    return outcome;
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
