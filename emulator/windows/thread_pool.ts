// SPDX-License-Identifier: Apache-2.0
/**
 * The thread pool of a process: work items, timers and waits, run by worker threads of the process itself.
 *
 * @module
 */
import { stdcall } from "./api.ts";
import type { ApiCall, DllFunction, HandlerResult, Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { Wait } from "./constants.ts";

/** Most items (work, timers, waits) and jobs that a pool holds, and threads that run them. */
const MAX_ITEMS = 4096;
const MAX_WORKERS = 8;
/** Objects one worker waits for at most, beside the pool's own. */
const MAX_WAITS = 63;
const INFINITE = 0xffffffff;
/** Milliseconds after which a worker without work ends. */
const IDLE = 20_000;
const NANOSECONDS = 1e6;
/** Bytes of the guest's memory that stand for an item; their address is its name. */
const ITEM_SIZE = 0x40;
const ERROR_INVALID_PARAMETER = 87;
const ERROR_NOT_ENOUGH_MEMORY = 8;
const STATUS_NO_MEMORY = 0xc0000017;
const WT_EXECUTEONLYONCE = 8;
const WAIT_IS_OVER = 0x102;

/** Something the pool calls back for. */
interface Item {
  readonly callback: number;
  /** Arguments of the callback; `result` is how a wait ended. */
  readonly args: (result: number) => readonly number[];
  /** Clock's nanoseconds of the next expiry or of a wait's timeout. */
  due: number;
  /** Nanoseconds between expiries; 0: once. */
  period: number;
  /** What is waited for; 0: nothing. */
  handle: number;
  /** A wait's timeout in nanoseconds, to begin again after each callback. */
  readonly timeout: number;
  readonly once: boolean;
  /** Callbacks that are queued or run. */
  pending: number;
}

interface Job {
  readonly item: Item;
  readonly result: number;
}

interface Pool {
  readonly items: Map<number, Item>;
  readonly jobs: Job[];
  /** Event that wakes a worker. */
  readonly wake: number;
  workers: number;
  idle: number;
}

const poolOf = (call: ApiCall) =>
  call.state<Pool>("thread-pool", () => ({
    items: new Map(),
    jobs: [],
    wake: call.system.createEvent(false, false, ""),
    workers: 0,
    idle: 0,
  }));

const nowOf = (call: ApiCall) => (call as KernelCall).kernel.clock.now;

/** Sees to it that somebody looks at what is new. */
function wake(call: ApiCall, pool: Pool): void {
  call.system.setEvent(pool.wake, true);
  if (pool.idle > 0 || pool.workers >= MAX_WORKERS) return;
  const start = (call as KernelCall).kernel.symbol("ntdll.dll", "TppWorkerThread");
  const made = call.system.createThread(start, 0, 0, false);
  if (made.handle === 0) return;
  call.handles.close(made.handle);
  pool.workers++;
}

function queue(call: ApiCall, pool: Pool, item: Item, result: number): boolean {
  if (pool.jobs.length >= MAX_ITEMS) return false;
  item.pending++;
  pool.jobs.push({ item, result });
  wake(call, pool);
  return true;
}

/** Queues what is due by time. */
function expire(call: ApiCall, pool: Pool): void {
  const now = nowOf(call);
  for (const item of pool.items.values()) {
    if (item.due > now) continue;
    if (item.handle !== 0) item.due = item.once ? Infinity : now + item.timeout;
    else item.due = item.period > 0 ? Math.max(item.due + item.period, now) : Infinity;
    const result = item.handle !== 0 ? WAIT_IS_OVER : 0;
    if (item.handle !== 0 && item.once) item.handle = 0;
    queue(call, pool, item, result);
  }
}

/** A worker's whole life. */
function* work(call: ApiCall): Generator<Request, HandlerResult, number> {
  const pool = poolOf(call);
  for (;;) {
    expire(call, pool);
    const job = pool.jobs.shift();
    if (job) {
      yield { kind: "invoke", address: job.item.callback, args: job.item.args(job.result) };
      job.item.pending--;
      continue;
    }
    const items = [...pool.items.values()];
    const waits = items.filter((item) => item.handle !== 0).slice(0, MAX_WAITS);
    const due = items.reduce((least, item) => Math.min(least, item.due), Infinity);
    const isLast = pool.workers === 1 && items.some((item) => item.handle !== 0 || item.due !== Infinity);
    const time = Math.min(Math.ceil((due - nowOf(call)) / NANOSECONDS), isLast ? INFINITE : IDLE);
    pool.idle++;
    const handles = [pool.wake, ...waits.map((item) => item.handle)];
    const result = yield { kind: "wait", handles, all: false, timeout: Math.max(time, 1) };
    pool.idle--;
    if (result === Wait.failed) {
      for (const item of waits) if (!call.handles.get(item.handle)) item.handle = 0;
      if (!call.handles.get(pool.wake)) break;
    } else if (result >= 1 && result < handles.length) {
      const item = waits[result - 1];
      if (item.once) item.handle = 0, item.due = Infinity;
      else item.due = nowOf(call) + item.timeout;
      queue(call, pool, item, 0);
    } else if (result === Wait.timeout && !isLast && time === IDLE) break;
  }
  pool.workers--;
  return 0;
}

type Shape = Partial<Omit<Item, "callback" | "args" | "pending">>;

/** Makes an item whose callback gets what `args` says; returns its address, 0 when there is no room. */
function create(
  call: ApiCall,
  callback: number,
  args: (address: number, result: number) => readonly number[],
  shape: Shape = {},
): number {
  const pool = poolOf(call);
  if (pool.items.size >= MAX_ITEMS) return call.fail(ERROR_NOT_ENOUGH_MEMORY);
  const address = call.heaps.allocate(call.heaps.processHeap, ITEM_SIZE, true);
  if (address === 0) return call.fail(ERROR_NOT_ENOUGH_MEMORY);
  pool.items.set(address, {
    callback,
    args: (result) => args(address, result),
    due: Infinity,
    period: 0,
    handle: 0,
    timeout: Infinity,
    once: false,
    pending: 0,
    ...shape,
  });
  if (shape.due !== undefined || shape.handle !== undefined) wake(call, pool);
  return address;
}

const find = (call: ApiCall, address: number) => poolOf(call).items.get(address);

/** Takes an item out of the pool; 0, with last error set, when there is none. */
export function removeItem(call: ApiCall, address: number): number {
  if (!poolOf(call).items.delete(address)) return call.fail(ERROR_INVALID_PARAMETER);
  call.heaps.free(call.heaps.processHeap, address);
  return 1;
}

/** Something that runs once, as soon as may be. */
function submit(call: ApiCall, callback: number, args: readonly number[]): number {
  const item: Item = {
    callback,
    args: () => args,
    due: Infinity,
    period: 0,
    handle: 0,
    timeout: Infinity,
    once: true,
    pending: 0,
  };
  return queue(call, poolOf(call), item, 0) ? 1 : call.fail(ERROR_NOT_ENOUGH_MEMORY);
}

/** Waits until no callback of an item is queued or runs. */
function* settle(call: ApiCall, address: number, cancel: boolean): Generator<Request, void, number> {
  const item = find(call, address);
  if (!item) return;
  const { jobs } = poolOf(call);
  for (let i = jobs.length - 1; cancel && i >= 0; i--) {
    if (jobs[i].item !== item) continue;
    jobs.splice(i, 1);
    item.pending--;
  }
  for (let milliseconds = 1; item.pending > 0; milliseconds = Math.min(milliseconds * 2, 1000)) {
    yield { kind: "sleep", milliseconds };
  }
}

const span = (milliseconds: number) => milliseconds === INFINITE ? Infinity : milliseconds * NANOSECONDS;

/** A timer of the pool, delay and period in milliseconds; its address, 0 when there is no room. */
export function addTimer(
  call: ApiCall,
  callback: number,
  args: (address: number) => readonly number[],
  delay: number,
  period: number,
): number {
  return create(call, callback, args, { due: nowOf(call) + span(delay), period: period * NANOSECONDS });
}

const createTimer = (call: ApiCall, callback: number, parameter: number, due: number, period: number) =>
  addTimer(call, callback, () => [parameter, 1], due, period);

function registerWait(
  call: ApiCall,
  object: number,
  callback: number,
  context: number,
  time: number,
  flags: number,
) {
  const timeout = span(time);
  return create(call, callback, (_address, result) => [context, result === 0 ? 0 : 1], {
    handle: object,
    timeout,
    due: nowOf(call) + timeout,
    once: (flags & WT_EXECUTEONLYONCE) !== 0,
  });
}

/** A FILETIME of a pool's timer: negative is from now; 0 bytes of it: as soon as may be. */
function fileTime(call: ApiCall, at: number): number {
  const value = BigInt.asIntN(
    64,
    BigInt(call.memory.u32(at)) | (BigInt(call.memory.u32((at + 4) >>> 0)) << 32n),
  );
  const delay = value < 0n ? -value : value - call.clock.systemTime;
  return nowOf(call) + Math.max(0, Number(delay)) * 100;
}

function setTimer(call: ApiCall, timer: number, due: number, period: number): void {
  const item = find(call, timer);
  if (!item) return;
  item.due = due === 0 ? Infinity : fileTime(call, due);
  item.period = due === 0 ? 0 : period * NANOSECONDS;
  wake(call, poolOf(call));
}

function setWait(call: ApiCall, wait: number, handle: number, timeout: number): void {
  const item = find(call, wait);
  if (!item) return;
  item.handle = handle;
  item.due = handle === 0 || timeout === 0 ? Infinity : fileTime(call, timeout);
  wake(call, poolOf(call));
}

/** Writes what was made where it is wanted: 1 (or a status of 0), or the failure. */
function give(call: ApiCall, target: number, made: number, done: number, failed: number): number {
  if (made === 0) return failed;
  call.memory.setU32(target, made);
  return done;
}

const worker = (call: ApiCall, callback: number, context: number) =>
  create(call, callback, (address) => [address, context, address]);
const waiter = (call: ApiCall, callback: number, context: number) =>
  create(call, callback, (address, result) => [address, context, address, result], { once: true });
const post = (call: ApiCall, address: number) => {
  const item = find(call, address);
  if (item) queue(call, poolOf(call), item, 0);
};
const wait = function* (call: ApiCall, address: number, cancel: number) {
  yield* settle(call, address, cancel !== 0);
};

/** kernel32's functions of the pool. */
export const POOL_KERNEL32: readonly DllFunction[] = [
  stdcall("QueueUserWorkItem", 3, (call, callback, context) => submit(call, callback, [context])),
  stdcall("CreateTimerQueue", 0, (call) => call.heaps.allocate(call.heaps.processHeap, ITEM_SIZE, true)),
  stdcall(
    "CreateTimerQueueTimer",
    7,
    (call, target, _queue, callback, parameter, due, period) =>
      give(call, target, createTimer(call, callback, parameter, due, period), 1, 0),
  ),
  stdcall("ChangeTimerQueueTimer", 4, (call, _queue, timer, due, period) => {
    const item = find(call, timer);
    if (!item) return call.fail(ERROR_INVALID_PARAMETER);
    item.due = nowOf(call) + span(due);
    item.period = period * NANOSECONDS;
    wake(call, poolOf(call));
    return 1;
  }),
  stdcall("DeleteTimerQueueTimer", 3, function* (call, _queue, timer, event) {
    if (event === INFINITE) yield* settle(call, timer, false);
    if (event !== 0 && event !== INFINITE) call.system.setEvent(event, true);
    return removeItem(call, timer);
  }),
  stdcall("DeleteTimerQueue", 1, (call, queue) => call.heaps.free(call.heaps.processHeap, queue) ? 1 : 0),
  stdcall("DeleteTimerQueueEx", 2, (call, queue, event) => {
    if (event !== 0 && event !== INFINITE) call.system.setEvent(event, true);
    return call.heaps.free(call.heaps.processHeap, queue) ? 1 : 0;
  }),
  stdcall(
    "RegisterWaitForSingleObject",
    6,
    (call, target, object, callback, context, time, flags) =>
      give(call, target, registerWait(call, object, callback, context, time, flags), 1, 0),
  ),
  stdcall("UnregisterWait", 1, removeItem),
  stdcall("UnregisterWaitEx", 2, function* (call, wait, event) {
    if (event === INFINITE) yield* settle(call, wait, false);
    if (event !== 0 && event !== INFINITE) call.system.setEvent(event, true);
    return removeItem(call, wait);
  }),
  stdcall(
    "TrySubmitThreadpoolCallback",
    3,
    (call, callback, context) => submit(call, callback, [0, context]),
  ),
  stdcall("CreateThreadpoolWork", 3, worker),
  stdcall("SubmitThreadpoolWork", 1, post),
  stdcall("WaitForThreadpoolWorkCallbacks", 2, wait),
  stdcall("CloseThreadpoolWork", 1, removeItem),
  stdcall("CreateThreadpoolTimer", 3, worker),
  stdcall("SetThreadpoolTimer", 4, setTimer),
  stdcall("IsThreadpoolTimerSet", 1, (call, timer) => find(call, timer)?.due !== Infinity ? 1 : 0),
  stdcall("WaitForThreadpoolTimerCallbacks", 2, wait),
  stdcall("CloseThreadpoolTimer", 1, removeItem),
  stdcall("CreateThreadpoolWait", 3, waiter),
  stdcall("SetThreadpoolWait", 3, setWait),
  stdcall("WaitForThreadpoolWaitCallbacks", 2, wait),
  stdcall("CloseThreadpoolWait", 1, removeItem),
];

const answer = (made: number) => made === 0 ? STATUS_NO_MEMORY : 0;

/** ntdll's functions of the pool. */
export const POOL_NTDLL: readonly DllFunction[] = [
  stdcall("RtlQueueWorkItem", 3, (call, callback, context) => answer(submit(call, callback, [context]))),
  stdcall(
    "RtlCreateTimer",
    7,
    (call, _queue, target, callback, parameter, due, period) =>
      give(call, target, createTimer(call, callback, parameter, due, period), 0, STATUS_NO_MEMORY),
  ),
  stdcall(
    "RtlRegisterWait",
    6,
    (call, target, object, callback, context, time, flags) =>
      give(call, target, registerWait(call, object, callback, context, time, flags), 0, STATUS_NO_MEMORY),
  ),
  stdcall(
    "TpAllocWork",
    4,
    (call, target, callback, context) =>
      give(call, target, worker(call, callback, context), 0, STATUS_NO_MEMORY),
  ),
  stdcall("TpPostWork", 1, post),
  stdcall("TpWaitForWork", 2, wait),
  stdcall("TpReleaseWork", 1, (call, address) => void removeItem(call, address)),
  stdcall(
    "TpAllocTimer",
    4,
    (call, target, callback, context) =>
      give(call, target, worker(call, callback, context), 0, STATUS_NO_MEMORY),
  ),
  stdcall("TpSetTimer", 4, setTimer),
  stdcall("TpReleaseTimer", 1, (call, address) => void removeItem(call, address)),
  stdcall(
    "TpAllocWait",
    4,
    (call, target, callback, context) =>
      give(call, target, waiter(call, callback, context), 0, STATUS_NO_MEMORY),
  ),
  stdcall("TpSetWait", 3, setWait),
  stdcall("TpReleaseWait", 1, (call, address) => void removeItem(call, address)),
  stdcall("TpSimpleTryPost", 3, (call, callback, context) => answer(submit(call, callback, [0, context]))),
];

/** Where workers begin: not exported. */
export const WORKER: DllFunction = stdcall("TppWorkerThread", 1, (call) => work(call));
