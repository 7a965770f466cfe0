// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the PE image of a DLL of the model: headers, code with a stub a function, export directory with
 * sorted names, ordinals and forwards, writable data for exported variables. File offsets equal RVAs, so the
 * image is also the file that programs read from disk.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import type { DllDefinition, DllFunction, DllVariable } from "./api.ts";
import { code, fastSystemCall, PROLOGUE, ret, systemCall } from "./assembler.ts";
import { alignUp, latin1, put16, put32 } from "./bytes.ts";

/** An export of a built DLL. */
export type DllExport =
  | { readonly kind: "code"; readonly rva: number; readonly function?: DllFunction }
  | { readonly kind: "data"; readonly rva: number; readonly variable: DllVariable }
  | { readonly kind: "forward"; readonly rva: number; readonly target: string };

/** A DLL of the model as a PE file. */
export interface DllImage {
  readonly definition: DllDefinition;
  readonly bytes: Uint8Array;
  readonly sizeOfImage: number;
  readonly entryPoint: number;
  readonly exports: ReadonlyMap<string, DllExport>;
  readonly byOrdinal: ReadonlyMap<number, string>;
  /** RVAs of functions that are not exported. */
  readonly internals: ReadonlyMap<string, number>;
}

/** Gives a function the number its stub puts into EAX. `known` functions come without definition. */
export type NumberFunction = (name: string, definition: DllFunction | undefined) => number;

const TEXT_RVA = 0x1000;
const STUB_ALIGN = 16;
/** Bytes of padding before each function, as hot patching wants them. */
const PAD = 5;
const NOP = 0x90;

/**
 * Builds the image of a DLL. The code is position independent, so it needs no relocations.
 *
 * @throws RangeError when the image would not fit the 16-bit ordinals.
 */
export function buildDllImage(
  definition: DllDefinition,
  numberOf: NumberFunction,
  internalFunctions: readonly DllFunction[] = [],
): DllImage {
  const exports = new Map<string, DllExport>();
  const internals = new Map<string, number>();
  const text = layoutCode(definition, numberOf, exports, internalFunctions, internals);
  const dataRva = TEXT_RVA + alignUp(text.length, PAGE_SIZE);
  const dataSize = layoutData(definition, dataRva, exports);
  const rdataRva = dataRva + alignUp(dataSize, PAGE_SIZE);
  for (const [name, target] of Object.entries(definition.forwards ?? {})) {
    if (!exports.has(name)) exports.set(name, { kind: "forward", rva: 0, target });
  }
  const ordinals = assignOrdinals(definition, exports);
  const { bytes: rdata, size: directorySize } = layoutExports(definition.name, exports, ordinals, rdataRva);
  const sizeOfImage = rdataRva + alignUp(rdata.length, PAGE_SIZE);
  const bytes = new Uint8Array(sizeOfImage);
  writeHeaders(bytes, definition, sizeOfImage, { rva: rdataRva, size: directorySize }, [
    { name: ".text", rva: TEXT_RVA, size: text.length, characteristics: 0x6000_0020 },
    { name: ".data", rva: dataRva, size: dataSize, characteristics: 0xc000_0040 },
    { name: ".rdata", rva: rdataRva, size: rdata.length, characteristics: 0x4000_0040 },
  ]);
  bytes.set(text, TEXT_RVA);
  bytes.set(rdata, rdataRva);
  const byOrdinal = new Map([...ordinals].map(([name, ordinal]) => [ordinal, name]));
  return { definition, bytes, sizeOfImage, entryPoint: TEXT_RVA, exports, byOrdinal, internals };
}

/** Stub of a function that the model handles. */
export function stubCode(number: number, words: number, head?: Uint8Array, tail?: Uint8Array): Uint8Array {
  const none = new Uint8Array(0);
  return code(PROLOGUE, head ?? none, systemCall(number), tail ?? none, ret(words));
}

function layoutCode(
  definition: DllDefinition,
  numberOf: NumberFunction,
  exports: Map<string, DllExport>,
  internalFunctions: readonly DllFunction[],
  internals: Map<string, number>,
): Uint8Array {
  // The DLL's entry point: `mov eax, 1; ret 12`.
  const pieces: Uint8Array[] = [code(0xb8, 1, 0, 0, 0, 0xc2, 12, 0)];
  let size = pieces[0].length;
  const place = (bytes: Uint8Array): number => {
    const at = alignUp(size + PAD, STUB_ALIGN);
    pieces.push(new Uint8Array(at - size).fill(NOP), bytes);
    size = at + bytes.length;
    return TEXT_RVA + at;
  };
  const add = (name: string, bytes: Uint8Array, definition?: DllFunction) =>
    exports.set(name, { kind: "code", rva: place(bytes), function: definition });
  const isNative = (name: string) => definition.name === "ntdll.dll" && /^(Nt|Zw)[A-Z]/.test(name);
  const native = (number: number, words: number) => code(fastSystemCall(number), ret(words));
  const codeOf = (one: DllFunction): Uint8Array => {
    const words = one.convention === "stdcall" ? one.args : 0;
    if (one.code) return one.code;
    const number = numberOf(one.name, one);
    if (isNative(one.name) && !one.head && !one.tail) return native(number, words);
    return stubCode(number, words, one.head, one.tail);
  };
  for (const one of definition.functions) {
    if (!exports.has(one.name)) add(one.name, codeOf(one), one);
  }
  for (const one of internalFunctions) internals.set(one.name, place(codeOf(one)));
  const taken = new Set(Object.keys(definition.forwards ?? {}));
  for (const one of definition.variables ?? []) taken.add(one.name);
  for (const [name, words] of Object.entries(definition.known ?? {})) {
    if (exports.has(name) || taken.has(name)) continue;
    const number = numberOf(name, undefined);
    add(name, isNative(name) ? native(number, words) : stubCode(number, words));
  }
  return code(...pieces);
}

