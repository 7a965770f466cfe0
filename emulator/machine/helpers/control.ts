// SPDX-License-Identifier: Apache-2.0
/** Far transfers, interrupts, fast system calls (SDM volume 2). @module */
import { Flag } from "../core.ts";
import { callFar, jumpFar, returnFar } from "../far.ts";
import { generalProtection, invalidOpcode } from "../fault.ts";
import { deliver, DeliveryKind, interruptReturn } from "../interrupts.ts";
import { HelperResult, State } from "../layout.ts";
import type { OpView } from "../op_view.ts";
import type { Core } from "../core.ts";
import type { Helper } from "./helper.ts";

function software(vector: (op: OpView) => number, kind: DeliveryKind = DeliveryKind.software): Helper {
  return (core, op) => {
    core.eip = op.next;
    deliver(core, vector(op), undefined, kind);
    return HelperResult.jump;
  };
}

/** Selector and offset of a far operand: in the instruction or in memory. */
function farPointer(core: Core, op: OpView): [selector: number, offset: number] {
  if (op.opcode === 0x9a || op.opcode === 0xea) return [op.second, op.immediate];
  const { size } = op;
  const offset = core.read(op.memory(size, false), size);
  return [core.read(op.memory(2, false, size), 2), offset];
}

/** A flat segment of SYSENTER and SYSEXIT. */
function flatPair(core: Core, cs: number, cpl: number): void {
  core.setSegment(1, (cs & 0xfffc) | cpl, 0, 0xffff_ffff, 0xc09b | (cpl << 5));
  core.setSegment(2, ((cs + 8) & 0xfffc) | cpl, 0, 0xffff_ffff, 0xc093 | (cpl << 5));
  core.setCpl(cpl);
}

export const controlHelpers: Record<string, Helper> = {
  jumpFar: (core, op) => {
    const [selector, offset] = farPointer(core, op);
    jumpFar(core, op, selector, offset);
    return HelperResult.jump;
  },
  callFar: (core, op) => {
    const [selector, offset] = farPointer(core, op);
    callFar(core, op, selector, offset);
    return HelperResult.jump;
  },
  returnFar: (core, op) => {
    returnFar(core, op, op.opcode === 0xca ? op.immediate & 0xffff : 0);
    return HelperResult.jump;
  },
  interruptReturn: (core, op) => {
    interruptReturn(core, op.size, op.next);
    return HelperResult.jump;
  },
  breakpoint: software(() => 3),
  softwareInterrupt: software((op) => op.immediate & 0xff),
  debugTrap: software(() => 1, DeliveryKind.privileged),
  overflowTrap: (core, op) => {
    if (!(core.eflags & Flag.of)) return;
    core.eip = op.next;
    deliver(core, 4, undefined, DeliveryKind.software);
    return HelperResult.jump;
  },
  sysenter: (core) => {
    const { cs, esp, eip } = core.sysenter;
    if ((cs & 0xfffc) === 0) throw generalProtection(0);
    core.setState(State.eflags, core.state(State.eflags) & ~(Flag.vm | Flag.if | Flag.rf));
    flatPair(core, cs, 0);
    core.setReg(4, esp);
    core.eip = eip;
    return HelperResult.jump;
  },
  sysexit: (core) => {
    const { cs } = core.sysenter;
    if (core.cpl !== 0 || (cs & 0xfffc) === 0) throw generalProtection(0);
    const esp = core.reg(1), eip = core.reg(2);
    flatPair(core, cs + 16, 3);
    core.setReg(4, esp);
    core.eip = eip;
    return HelperResult.jump;
  },
  undefined: () => {
    throw invalidOpcode();
  },
};
