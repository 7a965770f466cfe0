// SPDX-License-Identifier: Apache-2.0
/** ntdll: the system calls, under their Nt and Zw names. @module */
import type { ApiCall, Handler, HandlerResult, Request, VirtualMemory } from "../../api.ts";
import { readU64, writeU64 } from "../code.ts";
import { constant, type Handlers } from "../define.ts";
import { Status } from "../shared/errors.ts";
import { closeHandle } from "../kernel32/file.ts";
import { writeThrough } from "../kernel32/memory.ts";
import { delayUntil, waitFor } from "../kernel32/sync.ts";
import { writeContext } from "../kernel32/thread.ts";
import { information } from "./information.ts";
import { nativeFiles } from "./native_file.ts";
import { objectName } from "./unicode.ts";

const SELF = 0xffffffff;
const THIS_THREAD = 0xfffffffe;
const MAX_COPY = 0x10000000;
const INFINITE = 0xffffffff;

function space(call: ApiCall, process: number): VirtualMemory | undefined {
  return process === SELF ? call.virtual : call.system.virtualOf(process);
}

/** Relative (negative) or absolute time of a wait, in milliseconds. */
function milliseconds(call: ApiCall, at: number): number {
  if (at === 0) return INFINITE;
  const value = BigInt.asIntN(64, readU64(call, at));
  const delay = value < 0n ? -value : value - call.clock.systemTime;
  return Number(delay <= 0n ? 0n : delay / 10000n > 0xfffffffen ? 0xfffffffen : delay / 10000n);
}

const status = (went: boolean | number) => went ? 0 : Status.invalidHandle;

const virtualMemory: Handlers = {
  NtAllocateVirtualMemory: (call, process, base, zeroBits, size, type, protect) => {
    const target = space(call, process);
    if (!target) return Status.invalidHandle;
    const result = target.allocate(
      call.memory.u32(base),
      call.memory.u32(size),
      type,
      protect,
      zeroBits,
    );
    if (result.status === 0) {
      call.memory.setU32(base, result.base);
      call.memory.setU32(size, result.size);
    }
    return result.status;
  },
  NtFreeVirtualMemory: (call, process, base, size, type) => {
    const target = space(call, process);
    if (!target) return Status.invalidHandle;
    const result = target.free(call.memory.u32(base), call.memory.u32(size), type);
    if (result.status === 0) {
      call.memory.setU32(base, result.base);
      call.memory.setU32(size, result.size);
    }
    return result.status;
  },
  NtProtectVirtualMemory: (call, process, base, size, protect, old) => {
    const target = space(call, process);
    if (!target) return Status.invalidHandle;
    if (!call.memory.accessible(old, 4, true)) return Status.accessViolation;
    const [start, length] = [call.memory.u32(base), call.memory.u32(size)];
    const result = target.protect(start, length, protect);
    if (result.status === 0) {
      call.memory.setU32(old, result.old);
      call.memory.setU32(base, (start & ~0xfff) >>> 0);
      call.memory.setU32(size, ((start & 0xfff) + length + 0xfff & ~0xfff) >>> 0);
    }
    return result.status;
  },
  NtReadVirtualMemory: (call, process, address, buffer, length, read) => {
    if (read) call.memory.setU32(read, 0);
    const own = process === SELF;
    if (!own && call.system.processId(process) === 0) return Status.invalidHandle;
    if (length > MAX_COPY || (own && !call.memory.accessible(address, length, false))) return 0x8000000d;
    const bytes = own
      ? call.memory.bytes(address, length)
      : call.system.readProcess(process, address, length);
    if (!bytes) return 0x8000000d;
    call.memory.setBytes(buffer, bytes);
    if (read) call.memory.setU32(read, length);
    return 0;
  },
  NtWriteVirtualMemory: (call, process, address, buffer, length, written) => {
    if (written) call.memory.setU32(written, 0);
    const target = space(call, process);
    if (!target) return Status.invalidHandle;
    if (length > MAX_COPY) return Status.invalidParameter;
    if (!writeThrough(call, target, process, address, call.memory.bytes(buffer, length))) return 0x8000000d;
    if (written) call.memory.setU32(written, length);
    return 0;
  },
  NtMapViewOfSection: (
    call,
    section,
    process,
    base,
    _zeroBits,
    _commit,
    offset,
    size,
    _inherit,
    _type,
    protect,
  ) => {
    const target = space(call, process);
    if (!target) return Status.invalidHandle;
    const from = offset ? call.memory.u32(offset) : 0;
    const view = target.mapView(section, call.memory.u32(base), from, call.memory.u32(size), protect);
    if (view.status & 0x80000000) return view.status;
    call.memory.setU32(base, view.base);
    call.memory.setU32(size, view.size);
    return view.status;
  },
  NtUnmapViewOfSection: (call, process, base) =>
    space(call, process)?.unmapView(base) ?? Status.invalidHandle,
  ...constant(0, "NtLockVirtualMemory NtUnlockVirtualMemory NtFlushVirtualMemory NtFlushInstructionCache"),
  NtGetWriteWatch: () => Status.invalidParameter,
};

