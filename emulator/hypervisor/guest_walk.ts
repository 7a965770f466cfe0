// SPDX-License-Identifier: Apache-2.0
/**
 * The guest's own page tables, walked as the processor would: SDM volume 3A, chapter 4. The result says what
 * the guest granted, or which page fault is the guest's own.
 *
 * @module
 */
import type { Cpu, FrameMemory } from "../machine/types.ts";
import type { PhysicalMap } from "./p2m.ts";
import {
  ACCESSED,
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PSE,
  DIRTY,
  EFER_NXE,
  ErrorCode,
  frameOf,
  highOf,
  LARGE,
  lowOf,
  NO_EXECUTE,
  PRESENT,
  RESERVED_HIGH,
  RESERVED_LARGE_LEGACY,
  RESERVED_LARGE_PAE,
  RESERVED_PDPTE_HIGH,
  RESERVED_PDPTE_LOW,
  USER,
  WRITABLE,
} from "./entries.ts";

/** How the guest translates addresses. */
export const PagingMode = { off: 0, legacy: 1, pae: 2 } as const;
/** One of {@link PagingMode}. */
export type PagingMode = (typeof PagingMode)[keyof typeof PagingMode];

/**
 * One vCPU's walker. Its fields hold the result of the last walk, so that a walk allocates nothing.
 *
 * The four page-directory-pointer entries are read when CR3 is loaded and kept (SDM 3A, 4.4.1). The guest's own
 * loads are refused when they have reserved bits; where the host loaded CR3 these are reported at their use.
 */
export class GuestWalk {
  mode: PagingMode = PagingMode.off;
  nxe = false;
  writeProtect = false;
  largePages = false;

  /** Why the walk failed: the #PF error code. Only meaningful when {@link walk} returned false. */
  errorCode = 0;
  /** Guest frame the address leads to. */
  gfn = 0;
  /** Level-1 entry; for large pages one made from the directory entry, for that 4 KiB. */
  l1Hi = 0;
  l1Lo = 0;
  /** Directory entry (guest's flags; with paging off one that grants everything). */
  l2Hi = 0;
  l2Lo = 0;
  /** Guest frame of the page table; -1 for large pages and with paging off. */
  l1Table = -1;
  /** Guest frame of the page directory; -1 with paging off. */
  l2Table = -1;
  /** The guest's own rights let this access be a write only because CR0.WP is clear. */
  overridesReadOnly = false;

  #cr0 = 0;
  #cr3 = 0;
  #cr4 = 0;
  #efer = 0;
  readonly #pdpte = new Uint32Array(8);
  readonly #cpu: Cpu;
  readonly #memory: FrameMemory;
  readonly #map: PhysicalMap;

  constructor(cpu: Cpu, memory: FrameMemory, map: PhysicalMap) {
    this.#cpu = cpu;
    this.#memory = memory;
    this.#map = map;
  }

