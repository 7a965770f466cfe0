// SPDX-License-Identifier: Apache-2.0
/**
 * A tolerant reader of PE32 program files: it takes what Windows 7 takes (headers that overlap, odd
 * alignments, sections that run past the end of the file) and refuses the rest with one clear line.
 *
 * Source: Microsoft "PE Format"; behaviour of the image section code where that page is silent.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { alignUp, get16, get32, hex, textAt } from "./bytes.ts";
import { Protect } from "./constants.ts";

/** A section as it is mapped. */
export interface PeSection {
  readonly name: string;
  readonly rva: number;
  /** Bytes in memory, before rounding to pages. */
  readonly virtualSize: number;
  /** Where its content starts in the file, rounded as Windows rounds it. */
  readonly fileOffset: number;
  /** Bytes of content that exist in the file and fit into the section. */
  readonly fileSize: number;
  readonly characteristics: number;
}

/** A data directory entry. */
export interface PeDirectory {
  readonly rva: number;
  readonly size: number;
}

/** Names of the data directories that are used here, by index. */
export const Directory = {
  export: 0,
  import: 1,
  resource: 2,
  relocation: 5,
  tls: 9,
  loadConfig: 10,
  delayImport: 13,
  clr: 14,
} as const;

/** What was read from a PE file's headers. */
export interface PeFile {
  readonly bytes: Uint8Array;
  readonly imageBase: number;
  readonly entryPoint: number;
  readonly sizeOfImage: number;
  readonly sizeOfHeaders: number;
  readonly sectionAlignment: number;
  readonly characteristics: number;
  readonly dllCharacteristics: number;
  readonly subsystem: number;
  readonly stackReserve: number;
  readonly stackCommit: number;
  readonly heapReserve: number;
  readonly sections: readonly PeSection[];
  /** Section alignment below a page: the file is mapped as it is, offset = RVA. */
  readonly flat: boolean;
  readonly isDll: boolean;
  /** The program says it can live with DEP. */
  readonly nxCompatible: boolean;
  directory(index: number): PeDirectory;
}

const MACHINE_I386 = 0x14c;
const MAGIC_PE32 = 0x10b;
const MAX_SECTIONS = 96;
const MAX_IMAGE = 0x3000_0000;
const SECTOR = 0x200;

const SECTION_EXECUTE = 0x2000_0000;
const SECTION_READ = 0x4000_0000;
const SECTION_WRITE = 0x8000_0000;
const SECTION_SHARED = 0x1000_0000;
const SECTION_CODE = 0x20;

/** What kinds of file are taken. */
export interface PeOptions {
  /** Take DLLs too (a program loads them; they cannot be the sample). */
  readonly allowDll?: boolean;
}

/**
 * Reads the headers of a PE32 file.
 *
 * @throws {InputError} when it is not a 32-bit x86 program that Windows 7 would map, with the reason.
 */
