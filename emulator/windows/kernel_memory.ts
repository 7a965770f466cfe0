// SPDX-License-Identifier: Apache-2.0
/**
 * Guest frames, and the kernel's own memory: one run of frames mapped into every address space, with a
 * pool allocator for EPROCESS, ETHREAD, VADs and the like.
 *
 * @module
 */
import type { Domain } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { alignUp, get32, word } from "./bytes.ts";

/** Hands out guest frames. A frame that was used before is zeroed when it is handed out again. */
export class FrameAllocator {
  private next: number;
  private readonly returned: number[] = [];

  /** Frames from `first` to the domain's last. */
  constructor(private readonly domain: Domain, first: number) {
    this.next = first;
  }

  /** Frames that can still be had. */
  get free(): number {
    return this.domain.guestFrames - this.next + this.returned.length;
  }

  /** A frame full of zeros, or undefined when there is none. */
  allocate(): number | undefined {
    const used = this.returned.pop();
    if (used !== undefined) {
      this.domain.writePhysical(used * PAGE_SIZE, ZERO_PAGE);
      return used;
    }
    return this.next < this.domain.guestFrames ? this.next++ : undefined;
  }

  /** Gives a frame back. */
  release(gfn: number): void {
    this.returned.push(gfn);
  }
}

const ZERO_PAGE = new Uint8Array(PAGE_SIZE);

/** Where the kernel's memory lies. */
export const KERNEL_BASE = 0x8280_0000;
/** Guest-physical address of {@link KERNEL_BASE}. */
export const KERNEL_PHYSICAL = 0x10_0000;
/** Bytes of kernel memory. */
export const KERNEL_SIZE = 0x80_0000;

const UNIT = 16;

/** The kernel's memory: contiguous in both address spaces, so that a pointer is a sum. */
export class KernelMemory {
  private next = KERNEL_BASE;
  private readonly freed = new Map<number, number[]>();

  constructor(private readonly domain: Domain) {}

  /** Guest-physical address of a kernel address. */
  physical(address: number): number {
    return address - KERNEL_BASE + KERNEL_PHYSICAL;
  }

  /** Zeroed memory, aligned to 16 bytes (or to a page from a page on); undefined when the pool is empty. */
  allocate(size: number): number | undefined {
    const rounded = alignUp(size, size >= PAGE_SIZE ? PAGE_SIZE : UNIT);
    const reused = this.freed.get(rounded)?.pop();
    if (reused !== undefined) {
      this.write(reused, new Uint8Array(rounded));
      return reused;
    }
    const at = alignUp(this.next, rounded >= PAGE_SIZE ? PAGE_SIZE : UNIT);
    if (at + rounded > KERNEL_BASE + KERNEL_SIZE) return undefined;
    this.next = at + rounded;
    return at;
  }

  /** Memory that must be there: only for what the kernel needs at boot. */
  mustAllocate(size: number): number {
    const at = this.allocate(size);
    if (at === undefined) {
      throw new RangeError(`Cannot allocate ${size} bytes of kernel memory: pool is empty`);
    }
    return at;
  }

  /** Gives back what {@link allocate} returned for the same size. */
  release(address: number, size: number): void {
    const rounded = alignUp(size, size >= PAGE_SIZE ? PAGE_SIZE : UNIT);
    const list = this.freed.get(rounded);
    if (list) list.push(address);
    else this.freed.set(rounded, [address]);
  }

  read(address: number, length: number): Uint8Array {
    return this.domain.readPhysical(this.physical(address), length);
  }

  write(address: number, bytes: Uint8Array): void {
    this.domain.writePhysical(this.physical(address), bytes);
  }

  get32(address: number): number {
    return get32(this.read(address, 4), 0);
  }

  set32(address: number, value: number): void {
    this.write(address, word(value));
  }
}
