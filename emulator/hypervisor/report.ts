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
    const { walk } = vcpu;
    const index = (va >>> 12) & 511;
    const words = this.#fill(vcpu, va, table, index, walk.l1Hi, walk.l1Lo, newHi, newLo, walk.gfn, mfn);
    words[Word.errorCode] = errorCode;
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
    const va = this.#pool.va[table] + index * 4096;
    const words = this.#fill(
      vcpu,
      va,
      table,
      index,
      guestHi,
      guestLo,
      newHi,
      newLo,
      frameOf(guestHi, guestLo),
      frameOf(newHi, newLo),
    );
    words[Word.flags] = this.#flags(vcpu, table);
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
    const gfn = frameOf(oldHi, oldLo);
    const mfn = this.#map.machineFrame(gfn);
    if (mfn < 0) return;
    const va = this.#pool.va[table] + index * 4096;
    const words = this.#fill(vcpu, va, table, index, newHi, newLo, 0, 0, gfn, mfn);
    words[Word.flags] = this.#flags(vcpu, table);
    words[Word.oldGuestEntry] = oldLo;
    words[Word.oldGuestEntry + 1] = oldHi;
    this.#monitor.entryRemoved();
  }

  #flags(vcpu: VcpuPaging, table: number): number {
    const parent = this.#pool.parent[table];
    const own = parent >= 0 && vcpu.root.directories.includes(parent);
    return (this.#pool.ambiguous[table] ? AccessFlag.noAddress : 0) | (own ? 0 : AccessFlag.otherSpace);
  }

  #fill(
    vcpu: VcpuPaging,
    va: number,
    table: number,
    index: number,
    guestHi: number,
    guestLo: number,
    newHi: number,
    newLo: number,
    gfn: number,
    mfn: number,
  ): Uint32Array {
    const words = this.#monitor.access;
    const { cpu } = vcpu;
    words[Word.domain] = this.#domain;
    words[Word.vcpu] = vcpu.index;
    words[Word.errorCode] = 0;
    words[Word.flags] = 0;
    words[Word.va] = va;
    words[Word.va + 1] = 0;
    words[Word.guestEntry] = guestLo;
    words[Word.guestEntry + 1] = guestHi;
    words[Word.oldShadowEntry] = this.#pool.readLow(table, index);
    words[Word.oldShadowEntry + 1] = this.#pool.readHigh(table, index);
    words[Word.newShadowEntry] = newLo;
    words[Word.newShadowEntry + 1] = newHi;
    words[Word.gfn] = gfn;
    words[Word.gfn + 1] = 0;
    words[Word.mfn] = mfn;
    words[Word.mfn + 1] = 0;
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
    words[Word.reserved] = 0;
    words[Word.oldGuestEntry] = 0;
    words[Word.oldGuestEntry + 1] = 0;
    words[Word.reserved2] = 0;
    words[Word.reserved2 + 1] = 0;
    return words;
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
