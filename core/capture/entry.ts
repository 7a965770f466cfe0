// SPDX-License-Identifier: Apache-2.0
/**
 * Where a program begins whose unpacker ran the program's TLS callbacks first: the hop leads to a callback then,
 * and the jump to the entry point behind it causes no other, because its page runs already.
 *
 * @module
 */
import { DIRECTORY, type PeHeader } from "./pe_header.ts";
import { PAGE_SIZE } from "./store.ts";

/** Pages from the one the hop came from that may hold the jump. */
const STUB_PAGES = 2;
/** Bytes behind the call of the callbacks in which the jump is looked for first. */
const NEAR = 128;

/** A hop as the image's captures tell of it. */
export interface Hop {
  /** Address that ran before it, and the first that ran behind it. */
  readonly from: number;
  readonly to: number;
  /** Pages the layer wrote, by address. */
  readonly written: ReadonlySet<number>;
}

/**
 * The place among the layer's pages that have run to which the code that hopped jumps (`jmp` with a 32-bit
 * displacement, as compressors end): the first one close behind where it hopped from, else the only one.
 * Undefined when the image has no TLS callbacks or the hop leads to none, when that code jumps to the hop's own
 * target, or when it is not one place. `image` has raw = virtual.
 */
export function entryBehindCallbacks(
  image: Uint8Array,
  imageBase: number,
  header: PeHeader,
  hop: Hop,
  executed: ReadonlySet<number>,
): number | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  if (!hasCallbacks(image, imageBase, header) || !inTable(view, hop.to)) return undefined;
  const start = hop.from - hop.from % PAGE_SIZE - imageBase;
  if (start < 0 || start >= image.length) return undefined;
  const end = Math.min(start + STUB_PAGES * PAGE_SIZE, image.length);
  const from = hop.from - imageBase;
  const targets = new Set<number>();
  for (let at = start; at + 5 <= end; at++) {
    if (image[at] !== 0xe9) continue;
    const target = (imageBase + at + 5 + view.getInt32(at + 1, true)) >>> 0;
    const page = target - target % PAGE_SIZE;
    if (!hop.written.has(page) || !executed.has(page)) continue;
    if (at >= from && at < from + NEAR && target !== hop.to) return target;
    targets.add(target);
  }
  return targets.size === 1 && !targets.has(hop.to) ? [...targets][0] : undefined;
}

/**
 * Whether an address stands in an aligned word, as those of callbacks do: in the program's own list, which is not
 * the one the directory leads to while the unpacker has a callback that runs them.
 */
function inTable(view: DataView, address: number): boolean {
  for (let at = 0; at + 4 <= view.byteLength; at += 4) if (view.getUint32(at, true) === address) return true;
  return false;
}

/** Whether the TLS directory names a callback (PE format specification, "The .tls Section"). */
function hasCallbacks(image: Uint8Array, imageBase: number, header: PeHeader): boolean {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const word = (rva: number) => rva > 0 && rva + 4 <= image.length ? view.getUint32(rva, true) : 0;
  const { rva } = header.directories[DIRECTORY.tls];
  return rva !== 0 && word(word(rva + 12) - imageBase) !== 0;
}
