// SPDX-License-Identifier: Apache-2.0
/**
 * Who has which machine frame, and each domain's map from guest frames to machine frames.
 *
 * @module
 */

/** Owner of frames that no domain has. */
export const FREE = -1;
/** Owner of frames the hypervisor keeps for itself: shadow tables and sinks. */
export const HYPERVISOR = -2;

function greatestCommonDivisor(a: number, b: number): number {
  while (b) [a, b] = [b, a % b];
  return a;
}

/**
 * The machine's frames. They are handed out in a fixed scattered order, so that guest frame numbers are never
 * machine frame numbers by accident, and so that a fault in the translation shows in every test.
 */
export class MachineFrames {
  /** Domain id, {@link FREE} or {@link HYPERVISOR}, by machine frame. */
  readonly owner: Int32Array;
  /** Guest frame number by machine frame; -1 for frames no guest has. */
  readonly guestFrame: Int32Array;
  readonly #free: number[] = [];
  /** 1 for free frames that still hold what their last owner left. */
  readonly #used: Uint8Array;
  readonly #scrub: (frame: number) => void;

  /** `scrub` empties a frame; it is called for frames that had another owner, when they are taken again. */
  constructor(readonly count: number, scrub: (frame: number) => void) {
    this.#used = new Uint8Array(count);
    this.#scrub = scrub;
    this.owner = new Int32Array(count).fill(FREE);
    this.guestFrame = new Int32Array(count).fill(-1);
    // An affine map with a multiplier coprime to the count visits every frame once.
    let step = Math.max(1, Math.floor(count * 0.618));
    while (greatestCommonDivisor(step, count) !== 1) step++;
    for (let i = 0; i < count; i++) this.#free.push((i * step + 7) % count);
  }

  get free(): number {
    return this.#free.length;
  }

  /** Takes empty frames for an owner. Throws RangeError when there are too few. */
  take(count: number, owner: number): Int32Array {
    if (count > this.#free.length) {
      throw new RangeError(
        `Cannot take ${count} machine frames: ${this.#free.length} of ${this.count} are free`,
      );
    }
    const frames = Int32Array.from(this.#free.splice(this.#free.length - count, count));
    for (const frame of frames) {
      this.owner[frame] = owner;
      if (this.#used[frame]) this.#scrub(frame);
    }
    return frames;
  }

  /** Takes frames back. */
  give(frames: Iterable<number>): void {
    for (const frame of frames) {
      this.owner[frame] = FREE;
      this.#used[frame] = 1;
      this.guestFrame[frame] = -1;
      this.#free.push(frame);
    }
  }
}

/** Guest frames of one domain. */
export class PhysicalMap {
  readonly #machine: MachineFrames;
  readonly #frames: Int32Array;

  constructor(machine: MachineFrames, readonly domain: number, readonly guestFrames: number) {
    this.#machine = machine;
    this.#frames = machine.take(guestFrames, domain);
    for (let gfn = 0; gfn < guestFrames; gfn++) machine.guestFrame[this.#frames[gfn]] = gfn;
  }

  /** Machine frame of a guest frame; -1 when the guest has no such frame. */
  machineFrame(gfn: number): number {
    return gfn < this.guestFrames ? this.#frames[gfn] : -1;
  }

  /** Guest frame of a machine frame; -1 when it is not this domain's. */
  guestFrame(mfn: number): number {
    return this.owns(mfn) ? this.#machine.guestFrame[mfn] : -1;
  }

  /** True for machine frames of this domain's guest. */
  owns(mfn: number): boolean {
    return mfn >= 0 && mfn < this.#machine.count && this.#machine.owner[mfn] === this.domain;
  }

  /** Gives all frames back; the map is empty from here on. */
  release(): void {
    this.#machine.give(this.#frames);
    this.#frames.fill(-1);
  }
}
