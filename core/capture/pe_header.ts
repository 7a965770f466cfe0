// SPDX-License-Identifier: Apache-2.0
/**
 * The PE headers of a 32-bit image, read without trust (PE format specification, "COFF File Header", "Optional
 * Header", "Section Table").
 *
 * @module
 */

/** Offsets and sizes of the PE32 headers. */
export const PE = {
  newHeaderField: 0x3c,
  fileHeader: 4,
  optionalHeader: 24,
  optionalHeaderSize: 224,
  directories: 96,
  directoryCount: 16,
  sectionSize: 40,
  machine: 0x14c,
  magic: 0x10b,
} as const;

/** Indices into the data directories. */
export const DIRECTORY = {
  import: 1,
  resource: 2,
  security: 4,
  relocation: 5,
  tls: 9,
  boundImport: 11,
  importAddresses: 12,
} as const;

/** Section characteristics. */
export const SECTION = {
  code: 0x20,
  data: 0x40,
  execute: 0x2000_0000,
  read: 0x4000_0000,
  write: 0x8000_0000,
} as const;

/** One entry of the section table, as it stands there. */
export interface PeSection {
  /** The eight bytes of the name. */
  readonly name: Uint8Array;
  readonly virtualSize: number;
  readonly virtualAddress: number;
  readonly characteristics: number;
}

/** A data directory; both numbers are the file's word. */
export interface PeDirectory {
  readonly rva: number;
  readonly size: number;
}

/** The header fields of a PE32 image; every one is the file's word. */
export interface PeHeader {
  /** File offset of `PE\0\0`. */
  readonly peOffset: number;
  readonly timestamp: number;
  readonly characteristics: number;
  readonly entryPoint: number;
  readonly imageBase: number;
  readonly sectionAlignment: number;
  readonly sizeOfImage: number;
  readonly subsystem: number;
  readonly dllCharacteristics: number;
  /** Stack reserve and commit, heap reserve and commit. */
  readonly memorySizes: readonly [number, number, number, number];
  /** Always 16; those the header does not have are 0, 0. */
  readonly directories: readonly PeDirectory[];
  /** Those that lie within the bytes; at most 96. */
  readonly sections: readonly PeSection[];
}

/** Most sections Windows 7 loads. */
export const MOST_SECTIONS = 96;

/**
 * Reads the headers at the start of `bytes` (a file, or an image in memory). Returns why not, in words, when
 * there is no PE32 header for x86 there. Overlapping headers (`e_lfanew` inside the DOS header) are fine.
 */
export function parsePeHeader(bytes: Uint8Array): PeHeader | string {
  const size = bytes.length;
  if (size === 0) return "it is empty";
  if (size < 2 || bytes[0] !== 0x4d || bytes[1] !== 0x5a) return 'it does not start with "MZ"';
  if (size < PE.newHeaderField + 4) return `it ends inside the DOS header (${size} bytes)`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  const peOffset = view.getUint32(PE.newHeaderField, true);
  const hex = `0x${peOffset.toString(16)}`;
  if (peOffset > size - 4) return `the PE header at ${hex} is past the end (${size} bytes)`;
  if (view.getUint32(peOffset, true) !== 0x4550) return `there is no PE header at ${hex}`;
  if (peOffset > size - PE.optionalHeader) return `it ends inside the PE header at ${hex} (${size} bytes)`;
  const machine = view.getUint16(peOffset + 4, true);
  if (machine !== PE.machine) {
    const what = machine === 0x8664 ? "64-bit (x86-64)" : machine === 0xaa64 ? "64-bit (ARM64)" : "not x86";
    return `it is ${what}: machine 0x${machine.toString(16)}, and 32-bit x86 is 0x14c`;
  }
  const optional = peOffset + PE.optionalHeader;
  if (optional > size - PE.directories) return `it ends inside the optional header (${size} bytes)`;
  const magic = view.getUint16(optional, true);
  if (magic !== PE.magic) {
    return `its optional header is of kind 0x${magic.toString(16)}, and 32-bit PE is 0x10b`;
  }
  const directories: PeDirectory[] = [];
  const count = Math.min(view.getUint32(optional + 92, true), PE.directoryCount);
  for (let index = 0; index < PE.directoryCount; index++) {
    const at = optional + PE.directories + index * 8;
    const there = index < count && at + 8 <= size;
    directories.push(
      there ? { rva: view.getUint32(at, true), size: view.getUint32(at + 4, true) } : { rva: 0, size: 0 },
    );
  }
  const sections: PeSection[] = [];
  const table = optional + view.getUint16(peOffset + 20, true);
  const sectionCount = Math.min(view.getUint16(peOffset + 6, true), MOST_SECTIONS);
  for (let index = 0; index < sectionCount; index++) {
    const at = table + index * PE.sectionSize;
    if (at + PE.sectionSize > size) break;
    sections.push({
      name: bytes.slice(at, at + 8),
      virtualSize: view.getUint32(at + 8, true),
      virtualAddress: view.getUint32(at + 12, true),
      characteristics: view.getUint32(at + 36, true),
    });
  }
  return {
    peOffset,
    timestamp: view.getUint32(peOffset + 8, true),
    characteristics: view.getUint16(peOffset + 22, true),
    entryPoint: view.getUint32(optional + 16, true),
    imageBase: view.getUint32(optional + 28, true),
    sectionAlignment: view.getUint32(optional + 32, true),
    sizeOfImage: view.getUint32(optional + 56, true),
    subsystem: view.getUint16(optional + 68, true),
    dllCharacteristics: view.getUint16(optional + 70, true),
    memorySizes: [72, 76, 80, 84].map((at) =>
      view.getUint32(optional + at, true)
    ) as unknown as PeHeader["memorySizes"],
    directories,
    sections,
  };
}

/**
 * The PE checksum of a file whose own checksum field (a word-aligned offset) counts as zero: the 16-bit words
 * added with end-around carry, plus the length.
 */
export function peChecksum(bytes: Uint8Array, fieldOffset: number): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    if (at === fieldOffset || at === fieldOffset + 2) continue;
    sum += bytes[at] | ((bytes[at + 1] ?? 0) << 8);
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ((sum & 0xffff) + bytes.length) >>> 0;
}
