// SPDX-License-Identifier: Apache-2.0
/**
 * The shadow tables of one domain: linking, level-1 entries with their reverse map, revoking, recycling.
 * Nothing here decides what an entry should say.
 *
 * @module
 */
import type { Cpu, FrameMemory } from "../machine/types.ts";
import {
  ACCESSED,
  DIRTY,
  frameOf,
  highOf,
  lowOf,
  narrows,
  NO_EXECUTE,
  PRESENT,
  USER,
  WRITABLE,
} from "./entries.ts";
import { ENTRIES, Kind, ShadowPool } from "./pool.ts";
import { ReverseMap } from "./reverse_map.ts";

/** First address of the guest kernel's half; the boundary of two level-3 entries. */
export const KERNEL_BASE = 0x8000_0000;

/** What tells one guest directory entry for a large page from another. */
const LARGE_IDENTITY = ~(ACCESSED | DIRTY) >>> 0;

/** The top of one vCPU's shadow tables: a machine frame with four entries, and the slots they lead to. */
export interface ShadowRoot {
  readonly frame: number;
  /** Slots of the four directories; -1 where there is none yet. */
  readonly directories: Int32Array;
}

/** What a domain's shadows are made of; see the module. */
export class ShadowTables {
  readonly pool: ShadowPool;
  readonly roots: ShadowRoot[] = [];
  readonly cpus: Cpu[] = [];
  readonly #memory: FrameMemory;
  readonly #reverse: ReverseMap;

  constructor(memory: FrameMemory, poolFrames: Int32Array, guestFrames: number) {
    this.#memory = memory;
    this.pool = new ShadowPool(memory, poolFrames, guestFrames);
    this.#reverse = new ReverseMap(memory.frames, poolFrames.length * ENTRIES);
  }

  /** Adds a vCPU; `frame` holds its level-3 table. */
  addRoot(cpu: Cpu, frame: number): ShadowRoot {
    const root = { frame, directories: new Int32Array(4).fill(-1) };
    this.#memory.frame(frame).fill(0);
    this.roots.push(root);
    this.cpus.push(cpu);
    return root;
  }

  /** True when a guest frame is shadowed as a page table. */
  isTable(gfn: number): boolean {
    return this.pool.first(gfn) >= 0;
  }

  /** Points one of the four level-3 entries at a directory slot (-1: not present). */
  setDirectory(root: ShadowRoot, gigabyte: number, slot: number): void {
    root.directories[gigabyte] = slot;
    const frame = slot < 0 ? 0 : this.pool.frame[slot];
    this.#memory.writeWord(root.frame, gigabyte * 8, slot < 0 ? 0 : lowOf(frame, PRESENT));
    this.#memory.writeWord(root.frame, gigabyte * 8 + 4, slot < 0 ? 0 : highOf(frame));
  }

  /** True while a vCPU's level-3 table leads to this directory. */
  isLoaded(directory: number): boolean {
    for (const root of this.roots) if (root.directories.includes(directory)) return true;
    return false;
  }

  /** Level-1 slot behind a directory entry, or -1. */
  child(directory: number, index: number): number {
    const lo = this.pool.readLow(directory, index);
    return lo & PRESENT ? this.pool.slotOf(frameOf(this.pool.readHigh(directory, index), lo)) : -1;
  }

  /** True when a level-1 slot is the shadow that a guest directory entry wants. */
  shadows(table: number, guestHi: number, guestLo: number, large: boolean): boolean {
    const frame = frameOf(guestHi, guestLo);
    if (!large) return this.pool.kind[table] !== Kind.splinter && this.pool.gfn[table] === frame;
    return this.pool.kind[table] === Kind.splinter && this.pool.largeHi[table] === guestHi &&
      this.pool.largeLo[table] === ((guestLo & LARGE_IDENTITY) >>> 0);
  }

  /** Takes a splinter for a large guest page; the caller has made sure that the pool has a table. */
  splinter(guestHi: number, guestLo: number, va: number): number {
    const table = this.pool.allocate(Kind.splinter, -1, 0, va);
    this.pool.largeHi[table] = guestHi;
    this.pool.largeLo[table] = guestLo & LARGE_IDENTITY;
    return table;
  }

  /** Rewrites the rights of a directory entry that already leads to this table. */
  setLink(directory: number, index: number, table: number, hi: number, flags: number): void {
    const pool = this.pool;
    const frame = pool.frame[table];
    const oldHi = pool.readHigh(directory, index);
    const oldLo = pool.readLow(directory, index);
    const newHi = (hi | highOf(frame)) >>> 0;
    const newLo = lowOf(frame, flags);
    if (oldHi === newHi && oldLo === newLo) return;
    pool.write(directory, index, newHi, newLo);
    if (narrows(oldHi, oldLo, newHi, newLo)) this.flushAll();
  }

  /** Makes an empty directory entry lead to a level-1 slot, with the rights given (PRESENT included). */
  link(directory: number, index: number, table: number, va: number, hi: number, flags: number): void {
    const pool = this.pool;
    this.setLink(directory, index, table, hi, flags);
    if (pool.references[table]++ > 0 && pool.va[table] !== va) pool.ambiguous[table] = 1;
    pool.va[table] = va;
    pool.parent[table] = directory;
  }

