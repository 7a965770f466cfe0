// SPDX-License-Identifier: Apache-2.0
/**
 * What kind of instruction it was that faulted, where the exception depends on it.
 *
 * Source: Intel SDM volume 2, appendix A (opcode maps), section 2.1.5 (ModR/M).
 *
 * @module
 */
import { get16, get32 } from "./bytes.ts";
import type { Thread } from "./process.ts";
import { GuestFault } from "./user_memory.ts";

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

/** The faulting instruction behind its prefixes; undefined when it cannot be read. */
function instructionOf(thread: Thread): { prefixes: ReadonlySet<number>; bytes: Uint8Array } | undefined {
  let bytes: Uint8Array;
  try {
    bytes = codeAt(thread, thread.context.eip);
  } catch (error) {
    if (error instanceof GuestFault) return undefined;
    throw error;
  }
  let at = 0;
  while (at < bytes.length && PREFIXES.has(bytes[at])) at++;
  return { prefixes: new Set(bytes.subarray(0, at)), bytes: bytes.subarray(at) };
}

/** Whether the instruction that raised #GP is one only the kernel may execute. */
export function isPrivileged(thread: Thread): boolean {
  const { bytes } = instructionOf(thread) ?? {};
  if (!bytes || bytes.length === 0) return false;
  if (bytes[0] !== 0x0f) return PRIVILEGED.has(bytes[0]);
  const second = bytes[1];
  const reg = ((bytes[2] ?? 0) >>> 3) & 7;
  if (second === 0x00) return reg === 2 || reg === 3;
  if (second === 0x01) return reg === 2 || reg === 3 || reg === 6 || reg === 7;
  return PRIVILEGED_0F.has(second);
}

/** Whether the instruction that raised #DE divided by zero; else its quotient was too large. */
export function dividesByZero(thread: Thread): boolean {
  const { bytes, prefixes } = instructionOf(thread) ?? {};
  if (!bytes || !prefixes || bytes.length < 2) return true;
  if (bytes[0] === AAM) return bytes[1] === 0;
  const size = bytes[0] & 1 ? (prefixes.has(OPERAND_SIZE) ? 2 : 4) : 1;
  const { registers } = thread.context;
  const [mode, rm] = [bytes[1] >>> 6, bytes[1] & 7];
  if (mode === 3) {
    // Byte registers 4 to 7 are AH, CH, DH, BH.
    const value = size === 1 && rm > 3 ? registers[rm & 3] >>> 8 : registers[rm];
    return (value & (size === 4 ? -1 : size === 2 ? 0xffff : 0xff)) === 0;
  }
  // A 16-bit address in a 32-bit program: nobody divides by that.
  if (prefixes.has(ADDRESS_SIZE)) return true;
  const segment = prefixes.has(FS) ? thread.teb : 0;
  const address = (effectiveAddress(registers, bytes) + segment) >>> 0;
  try {
    return thread.process.user!.memory.bytes(address, size).every((byte) => byte === 0);
  } catch (error) {
    if (error instanceof GuestFault) return true;
    throw error;
  }
}

const AAM = 0xd4;
const OPERAND_SIZE = 0x66;
const ADDRESS_SIZE = 0x67;
const FS = 0x64;

/** The 32-bit address a ModR/M byte (at 1) and what follows it say. */
function effectiveAddress(registers: Uint32Array, bytes: Uint8Array): number {
  const whole = new Uint8Array(16);
  whole.set(bytes.subarray(0, 16));
  const [mode, rm] = [whole[1] >>> 6, whole[1] & 7];
  let at = 2;
  let base: number;
  if (rm === 4) {
    const sib = whole[at++];
    const index = (sib >>> 3) & 7;
    const isBare = (sib & 7) === 5 && mode === 0;
    base = isBare ? get32(whole, at) : registers[sib & 7];
    if (index !== 4) base += registers[index] << (sib >>> 6);
    if (isBare) return base;
  } else if (rm === 5 && mode === 0) return get32(whole, at);
  else base = registers[rm];
  if (mode === 1) return base + (get16(whole, at) << 24 >> 24);
  return mode === 2 ? base + get32(whole, at) : base;
}
