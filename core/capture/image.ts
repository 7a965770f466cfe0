// SPDX-License-Identifier: Apache-2.0
/**
 * From an allocation in memory to a PE file that loads: sections realigned (raw = virtual), entry point set,
 * imports restored from the names or the addresses that are in memory. Where the headers are gone, new ones are
 * made from the allocation's extent.
 *
 * @module
 */
import { callTable, findCalls } from "./calls.ts";
import { keptDirectories } from "./directories.ts";
import { entryBehindCallbacks, type Hop } from "./entry.ts";
import { type AddressSpace, findSlots, joinSlots, makeImports, readImports } from "./imports.ts";
import {
  DIRECTORY,
  MOST_SECTIONS,
  parsePeHeader,
  PE,
  peChecksum,
  type PeDirectory,
  type PeHeader,
  SECTION,
} from "./pe_header.ts";
import { PAGE_SIZE } from "./store.ts";

/** Granularity of allocations, and so of image bases. */
const GRANULARITY = 0x10000;
/** Lowest base an image may have. */
const LOWEST_BASE = 0x10000;

/** An allocation of a process, as far as it was captured. */
export interface ImageMemory {
  /** Page-aligned start. */
  readonly base: number;
  /** Bytes, a multiple of 4096; 0 when unknown. */
  readonly size: number;
  /** Captured pages within it, by address. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
  /** Addresses of pages that were seen to run. */
  readonly executed: ReadonlySet<number>;
  /** Addresses of pages the process has written, or may write: headers may tell another story by now. */
  readonly written: ReadonlySet<number>;
  /** First address that ran in the layer; undefined to keep the entry point of the headers. */
  readonly entry: number | undefined;
  /** The hop that led to it, when there was one. */
  readonly hop?: Hop;
  /** What is known of the process around it; undefined: addresses of functions stay as they are. */
  readonly space?: AddressSpace;
}

/** A rebuilt PE file. */
export interface RebuiltImage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly imageBase: number;
  /** RVA. */
  readonly entryPoint: number;
  /** `kept`: from the headers in memory; `built`: there were none. */
  readonly header: "kept" | "built";
  /** Pages that were not captured and are zero. */
  readonly holes: number;
  /** What could not be kept, in words. */
  readonly notes: readonly string[];
}

interface Layout {
  readonly name: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly raw: boolean;
  characteristics: number;
}

/**
 * Rebuilds an image. Returns why not, in words, when there is nothing to make one from or it would be longer
 * than `limit` bytes.
 */
