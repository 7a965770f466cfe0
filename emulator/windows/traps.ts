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
import { dividesByZero, isPrivileged } from "./faulting_instruction.ts";
import { pendingSse, pendingX87, x87Instruction } from "./fpu_state.ts";
import { callbackReturn, systemCall } from "./invocation.ts";
import type { Kernel } from "./kernel.ts";
import type { Thread } from "./process.ts";
import { faultException } from "./user_memory.ts";

const NO_ADDRESS = 0xffffffff;
/** Faults in a row at one place that were resolved and came back: the model is at fault then. */
const MAX_REPEATED = 64;
const ERROR_WRITE = 2;
const ERROR_FETCH = 16;

/** Exceptions without parameters, by vector, at the faulting instruction. */
const SIMPLE: Readonly<Record<number, number>> = {
  5: Status.arrayBoundsExceeded,
  6: Status.illegalInstruction,
  7: Status.illegalInstruction,
  17: Status.datatypeMisalignment,
};

/** Codes of x87 exceptions by bits of the status word, in the order in which they are looked at. */
const X87: readonly (readonly [number, number])[] = [
  [0x40, Status.floatStackCheck],
  [0x01, Status.floatInvalidOperation],
  [0x04, Status.floatDivideByZero],
  [0x02, Status.floatDenormalOperand],
  [0x08, Status.floatOverflow],
  [0x10, Status.floatUnderflow],
  [0x20, Status.floatInexactResult],
];
/** SSE: invalid operand, denormal, division by zero. */
const BEFORE_RESULT = 7;

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
      case 0: {
        const zero = dividesByZero(thread);
        return this.raise(thread, zero ? Status.integerDivideByZero : Status.integerOverflow);
      }
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
      case 16:
        return this.x87Fault(thread);
      case 19: {
        const bits = pendingSse(this.kernel.fpu.read(thread));
        const code = bits & BEFORE_RESULT ? Status.floatMultipleTraps : Status.floatMultipleFaults;
        return this.raise(thread, code, [0]);
      }
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
    if (trap.vector === 13 && isPrivileged(thread)) {
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

  /** The exception is that of the x87 instruction that left it, though a later one waits for it. */
  private x87Fault(thread: Thread): void {
    const area = this.kernel.fpu.read(thread);
    const bits = pendingX87(area);
    const code = X87.find(([bit]) => bits & bit)?.[1] ?? Status.floatInvalidOperation;
    this.raise(thread, code, [0], x87Instruction(area) || thread.context.eip);
  }

  private pageFault(thread: Thread, errorCode: number): void {
    const address = this.kernel.vcpu.cpu.cr2 >>> 0;
    const { manager } = thread.process.user!;
    const outcome = address < USER_END ? manager.fault(address, errorCode) : "violation";
    if (outcome === "resolved") {
      // A number for the place that is the same only by chance: a hint is all that is needed.
      const place = (thread.context.eip ^ Math.imul(address, 31) ^ Math.imul(thread.tid, 0x9e37_79b1) ^
        errorCode) >>> 0;
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
}
