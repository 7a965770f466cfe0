// SPDX-License-Identifier: Apache-2.0
/**
 * The few machine instructions the model's own code is made of: stubs of DLL functions, ring-0 gates.
 *
 * @module
 */
import { words } from "./bytes.ts";

/** Joins pieces of code; numbers are single bytes. */
export function code(...pieces: readonly (number | Uint8Array)[]): Uint8Array {
  const size = pieces.reduce<number>((sum, piece) => sum + (typeof piece === "number" ? 1 : piece.length), 0);
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    if (typeof piece === "number") bytes[at++] = piece;
    else {
      bytes.set(piece, at);
      at += piece.length;
    }
  }
  return bytes;
}

/** Software interrupts of the model: system call as Windows 2000's, return from a callback. */
export const Interrupt = { systemCall: 0x2e, callbackReturn: 0x2b } as const;

/** `mov edi, edi; push ebp; mov ebp, esp; pop ebp`: how Windows functions begin. */
export const PROLOGUE = code(0x8b, 0xff, 0x55, 0x8b, 0xec, 0x5d);

/** `mov eax, number; int 2eh`. */
export function systemCall(number: number): Uint8Array {
  return code(0xb8, words([number]), 0xcd, Interrupt.systemCall);
}

/** Where KUSER_SHARED_DATA names the code of system calls. */
export const SYSTEM_CALL_POINTER = 0x7ffe_0300;

/** `mov eax, number; mov edx, 7ffe0300h; call [edx]`: how ntdll's system calls begin. */
export function fastSystemCall(number: number): Uint8Array {
  return code(0xb8, words([number]), 0xba, words([SYSTEM_CALL_POINTER]), 0xff, 0x12);
}

/** `ret` that removes argument words. */
export function ret(argumentWords: number): Uint8Array {
  const bytes = argumentWords * 4;
  return bytes === 0 ? code(0xc3) : code(0xc2, bytes & 0xff, bytes >>> 8);
}
