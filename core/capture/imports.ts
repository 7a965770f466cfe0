// SPDX-License-Identifier: Apache-2.0
/**
 * The imports of an image that was taken from memory: there the loader (or the unpacker) has put addresses where
 * the file had names. They come back from the lookup tables where those are still there, and from the addresses
 * themselves where the process's modules are known.
 *
 * @module
 */
import type { FunctionNames, ImportName } from "./modules.ts";
import type { PeDirectory } from "./pe_header.ts";
import { PAGE_SIZE } from "./store.ts";
import { type Code, followTrampoline, wordAt } from "./trampoline.ts";

/** Bounds on what a directory may make us walk, and on what is made. */
const MOST_DESCRIPTORS = 1024;
const MOST_THUNKS = 65_536;
const LONGEST_NAME = 512;
const DESCRIPTOR_SIZE = 20;
const ORDINAL = 0x8000_0000;

/** One place of an import address table: what the loader shall put there. */
interface Slot extends ImportName {
  readonly rva: number;
}

/** What the import directory of an image says. */
export type ReadImports = { readonly outcome: "none" } | {
  readonly outcome: "read";
  readonly slots: readonly Slot[];
  /** RVAs and values that turn the address tables into lookup tables again, ends included. */
  readonly writes: readonly (readonly [number, number])[];
} | {
  readonly outcome: "lost";
  /** Why, in words. */
  readonly reason: string;
};

/**
 * Reads an import directory and its lookup tables (`OriginalFirstThunk`, or the address table where that still
 * holds names). `image` has raw = virtual. All of it can be read, or none.
 */
export function readImports(image: Uint8Array, directory: PeDirectory): ReadImports {
  if (directory.rva === 0) return { outcome: "none" };
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const slots: Slot[] = [];
  const writes: [number, number][] = [];
  for (let index = 0; index < MOST_DESCRIPTORS; index++) {
    const at = directory.rva + index * DESCRIPTOR_SIZE;
    if (at + DESCRIPTOR_SIZE > image.length) return lost("the directory runs past the end of the image");
    const lookup = view.getUint32(at, true);
    const name = view.getUint32(at + 12, true);
    const thunks = view.getUint32(at + 16, true);
    if (name === 0 || thunks === 0) return { outcome: "read", slots, writes };
    const dll = nameAt(image, name);
    if (dll === undefined) return lost(`descriptor ${index} names no DLL`);
    const source = [lookup, thunks].find((table) => table !== 0 && isTable(view, image, table));
    if (source === undefined) return lost(`the names of descriptor ${index} are gone`);
    for (let entry = 0;; entry += 4) {
      if (writes.length >= MOST_THUNKS) return lost(`it has more than ${MOST_THUNKS} functions`);
      if (thunks + entry + 4 > image.length) return lost(`the addresses of descriptor ${index} are outside`);
      const value = view.getUint32(source + entry, true);
      writes.push([thunks + entry, value]);
      if (value === 0) break;
      const what = value >= ORDINAL ? value - ORDINAL : nameAt(image, value + 2)!;
      slots.push({ rva: thunks + entry, dll, name: what });
    }
  }
  return lost(`it has more than ${MOST_DESCRIPTORS} descriptors`);
}

function lost(reason: string): ReadImports {
  return { outcome: "lost", reason };
}

/** Whether a table of thunks at an RVA holds ordinals and names, not addresses. */
function isTable(view: DataView, image: Uint8Array, rva: number): boolean {
  for (let index = 0; index < MOST_THUNKS; index++) {
    const at = rva + index * 4;
    if (at + 4 > image.length) return false;
    const value = view.getUint32(at, true);
    if (value === 0) return index > 0;
    if (value >= ORDINAL ? value - ORDINAL > 0xffff : nameAt(image, value + 2) === undefined) return false;
  }
  return false;
}

/** The zero-ended text of printable ASCII at an RVA; undefined when there is none. */
function nameAt(image: Uint8Array, rva: number): string | undefined {
  const end = image.subarray(rva, rva + LONGEST_NAME + 1).indexOf(0);
  if (end <= 0) return undefined;
  const part = image.subarray(rva, rva + end);
  return part.every((byte) => byte >= 0x20 && byte <= 0x7e) ? String.fromCharCode(...part) : undefined;
}

