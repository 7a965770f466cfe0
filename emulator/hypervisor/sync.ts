// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps shadows true to guest page tables that change. A table the guest's own instructions write goes "out of
 * sync": it becomes writable, its content at that moment is kept, and at the next event at which the guest may
 * rely on the change both are compared: all of it at a control register, one entry at INVLPG or a fault. Writes
 * from outside the CPU are compared at once.
 *
 * @module
 */
import type { FrameMemory } from "../machine/types.ts";
import {
  ACCESSED,
  directoryFlags,
  DIRTY,
  frameOf,
  highOf,
  leafFlags,
  lowOf,
  narrows,
  NO_EXECUTE,
  PRESENT,
  RESERVED_HIGH,
  USER,
  WRITABLE,
} from "./entries.ts";
import type { PhysicalMap } from "./p2m.ts";
import { ENTRIES, Kind } from "./pool.ts";
import type { Reporter, VcpuPaging } from "./report.ts";
import type { ShadowTables } from "./shadow.ts";

const WORDS = 1024;
/** Tables that may be out of sync at once; one more brings all back into sync first. */
const LIMIT = 16;

/** One domain's tables out of sync, and the comparison of guest tables with their shadows. */
export class TableSync {
  readonly #memory: FrameMemory;
  readonly #map: PhysicalMap;
  readonly #tables: ShadowTables;
  readonly #reporter: Reporter;
  /** Guest frames out of sync with their content when they went so. */
  readonly #out = new Map<number, Uint32Array>();
  readonly #spare: Uint32Array[] = [];

  constructor(memory: FrameMemory, map: PhysicalMap, tables: ShadowTables, reporter: Reporter) {
    this.#memory = memory;
    this.#map = map;
    this.#tables = tables;
    this.#reporter = reporter;
  }

  /** True when some table is out of sync. */
  get pending(): boolean {
    return this.#out.size > 0;
  }

  isOut(gfn: number): boolean {
    return this.#out.size > 0 && this.#out.has(gfn);
  }

