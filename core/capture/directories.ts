// SPDX-License-Identifier: Apache-2.0
/**
 * Which data directories of headers found in memory can go into a file: those whose content is there and makes
 * sense (PE format specification, "Optional Header Data Directories"). A loader refuses an image, or runs
 * rubbish, for the others.
 *
 * @module
 */
import { DIRECTORY, PE, type PeDirectory, type PeHeader } from "./pe_header.ts";

const NONE: PeDirectory = { rva: 0, size: 0 };
/** Most blocks of relocations that are looked at: more than an image of 2 GiB has. */
const MOST_BLOCKS = 0x80000;
const RESOURCE_HEADER = 16;
const TLS_SIZE = 24;

/** What it takes for each directory that a loader acts on: its content, the image, its base. */
const CHECKS: Readonly<Record<number, (view: DataView, directory: PeDirectory, base: number) => boolean>> = {
  // A signature does not outlive a change, and bindings are those of another load.
  [DIRECTORY.security]: () => false,
  [DIRECTORY.boundImport]: () => false,
  [DIRECTORY.resource]: (view, { rva, size }) => {
    if (size < RESOURCE_HEADER) return false;
    const entries = view.getUint16(rva + 12, true) + view.getUint16(rva + 14, true);
    return entries > 0 && RESOURCE_HEADER + entries * 8 <= size;
  },
  [DIRECTORY.relocation]: (view, { rva, size }) => {
    let at = 0;
    for (let block = 0; block < MOST_BLOCKS && at + 8 <= size; block++) {
      const page = view.getUint32(rva + at, true);
      const length = view.getUint32(rva + at + 4, true);
      // Zeros may follow the last block.
      if (length === 0) return at > 0;
      if (length < 8 || length % 2 !== 0 || length > size - at || page % 4096 !== 0) return false;
      if (page >= view.byteLength) return false;
      at += length;
    }
    return at > 0;
  },
  [DIRECTORY.tls]: (view, { rva }, base) => {
    if (rva > view.byteLength - TLS_SIZE) return false;
    const inside = (va: number) => va >= base && va <= base + view.byteLength;
    const [start, end, index, callbacks] = [0, 4, 8, 12].map((at) => view.getUint32(rva + at, true));
    const template = (start === 0 && end === 0) || (start <= end && inside(start) && inside(end));
    return template && inside(index) && (callbacks === 0 || inside(callbacks));
  },
};

/** The directories of headers, without those that cannot be kept; and what was left out, in words. */
export function keptDirectories(
  image: Uint8Array,
  header: PeHeader,
  imageBase: number,
): { readonly directories: readonly PeDirectory[]; readonly notes: readonly string[] } {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const notes: string[] = [];
  const directories = header.directories.slice(0, PE.directoryCount).map((directory, index) => {
    if (directory.rva === 0) return NONE;
    if (directory.rva + directory.size > image.length) return NONE;
    const check = CHECKS[index];
    if (!check || check(view, directory, imageBase)) return directory;
    const name = Object.entries(DIRECTORY).find(([, number]) => number === index)?.[0];
    if (index === DIRECTORY.resource || index === DIRECTORY.relocation || index === DIRECTORY.tls) {
      notes.push(`the ${name} directory makes no sense and was left out`);
    }
    return NONE;
  });
  return { directories, notes };
}
