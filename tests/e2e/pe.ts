// SPDX-License-Identifier: Apache-2.0
/**
 * Reads what the end-to-end tests compare out of PE files: sections and base relocations (PE/COFF
 * specification, "Section Table" and "The .reloc Section"). For files of known making only.
 *
 * @module
 */

/** A section as its table entry says. */
export interface Section {
  readonly name: string;
  readonly rva: number;
  readonly virtualSize: number;
  readonly access: { readonly write: boolean; readonly execute: boolean };
  /** Its content in the file. */
  readonly bytes: Uint8Array;
}

/** A PE file taken apart. */
export interface Pe {
  readonly imageBase: number;
  readonly entryPoint: number;
  readonly sections: readonly Section[];
  /** RVAs of the 32-bit words that the base relocations name. */
  readonly relocations: readonly number[];
}

/** Takes a PE32 file apart. Throws for what is not one. */
export function readPe(file: Uint8Array): Pe {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const header = view.getUint32(0x3c, true);
  if (view.getUint32(header, true) !== 0x4550) throw new Error("Cannot read the PE file: no PE signature");
  const count = view.getUint16(header + 6, true);
  const optional = header + 24;
  const table = optional + view.getUint16(header + 20, true);
  const sections = Array.from({ length: count }, (_, index): Section => {
    const entry = table + 40 * index;
    const raw = view.getUint32(entry + 20, true);
    const flags = view.getUint32(entry + 36, true);
    return {
      name: new TextDecoder().decode(file.subarray(entry, entry + 8)).replace(/\0.*$/s, ""),
      rva: view.getUint32(entry + 12, true),
      virtualSize: view.getUint32(entry + 8, true),
      access: { write: (flags & 0x8000_0000) !== 0, execute: (flags & 0x2000_0000) !== 0 },
      bytes: file.subarray(raw, raw + view.getUint32(entry + 16, true)),
    };
  });
  const relocations: number[] = [];
  const directory = view.getUint32(optional + 96 + 8 * 5, true);
  const home = sections.find(({ rva, bytes }) => directory >= rva && directory < rva + bytes.length);
  if (home) {
    const start = directory - home.rva;
    const blocks = home.bytes.subarray(start, start + view.getUint32(optional + 100 + 8 * 5, true));
    const words = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength);
    for (let at = 0; at + 8 <= blocks.length;) {
      const [page, size] = [words.getUint32(at, true), words.getUint32(at + 4, true)];
      if (size < 8) break;
      for (let entry = at + 8; entry + 2 <= Math.min(at + size, blocks.length); entry += 2) {
        const value = words.getUint16(entry, true);
        if (value >> 12 === 3) relocations.push(page + (value & 0xfff));
      }
      at += size;
    }
  }
  return {
    imageBase: view.getUint32(optional + 28, true),
    entryPoint: view.getUint32(optional + 16, true),
    sections,
    relocations,
  };
}
