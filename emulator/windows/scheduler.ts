// SPDX-License-Identifier: Apache-2.0
/**
 * Who runs: threads in turn, each for a fixed number of instructions; when nobody can, time jumps to the next
 * timer.
 *
 * @module
 */
import { copyContext, newContext } from "./context.ts";
import { resumeWait } from "./invocation.ts";
import type { Kernel } from "./kernel.ts";
import type { Thread } from "./process.ts";
import { nextDeadline, pollWait } from "./wait.ts";

/** Instructions a thread has before the next one's turn. */
const QUANTUM = 100_000;
/** Attempts to find somebody who can run before the caller is asked for patience. */
const MAX_ROUNDS = 1000;
/** Below the top of the stack: where ESP stands in LdrInitializeThunk. */
const FIRST_STACK = 0x400;

/** Threads of one kernel on its vCPU. */
export class Scheduler {
  /** The CPU holds the current thread's registers, in ring 3 or on the way there. */
  private loaded = false;
  private quantumEnd = 0;
  private lastIndex = 0;
  /** Nanoseconds that passed because nobody could run. */
  idleTime = 0;

  constructor(private readonly kernel: Kernel) {}

  /** Instructions the current thread has left; 0: choose again. */
  get quantum(): number {
    return Math.max(0, this.quantumEnd - this.kernel.vcpu.cpu.instructions);
  }

  /** The thread's registers were taken out of the CPU by a trap. */
  trapped(): void {
    this.loaded = false;
  }

  /**
   * Makes some thread ready to run on the CPU. `deadlock`: none will ever be, all wait for what cannot come;
   * `later`: none is yet, though much time passed (call again).
   */
  prepare(): "ready" | "deadlock" | "later" {
    const { kernel } = this;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const { current } = kernel;
      // On its way out of ring 0 a thread cannot be switched away.
      if (this.loaded && kernel.vcpu.cpu.cpl !== 3) return "ready";
      if (current && this.quantum > 0 && isReady(current)) {
        if (this.loaded || this.load(current, false)) return "ready";
        continue;
      }
      const next = this.choose();
      if (!next) {
        if (!this.idle()) return "deadlock";
        continue;
      }
      this.quantumEnd = kernel.vcpu.cpu.instructions + QUANTUM;
      kernel.updateSharedData();
      if (next === current && this.loaded) return "ready";
      this.unload();
      if (this.load(next, kernel.switchTo(next))) return "ready";
    }
    return "later";
  }

  /** The next thread in turn that can run, after the current one. */
  private choose(): Thread | undefined {
    const { threads, timers, clock } = this.kernel;
    timers.expire(clock.now);
    for (let i = 1; i <= threads.length; i++) {
      const index = (this.lastIndex + i) % threads.length;
      const thread = threads[index];
      if (thread.suspendCount > 0 || !pollWait(this.kernel, thread)) continue;
      this.lastIndex = index;
      return thread;
    }
    return undefined;
  }

  private idle(): boolean {
    const { clock } = this.kernel;
    const deadline = nextDeadline(this.kernel);
    if (deadline === Infinity) return false;
    this.idleTime += Math.max(0, deadline - clock.now);
    clock.advanceTo(deadline);
    return true;
  }

  /** Takes the registers of a thread that was interrupted in ring 3 out of the CPU. */
  private unload(): void {
    const { current, tables } = this.kernel;
    if (this.loaded && current) tables.interrupt(current.context);
    this.loaded = false;
  }

  /** Puts a thread into the CPU; false when it turned out not to be able to run. */
  private load(thread: Thread, switched: boolean): boolean {
    const { kernel } = this;
    if (!thread.started) this.start(thread);
    resumeWait(kernel, thread);
    if (!isReady(thread) || kernel.current !== thread) return false;
    const moved = kernel.fpu.take(thread);
    kernel.tables.resume(thread.context, switched || moved);
    this.loaded = true;
    return true;
  }

  private start(thread: Thread): void {
    thread.started = true;
    thread.startContext = copyContext(thread.context);
    const context = newContext();
    context.eip = this.kernel.symbol("ntdll.dll", "LdrInitializeThunk");
    context.registers[4] = thread.stackHigh - FIRST_STACK;
    Object.assign(thread.context, context);
  }
}

/** Not waiting, not suspended, not ended. */
function isReady(thread: Thread): boolean {
  return thread.alive && thread.suspendCount === 0 && thread.waiting === undefined;
}