  /** Lets a shadowed guest frame go out of sync: from now on it may be mapped writable. */
  markOut(vcpu: VcpuPaging, gfn: number): void {
    if (this.#out.has(gfn)) return;
    if (this.#out.size >= LIMIT) this.resync(vcpu);
    const copy = this.#spare.pop() ?? new Uint32Array(WORDS);
    copy.set(this.#words(gfn));
    this.#out.set(gfn, copy);
  }

  /** Brings all tables into sync; they are write-protected again. */
  resync(vcpu: VcpuPaging): void {
    for (const [gfn, old] of this.#out) this.#bringIn(vcpu, gfn, old);
  }

  #bringIn(vcpu: VcpuPaging, gfn: number, old: Uint32Array): void {
    this.#out.delete(gfn);
    if (this.#tables.isTable(gfn)) {
      this.#tables.revokeWrite(this.#map.machineFrame(gfn));
      // Xen does not know at which address the table stands.
      this.#reporter.addressKnown = false;
      this.#compare(vcpu, gfn, old, 0, WORDS);
      this.#reporter.addressKnown = true;
    }
    this.#spare.push(old);
  }

  /** As {@link resync}, of directories only. */
  resyncDirectories(vcpu: VcpuPaging): void {
    const { pool } = this.#tables;
    for (const [gfn, old] of this.#out) {
      const slot = pool.first(gfn);
      if (slot >= 0 && (pool.kind[slot] === Kind.l1 || pool.kind[slot] === Kind.l1Legacy)) continue;
      this.#bringIn(vcpu, gfn, old);
    }
  }

  /** INVLPG: takes in the entry of an address in a level-1 table that is out of sync, and empties its shadow. */
  invalidate(vcpu: VcpuPaging, table: number, va: number): void {
    const { pool } = this.#tables, index = (va >>> 12) & (ENTRIES - 1);
    const gfn = pool.gfn[table];
    if (!this.#out.has(gfn)) return;
    this.#takeIn(vcpu, gfn, table, index, va & ~0xfff);
    const lo = pool.readLow(table, index), hi = pool.readHigh(table, index);
    if (!(lo & PRESENT)) return;
    this.#tables.setEntry(table, index, 0, 0);
    this.#tables.flushFrame(frameOf(hi, lo));
  }

  /** A fault made the shadow of one entry from what the guest has there now. */
  faulted(vcpu: VcpuPaging, gfn: number, table: number, index: number): void {
    if (this.#out.size > 0 && this.#out.has(gfn)) {
      this.#takeIn(vcpu, gfn, table, index, this.#tables.pool.va[table] + index * 4096);
    }
  }

  /** The entry counts as known from now on; one that it replaced goes away. */
  #takeIn(vcpu: VcpuPaging, gfn: number, table: number, index: number, va: number): void {
    const old = this.#out.get(gfn)!, now = this.#words(gfn);
    const wide = this.#tables.pool.kind[table] === Kind.l1;
    const word = wide ? index * 2 : this.#tables.pool.part[table] * ENTRIES + index;
    const oldLo = old[word], oldHi = wide ? old[word + 1] : 0;
    const newLo = now[word], newHi = wide ? now[word + 1] : 0;
    if (oldLo === newLo && oldHi === newHi) return;
    old[word] = newLo;
    if (wide) old[word + 1] = newHi;
    if ((oldLo & PRESENT) && (oldLo & USER)) this.#reporter.replaced(vcpu, va, oldHi, oldLo, newHi, newLo);
  }

  /** Writes into a guest frame from outside the CPU; shadows of it follow at once. */
  write(vcpu: VcpuPaging, gfn: number, offset: number, bytes: Uint8Array): void {
    const frame = this.#memory.frame(this.#map.machineFrame(gfn));
    if (!this.#tables.isTable(gfn)) {
      frame.set(bytes, offset);
      return;
    }
    const out = this.#out.get(gfn);
    const old = out ?? this.#spare.pop() ?? new Uint32Array(WORDS);
    if (!out) old.set(this.#words(gfn));
    frame.set(bytes, offset);
    const first = (offset >>> 3) * 2;
    const end = ((offset + bytes.length + 7) >>> 3) * 2;
    this.#compare(vcpu, gfn, old, first, end);
    if (out) out.set(this.#words(gfn).subarray(first, end), first);
    else this.#spare.push(old);
  }

  #words(gfn: number): Uint32Array {
    const frame = this.#memory.frame(this.#map.machineFrame(gfn));
    return new Uint32Array(frame.buffer, frame.byteOffset, WORDS);
  }

  /** Compares words `first` to `end` of a guest table with what they were, in all its shadows. */
  #compare(vcpu: VcpuPaging, gfn: number, old: Uint32Array, first: number, end: number): void {
    const { pool } = this.#tables;
    const now = this.#words(gfn);
    // The list is taken beforehand: unlinking may release shadows, of this very frame too.
    const slots: number[] = [];
    for (let slot = pool.first(gfn); slot >= 0; slot = pool.next(slot)) slots.push(slot);
    for (const slot of slots) {
      const kind = pool.kind[slot];
      const wide = kind === Kind.l1 || kind === Kind.l2;
      const leaf = kind === Kind.l1 || kind === Kind.l1Legacy;
      const base = wide ? 0 : pool.part[slot] * (leaf ? 512 : 256);
      const step = wide ? 2 : 1;
      const low = Math.max(base * step, first);
      const high = Math.min((base + (kind === Kind.l2Legacy ? 256 : ENTRIES)) * step, end);
      for (let word = low; word < high; word += step) {
        const sameHigh = !wide || old[word + 1] === now[word + 1];
        if (old[word] === now[word] && sameHigh) continue;
        if (pool.gfn[slot] !== gfn || pool.kind[slot] !== kind) break;
        const index = word / step - base;
        const newHi = wide ? now[word + 1] : 0;
        if (leaf) {
          this.#leaf(vcpu, slot, index, wide ? old[word + 1] : 0, old[word], newHi, now[word]);
        } else if (wide) {
          this.#directory(vcpu, slot, index, newHi, now[word]);
        } else {
          this.#directory(vcpu, slot, index * 2, 0, now[word]);
          this.#directory(vcpu, slot, index * 2 + 1, 0, now[word]);
        }
      }
    }
  }

  #leaf(
    vcpu: VcpuPaging,
    slot: number,
    index: number,
    oldHi: number,
    oldLo: number,
    newHi: number,
    newLo: number,
  ): void {
    const tables = this.#tables;
    const { pool } = tables;
    const sameFrame = (newLo & PRESENT) !== 0 && frameOf(newHi, newLo) === frameOf(oldHi, oldLo);
    if ((oldLo & PRESENT) && (oldLo & USER) && !sameFrame) {
      this.#reporter.removed(vcpu, slot, index, oldHi, oldLo, newHi, newLo);
    }
    const lo = pool.readLow(slot, index);
    if (!(lo & PRESENT)) return;
    const hi = pool.readHigh(slot, index);
    const frame = frameOf(hi, lo);
    const reserved = RESERVED_HIGH | (vcpu.walk.nxe ? 0 : NO_EXECUTE);
    const gfn = frameOf(newHi, newLo);
    let nextHi = 0;
    let nextLo = 0;
    if ((newLo & (PRESENT | ACCESSED)) === (PRESENT | ACCESSED) && !(newHi & reserved)) {
      if (this.#map.machineFrame(gfn) === frame) {
        const wanted = leafFlags(newLo);
        const isProtected = tables.isTable(gfn) && !this.isOut(gfn);
        this.#reporter.filter(
          vcpu,
          slot,
          index,
          newHi,
          newLo,
          (highOf(frame) | (newHi & NO_EXECUTE)) >>> 0,
          lowOf(frame, isProtected ? wanted & ~WRITABLE : wanted),
        );
        nextHi = this.#reporter.newHi;
        nextLo = this.#reporter.newLo;
      }
    }
    if (!(nextLo & PRESENT)) nextHi = nextLo = 0;
    tables.setEntry(slot, index, nextHi, nextLo);
    if (narrows(hi, lo, nextHi, nextLo)) tables.flushFrame(frame);
  }

  #directory(vcpu: VcpuPaging, slot: number, index: number, newHi: number, newLo: number): void {
    const tables = this.#tables;
    const { pool } = tables;
    const child = tables.child(slot, index);
    if (child < 0) return;
    const reserved = RESERVED_HIGH | (vcpu.walk.nxe ? 0 : NO_EXECUTE);
    const valid = (newLo & PRESENT) !== 0 && !(newHi & reserved);
    const same = valid && tables.shadows(child, newHi, newLo, vcpu.walk.isLarge(newLo));
    if (!same || !(newLo & ACCESSED)) {
      if (!same) this.reportTable(vcpu, child);
      tables.unlink(slot, index);
      return;
    }
    if (pool.kind[child] === Kind.splinter && !(newLo & DIRTY)) {
      // The entry's dirty bit is that of all its pages: the next write to any of them comes by again.
      tables.clear(child);
      tables.flushAll();
    }
    tables.setLink(slot, index, child, newHi & NO_EXECUTE, directoryFlags(newLo));
  }

  /** All user pages of a level-1 table go away, because the guest took the table or large page out of use. */
  reportTable(vcpu: VcpuPaging, table: number): void {
    const { pool } = this.#tables;
    if (pool.references[table] > 1) return;
    const kind = pool.kind[table];
    const guest = kind === Kind.splinter ? undefined : this.#words(pool.gfn[table]);
    for (let index = 0; index < ENTRIES; index++) {
      let hi = 0;
      let lo = 0;
      if (!guest) {
        // The guest's entry for a part of a large page is made from the shadow's.
        lo = pool.readLow(table, index);
        const gfn = lo & PRESENT ? this.#map.guestFrame(frameOf(pool.readHigh(table, index), lo)) : -1;
        if (gfn < 0) continue;
        hi = highOf(gfn) | (pool.readHigh(table, index) & NO_EXECUTE);
        lo = lowOf(gfn, lo & 0xfff);
      } else if (kind === Kind.l1) {
        lo = guest[index * 2];
        hi = guest[index * 2 + 1];
      } else {
        lo = guest[pool.part[table] * ENTRIES + index];
      }
      if ((lo & PRESENT) && (lo & USER)) this.#reporter.removed(vcpu, table, index, hi, lo, 0, 0);
    }
  }
}