export function rebuildImage(memory: ImageMemory, limit: number): RebuiltImage | string {
  const captured = [...memory.pages.keys()].sort((a, b) => a - b);
  if (captured.length === 0) return "no page of it was captured";
  const capturedEnd = captured[captured.length - 1] + PAGE_SIZE - memory.base;
  const notes: string[] = [];
  const parsed = headerOf(memory);
  const header = typeof parsed === "string" ? undefined : parsed;

  // Without headers, the first page may hold code or data: then the image starts one allocation below it.
  const first = memory.pages.get(memory.base);
  const shift =
    !header && first && first.some((byte) => byte !== 0) && memory.base >= LOWEST_BASE + GRANULARITY
      ? GRANULARITY
      : 0;
  if (!header && shift === 0 && first?.some((byte) => byte !== 0)) {
    notes.push("the first page was replaced by the new headers");
  }
  const imageBase = memory.base - shift;
  let size = header && memory.size > 0 ? Math.max(memory.size, capturedEnd) : capturedEnd;
  if (size + shift > limit) size = capturedEnd;
  size += shift;
  if (size > limit) return `it has ${size} bytes, more than ${limit}`;
  if (size <= PAGE_SIZE) size = 2 * PAGE_SIZE;
  if (header && header.sizeOfImage !== size) {
    notes.push(`SizeOfImage 0x${header.sizeOfImage.toString(16)} replaced by 0x${size.toString(16)}`);
  }

  const bytes = new Uint8Array(size);
  for (const va of captured) bytes.set(memory.pages.get(va)!, va - imageBase);
  const holes = (size - shift) / PAGE_SIZE - captured.length - (header || shift > 0 || first ? 0 : 1);

  const sections = header ? keptSections(header, size, notes) : builtSections(shift, size);
  for (const section of sections) {
    const holds = (pages: ReadonlySet<number>) => {
      for (let rva = section.start; rva < section.end; rva += PAGE_SIZE) {
        if (pages.has(imageBase + rva)) return true;
      }
      return false;
    };
    const more = (holds(memory.executed) ? SECTION.code | SECTION.execute : 0) |
      (holds(memory.written) ? SECTION.write : 0);
    section.characteristics = (section.characteristics | more) >>> 0;
  }
  let entryPoint = header?.entryPoint ?? sections[sections.length - 1].start;
  const behind = header && memory.hop &&
    entryBehindCallbacks(bytes, imageBase, header, memory.hop, memory.executed);
  if (behind !== undefined) {
    notes.push("the layer began with a TLS callback: the entry point is where its stub jumps to");
  }
  const entry = behind ?? memory.entry;
  if (entry !== undefined) {
    if (entry >= imageBase && entry < imageBase + size) entryPoint = entry - imageBase;
    else notes.push("the hop leads out of the image: entry point kept");
  }
  if (entryPoint >= size) {
    notes.push(`entry point 0x${entryPoint.toString(16)} is outside the image`);
    entryPoint = 0;
  }
  const kept = header && keptDirectories(bytes, header, imageBase);
  notes.push(...kept?.notes ?? []);
  const directories = [...kept?.directories ?? []];
  let peOffset = usualOffset(header);
  if (header && memory.executed.has(memory.base)) {
    const free = offsetAmongZeros(bytes, sections);
    if (free === undefined) notes.push("code that ran in the first page was overwritten by the headers");
    else peOffset = free;
  }
  const whole = { header, imageBase, peOffset, entryPoint, sections, directories };
  writeHeaders(bytes, whole);
  // After the headers, which may cover names that an overlapping header shared its bytes with.
  const made = importsOf(bytes, whole, memory.space, limit, notes);
  let complete = bytes;
  if (made) {
    complete = new Uint8Array(size + made.bytes.length);
    complete.set(bytes);
    complete.set(made.bytes, size);
    sections.push(importSection(size, size + made.bytes.length, made.calls > 0));
    directories[DIRECTORY.import] = made.directory;
    // It named the extent of the table that was there before.
    directories[DIRECTORY.importAddresses] = NOWHERE;
  }
  const checksum = writeHeaders(complete, whole);
  new DataView(complete.buffer).setUint32(checksum, peChecksum(complete, checksum), true);
  return { bytes: complete, imageBase, entryPoint, header: header ? "kept" : "built", holes, notes };
}

const NOWHERE: PeDirectory = { rva: 0, size: 0 };

/** What is put behind an image for its imports. */
interface ImportSection {
  /** A multiple of 4096 bytes. */
  readonly bytes: Uint8Array;
  readonly directory: PeDirectory;
  /** Calls that lead through its table. */
  readonly calls: number;
}

/**
 * Puts names where the loader has put addresses. From the old directory alone that happens in place; what more
 * the addresses say is returned as a new directory, to be put behind the image.
 */
function importsOf(
  bytes: Uint8Array,
  image: Whole & { readonly directories: PeDirectory[] },
  space: AddressSpace | undefined,
  limit: number,
  notes: string[],
): ImportSection | undefined {
  const { header, imageBase, sections, directories } = image;
  const old = readImports(bytes, header?.directories[DIRECTORY.import] ?? NOWHERE);
  const found = space ? findSlots(bytes, sections[0].start, imageBase, space) : [];
  const code = sections.filter(({ characteristics }) => characteristics & SECTION.execute);
  const calls = space ? findCalls(bytes, code, imageBase, space) : [];
  const table = callTable(calls, bytes.length, imageBase);
  const view = new DataView(bytes.buffer);
  const slots = joinSlots(old.outcome === "read" ? old.slots : [], [...found, ...table.slots]);
  const made = slots && makeImports(slots, bytes.length + table.bytes.length);
  const size = made ? Math.ceil((table.bytes.length + made.bytes.length) / PAGE_SIZE) * PAGE_SIZE : 0;
  if (made && bytes.length + size <= limit) {
    const section = new Uint8Array(size);
    section.set(table.bytes);
    section.set(made.bytes, table.bytes.length);
    const behind = new DataView(section.buffer);
    for (const [rva, value] of made.thunks) {
      if (rva < bytes.length) view.setUint32(rva, value, true);
      else behind.setUint32(rva - bytes.length, value, true);
    }
    for (const [rva, value] of table.patches) view.setUint32(rva, value, true);
    // The loader writes there.
    for (const section of sections) {
      if (!made.thunks.some(([rva]) => rva >= section.start && rva < section.end)) continue;
      section.characteristics = (section.characteristics | SECTION.write) >>> 0;
    }
    const { functions, dlls, tables } = made;
    const direct = calls.length > 0 ? `, direct calls ${calls.length}` : "";
    notes.push(`imports rebuilt: functions ${functions}, DLLs ${dlls}, tables ${tables}${direct}`);
    const directory = { rva: bytes.length + table.bytes.length, size: made.directorySize };
    return { bytes: section, directory, calls: calls.length };
  }
  if (old.outcome === "read") { for (const [rva, value] of old.writes) view.setUint32(rva, value, true); }
  if (old.outcome !== "lost") return undefined;
  notes.push(`imports not restored: ${old.reason}`);
  directories[DIRECTORY.import] = NOWHERE;
  return undefined;
}

