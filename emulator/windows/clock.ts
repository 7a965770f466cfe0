// SPDX-License-Identifier: Apache-2.0
/**
 * The virtual clock: time is what the CPU's time-stamp counter says, one nanosecond a tick. It advances with
 * instructions and jumps when everybody sleeps.
 *
 * @module
 */
import type { Cpu } from "../machine/types.ts";
import type { Clock } from "./api.ts";

/** Milliseconds since boot when the guest starts: a machine that has been up for a while. */
const UPTIME = 1_834_000;
/** System time at the guest's start, 100 ns since 1601: 2012-06-14 09:26:53 UTC. */
const START_TIME = 129_841_468_130_000_000n;

/** See the module's description. */
export class VirtualClock implements Clock {
  constructor(private readonly cpu: Cpu) {}

  /** Nanoseconds since the guest started. */
  get now(): number {
    return this.cpu.instructions + this.cpu.tscOffset;
  }

  get tickCount(): number {
    return (UPTIME + Math.floor(this.now / 1e6)) >>> 0;
  }

  get systemTime(): bigint {
    return START_TIME + BigInt(Math.floor(this.now / 100));
  }

  /** 100 ns since boot. */
  get interruptTime(): bigint {
    return BigInt(UPTIME) * 10_000n + BigInt(Math.floor(this.now / 100));
  }

  get performanceCounter(): bigint {
    return BigInt(UPTIME) * 2_435n + BigInt(Math.floor(this.now * 0.002435));
  }

  get performanceFrequency(): bigint {
    return 2_435_000n;
  }

  /** Nobody can run before this time: go there. */
  advanceTo(time: number): void {
    if (time > this.now) this.cpu.tscOffset += Math.ceil(time - this.now);
  }
}