export function parsePe(bytes: Uint8Array, name: string, options: PeOptions = {}): PeFile {
  const refuse = (reason: string): never => {
    throw new InputError(`Cannot load ${JSON.stringify(name)}: ${reason}`);
  };
  if (bytes.length === 0) refuse("the file is empty");
  if (get16(bytes, 0) !== 0x5a4d) refuse("not a Windows program (no MZ at its start)");
  if (bytes.length < 0x40) refuse(`the DOS header is cut short (${bytes.length} bytes)`);
  const at = get32(bytes, 0x3c);
  if (at % 4 !== 0 || at > bytes.length - 0x18) {
    refuse(`not a PE file (header offset ${hex(at)} is past the end or not aligned; ${bytes.length} bytes)`);
  }
  if (get32(bytes, at) !== 0x4550) refuse("not a PE file (a DOS or 16-bit program: no PE signature)");
  const machine = get16(bytes, at + 4);
  const optional = at + 0x18;
  const magic = get16(bytes, optional);
  if (machine === 0x8664 || machine === 0xaa64 || magic === 0x20b) {
    refuse(`a 64-bit program (machine ${hex(machine)}); only 32-bit x86 programs are supported`);
  }
  if (machine !== MACHINE_I386) {
    refuse(`a program for machine ${hex(machine)}; only 32-bit x86 programs are supported`);
  }
  const optionalSize = get16(bytes, at + 0x14);
  // Fields past the end read as 0: the directories may be cut off, the fixed part may not.
  if (optional + 0x60 > bytes.length) refuse(`the PE headers are cut short (${bytes.length} bytes)`);
  if (magic !== MAGIC_PE32) refuse(`the optional header's magic is ${hex(magic)}, not 0x10b (PE32)`);
  const characteristics = get16(bytes, at + 0x16);
  const isDll = (characteristics & 0x2000) !== 0;
  if (isDll && !options.allowDll) refuse("a DLL; only programs are supported");

  const sectionAlignment = get32(bytes, optional + 0x20);
  const fileAlignment = get32(bytes, optional + 0x24);
  if (!powerOfTwo(sectionAlignment) || !powerOfTwo(fileAlignment)) {
    refuse(
      `section alignment ${hex(sectionAlignment)} or file alignment ${hex(fileAlignment)} is no power of two`,
    );
  }
  const flat = sectionAlignment < PAGE_SIZE;
  const sizeOfImage = get32(bytes, optional + 0x38);
  if (sizeOfImage === 0 || sizeOfImage > MAX_IMAGE) {
    refuse(`image size ${hex(sizeOfImage)} is not between 1 and ${hex(MAX_IMAGE)}`);
  }
  const imageBase = get32(bytes, optional + 0x1c);
  if (imageBase % 0x1_0000) refuse(`image base ${hex(imageBase)} is not a multiple of 64 KiB`);
  const sizeOfHeaders = Math.min(get32(bytes, optional + 0x3c), sizeOfImage);
  const count = get16(bytes, at + 6);
  if (count > MAX_SECTIONS) refuse(`${count} sections, more than Windows takes (${MAX_SECTIONS})`);
  const directoryCount = Math.min(get32(bytes, optional + 0x5c), 16);
  const directory = (index: number): PeDirectory =>
    index < directoryCount
      ? { rva: get32(bytes, optional + 0x60 + index * 8), size: get32(bytes, optional + 0x64 + index * 8) }
      : { rva: 0, size: 0 };
  if (directory(Directory.clr).rva !== 0) refuse("a .NET program; only native programs are supported");

  const sections: PeSection[] = [];
  const table = optional + optionalSize;
  for (let i = 0; i < count; i++) {
    const entry = table + i * 40;
    if (entry + 40 > bytes.length) refuse(`section header ${i + 1} of ${count} is past the end of the file`);
    sections.push(readSection(bytes, entry, alignUp(sizeOfImage, PAGE_SIZE), fileAlignment, refuse));
  }
  return {
    bytes,
    imageBase,
    entryPoint: get32(bytes, optional + 0x10),
    sizeOfImage,
    sizeOfHeaders,
    sectionAlignment,
    characteristics,
    dllCharacteristics: get16(bytes, optional + 0x46),
    subsystem: get16(bytes, optional + 0x44),
    stackReserve: get32(bytes, optional + 0x48),
    stackCommit: get32(bytes, optional + 0x4c),
    heapReserve: get32(bytes, optional + 0x50),
    sections,
    flat,
    isDll,
    nxCompatible: (get16(bytes, optional + 0x46) & 0x100) !== 0,
    directory,
  };
}

function readSection(
  bytes: Uint8Array,
  entry: number,
  imageEnd: number,
  fileAlignment: number,
  refuse: (reason: string) => never,
): PeSection {
  const name = textAt(bytes, entry, 8);
  const rva = get32(bytes, entry + 12);
  const rawSize = get32(bytes, entry + 16);
  const virtualSize = get32(bytes, entry + 8) || rawSize;
  if (rva >= imageEnd || virtualSize > imageEnd - rva) {
    refuse(
      `section ${JSON.stringify(name)} (${hex(rva)}, ${hex(virtualSize)} bytes) ends past the image (${
        hex(imageEnd)
      } bytes)`,
    );
  }
  // The image section code reads whole sectors: an odd raw pointer is rounded down, the size up.
  const pointer = get32(bytes, entry + 20);
  const sectors = fileAlignment >= SECTOR;
  const fileOffset = sectors ? pointer - pointer % SECTOR : pointer;
  const wanted = sectors ? alignUp(rawSize, SECTOR) : rawSize;
  const present = pointer === 0 ? 0 : Math.max(0, Math.min(wanted, bytes.length - fileOffset));
  return {
    name,
    rva,
    virtualSize,
    fileOffset,
    fileSize: Math.min(present, alignUp(virtualSize, PAGE_SIZE)),
    characteristics: get32(bytes, entry + 36),
  };
}

function powerOfTwo(value: number): boolean {
  return value !== 0 && (value & (value - 1)) === 0;
}

/** One page of an image as it is mapped first. */
export interface ImagePage {
  /** {@link Protect} value. */
  readonly protect: number;
  /** Content from the file; undefined: zeros. */
  readonly bytes: Uint8Array | undefined;
}

/** Base relocations of type HIGHLOW, and the one that does nothing. */
const RELOCATION_WORD = 3;
const RELOCATION_NONE = 0;

