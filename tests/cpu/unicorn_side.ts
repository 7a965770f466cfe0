// SPDX-License-Identifier: Apache-2.0
/**
 * Runs generated cases on native Unicorn.
 *
 * @module
 */
import { Protection, Unicorn } from "./unicorn.ts";
import { codeOf, type Instruction, Layout, startOf, type State } from "./cases.ts";

const { low, data, windowSize, readOnly, code, codeSize } = Layout;

/** What came of one case on one engine. */
export interface Outcome {
  /** Vector of the exception, -1 if the instruction was done. */
  vector: number;
  /** Page-fault error code, 0 if there was no page fault. */
  errorCode: number;
  /** Address of a page fault. */
  address: number;
  /** eax to edi, eip, eflags. */
  readonly state: State;
}

const HLT = 0xf4;

/** Error numbers of Unicorn that are page faults, with the bits present and write of the error code. */
const PAGE_FAULTS: Readonly<Record<number, number>> = { 6: 0, 7: 2, 8: 0, 12: 3, 13: 1, 14: 1 };
/** Those of them that are fetches. */
const FETCHES = [8, 14];
const INVALID_INSTRUCTION = 10;

/** Where Unicorn's descriptor table is; no case reaches it. */
const GDT = 0x400000;

/** Descriptor of a 4 GiB data segment (SDM volume 3, 3.4.5). */
export function dataDescriptor(base: number, privilege: number): bigint {
  const high = 0x00cf9300 | privilege << 13 | (base & 0xff000000) | ((base >>> 16) & 0xff);
  return (BigInt(high >>> 0) << 32n) | BigInt((((base & 0xffff) << 16) | 0xffff) >>> 0);
}

/** The memory windows of one engine, in the order low, data, read-only. */
export class Windows {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array;
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }
  /** Size of all windows together, bytes. */
  static readonly size = 2 * windowSize + 0x1000;
  /** Offset of an address in the windows, -1 if it is in none. */
  static offset(address: number): number {
    if (address >= low && address < low + windowSize) return address - low;
    if (address >= data && address < data + windowSize) return address - data + windowSize;
    if (address >= readOnly && address < readOnly + 0x1000) return address - readOnly + 2 * windowSize;
    return -1;
  }
  /** Address of an offset in the windows. */
  static address(offset: number): number {
    if (offset < windowSize) return low + offset;
    return offset < 2 * windowSize ? data + offset - windowSize : readOnly + offset - 2 * windowSize;
  }
}

/** Unicorn with the layout of the cases. */
export class UnicornSide {
  readonly engine = new Unicorn();
  readonly windows: Windows;
  readonly outcome: Outcome = { vector: -1, errorCode: 0, address: 0, state: new Uint32Array(10) };
  #placed: Instruction | undefined;

  constructor() {
    const host = new WebAssembly.Memory({ initial: 2 }).buffer;
    const at = (offset: number, length: number) => new Uint8Array(host, offset, length);
    this.windows = new Windows(at(0, Windows.size));
    this.engine.map(low, at(0, windowSize), Protection.read | Protection.write);
    this.engine.map(data, at(windowSize, windowSize), Protection.read | Protection.write);
    this.engine.map(readOnly, at(2 * windowSize, 0x1000), Protection.read);
    const program = at(0x8000, codeSize);
    program.fill(HLT);
    const table = at(0xf000, 0x1000);
    const descriptors = new DataView(table.buffer, table.byteOffset);
    descriptors.setBigUint64(8, dataDescriptor(Layout.fsBase, 3), true);
    descriptors.setBigUint64(16, dataDescriptor(0, 0), true);
    this.engine.map(GDT, table, Protection.read | Protection.write);
    this.engine.loadSegments(GDT, 0x10, 0x0b);
    this.engine.map(code, program, Protection.read | Protection.execute);
  }

  /** Puts the instruction into the code page, with HLT in place of the one before it. */
  place(instruction: Instruction): void {
    if (this.#placed !== undefined) {
      this.engine.writeCode(
        startOf(this.#placed),
        new Uint8Array(codeOf(this.#placed).length).fill(HLT),
      );
    }
    this.engine.writeCode(startOf(instruction), codeOf(instruction));
    this.#placed = instruction;
  }

  /** Runs the placed instruction from `before`; the HLT behind it (or at its target) ends the run. */
  run(before: State): Outcome {
    const { engine, outcome } = this;
    engine.state.set(before);
    engine.state[8] -= this.#placed!.lead ?? 0;
    const end = engine.run(0xffff_fff0);
    outcome.state.set(engine.state);
    outcome.vector = -1;
    outcome.errorCode = outcome.address = 0;
    if (end.vector >= 0) {
      outcome.vector = end.vector;
    } else if (end.error === INVALID_INSTRUCTION) {
      outcome.vector = 6;
    } else if (FETCHES.includes(end.error) && end.address !== this.#placed!.address) {
      // A jump to nowhere: the instruction is done, it is the next fetch that faults.
      outcome.state[8] = end.address;
    } else if (end.error in PAGE_FAULTS) {
      outcome.vector = 14;
      outcome.errorCode = 4 | PAGE_FAULTS[end.error];
      outcome.address = end.address;
    } else if (end.error !== 0) {
      throw new Error(`Cannot classify the end of Unicorn's run: error ${end.error}`);
    } else {
      outcome.state[8] -= 1;
    }
    return outcome;
  }

  close(): void {
    this.engine.close();
  }
}