function importSection(start: number, end: number, code: boolean): Layout {
  const characteristics =
    (SECTION.data | SECTION.read | (code ? SECTION.code | SECTION.execute | SECTION.write : 0)) >>> 0;
  return { name: sectionName(".umbra"), start, end, raw: true, characteristics };
}

function sectionName(text: string): Uint8Array {
  return new TextEncoder().encode(text.padEnd(8, "\0"));
}

/** Parses the headers at the base of an allocation, as far as pages were captured without a gap. */
function headerOf(memory: ImageMemory): PeHeader | string {
  const pages: Uint8Array[] = [];
  // 16 pages hold the longest headers a loader takes, with room for a moved PE header.
  for (let va = memory.base; pages.length < 16; va += PAGE_SIZE) {
    const page = memory.pages.get(va);
    if (!page) break;
    pages.push(page);
  }
  if (pages.length === 0) return "its first page was not captured";
  const bytes = new Uint8Array(pages.length * PAGE_SIZE);
  pages.forEach((page, index) => bytes.set(page, index * PAGE_SIZE));
  return parsePeHeader(bytes);
}

/**
 * The section table of the headers in the form a loader wants: page-aligned, in order, without gaps or overlaps.
 * One section over everything when none of it can be used.
 */
function keptSections(header: PeHeader, size: number, notes: string[]): Layout[] {
  const usable = header.sections
    .filter((section) =>
      section.virtualAddress >= PAGE_SIZE && section.virtualAddress < size &&
      section.virtualAddress % PAGE_SIZE === 0
    )
    .sort((a, b) => a.virtualAddress - b.virtualAddress)
    .filter((section, index, all) => index === 0 || section.virtualAddress !== all[index - 1].virtualAddress);
  const dropped = header.sections.length - usable.length;
  if (dropped > 0) {
    notes.push(`${dropped} of ${header.sections.length} sections were out of bounds and dropped`);
  }
  const room = usable.length > 0 ? sectionRoom(usualOffset(header), usable[0].virtualAddress) : 0;
  // One more may come, for the imports.
  if (usable.length === 0 || usable.length >= room) {
    notes.push("one section stands for the whole image");
    return builtSections(0, size);
  }
  return usable.map((section, index) => ({
    name: section.name,
    start: section.virtualAddress,
    end: index + 1 < usable.length ? usable[index + 1].virtualAddress : size,
    raw: true,
    characteristics: section.characteristics,
  }));
}

function builtSections(shift: number, size: number): Layout[] {
  const all = (SECTION.code | SECTION.execute | SECTION.read | SECTION.write) >>> 0;
  const sections: Layout[] = [{
    name: sectionName(".memory"),
    start: shift || PAGE_SIZE,
    end: size,
    raw: true,
    characteristics: all,
  }];
  if (shift > 0) {
    const characteristics = (SECTION.data | SECTION.read) >>> 0;
    sections.unshift({
      name: sectionName(".before"),
      start: PAGE_SIZE,
      end: shift,
      raw: false,
      characteristics,
    });
  }
  return sections;
}

/** Where the PE header goes: where it was if that is usual, so that little of the page changes. */
function usualOffset(header: PeHeader | undefined): number {
  const offset = header?.peOffset ?? 0;
  return offset >= 0x40 && offset <= 0x400 && offset % 4 === 0 ? offset : 0x80;
}

/**
 * Where the PE header of an image goes whose first page holds code: among zeros that have room for it. Undefined
 * when there is no such place before the first section.
 */
function offsetAmongZeros(bytes: Uint8Array, sections: readonly Layout[]): number | undefined {
  const end = Math.min(sections[0].start, PAGE_SIZE);
  // One more may come, for the imports.
  const length = headerEnd(0, sections.length + 1);
  let zeros = 0;
  for (let at = PE.newHeaderField + 4; at < end; at++) {
    zeros = bytes[at] === 0 ? zeros + 1 : 0;
    const offset = (at - zeros + 1 + 3) & ~3;
    if (at + 1 - offset >= length) return offset;
  }
  return undefined;
}

