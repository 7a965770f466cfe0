// SPDX-License-Identifier: Apache-2.0
/** ntdll: heaps, locks, memory comparison, version, random numbers and checksums. @module */
import type { ApiCall, DllFunction, HandlerResult, Request } from "../../api.ts";
import { join64, returns64, shortcut } from "../code.ts";
import { alias, constant, type Handlers } from "../define.ts";
import { Status, Win32, win32OfStatus } from "../shared/errors.ts";
import { heapAllocate } from "../kernel32/memory.ts";
import { leaveThread } from "../../callouts.ts";
import { flushAll } from "../shared/filesystem.ts";
import { verifyVersion, writeVersion } from "../kernel32/system.ts";

const INFINITE = 0xffffffff;

/** RTL_CRITICAL_SECTION: debug info, lock count, recursion count, owner, semaphore, spin count. */
const Section = { debug: 0, locks: 4, recursion: 8, owner: 12, semaphore: 16, spin: 20 } as const;

function initialise(call: ApiCall, at: number, spin: number): number {
  const { memory } = call;
  memory.setU32(at + Section.debug, 0xffffffff);
  memory.setU32(at + Section.locks, 0xffffffff);
  memory.setU32(at + Section.recursion, 0);
  memory.setU32(at + Section.owner, 0);
  memory.setU32(at + Section.semaphore, 0);
  memory.setU32(at + Section.spin, spin & 0xffffff);
  return 0;
}

function tryEnter(call: ApiCall, at: number): boolean {
  const { memory } = call;
  const owner = memory.u32(at + Section.owner);
  if (owner !== 0 && owner !== call.tid) return false;
  memory.setU32(at + Section.owner, call.tid);
  memory.setU32(at + Section.recursion, memory.u32(at + Section.recursion) + 1);
  // Windows 7 counts locks in steps of four below -1; bit 0 clear means locked.
  if (owner === 0) memory.setU32(at + Section.locks, (memory.u32(at + Section.locks) & ~1) >>> 0);
  return true;
}

/** Waits for the owner by an auto-reset event, which stands in for the keyed event of Windows. */
function* contend(call: ApiCall, at: number): Generator<Request, HandlerResult, number> {
  while (!tryEnter(call, at)) {
    let event = call.memory.u32(at + Section.semaphore);
    if (event === 0) {
      event = call.system.createEvent(false, false, "");
      call.memory.setU32(at + Section.semaphore, event);
    }
    const went = yield { kind: "wait", handles: [event], all: false, timeout: INFINITE };
    if (went === INFINITE) return Status.invalidHandle;
  }
  return 0;
}

function leave(call: ApiCall, at: number): number {
  const { memory } = call;
  const recursion = memory.u32(at + Section.recursion);
  if (recursion > 1) {
    memory.setU32(at + Section.recursion, recursion - 1);
    return 0;
  }
  memory.setU32(at + Section.recursion, 0);
  memory.setU32(at + Section.owner, 0);
  memory.setU32(at + Section.locks, 0xffffffff);
  const event = memory.u32(at + Section.semaphore);
  if (event !== 0) call.system.setEvent(event, true);
  return 0;
}

/** Slim locks: 1 is exclusive, otherwise the number of readers times 16. */
function* lock(call: ApiCall, at: number, shared: boolean): Generator<Request, HandlerResult, number> {
  for (;;) {
    const value = call.memory.u32(at);
    if (value === 0 || (shared && value !== 1)) {
      call.memory.setU32(at, shared ? value + 16 : 1);
      return 1;
    }
    yield { kind: "sleep", milliseconds: 1 };
  }
}

const tryLock = (call: ApiCall, at: number, shared: boolean) => {
  const value = call.memory.u32(at);
  if (value !== 0 && !(shared && value !== 1)) return 0;
  call.memory.setU32(at, shared ? value + 16 : 1);
  return 1;
};

/** Condition variables: the count of wake-ups is kept in the variable itself. */
function* sleepOn(
  call: ApiCall,
  variable: number,
  timeout: number,
  release: () => void,
  acquire: () => Generator<Request, HandlerResult, number>,
): Generator<Request, HandlerResult, number> {
  const before = call.memory.u32(variable);
  release();
  let left = timeout;
  while (call.memory.u32(variable) === before && left > 0) {
    const step = Math.min(left, 10);
    yield { kind: "sleep", milliseconds: step };
    if (timeout !== INFINITE) left -= step;
  }
  const isLate = call.memory.u32(variable) === before;
  yield* acquire();
  if (!isLate) return 1;
  call.lastError = 1460;
  return 0;
}

