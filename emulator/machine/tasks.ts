// SPDX-License-Identifier: Apache-2.0
/** Task switches: TSS descriptors and task gates as targets of transfers (SDM volume 3, chapter 8). @module */
import { DebugStatus } from "./breakpoints.ts";
import { loadCr3 } from "./control_registers.ts";
import { type Core, Flag, Rights } from "./core.ts";
import { generalProtection, GuestFault, Vector } from "./fault.ts";
import {
  type Descriptor,
  descriptorAt,
  install,
  installNull,
  isCode,
  isNull,
  isWritable,
  loadDataSegment,
  markAccessed,
} from "./segments.ts"; // deno-fmt-ignore

/** How a task is left: what happens to the busy bits, to NT and to the link differs. */
export type TaskSwitch = "jump" | "call" | "interrupt" | "return";

/** Types of descriptors, of those that are no segments. */
export const SystemType = { taskGate: 5, tss16: 1, tss32: 9, busy: 2 } as const;

const CR0_TS = 8;
/** Where a TSS holds what (SDM volume 3, 8.2.1 and 8.6); `file`: EIP, EFLAGS, then eight registers. */
const LAYOUT = {
  32: { size: 4, limit: 0x67, cr3: 0x1c, file: 0x20, segments: 0x48, segmentSize: 4, count: 6, ldt: 0x60 },
  16: { size: 2, limit: 0x2b, cr3: -1, file: 0x0e, segments: 0x22, segmentSize: 2, count: 4, ldt: 0x2a },
} as const;

/** True for an available (not busy) TSS. */
export function isAvailableTask(d: Descriptor): boolean {
  const type = d.rights & 0x1f;
  return type === SystemType.tss16 || type === SystemType.tss32;
}

