// SPDX-License-Identifier: Apache-2.0
/**
 * What of a CPU the host reads and sets: registers, tables, the TLB.
 *
 * @module
 */
import { type Core, Flag } from "./core.ts";
import { GuestFault, GuestHold } from "./fault.ts";
import { State } from "./layout.ts";
import { loadSegmentUnchecked, loadTaskUnchecked } from "./segments.ts";
import type { Cpu, CpuExit, CpuHost, TableRegister } from "./types.ts";

/** CR4.DE. */
const DEBUG_EXTENSIONS = 8;

/** Turns a fault of the guest's tables into an error for the host that asked. */
function forHost(action: string, selector: number, body: () => void): void {
  try {
    body();
  } catch (thrown) {
    if (!(thrown instanceof GuestFault) && !(thrown instanceof GuestHold)) throw thrown;
    const why = thrown instanceof GuestFault ? `exception ${thrown.vector}` : "the table is held";
    throw new Error(`Cannot ${action} with selector 0x${selector.toString(16)}: ${why}`);
  }
}

/** A CPU but for what makes it run. */
export abstract class CpuFace implements Cpu {
  protected readonly core: Core;

  constructor(core: Core) {
    this.core = core;
  }
  abstract run(limit: number): CpuExit;
  abstract raise(vector: number, errorCode?: number): void;

  get host(): CpuHost {
    return this.core.host;
  }
  set host(host: CpuHost) {
    this.core.host = host;
  }
  requestStop(): void {
    this.core.stopRequested = true;
  }
  get instructions(): number {
    return this.core.retired();
  }
  get tscOffset(): number {
    return this.core.tscOffset;
  }
  set tscOffset(value: number) {
    this.core.tscOffset = value;
  }
  getRegister(index: number): number {
    return this.core.reg(index & 7) >>> 0;
  }
  setRegister(index: number, value: number): void {
    this.core.setReg(index & 7, value);
  }
  get eip(): number {
    return this.core.eip >>> 0;
  }
  set eip(value: number) {
    this.core.eip = value;
  }
  get eflags(): number {
    return this.core.eflags >>> 0;
  }
  set eflags(value: number) {
    this.core.eflags = value;
  }
  get cr0(): number {
    return this.core.cr0 >>> 0;
  }
  set cr0(value: number) {
    this.core.cr0 = value;
    this.core.flushAll();
  }
  get cr2(): number {
    return this.core.cr2 >>> 0;
  }
  set cr2(value: number) {
    this.core.cr2 = value;
  }
  get cr3(): number {
    return this.core.cr3 >>> 0;
  }
  set cr3(value: number) {
    this.core.cr3 = value;
    this.core.flushAll();
  }
  get cr4(): number {
    return this.core.cr4 >>> 0;
  }
  set cr4(value: number) {
    this.core.cr4 = value;
    this.core.flushAll();
  }
  get efer(): number {
    return this.core.efer;
  }
  set efer(value: number) {
    this.core.efer = value;
    this.core.flushAll();
  }
  get gdtr(): TableRegister {
    return this.core.gdtr;
  }
  set gdtr(value: TableRegister) {
    this.core.gdtr = { base: value.base >>> 0, limit: value.limit & 0xffff };
  }
  get idtr(): TableRegister {
    return this.core.idtr;
  }
  set idtr(value: TableRegister) {
    this.core.idtr = { base: value.base >>> 0, limit: value.limit & 0xffff };
  }
  getDebugRegister(index: number): number {
    return this.core.breakpoints.get(index & 7) >>> 0;
  }
  setDebugRegister(index: number, value: number): void {
    this.core.breakpoints.set(index & 7, value | 0, (this.core.cr4 & DEBUG_EXTENSIONS) !== 0);
  }
  get interruptible(): boolean {
    const core = this.core;
    return (core.state(State.eflags) & Flag.if) !== 0 && !core.inStackShadow &&
      core.interruptShadow !== core.retired();
  }
  get cpl(): number {
    return this.core.cpl;
  }
  selector(segment: number): number {
    return this.core.selectors[segment];
  }
  segmentBase(segment: number): number {
    return this.core.segmentBase(segment) >>> 0;
  }
  /** `limit` in bytes; `attributes` as {@link Rights}. Setting CS or SS sets the CPL by the selector. */
  setSegment(segment: number, selector: number, base: number, limit: number, attributes: number): void {
    this.core.setSegment(segment, selector, base, limit, attributes);
    if (segment === 1) this.core.setCpl(selector & 3);
  }
  loadSegment(segment: number, selector: number): void {
    forHost(
      `load segment register ${segment}`,
      selector,
      () => loadSegmentUnchecked(this.core, segment, selector),
    );
  }
  loadTaskRegister(selector: number): void {
    forHost("load the task register", selector, () => loadTaskUnchecked(this.core, selector));
  }
  get tssBase(): number {
    return this.core.tr.base >>> 0;
  }
  flushAll(): void {
    this.core.flushAll();
  }
  flushPage(va: number): void {
    this.core.tlb.flushPage(va | 0);
    this.core.bumpGeneration();
  }
  flushFrame(frame: number): void {
    this.core.tlb.flushFrame(frame);
    this.core.bumpGeneration();
  }
  frameWritten(frame: number, offset: number, length: number): void {
    this.core.frameChanged(frame, offset, length);
  }
}
