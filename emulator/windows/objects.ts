// SPDX-License-Identifier: Apache-2.0
/**
 * Things behind handles: the handle table, and what threads can wait for.
 *
 * @module
 */
import type { CompletionPacket, Handles, KernelObject } from "./api.ts";

/** Who waits, acquires and owns: a thread. */
export interface Owner {
  readonly tid: number;
  /** Mutexes the thread holds. */
  readonly owned: Set<MutexObject>;
}

/** Something a thread can wait for. */
export interface Waitable extends KernelObject {
  /** Whether a wait by this thread would succeed now. */
  isSignalled(owner: Owner): boolean;
  /** The wait succeeded. True: what was acquired had been abandoned by its owner. */
  acquire(owner: Owner): boolean | void;
  /** Time (clock's nanoseconds) at which it becomes signalled by itself; Infinity: never. */
  readonly due?: number;
}

/** Something whose handles and views are counted. */
export interface Counted extends KernelObject {
  retain(): void;
  release(): void;
  /** Called when the last is gone. */
  onFree?: (() => void) | undefined;
}

/** Whether an object can be waited for. */
export function isWaitable(object: KernelObject): object is Waitable {
  return "isSignalled" in object;
}

function isCounted(object: KernelObject): object is Counted {
  return "retain" in object && "release" in object;
}

/** An object that lives, and keeps its name, as long as somebody has a handle to it. */
abstract class HandledObject implements Counted {
  abstract readonly kind: string;
  /** Called when the last handle is gone. */
  onFree: (() => void) | undefined;
  private references = 0;
  retain(): void {
    this.references++;
  }
  release(): void {
    if (--this.references <= 0) this.onFree?.();
  }
}

/** An event. */
export class EventObject extends HandledObject implements Waitable {
  readonly kind = "event";
  constructor(readonly manual: boolean, public signalled: boolean) {
    super();
  }
  isSignalled(): boolean {
    return this.signalled;
  }
  acquire(): void {
    if (!this.manual) this.signalled = false;
  }
}

/** A mutex: the thread that owns it may acquire it again; abandoned when that thread ended. */
export class MutexObject extends HandledObject implements Waitable {
  readonly kind = "mutex";
  private owner: Owner | undefined;
  private count = 0;
  private abandoned = false;
  isSignalled(owner: Owner): boolean {
    return this.owner === undefined || this.owner === owner;
  }
  acquire(owner: Owner): boolean {
    this.owner = owner;
    this.count++;
    owner.owned.add(this);
    const { abandoned } = this;
    this.abandoned = false;
    return abandoned;
  }
  /** False when the thread is not its owner. */
  unlock(owner: Owner): boolean {
    if (this.owner !== owner) return false;
    if (--this.count === 0) {
      this.owner = undefined;
      owner.owned.delete(this);
    }
    return true;
  }
  /** The owner ended. */
  abandon(): void {
    this.owner = undefined;
    this.count = 0;
    this.abandoned = true;
  }
}

/** A semaphore. */
export class SemaphoreObject extends HandledObject implements Waitable {
  readonly kind = "semaphore";
  constructor(public count: number, readonly maximum: number) {
    super();
  }
  isSignalled(): boolean {
    return this.count > 0;
  }
  acquire(): void {
    this.count--;
  }
}

/** A waitable timer; {@link TimerQueue} sets it off. */
export class TimerObject extends HandledObject implements Waitable {
  readonly kind = "timer";
  signalled = false;
  /** Clock's nanoseconds; Infinity: not armed. */
  due = Infinity;
  /** Nanoseconds between two expiries; 0: it goes off once. */
  period = 0;
  /** Queues the APC of a timer that has one; false when its thread is gone. */
  onExpiry: (() => boolean) | undefined;
  constructor(readonly manual: boolean) {
    super();
  }
  isSignalled(): boolean {
    return this.signalled;
  }
  acquire(): void {
    if (!this.manual) this.signalled = false;
  }
}

/** The timers that are armed. */
export class TimerQueue {
  private readonly armed = new Set<TimerObject>();

  arm(timer: TimerObject, due: number, period: number, onExpiry?: () => boolean): void {
    timer.signalled = false;
    timer.due = due;
    timer.period = period;
    timer.onExpiry = onExpiry;
    this.armed.add(timer);
  }

  disarm(timer: TimerObject): void {
    timer.due = Infinity;
    this.armed.delete(timer);
  }

  /** Sets off what is due. */
  expire(now: number): void {
    for (const timer of this.armed) {
      if (timer.due > now) continue;
      timer.signalled = true;
      const goesOn = timer.onExpiry?.() ?? true;
      if (timer.period === 0 || !goesOn) this.disarm(timer);
      else timer.due += Math.ceil((now - timer.due + 1) / timer.period) * timer.period;
    }
  }

  /** When the next timer that queues an APC is due. */
  get nextApc(): number {
    let next = Infinity;
    for (const timer of this.armed) if (timer.onExpiry) next = Math.min(next, timer.due);
    return next;
  }
}

/** Most packets a completion port holds. */
const MAX_PACKETS = 4096;

/** An I/O completion port: a queue of packets that threads wait for. */
export class CompletionPort extends HandledObject implements Waitable {
  readonly kind = "completion";
  private readonly queue: CompletionPacket[] = [];
  private readonly taken = new Map<number, CompletionPacket>();
  isSignalled(): boolean {
    return this.queue.length > 0;
  }
  acquire(owner: Owner): void {
    this.taken.set(owner.tid, this.queue.shift()!);
  }
  /** False when it is full. */
  post(packet: CompletionPacket): boolean {
    if (this.queue.length >= MAX_PACKETS) return false;
    this.queue.push(packet);
    return true;
  }
  /** The packet that a thread's wait acquired. */
  take(tid: number): CompletionPacket | undefined {
    const packet = this.taken.get(tid);
    this.taken.delete(tid);
    return packet;
  }
}

/** Most handles a process may have. */
export const MAX_HANDLES = 16384;

/** Handles of one process: multiples of 4; 0 means there was no room. */
export class HandleTable implements Handles {
  private readonly table = new Map<number, KernelObject>();
  private readonly free: number[] = [];
  private next = 4;

  open(object: KernelObject): number {
    if (this.table.size >= MAX_HANDLES) return 0;
    let handle = this.free.pop();
    if (handle === undefined) {
      handle = this.next;
      this.next += 4;
    }
    this.table.set(handle, object);
    if (isCounted(object)) object.retain();
    return handle;
  }

  get(handle: number): KernelObject | undefined {
    return this.table.get(handle);
  }

  close(handle: number): boolean {
    const object = this.table.get(handle);
    if (object === undefined) return false;
    this.table.delete(handle);
    this.free.push(handle);
    if (isCounted(object)) object.release();
    return true;
  }

  /** Closes all of them: the process ends. */
  closeAll(): void {
    for (const handle of [...this.table.keys()]) this.close(handle);
  }
}
