// SPDX-License-Identifier: Apache-2.0
/**
 * What was captured of one process, layer by layer. At the end of a layer its regions and images are made.
 *
 * @module
 */
import type { MonitorEvent } from "../ports.ts";
import { rebuildImage, type RebuiltImage } from "./image.ts";
import { ProcessModules } from "./modules.ts";
import { parsePeHeader } from "./pe_header.ts";
import { joinPages, type Region, runs } from "./regions.ts";
import { StackEntries } from "./stack_entry.ts";
import { PAGE_SIZE } from "./store.ts";

/** One layer of a process, for the report. */
export interface LayerSummary {
  readonly index: number;
  /** Addresses of the hop that opened it; 0, 0 when none did (layer 0). */
  hopFrom: number;
  hopTo: number;
  /** Captures that carried content (or whose content was already known) in this layer. */
  pages: number;
  /** The bytes at {@link LayerSummary.hopTo}, up to 64 and to the end of what was captured, at the hop. */
  entry: Uint8Array | undefined;
}

/** What the end of a layer yields. */
export interface LayerResult {
  readonly layer: number;
  /** Runs of what the layer captured, then runs of everything known of its allocations; none twice. */
  readonly regions: readonly Region[];
  readonly images: readonly LayerImage[];
  /** What was not made because of a limit, in words. */
  readonly skipped: readonly string[];
}

/** An image of one allocation. */
export interface LayerImage {
  /** Base of the allocation it was made from. */
  readonly va: number;
  readonly image: RebuiltImage;
}

/** Bounds on one region and on one image, in bytes. */
export interface LayerLimits {
  readonly regionBytes: number;
  readonly imageBytes: number;
}

/** One page with its content. */
export interface Page {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

interface Allocation {
  readonly base: number;
  readonly size: number;
  /** Hop target in it, in the open layer. */
  hopTo: number | undefined;
  /** Something other than context was captured in it, in the open layer. */
  active: boolean;
}

interface Composite {
  readonly base: number;
  readonly size: number;
  hopTo: number | undefined;
  readonly pages: Map<number, Page>;
}

/** R/W in a page-table entry (Intel SDM volume 3, "Paging-Structure Entries"). */
const WRITABLE = 2n;
/** Bytes kept of a hop's target. */
const ENTRY_BYTES = 64;

/** The captures of one process. */
export class ProcessCaptures {
  /** Latest content of each page. */
  readonly #latest = new Map<number, Page>();
  readonly #executed = new Set<number>();
  readonly #written = new Set<number>();
  /** Pages of the open layer, without context. */
  #pages = new Map<number, Page>();
  #allocations = new Map<number, Allocation>();
  #layer = 0;
  readonly #summaries = new Map<number, LayerSummary>();
  /** Contents of which regions were made already, by allocation base. */
  readonly #joined = new Map<number, string>();
  /** Latest hop of closed layers, by allocation base. */
  readonly #hops = new Map<number, number>();

  readonly #stacks = new StackEntries();

  /** @param modules what is known of the process's modules, kept up to date by the caller. */
  constructor(private readonly limits: LayerLimits, readonly modules = new ProcessModules()) {}

  /** The layers seen so far, in order. */
  get layers(): LayerSummary[] {
    return [...this.#summaries.values()].sort((a, b) => a.index - b.index);
  }

  /** Ends the open layer when this event opens a later one; call before {@link add} and act on the result. */
  advance(event: MonitorEvent): LayerResult | undefined {
    if (event.layer <= this.#layer) return undefined;
    const result = this.close();
    this.#layer = event.layer;
    return result;
  }

  /** Takes in one page event with its content (undefined when it carries none). */
  add(event: MonitorEvent, page: Page | undefined): void {
    const summary = this.#summary(event.layer);
    if (event.hop) {
      summary.hopFrom = event.hopFrom;
      summary.hopTo = event.hopTo;
    }
    const allocation = this.#allocation(event);
    if (event.hop) allocation.hopTo = event.hopTo;
    this.#stacks.add(event, allocation.base);
    if (event.kind === "S1" || event.kind === "S2" || event.kind === "coalesced") {
      this.#executed.add(event.va);
    }
    const writable = (event.guestEntry & WRITABLE) !== 0n;
    if (writable || (event.kind !== "S1" && event.kind !== "context")) this.#written.add(event.va);
    if (event.content !== "none" && event.content !== "lost") summary.pages++;
    if (page) {
      this.#latest.set(event.va, page);
      if (event.kind !== "context") {
        this.#pages.set(event.va, page);
        allocation.active = true;
      }
    }
    if (event.hop && summary.entry === undefined) summary.entry = this.#bytesAt(event.hopTo);
  }

  #summary(index: number): LayerSummary {
    let summary = this.#summaries.get(index);
    if (!summary) {
      summary = { index, hopFrom: 0, hopTo: 0, pages: 0, entry: undefined };
      this.#summaries.set(index, summary);
    }
    return summary;
  }

  /** The allocation of an event; one page of unknown extent when the monitor could not read it. */
  #allocation(event: MonitorEvent): Allocation {
    const known = event.allocationSize > 0 && event.va >= event.allocationBase &&
      event.va < event.allocationBase + event.allocationSize;
    const base = known ? event.allocationBase : event.va;
    let allocation = this.#allocations.get(base);
    if (!allocation) {
      allocation = { base, size: known ? event.allocationSize : 0, hopTo: undefined, active: false };
      this.#allocations.set(base, allocation);
    }
    return allocation;
  }

