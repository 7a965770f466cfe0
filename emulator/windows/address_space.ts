// SPDX-License-Identifier: Apache-2.0
/**
 * PAE page tables of one process in guest memory: page-directory pointers, two page directories of its own
 * for user addresses, two shared ones for the kernel's half.
 *
 * Source: Intel SDM volume 3, section 4.4 (PAE paging).
 *
 * @module
 */
import type { Domain } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { KERNEL_BASE, KERNEL_PHYSICAL, KERNEL_SIZE } from "./kernel_memory.ts";
import type { FrameAllocator } from "./kernel_memory.ts";

/** Bits of a page-table entry's low half; {@link Pte.noExecute} is in the high half. */
export const Pte = {
  present: 0x1,
  write: 0x2,
  user: 0x4,
  accessed: 0x20,
  dirty: 0x40,
  noExecute: 0x8000_0000,
} as const;

const USER_TABLE = Pte.present | Pte.write | Pte.user | Pte.accessed;
const KERNEL_TABLE = Pte.present | Pte.write | Pte.accessed;

/** The two page directories of the kernel's half, with the tables that map {@link KERNEL_BASE}. */
export function buildKernelDirectories(domain: Domain, frames: FrameAllocator): readonly [number, number] {
  const must = () => {
    const gfn = frames.allocate();
    if (gfn === undefined) throw new RangeError("Cannot boot the guest: not enough memory for page tables");
    return gfn;
  };
  const directories: [number, number] = [must(), must()];
  for (let offset = 0; offset < KERNEL_SIZE; offset += 0x20_0000) {
    const va = KERNEL_BASE + offset;
    const table = must();
    const directory = directories[(va >>> 30) - 2];
    domain.writeEntry(directory * PAGE_SIZE + ((va >>> 21) & 0x1ff) * 8, 0, table * PAGE_SIZE + KERNEL_TABLE);
    for (let i = 0; i < 512; i++) {
      const gpa = KERNEL_PHYSICAL + offset + i * PAGE_SIZE;
      domain.writeEntry(table * PAGE_SIZE + i * 8, 0, gpa + (KERNEL_TABLE | Pte.dirty));
    }
  }
  return directories;
}

/** One process's page tables. */
export class AddressSpace {
  /** Value for CR3. */
  readonly cr3: number;
  private readonly pointers: number;
  private readonly directories: number[] = [];
  /** Page tables by `va >>> 21`. */
  private readonly tables = new Map<number, number>();

  /** Throws RangeError when there are not enough frames: ask {@link FrameAllocator.free} first. */
  constructor(
    private readonly domain: Domain,
    private readonly frames: FrameAllocator,
    kernel: readonly [number, number],
  ) {
    const got = [frames.allocate(), frames.allocate(), frames.allocate()];
    if (got.includes(undefined)) throw new RangeError("Cannot make an address space: no free frame");
    this.pointers = got[0]!;
    this.directories.push(got[1]!, got[2]!);
    this.cr3 = this.pointers * PAGE_SIZE;
    [...this.directories, ...kernel].forEach((gfn, i) =>
      domain.writeEntry(this.cr3 + i * 8, 0, gfn * PAGE_SIZE + Pte.present)
    );
  }

  /** The entry that maps a user address; zeros when there is no table. */
  get(va: number): { high: number; low: number } {
    const table = this.tables.get(va >>> 21);
    return table === undefined
      ? { high: 0, low: 0 }
      : this.domain.readEntry(table * PAGE_SIZE + ((va >>> 12) & 0x1ff) * 8);
  }

  /** Writes the entry of a user address. False when a page table is needed and no frame is free. */
  set(va: number, high: number, low: number): boolean {
    let table = this.tables.get(va >>> 21);
    if (table === undefined) {
      if (low === 0 && high === 0) return true;
      table = this.frames.allocate();
      if (table === undefined) return false;
      this.tables.set(va >>> 21, table);
      const directory = this.directories[va >>> 30];
      this.domain.writeEntry(
        directory * PAGE_SIZE + ((va >>> 21) & 0x1ff) * 8,
        0,
        table * PAGE_SIZE + USER_TABLE,
      );
    }
    this.domain.writeEntry(table * PAGE_SIZE + ((va >>> 12) & 0x1ff) * 8, high, low);
    return true;
  }

  /** Frees tables and directories. The CPU must not run on this address space any more. */
  release(): void {
    for (const [index, table] of this.tables) {
      this.domain.writeEntry(this.directories[index >>> 9] * PAGE_SIZE + (index & 0x1ff) * 8, 0, 0);
      this.frames.release(table);
    }
    this.tables.clear();
    for (let i = 0; i < 4; i++) this.domain.writeEntry(this.cr3 + i * 8, 0, 0);
    for (const gfn of this.directories) this.frames.release(gfn);
    this.frames.release(this.pointers);
  }
}
