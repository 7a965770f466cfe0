// SPDX-License-Identifier: Apache-2.0
/**
 * What ntdll's loader does in a process: relocations, imports, TLS, the module lists of the PEB. All of it
 * writes through the process's own address space, as the real one does.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import type { ApiCall } from "./api.ts";
import { alignUp, get16, get32, put16, put32 } from "./bytes.ts";
import { Memory, Protect } from "./constants.ts";
import { imageSection } from "./dll_registry.ts";
import type { DllImage } from "./dll_image.ts";
import type { Heap } from "./heap.ts";
import type { Kernel } from "./kernel.ts";
import type { LoadedModule } from "./modules.ts";
import { moduleKey, ProcessModules } from "./modules.ts";
import { Directory, parsePe } from "./pe.ts";
import type { PeFile } from "./pe.ts";
import type { Process } from "./process.ts";
import type { Section } from "./sections.ts";
import { LdrData, LdrEntry, Peb, Teb, unicodeString, wideZ } from "./structures.ts";

const MAX_MODULES = 256;
const MAX_DESCRIPTORS = 1024;
const MAX_IMPORTS = 16384;
const ARENA = 0x1_0000;
/** LDR_DATA_TABLE_ENTRY.Flags: image, entry processed, (DLLs) do not call threads. */
const LDR_PROGRAM = 0x4000;
const LDR_DLL = 0x8_4004;

/** Memory for the loader's structures; undefined when the process has no room. */
function arena(process: Process, size: number): number | undefined {
  const { manager } = process.user!;
  const wanted = alignUp(size, 16);
  if (process.loaderArena.next + wanted > process.loaderArena.end) {
    const made = manager.allocate(
      0,
      Math.max(wanted, ARENA),
      Memory.reserve | Memory.commit,
      Protect.readWrite,
    );
    if (made.status !== 0) return undefined;
    process.loaderArena = { next: made.base, end: made.base + made.size };
  }
  const at = process.loaderArena.next;
  process.loaderArena.next += wanted;
  return at;
}

/** Makes the empty PEB_LDR_DATA and links it to the PEB. */
export function initializeModuleLists(process: Process): boolean {
  const { memory, peb } = process.user!;
  const ldr = arena(process, LdrData.size);
  if (ldr === undefined) return false;
  memory.setU32(ldr + LdrData.length, LdrData.size);
  memory.setU32(ldr + LdrData.initialized, 1);
  for (const list of [LdrData.inLoadOrder, LdrData.inMemoryOrder, LdrData.inInitializationOrder]) {
    memory.setU32(ldr + list, ldr + list);
    memory.setU32(ldr + list + 4, ldr + list);
  }
  memory.setU32(peb + Peb.ldr, ldr);
  return true;
}

const KERNELBASE = "KERNELBASE.dll";

/** Adds a mapped module to the process's books and to the lists in its memory. */
export function registerModule(
  process: Process,
  module: LoadedModule,
  initialized: boolean,
): boolean {
  if (process.modules.length >= MAX_MODULES) return false;
  const { memory } = process.user!;
  const path = wideZ(module.path);
  const entry = arena(process, LdrEntry.size + path.length);
  if (entry === undefined) return false;
  const text = entry + LdrEntry.size;
  const bytes = new Uint8Array(LdrEntry.size + path.length);
  put32(bytes, LdrEntry.dllBase, module.base);
  put32(bytes, LdrEntry.entryPoint, module.entryPoint);
  put32(bytes, LdrEntry.sizeOfImage, module.size);
  bytes.set(unicodeString(module.path, text), LdrEntry.fullDllName);
  const prefix = module.path.lastIndexOf("\\") + 1;
  bytes.set(unicodeString(module.path.slice(prefix), text + prefix * 2), LdrEntry.baseDllName);
  put32(bytes, LdrEntry.flags, process.modules.length === 0 ? LDR_PROGRAM : LDR_DLL);
  put16(bytes, LdrEntry.loadCount, 0xffff);
  put32(bytes, LdrEntry.hashLinks, entry + LdrEntry.hashLinks);
  put32(bytes, LdrEntry.hashLinks + 4, entry + LdrEntry.hashLinks);
  bytes.set(path, LdrEntry.size);
  memory.setBytes(entry, bytes);
  module.entry = entry;
  linkModule(process, module, "inLoadOrder");
  linkModule(process, module, "inMemoryOrder");
  if (initialized) linkModule(process, module, "inInitializationOrder");
  process.modules.push(module);
  return true;
}

