// SPDX-License-Identifier: Apache-2.0
/**
 * Rates out of counters: how fast something went over the last minute.
 *
 * @module
 */

/** Keeps a bounded number of samples of one counter and says its rate over them. */
export class RateMeter {
  readonly #window: number;
  readonly #samples: { readonly at: number; readonly value: number }[] = [];

  /** `window` in milliseconds: samples that are older are forgotten. */
  constructor(window = 60_000) {
    this.#window = window;
  }

  /** Notes the counter's value at a time (milliseconds, not running backwards). */
  sample(at: number, value: number): void {
    const last = this.#samples.at(-1);
    // A counter that fell began anew (a domain went away): what was before says nothing of now.
    if (last && value < last.value) this.#samples.length = 0;
    this.#samples.push({ at, value });
    while (this.#samples.length > 2 && this.#samples[0].at < at - this.#window) this.#samples.shift();
  }

  /** How much the counter grew each second between the oldest sample kept and the newest; 0 for one sample. */
  get perSecond(): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || last.at <= first.at) return 0;
    return (last.value - first.value) * 1000 / (last.at - first.at);
  }
}
