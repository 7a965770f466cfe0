// SPDX-License-Identifier: Apache-2.0
/**
 * What the memory manager stands on and answers with.
 *
 * @module
 */
import type { Domain } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import type { MemoryRegion } from "./api.ts";
import { Memory } from "./constants.ts";
import type { FrameAllocator } from "./kernel_memory.ts";
import type { Vad } from "./vad.ts";

/** What became of a page fault. */
export type FaultOutcome = "resolved" | "violation" | "guard" | "stackOverflow" | "noMemory";

/** Frames promised to processes; commits fail before the frames run out. */
export class CommitLedger {
  used = 0;
  constructor(readonly limit: number) {}
  /** Takes `pages`, or says no. */
  charge(pages: number): boolean {
    if (this.used + pages > this.limit) return false;
    this.used += pages;
    return true;
  }
}

/** What a memory manager stands on. */
export interface MemoryBase {
  readonly domain: Domain;
  readonly frames: FrameAllocator;
  readonly ledger: CommitLedger;
}

/** A piece of a range that is split. */
export function partOf(vad: Vad, start: number, end: number): Vad {
  return { ...vad, start, end, pages: vad.pages.slice(start - vad.start, end - vad.start + 1) };
}

/** What VirtualQuery says of a run of pages. */
export function regionOf(
  vpn: number,
  allocation: number,
  pages: number,
  state: number,
  type: number,
  allocationProtect: number,
  protect: number,
): MemoryRegion {
  return {
    base: vpn * PAGE_SIZE,
    allocationBase: state === Memory.free ? 0 : allocation * PAGE_SIZE,
    allocationProtect: state === Memory.free ? 0 : allocationProtect,
    size: pages * PAGE_SIZE,
    state,
    protect,
    type,
  };
}
