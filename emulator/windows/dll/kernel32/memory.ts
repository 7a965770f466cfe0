// SPDX-License-Identifier: Apache-2.0
/** kernel32: virtual memory, heaps, global and local blocks, other processes' memory. @module */
import type { ApiCall, VirtualMemory } from "../../api.ts";
import { alias, constant, type Handlers } from "../define.ts";
import { Win32, win32OfStatus } from "../shared/errors.ts";

/** Most bytes one call copies. */
const MAX_COPY = 0x10000000;
const SELF = 0xffffffff;
const PAGE_ACCESS_WRITE = 0x04 | 0x08 | 0x40 | 0x80;

/** The address space behind a process handle; undefined, with last error set, when it is none. */
function space(call: ApiCall, process: number): VirtualMemory | undefined {
  const found = process === SELF ? call.virtual : call.system.virtualOf(process);
  if (!found) call.lastError = Win32.invalidHandle;
  return found;
}

function allocate(call: ApiCall, process: number, base: number, size: number, type: number, protect: number) {
  if (base !== 0 && base < 0x10000) return call.fail(Win32.invalidParameter);
  const result = space(call, process)?.allocate(base, size, type, protect);
  if (!result) return 0;
  return result.status ? call.fail(win32OfStatus(result.status)) : result.base;
}

function free(call: ApiCall, process: number, base: number, size: number, type: number) {
  // MEM_RELEASE frees the whole allocation and nothing less.
  if ((type & 0x8000) !== 0 && size !== 0) return call.fail(Win32.invalidParameter);
  const result = space(call, process)?.free(base, size, type);
  if (!result) return 0;
  return result.status ? call.fail(win32OfStatus(result.status)) : 1;
}

function protect(call: ApiCall, process: number, base: number, size: number, value: number, old: number) {
  if (!call.memory.accessible(old, 4, true)) return call.fail(Win32.noAccess);
  const result = space(call, process)?.protect(base, size, value);
  if (!result) return 0;
  // The old protection is written (as 0) even when the change is refused.
  call.memory.setU32(old, result.status ? 0 : result.old);
  return result.status ? call.fail(win32OfStatus(result.status)) : 1;
}

function query(call: ApiCall, process: number, address: number, buffer: number, length: number) {
  if (length < 28) return call.fail(24);
  if (address >= 0x7fff0000) return call.fail(Win32.invalidParameter);
  const region = space(call, process)?.query(address);
  if (!region) return 0;
  const isFree = region.state === 0x10000;
  [
    region.base,
    isFree ? 0 : region.allocationBase,
    isFree ? 0 : region.allocationProtect,
    region.size,
    region.state,
    isFree ? 1 : region.state === 0x2000 ? 0 : region.protect,
    region.type,
  ].forEach((value, i) => call.memory.setU32(buffer + 4 * i, value));
  return 28;
}

const HEAP_ZERO = 8;
const HEAP_ENABLE_EXECUTE = 0x40000;

/** PROCESS_HEAP_ENTRY: data, size, overhead and region index (a byte each), flags (a word), 16 bytes more. */
function heapWalk(call: ApiCall, heap: number, entry: number) {
  const entries = call.heaps.entries(heap);
  if (!entries) return call.fail(Win32.invalidHandle);
  const last = call.memory.u32(entry);
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle].address <= last) low = middle + 1;
    else high = middle;
  }
  const next = entries[low];
  if (!next) return call.fail(Win32.noMoreItems);
  const { address, size, overhead, kind } = next;
  const region = entries.slice(0, low + 1).filter((one) => one.kind === "region").length - 1;
  const flags = { region: 1, busy: 4, free: 0 }[kind];
  call.memory.setBytes(entry, new Uint8Array(28));
  call.memory.setU32(entry, address);
  call.memory.setU32(entry + 4, size);
  call.memory.setU32(entry + 8, (overhead | (Math.max(region, 0) & 255) << 8 | flags << 16) >>> 0);
  return 1;
}

/** Allocates from a heap with the flags of HeapAlloc. */
export function heapAllocate(call: ApiCall, heap: number, flags: number, size: number): number {
  const block = call.heaps.allocate(heap, size, (flags & HEAP_ZERO) !== 0);
  if (block === 0) {
    if (flags & 4) call.raise(0xc0000017, 0, [size]);
    return call.fail(Win32.notEnoughMemory);
  }
  return block;
}

const GMEM_ZEROINIT = 0x40;