/** What is known of an image's process, so that addresses can be named. */
export interface AddressSpace {
  readonly names: FunctionNames;
  /** A captured page outside the image, by its address. */
  readonly page: (va: number) => Uint8Array | undefined;
}

/** A new import directory with everything it points to. */
export interface NewImports {
  /** Content of the section at the RVA it was made for; a multiple of 4096 bytes. */
  readonly bytes: Uint8Array;
  readonly directorySize: number;
  /** RVAs and values of the address tables, as a file has them. */
  readonly thunks: readonly (readonly [number, number])[];
  readonly functions: number;
  readonly dlls: number;
  readonly tables: number;
}

/** Tells which function an address leads to that stands in an image (raw = virtual). */
export class FunctionFinder {
  readonly #ways = new Map<number, readonly ImportName[]>();
  readonly #code: Code;
  constructor(
    private readonly image: Uint8Array,
    private readonly imageBase: number,
    private readonly space: AddressSpace,
  ) {
    this.#code = {
      names: space.names,
      page: (va) =>
        this.#inside(va) ? image.subarray(va - imageBase, va - imageBase + PAGE_SIZE) : space.page(va),
    };
  }

  /**
   * The function at an address, or behind the code at it. None for an address within the image: jumps there to its
   * own tables are code of the program, not places of a table.
   */
  at(address: number): readonly ImportName[] {
    if (address < 0x10000 || address >= 0x8000_0000 || this.#inside(address)) return [];
    const names = this.space.names.at(address);
    if (names.length > 0 || !this.space.page(address - address % PAGE_SIZE)) return names;
    let way = this.#ways.get(address);
    if (!way) this.#ways.set(address, way = followTrampoline(this.#code, address));
    return way;
  }

  /** The function whose address, or that of code that leads to it, is in a word outside the image. */
  through(word: number): readonly ImportName[] {
    if (word < 0x10000 || word >= 0x8000_0000 || this.#inside(word)) return [];
    const value = wordAt(this.#code, word);
    return value === undefined ? [] : this.at(value);
  }

  #inside(va: number): boolean {
    return va >= this.imageBase && va < this.imageBase + this.image.length;
  }
}

/**
 * Finds every word of an image from `from` on that is the address of a function of a known module, or of code
 * outside the image that leads to one: aligned ones, and those not aligned that code calls or jumps through.
 * Each is a place for the loader to fill, whether it was in the program's own table or not: the value it had is
 * the function's address either way.
 */
export function findSlots(
  image: Uint8Array,
  from: number,
  imageBase: number,
  space: AddressSpace,
): { readonly rva: number; readonly names: readonly ImportName[] }[] {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const finder = new FunctionFinder(image, imageBase, space);
  const found: { rva: number; names: readonly ImportName[] }[] = [];
  const look = (rva: number) => {
    const names = finder.at(view.getUint32(rva, true));
    if (names.length > 0) found.push({ rva, names });
  };
  for (let rva = (from + 3) & ~3; rva + 4 <= image.length && found.length < MOST_THUNKS; rva += 4) look(rva);
  const aligned = new Set(found.map(({ rva }) => rva));
  for (const rva of unalignedPlaces(view, from, imageBase)) {
    if (found.length >= MOST_THUNKS) break;
    // Two places cannot share bytes: the aligned one stands.
    const low = rva - rva % 4;
    if (!aligned.has(low) && !aligned.has(low + 4)) look(rva);
  }
  return found.sort((a, b) => a.rva - b.rva);
}

/** RVAs, in order, of words not aligned that `call [word]` or `jmp [word]` anywhere in the image goes through. */
function unalignedPlaces(view: DataView, from: number, imageBase: number): number[] {
  const places = new Set<number>();
  for (let at = from; at + 6 <= view.byteLength && places.size < MOST_THUNKS; at++) {
    if (view.getUint8(at) !== 0xff) continue;
    const kind = view.getUint8(at + 1);
    if (kind !== 0x15 && kind !== 0x25) continue;
    const rva = view.getUint32(at + 2, true) - imageBase;
    if (rva >= from && rva + 4 <= view.byteLength && rva % 4 !== 0) places.add(rva);
  }
  const sorted = [...places].sort((a, b) => a - b);
  return sorted.filter((rva, index) => index === 0 || rva >= sorted[index - 1] + 4);
}

/**
 * Joins what the old directory says with what the addresses say; the addresses have the last word. Undefined
 * when the addresses say nothing more.
 */
export function joinSlots(old: readonly Slot[], found: ReturnType<typeof findSlots>): Slot[] | undefined {
  const slots = new Map(old.map((slot) => [slot.rva, slot]));
  const open = found.filter(({ rva, names }) => {
    const said = slots.get(rva);
    return !said || !names.some((each) => sameFunction(each, said));
  });
  if (open.length === 0) return undefined;
  for (const { rva, names } of open) slots.set(rva, { rva, ...names[0] });
  // A forwarded function belongs to the table it stands in, if that DLL has it: as the one before, or behind it.
  const settle = ({ rva, names }: (typeof open)[number], neighbour: Slot | undefined) => {
    const dll = neighbour?.dll.toLowerCase();
    const name = names.find((each) => each.dll.toLowerCase() === dll);
    if (name) slots.set(rva, { rva, ...name });
  };
  for (const one of open) settle(one, slots.get(one.rva - 4));
  for (const one of open.toReversed()) settle(one, slots.get(one.rva + 4));
  return [...slots.values()].sort((a, b) => a.rva - b.rva);
}

function sameFunction(a: ImportName, b: ImportName): boolean {
  // By ordinal or by name: which of both a directory used cannot be compared.
  return typeof a.name !== typeof b.name || a.name === b.name;
}

/**
 * Makes an import directory at an RVA: one descriptor for each run of places without a gap whose functions
 * belong to one DLL, with the address table where it was (PE format specification, "The .idata Section").
 */
export function makeImports(slots: readonly Slot[], rva: number): NewImports {
  const runs: Slot[][] = [];
  for (const slot of slots) {
    const run = runs[runs.length - 1];
    const last = run?.[run.length - 1];
    const same = last && last.dll.toLowerCase() === slot.dll.toLowerCase() && last.rva === slot.rva - 4;
    if (same) run.push(slot);
    else runs.push([slot]);
  }
  const lookups = (runs.length + 1) * DESCRIPTOR_SIZE;
  let at = lookups + (slots.length + runs.length) * 4;
  const places = new Map<string, number>();
  const place = (key: string, length: number): void => {
    if (places.has(key)) return;
    places.set(key, at);
    at += length + (length & 1);
  };
  for (const { dll, name } of slots) {
    place(`dll ${dll.toLowerCase()}`, dll.length + 1);
    if (typeof name === "string") place(`name ${name}`, name.length + 3);
  }
  const bytes = new Uint8Array(Math.ceil(at / PAGE_SIZE) * PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  const thunks: [number, number][] = [];
  const write = (text: string, offset: number) => {
    for (let index = 0; index < text.length; index++) bytes[offset + index] = text.charCodeAt(index);
  };
  let lookup = lookups;
  runs.forEach((run, index) => {
    const dll = places.get(`dll ${run[0].dll.toLowerCase()}`)!;
    write(run[0].dll, dll);
    view.setUint32(index * DESCRIPTOR_SIZE, rva + lookup, true);
    view.setUint32(index * DESCRIPTOR_SIZE + 12, rva + dll, true);
    view.setUint32(index * DESCRIPTOR_SIZE + 16, run[0].rva, true);
    for (const { name, rva: slot } of run) {
      let value = ORDINAL;
      if (typeof name === "string") {
        const hint = places.get(`name ${name}`)!;
        write(name, hint + 2);
        value = rva + hint;
      } else value += name;
      view.setUint32(lookup, value, true);
      thunks.push([slot, value]);
      lookup += 4;
    }
    lookup += 4;
  });
  return {
    bytes,
    directorySize: lookups,
    thunks,
    functions: slots.length,
    dlls: new Set(slots.map(({ dll }) => dll.toLowerCase())).size,
    tables: runs.length,
  };
}
