// SPDX-License-Identifier: Apache-2.0
/** What instructions in TypeScript throw. No Error objects: faults are ordinary and frequent. @module */

/** Exception vectors (SDM volume 3, 6.3.1). */
export const Vector = {
  de: 0,
  db: 1,
  bp: 3,
  of: 4,
  br: 5,
  ud: 6,
  nm: 7,
  df: 8,
  ts: 10,
  np: 11,
  ss: 12,
  gp: 13,
  pf: 14,
  mf: 16,
  ac: 17,
} as const;

/** An exception of the guest. The instruction that throws it has changed nothing (but see `committed`). */
export class GuestFault {
  readonly vector: number;
  /** Error code, or undefined when the exception has none. */
  readonly errorCode: number | undefined;
  /** RF is set in the flags that are pushed: the instruction may go on without its breakpoint. */
  readonly resumes: boolean;
  /** The task was switched already: the fault is the new task's, at its EIP. */
  committed = false;
  constructor(vector: number, errorCode?: number, resumes = true) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.resumes = resumes;
  }
}

/** The host asked to hold the CPU before this instruction. */
export class GuestHold {}

/** #GP with an error code. */
export const generalProtection = (errorCode = 0): GuestFault => new GuestFault(Vector.gp, errorCode);
/** #UD. */
export const invalidOpcode = (): GuestFault => new GuestFault(Vector.ud);
