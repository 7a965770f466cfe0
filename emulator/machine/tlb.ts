// SPDX-License-Identifier: Apache-2.0
/**
 * The software TLB: two direct-mapped banks (supervisor, user) in linear memory, where handlers look, and
 * beside them what only TypeScript needs: frame and permissions of each entry.
 *
 * @module
 */
import { FRAMES_BASE, State, TLB_BANK_SIZE, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_INVALID } from "./layout.ts";
import type { LinearMemory } from "./memory.ts";

/** Permission bits of a translation. */
export const Permission = { read: 1, write: 2, execute: 4 } as const;

/** The TLB of one CPU. */
export class Tlb {
  readonly #words: Int32Array;
  readonly #area: number;
  /** Frame, page and permissions by bank * TLB_ENTRIES + index; frame -1: empty. */
  readonly frames = new Int32Array(2 * TLB_ENTRIES).fill(-1);
  readonly pages = new Int32Array(2 * TLB_ENTRIES);
  readonly permissions = new Uint8Array(2 * TLB_ENTRIES);
  /** Number of entries that map each frame. */
  readonly #references: Uint16Array;
  readonly #hasCode: (frame: number) => boolean;
  /** Entries filled since the last complete flush, to flush only those. */
  #filled: number[] = [];

  constructor(memory: LinearMemory, area: number, hasCode: (frame: number) => boolean) {
    this.#words = memory.words;
    this.#area = area;
    this.#references = new Uint16Array(memory.frames);
    this.#hasCode = hasCode;
    for (let e = 0; e < 2 * TLB_ENTRIES; e++) this.#invalidate(e);
  }

  #word(entry: number): number {
    return (this.#area + State.tlbBanks + entry * TLB_ENTRY_SIZE) >>> 2;
  }
  #invalidate(entry: number): void {
    const w = this.#word(entry);
    this.#words[w] = TLB_INVALID;
    this.#words[w + 1] = TLB_INVALID;
    this.#words[w + 2] = TLB_INVALID;
    const frame = this.frames[entry];
    if (frame >= 0) this.#references[frame]--;
    this.frames[entry] = -1;
  }
  /** Address of a bank in linear memory. */
  bankAddress(user: boolean): number {
    return this.#area + State.tlbBanks + (user ? TLB_BANK_SIZE : 0);
  }
  /** Number of the entry that maps the page of a linear address, or -1. */
  find(va: number, user: boolean): number {
    const entry = (user ? TLB_ENTRIES : 0) + ((va >>> 12) & (TLB_ENTRIES - 1));
    return this.frames[entry] >= 0 && this.pages[entry] === (va & -4096) ? entry : -1;
  }
  /**
   * Takes a translation into the TLB. Returns true when a right to execute went away by it.
   */
  fill(va: number, user: boolean, frame: number, permissions: number): boolean {
    const entry = (user ? TLB_ENTRIES : 0) + ((va >>> 12) & (TLB_ENTRIES - 1));
    const page = va & -4096;
    const old = this.frames[entry];
    const lost = old >= 0 && this.pages[entry] === page &&
      (this.permissions[entry] & Permission.execute) !== 0 &&
      (old !== frame || (permissions & Permission.execute) === 0);
    if (old >= 0) this.#references[old]--;
    else this.#filled.push(entry);
    this.#references[frame]++;
    this.frames[entry] = frame;
    this.pages[entry] = page;
    this.permissions[entry] = permissions;
    const w = this.#word(entry);
    this.#words[w] = permissions & Permission.read ? page : TLB_INVALID;
    this.#words[w + 1] = permissions & Permission.write && !this.#hasCode(frame) ? page : TLB_INVALID;
    this.#words[w + 2] = permissions & Permission.execute ? page : TLB_INVALID;
    this.#words[w + 3] = FRAMES_BASE + frame * 4096 - page;
    return lost;
  }
  flushAll(): void {
    for (const entry of this.#filled) this.#invalidate(entry);
    this.#filled.length = 0;
  }
  flushPage(va: number): void {
    for (const user of [false, true]) {
      const entry = this.find(va, user);
      if (entry >= 0) this.#drop(entry);
    }
  }
  flushFrame(frame: number): void {
    if (!this.#references[frame]) return;
    const filled = this.#filled;
    for (let i = filled.length - 1; i >= 0 && this.#references[frame] > 0; i--) {
      if (this.frames[filled[i]] !== frame) continue;
      this.#invalidate(filled[i]);
      filled[i] = filled[filled.length - 1];
      filled.pop();
    }
  }
  #drop(entry: number): void {
    this.#invalidate(entry);
    const at = this.#filled.indexOf(entry);
    if (at >= 0) {
      this.#filled[at] = this.#filled[this.#filled.length - 1];
      this.#filled.pop();
    }
  }
  /** A frame got its first decoded code (stores to it must be seen), or lost its last. */
  codeChanged(frame: number, hasCode: boolean): void {
    let left = this.#references[frame];
    for (let i = this.#filled.length - 1; i >= 0 && left > 0; i--) {
      const e = this.#filled[i];
      if (this.frames[e] !== frame) continue;
      left--;
      const writable = !hasCode && (this.permissions[e] & Permission.write) !== 0;
      this.#words[this.#word(e) + 1] = writable ? this.pages[e] : TLB_INVALID;
    }
  }
}
