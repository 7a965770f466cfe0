// SPDX-License-Identifier: Apache-2.0
/** kernel32: waiting, events, mutexes, semaphores, timers, one-time initialisation, thread pool. @module */
import type { ApiCall, HandlerResult, KernelObject, Request } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { text } from "../shared/text.ts";

const INFINITE = 0xffffffff;
const WAIT_FAILED = 0xffffffff;
const MAX_HANDLES = 64;

/** Objects of the DLLs are always signalled; only the kernel's are waited for. */
const ALWAYS_READY = new Set(["file", "console", "pipe", "find", "timer", "mapping", "snapshot", "registry"]);

interface TimerObject extends KernelObject {
  readonly kind: "timer";
  due: number;
}

/** Waits as WaitForMultipleObjects does. */
export function* waitFor(
  call: ApiCall,
  handles: readonly number[],
  all: boolean,
  timeout: number,
  alertable = false,
): Generator<Request, number, number> {
  const objects = handles.map((handle) => call.handles.get(handle));
  const pseudo = (handle: number) => handle === 0xffffffff || handle === 0xfffffffe;
  if (handles.some((handle, i) => !objects[i] && !pseudo(handle))) {
    return call.fail(Win32.invalidHandle, WAIT_FAILED);
  }
  const timer = objects.findIndex((object) => object?.kind === "timer");
  if (timer >= 0) {
    const wait = Math.max(0, (objects[timer] as TimerObject).due - call.clock.tickCount);
    yield { kind: "sleep", milliseconds: Math.min(wait, timeout) };
    return wait > timeout ? 0x102 : timer;
  }
  const ready = objects.findIndex((object) => object !== undefined && ALWAYS_READY.has(object.kind));
  if (ready >= 0 && !all) return ready;
  const waiting = handles.filter((_, i) => !ALWAYS_READY.has(objects[i]?.kind ?? ""));
  if (waiting.length === 0) return 0;
  return yield { kind: "wait", handles: waiting, all, timeout, alertable };
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

function made(call: ApiCall, create: () => number): number {
  call.lastError = 0;
  return create();
}

/** Opens by name: creates, and takes it back when the name was new. */
function opened(call: ApiCall, name: string, create: () => number): number {
  if (name === "") return call.fail(Win32.invalidParameter);
  const handle = made(call, create);
  if (handle === 0 || call.lastError === Win32.alreadyExists) return handle;
  call.handles.close(handle);
  return call.fail(Win32.fileNotFound);
}

function timerDue(call: ApiCall, at: number): number {
  const low = call.memory.u32(at);
  const high = call.memory.u32(at + 4) | 0;
  const value = BigInt(high) * 0x1_0000_0000n + BigInt(low);
  const delay = value < 0n ? -value : value - call.clock.systemTime;
  return call.clock.tickCount + Math.max(0, Number(delay / 10000n));
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
  SignalObjectAndWait: function* (call, signal, wait, timeout) {
    if (!call.system.setEvent(signal, true) && !call.system.releaseMutex(signal)) {
      call.system.releaseSemaphore(signal, 1);
    }
    return yield* waitFor(call, [wait], false, timeout);
  },

  ...both({
    CreateEvent: (wide) => (call, _security, manual, initial, name) =>
      made(call, () => call.system.createEvent(manual !== 0, initial !== 0, text(call, name, wide, 260))),
    CreateEventEx: (wide) => (call, _security, name, flags) =>
      made(call, () =>
        call.system.createEvent(
          (flags & CREATE_MANUAL) !== 0,
          (flags & CREATE_SET) !== 0,
          text(call, name, wide, 260),
        )),
    OpenEvent: (wide) => (call, _access, _inherit, name) => {
      const label = text(call, name, wide, 260);
      return opened(call, label, () => call.system.createEvent(false, false, label));
    },
    CreateMutex: (wide) => (call, _security, owned, name) =>
      made(call, () => call.system.createMutex(owned !== 0, text(call, name, wide, 260))),
    CreateMutexEx: (wide) => (call, _security, name, flags) =>
      made(call, () => call.system.createMutex((flags & 1) !== 0, text(call, name, wide, 260))),
    OpenMutex: (wide) => (call, _access, _inherit, name) => {
      const label = text(call, name, wide, 260);
      return opened(call, label, () => call.system.createMutex(false, label));
    },
    CreateSemaphore: (wide) => (call, _security, count, maximum, name) => {
      if ((maximum | 0) <= 0 || (count | 0) < 0 || count > maximum) return call.fail(Win32.invalidParameter);
      return made(call, () => call.system.createSemaphore(count, maximum, text(call, name, wide, 260)));
    },
    CreateSemaphoreEx: (wide) => (call, _security, count, maximum, name) => {
      if ((maximum | 0) <= 0 || (count | 0) < 0 || count > maximum) return call.fail(Win32.invalidParameter);
      return made(call, () => call.system.createSemaphore(count, maximum, text(call, name, wide, 260)));
    },
    OpenSemaphore: (wide) => (call, _access, _inherit, name) => {
      const label = text(call, name, wide, 260);
      return opened(call, label, () => call.system.createSemaphore(0, 1, label));
    },
    CreateWaitableTimer: () => (call) =>
      call.handles.open({ kind: "timer", due: 0xffffffffff } as TimerObject),
  }),
  SetEvent: (call, handle) => call.system.setEvent(handle, true) ? 1 : call.fail(Win32.invalidHandle),
  ResetEvent: (call, handle) => call.system.setEvent(handle, false) ? 1 : call.fail(Win32.invalidHandle),
  PulseEvent: (call, handle) => {
    if (!call.system.setEvent(handle, true)) return call.fail(Win32.invalidHandle);
    call.system.setEvent(handle, false);
    return 1;
  },
  ReleaseMutex: (call, handle) => call.system.releaseMutex(handle) ? 1 : call.fail(288),
  ReleaseSemaphore: (call, handle, count, previous) => {
    const before = call.system.releaseSemaphore(handle, count);
    if (before === undefined) return call.fail(298);
    if (previous) call.memory.setU32(previous, before);
    return 1;
  },
  SetWaitableTimer: (call, handle, due) => {
    const timer = call.handles.get(handle);
    if (timer?.kind !== "timer") return call.fail(Win32.invalidHandle);
    (timer as TimerObject).due = timerDue(call, due);
    return 1;
  },
  CancelWaitableTimer: (call, handle) => {
    const timer = call.handles.get(handle);
    if (timer?.kind !== "timer") return call.fail(Win32.invalidHandle);
    (timer as TimerObject).due = 0xffffffffff;
    return 1;
  },

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

  QueueUserWorkItem: (call, routine, context) => {
    const made = call.system.createThread(routine, context, 0, false);
    if (made.handle) call.handles.close(made.handle);
    return made.handle ? 1 : 0;
  },
  CreateTimerQueue: (call) => call.handles.open({ kind: "timer", due: 0 } as TimerObject),
  ...constant(1, "DeleteTimerQueue DeleteTimerQueueEx DeleteTimerQueueTimer ChangeTimerQueueTimer"),
  ...constant(1, "UnregisterWait UnregisterWaitEx"),
  CreateIoCompletionPort: (call) => call.system.createEvent(true, false, ""),
  PostQueuedCompletionStatus: () => 1,
  GetQueuedCompletionStatus: function* (call, _port, _bytes, _key, overlapped, timeout) {
    call.memory.setU32(overlapped, 0);
    yield { kind: "sleep", milliseconds: timeout === INFINITE ? INFINITE : timeout };
    return call.fail(258);
  },
};
