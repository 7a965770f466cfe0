// SPDX-License-Identifier: Apache-2.0
/** kernel32: waiting, events, mutexes, semaphores, timers, completion ports, one-time initialisation. @module */
import type { ApiCall, Handler, HandlerResult, Request } from "../../api.ts";
import { readU64 } from "../code.ts";
import { alias, both, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { text } from "../shared/text.ts";

const INVALID = 0xffffffff;
const WAIT_TIMEOUT = 0x102;
const WAIT_FAILED = 0xffffffff;
const MAX_HANDLES = 64;

/** Waits as WaitForMultipleObjects does. What cannot be waited for (files, consoles) is always signalled. */
export function* waitFor(
  call: ApiCall,
  handles: readonly number[],
  all: boolean,
  timeout: number,
  alertable = false,
): Generator<Request, number, number> {
  const result = yield { kind: "wait", handles, all, timeout, alertable };
  return result === WAIT_FAILED ? call.fail(Win32.invalidHandle, WAIT_FAILED) : result;
}

function* waitMany(
  call: ApiCall,
  count: number,
  array: number,
  all: number,
  timeout: number,
  alertable = 0,
): Generator<Request, HandlerResult, number> {
  if (count === 0 || count > MAX_HANDLES) return call.fail(Win32.invalidParameter, WAIT_FAILED);
  const handles = Array.from({ length: count }, (_, i) => call.memory.u32(array + 4 * i));
  return yield* waitFor(call, handles, all !== 0, timeout, alertable !== 0);
}

/** Sleeps; 0 gives the rest of the slice away. */
export function* sleep(milliseconds: number, alertable = false): Generator<Request, HandlerResult, number> {
  return yield { kind: "sleep", milliseconds, alertable };
}

/** Opens an object of a kind by its name. */
const opener = (kind: string) => (wide: boolean): Handler => (call, _access, _inherit, name) =>
  call.system.openNamed(text(call, name, wide, 260), kind);

/** Milliseconds from now to the time at an address: 100 ns since 1601, or negative and from now. */
export function delayUntil(call: ApiCall, at: number): number {
  const value = BigInt.asIntN(64, readU64(call, at));
  const delay = value < 0n ? -value : value - call.clock.systemTime;
  return Math.max(0, Number(delay) / 10000);
}

const CREATE_MANUAL = 1;
const CREATE_SET = 2;

export const sync: Handlers = {
  Sleep: (_call, milliseconds) => sleep(milliseconds),
  SleepEx: (_call, milliseconds, alertable) => sleep(milliseconds, alertable !== 0),
  WaitForSingleObject: (call, handle, timeout) => waitFor(call, [handle], false, timeout),
  WaitForSingleObjectEx: (call, handle, timeout, alertable) =>
    waitFor(call, [handle], false, timeout, alertable !== 0),
  WaitForMultipleObjects: (call, count, array, all, timeout) => waitMany(call, count, array, all, timeout),
  WaitForMultipleObjectsEx: (call, count, array, all, timeout, alertable) =>
    waitMany(call, count, array, all, timeout, alertable),
  SignalObjectAndWait: function* (call, signal, wait, timeout, alertable) {
    const went = call.system.setEvent(signal, true) || call.system.releaseMutex(signal) ||
      call.system.releaseSemaphore(signal, 1) !== undefined;
    if (!went) return WAIT_FAILED;
    return yield* waitFor(call, [wait], false, timeout, alertable !== 0);
  },

  ...both({
    CreateEvent: (wide) => (call, _security, manual, initial, name) =>
      call.system.createEvent(manual !== 0, initial !== 0, text(call, name, wide, 260)),
    CreateEventEx: (wide) => (call, _security, name, flags) =>
      call.system.createEvent(
        (flags & CREATE_MANUAL) !== 0,
        (flags & CREATE_SET) !== 0,
        text(call, name, wide, 260),
      ),
    OpenEvent: opener("event"),
    CreateMutex: (wide) => (call, _security, owned, name) =>
      call.system.createMutex(owned !== 0, text(call, name, wide, 260)),
    CreateMutexEx: (wide) => (call, _security, name, flags) =>
      call.system.createMutex((flags & 1) !== 0, text(call, name, wide, 260)),
    OpenMutex: opener("mutex"),
    CreateSemaphore: (wide) => (call, _security, count, maximum, name) => {
      if ((maximum | 0) <= 0 || (count | 0) < 0 || count > maximum) return call.fail(Win32.invalidParameter);
      return call.system.createSemaphore(count, maximum, text(call, name, wide, 260));
    },
    CreateSemaphoreEx: (wide) => (call, _security, count, maximum, name) => {
      if ((maximum | 0) <= 0 || (count | 0) < 0 || count > maximum) return call.fail(Win32.invalidParameter);
      return call.system.createSemaphore(count, maximum, text(call, name, wide, 260));
    },
    OpenSemaphore: opener("semaphore"),
    CreateWaitableTimer: (wide) => (call, _security, manual, name) =>
      call.system.createTimer(manual !== 0, text(call, name, wide, 260)),
    CreateWaitableTimerEx: (wide) => (call, _security, name, flags) =>
      call.system.createTimer((flags & CREATE_MANUAL) !== 0, text(call, name, wide, 260)),
    OpenWaitableTimer: opener("timer"),
  }),
  SetEvent: (call, handle) => call.system.setEvent(handle, true) ? 1 : 0,
  ResetEvent: (call, handle) => call.system.setEvent(handle, false) ? 1 : 0,
  PulseEvent: (call, handle) => call.system.pulseEvent(handle) ? 1 : 0,
  ReleaseMutex: (call, handle) => call.system.releaseMutex(handle) ? 1 : 0,
  ReleaseSemaphore: (call, handle, count, previous) => {
    const before = call.system.releaseSemaphore(handle, count);
    if (before === undefined) return 0;
    if (previous) call.memory.setU32(previous, before);
    return 1;
  },
  ...alias(
    ["SetWaitableTimer", "SetWaitableTimerEx"],
    (call, handle, due, period, routine, argument) =>
      call.system.setTimer(handle, delayUntil(call, due), period, routine, argument) ? 1 : 0,
  ),
  CancelWaitableTimer: (call, handle) => call.system.cancelTimer(handle) ? 1 : 0,

  InitOnceInitialize: (call, once) => call.memory.setU32(once, 0),
  InitOnceExecuteOnce: function* (call, once, callback, parameter, context) {
    if ((call.memory.u32(once) & 3) === 2) {
      if (context) call.memory.setU32(context, (call.memory.u32(once) & ~3) >>> 0);
      return 1;
    }
    const local = context || (call.heaps.allocate(call.heaps.processHeap, 4, true));
    const went: number = yield invoke(callback, [once, parameter, local]);
    if (went) call.memory.setU32(once, ((call.memory.u32(local) & ~3) | 2) >>> 0);
    if (!context) call.heaps.free(call.heaps.processHeap, local);
    return went ? 1 : 0;
  },
  InitOnceBeginInitialize: (call, once, flags, pending, context) => {
    const isDone = (call.memory.u32(once) & 3) === 2;
    if ((flags & 1) && !isDone) return call.fail(Win32.invalidParameter);
    call.memory.setU32(pending, isDone ? 0 : 1);
    if (isDone && context) call.memory.setU32(context, (call.memory.u32(once) & ~3) >>> 0);
    return 1;
  },
  InitOnceComplete: (call, once, flags, context) => {
    call.memory.setU32(once, flags & 4 ? 0 : ((context & ~3) | 2) >>> 0);
    return 1;
  },

  CreateIoCompletionPort: (call, file, port) => {
    if (file !== INVALID && !call.handles.get(file)) return call.fail(Win32.invalidHandle);
    // Nothing completes later in the model: a file's port gets what the program posts itself.
    return port || call.system.createCompletionPort();
  },
  PostQueuedCompletionStatus: (call, port, bytes, key, overlapped) =>
    call.system.postCompletion(port, { bytes, key, overlapped }) ? 1 : 0,
  GetQueuedCompletionStatus: function* (call, port, bytes, key, overlapped, timeout) {
    call.memory.setU32(overlapped, 0);
    if (call.handles.get(port)?.kind !== "completion") return call.fail(Win32.invalidHandle);
    const result = yield* waitFor(call, [port], false, timeout);
    const packet = result === 0 ? call.system.takeCompletion(port) : undefined;
    if (!packet) return call.fail(result === WAIT_FAILED ? Win32.invalidHandle : WAIT_TIMEOUT);
    call.memory.setU32(bytes, packet.bytes);
    call.memory.setU32(key, packet.key);
    call.memory.setU32(overlapped, packet.overlapped);
    return 1;
  },
};
