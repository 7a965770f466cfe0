// SPDX-License-Identifier: Apache-2.0
/**
 * Answers the CPU's TLB misses: from the shadow tables, or by a shadow fault. What Xen's `sh_page_fault` does:
 * the guest's own tables decide whether the access is the guest's business; if not, a shadow entry is computed,
 * shown to the monitor and written.
 *
 * @module
 */
import {
  Access,
  type FrameMemory,
  PAGE_SIZE,
  Segment,
  TRANSLATE_HOLD,
  type Translation,
} from "../machine/types.ts";
import {
  ACCESSED,
  directoryFlags,
  DIRTY,
  ErrorCode,
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
import { PagingMode } from "./guest_walk.ts";
import type { PhysicalMap } from "./p2m.ts";
import { ENTRIES, Kind } from "./pool.ts";
import type { Reporter, VcpuPaging } from "./report.ts";
import type { ShadowTables } from "./shadow.ts";
import type { TableSync } from "./sync.ts";

const READABLE_BIT = 1;
const WRITABLE_BIT = 2;
const EXECUTABLE_BIT = 4;
/** Entries that one fault makes at most, as in Xen. */
const PREFETCH_DISTANCE = 32;
/** Longest instruction in bytes, less its first. */
const REST_OF_INSTRUCTION = 14;

/** Shadow paging of one domain. */
export class ShadowPaging {
  readonly #memory: FrameMemory;
  readonly #map: PhysicalMap;
  readonly #tables: ShadowTables;
  readonly #sync: TableSync;
  readonly #reporter: Reporter;
  readonly #sink: number;

  /** `sink` is a machine frame for guest addresses behind which there is no memory. */
  constructor(
    memory: FrameMemory,
    map: PhysicalMap,
    tables: ShadowTables,
    sync: TableSync,
    reporter: Reporter,
    sink: number,
  ) {
    this.#memory = memory;
    this.#map = map;
    this.#tables = tables;
    this.#sync = sync;
    this.#reporter = reporter;
    this.#sink = sink;
  }

  /** The answer to a TLB miss. */
  translate(vcpu: VcpuPaging, va: number, access: Access, user: boolean): Translation {
    va >>>= 0;
    const { pool } = this.#tables;
    const directory = vcpu.root.directories[va >>> 30];
    if (directory >= 0) {
      const index = (va >>> 21) & 511;
      const directoryLow = pool.readLow(directory, index);
      if (directoryLow & PRESENT) {
        const directoryHigh = pool.readHigh(directory, index);
        const table = pool.slotOf(frameOf(directoryHigh, directoryLow));
        const lo = pool.readLow(table, (va >>> 12) & 511);
        if (lo & PRESENT) {
          const hi = pool.readHigh(table, (va >>> 12) & 511);
          const rights = permissions(lo & directoryLow, hi | directoryHigh, user);
          if (rights & neededBit(access)) return frameOf(hi, lo) * 8 + rights;
        }
      }
    }
    return this.fault(vcpu, va, access, user);
  }

  /** A shadow fault: the guest's own #PF, a hold, or a new shadow entry. */
  fault(vcpu: VcpuPaging, va: number, access: Access, user: boolean): Translation {
    const { walk } = vcpu;
    const write = access === Access.write;
    const fetch = access === Access.fetch;
    if (walk.stale) this.pagingChanged(vcpu);
    if (!walk.walk(va, write, fetch, user)) return -1 - walk.errorCode;

    const { gfn } = walk;
    const mfn = this.#map.machineFrame(gfn);
    if (mfn < 0) return this.#nowhere(write, fetch);
    const tables = this.#tables;
    const { pool } = tables;
    const table = this.#table(vcpu, va);
    const index = (va >>> 12) & 511;

    // A write that only CR0.WP allows is shown to the monitor as what it is; the entry does not keep it.
    const override = walk.overridesReadOnly ? WRITABLE : 0;
    let newLo = (lowOf(mfn, leafFlags(walk.l1Lo)) | override) >>> 0;
    const newHi = (highOf(mfn) | (walk.nxe ? walk.l1Hi & NO_EXECUTE : 0)) >>> 0;
    if (tables.isTable(gfn)) {
      // Bringing tables into sync keeps `table`: the guest's entries for it were read just now.
      if (write) this.#letWrite(vcpu, gfn);
      else if (!this.#sync.isOut(gfn)) newLo = (newLo & ~WRITABLE) >>> 0;
    }
    // As Xen has it, "present" speaks of the guest's translation, which is good.
    const errorCode = ErrorCode.present |
      (write ? ErrorCode.write : 0) | (user ? ErrorCode.user : 0) | (fetch ? ErrorCode.fetch : 0);
    if (this.#reporter.fault(vcpu, va, errorCode, table, newHi, newLo, mfn)) return TRANSLATE_HOLD;

    // The monitor may have revoked entries, this one too: what stands is read after it.
    const oldLo = pool.readLow(table, index);
    const oldHi = pool.readHigh(table, index);
    const hi = this.#reporter.newHi;
    const lo = (this.#reporter.newLo & ~override) >>> 0;
    if (write && user && (lo & WRITABLE) && (hi & NO_EXECUTE) && this.#writesItself(vcpu, va)) {
      // Xen does that one instruction itself and leaves the entry as it is: here the TLB alone allows it.
      tables.writableWithoutEntry.add(mfn);
      return mfn * 8 + permissions(lo & walk.l2Lo, hi | walk.l2Hi, user);
    }
    tables.setEntry(table, index, hi, lo);
    if (narrows(oldHi, oldLo, hi, lo)) tables.flushFrame(frameOf(oldHi, oldLo));
    if (walk.mode === PagingMode.pae) this.#prefetch(vcpu, va, table, index);

    let rights = permissions(lo & walk.l2Lo, hi | (walk.nxe ? walk.l2Hi : 0), user);
    if (override) {
      // CR0.WP is clear and the guest's entry read-only: the write is allowed to ring 0 and to nobody else,
      // so it is in this CPU's TLB only.
      rights |= WRITABLE_BIT;
      tables.writableWithoutEntry.add(mfn);
    }
    if (!(rights & neededBit(access))) {
      throw new Error(
        `Cannot answer the shadow fault at 0x${va.toString(16)}: the monitor refused the access itself ` +
          `(error code ${errorCode}, entry 0x${lo.toString(16)})`,
      );
    }
    return mfn * 8 + rights;
  }

  /** A write to the page that the instruction itself stands in; as the glue in Xen guesses it. */
  #writesItself(vcpu: VcpuPaging, va: number): boolean {
    const { cpu } = vcpu, page = va >>> 12, eip = (cpu.segmentBase(Segment.cs) + cpu.eip) >>> 0;
    return page === eip >>> 12 || page === ((eip + REST_OF_INSTRUCTION) >>> 0) >>> 12;
  }

  /**
   * Looks ahead as Xen's `sh_prefetch`: entries behind the one that faulted are made too, as far as none stands
   * there and the guest has set their accessed and dirty bits.
   */
  #prefetch(vcpu: VcpuPaging, va: number, table: number, first: number): void {
    const { walk } = vcpu, tables = this.#tables, { pool } = tables;
    this.#sync.faulted(vcpu, walk.l1Table, table, first);
    const l1Frame = walk.l1Table < 0 ? -1 : this.#map.machineFrame(walk.l1Table);
    const end = Math.min(first + PREFETCH_DISTANCE, ENTRIES);
    for (let index = first + 1; index < end; index++) {
      if (pool.readLow(table, index) | pool.readHigh(table, index)) break;
      const ahead = index - first, at = (va & ~0xfff) + ahead * PAGE_SIZE;
      if (l1Frame < 0) {
        const gfn = walk.gfn + ahead;
        this.#ahead(
          vcpu,
          at,
          table,
          index,
          highOf(gfn) | (walk.l1Hi & NO_EXECUTE),
          lowOf(gfn, walk.l1Lo & 0xfff),
        );
        continue;
      }
      const guestLo = this.#memory.readWord(l1Frame, index * 8);
      // Such an entry faults again anyway.
      const seen = guestLo & WRITABLE ? ACCESSED | DIRTY : ACCESSED;
      if ((guestLo & PRESENT) && (guestLo & seen) !== seen) break;
      this.#ahead(vcpu, at, table, index, this.#memory.readWord(l1Frame, index * 8 + 4), guestLo);
      this.#sync.faulted(vcpu, walk.l1Table, table, index);
    }
  }

  /** Makes one entry ahead of its use, from a guest's entry. */
  #ahead(vcpu: VcpuPaging, va: number, table: number, index: number, guestHi: number, guestLo: number): void {
    const reserved = RESERVED_HIGH | (vcpu.walk.nxe ? 0 : NO_EXECUTE);
    if (!(guestLo & PRESENT) || (guestHi & reserved)) return;
    const gfn = frameOf(guestHi, guestLo), mfn = this.#map.machineFrame(gfn);
    if (mfn < 0) return;
    const wanted = leafFlags(guestLo), flags = this.#tables.isTable(gfn) ? wanted & ~WRITABLE : wanted;
    const newHi = (highOf(mfn) | (guestHi & NO_EXECUTE)) >>> 0;
    this.#reporter.prefetch(vcpu, va, guestHi, guestLo, newHi, lowOf(mfn, flags), gfn, mfn);
    if (this.#reporter.newLo & PRESENT) {
      this.#tables.setEntry(table, index, this.#reporter.newHi, this.#reporter.newLo);
    }
  }

  /** INVLPG: what the guest changed in its tables for this address holds from here on. */
  invalidate(vcpu: VcpuPaging, va: number): void {
    if (!this.#sync.pending) return;
    this.#sync.resyncDirectories(vcpu);
    const directory = vcpu.root.directories[va >>> 30];
    const table = directory < 0 ? -1 : this.#tables.child(directory, (va >>> 21) & 511);
    if (table >= 0) this.#sync.invalidate(vcpu, table, va);
  }

  /**
   * CR3, CR0, CR4 or EFER was loaded: tables are in sync from here on, the vCPU's level-3 table leads to the
   * shadows of its directories. Shadows made under another way of paging are dropped.
   */
  pagingChanged(vcpu: VcpuPaging): void {
    const { walk } = vcpu;
    const { mode, nxe, largePages } = walk;
    if (this.#sync.pending) this.#sync.resync(vcpu);
    walk.reload();
    if (walk.mode !== mode || walk.nxe !== nxe || walk.largePages !== largePages) this.#tables.blow();
    this.#attach(vcpu);
  }

  #attach(vcpu: VcpuPaging): void {
    const { root, walk } = vcpu;
    // The identity map does not depend on CR3.
    if (walk.mode === PagingMode.off) return;
    for (let gigabyte = 0; gigabyte < 4; gigabyte++) {
      const gfn = walk.directory(gigabyte);
      this.#tables.setDirectory(root, gigabyte, gfn < 0 ? -1 : this.#findDirectory(vcpu, gfn, gigabyte));
    }
  }

  #findDirectory(vcpu: VcpuPaging, gfn: number, gigabyte: number): number {
    if (this.#map.machineFrame(gfn) < 0) return -1;
    return vcpu.walk.mode === PagingMode.pae
      ? this.#tables.pool.find(Kind.l2, gfn, 0)
      : this.#tables.pool.find(Kind.l2Legacy, gfn, gigabyte);
  }

  /** The level-1 shadow for an address just walked, made and linked if need be. */
  #table(vcpu: VcpuPaging, va: number): number {
    const tables = this.#tables;
    const { walk, root } = vcpu;
    const hi = walk.nxe ? walk.l2Hi & NO_EXECUTE : 0;
    const flags = directoryFlags(walk.l2Lo);
    const index = (va >>> 21) & 511;
    let directory = root.directories[va >>> 30];
    if (directory >= 0) {
      const child = tables.child(directory, index);
      if (child >= 0) {
        if (tables.shadows(child, walk.l2Hi, walk.l2Lo, walk.l1Table < 0)) {
          tables.setLink(directory, index, child, hi, flags);
          return child;
        }
        this.#sync.reportTable(vcpu, child);
        tables.unlink(directory, index);
      }
    }
    // A fault needs at most a directory and a table.
    if (tables.pool.free < 2) {
      if (this.#sync.pending) this.#sync.resync(vcpu);
      tables.blow();
      directory = -1;
    }
    if (directory < 0) {
      directory = this.#newDirectory(vcpu, va >>> 30);
      tables.setDirectory(root, va >>> 30, directory);
    }
    const base = (va & 0xffe0_0000) >>> 0;
    const table = this.#findTable(vcpu, base);
    tables.link(directory, index, table, base, hi, flags);
    return table;
  }

  #newDirectory(vcpu: VcpuPaging, gigabyte: number): number {
    const { pool } = this.#tables;
    const { mode, l2Table } = vcpu.walk;
    const va = (gigabyte << 30) >>> 0;
    if (mode === PagingMode.off) return pool.allocate(Kind.l2Identity, -1, gigabyte, va);
    const known = this.#findDirectory(vcpu, l2Table, gigabyte);
    if (known >= 0) return known;
    this.#protect(vcpu, l2Table);
    return mode === PagingMode.pae
      ? pool.allocate(Kind.l2, l2Table, 0, va)
      : pool.allocate(Kind.l2Legacy, l2Table, gigabyte, va);
  }

  #findTable(vcpu: VcpuPaging, base: number): number {
    const tables = this.#tables;
    const { mode, l1Table, l2Hi, l2Lo } = vcpu.walk;
    if (l1Table < 0) return tables.splinter(l2Hi, l2Lo, base);
    const kind = mode === PagingMode.pae ? Kind.l1 : Kind.l1Legacy;
    const part = mode === PagingMode.pae ? 0 : (base >>> 21) & 1;
    const known = tables.pool.find(kind, l1Table, part);
    if (known >= 0) return known;
    this.#protect(vcpu, l1Table);
    return tables.pool.allocate(kind, l1Table, part, base);
  }

  /**
   * A guest frame becomes a shadowed table. If it is mapped writable just now it starts out of sync: an
   * instruction in the middle of which this happens may hold such a translation already.
   */
  #protect(vcpu: VcpuPaging, gfn: number): void {
    const tables = this.#tables;
    const mfn = this.#map.machineFrame(gfn);
    const writable = tables.countMappings(mfn, WRITABLE) > 0 || tables.writableWithoutEntry.has(mfn);
    if (!tables.isTable(gfn) && writable) this.#sync.markOut(vcpu, gfn);
  }

  /** The guest's CPU writes into a shadowed table: directories that are not in use are no longer shadowed. */
  #letWrite(vcpu: VcpuPaging, gfn: number): void {
    const tables = this.#tables;
    const { pool } = tables;
    const directories: number[] = [];
    for (let slot = pool.first(gfn); slot >= 0; slot = pool.next(slot)) {
      const isDirectory = pool.kind[slot] === Kind.l2 || pool.kind[slot] === Kind.l2Legacy;
      if (!isDirectory || tables.isLoaded(slot)) {
        this.#sync.markOut(vcpu, gfn);
        return;
      }
      directories.push(slot);
    }
    for (const slot of directories) tables.destroyDirectory(slot);
  }

  /** No memory there: reads give ones, writes are lost. Never in the shadow, so each miss comes by here. */
  #nowhere(write: boolean, fetch: boolean): Translation {
    this.#memory.frame(this.#sink).fill(0xff);
    return this.#sink * 8 +
      (READABLE_BIT | (write ? WRITABLE_BIT : 0) | (fetch ? EXECUTABLE_BIT : 0));
  }
}

function neededBit(access: Access): number {
  return access === Access.read ? READABLE_BIT : access === Access.write ? WRITABLE_BIT : EXECUTABLE_BIT;
}

/** What entries of both levels together allow; `lo` is their AND, `hi` their OR. */
function permissions(lo: number, hi: number, user: boolean): number {
  if (!(lo & PRESENT) || (user && !(lo & USER))) return 0;
  return READABLE_BIT | (lo & WRITABLE ? WRITABLE_BIT : 0) | (hi & NO_EXECUTE ? 0 : EXECUTABLE_BIT);
}