  /** Takes the control registers as they are, and reads the page-directory-pointer entries again. */
  reload(): void {
    const cr0 = this.#cr0 = this.#cpu.cr0;
    const cr4 = this.#cr4 = this.#cpu.cr4;
    this.#cr3 = this.#cpu.cr3;
    this.#efer = this.#cpu.efer;
    this.mode = !(cr0 & CR0_PG) ? PagingMode.off : cr4 & CR4_PAE ? PagingMode.pae : PagingMode.legacy;
    this.writeProtect = (cr0 & CR0_WP) !== 0;
    this.largePages = (cr4 & CR4_PSE) !== 0;
    this.nxe = this.mode === PagingMode.pae && (this.#efer & EFER_NXE) !== 0;
    if (this.mode !== PagingMode.pae) return;
    const base = this.#cr3;
    const mfn = this.#map.machineFrame(base >>> 12);
    for (let i = 0; i < 8; i++) {
      this.#pdpte[i] = mfn < 0 ? 0xffff_ffff : this.#memory.readWord(mfn, (base & 0xfe0) + i * 4);
    }
  }

  /** True when no present page-directory-pointer entry at a CR3 has a reserved bit set (SDM 3A, 4.4.1). */
  pointersValid(cr3: number): boolean {
    const mfn = this.#map.machineFrame(cr3 >>> 12);
    for (let i = 0; i < 4; i++) {
      const at = (cr3 & 0xfe0) + 8 * i;
      const lo = mfn < 0 ? -1 : this.#memory.readWord(mfn, at);
      const hi = mfn < 0 ? -1 : this.#memory.readWord(mfn, at + 4);
      if (lo & PRESENT && (lo & RESERVED_PDPTE_LOW || hi & RESERVED_PDPTE_HIGH)) return false;
    }
    return true;
  }

  /** EFER has no exit of its own: true when it is no longer what the last reload saw. */
  get stale(): boolean {
    return this.#cpu.efer !== this.#efer;
  }

  /** True when a control register is no longer what the last reload saw: it was set from outside. */
  get changed(): boolean {
    const cpu = this.#cpu;
    return cpu.cr0 !== this.#cr0 || cpu.cr3 !== this.#cr3 || cpu.cr4 !== this.#cr4 || cpu.efer !== this.#efer;
  }

  /** Guest frame of the page directory for one of the four gigabytes, or -1 (absent, reserved bits). */
  directory(gigabyte: number): number {
    if (this.mode === PagingMode.legacy) return this.#cr3 >>> 12;
    if (this.mode === PagingMode.off) return -1;
    const lo = this.#pdpte[gigabyte * 2];
    const hi = this.#pdpte[gigabyte * 2 + 1];
    if (!(lo & PRESENT) || (lo & RESERVED_PDPTE_LOW) || (hi & RESERVED_PDPTE_HIGH)) return -1;
    return frameOf(hi, lo);
  }

  /** True when a present directory entry maps a large page. */
  isLarge(directoryLow: number): boolean {
    return (directoryLow & LARGE) !== 0 && (this.mode !== PagingMode.legacy || this.largePages);
  }

  /**
   * Walks to an address for one access. True: allowed, result in the fields, accessed and dirty bits set in
   * the guest's entries. False: the guest's own fault, with {@link errorCode}; nothing was changed.
   */
  walk(va: number, write: boolean, fetch: boolean, user: boolean): boolean {
    this.overridesReadOnly = false;
    if (this.mode === PagingMode.off) return this.#identity(va);
    return this.mode === PagingMode.pae
      ? this.#walkPae(va, write, fetch, user)
      : this.#walkLegacy(va, write, fetch, user);
  }

  #identity(va: number): boolean {
    this.gfn = va >>> 12;
    this.l1Table = this.l2Table = -1;
    this.l1Hi = this.l2Hi = 0;
    this.l2Lo = PRESENT | WRITABLE | USER | ACCESSED | DIRTY | LARGE;
    this.l1Lo = lowOf(this.gfn, PRESENT | WRITABLE | USER | ACCESSED | DIRTY);
    return true;
  }

  #walkPae(va: number, write: boolean, fetch: boolean, user: boolean): boolean {
    const memory = this.#memory;
    const gigabyte = va >>> 30;
    const rootLo = this.#pdpte[gigabyte * 2];
    const rootHi = this.#pdpte[gigabyte * 2 + 1];
    if (!(rootLo & PRESENT)) return this.#fail(0, write, fetch, user);
    if ((rootLo & RESERVED_PDPTE_LOW) || (rootHi & RESERVED_PDPTE_HIGH)) {
      return this.#fail(ErrorCode.reserved, write, fetch, user);
    }
    const reservedHigh = this.nxe ? RESERVED_HIGH : RESERVED_HIGH | NO_EXECUTE;

    this.l2Table = frameOf(rootHi, rootLo);
    const l2Frame = this.#map.machineFrame(this.l2Table);
    const l2Offset = ((va >>> 21) & 511) * 8;
    let l2Lo = l2Frame < 0 ? 0xffff_ffff : memory.readWord(l2Frame, l2Offset);
    const l2Hi = l2Frame < 0 ? 0xffff_ffff : memory.readWord(l2Frame, l2Offset + 4);
    if (!(l2Lo & PRESENT)) return this.#fail(0, write, fetch, user);
    const large = (l2Lo & LARGE) !== 0;
    if ((l2Hi & reservedHigh) || (large && (l2Lo & RESERVED_LARGE_PAE))) {
      return this.#fail(ErrorCode.reserved, write, fetch, user);
    }
    let rights = l2Lo;
    let executeDisable = l2Hi & NO_EXECUTE;