/** Where headers end that begin at an offset. */
function headerEnd(offset: number, sections: number): number {
  return offset + PE.optionalHeader + PE.optionalHeaderSize + sections * PE.sectionSize;
}

/** How many section headers fit before the first section. */
function sectionRoom(offset: number, firstSection: number): number {
  const table = offset + PE.optionalHeader + PE.optionalHeaderSize;
  return Math.min(MOST_SECTIONS, Math.floor((firstSection - table) / PE.sectionSize));
}

/** What the headers say. */
interface Whole {
  readonly header: PeHeader | undefined;
  /** Where the PE header goes. */
  readonly peOffset: number;
  readonly imageBase: number;
  readonly entryPoint: number;
  readonly sections: readonly Layout[];
  readonly directories: readonly PeDirectory[];
}

/**
 * Writes DOS header, PE header, data directories and section table (PE format specification). Returns where the
 * checksum stands.
 */
function writeHeaders(bytes: Uint8Array, image: Whole): number {
  const { header, peOffset: offset, sections, directories } = image;
  const view = new DataView(bytes.buffer);
  const optional = offset + PE.optionalHeader;
  const table = optional + PE.optionalHeaderSize;
  const relocatable = (directories[DIRECTORY.relocation]?.size ?? 0) > 0;

  bytes.fill(0, offset, headerEnd(offset, sections.length));
  if (!header) bytes.fill(0, 0, offset);
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(PE.newHeaderField, offset, true);
  view.setUint32(offset, 0x4550, true);
  view.setUint16(offset + 4, PE.machine, true);
  view.setUint16(offset + 6, sections.length, true);
  view.setUint32(offset + 8, header?.timestamp ?? 0, true);
  view.setUint16(offset + 20, PE.optionalHeaderSize, true);
  // Executable image, 32-bit; DLL as it was; relocations stripped unless they are there.
  const kept = (header?.characteristics ?? 0) & ~1;
  view.setUint16(offset + 22, kept | 0x102 | (relocatable ? 0 : 1), true);

  const sum = (flag: number) =>
    sections.reduce((total, s) => s.raw && s.characteristics & flag ? total + s.end - s.start : total, 0);
  view.setUint16(optional, PE.magic, true);
  view.setUint32(optional + 4, sum(SECTION.code), true);
  view.setUint32(optional + 8, sum(SECTION.data), true);
  view.setUint32(optional + 16, image.entryPoint, true);
  view.setUint32(optional + 20, sections.find((s) => s.characteristics & SECTION.code)?.start ?? 0, true);
  view.setUint32(optional + 28, image.imageBase, true);
  view.setUint32(optional + 32, PAGE_SIZE, true);
  view.setUint32(optional + 36, PAGE_SIZE, true);
  view.setUint16(optional + 40, 4, true);
  view.setUint16(optional + 48, 4, true);
  view.setUint32(optional + 56, bytes.length, true);
  view.setUint32(optional + 60, sections[0].start, true);
  view.setUint16(optional + 68, header?.subsystem || 3, true);
  // Without relocations it cannot move; the signature that "force integrity" asks for is gone.
  view.setUint16(optional + 70, (header?.dllCharacteristics ?? 0) & ~0x80 & (relocatable ? ~0 : ~0x40), true);
  const sizes = header && sane(header.memorySizes)
    ? header.memorySizes
    : [0x100000, 0x1000, 0x100000, 0x1000];
  sizes.forEach((value, index) => view.setUint32(optional + 72 + index * 4, value, true));
  view.setUint32(optional + 92, PE.directoryCount, true);
  directories.forEach((directory, index) => {
    view.setUint32(optional + PE.directories + index * 8, directory.rva, true);
    view.setUint32(optional + PE.directories + index * 8 + 4, directory.size, true);
  });
  sections.forEach((section, index) => {
    const at = table + index * PE.sectionSize;
    bytes.set(section.name, at);
    view.setUint32(at + 8, section.end - section.start, true);
    view.setUint32(at + 12, section.start, true);
    view.setUint32(at + 16, section.raw ? section.end - section.start : 0, true);
    view.setUint32(at + 20, section.raw ? section.start : 0, true);
    view.setUint32(at + 36, section.characteristics, true);
  });
  return optional + 64;
}

/** Whether stack and heap sizes are what a loader can give: commit within reserve, reserve within 256 MiB. */
function sane([stack, stackCommit, heap, heapCommit]: PeHeader["memorySizes"]): boolean {
  const most = 256 * 1024 * 1024;
  return stack <= most && heap <= most && stackCommit <= stack && heapCommit <= heap;
}