const INVALID_CID = 0xc000000b;

/** Writes a new handle where it is wanted, or answers why there is none. */
function given(call: ApiCall, target: number, handle: number, failure: number): number {
  if (handle === 0) return failure;
  call.memory.setU32(target, handle);
  return 0;
}

const createThread = (
  call: ApiCall,
  process: number,
  start: number,
  parameter: number,
  stack: number,
  suspended: boolean,
) => call.system.createThread(start, parameter, stack, suspended, process === SELF ? undefined : process);

const processes: Handlers = {
  NtOpenProcess: (call, handle, _access, _attributes, client) => {
    const [pid, tid] = [call.memory.u32(client), call.memory.u32(client + 4)];
    if (pid === 0 && tid !== 0) return given(call, handle, call.system.openThread(tid), INVALID_CID);
    if (!call.system.processes().some((process) => process.pid === pid)) return INVALID_CID;
    return given(call, handle, call.system.openProcess(pid), Status.accessDenied);
  },
  NtOpenThread: (call, handle, _access, _attributes, client) =>
    given(call, handle, call.system.openThread(call.memory.u32(client + 4)), INVALID_CID),
  NtTerminateProcess: (call, process, code) => {
    // A null handle ends the other threads only; the caller goes on and ends itself next.
    if (process === 0) return 0;
    if (process === SELF || call.system.processId(process) === call.pid) call.exitProcess(code);
    else return status(call.system.terminateProcess(process, code));
  },
  NtTerminateThread: (call, thread, code) => {
    if (thread === 0 || thread === THIS_THREAD) call.exitThread(code);
    else return status(call.system.terminateThread(thread, code));
  },
  NtCreateThreadEx: (call, handle, _access, _attributes, process, start, parameter, flags, _zero, stack) => {
    const made = createThread(call, process, start, parameter, stack, (flags & 1) !== 0);
    if (made.handle === 0) return Status.accessDenied;
    call.memory.setU32(handle, made.handle);
    return 0;
  },
  RtlCreateUserThread: (
    call,
    process,
    _security,
    suspended,
    _zero,
    stack,
    _commit,
    start,
    parameter,
    handle,
    client,
  ) => {
    const made = createThread(call, process, start, parameter, stack, (suspended & 255) !== 0);
    if (made.handle === 0) return Status.accessDenied;
    if (handle) call.memory.setU32(handle, made.handle);
    if (client) {
      call.memory.setU32(client, process === SELF ? call.pid : call.system.processId(process));
      call.memory.setU32(client + 4, made.tid);
    }
    return 0;
  },
  NtSuspendThread: (call, thread, previous) => {
    const count = call.system.suspendThread(thread);
    if (count === INFINITE || (count | 0) === -1) return Status.invalidHandle;
    if (previous) call.memory.setU32(previous, count);
    return 0;
  },
  NtResumeThread: (call, thread, previous) => {
    const count = call.system.resumeThread(thread);
    if (count === INFINITE || (count | 0) === -1) return Status.invalidHandle;
    if (previous) call.memory.setU32(previous, count);
    return 0;
  },
  NtAlertResumeThread: (call, thread, previous) => {
    const count = call.system.resumeThread(thread);
    if (previous) call.memory.setU32(previous, count);
    return 0;
  },
  NtResumeProcess: (call, process) => status(call.system.suspendProcess(process, false)),
  NtSuspendProcess: (call, process) => status(call.system.suspendProcess(process, true)),
  NtGetContextThread: (call, thread, context) => status(writeContext(call, thread, context)),
  NtSetContextThread: (call, thread, context) =>
    status(call.system.setContext(thread, call.memory.bytes(context, 716))),
  NtQueueApcThread: (call, thread, routine, a, b, c) =>
    status(call.system.queueApc(thread, routine, [a, b, c])),
  NtQueueApcThreadEx: (call, thread, _reserve, routine, a, b, c) =>
    status(call.system.queueApc(thread, routine, [a, b, c])),
  NtTestAlert: function* () {
    yield { kind: "sleep", milliseconds: 0, alertable: true };
    return 0;
  },
  NtYieldExecution: function* () {
    yield { kind: "sleep", milliseconds: 0 };
    return 0x40000024;
  },
};