    if (large) {
      if (!this.#allowed(rights, executeDisable, write, fetch, user)) return false;
      const wanted = l2Lo | ACCESSED | (write ? DIRTY : 0);
      if (wanted !== l2Lo) this.#mark(l2Frame, l2Offset, l2Lo = wanted);
      this.l1Table = -1;
      this.l2Lo = l2Lo >>> 0;
      this.l2Hi = l2Hi >>> 0;
      this.gfn = frameOf(l2Hi, l2Lo & 0xffe0_0000) + ((va >>> 12) & 511);
      this.l1Lo = lowOf(this.gfn, l2Lo & 0xf7f);
      this.l1Hi = ((l2Hi & NO_EXECUTE) | highOf(this.gfn)) >>> 0;
      return true;
    }

    this.l1Table = frameOf(l2Hi, l2Lo);
    const l1Frame = this.#map.machineFrame(this.l1Table);
    const l1Offset = ((va >>> 12) & 511) * 8;
    let l1Lo = l1Frame < 0 ? 0xffff_ffff : memory.readWord(l1Frame, l1Offset);
    const l1Hi = l1Frame < 0 ? 0xffff_ffff : memory.readWord(l1Frame, l1Offset + 4);
    if (!(l1Lo & PRESENT)) return this.#fail(0, write, fetch, user);
    if (l1Hi & reservedHigh) return this.#fail(ErrorCode.reserved, write, fetch, user);
    rights &= l1Lo;
    executeDisable |= l1Hi & NO_EXECUTE;
    if (!this.#allowed(rights, executeDisable, write, fetch, user)) return false;
    if (!(l2Lo & ACCESSED)) this.#mark(l2Frame, l2Offset, l2Lo |= ACCESSED);
    const wanted = l1Lo | ACCESSED | (write ? DIRTY : 0);
    if (wanted !== l1Lo) this.#mark(l1Frame, l1Offset, l1Lo = wanted);
    this.l2Lo = l2Lo >>> 0;
    this.l2Hi = l2Hi >>> 0;
    this.l1Lo = l1Lo >>> 0;
    this.l1Hi = l1Hi >>> 0;
    this.gfn = frameOf(l1Hi, l1Lo);
    return true;
  }

  #walkLegacy(va: number, write: boolean, fetch: boolean, user: boolean): boolean {
    const memory = this.#memory;
    this.l2Table = this.#cr3 >>> 12;
    const l2Frame = this.#map.machineFrame(this.l2Table);
    const l2Offset = (va >>> 22) * 4;
    let l2 = l2Frame < 0 ? 0xffff_ffff : memory.readWord(l2Frame, l2Offset);
    if (!(l2 & PRESENT)) return this.#fail(0, write, fetch, user);
    this.l1Hi = this.l2Hi = 0;

    if (this.isLarge(l2)) {
      if (l2 & RESERVED_LARGE_LEGACY) return this.#fail(ErrorCode.reserved, write, fetch, user);
      if (!this.#allowed(l2, 0, write, fetch, user)) return false;
      const wanted = l2 | ACCESSED | (write ? DIRTY : 0);
      if (wanted !== l2) this.#mark(l2Frame, l2Offset, l2 = wanted);
      this.l1Table = -1;
      this.l2Lo = l2 >>> 0;
      // Bits 20 to 13 are address bits 39 to 32 (PSE-36).
      this.gfn = ((l2 >>> 13) & 0xff) * 0x10_0000 + (l2 >>> 22) * 1024 + ((va >>> 12) & 1023);
      this.l1Lo = lowOf(this.gfn, l2 & 0xf7f);
      this.l1Hi = highOf(this.gfn);
      return true;
    }

    this.l1Table = l2 >>> 12;
    const l1Frame = this.#map.machineFrame(this.l1Table);
    const l1Offset = ((va >>> 12) & 1023) * 4;
    let l1 = l1Frame < 0 ? 0xffff_ffff : memory.readWord(l1Frame, l1Offset);
    if (!(l1 & PRESENT)) return this.#fail(0, write, fetch, user);
    if (!this.#allowed(l2 & l1, 0, write, fetch, user)) return false;
    if (!(l2 & ACCESSED)) this.#mark(l2Frame, l2Offset, l2 |= ACCESSED);
    const wanted = l1 | ACCESSED | (write ? DIRTY : 0);
    if (wanted !== l1) this.#mark(l1Frame, l1Offset, l1 = wanted);
    // Without CR4.PSE bit 7 of a directory entry is ignored; shadow entries read it as "large".
    this.l2Lo = (l2 & ~LARGE) >>> 0;
    this.l1Lo = l1 >>> 0;
    this.gfn = l1 >>> 12;
    return true;
  }

  /** Protection checks over the rights of all levels together (SDM 3A, 4.6.1). */
  #allowed(
    rights: number,
    executeDisable: number,
    write: boolean,
    fetch: boolean,
    user: boolean,
  ): boolean {
    if (
      (user && !(rights & USER)) || (fetch && executeDisable) ||
      (write && !(rights & WRITABLE) && (user || this.writeProtect))
    ) {
      return this.#fail(ErrorCode.present, write, fetch, user);
    }
    this.overridesReadOnly = write && !(rights & WRITABLE);
    return true;
  }

  #fail(cause: number, write: boolean, fetch: boolean, user: boolean): false {
    // A reserved-bit violation is reported with P set; I only exists with PAE and NXE (SDM 3A, 4.7).
    this.errorCode = (cause ? cause | ErrorCode.present : 0) | (write ? ErrorCode.write : 0) |
      (user ? ErrorCode.user : 0) | (fetch && this.nxe ? ErrorCode.fetch : 0);
    return false;
  }

  #mark(frame: number, offset: number, value: number): void {
    // A table where there is no memory reads as ones, and what is written there is lost.
    if (frame < 0) return;
    this.#memory.writeWord(frame, offset, value >>> 0);
    this.#cpu.frameWritten(frame, offset, 4);
  }
}
