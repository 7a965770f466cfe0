// SPDX-License-Identifier: Apache-2.0
/**
 * Which pages of a process have frames, and their page-table entries.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import type { AddressSpace } from "./address_space.ts";
import { Pte } from "./address_space.ts";
import type { MemoryBase } from "./memory_base.ts";
import * as rules from "./protection.ts";
import type { Vad } from "./vad.ts";

/** See the module's description. */
export class Residency {
  /** Frame of each page that has one: `gfn * 2 + 1` when it is the process's own, `gfn * 2` when shared. */
  private readonly frames = new Map<number, number>();
  /** Called with a page's address after its entry was changed or narrowed. */
  onEntryChanged: (va: number) => void = () => {};

  constructor(private readonly base: MemoryBase, private readonly space: AddressSpace) {}

  /** The page has a frame of the process's own. */
  isOwn(vpn: number): boolean {
    return ((this.frames.get(vpn) ?? 0) & 1) !== 0;
  }

  /** Calls `act` for each page that has a frame. */
  each(act: (vpn: number) => void): void {
    for (const vpn of this.frames.keys()) act(vpn);
  }

  /** Gives a page a shared frame. */
  share(vpn: number, gfn: number, code: number): boolean {
    this.frames.set(vpn, gfn * 2);
    return this.writeEntry(vpn, code);
  }

  /** Takes a page's frame away. */
  drop(vpn: number): void {
    const resident = this.frames.get(vpn);
    if (resident === undefined) return;
    this.frames.delete(vpn);
    this.space.set(vpn * PAGE_SIZE, 0, 0);
    this.onEntryChanged(vpn * PAGE_SIZE);
    if (resident & 1) this.base.frames.release(resident >>> 1);
  }

  /** Brings a page's entry in line with its code; accessed and dirty bits of the same frame stay. */
  writeEntry(vpn: number, code: number): boolean {
    const resident = this.frames.get(vpn);
    if (resident === undefined) return true;
    const va = vpn * PAGE_SIZE;
    const { high, low } = rules.entryFor(resident >>> 1, code);
    const old = this.space.get(va);
    const kept = low !== 0 && old.low >>> 12 === low >>> 12 ? old.low & Pte.dirty : 0;
    const next = (low | kept) >>> 0;
    if (old.high >>> 0 === high >>> 0 && old.low >>> 0 === next) return true;
    if (!this.space.set(va, high, next)) return false;
    this.onEntryChanged(va);
    return true;
  }

  /** Lets a page's code run although its protection does not say so. */
  clearNoExecute(vpn: number): void {
    const va = vpn * PAGE_SIZE;
    const entry = this.space.get(va);
    this.space.set(va, entry.high & ~Pte.noExecute, entry.low);
    this.onEntryChanged(va);
  }

  /**
   * Gives a page a frame; a write to a copy-on-write page gets a copy. Returns the page's code from now on,
   * undefined when there is no frame.
   */
  materialise(vad: Vad, vpn: number, code: number, write: boolean): number | undefined {
    const known = this.frames.get(vpn);
    if (vad.kind === "private") {
      if (known !== undefined) return code;
      const gfn = this.base.frames.allocate();
      if (gfn === undefined) return undefined;
      this.frames.set(vpn, gfn * 2 + 1);
      return code;
    }
    const copies = write && rules.isCopyOnWrite(code);
    if (known !== undefined && (known & 1 || !copies)) return code;
    const page = vad.sectionPage + vpn - vad.start;
    if (!copies) {
      const gfn = vad.section!.frame(page, true);
      if (gfn === undefined) return undefined;
      this.frames.set(vpn, gfn * 2);
      return code;
    }
    const original = known === undefined ? vad.section!.frame(page, false) : known >>> 1;
    const copy = this.base.frames.allocate();
    if (copy === undefined) return undefined;
    if (original !== undefined) {
      const { domain } = this.base;
      domain.writePhysical(copy * PAGE_SIZE, domain.readPhysical(original * PAGE_SIZE, PAGE_SIZE));
    }
    this.frames.set(vpn, copy * 2 + 1);
    return rules.afterCopy(code);
  }
}
