// SPDX-License-Identifier: Apache-2.0
/** Far jumps, calls and returns, call gates (SDM volume 3, 5.8). @module */
import { type Core, Rights } from "./core.ts";
import { generalProtection, GuestFault, Vector } from "./fault.ts";
import { checkReturnCode, checkRoom, dropInnerSegments, innerStack } from "./interrupts.ts";
import {
  checkStack,
  type Descriptor,
  descriptorAt,
  install,
  isCode,
  isNull,
  markAccessed,
} from "./segments.ts";
import type { OpView } from "./op_view.ts";
import { isAvailableTask, switchTask, SystemType, taskBehindGate } from "./tasks.ts";

/** Checks code that a far jump or call names directly. */
function checkTarget(core: Core, selector: number, d: Descriptor, offset: number): void {
  const conforming = (d.rights & Rights.conforming) !== 0;
  const allowed = conforming ? d.dpl <= core.cpl : (selector & 3) <= core.cpl && d.dpl === core.cpl;
  if (!isCode(d) || !allowed) throw generalProtection(selector & 0xfffc);
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  if (offset >>> 0 > d.limit) throw generalProtection(0);
}

function enterCode(core: Core, selector: number, d: Descriptor, offset: number, cpl: number): void {
  markAccessed(core, d);
  install(core, 1, (selector & 0xfffc) | cpl, d);
  core.setCpl(cpl);
  core.eip = offset;
}

interface Gate {
  readonly selector: number;
  readonly offset: number;
  readonly wide: boolean;
  readonly parameters: number;
}

/** The call gate behind a descriptor, checked; undefined when the descriptor is none. */
function callGate(core: Core, selector: number, d: Descriptor): Gate | undefined {
  const type = d.rights & 0x1f;
  if (type !== 4 && type !== 0xc) return undefined;
  if (d.dpl < core.cpl || d.dpl < (selector & 3)) throw generalProtection(selector & 0xfffc);
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  const wide = type === 0xc;
  return {
    selector: d.low >>> 16,
    offset: wide ? (d.low & 0xffff) | (d.high & 0xffff_0000) : d.low & 0xffff,
    wide,
    parameters: d.high & 31,
  };
}

/** Code behind a call gate. */
function gateTarget(core: Core, gate: Gate, jump: boolean): Descriptor {
  if (isNull(gate.selector)) throw generalProtection(0);
  const d = descriptorAt(core, gate.selector);
  const conforming = (d.rights & Rights.conforming) !== 0;
  if (!isCode(d) || d.dpl > core.cpl || (jump && !conforming && d.dpl !== core.cpl)) {
    throw generalProtection(gate.selector & 0xfffc);
  }
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, gate.selector & 0xfffc);
  if (gate.offset >>> 0 > d.limit) throw generalProtection(0);
  return d;
}

/** Switches the task when a descriptor is a task gate or a TSS. Returns whether it was one. */
function transferToTask(
  core: Core,
  op: OpView,
  selector: number,
  d: Descriptor,
  how: "jump" | "call",
): boolean {
  const isGate = (d.rights & 0x1f) === SystemType.taskGate;
  if (!isGate && !isAvailableTask(d)) return false;
  if (d.dpl < core.cpl || d.dpl < (selector & 3)) throw generalProtection(selector & 0xfffc);
  if (!isGate && selector & 4) throw generalProtection(selector & 0xfffc);
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  const target = isGate ? taskBehindGate(core, d) : { selector, task: d };
  switchTask(core, target.selector, target.task, how, op.next);
  return true;
}

/** JMP ptr16:32 and m16:32. */
export function jumpFar(core: Core, op: OpView, selector: number, offset: number): void {
  if (isNull(selector)) throw generalProtection(0);
  const d = descriptorAt(core, selector);
  if (transferToTask(core, op, selector, d, "jump")) return;
  const gate = callGate(core, selector, d);
  if (gate) return enterCode(core, gate.selector, gateTarget(core, gate, true), gate.offset, core.cpl);
  checkTarget(core, selector, d, offset);
  enterCode(core, selector, d, offset, core.cpl);
}

/** CALL ptr16:32 and m16:32. */
export function callFar(core: Core, op: OpView, selector: number, offset: number): void {
  if (isNull(selector)) throw generalProtection(0);
  const d = descriptorAt(core, selector);
  if (transferToTask(core, op, selector, d, "call")) return;
  const gate = callGate(core, selector, d);
  const size = gate ? (gate.wide ? 4 : 2) : op.size;
  const target = gate ? gateTarget(core, gate, false) : d;
  if (!gate) checkTarget(core, selector, d, offset);
  const inner = gate !== undefined && !(target.rights & Rights.conforming) && target.dpl < core.cpl;
  if (!inner) {
    op.linear(2, op.stackOffset(-2 * size), 2 * size, true);
    core.prepareWrite((core.segmentBase(2) + op.stackOffset(-2 * size)) | 0, 2 * size);
    op.poke(-size, size, core.selectors[1]);
    op.poke(-2 * size, size, op.next);
    op.moveStack(-2 * size);
    enterCode(core, gate ? gate.selector : selector, target, gate ? gate.offset : offset, core.cpl);
    return;
  }
  // More privilege: the stack of the TSS, with the parameters copied.
  const cpl = target.dpl;
  const values = Array.from({ length: gate.parameters }, (_, i) => op.peek(i * size, size));
  const stack = innerStack(core, cpl);
  const pushed = [core.selectors[2], core.reg(4), ...values.reverse(), core.selectors[1], op.next];
  const mask = stack.descriptor.rights & Rights.big ? -1 : 0xffff;
  checkRoom(stack.descriptor, stack.esp, pushed.length * size, stack.selector & 0xfffc);
  const at = (i: number) => (stack.descriptor.base + ((stack.esp - (i + 1) * size) & mask)) | 0;
  pushed.forEach((_, i) => core.prepareWrite(at(i), size, cpl === 3));
  pushed.forEach((value, i) => core.write(at(i), size, value, cpl === 3));
  markAccessed(core, stack.descriptor);
  install(core, 2, stack.selector, stack.descriptor);
  core.setReg(4, (stack.esp & ~mask) | ((stack.esp - pushed.length * size) & mask));
  enterCode(core, gate.selector, target, gate.offset, cpl);
}

/** RETF, with `extra` bytes of parameters. */
export function returnFar(core: Core, op: OpView, extra: number): void {
  const size = op.size;
  const eip = op.peek(0, size), selector = op.peek(size, size) & 0xffff;
  const d = checkReturnCode(core, selector);
  if (eip >>> 0 > d.limit) throw generalProtection(0);
  const rpl = selector & 3;
  if (rpl === core.cpl) {
    op.moveStack(2 * size + extra);
    enterCode(core, selector, d, eip, rpl);
    return;
  }
  const esp = op.peek(2 * size + extra, size), ss = op.peek(3 * size + extra, size) & 0xffff;
  const stack = checkStack(core, ss, rpl);
  markAccessed(core, stack);
  install(core, 2, ss, stack);
  const mask = stack.rights & Rights.big ? -1 : 0xffff;
  core.setReg(4, (esp & ~mask) | ((esp + extra) & mask));
  enterCode(core, selector, d, eip, rpl);
  dropInnerSegments(core, rpl);
}
