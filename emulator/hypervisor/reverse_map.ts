// SPDX-License-Identifier: Apache-2.0
/**
 * From a machine frame to the shadow level-1 entries that map it: what makes revoking rights exact and cheap.
 *
 * @module
 */

/** Doubly linked lists of entry locations (`slot * 512 + index`), one list a machine frame. */
export class ReverseMap {
  readonly #head: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  constructor(machineFrames: number, locations: number) {
    this.#head = new Int32Array(machineFrames).fill(-1);
    this.#next = new Int32Array(locations).fill(-1);
    this.#previous = new Int32Array(locations).fill(-1);
  }

  /** First location that maps the frame, or -1. */
  first(frame: number): number {
    return this.#head[frame];
  }

  /** The location after this one, or -1. */
  next(location: number): number {
    return this.#next[location];
  }

  add(frame: number, location: number): void {
    const head = this.#head[frame];
    this.#next[location] = head;
    this.#previous[location] = -1;
    if (head >= 0) this.#previous[head] = location;
    this.#head[frame] = location;
  }

  remove(frame: number, location: number): void {
    const next = this.#next[location];
    const previous = this.#previous[location];
    if (previous >= 0) this.#next[previous] = next;
    else this.#head[frame] = next;
    if (next >= 0) this.#previous[next] = previous;
  }
}
