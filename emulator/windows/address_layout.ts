// SPDX-License-Identifier: Apache-2.0
/**
 * Where things of a process lie: at fixed places, or moved as Windows 7 moves them (ASLR) by a generator with
 * a fixed seed, so that the same run comes out the same way.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import { GRANULARITY, USER_END } from "./constants.ts";
import { Directory } from "./pe.ts";
import type { PeFile } from "./pe.ts";

/** IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE and IMAGE_FILE_RELOCS_STRIPPED. */
const DYNAMIC_BASE = 0x40;
const RELOCATIONS_STRIPPED = 1;
const PEB_PAGE = 0x7ffdf;
/** Places a PEB may have, one page apart. */
const PEB_PLACES = 11;
/** Multiples of 64 KiB that images move by at most, and stacks and heaps. */
const IMAGE_PLACES = 254;
const SMALL_PLACES = 32;
const HEAP_START = 0x10_0000;

/** See the module's description. */
export class AddressLayout {
  private state = 0x2545_f491;
  /** Bytes that all DLLs of the model lie lower than by default. */
  readonly dllShift: number;

  constructor(readonly randomised: boolean) {
    this.dllShift = this.pick(IMAGE_PLACES) * GRANULARITY;
  }

  /** A number below `count`; 0 without ASLR. */
  private pick(count: number): number {
    if (!this.randomised) return 0;
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % count;
  }

  /** Where a program is to be mapped: the base it is linked to, unless it lets itself be moved. */
  imageBase(pe: PeFile): number {
    const moves = (pe.dllCharacteristics & DYNAMIC_BASE) !== 0 &&
      (pe.characteristics & RELOCATIONS_STRIPPED) === 0 && pe.directory(Directory.relocation).rva !== 0;
    if (!this.randomised || !moves) return pe.imageBase;
    const base = pe.imageBase + (1 + this.pick(IMAGE_PLACES)) * GRANULARITY;
    return base + pe.sizeOfImage < USER_END / 2 ? base : pe.imageBase;
  }

  /** Where the process heap is tried first; 0: anywhere. */
  heapBase(): number {
    return this.randomised ? HEAP_START + this.pick(SMALL_PLACES) * GRANULARITY : 0;
  }

  /** Free places of 64 KiB that a new stack leaves below it. */
  stackSkip(): number {
    return this.pick(SMALL_PLACES);
  }

  /** Address of a PEB; TEBs lie below. */
  peb(): number {
    return (PEB_PAGE - this.pick(PEB_PLACES)) * PAGE_SIZE;
  }
}
