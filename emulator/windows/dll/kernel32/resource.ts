// SPDX-License-Identifier: Apache-2.0
/** kernel32: resources, found in the PE resource tree of a module in guest memory. @module */
import type { ApiCall, Handler, Module } from "../../api.ts";
import { both, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { encode, text } from "../shared/text.ts";
import { moduleOf } from "./module.ts";

/** A key of the resource tree: a number, or a name in upper case. */
export type ResourceKey = number | string;

/** Entries of one directory that are looked at. */
const MAX_ENTRIES = 4096;

interface Entry {
  readonly key: ResourceKey;
  /** Offset in the resource section. */
  readonly offset: number;
  readonly directory: boolean;
}

/** The resource directory of a module: its address, or undefined when it has none. */
export function resourceRoot(call: ApiCall, module: Module): number | undefined {
  const { memory } = call;
  const header = (module.base + memory.u32(module.base + 0x3c)) >>> 0;
  if (!memory.accessible(header, 0x90, false) || memory.u32(header) !== 0x4550) return undefined;
  if (memory.u32(header + 0x74) < 3) return undefined;
  const rva = memory.u32(header + 0x88);
  return rva === 0 ? undefined : (module.base + rva) >>> 0;
}

/** Entries of the directory at `offset` (PE specification, 6.9). */
function entries(call: ApiCall, root: number, offset: number): Entry[] {
  const { memory } = call;
  const at = (root + offset) >>> 0;
  const count = Math.min(MAX_ENTRIES, memory.u16(at + 12) + memory.u16(at + 14));
  const list: Entry[] = [];
  for (let i = 0; i < count; i++) {
    const name = memory.u32(at + 16 + 8 * i);
    const target = memory.u32(at + 20 + 8 * i);
    let key: ResourceKey = name & 0xffff;
    if (name & 0x80000000) {
      const string = (root + (name & 0x7fffffff)) >>> 0;
      key = "";
      const length = Math.min(memory.u16(string), 1024);
      for (let j = 0; j < length; j++) key += String.fromCharCode(memory.u16(string + 2 + 2 * j));
    }
    list.push({ key, offset: target & 0x7fffffff, directory: (target & 0x80000000) !== 0 });
  }
  return list;
}

/** A key from an argument: an integer below 0x10000, `#number`, or a name. */
export function resourceKey(call: ApiCall, argument: number, wide: boolean): ResourceKey {
  if (argument < 0x10000) return argument;
  const name = text(call, argument, wide, 1024);
  const number = /^#(\d+)$/.exec(name);
  return number ? Number(number[1]) & 0xffff : name.toUpperCase();
}

const same = (a: ResourceKey, b: ResourceKey) =>
  typeof a === "number" ? a === b : typeof b === "string" && a.toUpperCase() === b.toUpperCase();

/**
 * Address of a resource's data entry (RVA, size, code page, reserved); a negative number is a Win32 error.
 * Language 0 takes the neutral one, then US English, then the first.
 */
export function findResource(
  call: ApiCall,
  module: Module,
  type: ResourceKey,
  name: ResourceKey,
  language = 0,
): number {
  const root = resourceRoot(call, module);
  if (root === undefined) return -Win32.resourceDataNotFound;
  const types = entries(call, root, 0).find((entry) => entry.directory && same(entry.key, type));
  if (!types) return -Win32.resourceTypeNotFound;
  const named = entries(call, root, types.offset).find((entry) => same(entry.key, name));
  if (!named) return -Win32.resourceNameNotFound;
  if (!named.directory) return (root + named.offset) >>> 0;
  const languages = entries(call, root, named.offset).filter((entry) => !entry.directory);
  const chosen = language
    ? languages.find((entry) => entry.key === language)
    : languages.find((entry) => entry.key === 0) ?? languages.find((entry) => entry.key === 0x409) ??
      languages[0];
  return chosen ? (root + chosen.offset) >>> 0 : -Win32.resourceLangNotFound;
}

/** Bytes of a resource: address and size, or undefined. */
export function resourceData(
  call: ApiCall,
  module: Module,
  type: ResourceKey,
  name: ResourceKey,
): { address: number; size: number } | undefined {
  const entry = findResource(call, module, type, name);
  if (entry < 0) return undefined;
  return { address: (module.base + call.memory.u32(entry)) >>> 0, size: call.memory.u32(entry + 4) };
}

const find = (call: ApiCall, wide: boolean, handle: number, name: number, type: number, language: number) => {
  const module = moduleOf(call, handle);
  if (!module) return call.fail(Win32.resourceDataNotFound);
  const entry = findResource(
    call,
    module,
    resourceKey(call, type, wide),
    resourceKey(call, name, wide),
    language & 0xffff,
  );
  return entry < 0 ? call.fail(-entry) : entry;
};

/** What an enumeration hands to the callback: the number, or the text in a heap block. */
function argumentOf(call: ApiCall, key: ResourceKey, wide: boolean): number {
  if (typeof key === "number") return key;
  const bytes = encode(key, wide, true);
  const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
  if (block) call.memory.setBytes(block, bytes);
  return block;
}

/** EnumResourceTypes, …Names and …Languages: the level of the tree says which. */
const enumerate = (level: 0 | 1 | 2) => (wide: boolean): Handler =>
  function* (call, handle, ...rest) {
    const module = moduleOf(call, handle);
    const root = module && resourceRoot(call, module);
    if (root === undefined) return call.fail(Win32.resourceDataNotFound);
    const keys = rest.slice(0, level);
    const [callback, parameter] = rest.slice(level);
    let offset = 0;
    for (const key of keys) {
      const wanted = resourceKey(call, key, wide);
      const next = entries(call, root, offset).find((entry) => entry.directory && same(entry.key, wanted));
      if (!next) return call.fail(level === 1 ? Win32.resourceTypeNotFound : Win32.resourceNameNotFound);
      offset = next.offset;
    }
    for (const entry of entries(call, root, offset)) {
      const argument = argumentOf(call, entry.key, wide);
      const went: number = yield invoke(callback, [handle, ...keys, argument, parameter]);
      if (typeof entry.key === "string") call.heaps.free(call.heaps.processHeap, argument);
      if (went === 0) return call.fail(15106);
    }
    return 1;
  };

export const resource: Handlers = {
  ...both({
    FindResource: (wide) => (call, module, name, type) => find(call, wide, module, name, type, 0),
    FindResourceEx: (wide) => (call, module, type, name, language) =>
      find(call, wide, module, name, type, language),
    EnumResourceTypes: enumerate(0),
    EnumResourceNames: enumerate(1),
    EnumResourceLanguages: enumerate(2),
  }),
  LoadResource: (call, handle, entry) => {
    if (entry === 0) return call.fail(Win32.invalidParameter);
    const module = moduleOf(call, handle);
    return module ? module.base + call.memory.u32(entry) : call.fail(Win32.resourceDataNotFound);
  },
  SizeofResource: (call, handle, entry) =>
    entry !== 0 && moduleOf(call, handle)
      ? call.memory.u32(entry + 4)
      : call.fail(Win32.resourceNameNotFound),
  LockResource: (_, data) => data,
  FreeResource: () => 0,
};
