// SPDX-License-Identifier: Apache-2.0
/**
 * Writes small 32-bit PE files (PE/COFF specification, Microsoft, revision 11): headers, section table and
 * sections whose content is already laid out as in memory.
 *
 * @module
 */

/** One section, its bytes as they stand in memory from its address on. */
export interface PeSection {
  /** At most 8 ASCII characters. */
  readonly name: string;
  /** Relative virtual address, a multiple of 0x1000. */
  readonly rva: number;
  readonly bytes: Uint8Array;
  /** Any of `r`, `w` and `x`. */
  readonly access: string;
}

/** A program to be written. */
export interface PeProgram {
  /** Address the program is linked to, a multiple of 0x10000; it carries no relocations. */
  readonly imageBase: number;
  /** Relative virtual address of the first instruction. */
  readonly entryPoint: number;
  /** In the order of their addresses, each beginning where the one before ends. */
  readonly sections: readonly PeSection[];
  /** Relative virtual address and size of the import directory. */
  readonly imports: { readonly rva: number; readonly size: number };
  /** Relative virtual address of the TLS directory. */
  readonly tls?: number;
  /** The program asks for DEP (NX_COMPAT). */
  readonly nx: boolean;
}

const FILE_ALIGNMENT = 0x200;
const SECTION_ALIGNMENT = 0x1000;
/** Size of the MS-DOS header, which is all zeros but for its signature and e_lfanew. */
const DOS_HEADER = 0x40;
const OPTIONAL_HEADER = 224;

function up(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

/** Section flags (IMAGE_SCN_…) for an access string. */
function characteristics(access: string): number {
  let flags = access.includes("x") ? 0x20 : 0x40;
  if (access.includes("x")) flags += 0x2000_0000;
  if (access.includes("r")) flags += 0x4000_0000;
  if (access.includes("w")) flags += 0x8000_0000;
  return flags;
}

/**
 * The PE file of a program: a 32-bit console program for Windows 4.0 and later. Throws a RangeError for sections that leave gaps or overlap.
 */
export function writePe(program: PeProgram): Uint8Array<ArrayBuffer> {
  const { sections } = program;
  const headersEnd = DOS_HEADER + 24 + OPTIONAL_HEADER + 40 * sections.length;
  const headers = up(headersEnd, FILE_ALIGNMENT);
  let expected = up(headersEnd, SECTION_ALIGNMENT);
  let fileSize = headers;
  for (const section of sections) {
    if (section.rva !== expected || section.bytes.length === 0) {
      throw new RangeError(
        `Cannot write section "${section.name}": it stands at 0x${section.rva.toString(16)} with ` +
          `${section.bytes.length} bytes, 0x${expected.toString(16)} and at least one byte are wanted`,
      );
    }
    expected += up(section.bytes.length, SECTION_ALIGNMENT);
    fileSize += up(section.bytes.length, FILE_ALIGNMENT);
  }
  const file = new Uint8Array(fileSize);
  const view = new DataView(file.buffer);
  const ascii = (at: number, text: string) => file.set(new TextEncoder().encode(text), at);

  ascii(0, "MZ");
  view.setUint32(0x3c, DOS_HEADER, true);
  const coff = DOS_HEADER;
  ascii(coff, "PE\0\0");
  view.setUint16(coff + 4, 0x14c, true); // Machine: I386
  view.setUint16(coff + 6, sections.length, true);
  view.setUint16(coff + 20, OPTIONAL_HEADER, true);
  view.setUint16(coff + 22, 0x103, true); // no relocations, executable, 32-bit
  const optional = coff + 24;
  const words: readonly (readonly [offset: number, value: number])[] = [
    [16, program.entryPoint],
    [28, program.imageBase],
    [32, SECTION_ALIGNMENT],
    [36, FILE_ALIGNMENT],
    [56, expected], // SizeOfImage
    [60, headers],
    [72, 0x10_0000], // stack: reserved, committed
    [76, 0x1000],
    [80, 0x10_0000], // heap: reserved, committed
    [84, 0x1000],
    [92, 16], // data directories
    [104, program.imports.rva],
    [108, program.imports.size],
    [168, program.tls ?? 0],
    [172, program.tls === undefined ? 0 : 24],
  ];
  for (const [offset, value] of words) view.setUint32(optional + offset, value, true);
  view.setUint16(optional, 0x10b, true); // PE32
  view.setUint16(optional + 40, 4, true); // operating system and subsystem version 4.0
  view.setUint16(optional + 48, 4, true);
  view.setUint16(optional + 68, 3, true); // console
  view.setUint16(optional + 70, program.nx ? 0x100 : 0, true); // NX_COMPAT

  let raw = headers;
  for (const [index, section] of sections.entries()) {
    const entry = optional + OPTIONAL_HEADER + 40 * index;
    const size = up(section.bytes.length, FILE_ALIGNMENT);
    ascii(entry, section.name);
    view.setUint32(entry + 8, section.bytes.length, true);
    view.setUint32(entry + 12, section.rva, true);
    view.setUint32(entry + 16, size, true);
    view.setUint32(entry + 20, raw, true);
    view.setUint32(entry + 36, characteristics(section.access), true);
    file.set(section.bytes, raw);
    raw += size;
  }
  return file;
}
