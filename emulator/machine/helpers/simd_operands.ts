// SPDX-License-Identifier: Apache-2.0
/** Access of SIMD helpers to registers and memory. @module */
import type { Core } from "../core.ts";
import { generalProtection, GuestFault, invalidOpcode, Vector } from "../fault.ts";
import type { OpView } from "../op_view.ts";
import { Lanes } from "../simd.ts";
import type { Helper } from "./helper.ts";

/** Destination and source of the instruction at hand; helpers are not re-entered. */
export const D = new Lanes(), S = new Lanes();

/** Opcode byte behind 0F, without the prefix's part. */
export const opcodeOf = (op: OpView): number => op.opcode & 0xff;
/** Mandatory prefix: 0 none, 1 66, 2 F3, 3 F2. */
export const prefixOf = (op: OpView): number => (op.opcode >> 8) - 1;

/** MMX instructions: #UD under CR0.EM, #NM under TS, pending x87 exceptions first. */
export const mmx = (helper: Helper): Helper => (core, op) => {
  if (core.cr0 & 4) throw invalidOpcode();
  if (core.cr0 & 8) throw new GuestFault(Vector.nm);
  if (core.fpu.pending) throw new GuestFault(16);
  return helper(core, op);
};
/** SSE instructions: also need CR4.OSFXSR. */
export const sse = (helper: Helper): Helper => (core, op) => {
  if (core.cr0 & 4 || !(core.cr4 & 0x200)) throw invalidOpcode();
  if (core.cr0 & 8) throw new GuestFault(Vector.nm);
  return helper(core, op);
};

/** Reads `size` bytes of the memory operand into lanes; the rest becomes zero. */
export function readMemory(core: Core, op: OpView, size: number, into: Lanes, aligned = false): void {
  const at = op.memory(size, false);
  if (aligned && at & 15) throw generalProtection(0);
  into.u64.fill(0n);
  for (let i = 0; i < size; i += 4) into.i32[i >> 2] = core.read((at + i) | 0, Math.min(4, size - i));
}
/** Writes the low `size` bytes of lanes to the memory operand. */
export function writeMemory(core: Core, op: OpView, size: number, from: Lanes, aligned = false): void {
  const at = op.memory(size, true);
  if (aligned && at & 15) throw generalProtection(0);
  writeLinear(core, at, size, from);
}
export function writeLinear(core: Core, at: number, size: number, from: Lanes): void {
  core.prepareWrite(at, size);
  for (let i = 0; i < size; i += 4) core.write((at + i) | 0, Math.min(4, size - i), from.i32[i >> 2]);
}

export function loadXmm(core: Core, register: number, into: Lanes): void {
  for (let i = 0; i < 4; i++) into.i32[i] = core.xmm[4 * register + i];
}
export function storeXmm(core: Core, register: number, from: Lanes): void {
  for (let i = 0; i < 4; i++) core.xmm[4 * register + i] = from.i32[i];
}
/** The W operand: an XMM register, or `size` bytes of memory (16 must be aligned). */
export function loadW(core: Core, op: OpView, into: Lanes, size = 16, aligned = size === 16): void {
  if (op.isRegister) loadXmm(core, op.rm, into);
  else readMemory(core, op, size, into, aligned);
}

/** An MMX register lies in the significand of an x87 register. */
export function loadMmx(core: Core, register: number, into: Lanes): void {
  into.u64[0] = core.fpu.registers[register].significand;
  into.u64[1] = 0n;
}
export function storeMmx(core: Core, register: number, from: Lanes): void {
  core.fpu.registers[register] = { sign: 1, exponent: 0x7fff, significand: from.u64[0] };
}
/** Every MMX instruction but EMMS makes all registers valid and TOP zero. */
export function enterMmx(core: Core): void {
  core.fpu.top = 0;
  core.fpu.empty = 0;
}
/** The Q operand: an MMX register or 8 bytes of memory. */
export function loadQ(core: Core, op: OpView, into: Lanes, size = 8): void {
  if (op.isRegister) loadMmx(core, op.rm, into);
  else readMemory(core, op, size, into);
}