const synchronisation: Handlers = {
  NtDelayExecution: function* (call, alertable, interval) {
    const time = milliseconds(call, interval);
    return yield { kind: "sleep", milliseconds: time, alertable: (alertable & 255) !== 0 };
  },
  NtWaitForSingleObject: (call, handle, alertable, timeout) =>
    wait(call, [handle], false, timeout, alertable),
  NtWaitForMultipleObjects: (call, count, handles, kind, alertable, timeout) => {
    if (count === 0 || count > 64) return Status.invalidParameter;
    const list = Array.from({ length: count }, (_, i) => call.memory.u32(handles + 4 * i));
    return wait(call, list, kind === 0, timeout, alertable);
  },
  NtSignalAndWaitForSingleObject: (call, signal, handle, alertable, timeout) => {
    const went = call.system.setEvent(signal, true) || call.system.releaseMutex(signal) ||
      call.system.releaseSemaphore(signal, 1) !== undefined;
    return went ? wait(call, [handle], false, timeout, alertable) : Status.invalidHandle;
  },
  NtCreateEvent: (call, handle, _access, attributes, type, initial) =>
    created(
      call,
      handle,
      () => call.system.createEvent(type === 0, (initial & 255) !== 0, objectName(call, attributes)),
    ),
  NtCreateMutant: (call, handle, _access, attributes, owned) =>
    created(call, handle, () => call.system.createMutex((owned & 255) !== 0, objectName(call, attributes))),
  NtCreateSemaphore: (call, handle, _access, attributes, count, maximum) =>
    created(call, handle, () => call.system.createSemaphore(count, maximum, objectName(call, attributes))),
  NtOpenEvent: opener("event"),
  NtOpenMutant: opener("mutex"),
  NtOpenSemaphore: opener("semaphore"),
  NtOpenTimer: opener("timer"),
  NtOpenSection: opener("section"),
  NtCreateTimer: (call, handle, _access, attributes, type) =>
    created(call, handle, () => call.system.createTimer(type === 0, objectName(call, attributes))),
  NtSetTimer: (call, handle, due, routine, context, _resume, period, previous) => {
    if (previous) call.memory.setU8(previous, 0);
    return status(call.system.setTimer(handle, delayUntil(call, due), period, routine, context));
  },
  NtCancelTimer: (call, handle, previous) => {
    if (previous) call.memory.setU8(previous, 0);
    return status(call.system.cancelTimer(handle));
  },
  NtSetEvent: (call, handle, previous) => changeEvent(call, handle, previous, true),
  NtResetEvent: (call, handle, previous) => changeEvent(call, handle, previous, false),
  NtPulseEvent: (call, handle, previous) => {
    if (previous) call.memory.setU32(previous, call.system.eventState(handle)?.signalled ? 1 : 0);
    return status(call.system.pulseEvent(handle));
  },
  NtQueryEvent: (call, handle, kind, buffer, length, returned) => {
    const state = call.system.eventState(handle);
    if (!state) return Status.invalidHandle;
    if (kind !== 0) return Status.invalidInfoClass;
    if (length !== 8) return Status.infoLengthMismatch;
    call.memory.setU32(buffer, state.manual ? 0 : 1);
    call.memory.setU32(buffer + 4, state.signalled ? 1 : 0);
    if (returned) call.memory.setU32(returned, 8);
    return 0;
  },
  NtClearEvent: (call, handle) => status(call.system.setEvent(handle, false)),
  NtReleaseMutant: (call, handle) => status(call.system.releaseMutex(handle)),
  NtReleaseSemaphore: (call, handle, count, previous) => {
    const before = call.system.releaseSemaphore(handle, count);
    if (before === undefined) return Status.invalidHandle;
    if (previous) call.memory.setU32(previous, before);
    return 0;
  },
  NtClose: (call, handle) => status(closeHandle(call, handle)),
  NtDuplicateObject: (call, from, handle, to, result, _access, _attributes, options) => {
    const copy = call.system.duplicate(handle, from, to || SELF);
    if (copy === 0) return Status.invalidHandle;
    if (result) call.memory.setU32(result, copy);
    if (call.system.processId(from) === call.pid && options & 1) closeHandle(call, handle);
    return 0;
  },
};

