// SPDX-License-Identifier: Apache-2.0
/**
 * The software TLB: two direct-mapped banks (supervisor, user) in linear memory, where handlers look, and
 * beside them what only TypeScript needs: frame and permissions of each entry. What another page pushed out of
 * its place waits in a second part, from where it comes back without asking the host.
 *
 * @module
 */
import { tagFor, Withheld } from "./breakpoints.ts";
import {
  FRAMES_BASE,
  State,
  TLB_BANK_SIZE,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_INVALID,
  tlbIndex,
} from "./layout.ts";
import type { LinearMemory } from "./memory.ts";

/** Permission bits of a translation. */
export const Permission = { read: 1, write: 2, execute: 4 } as const;
const BANKS = 2 * TLB_ENTRIES;
const ENTRIES = 2 * BANKS;

/** The TLB of one CPU. */
export class Tlb {
  readonly #words: Int32Array;
  readonly #area: number;
  /** Frame, page and permissions by bank * TLB_ENTRIES + index, then the second part; frame -1: empty. */
  readonly frames = new Int32Array(ENTRIES).fill(-1);
  readonly pages = new Int32Array(ENTRIES);
  readonly permissions = new Uint8Array(ENTRIES);
  /** The entries that map a frame: the first one by frame, the next one by entry; -1 ends. */
  readonly #first: Int16Array;
  readonly #next = new Int16Array(ENTRIES);
  readonly #hasCode: (frame: number) => boolean;
  /** Rights that entries of a page must not show to handlers: bytes there are watched. */
  readonly #withheld: ReadonlyMap<number, number>;
  /** Entries filled since the last complete flush, to flush only those. */
  #filled: number[] = [];
  readonly #isFilled = new Uint8Array(ENTRIES);

  constructor(
    memory: LinearMemory,
    area: number,
    hasCode: (frame: number) => boolean,
    withheld: ReadonlyMap<number, number>,
  ) {
    this.#words = memory.words;
    this.#area = area;
    this.#first = new Int16Array(memory.frames).fill(-1);
    this.#hasCode = hasCode;
    this.#withheld = withheld;
    for (let i = 0; i < TLB_BANK_SIZE; i += 4) this.#words[(area + State.emptyBank + i) >>> 2] = TLB_INVALID;
    for (let e = 0; e < ENTRIES; e++) this.#invalidate(e);
  }

  #word(entry: number): number {
    return (this.#area + State.tlbBanks + entry * TLB_ENTRY_SIZE) >>> 2;
  }
  #invalidate(entry: number): void {
    if (entry < BANKS) this.#words.fill(TLB_INVALID, this.#word(entry), this.#word(entry) + 3);
    this.#unlink(entry);
  }
  #unlink(entry: number): void {
    const frame = this.frames[entry];
    if (frame < 0) return;
    this.frames[entry] = -1;
    if (this.#first[frame] === entry) this.#first[frame] = this.#next[entry];
    else {
      let at = this.#first[frame];
      while (this.#next[at] !== entry) at = this.#next[at];
      this.#next[at] = this.#next[entry];
    }
  }
  static #entry(va: number, user: boolean): number {
    return (user ? TLB_ENTRIES : 0) + tlbIndex(va);
  }
  /** The place in the second part: pages that meet in the first one do not meet here. */
  static #second(va: number, user: boolean): number {
    return BANKS + (user ? TLB_ENTRIES : 0) + ((va >>> 12) & (TLB_ENTRIES - 1));
  }
  #put(entry: number, page: number, frame: number, permissions: number): void {
    this.#unlink(entry);
    if (!this.#isFilled[entry]) {
      this.#isFilled[entry] = 1;
      this.#filled.push(entry);
    }
    this.frames[entry] = frame;
    this.#next[entry] = this.#first[frame];
    this.#first[frame] = entry;
    this.pages[entry] = page;
    this.permissions[entry] = permissions;
  }
  /** Address of a bank in linear memory. */
  bankAddress(user: boolean): number {
    return this.#area + State.tlbBanks + (user ? TLB_BANK_SIZE : 0);
  }
  /** Number of the entry that maps the page of a linear address, or -1. */
  find(va: number, user: boolean): number {
    const entry = Tlb.#entry(va, user);
    return this.frames[entry] >= 0 && this.pages[entry] === (va & -4096) ? entry : -1;
  }
  /** The same, when the entry was pushed out of its place: it is put there again. */
  recall(va: number, user: boolean): number {
    const second = Tlb.#second(va, user);
    if (this.frames[second] < 0 || this.pages[second] !== (va & -4096)) return -1;
    const frame = this.frames[second];
    this.#unlink(second);
    this.fill(va, user, frame, this.permissions[second]);
    return Tlb.#entry(va, user);
  }
  /**
   * Takes a translation into the TLB. Returns true when a right to execute went away by it.
   */
  fill(va: number, user: boolean, frame: number, permissions: number): boolean {
    const entry = Tlb.#entry(va, user);
    const page = va & -4096;
    const old = this.frames[entry];
    const lost = old >= 0 && this.pages[entry] === page &&
      (this.permissions[entry] & Permission.execute) !== 0 &&
      (old !== frame || (permissions & Permission.execute) === 0);
    if (old >= 0 && this.pages[entry] !== page) {
      this.#put(Tlb.#second(this.pages[entry], user), this.pages[entry], old, this.permissions[entry]);
    }
    this.#put(entry, page, frame, permissions);
    const w = this.#word(entry);
    const withheld = this.#withheld.size > 0 ? this.#withheld.get(page) ?? 0 : 0;
    this.#words[w] = permissions & Permission.read ? tagFor(withheld, Withheld.read, page) : TLB_INVALID;
    this.#words[w + 1] = permissions & Permission.write && !this.#hasCode(frame)
      ? tagFor(withheld, Withheld.write, page)
      : TLB_INVALID;
    this.#words[w + 2] = permissions & Permission.execute ? page : TLB_INVALID;
    this.#words[w + 3] = FRAMES_BASE + frame * 4096 - page;
    return lost;
  }
  /** True when handlers may use an entry for reading, or for writing, without asking. */
  allows(entry: number, write: boolean): boolean {
    return this.#words[this.#word(entry) + (write ? 1 : 0)] !== TLB_INVALID;
  }
  flushAll(): void {
    for (const entry of this.#filled) {
      this.#invalidate(entry);
      this.#isFilled[entry] = 0;
    }
    this.#filled.length = 0;
  }
  flushPage(va: number): void {
    for (const user of [false, true]) {
      for (const entry of [Tlb.#entry(va, user), Tlb.#second(va, user)]) {
        if (this.pages[entry] === (va & -4096)) this.#invalidate(entry);
      }
    }
  }
  flushFrame(frame: number): void {
    while (this.#first[frame] >= 0) this.#invalidate(this.#first[frame]);
  }
  /** A frame got its first decoded code (stores to it must be seen), or lost its last. */
  codeChanged(frame: number, hasCode: boolean): void {
    for (let e = this.#first[frame]; e >= 0; e = this.#next[e]) {
      if (e >= BANKS) continue;
      const writable = !hasCode && (this.permissions[e] & Permission.write) !== 0;
      const withheld = this.#withheld.get(this.pages[e]) ?? 0;
      this.#words[this.#word(e) + 1] = writable
        ? tagFor(withheld, Withheld.write, this.pages[e])
        : TLB_INVALID;
    }
  }
}
