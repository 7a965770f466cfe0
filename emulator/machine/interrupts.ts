// SPDX-License-Identifier: Apache-2.0
/** Interrupts and exceptions through gates, and the return from them (SDM volume 3, chapter 6). @module */
import { type Core, Flag, Rights } from "./core.ts";
import { generalProtection, GuestFault, Vector } from "./fault.ts";
import { State } from "./layout.ts";
import {
  checkStack,
  type Descriptor,
  descriptorAt,
  install,
  installNull,
  isCode,
  isNull,
  markAccessed,
  parseDescriptor,
} from "./segments.ts"; // deno-fmt-ignore
import { returnToTask, switchTask, SystemType, taskBehindGate } from "./tasks.ts";

/** Why a gate is entered. */
export const DeliveryKind = {
  /** An exception whose return address is the instruction itself. */
  fault: 0,
  /** An exception behind an instruction. */
  trap: 1,
  /** INT n, INT3, INTO: the gate's DPL is checked. */
  software: 2,
  /** ICEBP: no DPL is checked, and what fails on the way is the instruction's fault. */
  privileged: 3,
} as const;
/** One of {@link DeliveryKind}. */
export type DeliveryKind = (typeof DeliveryKind)[keyof typeof DeliveryKind];

const contributory = (vector: number) => vector === 0 || (vector >= Vector.ts && vector <= Vector.gp);

/**
 * Faults in one delivery after which the CPU shuts down. Those of the SDM's table end in a few steps, but #AC is benign:
 * one whose own frame is not aligned is followed by the next for ever, in a processor until its hypervisor ends it
 * (CVE-2015-5307).
 */
const MOST_FAULTS = 16;

/** Error code of a fault on the way to a handler: EXT is set. */
const external = ({ vector, errorCode }: GuestFault) =>
  errorCode === undefined || vector === Vector.pf ? errorCode : errorCode | 1;

/**
 * Delivers an interrupt or exception; EIP is the return address. A fault on the way is delivered in its
 * turn, as a double fault where the SDM says so (table 6-5). Throws GuestFault when the CPU shuts down.
 */
export function deliver(core: Core, vector: number, errorCode: number | undefined, kind: DeliveryKind): void {
  let v = vector, code = errorCode, k = kind;
  for (let faults = 1;; faults++) {
    try {
      enterGate(core, v, code, k);
      core.noTrap = true;
      return;
    } catch (thrown) {
      if (!(thrown instanceof GuestFault)) throw thrown;
      const instruction = k === DeliveryKind.software || k === DeliveryKind.privileged;
      if (instruction && !thrown.committed) {
        throw new GuestFault(
          thrown.vector,
          k === DeliveryKind.privileged ? external(thrown) : thrown.errorCode,
        );
      }
      if (v === Vector.df || faults === MOST_FAULTS) throw thrown;
      const double = (contributory(v) && contributory(thrown.vector)) ||
        (v === Vector.pf && (contributory(thrown.vector) || thrown.vector === Vector.pf));
      k = DeliveryKind.fault;
      if (double) {
        v = Vector.df;
        code = 0;
      } else {
        v = thrown.vector;
        code = external(thrown);
      }
    }
  }
}

/** Where values are pushed: a stack that may not be the current one yet. */
class Frame {
  readonly #core: Core;
  readonly #base: number;
  readonly #mask: number;
  readonly #user: boolean;
  readonly #size: number;
  readonly #start: number;
  offset: number;

