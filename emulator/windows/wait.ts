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
import type { Thread, WaitBlock } from "./process.ts";

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

/** Pseudo handles name the caller. */
export function resolve(thread: Thread, handle: number): KernelObject | undefined {
  if (handle === 0xffffffff) return thread.process;
  if (handle === 0xfffffffe) return thread;
  return thread.process.handles.get(handle);
}

const SIGNALLED: Waitable = { kind: "signalled", isSignalled: () => true, acquire: () => {} } as Waitable;

/** The wait's result if it can end now, else undefined. Acquires what it waited for. */
export function tryWait(kernel: Kernel, thread: Thread, wait: WaitBlock): number | undefined {
  const { objects, all, deadline } = wait;
  if (wait.alertable && thread.apcs.length > 0) return Wait.ioCompletion;
  if (objects.length > 0) {
    if (all) {
      if (objects.every((object) => object.isSignalled(thread.tid))) {
        for (const object of objects) object.acquire(thread.tid);
        return Wait.object0;
      }
    } else {
      const index = objects.findIndex((object) => object.isSignalled(thread.tid));
      if (index >= 0) {
        objects[index].acquire(thread.tid);
        return Wait.object0 + index;
      }
    }
  }
  if (kernel.clock.now < deadline) return undefined;
  return objects.length > 0 ? Wait.timeout : 0;
}

/** Earliest deadline of all waiting threads; Infinity when there is none. */
export function nextDeadline(kernel: Kernel): number {
  let next = Infinity;
  for (const thread of kernel.threads) {
    if (thread.waiting && thread.suspendCount === 0) next = Math.min(next, thread.waiting.deadline);
  }
  return next;
}
