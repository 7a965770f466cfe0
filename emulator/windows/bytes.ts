// SPDX-License-Identifier: Apache-2.0
/**
 * Little-endian words and text in byte arrays: what every structure of the guest is made of.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";

/** 16-bit word at `offset`; bytes past the end read as 0. */
export function get16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] ?? 0) | ((bytes[offset + 1] ?? 0) << 8);
}

/** Unsigned 32-bit word at `offset`; bytes past the end read as 0. */
export function get32(bytes: Uint8Array, offset: number): number {
  return (get16(bytes, offset) | (get16(bytes, offset + 2) << 16)) >>> 0;
}

/** Writes a 16-bit word. */
export function put16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

/** Writes a 32-bit word. */
export function put32(bytes: Uint8Array, offset: number, value: number): void {
  put16(bytes, offset, value);
  put16(bytes, offset + 2, value >>> 16);
}

/** Writes a 64-bit word. */
export function put64(bytes: Uint8Array, offset: number, value: bigint): void {
  put32(bytes, offset, Number(value & 0xffffffffn));
  put32(bytes, offset + 4, Number((value >> 32n) & 0xffffffffn));
}

/** The four bytes of a 32-bit word. */
export function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  put32(bytes, 0, value);
  return bytes;
}

/** The bytes of several 32-bit words. */
export function words(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  values.forEach((value, i) => put32(bytes, i * 4, value));
  return bytes;
}

/** Bytes of text, one a character (Latin-1; others become "?"), without a zero. */
export function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => {
    const code = c.codePointAt(0)!;
    return code < 256 ? code : 0x3f;
  });
}

/** UTF-16LE bytes of text, without a zero. */
export function utf16(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i++) put16(bytes, i * 2, text.charCodeAt(i));
  return bytes;
}

/** Zero-terminated Latin-1 text at `offset`, at most `max` characters. */
export function textAt(bytes: Uint8Array, offset: number, max: number): string {
  let text = "";
  for (let i = 0; i < max && offset + i < bytes.length && bytes[offset + i] !== 0; i++) {
    text += String.fromCharCode(bytes[offset + i]);
  }
  return text;
}

/** Rounds down to a multiple of a power of two. */
export function alignDown(value: number, to: number): number {
  return value - value % to;
}

/** Rounds up to a multiple of `to`. */
export function alignUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

/** How many whole pages hold `size` bytes. */
export function pagesOf(size: number): number {
  return Math.ceil(size / PAGE_SIZE);
}

/** Hexadecimal for messages: `0x…`. */
export function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}
