// SPDX-License-Identifier: Apache-2.0
/**
 * Where sequences of x87, MMX and SSE instructions have their operands and results, and how they are written.
 *
 * @module
 */
import { type Instruction, Layout } from "./cases.ts";

/** First address of the block that holds all of it. */
export const BLOCK = Layout.data + 0x100;
/** Two operands of 32 bytes. */
export const A = BLOCK, B = BLOCK + 0x20;
/** The x87 control word or MXCSR that the operation runs under. */
export const CONTROL = BLOCK + 0x40;
/** Where the x87 status word or MXCSR is stored after the operation, and 4 bytes on after the stores. */
export const STATUS = BLOCK + 0x50;
/** Where results are stored; the whole state of the x87 has room. */
export const RESULT = BLOCK + 0x60;
/** Where instructions that store do so: behind such a state. */
export const STORE = RESULT + 0x70;
/** Bytes of the block, without and with room for FXSAVE at {@link RESULT}. */
export const BLOCK_SIZE = 0xe0, FXSAVE_BLOCK_SIZE = 0x60 + 512;

/** Kinds of sequences; `fxsave` loads and stores the whole state. */
export type Kind = "x87" | "mmx" | "sse" | "fxsave";
/** What the sequences are compared with: Unicorn leaves out more than a processor. */
export type Oracle = "unicorn" | "host";

/** A sequence with the operands it needs. */
export interface Sequence extends Instruction {
  readonly kind: Kind;
  readonly oracle: Oracle;
}

/** Name and bytes of one instruction. */
export type Named = readonly [name: string, bytes: readonly number[]];

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

/** `opcode` with an absolute memory operand: ModRM mod 0, rm 5. */
export function at(opcode: readonly number[], digit: number, address: number): number[] {
  return [...opcode, digit << 3 | 5, ...word(address)];
}

/** MOV DWORD [address], value. */
export const storeWord = (address: number, value: number): number[] => [
  ...at([0xc7], 0, address),
  ...word(value),
];

/**
 * FNSAVE to {@link RESULT}, without the pointers to the last instruction and operand: processors differ in when
 * they keep them.
 */
export const saveState: readonly number[][] = [
  at([0xdd], 6, RESULT),
  ...[12, 16, 20, 24].map((offset) => storeWord(RESULT + offset, 0)),
];