  constructor(core: Core, base: number, esp: number, big: boolean, size: number, cpl: number) {
    this.#core = core;
    this.#base = base;
    this.#mask = big ? -1 : 0xffff;
    this.#size = size;
    this.#user = cpl === 3;
    this.#start = esp;
    this.offset = esp;
  }
  /** Checks that all values can be pushed before any is. */
  prepare(count: number): void {
    for (let i = 1; i <= count; i++) {
      const at = (this.#start - i * this.#size) & this.#mask;
      this.#core.prepareWrite((this.#base + at) | 0, this.#size, this.#user);
    }
  }
  push(value: number): void {
    this.offset = (this.offset & ~this.#mask) | ((this.offset - this.#size) & this.#mask);
    const at = this.offset & this.#mask;
    this.#core.write((this.#base + at) | 0, this.#size, value, this.#user);
  }
}

/** The stack of an inner privilege level, from the TSS. */
export function innerStack(
  core: Core,
  dpl: number,
): { selector: number; esp: number; descriptor: Descriptor } {
  const { base, limit, rights } = core.tr;
  const wide = (rights & 8) !== 0;
  const at = wide ? 4 + 8 * dpl : 2 + 4 * dpl;
  const length = wide ? 6 : 4;
  if (at + length - 1 > limit) throw new GuestFault(Vector.ts, core.tr.selector & 0xfffc);
  const esp = core.read((base + at) | 0, wide ? 4 : 2, false);
  const selector = core.read((base + at + (wide ? 4 : 2)) | 0, 2, false);
  return { selector, esp, descriptor: checkStack(core, selector, dpl, Vector.ts) };
}

/** Throws #SS when a stack segment has no room for so many bytes below an ESP. */
export function checkRoom(
  { limit, rights }: Pick<Descriptor, "limit" | "rights">,
  esp: number,
  bytes: number,
  errorCode: number,
): void {
  const top = rights & Rights.big ? 0xffff_ffff : 0xffff;
  const last = ((esp - 1) & top) >>> 0, first = ((esp - bytes) & top) >>> 0;
  const down = (rights & Rights.expandDown) !== 0;
  const good = first <= last && (down ? first > limit && last <= top : last <= limit);
  if (!good) throw new GuestFault(Vector.ss, errorCode);
}

function enterGate(core: Core, vector: number, errorCode: number | undefined, kind: DeliveryKind): void {
  const external = kind === DeliveryKind.software ? 0 : 1;
  const gateError = vector * 8 + 2 + external;
  if (vector * 8 + 7 > core.idtr.limit) throw generalProtection(gateError);
  const at = (core.idtr.base + vector * 8) | 0;
  const low = core.read(at, 4, false), high = core.read((at + 4) | 0, 4, false);
  const type = (high >>> 8) & 0x1f;
  const isTask = type === SystemType.taskGate;
  if (!isTask && type !== 0xe && type !== 0xf && type !== 6 && type !== 7) throw generalProtection(gateError);
  if (kind === DeliveryKind.software && ((high >>> 13) & 3) < core.cpl) throw generalProtection(gateError);
  if (!(high & 0x8000)) throw new GuestFault(Vector.np, gateError);
  const oldFlags = (core.eflags & ~Flag.rf) | (kind === DeliveryKind.fault && vector < 32 ? Flag.rf : 0);
  if (isTask) {
    const { selector, task } = taskBehindGate(core, parseDescriptor(at, low, high));
    return switchTask(core, selector, task, "interrupt", core.eip, { flags: oldFlags, errorCode });
  }
  const selector = low >>> 16;
  if (isNull(selector)) throw generalProtection(external);
  const d = descriptorAt(core, selector);
  if (!isCode(d) || d.dpl > core.cpl) throw generalProtection((selector & 0xfffc) | external);
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, (selector & 0xfffc) | external);

  const wide = type >= 0xe;
  const size = wide ? 4 : 2;
  const target = wide ? (low & 0xffff) | (high & 0xffff_0000) : low & 0xffff;
  const returnTo = core.eip, oldCs = core.selectors[1];
  const inner = !(d.rights & Rights.conforming) && d.dpl < core.cpl;
  const cpl = inner ? d.dpl : core.cpl;
  const count = (inner ? 5 : 3) + (errorCode === undefined ? 0 : 1);
  let frame: Frame;
  if (inner) {
    const stack = innerStack(core, cpl);
    const oldSs = core.selectors[2], oldEsp = core.reg(4);
    const big = (stack.descriptor.rights & Rights.big) !== 0;
    frame = new Frame(core, stack.descriptor.base, stack.esp, big, size, cpl);
    checkRoom(stack.descriptor, stack.esp, count * size, (stack.selector & 0xfffc) | external);
    frame.prepare(count);
    if (target >>> 0 > d.limit) throw generalProtection(external);
    markAccessed(core, stack.descriptor);
    frame.push(oldSs);
    frame.push(oldEsp);
    install(core, 2, stack.selector, stack.descriptor);
  } else {
    const current = { limit: core.limits[2], rights: core.rights[2] };
    frame = new Frame(core, core.segmentBase(2), core.reg(4), core.state(State.stackMask) === -1, size, cpl);
    checkRoom(current, core.reg(4), count * size, external);
    frame.prepare(count);
    if (target >>> 0 > d.limit) throw generalProtection(external);
  }
  frame.push(oldFlags);
  frame.push(oldCs);
  frame.push(returnTo);
  if (errorCode !== undefined) frame.push(errorCode);
  core.setReg(4, frame.offset);
  markAccessed(core, d);
  install(core, 1, (selector & 0xfffc) | cpl, d);
  core.setCpl(cpl);
  core.eip = target;
  const cleared = Flag.tf | Flag.nt | Flag.rf | Flag.vm | (type & 1 ? 0 : Flag.if);
  core.setState(State.eflags, core.state(State.eflags) & ~cleared);
}

/** Data segments that the outer level may not use become null (SDM volume 3, 5.8.6). */
export function dropInnerSegments(core: Core, cpl: number): void {
  for (const segment of [0, 3, 4, 5]) {
    const rights = core.rights[segment];
    if (rights & Rights.unusable || (rights & 0xc) === 0xc) continue;
    if (((rights >> 5) & 3) < cpl) installNull(core, segment, 0);
  }
}

/** Checks a code segment to which a return goes. */
export function checkReturnCode(core: Core, selector: number): Descriptor {
  if (isNull(selector)) throw generalProtection(0);
  const d = descriptorAt(core, selector);
  const rpl = selector & 3;
  const conforming = (d.rights & Rights.conforming) !== 0;
  if (!isCode(d) || rpl < core.cpl || (conforming ? d.dpl > rpl : d.dpl !== rpl)) {
    throw generalProtection(selector & 0xfffc);
  }
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  return d;
}

/** Bits of EFLAGS that an instruction at this privilege may change (SDM volume 2, POPF and IRET). */
export function changeableFlags(core: Core, size: number): number {
  let mask = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf | Flag.tf | Flag.df | Flag.of | Flag.nt;
  if (core.cpl <= core.iopl) mask |= Flag.if;
  if (core.cpl === 0) mask |= Flag.iopl;
  if (size === 4) mask |= Flag.ac | Flag.id;
  return mask;
}

/** IRET in protected mode; `next` is the EIP behind it. Throws before anything is changed. */
export function interruptReturn(core: Core, size: 2 | 4, next: number): void {
  const flags = core.eflags;
  if (flags & Flag.nt) return returnToTask(core, next);
  const base = core.segmentBase(2), mask = core.state(State.stackMask);
  const peek = (i: number) => core.read((base + ((core.reg(4) + i * size) & mask)) | 0, size);
  const eip = peek(0), selector = peek(1) & 0xffff, image = peek(2);
  // Virtual-8086 mode does not exist here.
  if (size === 4 && image & Flag.vm && core.cpl === 0) throw generalProtection(0);
  const d = checkReturnCode(core, selector);
  const rpl = selector & 3;
  if (eip >>> 0 > d.limit) throw generalProtection(0);
  const outer = rpl > core.cpl;
  let changed = changeableFlags(core, size);
  if (size === 4) changed |= Flag.rf | (core.cpl === 0 ? Flag.vif | Flag.vip : 0);
  if (outer) {
    const esp = peek(3), ss = peek(4) & 0xffff;
    const stack = checkStack(core, ss, rpl);
    markAccessed(core, d);
    markAccessed(core, stack);
    install(core, 2, ss, stack);
    core.setReg(4, stack.rights & Rights.big ? esp : (core.reg(4) & ~0xffff) | (esp & 0xffff));
  } else {
    markAccessed(core, d);
    core.setReg(4, (core.reg(4) & ~mask) | ((core.reg(4) + 3 * size) & mask));
  }
  install(core, 1, selector, d);
  core.eflags = (flags & ~changed) | (image & changed);
  core.resumeLoaded = (changed & image & Flag.rf) !== 0;
  core.eip = size === 2 ? eip & 0xffff : eip;
  if (outer) {
    core.setCpl(rpl);
    dropInnerSegments(core, rpl);
  }
}
