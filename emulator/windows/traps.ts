// SPDX-License-Identifier: Apache-2.0
/**
 * What the kernel does when ring 3 traps: page faults, exceptions, software interrupts.
 *
 * Source: Intel SDM volume 3, chapter 6; the codes Windows turns exceptions into, as programs see them.
 *
 * @module
 */
import { Interrupt } from "./assembler.ts";
import type { Trap } from "./boot.ts";
import { hex } from "./bytes.ts";
import { Eflags, Status, USER_END } from "./constants.ts";
import { raiseException } from "./exceptions.ts";
import { callbackReturn, systemCall } from "./invocation.ts";
import type { Kernel } from "./kernel.ts";
import type { Thread } from "./process.ts";
import { faultException, GuestFault } from "./user_memory.ts";

const NO_ADDRESS = 0xffffffff;
/** Faults in a row at one place that were resolved and came back: the model is at fault then. */
const MAX_REPEATED = 64;
const ERROR_WRITE = 2;
const ERROR_FETCH = 16;

/** Exceptions without parameters, by vector, at the faulting instruction. */
const SIMPLE: Readonly<Record<number, number>> = {
  0: Status.integerDivideByZero,
  5: Status.arrayBoundsExceeded,
  6: Status.illegalInstruction,
  7: Status.illegalInstruction,
  16: Status.floatInvalidOperation,
  17: Status.datatypeMisalignment,
  19: Status.floatInvalidOperation,
};

/** Handles traps of one kernel. */
export class TrapHandler {
  private repeated = 0;
  private lastFault = 0;

  constructor(private readonly kernel: Kernel) {}

  /** The thread's registers are in its context. */
  handle(thread: Thread, trap: Trap): void {
    const { context } = thread;
    switch (trap.vector) {
      case Interrupt.systemCall:
        return systemCall(this.kernel, thread);
      case Interrupt.callbackReturn:
        if (!callbackReturn(this.kernel, thread)) this.raise(thread, Status.illegalInstruction);
        return;
      case 14:
        return this.pageFault(thread, trap.errorCode);
      case 1:
        context.eflags &= ~Eflags.trap;
        return this.raise(thread, Status.singleStep);
      case 3:
        context.eip = (context.eip - 1) >>> 0;
        return this.raise(thread, Status.breakpoint, [0]);
      case 4:
        return this.raise(thread, Status.integerOverflow, [], (context.eip - 1) >>> 0);
      case 0x2a:
        context.registers[0] = this.kernel.clock.tickCount;
        return;
      case 0x2d:
        // The debug service skips the byte behind it, then reports as int3 does: one byte back.
        return this.raise(thread, Status.breakpoint, [context.registers[0]]);
      case 0x2c:
        return this.raise(thread, 0xc0000420);
    }
    const simple = SIMPLE[trap.vector];
    if (simple !== undefined) return this.raise(thread, simple);
    // General protection, segment and stack faults.
    if (trap.vector === 13 && this.isPrivileged(thread)) {
      return this.raise(thread, Status.privilegedInstruction);
    }
    this.raise(thread, Status.accessViolation, [0, NO_ADDRESS]);
  }

  private raise(
    thread: Thread,
    code: number,
    parameters: readonly number[] = [],
    address = thread.context.eip,
  ): void {
    raiseException(this.kernel, thread, { code, flags: 0, address, parameters });
  }

  private pageFault(thread: Thread, errorCode: number): void {
    const address = this.kernel.vcpu.cpu.cr2 >>> 0;
    const { manager } = thread.process.user!;
    const outcome = address < USER_END ? manager.fault(address, errorCode) : "violation";
    if (outcome === "resolved") {
      // A number for the place that is the same only by chance: a hint is all that is needed.
      const place = (thread.context.eip ^ Math.imul(address, 31) ^ errorCode) >>> 0;
      this.repeated = place === this.lastFault ? this.repeated + 1 : 0;
      this.lastFault = place;
      if (this.repeated > MAX_REPEATED) {
        this.kernel.unsupported = `page fault at ${hex(address)} by ${hex(thread.context.eip)} (error code ${
          hex(errorCode)
        }) that comes back`;
      }
      return;
    }
    const kind = errorCode & ERROR_WRITE ? 1 : errorCode & ERROR_FETCH ? 8 : 0;
    const { code, parameters } = faultException(outcome, kind, address);
    this.raise(thread, code, parameters);
  }

  /** Whether the instruction that raised #GP is one only the kernel may execute. */
  private isPrivileged(thread: Thread): boolean {
    let bytes: Uint8Array;
    try {
      bytes = codeAt(thread, thread.context.eip);
    } catch (error) {
      if (error instanceof GuestFault) return false;
      throw error;
    }
    let at = 0;
    while (at < bytes.length && PREFIXES.has(bytes[at])) at++;
    const op = bytes[at];
    if (op !== 0x0f) return PRIVILEGED.has(op);
    const second = bytes[at + 1];
    const reg = ((bytes[at + 2] ?? 0) >>> 3) & 7;
    if (second === 0x00) return reg === 2 || reg === 3;
    if (second === 0x01) return reg === 2 || reg === 3 || reg === 6 || reg === 7;
    return PRIVILEGED_0F.has(second);
  }
}

const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
/** INS, OUTS, IN, OUT, HLT, CLI, STI. */
const PRIVILEGED = new Set(
  [0x6c, 0x6d, 0x6e, 0x6f, 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef, 0xf4, 0xfa, 0xfb],
);
/** CLTS, INVD, WBINVD, MOV CRn and DRn, WRMSR, RDTSC (when barred), RDMSR, RDPMC. */
const PRIVILEGED_0F = new Set([0x06, 0x08, 0x09, 0x20, 0x21, 0x22, 0x23, 0x30, 0x31, 0x32, 0x33]);

/** Up to 15 bytes of code. */
function codeAt(thread: Thread, address: number): Uint8Array {
  const { memory } = thread.process.user!;
  const room = 0x1000 - address % 0x1000;
  if (room >= 15 || !memory.accessible(address, 15, false)) return memory.bytes(address, Math.min(room, 15));
  return memory.bytes(address, 15);
}
