// SPDX-License-Identifier: Apache-2.0
/** Text in guest memory: code pages, C strings of any length, comparison. @module */
import type { ApiCall } from "../../api.ts";

/** Longest C string a function walks; longer ones are cut there. */
export const LONGEST = 0x100000;

const ANSI_HIGH =
  "\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019" +
  "\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178";
const ANSI_OF = new Map<number, number>([...ANSI_HIGH].map((char, i) => [char.charCodeAt(0), 0x80 + i]));

/** Windows-1252 bytes to text. */
export function fromAnsi(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    text += byte >= 0x80 && byte < 0xa0 ? ANSI_HIGH[byte - 0x80] : String.fromCharCode(byte);
  }
  return text;
}

/** Text to Windows-1252 bytes; what the code page lacks becomes `?`. */
export function toAnsi(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length }, (_, i) => {
    const unit = text.charCodeAt(i);
    if (unit < 0x80 || (unit >= 0xa0 && unit < 0x100)) return unit;
    return ANSI_OF.get(unit) ?? 0x3f;
  });
}

/** UTF-16LE bytes to text. */
export function fromWide(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i + 1 < bytes.length; i += 2) text += String.fromCharCode(bytes[i] | (bytes[i + 1] << 8));
  return text;
}

/** Text to UTF-16LE bytes. */
export function toWide(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    bytes[2 * i] = unit & 255;
    bytes[2 * i + 1] = unit >>> 8;
  }
  return bytes;
}

/** Bytes of text in one of the two encodings, with a zero at the end if asked. */
export function encode(text: string, wide: boolean, zero = false): Uint8Array {
  return wide ? toWide(zero ? text + "\0" : text) : toAnsi(zero ? text + "\0" : text);
}

/** Text of bytes in one of the two encodings. */
export function decode(bytes: Uint8Array, wide: boolean): string {
  return wide ? fromWide(bytes) : fromAnsi(bytes);
}

/** Characters before the zero of a C string, at most `max`. */
export function stringLength(call: ApiCall, address: number, wide: boolean, max = LONGEST): number {
  const step = wide ? 2 : 1;
  let length = 0;
  while (length < max) {
    // Page by page: a run that is readable is fetched at once, then searched.
    const at = (address + length * step) >>> 0;
    const room = Math.max(1, Math.min(max - length, Math.floor((0x1000 - (at & 0xfff)) / step)));
    const bytes = call.memory.bytes(at, room * step);
    for (let i = 0; i < room; i++) {
      if (bytes[i * step] === 0 && (!wide || bytes[i * step + 1] === 0)) return length + i;
    }
    length += room;
  }
  return length;
}

/** Bytes of a C string without its zero, at most `max` characters. */
export function stringBytes(call: ApiCall, address: number, wide: boolean, max = LONGEST): Uint8Array {
  return call.memory.bytes(address, stringLength(call, address, wide, max) * (wide ? 2 : 1));
}

/** A C string of guest memory; "" for a null pointer. */
export function text(call: ApiCall, address: number, wide: boolean, max = LONGEST): string {
  return address === 0 ? "" : decode(stringBytes(call, address, wide, max), wide);
}

/** Text given by pointer and length in characters; a negative length means zero-terminated. */
export function counted(call: ApiCall, address: number, length: number, wide: boolean): string {
  if ((length | 0) < 0) return text(call, address, wide);
  const size = Math.min(length, LONGEST) * (wide ? 2 : 1);
  return decode(call.memory.bytes(address, size), wide);
}

/** Writes text with its zero wherever it points; the caller's buffer is trusted as C does it. */
export function store(call: ApiCall, address: number, value: string, wide: boolean): void {
  call.memory.setBytes(address, encode(value, wide, true));
}

/**
 * The Win32 habit for buffers: text with its zero if it fits (characters written are returned), otherwise
 * nothing is written and the characters needed, zero included, are returned.
 */
export function fill(call: ApiCall, buffer: number, capacity: number, value: string, wide: boolean): number {
  if (buffer === 0 || value.length + 1 > capacity) return value.length + 1;
  store(call, buffer, value, wide);
  return value.length;
}

/** Text in the process heap, made once for a key: pointers that functions return and keep. */
export function lasting(call: ApiCall, key: string, value: string, wide: boolean): number {
  return call.state(`text:${key}:${wide}`, () => {
    const bytes = encode(value, wide, true);
    const address = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
    if (address) call.memory.setBytes(address, bytes);
    return { address };
  }).address;
}

/** Ordinal comparison of two texts: -1, 0 or 1. */
export function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Lower case as Windows does it character by character (length is kept). */
export function lower(value: string): string {
  return value.replace(/[A-Z\u00c0-\u{ffff}]/gu, (char) => {
    const changed = char.toLowerCase();
    return changed.length === char.length ? changed : char;
  });
}

/** Upper case character by character (length is kept). */
export function upper(value: string): string {
  return value.replace(/[a-z\u00e0-\u{ffff}]/gu, (char) => {
    const changed = char.toUpperCase();
    return changed.length === char.length ? changed : char;
  });
}
