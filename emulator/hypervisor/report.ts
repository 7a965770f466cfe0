// SPDX-License-Identifier: Apache-2.0
/**
 * Fills the monitor's record for the three things it is told: a fault, an entry made without one, an entry
 * that goes away.
 *
 * @module
 */
import { type Cpu, Register, Segment } from "../machine/types.ts";
import { frameOf } from "./entries.ts";
import type { GuestWalk } from "./guest_walk.ts";
import { AccessFlag, AccessWord as Word, type MonitorHost } from "./monitor_host.ts";
import type { PhysicalMap } from "./p2m.ts";
import type { ShadowPool } from "./pool.ts";
import type { ShadowRoot } from "./shadow.ts";

/** What paging keeps for one vCPU. */
export interface VcpuPaging {
  readonly index: number;
  readonly cpu: Cpu;
  readonly walk: GuestWalk;
  readonly root: ShadowRoot;
}

/** One domain's voice to the monitor. */
export class Reporter {
  /** The new shadow entry after {@link fault} or {@link filter}: what the monitor left of it. */
  newHi = 0;
  newLo = 0;
  /** False while entries are looked at of which only their table is known. */
  addressKnown = true;
  readonly #domain: number;
  readonly #monitor: MonitorHost;
  readonly #pool: ShadowPool;
  readonly #map: PhysicalMap;

  constructor(domain: number, monitor: MonitorHost, pool: ShadowPool, map: PhysicalMap) {
    this.#domain = domain;
    this.#monitor = monitor;
    this.#pool = pool;
    this.#map = map;
  }

  /** A shadow fault with its new entry; true: the vCPU is held. `walk` holds the guest's entry. */
  fault(
    vcpu: VcpuPaging,
    va: number,
    errorCode: number,
    table: number,
    newHi: number,
    newLo: number,
    mfn: number,
  ): boolean {
    const { walk, cpu } = vcpu;
    const index = (va >>> 12) & 511;
    const words = this.#fill(vcpu, va, walk.l1Hi, walk.l1Lo, walk.gfn, mfn);
    words[Word.errorCode] = errorCode;
    words[Word.oldShadowEntry] = this.#pool.readLow(table, index);
    words[Word.oldShadowEntry + 1] = this.#pool.readHigh(table, index);
    this.#offer(words, newHi, newLo);
    words[Word.eip] = cpu.eip;
    words[Word.esp] = cpu.getRegister(Register.esp);
    words[Word.eflags] = cpu.eflags;
    words[Word.cs] = cpu.selector(Segment.cs);
    words[Word.eax] = cpu.getRegister(Register.eax);
    words[Word.ecx] = cpu.getRegister(Register.ecx);
    words[Word.edx] = cpu.getRegister(Register.edx);
    words[Word.ebx] = cpu.getRegister(Register.ebx);
    words[Word.ebp] = cpu.getRegister(Register.ebp);
    words[Word.esi] = cpu.getRegister(Register.esi);
    words[Word.edi] = cpu.getRegister(Register.edi);
    const held = this.#monitor.fault();
    if (!held) this.#take(newHi, newLo);
    return held;
  }

  /** An entry that is made outside the fault path; what may stay of it is in {@link newHi}, {@link newLo}. */
  filter(
    vcpu: VcpuPaging,
    table: number,
    index: number,
    guestHi: number,
    guestLo: number,
    newHi: number,
    newLo: number,
  ): void {
    const gfn = frameOf(guestHi, guestLo), mfn = frameOf(newHi, newLo);
    const words = this.#fill(vcpu, this.#pool.va[table] + index * 4096, guestHi, guestLo, gfn, mfn);
    words[Word.flags] = this.#flags(vcpu, table);
    words[Word.oldShadowEntry] = this.#pool.readLow(table, index);
    words[Word.oldShadowEntry + 1] = this.#pool.readHigh(table, index);
    this.#offer(words, newHi, newLo);
    this.#monitor.filter();
    this.#take(newHi, newLo);
  }

  /** As {@link filter}, for an entry of the loaded address space where none stands yet. */
  prefetch(
    vcpu: VcpuPaging,
    va: number,
    guestHi: number,
    guestLo: number,
    newHi: number,
    newLo: number,
    gfn: number,
    mfn: number,
  ): void {
    this.#offer(this.#fill(vcpu, va, guestHi, guestLo, gfn, mfn), newHi, newLo);
    this.#monitor.filter();
    this.#take(newHi, newLo);
  }

  /** A guest leaf entry that was present goes away or changes its frame. */
  removed(
    vcpu: VcpuPaging,
    table: number,
    index: number,
    oldHi: number,
    oldLo: number,
    newHi: number,
    newLo: number,
  ): void {
    const va = this.#pool.va[table] + index * 4096;
    this.#removed(vcpu, va, this.#flags(vcpu, table), oldHi, oldLo, newHi, newLo);
  }

  /** As {@link removed}, in the loaded address space. */
  replaced(vcpu: VcpuPaging, va: number, oldHi: number, oldLo: number, newHi: number, newLo: number): void {
    this.#removed(vcpu, va, 0, oldHi, oldLo, newHi, newLo);
  }

  #removed(
    vcpu: VcpuPaging,
    va: number,
    flags: number,
    oldHi: number,
    oldLo: number,
    newHi: number,
    newLo: number,
  ): void {
    const gfn = frameOf(oldHi, oldLo);
    const mfn = this.#map.machineFrame(gfn);
    if (mfn < 0) return;
    const words = this.#fill(vcpu, va, newHi, newLo, gfn, mfn);
    words[Word.flags] = flags;
    words[Word.oldGuestEntry] = oldLo;
    words[Word.oldGuestEntry + 1] = oldHi;
    this.#monitor.entryRemoved();
  }

  #flags(vcpu: VcpuPaging, table: number): number {
    if (!this.addressKnown) return AccessFlag.noAddress | AccessFlag.otherSpace;
    const parent = this.#pool.parent[table];
    const own = parent >= 0 && vcpu.root.directories.includes(parent);
    return (this.#pool.ambiguous[table] ? AccessFlag.noAddress : 0) | (own ? 0 : AccessFlag.otherSpace);
  }

  /** Fills the record, whose words are 0 but for these: registers belong to faults only. */
  #fill(
    vcpu: VcpuPaging,
    va: number,
    guestHi: number,
    guestLo: number,
    gfn: number,
    mfn: number,
  ): Uint32Array {
    const words = this.#monitor.access;
    words.fill(0);
    words[Word.domain] = this.#domain;
    words[Word.vcpu] = vcpu.index;
    words[Word.va] = va;
    words[Word.guestEntry] = guestLo;
    words[Word.guestEntry + 1] = guestHi;
    words[Word.gfn] = gfn;
    words[Word.mfn] = mfn;
    return words;
  }

  #offer(words: Uint32Array, newHi: number, newLo: number): void {
    words[Word.newShadowEntry] = newLo;
    words[Word.newShadowEntry + 1] = newHi;
  }

  /** The monitor may only take rights away: flags are cut to what was offered, NX may be added. */
  #take(offeredHi: number, offeredLo: number): void {
    const words = this.#monitor.access;
    const lo = words[Word.newShadowEntry];
    const hi = words[Word.newShadowEntry + 1];
    this.newLo = ((offeredLo & 0xffff_f000) | (offeredLo & lo & 0xfff)) >>> 0;
    this.newHi = ((offeredHi & 0x7fff_ffff) | ((offeredHi | hi) & 0x8000_0000)) >>> 0;
  }
}