function layoutData(definition: DllDefinition, rva: number, exports: Map<string, DllExport>): number {
  let size = 16;
  for (const variable of definition.variables ?? []) {
    exports.set(variable.name, { kind: "data", rva: rva + size, variable });
    size = alignUp(size + variable.size, 16);
  }
  return size;
}

function assignOrdinals(definition: DllDefinition, exports: Map<string, DllExport>): Map<string, number> {
  const fixed = definition.ordinals ?? {};
  const ordinals = new Map<string, number>();
  let next = 1;
  for (const [name, ordinal] of Object.entries(fixed)) {
    if (!exports.has(name)) continue;
    ordinals.set(name, ordinal);
    next = Math.max(next, ordinal + 1);
  }
  for (const name of [...exports.keys()].sort(byCode)) {
    if (!ordinals.has(name)) ordinals.set(name, next++);
  }
  if (next > 0xffff) throw new RangeError(`Cannot build ${definition.name}: ${next} ordinals`);
  return ordinals;
}

/** Order of names in an export directory: by character code. */
function byCode(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function layoutExports(
  dll: string,
  exports: Map<string, DllExport>,
  ordinals: ReadonlyMap<string, number>,
  rva: number,
): { bytes: Uint8Array; size: number } {
  const names = [...exports.keys()].sort(byCode);
  const base = Math.min(1, ...ordinals.values());
  const functions = Math.max(0, ...ordinals.values()) - base + 1;
  const strings = [dll, ...names, ...[...exports.values()].map((e) => e.kind === "forward" ? e.target : "")];
  const functionsAt = 40;
  const namesAt = functionsAt + functions * 4;
  const ordinalsAt = namesAt + names.length * 4;
  let at = ordinalsAt + names.length * 2;
  const bytes = new Uint8Array(at + strings.reduce((sum, one) => sum + one.length + 1, 0));
  const put = (value: string): number => {
    bytes.set(latin1(value), at);
    const where = rva + at;
    at += value.length + 1;
    return where;
  };
  const directory = [0, 0x4ce7b9e2, 0, put(dll), base, functions, names.length];
  directory.push(rva + functionsAt, rva + namesAt, rva + ordinalsAt);
  directory.forEach((value, i) => put32(bytes, i * 4, value));
  names.forEach((name, i) => {
    const one = exports.get(name)!;
    const index = ordinals.get(name)! - base;
    const target = one.kind === "forward" ? put(one.target) : one.rva;
    put32(bytes, functionsAt + index * 4, target);
    put32(bytes, namesAt + i * 4, put(name));
    put16(bytes, ordinalsAt + i * 2, index);
  });
  return { bytes, size: bytes.length };
}

interface SectionHeader {
  readonly name: string;
  readonly rva: number;
  readonly size: number;
  readonly characteristics: number;
}

function writeHeaders(
  bytes: Uint8Array,
  definition: DllDefinition,
  sizeOfImage: number,
  exportDirectory: { rva: number; size: number },
  sections: readonly SectionHeader[],
): void {
  const at = 0xe0;
  put16(bytes, 0, 0x5a4d);
  put16(bytes, 0x18, 0x40);
  put32(bytes, 0x3c, at);
  put32(bytes, at, 0x4550);
  put16(bytes, at + 4, 0x14c);
  put16(bytes, at + 6, sections.length);
  put32(bytes, at + 8, 0x4ce7b9e2);
  put16(bytes, at + 0x14, 0xe0);
  put16(bytes, at + 0x16, 0x2102);
  const optional = at + 0x18;
  put16(bytes, optional, 0x10b);
  bytes[optional + 2] = 9;
  put32(bytes, optional + 4, alignUp(sections[0].size, PAGE_SIZE));
  put32(bytes, optional + 0x10, TEXT_RVA);
  put32(bytes, optional + 0x14, TEXT_RVA);
  put32(bytes, optional + 0x18, sections[1].rva);
  put32(bytes, optional + 0x1c, definition.base);
  put32(bytes, optional + 0x20, PAGE_SIZE);
  put32(bytes, optional + 0x24, PAGE_SIZE);
  for (const version of [0x28, 0x2c, 0x30]) put32(bytes, optional + version, 0x0001_0006);
  put32(bytes, optional + 0x38, sizeOfImage);
  put32(bytes, optional + 0x3c, PAGE_SIZE);
  put16(bytes, optional + 0x44, 3);
  put16(bytes, optional + 0x46, 0x140);
  put32(bytes, optional + 0x48, 0x4_0000);
  put32(bytes, optional + 0x4c, 0x1000);
  put32(bytes, optional + 0x50, 0x10_0000);
  put32(bytes, optional + 0x54, 0x1000);
  put32(bytes, optional + 0x5c, 16);
  put32(bytes, optional + 0x60, exportDirectory.rva);
  put32(bytes, optional + 0x64, exportDirectory.size);
  sections.forEach((section, i) => {
    const entry = optional + 0xe0 + i * 40;
    bytes.set(latin1(section.name), entry);
    put32(bytes, entry + 8, section.size);
    put32(bytes, entry + 12, section.rva);
    put32(bytes, entry + 16, alignUp(section.size, PAGE_SIZE));
    put32(bytes, entry + 20, section.rva);
    put32(bytes, entry + 36, section.characteristics);
  });
}
