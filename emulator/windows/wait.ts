// SPDX-License-Identifier: Apache-2.0
/**
 * Threads that wait: for objects, for time, for both.
 *
 * @module
 */
import type { KernelObject } from "./api.ts";
import { Wait } from "./constants.ts";
import type { Kernel } from "./kernel.ts";
import { isWaitable } from "./objects.ts";
import type { Waitable } from "./objects.ts";
import type { Process, Thread, WaitBlock } from "./process.ts";

const INFINITE = 0xffffffff;
const NANOSECONDS = 1e6;
const MAX_OBJECTS = 64;

/** Time at which a timeout in milliseconds ends. */
export function deadlineOf(kernel: Kernel, milliseconds: number): number {
  return milliseconds === INFINITE ? Infinity : kernel.clock.now + milliseconds * NANOSECONDS;
}

/** Objects of a wait; undefined when a handle is bad. What cannot be waited for counts as signalled. */
export function waitObjects(thread: Thread, handles: readonly number[]): Waitable[] | undefined {
  if (handles.length === 0 || handles.length > MAX_OBJECTS) return undefined;
  const objects: Waitable[] = [];
  for (const handle of handles) {
    const object = resolve(thread, handle);
    if (!object) return undefined;
    objects.push(isWaitable(object) ? object : SIGNALLED);
  }
  return objects;
}

/** What a handle stands for, of the thread's process or another; pseudo handles name the caller. */
export function resolve(
  thread: Thread,
  handle: number,
  process: Process = thread.process,
): KernelObject | undefined {
  if (handle === 0xffffffff) return process;
  if (handle === 0xfffffffe) return thread;
  return process.handles.get(handle);
}

const SIGNALLED: Waitable = { kind: "signalled", isSignalled: () => true, acquire: () => {} } as Waitable;

/** The wait's result if it can end now, else undefined. Acquires what it waited for. */
export function tryWait(kernel: Kernel, thread: Thread, wait: WaitBlock): number | undefined {
  const { objects, all, deadline } = wait;
  if (wait.alertable && thread.apcs.length > 0) return Wait.ioCompletion;
  if (objects.length > 0) {
    if (all) {
      if (objects.every((object) => object.isSignalled(thread))) {
        const abandoned = objects.map((object) => object.acquire(thread)).indexOf(true);
        return abandoned < 0 ? Wait.object0 : Wait.abandoned0 + abandoned;
      }
    } else {
      const index = objects.findIndex((object) => object.isSignalled(thread));
      if (index >= 0) return (objects[index].acquire(thread) ? Wait.abandoned0 : Wait.object0) + index;
    }
  }
  if (kernel.clock.now < deadline) return undefined;
  return objects.length > 0 ? Wait.timeout : 0;
}

/** When the next wait can end by time alone: its deadline, a timer; Infinity when none can. */
export function nextDeadline(kernel: Kernel): number {
  let next = Infinity;
  for (const { waiting, suspendCount } of kernel.threads) {
    if (!waiting || suspendCount > 0) continue;
    const dues = waiting.objects.map((object) => object.due ?? Infinity);
    next = Math.min(next, waiting.deadline, ...dues, waiting.alertable ? kernel.timers.nextApc : Infinity);
  }
  return next;
}

/** Lets a waiting thread go on when its wait is over; APCs of an alertable wait run first. */
export function pollWait(kernel: Kernel, thread: Thread): boolean {
  const { waiting } = thread;
  if (!waiting) return true;
  const result = tryWait(kernel, thread, waiting);
  if (result === undefined) return false;
  thread.waiting = undefined;
  thread.wakeValue = result;
  return true;
}
