// SPDX-License-Identifier: Apache-2.0
/**
 * Deterministic random numbers for generated tests, with a liking for corner values.
 *
 * @module
 */
import { xorshift32 } from "../bench/encoders.ts";

const CORNERS = [
  0,
  1,
  2,
  3,
  0x0f,
  0x10,
  0x1f,
  0x20,
  0x7f,
  0x80,
  0x81,
  0xff,
  0x100,
  0x7fff,
  0x8000,
  0xffff,
  0x10000,
  0x7fffffff,
  0x80000000,
  0x80000001,
  0xfffffffe,
  0xffffffff,
  0x99,
  0x9a,
  0x0a,
];

/** A generator with the few distributions that instruction tests need. */
export class Random {
  readonly #next: () => number;

  constructor(readonly seed: number) {
    this.#next = xorshift32(Math.imul(seed ^ 0x5bd1e995, 0x9e3779b1));
    for (let i = 0; i < 8; i++) this.#next();
  }

  /** 32 random bits. */
  word(): number {
    return this.#next();
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.#next() / 0x1_0000_0000) * limit);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** One of `items`. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  /** A register value: a corner, a single bit, small, a repeated byte, or anything. */
  value(): number {
    switch (this.below(8)) {
      case 0:
      case 1:
        return this.pick(CORNERS);
      case 2:
        return (1 << this.below(32)) >>> 0;
      case 3:
        return this.below(512) - 256 >>> 0;
      case 4:
        return Math.imul(this.below(256), 0x01010101) >>> 0;
      default:
        return this.word();
    }
  }
}