/** Puts a module at the end of one of the lists of PEB_LDR_DATA. */
function linkModule(
  process: Process,
  module: LoadedModule,
  list: keyof typeof LdrEntry & keyof typeof LdrData,
): void {
  const { memory, peb } = process.user!;
  const head = memory.u32(peb + Peb.ldr) + LdrData[list];
  const link = module.entry! + LdrEntry[list];
  // kernel32 stands on kernelbase, which is therefore initialized before it.
  const isBefore = list === "inInitializationOrder" && module.name === KERNELBASE;
  const next = isBefore ? memory.u32(head + 4) : head;
  const previous = memory.u32(next + 4);
  memory.setU32(link, next);
  memory.setU32(link + 4, previous);
  memory.setU32(previous, link);
  memory.setU32(next + 4, link);
}

/** Loads a DLL: of the model, or a file of the guest's file system. Its own imports come with it. */
export function loadLibrary(
  kernel: Kernel,
  process: Process,
  call: ApiCall,
  name: string,
): LoadedModule | undefined {
  const key = moduleKey(name);
  if (kernel.dlls.has(key)) return loadModelDll(kernel, process, call, key);
  const path = kernel.files.findLibrary(name, process);
  const bytes = path === undefined ? undefined : kernel.files.read(path);
  if (path === undefined || bytes === undefined) return undefined;
  let pe: PeFile;
  try {
    pe = parsePe(bytes, name, { allowDll: true });
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
  const section = imageSection(kernel.domain, kernel.frames, bytes, name);
  const base = section && mapImage(process, section, pe.imageBase);
  section?.release();
  if (!base) return undefined;
  const module: LoadedModule = {
    name: path.slice(path.lastIndexOf("\\") + 1),
    path,
    base,
    size: pe.sizeOfImage,
    entryPoint: pe.entryPoint === 0 ? 0 : base + pe.entryPoint,
    image: undefined,
  };
  const moved = base === pe.imageBase || relocate(process, pe, base);
  if (!moved || !registerModule(process, module, false)) {
    process.user!.manager.unmap(base);
    return undefined;
  }
  bindImports(kernel, process, call, pe, base);
  if (readTls(process, pe, base)) growTls(process);
  process.initialized.push(module);
  linkModule(process, module, "inInitializationOrder");
  return module;
}

/** Takes a module out of the process: lists, books, memory. */
export function unloadModule(process: Process, module: LoadedModule): void {
  const { memory, manager } = process.user!;
  for (const list of ["inLoadOrder", "inMemoryOrder", "inInitializationOrder"] as const) {
    const link = module.entry! + LdrEntry[list];
    const [next, previous] = [memory.u32(link), memory.u32(link + 4)];
    memory.setU32(previous, next);
    memory.setU32(next + 4, previous);
  }
  for (const books of [process.modules, process.initialized]) {
    const index = books.indexOf(module);
    if (index >= 0) books.splice(index, 1);
  }
  process.tlsCallbacks.delete(module.base);
  process.quiet.delete(module.base);
  manager.unmap(module.base);
}

function mapImage(process: Process, section: Section, preferred: number): number | undefined {
  const { manager } = process.user!;
  for (const base of [preferred, 0]) {
    const mapped = manager.mapSection(section, "image", base, 0, section.pages, 0);
    if (mapped.status === 0) return mapped.base;
  }
  return undefined;
}

/** Maps a DLL of the model at its base and gives its variables their content. */
export function loadModelDll(
  kernel: Kernel,
  process: Process,
  call: ApiCall,
  key: string,
): LoadedModule | undefined {
  const file = kernel.dlls.file(key);
  if (!file) return undefined;
  const base = mapImage(process, file.section, file.image.definition.base);
  if (base === undefined) return undefined;
  const name = key === "kernelbase.dll" ? KERNELBASE : key;
  const directory = key === "ntdll.dll" ? "C:\\Windows\\SYSTEM32" : "C:\\Windows\\system32";
  const module: LoadedModule = {
    name,
    path: `${directory}\\${name}`,
    base,
    size: file.image.sizeOfImage,
    entryPoint: base + file.image.entryPoint,
    image: file.image,
  };
  if (!registerModule(process, module, true)) return undefined;
  fillVariables(process, call, file.image, base);
  return module;
}

function fillVariables(process: Process, call: ApiCall, image: DllImage, base: number): void {
  const { memory } = process.user!;
  for (const one of image.exports.values()) {
    if (one.kind !== "data") continue;
    const { initial, size } = one.variable;
    const bytes = typeof initial === "function" ? initial(call) : initial;
    if (bytes.some((byte) => byte !== 0)) memory.setBytes(base + one.rva, bytes.subarray(0, size));
  }
}

/** Writes into pages that may be read-only, as the loader does: made writable, then put back. */
function patch(process: Process, address: number, bytes: Uint8Array): void {
  const { manager, memory } = process.user!;
  if (manager.accessible(address, bytes.length, true)) {
    memory.setBytes(address, bytes);
    return;
  }
  const changed: { base: number; old: number }[] = [];
  for (let page = address - address % PAGE_SIZE; page < address + bytes.length; page += PAGE_SIZE) {
    const { status, old } = manager.protect(page, PAGE_SIZE, Protect.readWrite);
    if (status === 0) changed.push({ base: page, old });
  }
  memory.setBytes(address, bytes);
  for (const { base, old } of changed) manager.protect(base, PAGE_SIZE, old);
}

/** Applies base relocations. False when the image has none or they make no sense. */
export function relocate(process: Process, pe: PeFile, base: number): boolean {
  const { memory } = process.user!;
  const directory = pe.directory(Directory.relocation);
  if (directory.rva === 0 || directory.size === 0 || pe.characteristics & 1) return false;
  const delta = base - pe.imageBase;
  const end = Math.min(directory.size, pe.sizeOfImage);
  for (let at = 0; at + 8 <= end;) {
    const header = memory.bytes(base + directory.rva + at, 8);
    const page = get32(header, 0);
    const size = get32(header, 4);
    if (size < 8 || at + size > end) break;
    const items = memory.bytes(base + directory.rva + at + 8, size - 8);
    for (let i = 0; i + 2 <= items.length; i += 2) {
      const item = get16(items, i);
      const where = base + page + (item & 0xfff);
      const type = item >>> 12;
      if (type === 0) continue;
      if (type !== 3) return false;
      const value = new Uint8Array(4);
      put32(value, 0, memory.u32(where) + delta);
      patch(process, where, value);
    }
    at += size;
  }
  return true;
}

/** Resolves the import directory of an image mapped at `base`; throws GuestFault for tables outside it. */
export function bindImports(
  kernel: Kernel,
  process: Process,
  call: ApiCall,
  pe: PeFile,
  base: number,
): void {
  const { memory } = process.user!;
  const directory = pe.directory(Directory.import);
  if (directory.rva === 0) return;
  const modules = new ProcessModules(kernel, process, call);
  for (let i = 0; i < MAX_DESCRIPTORS; i++) {
    const descriptor = memory.bytes(base + directory.rva + i * 20, 20);
    const [names, , , name, table] = [0, 4, 8, 12, 16].map((at) => get32(descriptor, at));
    if (name === 0 || table === 0) return;
    const dll = memory.text(base + name, false, 260);
    modules.load(dll);
    bindTable(process, modules, base, dll, names === 0 ? table : names, table);
  }
}

function bindTable(
  process: Process,
  modules: ProcessModules,
  base: number,
  dll: string,
  names: number,
  table: number,
): void {
  const { memory, manager } = process.user!;
  // Tables whose names were bound away fall back to the address table itself.
  const from = manager.accessible(base + names, 4, false) ? names : table;
  const addresses: number[] = [];
  while (addresses.length < MAX_IMPORTS) {
    const item = memory.u32(base + from + addresses.length * 4);
    if (item === 0) break;
    const wanted = item & 0x8000_0000 ? item & 0xffff : memory.text(base + item + 2, false, 4096);
    addresses.push(modules.importAddress(dll, wanted));
  }
  if (addresses.length === 0) return;
  const bytes = new Uint8Array(addresses.length * 4);
  addresses.forEach((address, i) => put32(bytes, i * 4, address));
  patch(process, base + table, bytes);
}

/**
 * Reads the TLS directory of an image: remembers its template and callbacks, writes its index. False when it
 * has none.
 */
export function readTls(process: Process, pe: PeFile, base: number): boolean {
  const { memory } = process.user!;
  const directory = pe.directory(Directory.tls);
  if (directory.rva === 0 || process.tlsTemplates.length >= MAX_MODULES) return false;
  const bytes = memory.bytes(base + directory.rva, 24);
  const [start, end, index, callbacks, zeros] = [0, 4, 8, 12, 16].map((at) => get32(bytes, at));
  const size = end > start && end - start <= pe.sizeOfImage ? end - start : 0;
  if (index !== 0) {
    const value = new Uint8Array(4);
    put32(value, 0, process.tlsTemplates.length);
    patch(process, index, value);
  }
  process.tlsTemplates.push({ start, size, zeros: Math.min(zeros, 0x10_0000) });
  if (callbacks !== 0) process.tlsCallbacks.set(base, callbacks);
  return true;
}

/** Gives the threads there are the block of the TLS directory that was read last. */
function growTls(process: Process): void {
  const heap = process.heaps.get(process.processHeap);
  const { memory } = process.user!;
  const count = process.tlsTemplates.length;
  for (const thread of heap ? process.threads : []) {
    // A thread that never ran gets all of its blocks when it does.
    if (!thread.started) continue;
    const vector = heap!.allocate(count * 4, true);
    if (vector === 0) return;
    const old = memory.u32(thread.teb + Teb.tlsPointer);
    if (old !== 0) memory.setBytes(vector, memory.bytes(old, (count - 1) * 4));
    memory.setU32(vector + (count - 1) * 4, tlsBlock(process, heap!, count - 1));
    memory.setU32(thread.teb + Teb.tlsPointer, vector);
  }
}

function tlsBlock(process: Process, heap: Heap, index: number): number {
  const { memory } = process.user!;
  const { start, size, zeros } = process.tlsTemplates[index];
  const block = heap.allocate(Math.max(size + zeros, 4), true);
  if (block !== 0 && size > 0) memory.setBytes(block, memory.bytes(start, size));
  return block;
}

/** Gives a thread its TLS blocks; returns the value for TEB.ThreadLocalStoragePointer. */
export function allocateTls(process: Process): number {
  const heap = process.heaps.get(process.processHeap);
  if (!heap || process.tlsTemplates.length === 0) return 0;
  const { memory } = process.user!;
  const vector = heap.allocate(process.tlsTemplates.length * 4, true);
  if (vector === 0) return 0;
  process.tlsTemplates.forEach((_, i) => memory.setU32(vector + i * 4, tlsBlock(process, heap, i)));
  return vector;
}
