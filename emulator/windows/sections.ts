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

/** What a section is beside memory. */
export interface SectionOptions {
  /** An image: MM code of each page, and the base it is linked to. */
  readonly image?: { readonly protects: Uint8Array; readonly base: number };
  /** SEC_RESERVE: pages are committed one by one. */
  readonly reserved?: boolean;
  /** A file that writes go back to, and its size in bytes. */
  readonly file?: { readonly size: number; readonly changed: (bytes: Uint8Array) => void };
  readonly onFree?: () => void;
}

/** A section object. Frames are counted in 4 KiB pages. */
export class Section implements KernelObject {
  readonly kind = "section";
  /** Frame of each page; 0 when it was never touched. */
  private readonly frames: Uint32Array;
  private references = 1;
  /** SEC_RESERVE: which pages were committed. Absent: all are. */
  private readonly committed: Uint8Array | undefined;
  /** Called when the last reference is gone. */
  onFree: (() => void) | undefined;

  /**
   * @param protect MM code that views may have at most.
   */
  constructor(
    private readonly domain: Domain,
    private readonly allocator: FrameAllocator,
    readonly pages: number,
    readonly protect: number,
    private readonly options: SectionOptions = {},
  ) {
    this.frames = new Uint32Array(pages);
    this.onFree = options.onFree;
    if (options.reserved) this.committed = new Uint8Array(pages);
  }

  /** MM code of each page of an image. */
  get protects(): Uint8Array | undefined {
    return this.options.image?.protects;
  }
  /** Where an image wants to be. */
  get imageBase(): number | undefined {
    return this.options.image?.base;
  }

  /** Whether a page may be touched. */
  isCommitted(page: number): boolean {
    return !this.committed || this.committed[page] !== 0;
  }

  /** Commits pages of a section made with SEC_RESERVE; false when it is none. */
  commit(page: number, count: number): boolean {
    this.committed?.fill(1, page, page + count);
    return this.committed !== undefined;
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

  /** Gives the content of the pages that were touched to the file behind it. */
  writeBack(): void {
    const { file } = this.options;
    if (!file) return;
    const bytes = new Uint8Array(file.size);
    for (let page = 0; page < this.pages; page++) {
      if (this.frames[page] === 0) continue;
      const length = Math.min(PAGE_SIZE, file.size - page * PAGE_SIZE);
      bytes.set(this.domain.readPhysical(this.frames[page] * PAGE_SIZE, length), page * PAGE_SIZE);
    }
    file.changed(bytes);
  }

  /** A handle or a view refers to it. */
  retain(): void {
    this.references++;
  }

  /** A handle or a view is gone; with the last one the frames are free. */
  release(): void {
    if (--this.references > 0) return;
    this.writeBack();
    for (let i = 0; i < this.pages; i++) {
      if (this.frames[i] !== 0) this.allocator.release(this.frames[i]);
      this.frames[i] = 0;
    }
    this.onFree?.();
  }
}
