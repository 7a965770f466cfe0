// SPDX-License-Identifier: Apache-2.0
/**
 * The import directory of an image that was taken from memory: there the loader (or the unpacker) has put
 * addresses where the file had names.
 *
 * @module
 */
import type { PeDirectory } from "./pe_header.ts";

/** Bounds on what a directory may make us walk. */
const MOST_DESCRIPTORS = 1024;
const MOST_THUNKS = 65_536;
const LONGEST_NAME = 512;
const DESCRIPTOR_SIZE = 20;
const ORDINAL = 0x8000_0000;

/** What could be done for the imports; `none`: there was no directory. */
export type ImportOutcome = { readonly outcome: "none" | "restored" } | {
  readonly outcome: "lost";
  /** Why, in words. */
  readonly reason: string;
};

/**
 * Puts the names back where addresses stand: every first thunk is written again from its lookup table
 * (`OriginalFirstThunk`), so that a loader can bind the image afresh. `image` has raw = virtual, and is changed
 * only when all of the directory can be restored.
 */
export function restoreImports(image: Uint8Array, directory: PeDirectory): ImportOutcome {
  if (directory.rva === 0) return { outcome: "none" };
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const writes: [number, number][] = [];
  for (let index = 0; index < MOST_DESCRIPTORS; index++) {
    const at = directory.rva + index * DESCRIPTOR_SIZE;
    if (at + DESCRIPTOR_SIZE > image.length) return lost("the directory runs past the end of the image");
    const lookup = view.getUint32(at, true);
    const name = view.getUint32(at + 12, true);
    const thunks = view.getUint32(at + 16, true);
    if (name === 0 || thunks === 0) {
      for (const [offset, value] of writes) view.setUint32(offset, value, true);
      return { outcome: "restored" };
    }
    if (!isName(image, name)) return lost(`descriptor ${index} names no DLL`);
    const source = [lookup, thunks].find((table) => table !== 0 && isTable(view, image, table));
    if (source === undefined) return lost(`the names of descriptor ${index} are gone`);
    for (let entry = 0;; entry += 4) {
      if (writes.length >= MOST_THUNKS) return lost(`it has more than ${MOST_THUNKS} functions`);
      if (thunks + entry + 4 > image.length) return lost(`the addresses of descriptor ${index} are outside`);
      const value = view.getUint32(source + entry, true);
      writes.push([thunks + entry, value]);
      if (value === 0) break;
    }
  }
  return lost(`it has more than ${MOST_DESCRIPTORS} descriptors`);
}

function lost(reason: string): ImportOutcome {
  return { outcome: "lost", reason };
}

/** Whether a table of thunks at an RVA holds ordinals and names, not addresses. */
function isTable(view: DataView, image: Uint8Array, rva: number): boolean {
  for (let index = 0; index < MOST_THUNKS; index++) {
    const at = rva + index * 4;
    if (at + 4 > image.length) return false;
    const value = view.getUint32(at, true);
    if (value === 0) return index > 0;
    if (value >= ORDINAL ? value - ORDINAL > 0xffff : !isName(image, value + 2)) return false;
  }
  return false;
}

/** Whether a zero-ended text of printable ASCII stands at an RVA. */
function isName(image: Uint8Array, rva: number): boolean {
  for (let at = rva; at < image.length && at - rva <= LONGEST_NAME; at++) {
    const byte = image[at];
    if (byte === 0) return at > rva;
    if (byte < 0x20 || byte > 0x7e) return false;
  }
  return false;
}
