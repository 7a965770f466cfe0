// SPDX-License-Identifier: Apache-2.0
/**
 * Things behind handles: the handle table, and what threads can wait for.
 *
 * @module
 */
import type { Handles, KernelObject } from "./api.ts";
import { Section } from "./sections.ts";

/** Something a thread can wait for. */
export interface Waitable extends KernelObject {
  /** Whether a wait by this thread would succeed now. */
  isSignalled(tid: number): boolean;
  /** The wait succeeded. */
  acquire(tid: number): void;
}

/** Whether an object can be waited for. */
export function isWaitable(object: KernelObject): object is Waitable {
  return "isSignalled" in object;
}

/** An event. */
export class EventObject implements Waitable {
  readonly kind = "event";
  constructor(readonly manual: boolean, public signalled: boolean) {}
  isSignalled(): boolean {
    return this.signalled;
  }
  acquire(): void {
    if (!this.manual) this.signalled = false;
  }
}

/** A mutex; `abandoned` when its owner ended. */
export class MutexObject implements Waitable {
  readonly kind = "mutex";
  owner = 0;
  count = 0;
  isSignalled(tid: number): boolean {
    return this.count === 0 || this.owner === tid;
  }
  acquire(tid: number): void {
    this.owner = tid;
    this.count++;
  }
  /** False when the thread is not its owner. */
  release(tid: number): boolean {
    if (this.count === 0 || this.owner !== tid) return false;
    this.count--;
    return true;
  }
  /** The owner ended. */
  abandon(tid: number): void {
    if (this.owner === tid) this.count = 0;
  }
}

/** A semaphore. */
export class SemaphoreObject implements Waitable {
  readonly kind = "semaphore";
  constructor(public count: number, readonly maximum: number) {}
  isSignalled(): boolean {
    return this.count > 0;
  }
  acquire(): void {
    this.count--;
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
    if (object instanceof Section) object.retain();
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
    if (object instanceof Section) object.release();
    return true;
  }

  /** Closes all of them: the process ends. */
  closeAll(): void {
    for (const handle of [...this.table.keys()]) this.close(handle);
  }
}
