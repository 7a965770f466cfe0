// SPDX-License-Identifier: Apache-2.0
/**
 * How far two processors may be apart: the transcendental x87 functions in the last place (SDM volume 1, 8.3.10),
 * RCPPS and RSQRTPS in the relative error of 1.5 × 2^-12 (SDM volume 2). All else is compared bit by bit.
 *
 * @module
 */
import { APPROXIMATE } from "./simd_cases.ts";
import { BLOCK, RESULT, STATUS } from "./vector_layout.ts";
import { TRANSCENDENTAL } from "./x87_cases.ts";

/** Units in the last place of the 64-bit significand. */
const UNITS = 1n;
/** Each of two processors may be off by the bound. */
const RELATIVE = 2 * 1.5 * 2 ** -12;
const SMALLEST = 2 ** -126 * (1 + RELATIVE);
const C1 = 0x200;
/** PE and UE, and what tells that they are not masked. */
const INEXACT = 0x80b0;
/** ES of the status word: an exception is pending; and the condition codes. */
const SUMMARY = 0x80, CONDITIONS = 0x4500;
/** Comparisons: whether an unmasked exception lets them set the condition codes differs between processors. */
const COMPARES = /^(fu?comp?|fu?compp|ftst|fxam|fi?comp?[235]?)( |$)|^fcom/;
const RESULT_AT = (RESULT - BLOCK) / 4, STATUS_AT = (STATUS - BLOCK) / 4;
/** The status word and the registers in the image of FNSAVE. */
const IMAGE_STATUS = RESULT_AT + 1, REGISTERS = 4 * RESULT_AT + 28;

const approximate = new Set(APPROXIMATE.map(([name]) => name));

function bytesOf(words: Uint32Array): DataView {
  return new DataView(words.buffer, words.byteOffset, words.byteLength);
}

/** The significand and exponent of a register as one number that grows with the value. */
function magnitude(view: DataView, register: number): bigint {
  const at = REGISTERS + 10 * register;
  return (BigInt(view.getUint16(at + 8, true) & 0x7fff) << 63n) +
    (view.getBigUint64(at, true) & 0x7fff_ffff_ffff_ffffn);
}

/** Flags that a comparison sets in EFLAGS, unless an unmasked exception keeps it from that on some processors. */
export function setsFlagsInSpite(name: string, host: Uint32Array): boolean {
  return /^fu?comip?$/.test(name) && (host[STATUS_AT] & SUMMARY) !== 0;
}

/** True when the blocks are equal, or as near as the instruction's bound allows. */
export function closeEnough(name: string, host: Uint32Array, umbra: Uint32Array): boolean {
  const a = bytesOf(host), b = bytesOf(umbra);
  const transcendental = TRANSCENDENTAL.has(name), isApproximate = approximate.has(name);
  for (let i = 0; i < host.length; i++) {
    if (host[i] === umbra[i]) continue;
    if (COMPARES.test(name) && (i === STATUS_AT || i === IMAGE_STATUS) && host[i] & SUMMARY) {
      if (((host[i] ^ umbra[i]) & ~CONDITIONS) !== 0) return false;
      continue;
    }
    const inImage = 4 * i + 3 >= REGISTERS && 4 * i < REGISTERS + 80;
    if (transcendental && (i === STATUS_AT || i === IMAGE_STATUS)) {
      // C1 tells how an inexact result was rounded; some processors call every logarithm inexact.
      const also = name.startsWith("fyl2x") ? INEXACT : 0;
      if (((host[i] ^ umbra[i]) & ~(C1 | also)) !== 0) return false;
    } else if (transcendental && inImage) {
      continue;
    } else if (isApproximate && i >= RESULT_AT && i < RESULT_AT + 4) {
      const x = a.getFloat32(4 * i, true), y = b.getFloat32(4 * i, true);
      // At the lower end of the range some give zero, some the smallest number.
      if (Math.max(Math.abs(x), Math.abs(y)) <= SMALLEST && Object.is(Math.sign(x) * 0, Math.sign(y) * 0)) {
        continue;
      }
      if (!(Math.abs(x - y) <= RELATIVE * Math.abs(x))) return false;
    } else return false;
  }
  if (!transcendental) return true;
  for (let register = 0; register < 8; register++) {
    const at = REGISTERS + 10 * register + 8;
    if ((a.getUint16(at, true) ^ b.getUint16(at, true)) & 0x8000) return false;
    const distance = magnitude(a, register) - magnitude(b, register);
    if (distance > UNITS || distance < -UNITS) return false;
  }
  return true;
}