  #bytesAt(va: number): Uint8Array | undefined {
    const out: number[] = [];
    for (let at = va; out.length < ENTRY_BYTES; at++) {
      const page = this.#latest.get(at - at % PAGE_SIZE);
      if (!page) break;
      out.push(page.bytes[at % PAGE_SIZE]);
    }
    return out.length > 0 ? Uint8Array.from(out) : undefined;
  }

  /**
   * Ends the open layer: joins its pages, and the latest content of every page known of the allocations it
   * touched, and rebuilds the images. Empty when nothing was captured since the last call.
   */
  close(): LayerResult {
    const regions = new Map<string, Region>();
    const images: LayerImage[] = [];
    const skipped: string[] = [];
    const join = (pages: ReadonlyMap<number, Page>) => {
      for (const { va, count } of runs(pages.keys())) {
        if (count * PAGE_SIZE > this.limits.regionBytes) {
          skipped.push(`a region of ${count * PAGE_SIZE} bytes, more than ${this.limits.regionBytes}`);
          continue;
        }
        const run = new Map<number, Uint8Array>();
        for (let at = va; at < va + count * PAGE_SIZE; at += PAGE_SIZE) run.set(at, pages.get(at)!.bytes);
        for (const region of joinPages(run)) {
          const key = `${region.va}-${region.sha256}`;
          if (!regions.has(key)) regions.set(key, region);
        }
      }
    };
    join(this.#pages);
    for (const { base, size, hopTo, pages } of this.#composites()) {
      const content = [...pages].map(([va, page]) => `${va}:${page.sha256}`).join(" ");
      const changed = this.#joined.get(base) !== content;
      if (changed) {
        this.#joined.set(base, content);
        join(pages);
      }
      if (hopTo === undefined && !(changed && isImage(pages.get(base)))) continue;
      const bytes = new Map([...pages].map(([va, page]) => [va, page.bytes]));
      const left = this.#leftInPlace(base, pages.get(base));
      const rebuilt = rebuildImage(
        {
          base,
          size,
          pages: bytes,
          executed: this.#executed,
          written: this.#written,
          entry: left ?? hopTo ?? this.#hops.get(base),
          hop: left !== undefined || hopTo === undefined
            ? undefined
            : { from: this.#summary(this.#layer).hopFrom, to: hopTo, written: new Set(this.#pages.keys()) },
          space: { names: this.modules, page: (va) => this.#latest.get(va)?.bytes },
        },
        this.limits.imageBytes,
      );
      if (typeof rebuilt === "string") skipped.push(`an image: ${rebuilt}`);
      else images.push({ va: base, image: this.#explained(rebuilt, base, hopTo, left) });
      if (hopTo !== undefined && typeof rebuilt !== "string") {
        this.#hops.set(base, rebuilt.imageBase + rebuilt.entryPoint);
      }
    }
    this.#lengthenEntry();
    this.#pages = new Map();
    this.#allocations = new Map();
    return { layer: this.#layer, regions: [...regions.values()], images, skipped };
  }

  /** Where the program of an allocation began that was left in place, if its stack told. */
  #leftInPlace(base: number, first: Page | undefined): number | undefined {
    const header = first && parsePeHeader(first.bytes);
    if (!header || typeof header === "string") return undefined;
    return this.#stacks.entry(base, base + header.entryPoint);
  }

  /** Says of an image where its entry point comes from, when that is not the layer's hop. */
  #explained(
    image: RebuiltImage,
    base: number,
    hopTo: number | undefined,
    left: number | undefined,
  ): RebuiltImage {
    if (left === hopTo && hopTo !== undefined) return image;
    const notes = [...image.notes];
    const from = left !== undefined
      ? "where the stack was as at the first entry point"
      : this.#hops.has(base)
      ? "that of the last layer that ran there"
      : "the headers'";
    if (hopTo === undefined) notes.push(`nothing ran there after it was written: the entry point is ${from}`);
    else if (left !== undefined) notes.push(`the entry point is ${from}`);
    return { ...image, notes };
  }

  /** Everything known of each allocation the open layer touched, in order; of unknown ones, runs of pages. */
  #composites(): Composite[] {
    const found = new Map<number, Composite>();
    for (const allocation of [...this.#allocations.values()].sort((a, b) => a.base - b.base)) {
      if (!allocation.active && allocation.hopTo === undefined) continue;
      let { base } = allocation;
      if (allocation.size === 0) { while (this.#latest.has(base - PAGE_SIZE)) base -= PAGE_SIZE; }
      const known = found.get(base);
      if (known) {
        known.hopTo ??= allocation.hopTo;
        continue;
      }
      const pages = new Map<number, Page>();
      if (allocation.size === 0) {
        for (let va = base; this.#latest.has(va); va += PAGE_SIZE) pages.set(va, this.#latest.get(va)!);
      } else {
        const inside = [...this.#latest.keys()].filter((va) => va >= base && va < base + allocation.size);
        for (const va of inside.sort((a, b) => a - b)) pages.set(va, this.#latest.get(va)!);
      }
      if (pages.size > 0) found.set(base, { base, size: allocation.size, hopTo: allocation.hopTo, pages });
    }
    return [...found.values()];
  }

  /** A hop near the end of its page: the page after it was captured only after the hop. */
  #lengthenEntry(): void {
    const summary = this.#summaries.get(this.#layer);
    const entry = summary?.entry;
    if (!summary || !entry || entry.length === ENTRY_BYTES) return;
    const again = this.#bytesAt(summary.hopTo);
    if (again && entry.every((byte, index) => again[index] === byte)) summary.entry = again;
  }
}

function isImage(page: Page | undefined): boolean {
  return page !== undefined && typeof parsePeHeader(page.bytes) !== "string";
}