const wake = (call: ApiCall, variable: number) =>
  call.memory.setU32(variable, (call.memory.u32(variable) + 1) >>> 0);

/** CRC-32 (IEEE 802.3), the table's 256 entries. */
const CRC = Uint32Array.from({ length: 256 }, (_, i) => {
  let value = i;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

const cookie = (call: ApiCall) => (0x5bd1e995 ^ Math.imul(call.pid, 0x9e3779b1)) >>> 0;
const rotate = (value: number, count: number) =>
  ((value >>> (count & 31)) | (value << (32 - (count & 31)))) >>> 0;

const encodePointer = (call: ApiCall, value: number) => rotate(value ^ cookie(call), cookie(call) & 31);
const decodePointer = (call: ApiCall, value: number) =>
  (rotate(value, 32 - (cookie(call) & 31)) ^ cookie(call)) >>> 0;

const MAX_COMPARE = 0x4000000;

export const heap: Handlers = {
  RtlAllocateHeap: heapAllocate,
  RtlFreeHeap: (call, heap, _flags, block) => block === 0 || call.heaps.free(heap, block) ? 1 : 0,
  RtlReAllocateHeap: (call, heap, flags, block, size) => {
    const inPlace = (flags & 0x10) !== 0;
    return call.heaps.reallocate(heap, block, size, (flags & 8) !== 0, inPlace) ||
      call.fail(Win32.notEnoughMemory);
  },
  RtlSizeHeap: (call, heap, _flags, block) => call.heaps.size(heap, block) ?? 0xffffffff,
  RtlCreateHeap: (call, flags, _base, reserve) =>
    call.heaps.create((flags & 0x40000) !== 0, flags & 2 ? 0 : reserve),
  RtlDestroyHeap: (call, heap) => call.heaps.destroy(heap) ? 0 : heap,
  RtlValidateHeap: () => 1,
  ...constant(1, "RtlLockHeap RtlUnlockHeap RtlSetHeapInformation"),

  RtlInitializeCriticalSection: (call, at) => initialise(call, at, 0),
  // The Win32 name forwards here and wants TRUE.
  RtlInitializeCriticalSectionAndSpinCount: (call, at, spin) => initialise(call, at, spin) + 1,
  RtlInitializeCriticalSectionEx: (call, at, spin) => initialise(call, at, spin) + 1,
  RtlDeleteCriticalSection: (call, at) => {
    const event = call.memory.u32(at + Section.semaphore);
    if (event !== 0 && call.handles.get(event)?.kind === "event") call.handles.close(event);
    call.memory.setBytes(at, new Uint8Array(24));
    return 0;
  },
  RtlTryEnterCriticalSection: (call, at) => tryEnter(call, at) ? 1 : 0,
  RtlSetCriticalSectionSpinCount: (call, at, spin) => {
    const before = call.memory.u32(at + Section.spin);
    call.memory.setU32(at + Section.spin, spin);
    return before;
  },
  RtlInitializeSRWLock: (call, at) => call.memory.setU32(at, 0),
  RtlAcquireSRWLockExclusive: (call, at) => lock(call, at, false),
  RtlAcquireSRWLockShared: (call, at) => lock(call, at, true),
  RtlTryAcquireSRWLockExclusive: (call, at) => tryLock(call, at, false),
  RtlTryAcquireSRWLockShared: (call, at) => tryLock(call, at, true),
  RtlReleaseSRWLockExclusive: (call, at) => call.memory.setU32(at, 0),
  RtlReleaseSRWLockShared: (call, at) => call.memory.setU32(at, Math.max(0, call.memory.u32(at) - 16)),
  RtlInitializeConditionVariable: (call, at) => call.memory.setU32(at, 0),
  RtlWakeConditionVariable: wake,
  RtlWakeAllConditionVariable: wake,
  RtlSleepConditionVariableCS: (call, variable, section, timeout) =>
    sleepOn(call, variable, timeout, () => leave(call, section), () => contend(call, section)),
  RtlSleepConditionVariableSRW: (call, variable, at, timeout, flags) =>
    sleepOn(
      call,
      variable,
      timeout,
      () => call.memory.setU32(at, flags & 1 ? Math.max(0, call.memory.u32(at) - 16) : 0),
      () => lock(call, at, (flags & 1) !== 0),
    ),

  RtlInitializeSListHead: (call, at) => call.memory.setBytes(at, new Uint8Array(8)),
  RtlInterlockedPushEntrySList: (call, at, entry) => {
    const first = call.memory.u32(at);
    call.memory.setU32(entry, first);
    call.memory.setU32(at, entry);
    call.memory.setU32(at + 4, (call.memory.u32(at + 4) + 0x10001) >>> 0);
    return first;
  },
  RtlInterlockedPopEntrySList: (call, at) => {
    const first = call.memory.u32(at);
    if (first === 0) return 0;
    call.memory.setU32(at, call.memory.u32(first));
    call.memory.setU32(at + 4, (call.memory.u32(at + 4) - 1) >>> 0);
    return first;
  },
  RtlInterlockedFlushSList: (call, at) => {
    const first = call.memory.u32(at);
    call.memory.setBytes(at, new Uint8Array(8));
    return first;
  },
  RtlQueryDepthSList: (call, at) => call.memory.u16(at + 4),

  RtlCompareMemory: (call, a, b, length) => {
    const size = Math.min(length, MAX_COMPARE);
    const [x, y] = [call.memory.bytes(a, size), call.memory.bytes(b, size)];
    const at = x.findIndex((byte, i) => byte !== y[i]);
    return at < 0 ? size : at;
  },
  RtlCompareMemoryUlong: (call, at, length, pattern) => {
    const size = Math.min(length, MAX_COMPARE) & ~3;
    for (let done = 0; done < size; done += 0x1000) {
      const words = new Uint32Array(
        call.memory.bytes((at + done) >>> 0, Math.min(0x1000, size - done)).slice().buffer,
      );
      const different = words.findIndex((word) => word !== pattern);
      if (different >= 0) return done + 4 * different;
    }
    return size;
  },
  RtlFillMemoryUlong: (call, at, length, pattern) => {
    const size = Math.min(length, MAX_COMPARE) & ~3;
    for (let done = 0; done < size; done += 0x1000) {
      const words = new Uint32Array(Math.min(0x1000, size - done) >>> 2).fill(pattern);
      call.memory.setBytes((at + done) >>> 0, new Uint8Array(words.buffer));
    }
  },
  RtlComputeCrc32: (call, start, at, length) => {
    let crc = ~start;
    for (const byte of call.memory.bytes(at, Math.min(length, MAX_COMPARE))) {
      crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
    }
    return ~crc;
  },
  ...alias(["RtlEncodePointer", "RtlEncodeSystemPointer"], encodePointer),
  ...alias(["RtlDecodePointer", "RtlDecodeSystemPointer"], decodePointer),
  RtlRandom: nextRandom,
  RtlRandomEx: nextRandom,
  RtlUniform: (call, seed) => {
    const value = (Math.imul(call.memory.u32(seed), 0x7fffffed) + 0x7fffffc3) >>> 0;
    call.memory.setU32(seed, value % 0x7fffffff);
    return value % 0x7fffffff;
  },
  RtlGetVersion: (call, at) => writeVersion(call, at, true) ? 0 : Status.invalidParameter,
  RtlVerifyVersionInfo: (call, at, types, low, high) =>
    verifyVersion(call, at, types, low, high) ? 0 : 0xc0000059,
  RtlGetNtVersionNumbers: (call, major, minor, build) => {
    [[major, 6], [minor, 1], [build, 0xf0001db1]].forEach(([at, value]) =>
      at && call.memory.setU32(at, value)
    );
  },
  RtlNtStatusToDosError: (_, status) => win32OfStatus(status),
  RtlNtStatusToDosErrorNoTeb: (_, status) => win32OfStatus(status),
  RtlGetLastWin32Error: (call) => call.lastError,
  RtlSetLastWin32Error: (call, error) => {
    call.lastError = error;
  },
  RtlRestoreLastWin32Error: (call, error) => {
    call.lastError = error;
  },
  RtlSetLastWin32ErrorAndNtStatusFromNtStatus: (call, status) => {
    call.lastError = win32OfStatus(status);
  },
  RtlGetCurrentPeb: (call) => call.peb,
  RtlAcquirePebLock: () => 0,
  RtlReleasePebLock: () => 0,
  RtlGetNtGlobalFlags: (call) => call.memory.u32(call.peb + 0x68),
  RtlExitUserThread: leaveThread,
  RtlExitUserProcess: function* (call, code) {
    yield* call.modules.shutDown();
    flushAll(call);
    call.exitProcess(code);
  },
  RtlAddVectoredExceptionHandler: (call, first, handler) =>
    call.system.addVectoredHandler(first !== 0, handler),
  RtlRemoveVectoredExceptionHandler: (call, handle) => call.system.removeVectoredHandler(handle) ? 1 : 0,
  RtlAddVectoredContinueHandler: (call, first, handler) =>
    call.system.addVectoredHandler(first !== 0, handler, true),
  RtlRemoveVectoredContinueHandler: (call, handle) => call.system.removeVectoredHandler(handle, true) ? 1 : 0,
  RtlSetUnhandledExceptionFilter: (call, filter) => call.system.setUnhandledFilter(filter),
  RtlCaptureStackBackTrace: (call, skip, count, buffer, hash) => {
    // Frames by EBP are not known here: the caller's own address is all there is.
    const found = skip === 0 && count > 0 ? 1 : 0;
    if (found) call.memory.setU32(buffer, call.returnAddress);
    if (hash) call.memory.setU32(hash, found ? call.returnAddress : 0);
    return found;
  },
};

function nextRandom(call: ApiCall, seed: number): number {
  const value = (Math.imul(call.memory.u32(seed), 1103515245) + 12345) >>> 0;
  call.memory.setU32(seed, value);
  return (value ^ (value >>> 15)) & 0x7fffffff;
}

/** Condition mask: three bits for each version part named. */
function conditionMask(low: number, high: number, types: number, condition: number): bigint {
  let mask = join64(low, high);
  const bit = [0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1].find((one) => types & one);
  if (bit !== undefined) mask |= BigInt(condition & 7) << BigInt(3 * Math.log2(bit));
  return mask & 0xffffffffffffffffn;
}

const signed = (low: number, high: number) => BigInt.asIntN(64, join64(low, high));

/** 64-bit arithmetic helpers that compilers call, and what returns 64 bits. */
export const heapFunctions: readonly DllFunction[] = [
  // mov edx, [esp+4]; mov ecx, fs:[24h]; owner [edx+12] is ecx: inc [edx+8], return 0; else lock cmpxchg of the
  // lock count from -1 to -2, and with success owner and recursion 1; otherwise to the handler
  shortcut(
    "RtlEnterCriticalSection",
    "stdcall",
    1,
    "8b542404 648b0d24000000 394a0c 7422 b8ffffffff 53 bbfeffffff f00fb15a04 5b 7517 894a0c c7420801000000 " +
      "31c0 c20400 ff4208 31c0 c20400",
    (call, at) => tryEnter(call, at) ? 0 : contend(call, at),
  ),
  // mov edx, [esp+4]; mov ecx, [edx+8]; dec ecx; more than one: store it, return 0; nobody waits ([edx+16] is 0):
  // recursion and owner 0, lock count -1, return 0; otherwise to the handler
  shortcut(
    "RtlLeaveCriticalSection",
    "stdcall",
    1,
    "8b542404 8b4a08 49 7e08 894a08 31c0 c20400 837a1000 751a c7420800000000 c7420c00000000 c74204ffffffff " +
      "31c0 c20400",
    leave,
  ),
  returns64(
    "VerSetConditionMask",
    "stdcall",
    4,
    (_, low, high, types, condition) => conditionMask(low, high, types, condition),
  ),
  returns64("_allmul", "stdcall", 4, (_, a, b, c, d) => signed(a, b) * signed(c, d)),
  ...(["_alldiv", "_aulldiv", "_allrem", "_aullrem"] as const).map((name): DllFunction =>
    returns64(name, "stdcall", 4, (call, a, b, c, d) => {
      const isSigned = name.startsWith("_all");
      const [x, y] = isSigned ? [signed(a, b), signed(c, d)] : [join64(a, b), join64(c, d)];
      if (y === 0n) {
        call.raise(0xc0000094, 0, []);
        return 0n;
      }
      return name.endsWith("div") ? x / y : x % y;
    })
  ),
];