function opener(kind: string): Handler {
  return (call, handle, _access, attributes) =>
    given(call, handle, call.system.openNamed(objectName(call, attributes), kind), Status.nameNotFound);
}

function changeEvent(call: ApiCall, handle: number, previous: number, signalled: boolean): number {
  if (previous) call.memory.setU32(previous, call.system.eventState(handle)?.signalled ? 1 : 0);
  return status(call.system.setEvent(handle, signalled));
}

function* wait(
  call: ApiCall,
  handles: readonly number[],
  all: boolean,
  timeout: number,
  alertable: number,
): Generator<Request, HandlerResult, number> {
  const went = yield* waitFor(call, handles, all, milliseconds(call, timeout), (alertable & 255) !== 0);
  return went === INFINITE ? Status.invalidHandle : went;
}

function created(call: ApiCall, target: number, make: () => number): number {
  call.lastError = 0;
  const handle = make();
  if (handle === 0) return Status.unsuccessful;
  call.memory.setU32(target, handle);
  return call.lastError === 183 ? 0x40000000 : 0;
}

const clocks: Handlers = {
  NtQuerySystemTime: (call, at) => {
    writeU64(call, at, call.clock.systemTime);
    return 0;
  },
  NtQueryPerformanceCounter: (call, counter, frequency) => {
    writeU64(call, counter, call.clock.performanceCounter);
    if (frequency) writeU64(call, frequency, call.clock.performanceFrequency);
    return 0;
  },
  RtlQueryPerformanceCounter: (call, counter) => {
    writeU64(call, counter, call.clock.performanceCounter);
    return 1;
  },
  NtGetTickCount: (call) => call.clock.tickCount,
  NtQueryTimerResolution: (call, low, high, current) => {
    [[low, 156250], [high, 5000], [current, 156250]].forEach(([at, value]) => call.memory.setU32(at, value));
    return 0;
  },
  NtSetTimerResolution: (call, _wanted, _set, current) => {
    call.memory.setU32(current, 156250);
    return 0;
  },
  NtRaiseHardError: (call, code, _count, _mask, _parameters, _options, response) => {
    call.print(`hard error 0x${code.toString(16)}\n`);
    if (response) call.memory.setU32(response, 6);
    return 0;
  },
  NtDisplayString: () => 0,
  NtShutdownSystem: () => 0xc0000061,
  NtLoadDriver: () => 0xc0000061,
  NtDeviceIoControlFile: () => Status.notSupported,
  NtQueryDefaultLocale: (call, _user, at) => {
    call.memory.setU32(at, 0x409);
    return 0;
  },
  RtlAdjustPrivilege: (call, _privilege, _enable, _thread, previous) => {
    if (previous) call.memory.setU8(previous, 0);
    return 0;
  },
  DbgPrint: (call, format) => {
    call.print(call.memory.text(format, false, 512));
    return 0;
  },
  // Needs the privilege to debug, which nobody has who was not given it.
  NtSetDebugFilterState: () => Status.accessDenied,
  CsrGetProcessId: (call) => call.system.processes().find((one) => one.name === "csrss.exe")?.pid ?? 0,
  ...constant(Status.portNotSet, "DbgUiConnectToDbg DbgUiIssueRemoteBreakin DbgUiStopDebugging"),
};

/** An Nt name's Zw twin does the same. */
function withZw(handlers: Handlers): Handlers {
  const twins = Object.entries(handlers).filter(([name]) => name.startsWith("Nt"));
  return {
    ...handlers,
    ...Object.fromEntries(twins.map(([name, handler]) => [`Zw${name.slice(2)}`, handler])),
  };
}

export const native: Handlers = withZw({
  ...virtualMemory,
  ...processes,
  ...synchronisation,
  ...clocks,
  ...information,
  ...nativeFiles,
});