const blockAllocate = (call: ApiCall, flags: number, size: number) =>
  call.heaps.allocate(call.heaps.processHeap, size, (flags & GMEM_ZEROINIT) !== 0) ||
  call.fail(Win32.notEnoughMemory);

function blockFree(call: ApiCall, block: number) {
  if (block === 0) return 0;
  return call.heaps.free(call.heaps.processHeap, block) ? 0 : call.fail(Win32.invalidHandle, block);
}

function blockSize(call: ApiCall, block: number) {
  return call.heaps.size(call.heaps.processHeap, block) ?? call.fail(Win32.invalidHandle);
}

function blockReallocate(call: ApiCall, block: number, size: number, flags: number) {
  if (flags & 0x80) return block;
  return call.heaps.reallocate(call.heaps.processHeap, block, size, (flags & GMEM_ZEROINIT) !== 0) ||
    call.fail(Win32.notEnoughMemory);
}

const identity = (_: ApiCall, block: number) => block;

/** Global… and Local…: a handle is its block's address, so locking gives the handle back. */
const blocks: Handlers = {
  ...alias(["GlobalAlloc", "LocalAlloc"], blockAllocate),
  ...alias(["GlobalFree", "LocalFree"], blockFree),
  ...alias(["GlobalSize", "LocalSize"], blockSize),
  ...alias(["GlobalReAlloc", "LocalReAlloc"], blockReallocate),
  ...alias(["GlobalLock", "LocalLock", "GlobalHandle", "LocalHandle"], identity),
  ...constant(0, "GlobalFlags LocalFlags GlobalUnlock LocalUnlock"),
  ...constant(0, "LocalCompact GlobalCompact LocalShrink GlobalUnWire GlobalFix GlobalUnfix"),
  GlobalWire: identity,
};

const bad = (call: ApiCall, address: number, length: number, write: boolean) =>
  length === 0
    ? 0
    : address === 0 || !call.memory.accessible(address, Math.min(length, MAX_COPY), write)
    ? 1
    : 0;

function badString(call: ApiCall, address: number, max: number, wide: boolean) {
  if (max === 0) return 0;
  if (address === 0) return 1;
  for (let i = 0; i < Math.min(max, 0x10000); i++) {
    const at = (address + (wide ? 2 * i : i)) >>> 0;
    if (!call.memory.accessible(at, wide ? 2 : 1, false)) return 1;
    if ((wide ? call.memory.u16(at) : call.memory.u8(at)) === 0) return 0;
  }
  return 0;
}

/** Total and free memory as a desktop of 2 GiB shows them. */
const TOTAL = 0x7ff00000;
const FREE = 0x4a300000;

