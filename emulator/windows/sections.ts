// SPDX-License-Identifier: Apache-2.0
/**
 * Section objects: memory that several address spaces can map. Anonymous ones get their frames at the first
 * touch; images are filled from their file when they are made.
 *
 * @module
 */
import type { KernelObject } from "./api.ts";
import type { Domain } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import type { FrameAllocator } from "./kernel_memory.ts";

/** A section object. Frames are counted in 4 KiB pages. */
export class Section implements KernelObject {
  readonly kind = "section";
  /** Frame of each page; 0 when it was never touched. */
  private readonly frames: Uint32Array;
  private references = 1;

  /**
   * @param protects MM code of each page for images; undefined: `protect` for all.
   * @param protect MM code that views may have at most.
   */
  constructor(
    private readonly domain: Domain,
    private readonly allocator: FrameAllocator,
    readonly pages: number,
    readonly protect: number,
    readonly protects?: Uint8Array,
    public onFree?: () => void,
  ) {
    this.frames = new Uint32Array(pages);
  }

  /** The frame of a page, made when it was never touched and `make` is set; undefined when there is none. */
  frame(page: number, make: boolean): number | undefined {
    if (this.frames[page] !== 0) return this.frames[page];
    if (!make) return undefined;
    const gfn = this.allocator.allocate();
    if (gfn !== undefined) this.frames[page] = gfn;
    return gfn;
  }

  /** Fills a page from a file, as a loader or device does. False when no frame is free. */
  fill(page: number, bytes: Uint8Array): boolean {
    const gfn = this.frame(page, true);
    if (gfn === undefined) return false;
    this.domain.writePhysical(gfn * PAGE_SIZE, bytes);
    return true;
  }

  /** A handle or a view refers to it. */
  retain(): void {
    this.references++;
  }

  /** A handle or a view is gone; with the last one the frames are free. */
  release(): void {
    if (--this.references > 0) return;
    for (let i = 0; i < this.pages; i++) {
      if (this.frames[i] !== 0) this.allocator.release(this.frames[i]);
      this.frames[i] = 0;
    }
    this.onFree?.();
  }
}