  /** Removes a directory entry; the table goes with its last reference. All TLBs are flushed. */
  unlink(directory: number, index: number): void {
    const table = this.child(directory, index);
    if (table < 0) return;
    this.pool.write(directory, index, 0, 0);
    if (this.pool.parent[table] === directory) this.pool.parent[table] = -1;
    if (--this.pool.references[table] === 0) {
      this.clear(table);
      this.pool.release(table);
    }
    this.flushAll();
  }

  /** Writes a level-1 entry and keeps the reverse map. Flushes nothing. */
  setEntry(table: number, index: number, hi: number, lo: number): void {
    const pool = this.pool;
    const location = table * ENTRIES + index;
    const oldLo = pool.readLow(table, index);
    const oldFrame = oldLo & PRESENT ? frameOf(pool.readHigh(table, index), oldLo) : -1;
    const frame = lo & PRESENT ? frameOf(hi, lo) : -1;
    if (frame !== oldFrame) {
      if (oldFrame >= 0) this.#reverse.remove(oldFrame, location);
      if (frame >= 0) this.#reverse.add(frame, location);
    }
    pool.write(table, index, hi, lo);
  }

  /** Empties a level-1 table. Flushes nothing. */
  clear(table: number): void {
    for (let index = 0; index < ENTRIES; index++) {
      if (this.pool.readLow(table, index) & PRESENT) this.setEntry(table, index, 0, 0);
    }
  }

  /** Every mapping of a frame loses W. */
  revokeWrite(frame: number): void {
    let changed = false;
    for (let at = this.#reverse.first(frame); at >= 0; at = this.#reverse.next(at)) {
      const table = at >>> 9;
      const index = at & (ENTRIES - 1);
      const lo = this.pool.readLow(table, index);
      if (!(lo & WRITABLE)) continue;
      this.pool.write(table, index, this.pool.readHigh(table, index), (lo & ~WRITABLE) >>> 0);
      changed = true;
    }
    // A write by ring 0 with CR0.WP clear leaves W in the TLB that no entry has: see fault.ts.
    if (changed || this.writableWithoutEntry.delete(frame)) this.flushFrame(frame);
  }

  /** Frames for which a TLB may hold W although no shadow entry does. */
  readonly writableWithoutEntry = new Set<number>();

  /** Every mapping of a frame is removed. */
  revokeMappings(frame: number): void {
    let at = this.#reverse.first(frame);
    if (at < 0) return;
    while (at >= 0) {
      this.pool.write(at >>> 9, at & (ENTRIES - 1), 0, 0);
      this.#reverse.remove(frame, at);
      at = this.#reverse.first(frame);
    }
    this.writableWithoutEntry.delete(frame);
    this.flushFrame(frame);
  }

  /** Every mapping below {@link KERNEL_BASE} in the directories given is removed. */
  revokeDirectories(directories: Iterable<number>): void {
    for (const directory of directories) {
      for (let index = 0; index < ENTRIES; index++) {
        const table = this.child(directory, index);
        if (table >= 0) this.clear(table);
      }
    }
    this.flushAll();
  }

  /** How many shadow entries map a frame; `rights` bits (WRITABLE, USER) must be set, `execute` wants no NX. */
  countMappings(frame: number, rights = 0, execute = false): number {
    let count = 0;
    for (let at = this.#reverse.first(frame); at >= 0; at = this.#reverse.next(at)) {
      const lo = this.pool.readLow(at >>> 9, at & (ENTRIES - 1));
      const hi = this.pool.readHigh(at >>> 9, at & (ENTRIES - 1));
      if ((lo & rights & (WRITABLE | USER)) === rights && !(execute && (hi & NO_EXECUTE))) count++;
    }
    return count;
  }

  /** Drops a directory and what only it leads to. */
  destroyDirectory(directory: number): void {
    for (let index = 0; index < ENTRIES; index++) this.unlink(directory, index);
    for (const root of this.roots) {
      for (let i = 0; i < 4; i++) if (root.directories[i] === directory) this.setDirectory(root, i, -1);
    }
    this.pool.release(directory);
    this.flushAll();
  }

  /** Drops every shadow: when the pool is full, and when the guest changes how it pages. */
  blow(): void {
    const { kind } = this.pool;
    for (let slot = 0; slot < this.pool.slots; slot++) {
      if (kind[slot] === Kind.l1 || kind[slot] === Kind.l1Legacy || kind[slot] === Kind.splinter) {
        this.clear(slot);
      }
    }
    for (const root of this.roots) for (let i = 0; i < 4; i++) this.setDirectory(root, i, -1);
    for (let slot = this.pool.slots - 1; slot >= 0; slot--) {
      if (kind[slot] !== Kind.free) this.pool.release(slot);
    }
    this.writableWithoutEntry.clear();
    this.flushAll();
  }

  flushAll(): void {
    for (const cpu of this.cpus) cpu.flushAll();
  }

  flushFrame(frame: number): void {
    for (const cpu of this.cpus) cpu.flushFrame(frame);
  }
}
