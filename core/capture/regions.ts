// SPDX-License-Identifier: Apache-2.0
/**
 * Captures joined: a signature that straddles two pages is in neither of them, but in their region.
 *
 * @module
 */
import { sha256 } from "../hash.ts";
import { PAGE_SIZE } from "./store.ts";

/** A run of captured pages without a gap. */
export interface Region {
  /** Page-aligned address of the first byte. */
  readonly va: number;
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

/** Addresses of the first page and the number of pages of each run without a gap, in order. */
export function runs(addresses: Iterable<number>): { readonly va: number; readonly count: number }[] {
  const found: { va: number; count: number }[] = [];
  for (const va of [...addresses].sort((a, b) => a - b)) {
    const last = found[found.length - 1];
    if (last && va === last.va + last.count * PAGE_SIZE) last.count++;
    else found.push({ va, count: 1 });
  }
  return found;
}

/** Joins pages (4096 bytes each, by page-aligned address) to regions, in order of their addresses. */
export function joinPages(pages: ReadonlyMap<number, Uint8Array>): Region[] {
  return runs(pages.keys()).map(({ va, count }) => {
    const bytes = new Uint8Array(count * PAGE_SIZE);
    for (let index = 0; index < count; index++) {
      bytes.set(pages.get(va + index * PAGE_SIZE)!, index * PAGE_SIZE);
    }
    return { va, bytes, sha256: sha256(bytes) };
  });
}