/**
 * The pages of an image as they are when the kernel moves it to another base: relocated, the new base in the
 * headers. Undefined when its relocations make no sense.
 */
export function rebasedPages(pe: PeFile, base: number): ImagePage[] | undefined {
  const pages = imagePages(pe);
  const copied = new Set<number>();
  const view = (rva: number): Uint8Array | undefined => {
    const page = Math.floor(rva / PAGE_SIZE);
    if (page >= pages.length) return undefined;
    if (!copied.has(page)) {
      const bytes = new Uint8Array(PAGE_SIZE);
      bytes.set(pages[page].bytes ?? []);
      pages[page] = { protect: pages[page].protect, bytes };
      copied.add(page);
    }
    return pages[page].bytes;
  };
  const byte = (rva: number) => pages[Math.floor(rva / PAGE_SIZE)]?.bytes?.[rva % PAGE_SIZE] ?? 0;
  const word = (rva: number) =>
    (byte(rva) | byte(rva + 1) << 8 | byte(rva + 2) << 16 | byte(rva + 3) << 24) >>> 0;
  const put = (rva: number, value: number) => {
    for (let i = 0; i < 4; i++) {
      const bytes = view(rva + i);
      if (bytes) bytes[(rva + i) % PAGE_SIZE] = value >>> (8 * i);
    }
  };
  const { rva, size } = pe.directory(Directory.relocation);
  const end = rva + Math.min(size, pe.sizeOfImage);
  const delta = base - pe.imageBase;
  for (let at = rva; at + 8 <= end;) {
    const [page, length] = [word(at), word(at + 4)];
    if (length < 8 || at + length > end) break;
    for (let i = 8; i + 2 <= length; i += 2) {
      const item = byte(at + i) | byte(at + i + 1) << 8;
      if (item >>> 12 === RELOCATION_NONE) continue;
      const where = page + (item & 0xfff);
      if (item >>> 12 !== RELOCATION_WORD || where + 4 > pe.sizeOfImage) return undefined;
      put(where, word(where) + delta);
    }
    at += length;
  }
  put(get32(pe.bytes, 0x3c) + 0x34, base);
  return pages;
}

/** Section characteristics as page protection: writable means copy-on-write, unless the section is shared. */
function sectionProtect(characteristics: number): number {
  const execute = (characteristics & SECTION_EXECUTE) !== 0;
  if (characteristics & SECTION_WRITE) {
    if (characteristics & SECTION_SHARED) return execute ? Protect.executeReadWrite : Protect.readWrite;
    return execute ? Protect.executeWriteCopy : Protect.writeCopy;
  }
  if (execute) return characteristics & SECTION_READ ? Protect.executeRead : Protect.execute;
  if (characteristics & SECTION_READ) return Protect.readOnly;
  return characteristics & SECTION_CODE ? Protect.execute : Protect.noAccess;
}

/**
 * The pages of an image, in order, from its headers to its last section. Pages no section covers are
 * inaccessible ({@link Protect.noAccess}).
 */
export function imagePages(pe: PeFile): ImagePage[] {
  const count = alignUp(pe.sizeOfImage, PAGE_SIZE) / PAGE_SIZE;
  const pages: ImagePage[] = new Array(count).fill({ protect: Protect.noAccess, bytes: undefined });
  const slice = (offset: number, end: number) =>
    offset < end ? pe.bytes.subarray(offset, Math.min(offset + PAGE_SIZE, end)) : undefined;
  if (pe.flat) {
    // Low alignment: one subsection over the whole file, everything copy-on-write and executable.
    for (let i = 0; i < count; i++) {
      pages[i] = { protect: Protect.executeWriteCopy, bytes: slice(i * PAGE_SIZE, pe.bytes.length) };
    }
    return pages;
  }
  const headers = Math.min(Math.ceil(Math.max(pe.sizeOfHeaders, 1) / PAGE_SIZE), count);
  for (let i = 0; i < headers; i++) {
    pages[i] = {
      protect: Protect.readOnly,
      bytes: slice(i * PAGE_SIZE, Math.min(pe.bytes.length, Math.max(pe.sizeOfHeaders, 1))),
    };
  }
  for (const section of pe.sections) {
    const first = Math.floor(section.rva / PAGE_SIZE);
    const last = Math.min(Math.ceil((section.rva + section.virtualSize) / PAGE_SIZE), count);
    const protect = sectionProtect(section.characteristics);
    const end = section.fileOffset + section.fileSize;
    for (let i = first; i < last; i++) {
      pages[i] = { protect, bytes: slice(section.fileOffset + (i - first) * PAGE_SIZE, end) };
    }
  }
  return pages;
}
