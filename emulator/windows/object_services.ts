// SPDX-License-Identifier: Apache-2.0
/**
 * Synchronisation objects by handle, with or without a name, for the handlers of DLL functions.
 *
 * @module
 */
import type { CompletionPacket, KernelObject } from "./api.ts";
import type { Kernel } from "./kernel.ts";
import {
  CompletionPort,
  type Counted,
  EventObject,
  MutexObject,
  SemaphoreObject,
  TimerObject,
} from "./objects.ts";
import type { Process, Thread } from "./process.ts";
import { pollWait, resolve } from "./wait.ts";

const MAX_NAMES = 4096;
const NANOSECONDS = 1e6;
/** Most APCs that wait for one thread. */
export const MAX_APCS = 1024;

/** Win32 errors that the services answer. */
export const Win32 = {
  fileNotFound: 2,
  accessDenied: 5,
  invalidHandle: 6,
  notEnoughMemory: 8,
  invalidParameter: 87,
  alreadyExists: 183,
  badExeFormat: 193,
  notOwner: 288,
  tooManyPosts: 298,
} as const;

/** A name as the session's directory of objects has it: `Local\\` is the session itself. */
function objectKey(name: string): string {
  return name.replace(/^\\Sessions\\1\\BaseNamedObjects\\|^(Local|Session\\1)\\/i, "")
    .replace(/^\\BaseNamedObjects\\|^Global\\/i, "Global\\");
}

/** See the module's description; made for one thread. */
export class ObjectServices {
  constructor(protected readonly kernel: Kernel, protected readonly thread: Thread) {}

  protected get caller(): Process {
    return this.thread.process;
  }

  protected fail<T>(error: number, result: T): T {
    this.caller.user!.memory.setU32(this.thread.teb + 0x34, error);
    return result;
  }

  protected object(handle: number): KernelObject | undefined {
    return resolve(this.thread, handle);
  }

  protected open(object: KernelObject): number {
    return this.caller.handles.open(object) || this.fail(Win32.notEnoughMemory, 0);
  }

  /**
   * Opens the object of that name and kind, or makes it; last error tells which. `made` is called once a new
   * object has its handle.
   */
  protected named<T extends Counted>(
    name: string,
    kind: string,
    make: () => T | undefined,
    made?: (object: T) => void,
  ): number {
    const { names } = this.kernel;
    const key = objectKey(name);
    const known = name === "" ? undefined : names.get(key);
    if (known) {
      if (known.kind !== kind) return this.fail(Win32.invalidHandle, 0);
      const handle = this.open(known);
      return handle && this.fail(Win32.alreadyExists, handle);
    }
    if (name !== "" && names.size >= MAX_NAMES) return this.fail(Win32.notEnoughMemory, 0);
    const object = make();
    if (!object) return 0;
    if (name !== "") {
      names.set(key, object);
      const { onFree } = object;
      object.onFree = () => {
        names.delete(key);
        onFree?.();
      };
    }
    const handle = this.open(object);
    if (handle === 0) {
      object.retain();
      object.release();
    }
    made?.(object);
    return handle && this.fail(0, handle);
  }

  openNamed(name: string, kind: string): number {
    if (name === "") return this.fail(Win32.invalidParameter, 0);
    const known = this.kernel.names.get(objectKey(name));
    if (!known) return this.fail(Win32.fileNotFound, 0);
    return known.kind === kind ? this.open(known) : this.fail(Win32.invalidHandle, 0);
  }

  createEvent(manual: boolean, initial: boolean, name: string): number {
    return this.named(name, "event", () => new EventObject(manual, initial));
  }

  setEvent(handle: number, signalled: boolean): boolean {
    const object = this.object(handle);
    if (!(object instanceof EventObject)) return this.fail(Win32.invalidHandle, false);
    object.signalled = signalled;
    return true;
  }

  /** Lets go on who waits for the event now, one of them if it resets by itself. */
  pulseEvent(handle: number): boolean {
    const object = this.object(handle);
    if (!(object instanceof EventObject)) return this.fail(Win32.invalidHandle, false);
    object.signalled = true;
    for (const thread of this.kernel.threads) {
      if (thread.waiting?.objects.includes(object)) pollWait(this.kernel, thread);
    }
    object.signalled = false;
    return true;
  }

  eventState(handle: number): { manual: boolean; signalled: boolean } | undefined {
    const object = this.object(handle);
    return object instanceof EventObject ? object : undefined;
  }

  createMutex(owned: boolean, name: string): number {
    return this.named(name, "mutex", () => {
      const mutex = new MutexObject();
      if (owned) mutex.acquire(this.thread);
      return mutex;
    });
  }

  releaseMutex(handle: number): boolean {
    const object = this.object(handle);
    if (!(object instanceof MutexObject)) return this.fail(Win32.invalidHandle, false);
    return object.unlock(this.thread) || this.fail(Win32.notOwner, false);
  }

  createSemaphore(count: number, maximum: number, name: string): number {
    if (maximum === 0 || count > maximum) return this.fail(Win32.invalidParameter, 0);
    return this.named(name, "semaphore", () => new SemaphoreObject(count, maximum));
  }

  releaseSemaphore(handle: number, count: number): number | undefined {
    const object = this.object(handle);
    if (!(object instanceof SemaphoreObject)) return this.fail(Win32.invalidHandle, undefined);
    if (count === 0 || object.count + count > object.maximum) return this.fail(Win32.tooManyPosts, undefined);
    const before = object.count;
    object.count += count;
    return before;
  }

  createTimer(manual: boolean, name: string): number {
    return this.named(name, "timer", () => {
      const timer = new TimerObject(manual);
      timer.onFree = () => this.kernel.timers.disarm(timer);
      return timer;
    });
  }

  setTimer(handle: number, delay: number, period: number, routine: number, argument: number): boolean {
    const timer = this.object(handle);
    if (!(timer instanceof TimerObject)) return this.fail(Win32.invalidHandle, false);
    const { clock, timers } = this.kernel;
    const { thread } = this;
    const due = clock.now + Math.max(0, delay) * NANOSECONDS;
    timers.arm(
      timer,
      due,
      period * NANOSECONDS,
      routine === 0 ? undefined : () => {
        if (!thread.alive) return false;
        const time = clock.systemTime;
        const args = [argument, Number(time & 0xffffffffn), Number(time >> 32n)];
        if (thread.apcs.length < MAX_APCS) thread.queueApc({ routine, args, ofSample: thread.ofSample });
        return true;
      },
    );
    return true;
  }

  cancelTimer(handle: number): boolean {
    const timer = this.object(handle);
    if (!(timer instanceof TimerObject)) return this.fail(Win32.invalidHandle, false);
    this.kernel.timers.disarm(timer);
    return true;
  }

  createCompletionPort(): number {
    return this.open(new CompletionPort());
  }

  postCompletion(handle: number, packet: CompletionPacket): boolean {
    const port = this.object(handle);
    if (!(port instanceof CompletionPort)) return this.fail(Win32.invalidHandle, false);
    return port.post(packet) || this.fail(Win32.notEnoughMemory, false);
  }

  takeCompletion(handle: number): CompletionPacket | undefined {
    const port = this.object(handle);
    return port instanceof CompletionPort ? port.take(this.thread.tid) : undefined;
  }
}
