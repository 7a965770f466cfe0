// SPDX-License-Identifier: Apache-2.0
/**
 * The shadow pool of one domain: machine frames that hold shadow tables, and what each stands for.
 *
 * @module
 */
import type { FrameMemory } from "../machine/types.ts";

/** What a shadow table stands for. */
export const Kind = {
  free: 0,
  /** A guest page table with 64-bit entries. */
  l1: 1,
  /** Half a guest page table with 32-bit entries (1024 of them make two shadow tables). */
  l1Legacy: 2,
  /** The 512 small pages of a large guest page ("fl1"): belongs to one directory entry, not to a guest frame. */
  splinter: 3,
  /** A guest page directory with 64-bit entries. */
  l2: 4,
  /** A quarter of a guest page directory with 32-bit entries. */
  l2Legacy: 5,
  /** One gigabyte of the identity map, while the guest's paging is off; no guest frame. */
  l2Identity: 6,
} as const;
/** One of {@link Kind}. */
export type Kind = (typeof Kind)[keyof typeof Kind];

/** Entries in a shadow table. */
export const ENTRIES = 512;

/** Shadow tables by slot number; one slot is one machine frame of the pool. */
export class ShadowPool {
  /** Machine frame of each slot. */
  readonly frame: Int32Array;
  readonly kind: Uint8Array;
  /** Guest frame a slot shadows (-1: none), and which part of it. */
  readonly gfn: Int32Array;
  readonly part: Uint8Array;
  /** Level 1: how many shadow directory entries lead here. */
  readonly references: Int32Array;
  /** Level 1: directory slot that was linked last; -1 none. */
  readonly parent: Int32Array;
  /** Splinters: the guest directory entry they were made for, without its accessed and dirty bits. */
  readonly largeHi: Uint32Array;
  readonly largeLo: Uint32Array;
  /** First virtual address the table translates, as linked last. */
  readonly va: Uint32Array;
  /** 1 when the table was linked at more than one virtual address: then `va` is not to be trusted. */
  readonly ambiguous: Uint8Array;
  /** Next shadow of the same guest frame; -1 ends. */
  readonly #next: Int32Array;
  readonly #firstOfGuestFrame: Int32Array;
  readonly #slotOfFrame: Int32Array;
  readonly #free: number[] = [];
  readonly #memory: FrameMemory;

  constructor(memory: FrameMemory, frames: Int32Array, guestFrames: number) {
    const slots = frames.length;
    this.#memory = memory;
    this.frame = frames;
    this.kind = new Uint8Array(slots);
    this.gfn = new Int32Array(slots).fill(-1);
    this.part = new Uint8Array(slots);
    this.references = new Int32Array(slots);
    this.parent = new Int32Array(slots).fill(-1);
    this.largeHi = new Uint32Array(slots);
    this.largeLo = new Uint32Array(slots);
    this.va = new Uint32Array(slots);
    this.ambiguous = new Uint8Array(slots);
    this.#next = new Int32Array(slots).fill(-1);
    this.#firstOfGuestFrame = new Int32Array(guestFrames).fill(-1);
    this.#slotOfFrame = new Int32Array(memory.frames).fill(-1);
    for (let slot = slots - 1; slot >= 0; slot--) {
      this.#slotOfFrame[frames[slot]] = slot;
      this.#free.push(slot);
    }
  }

  get slots(): number {
    return this.frame.length;
  }

  get free(): number {
    return this.#free.length;
  }

  /** Slot whose frame this is. */
  slotOf(frame: number): number {
    return this.#slotOfFrame[frame];
  }

  /** First shadow of a guest frame, or -1; go on with {@link next}. */
  first(gfn: number): number {
    return this.#firstOfGuestFrame[gfn];
  }

  next(slot: number): number {
    return this.#next[slot];
  }

  /** The shadow of this part of a guest frame, or -1. */
  find(kind: Kind, gfn: number, part: number): number {
    let slot = this.#firstOfGuestFrame[gfn];
    while (slot >= 0 && (this.kind[slot] !== kind || this.part[slot] !== part)) slot = this.#next[slot];
    return slot;
  }

  /** Takes a zeroed table. The caller has made sure that there is one ({@link free}). */
  allocate(kind: Kind, gfn: number, part: number, va: number): number {
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error("Cannot allocate a shadow table: the pool is empty");
    this.#memory.frame(this.frame[slot]).fill(0);
    this.kind[slot] = kind;
    this.gfn[slot] = gfn;
    this.part[slot] = part;
    this.references[slot] = 0;
    this.parent[slot] = -1;
    this.va[slot] = va;
    this.ambiguous[slot] = 0;
    if (gfn >= 0) {
      this.#next[slot] = this.#firstOfGuestFrame[gfn];
      this.#firstOfGuestFrame[gfn] = slot;
    }
    return slot;
  }

  /** Gives a table back. */
  release(slot: number): void {
    const gfn = this.gfn[slot];
    if (gfn >= 0) {
      if (this.#firstOfGuestFrame[gfn] === slot) this.#firstOfGuestFrame[gfn] = this.#next[slot];
      else {
        let before = this.#firstOfGuestFrame[gfn];
        while (this.#next[before] !== slot) before = this.#next[before];
        this.#next[before] = this.#next[slot];
      }
    }
    this.#next[slot] = -1;
    this.gfn[slot] = -1;
    this.kind[slot] = Kind.free;
    this.#free.push(slot);
  }

  readLow(slot: number, index: number): number {
    return this.#memory.readWord(this.frame[slot], index * 8) >>> 0;
  }

  readHigh(slot: number, index: number): number {
    return this.#memory.readWord(this.frame[slot], index * 8 + 4) >>> 0;
  }

  write(slot: number, index: number, hi: number, lo: number): void {
    this.#memory.writeWord(this.frame[slot], index * 8, lo);
    this.#memory.writeWord(this.frame[slot], index * 8 + 4, hi);
  }
}
