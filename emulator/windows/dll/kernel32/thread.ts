// SPDX-License-Identifier: Apache-2.0
/** kernel32: threads, their contexts, APCs, thread-local and fiber-local slots. @module */
import type { ApiCall, DllFunction } from "../../api.ts";
import { shortcut } from "../code.ts";
import { constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";

const SELF = 0xfffffffe;
const CREATE_SUSPENDED = 4;
const CONTEXT_SIZE = 716;

function create(
  call: ApiCall,
  stack: number,
  start: number,
  parameter: number,
  flags: number,
  id: number,
  process?: number,
) {
  const made = call.system.createThread(start, parameter, stack, (flags & CREATE_SUSPENDED) !== 0, process);
  if (made.handle === 0) return 0;
  if (id) call.memory.setU32(id, made.tid);
  return made.handle;
}

/** Parts of a CONTEXT: the flag that asks for each, and where it lies. */
const PARTS: readonly (readonly [number, number, number])[] = [
  [0x10, 0x04, 0x1c],
  [0x08, 0x1c, 0x8c],
  [0x04, 0x8c, 0x9c],
  [0x02, 0x9c, 0xb4],
  [0x01, 0xb4, 0xcc],
  [0x20, 0xcc, CONTEXT_SIZE],
];

/** Writes the parts of a thread's registers that the flags in the CONTEXT ask for. */
export function writeContext(call: ApiCall, thread: number, context: number): boolean {
  const bytes = call.system.getContext(thread);
  if (!bytes) return false;
  const flags = call.memory.u32(context);
  for (const [bit, from, to] of PARTS) {
    if (flags & bit) call.memory.setBytes(context + from, bytes.slice(from, Math.min(to, bytes.length)));
  }
  return true;
}

const TLS_BITS = 0x44;
const TLS_SLOTS = 0xe10;
const TLS_EXPANSION = 0xf94;
const OUT_OF_INDEXES = 0xffffffff;
const DIRECT_SLOTS = 64;
const ALL_SLOTS = DIRECT_SLOTS + 1024;

const expansionBits = (call: ApiCall) => call.state("tls-expansion", () => new Set<number>());

function tlsAllocate(call: ApiCall): number {
  for (let i = 0; i < DIRECT_SLOTS; i++) {
    const word = call.peb + TLS_BITS + 4 * (i >>> 5);
    const bits = call.memory.u32(word);
    if (bits & (1 << (i & 31))) continue;
    call.memory.setU32(word, (bits | (1 << (i & 31))) >>> 0);
    call.memory.setU32(call.teb + TLS_SLOTS + 4 * i, 0);
    return i;
  }
  const used = expansionBits(call);
  for (let i = DIRECT_SLOTS; i < ALL_SLOTS; i++) {
    if (used.has(i)) continue;
    used.add(i);
    return i;
  }
  return call.fail(Win32.noMoreItems, OUT_OF_INDEXES);
}

/** Address of a slot of the calling thread; 0 when the index is out of range or there is no memory. */
function tlsSlot(call: ApiCall, index: number, make: boolean): number {
  if (index < DIRECT_SLOTS) return call.teb + TLS_SLOTS + 4 * index;
  if (index >= ALL_SLOTS) return 0;
  let area = call.memory.u32(call.teb + TLS_EXPANSION);
  if (area === 0 && make) {
    area = call.heaps.allocate(call.heaps.processHeap, 4 * 1024, true);
    call.memory.setU32(call.teb + TLS_EXPANSION, area);
  }
  return area === 0 ? 0 : area + 4 * (index - DIRECT_SLOTS);
}

interface FiberSlots {
  readonly callbacks: Map<number, number>;
  /** Values by thread and index. */
  readonly values: Map<string, number>;
}

const fls = (call: ApiCall) =>
  call.state<FiberSlots>("fls", () => ({ callbacks: new Map(), values: new Map() }));

export const thread: Handlers = {
  CreateThread: (call, _security, stack, start, parameter, flags, id) =>
    create(call, stack, start, parameter, flags, id),
  CreateRemoteThread: (call, process, _security, stack, start, parameter, flags, id) =>
    create(call, stack, start, parameter, flags, id, process),
  CreateRemoteThreadEx: (call, process, _security, stack, start, parameter, flags, _attributes, id) =>
    create(call, stack, start, parameter, flags, id, process),
  TerminateThread: (call, thread, code) => {
    if (thread === SELF) {
      call.exitThread(code);
      return 1;
    }
    return call.system.terminateThread(thread, code) ? 1 : call.fail(Win32.invalidHandle);
  },
  SuspendThread: (call, thread) => call.system.suspendThread(thread),
  ResumeThread: (call, thread) => call.system.resumeThread(thread),
  GetExitCodeThread: (call, thread, code) => {
    const info = call.system.threadInfo(thread);
    if (!info) return call.fail(Win32.invalidHandle);
    call.memory.setU32(code, info.exitCode ?? 259);
    return 1;
  },
  GetThreadContext: (call, thread, context) =>
    writeContext(call, thread, context) ? 1 : call.fail(Win32.invalidHandle),
  SetThreadContext: (call, thread, context) => {
    const bytes = call.memory.bytes(context, CONTEXT_SIZE);
    return call.system.setContext(thread, bytes) ? 1 : call.fail(Win32.invalidHandle);
  },
  QueueUserAPC: (call, routine, thread, data) => call.system.queueApc(thread, routine, [data]) ? 1 : 0,
  GetCurrentThread: () => SELF,
  GetThreadId: (call, thread) => call.system.threadInfo(thread)?.tid ?? call.fail(Win32.invalidHandle),
  GetProcessIdOfThread: (call, thread) =>
    call.system.threadInfo(thread)?.pid ?? call.fail(Win32.invalidHandle),
  OpenThread: (call, _access, _inherit, tid) => call.system.openThread(tid),
  GetThreadPriority: () => 0,
  ...constant(1, "SetThreadPriority SetThreadPriorityBoost SwitchToThread SetThreadStackGuarantee"),
  ...constant(1, "SetThreadAffinityMask SetThreadErrorMode"),
  SetThreadIdealProcessor: () => 0,
  GetThreadTimes: (call, _thread, created, exited, kernel, user) => {
    for (const at of [exited, kernel, user]) call.memory.setBytes(at, new Uint8Array(8));
    call.memory.setU32(created, Number(call.clock.systemTime & 0xffffffffn));
    call.memory.setU32(created + 4, Number(call.clock.systemTime >> 32n));
    return 1;
  },
  GetThreadSelectorEntry: (call, _thread, selector, entry) => {
    // Flat 4 GiB segments; fs is the TEB.
    const isTeb = (selector & ~3) === 0x38;
    const base = isTeb ? call.teb : 0;
    const limit = isTeb ? 0xfff : 0xfffff;
    call.memory.setU16(entry, limit & 0xffff);
    call.memory.setU16(entry + 2, base & 0xffff);
    call.memory.setU32(
      entry + 4,
      (((base >>> 16) & 0xff) | ((selector & ~3) === 0x18 ? 0xfb00 : 0xf300) | (limit & 0xf0000) |
        (isTeb ? 0x400000 : 0xc00000) | (base & 0xff000000)) >>> 0,
    );
    return 1;
  },

  TlsAlloc: tlsAllocate,
  TlsFree: (call, index) => {
    if (index >= ALL_SLOTS) return call.fail(Win32.invalidParameter);
    if (index >= DIRECT_SLOTS) {
      return expansionBits(call).delete(index) ? 1 : call.fail(Win32.invalidParameter);
    }
    const word = call.peb + TLS_BITS + 4 * (index >>> 5);
    call.memory.setU32(word, (call.memory.u32(word) & ~(1 << (index & 31))) >>> 0);
    return 1;
  },
  FlsAlloc: (call, callback) => {
    const { callbacks } = fls(call);
    for (let i = 1; i < 128; i++) {
      if (callbacks.has(i)) continue;
      callbacks.set(i, callback);
      return i;
    }
    return call.fail(Win32.noMoreItems, OUT_OF_INDEXES);
  },
  FlsFree: function* (call, index) {
    const { callbacks, values } = fls(call);
    const callback = callbacks.get(index);
    if (callback === undefined) return call.fail(Win32.invalidParameter);
    callbacks.delete(index);
    for (const name of [...values.keys()].filter((name) => name.endsWith(`:${index}`))) {
      const value = values.get(name)!;
      values.delete(name);
      if (callback && value) yield invoke(callback, [value]);
    }
    return 1;
  },
  FlsGetValue: (call, index) => {
    if (!fls(call).callbacks.has(index)) return call.fail(Win32.invalidParameter);
    call.lastError = 0;
    return fls(call).values.get(`${call.tid}:${index}`) ?? 0;
  },
  FlsSetValue: (call, index, value) => {
    if (!fls(call).callbacks.has(index)) return call.fail(Win32.invalidParameter);
    fls(call).values.set(`${call.tid}:${index}`, value);
    return 1;
  },
};

/** Slots below 64 are read and written where they lie, in the TEB. */
export const threadFunctions: readonly DllFunction[] = [
  // mov ecx, [esp+4]; cmp ecx, 40h; jae handler; mov eax, fs:[18h]; mov [eax+34h], 0; mov eax, [eax+ecx*4+0e10h]
  shortcut(
    "TlsGetValue",
    "stdcall",
    1,
    "8b4c2404 83f940 7317 64a118000000 c7403400000000 8b8488100e0000 c20400",
    (call, index) => {
      if (index >= ALL_SLOTS) return call.fail(Win32.invalidParameter);
      call.lastError = 0;
      const slot = tlsSlot(call, index, false);
      return slot ? call.memory.u32(slot) : 0;
    },
  ),
  // mov ecx, [esp+4]; cmp ecx, 40h; jae handler; mov eax, fs:[18h]; mov edx, [esp+8];
  // mov [eax+ecx*4+0e10h], edx; mov eax, 1; ret 8
  shortcut(
    "TlsSetValue",
    "stdcall",
    2,
    "8b4c2404 83f940 7319 64a118000000 8b542408 899488100e0000 b801000000 c20800",
    (call, index, value) => {
      const slot = tlsSlot(call, index, true);
      if (slot === 0) return call.fail(Win32.invalidParameter);
      call.memory.setU32(slot, value);
      return 1;
    },
  ),
];