/** The TSS behind a task gate; throws #GP or #NP with its selector. */
export function taskBehindGate(core: Core, gate: Descriptor): { selector: number; task: Descriptor } {
  const selector = gate.low >>> 16;
  if (selector & 4 || isNull(selector)) throw generalProtection(selector & 0xfffc);
  const task = descriptorAt(core, selector);
  if (!isAvailableTask(task)) throw generalProtection(selector & 0xfffc);
  if (!(task.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  return { selector, task };
}

/** IRET with NT set: back to the task that the current TSS links to. */
export function returnToTask(core: Core, next: number): void {
  const selector = core.read(core.tr.base, 2, false);
  const wrong = () => new GuestFault(Vector.ts, selector & 0xfffc);
  if (selector & 4 || isNull(selector)) throw wrong();
  const task = descriptorAt(core, selector, Vector.ts);
  if ((task.rights & 0x17) !== (SystemType.tss16 | SystemType.busy)) throw wrong();
  if (!(task.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  switchTask(core, selector, task, "return", next);
}

/**
 * Switches to a task; `next` is the EIP the old one goes on at. An exception brings the flags to save (with RF),
 * and perhaps an error code, which is pushed on the new task's stack. Faults up to the switch are the old task's; what is wrong with the new task's segments is
 * its own fault, at its EIP.
 */
export function switchTask(
  core: Core,
  selector: number,
  task: Descriptor,
  how: TaskSwitch,
  next: number,
  exception: { readonly flags: number; readonly errorCode: number | undefined } | undefined = undefined,
): void {
  const to = LAYOUT[task.rights & 8 ? 32 : 16], from = LAYOUT[core.tr.rights & 8 ? 32 : 16];
  if (task.limit < to.limit) throw new GuestFault(Vector.ts, selector & 0xfffc);
  const read = (at: number, size: number) => core.read((task.base + at) | 0, size, false);
  // Everything is read, and all that will be written is checked, before the first change.
  const [eip, flags, ...registers] = Array.from(
    { length: 10 },
    (_, i) => read(to.file + i * to.size, to.size),
  );
  const selectors = Array.from({ length: to.count }, (_, i) => read(to.segments + i * to.segmentSize, 2));
  const ldt = read(to.ldt, 2);
  const cr3 = to.cr3 >= 0 ? read(to.cr3, 4) : core.cr3;
  const debugTrap = to.size === 4 && (read(0x64, 2) & 1) !== 0;
  const { base } = core.tr;
  const write = (at: number, size: number, value: number) => core.write((base + at) | 0, size, value, false);
  core.prepareWrite((base + from.file) | 0, 4, false);
  core.prepareWrite((base + from.segments + from.count * from.segmentSize - 1) | 0, 1, false);
  const links = how === "call" || how === "interrupt";
  if (links) core.prepareWrite(task.base, 2, false);

  if (how === "jump" || how === "return") setBusy(core, core.tr.selector, false);
  let saved = exception?.flags ?? core.eflags & ~Flag.rf;
  if (how === "return") saved &= ~Flag.nt;
  const file = [next, saved, ...Array.from({ length: 8 }, (_, i) => core.reg(i))];
  file.forEach((value, i) => write(from.file + i * from.size, from.size, value));
  for (let i = 0; i < from.count; i++) write(from.segments + i * from.segmentSize, 2, core.selectors[i]);
  if (links) core.write(task.base, 2, core.tr.selector, false);
  if (how !== "return") setBusy(core, selector, true);

  core.cr0 |= CR0_TS;
  core.tr = { selector, base: task.base, limit: task.limit, rights: task.rights | SystemType.busy };
  const wide = to.size === 4;
  core.eip = eip;
  core.eflags = (flags | 2 | (links ? Flag.nt : 0)) & ~Flag.vm;
  core.resumeLoaded = (core.eflags & Flag.rf) !== 0;
  registers.forEach((value, i) => core.setReg(i, wide ? value : (value | 0xffff_0000)));
  core.noTrap = true;
  try {
    if (wide && core.cr0 & 0x8000_0000 && cr3 !== core.cr3) loadCr3(core, cr3);
    // Local breakpoints end with the task.
    const control = core.breakpoints.get(7);
    core.breakpoints.set(7, control & ~0x155, (core.cr4 & 8) !== 0);
    loadSegments(core, selectors, ldt);
    if (eip >>> 0 > core.limits[1]) throw generalProtection(0);
    if (exception?.errorCode !== undefined) pushErrorCode(core, exception.errorCode, to.size);
    if (debugTrap) core.breakpoints.hits |= DebugStatus.task;
  } catch (thrown) {
    if (thrown instanceof GuestFault) thrown.committed = true;
    throw thrown;
  }
}

function setBusy(core: Core, selector: number, busy: boolean): void {
  const at = (core.gdtr.base + (selector & 0xfff8) + 5) | 0;
  const rights = core.read(at, 1, false);
  core.write(at, 1, busy ? rights | SystemType.busy : rights & ~SystemType.busy, false);
}

function pushErrorCode(core: Core, errorCode: number, size: number): void {
  const mask = core.rights[2] & Rights.big ? -1 : 0xffff;
  const esp = (core.reg(4) - size) & mask;
  core.write((core.segmentBase(2) + esp) | 0, size, errorCode);
  core.setReg(4, (core.reg(4) & ~mask) | esp);
}

/** Loads LDTR and the segment registers of a new task; what is wrong is #TS, absent ones are #NP or #SS. */
function loadSegments(core: Core, selectors: readonly number[], ldt: number): void {
  const wrong = (selector: number) => new GuestFault(Vector.ts, selector & 0xfffc);
  const [es, cs, ss, ds, fs = 0, gs = 0] = selectors;
  // Until each is loaded nothing can be reached by it; but a fault finds the stack segment that was.
  core.setCpl(cs & 3);
  for (const segment of [0, 3, 4, 5]) installNull(core, segment, selectors[segment] ?? 0);
  core.selectors[1] = cs;
  core.selectors[2] = ss;
  core.ldtr = { selector: ldt, base: 0, limit: 0, rights: 0 };
  if (!isNull(ldt)) {
    if (ldt & 4) throw wrong(ldt);
    const d = descriptorAt(core, ldt, Vector.ts);
    if ((d.rights & 0x1f) !== 2 || !(d.rights & Rights.present)) throw wrong(ldt);
    core.ldtr = { selector: ldt, base: d.base, limit: d.limit, rights: d.rights };
  }
  const rpl = cs & 3;
  if (isNull(cs)) throw wrong(cs);
  const code = descriptorAt(core, cs, Vector.ts);
  const conforming = (code.rights & Rights.conforming) !== 0;
  if (!isCode(code) || (conforming ? code.dpl > rpl : code.dpl !== rpl)) throw wrong(cs);
  if (!(code.rights & Rights.present)) throw new GuestFault(Vector.np, cs & 0xfffc);
  markAccessed(core, code);
  install(core, 1, cs, code);
  core.setCpl(rpl);
  if (isNull(ss)) throw wrong(ss);
  const stack = descriptorAt(core, ss, Vector.ts);
  if (!isWritable(stack)) throw wrong(ss);
  if (!(stack.rights & Rights.present)) throw new GuestFault(Vector.ss, ss & 0xfffc);
  if ((ss & 3) !== rpl || stack.dpl !== rpl) throw wrong(ss);
  markAccessed(core, stack);
  install(core, 2, ss, stack);
  for (const [segment, selector] of [[0, es], [3, ds], [4, fs], [5, gs]]) {
    loadDataSegment(core, segment, selector, Vector.ts);
  }
}