export const memory: Handlers = {
  ...blocks,
  VirtualAlloc: (call, base, size, type, value) => allocate(call, SELF, base, size, type, value),
  VirtualAllocEx: allocate,
  VirtualAllocExNuma: allocate,
  VirtualFree: (call, base, size, type) => free(call, SELF, base, size, type),
  VirtualFreeEx: free,
  VirtualProtect: (call, base, size, value, old) => protect(call, SELF, base, size, value, old),
  VirtualProtectEx: protect,
  VirtualQuery: (call, address, buffer, length) => query(call, SELF, address, buffer, length),
  VirtualQueryEx: query,
  ...constant(1, "VirtualLock VirtualUnlock FlushInstructionCache SetProcessWorkingSetSize"),
  ...constant(1, "SetProcessWorkingSetSizeEx HeapLock HeapUnlock HeapSetInformation"),

  HeapCreate: (call, options, _initial, maximum) =>
    call.heaps.create((options & HEAP_ENABLE_EXECUTE) !== 0, maximum) || call.fail(Win32.notEnoughMemory),
  HeapDestroy: (call, heap) => call.heaps.destroy(heap) ? 1 : call.fail(Win32.invalidHandle),
  HeapFree: (call, heap, _flags, block) => {
    if (block === 0) return 1;
    return call.heaps.free(heap, block) ? 1 : call.fail(Win32.invalidParameter);
  },
  HeapValidate: (call, heap, _flags, block) =>
    block === 0 || call.heaps.size(heap, block) !== undefined ? 1 : 0,
  HeapCompact: () => 0x100000,
  HeapWalk: heapWalk,
  HeapQueryInformation: (call, _heap, kind, buffer, length, returned) => {
    if (kind !== 0) return call.fail(Win32.invalidParameter);
    if (returned) call.memory.setU32(returned, 4);
    if (length < 4) return call.fail(Win32.insufficientBuffer);
    call.memory.setU32(buffer, 2);
    return 1;
  },
  GetProcessHeap: (call) => call.heaps.processHeap,
  GetProcessHeaps: (call, count, buffer) => {
    const all = call.heaps.all();
    all.slice(0, count).forEach((heap, i) => call.memory.setU32(buffer + 4 * i, heap));
    return all.length;
  },

  IsBadReadPtr: (call, address, length) => bad(call, address, length, false),
  IsBadHugeReadPtr: (call, address, length) => bad(call, address, length, false),
  IsBadWritePtr: (call, address, length) => bad(call, address, length, true),
  IsBadHugeWritePtr: (call, address, length) => bad(call, address, length, true),
  IsBadCodePtr: (call, address) => bad(call, address, 1, false),
  IsBadStringPtrA: (call, address, max) => badString(call, address, max, false),
  IsBadStringPtrW: (call, address, max) => badString(call, address, max, true),

  ReadProcessMemory: (call, process, address, buffer, length, read) => {
    if (read) call.memory.setU32(read, 0);
    if (length > MAX_COPY) return call.fail(Win32.partialCopy);
    const own = process === SELF;
    if (own && !call.memory.accessible(address, length, false)) return call.fail(Win32.partialCopy);
    if (!own && !space(call, process)) return 0;
    const bytes = own
      ? call.memory.bytes(address, length)
      : call.system.readProcess(process, address, length);
    if (!bytes) return call.fail(Win32.partialCopy);
    if (!call.memory.accessible(buffer, length, true)) return call.fail(Win32.noAccess);
    call.memory.setBytes(buffer, bytes);
    if (read) call.memory.setU32(read, length);
    return 1;
  },
  WriteProcessMemory: (call, process, address, buffer, length, written) => {
    if (written) call.memory.setU32(written, 0);
    if (length > MAX_COPY) return call.fail(Win32.noAccess);
    const target = space(call, process);
    if (!target) return 0;
    if (!call.memory.accessible(buffer, length, false)) return call.fail(Win32.noAccess);
    if (!writeThrough(call, target, process, address, call.memory.bytes(buffer, length))) {
      return call.fail(Win32.noAccess);
    }
    if (written) call.memory.setU32(written, length);
    return 1;
  },

  GlobalMemoryStatus: (call, buffer) => {
    [32, 41, TOTAL, FREE, 0xffe00000, 0xb4600000, 0x7ffe0000, 0x7bf00000].forEach((value, i) =>
      call.memory.setU32(buffer + 4 * i, value)
    );
  },
  GlobalMemoryStatusEx: (call, buffer) => {
    if (call.memory.u32(buffer) !== 64) return call.fail(Win32.invalidParameter);
    call.memory.setU32(buffer + 4, 41);
    [TOTAL, FREE, 0xffe00000, 0xb4600000, 0x7ffe0000, 0x7bf00000, 0].forEach((value, i) => {
      call.memory.setU32(buffer + 8 + 8 * i, value);
      call.memory.setU32(buffer + 12 + 8 * i, 0);
    });
    return 1;
  },
  GetPhysicallyInstalledSystemMemory: (call, buffer) => {
    call.memory.setU32(buffer, 0x200000);
    call.memory.setU32(buffer + 4, 0);
    return 1;
  },
  GetProcessWorkingSetSize: (call, _process, low, high) => {
    call.memory.setU32(low, 0x32000);
    call.memory.setU32(high, 0x159000);
    return 1;
  },
};

/**
 * Writes into a process whatever protects the pages, as WriteProcessMemory does: a range that can be made
 * writable is, for the time of the copy.
 */
export function writeThrough(
  call: ApiCall,
  target: VirtualMemory,
  process: number,
  address: number,
  bytes: Uint8Array,
): boolean {
  if (bytes.length === 0) return true;
  const region = target.query(address);
  if (region.state !== 0x1000) return false;
  const isReadOnly = (region.protect & PAGE_ACCESS_WRITE) === 0;
  if (!isReadOnly) return put(call, process, address, bytes);
  // No-access and guard pages stay shut.
  if (region.protect & 0x101) return false;
  const changed = target.protect(address, bytes.length, region.protect & 0x30 ? 0x40 : 0x04);
  if (changed.status) return false;
  const done = put(call, process, address, bytes);
  target.protect(address, bytes.length, changed.old);
  return done;
}

function put(call: ApiCall, process: number, address: number, bytes: Uint8Array): boolean {
  if (process !== SELF) return call.system.writeProcess(process, address, bytes);
  if (!call.memory.accessible(address, bytes.length, true)) return false;
  call.memory.setBytes(address, bytes);
  return true;
}
