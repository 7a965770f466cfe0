// SPDX-License-Identifier: Apache-2.0
/**
 * The user-mode registers of a thread, and their form in guest memory: CONTEXT (winnt.h, x86, 0x2cc bytes).
 *
 * @module
 */
import { get32, put32 } from "./bytes.ts";
import { Eflags, Selector, USER_END } from "./constants.ts";
import { applyFloatSave, FLOAT_SAVE_SIZE, floatSaveOf } from "./fpu_state.ts";

/** User registers of a thread. General registers by number (eax ecx edx ebx esp ebp esi edi). */
export interface Context {
  readonly registers: Uint32Array;
  eip: number;
  eflags: number;
  cs: number;
  ss: number;
  ds: number;
  es: number;
  fs: number;
  gs: number;
  /** Debug registers 0–3, 6, 7. */
  readonly debug: Uint32Array;
}

/** A context as a new thread has it. */
export function newContext(): Context {
  return {
    registers: new Uint32Array(8),
    eip: 0,
    eflags: Eflags.interrupt | 2,
    cs: Selector.userCode,
    ss: Selector.userData,
    ds: Selector.userData,
    es: Selector.userData,
    fs: Selector.teb,
    gs: 0,
    debug: new Uint32Array(6),
  };
}

/** A copy that shares nothing. */
export function copyContext(from: Context): Context {
  return { ...from, registers: from.registers.slice(), debug: from.debug.slice() };
}

/** Makes `to` equal to `from`. */
export function assignContext(to: Context, from: Context): void {
  const { registers, debug, ...rest } = from;
  Object.assign(to, rest);
  to.registers.set(registers);
  to.debug.set(debug);
}

/** Bytes of a CONTEXT. */
export const CONTEXT_SIZE = 0x2cc;
/** ContextFlags: the parts. */
export const ContextFlag = {
  i386: 0x1_0000,
  control: 0x1,
  integer: 0x2,
  segments: 0x4,
  floatingPoint: 0x8,
  debug: 0x10,
  extended: 0x20,
} as const;
/** What an exception delivers: all of it. */
export const CONTEXT_ALL = 0x1_003f;
/** Control, integer and segment registers. */
export const CONTEXT_FULL = 0x1_0007;

/** Offsets of the general registers, by register number. */
const REGISTERS = [0xb0, 0xac, 0xa8, 0xa4, 0xc4, 0xb4, 0xa0, 0x9c];
const ESP = 4;
const EBP = 5;
const SEGMENTS = { gs: 0x8c, fs: 0x90, es: 0x94, ds: 0x98 } as const;
const DEBUG = [0x04, 0x08, 0x0c, 0x10, 0x14, 0x18];
/** Other offsets in a CONTEXT. */
export const ContextOffset = { flags: 0, eax: 0xb0, eip: 0xb8, cs: 0xbc, eflags: 0xc0, esp: 0xc4, ss: 0xc8 };

/** EFLAGS bits that a program can set through a CONTEXT; the rest stays, interrupts stay on. */
const USER_EFLAGS = 0x0025_4dd5;
/** Bits of DR7 a program can set: local breakpoints and their conditions. */
const USER_DR7 = 0xffff_0155;
/** FloatSave and ExtendedRegisters in a CONTEXT. */
const FLOAT_SAVE = 0x1c;
const EXTENDED = 0xcc;

/** The CONTEXT of a thread with the parts named by `flags`; `fpu` is its FXSAVE area. */
export function encodeContext(context: Context, flags: number, fpu?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(CONTEXT_SIZE);
  put32(bytes, ContextOffset.flags, flags);
  if (fpu && flags & ContextFlag.floatingPoint) bytes.set(floatSaveOf(fpu), FLOAT_SAVE);
  if (fpu && flags & ContextFlag.extended) bytes.set(fpu, EXTENDED);
  if (flags & ContextFlag.debug) DEBUG.forEach((at, i) => put32(bytes, at, context.debug[i]));
  if (flags & ContextFlag.segments) {
    for (const [name, at] of Object.entries(SEGMENTS)) {
      put32(bytes, at, context[name as keyof typeof SEGMENTS]);
    }
  }
  REGISTERS.forEach((at, i) => {
    const part = i === ESP || i === EBP ? ContextFlag.control : ContextFlag.integer;
    if (flags & part) put32(bytes, at, context.registers[i]);
  });
  if (flags & ContextFlag.control) {
    put32(bytes, ContextOffset.eip, context.eip);
    put32(bytes, ContextOffset.cs, context.cs);
    put32(bytes, ContextOffset.eflags, context.eflags);
    put32(bytes, ContextOffset.ss, context.ss);
  }
  return bytes;
}

/** Takes the parts a CONTEXT carries into a thread's registers, made harmless as the kernel does it. */
export function applyContext(context: Context, bytes: Uint8Array): void {
  const flags = get32(bytes, ContextOffset.flags);
  if (flags & ContextFlag.debug) {
    DEBUG.forEach((at, i) => context.debug[i] = cleanDebugRegister(i, get32(bytes, at)));
  }
  if (flags & ContextFlag.segments) {
    for (const [name, at] of Object.entries(SEGMENTS)) {
      const selector = get32(bytes, at) & 0xffff;
      context[name as keyof typeof SEGMENTS] = userSelector(selector);
    }
  }
  REGISTERS.forEach((at, i) => {
    const part = i === ESP || i === EBP ? ContextFlag.control : ContextFlag.integer;
    if (flags & part) context.registers[i] = get32(bytes, at);
  });
  if (flags & ContextFlag.control) {
    context.eip = get32(bytes, ContextOffset.eip);
    context.eflags = cleanEflags(get32(bytes, ContextOffset.eflags));
    context.cs = Selector.userCode;
    context.ss = Selector.userData;
  }
}

/** The x87 and SSE registers a CONTEXT carries, put into an FXSAVE area; false when it carries none. */
export function applyFpu(area: Uint8Array, bytes: Uint8Array): boolean {
  const flags = get32(bytes, ContextOffset.flags);
  if (flags & ContextFlag.extended) area.set(bytes.subarray(EXTENDED, CONTEXT_SIZE));
  if (flags & ContextFlag.floatingPoint) {
    applyFloatSave(area, bytes.subarray(FLOAT_SAVE, FLOAT_SAVE + FLOAT_SAVE_SIZE));
  }
  return (flags & (ContextFlag.extended | ContextFlag.floatingPoint)) !== 0;
}

/** A debug register (by place in {@link Context.debug}) as a program may have it: no address of the kernel's. */
export function cleanDebugRegister(index: number, value: number): number {
  if (index < 4) return value < USER_END ? value : 0;
  return index === 4 ? value & 0xe00f : value & USER_DR7;
}

/** EFLAGS as a program may have them. */
export function cleanEflags(value: number): number {
  return (value & USER_EFLAGS) | Eflags.interrupt | 2;
}

/** A data selector that ring 3 can load; anything else becomes the null selector. */
function userSelector(selector: number): number {
  const asUser = selector | 3;
  return [Selector.userCode, Selector.userData, Selector.teb].some((known) => known === asUser) ? asUser : 0;
}
