// SPDX-License-Identifier: Apache-2.0
/** ntdll: counted strings and conversions. @module */
import type { ApiCall } from "../../api.ts";
import type { Handlers } from "../define.ts";
import { Status } from "../shared/errors.ts";
import { decode, encode, fromAnsi, lower, order, stringLength, text, toAnsi, upper } from "../shared/text.ts";

/** A UNICODE_STRING or ANSI_STRING of guest memory; "" for null. */
export function countedString(call: ApiCall, at: number, wide: boolean): string {
  if (at === 0) return "";
  const length = call.memory.u16(at);
  const buffer = call.memory.u32(at + 4);
  return buffer === 0 || length === 0 ? "" : decode(call.memory.bytes(buffer, length), wide);
}

function initialise(call: ApiCall, at: number, source: number, wide: boolean): number {
  const step = wide ? 2 : 1;
  const length = source === 0
    ? 0
    : Math.min(stringLength(call, source, wide, 0xffff), wide ? 0x7ffe : 0xfffe) * step;
  call.memory.setU16(at, length);
  call.memory.setU16(at + 2, source === 0 ? 0 : length + step);
  call.memory.setU32(at + 4, source);
  return 0;
}

/** Puts text into a counted string, in a new heap block if asked. */
function put(call: ApiCall, at: number, value: string, wide: boolean, allocate: boolean): number {
  const bytes = encode(value, wide, true);
  const step = wide ? 2 : 1;
  if (bytes.length > 0xffff) return Status.invalidParameter;
  if (allocate) {
    const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
    if (block === 0) return Status.noMemory;
    call.memory.setU16(at + 2, bytes.length);
    call.memory.setU32(at + 4, block);
  } else if (bytes.length - step > call.memory.u16(at + 2)) return Status.bufferOverflow;
  const room = call.memory.u16(at + 2);
  call.memory.setBytes(call.memory.u32(at + 4), bytes.slice(0, Math.min(bytes.length, room)));
  call.memory.setU16(at, bytes.length - step);
  return 0;
}

function release(call: ApiCall, at: number): void {
  const block = call.memory.u32(at + 4);
  if (block) call.heaps.free(call.heaps.processHeap, block);
  call.memory.setU32(at, 0);
  call.memory.setU32(at + 4, 0);
}

const compare = (call: ApiCall, a: number, b: number, ignoreCase: number, wide: boolean) => {
  const fold = ignoreCase ? upper : (value: string) => value;
  return order(fold(countedString(call, a, wide)), fold(countedString(call, b, wide)));
};

function copyString(call: ApiCall, at: number, source: number) {
  const length = source ? Math.min(call.memory.u16(source), call.memory.u16(at + 2)) : 0;
  if (length) {
    call.memory.setBytes(call.memory.u32(at + 4), call.memory.bytes(call.memory.u32(source + 4), length));
  }
  call.memory.setU16(at, length);
}

const appended = (call: ApiCall, at: number, value: string) => {
  const status = put(call, at, countedString(call, at, true) + value, true, false);
  return status ? Status.bufferTooSmall : 0;
};

function parse(value: string, base: number): number | undefined {
  const match = /^\s*([+-]?)(0[xX]|0[oO]|0[bB])?([0-9A-Za-z]*)/.exec(value);
  if (!match) return undefined;
  const radix = base || { x: 16, o: 8, b: 2 }[(match[2] ?? "").slice(1).toLowerCase()] || 10;
  if (![2, 8, 10, 16].includes(radix)) return undefined;
  const digits = base && match[2] && base !== 16 ? "0" : match[3];
  const number = parseInt(digits, radix);
  return Number.isNaN(number) ? 0 : (match[1] === "-" ? -number : number) >>> 0;
}

/** Name in an OBJECT_ATTRIBUTES. */
export function objectName(call: ApiCall, attributes: number): string {
  const name = attributes ? call.memory.u32(attributes + 8) : 0;
  if (name === 0) return "";
  const length = Math.min(call.memory.u16(name), 520) & ~1;
  return call.memory.text(call.memory.u32(name + 4), true, length / 2);
}

export const unicode: Handlers = {
  RtlInitUnicodeString: (call, at, source) => initialise(call, at, source, true),
  RtlInitUnicodeStringEx: (call, at, source) => initialise(call, at, source, true),
  RtlInitAnsiString: (call, at, source) => initialise(call, at, source, false),
  RtlInitAnsiStringEx: (call, at, source) => initialise(call, at, source, false),
  RtlInitString: (call, at, source) => initialise(call, at, source, false),
  RtlCreateUnicodeString: (call, at, source) => put(call, at, text(call, source, true), true, true) ? 0 : 1,
  RtlCreateUnicodeStringFromAsciiz: (call, at, source) =>
    put(call, at, text(call, source, false), true, true) ? 0 : 1,
  RtlFreeUnicodeString: release,
  RtlFreeAnsiString: release,
  RtlFreeOemString: release,
  RtlAnsiStringToUnicodeString: (call, to, from, allocate) =>
    put(call, to, countedString(call, from, false), true, (allocate & 255) !== 0),
  RtlOemStringToUnicodeString: (call, to, from, allocate) =>
    put(call, to, countedString(call, from, false), true, (allocate & 255) !== 0),
  RtlUnicodeStringToAnsiString: (call, to, from, allocate) =>
    put(call, to, countedString(call, from, true), false, (allocate & 255) !== 0),
  RtlUnicodeStringToOemString: (call, to, from, allocate) =>
    put(call, to, countedString(call, from, true), false, (allocate & 255) !== 0),
  RtlUpcaseUnicodeString: (call, to, from, allocate) =>
    put(call, to, upper(countedString(call, from, true)), true, (allocate & 255) !== 0),
  RtlDowncaseUnicodeString: (call, to, from, allocate) =>
    put(call, to, lower(countedString(call, from, true)), true, (allocate & 255) !== 0),
  RtlCompareUnicodeString: (call, a, b, ignoreCase) => compare(call, a, b, ignoreCase & 255, true),
  RtlCompareString: (call, a, b, ignoreCase) => compare(call, a, b, ignoreCase & 255, false),
  RtlEqualUnicodeString: (call, a, b, ignoreCase) =>
    compare(call, a, b, ignoreCase & 255, true) === 0 ? 1 : 0,
  RtlEqualString: (call, a, b, ignoreCase) => compare(call, a, b, ignoreCase & 255, false) === 0 ? 1 : 0,
  RtlPrefixUnicodeString: (call, a, b, ignoreCase) => {
    const fold = ignoreCase & 255 ? upper : (value: string) => value;
    return fold(countedString(call, b, true)).startsWith(fold(countedString(call, a, true))) ? 1 : 0;
  },
  RtlCopyUnicodeString: copyString,
  RtlCopyString: copyString,
  RtlAppendUnicodeToString: (call, at, source) => appended(call, at, text(call, source, true)),
  RtlAppendUnicodeStringToString: (call, at, source) => appended(call, at, countedString(call, source, true)),
  RtlDuplicateUnicodeString: (call, _flags, source, to) =>
    put(call, to, countedString(call, source, true), true, true),
  RtlUpcaseUnicodeChar: (_, unit) => upper(String.fromCharCode(unit & 0xffff)).charCodeAt(0),
  RtlDowncaseUnicodeChar: (_, unit) => lower(String.fromCharCode(unit & 0xffff)).charCodeAt(0),
  RtlUpperChar: (_, unit) => upper(String.fromCharCode(unit & 0xff)).charCodeAt(0) & 0xff,
  RtlMultiByteToUnicodeN: (call, to, capacity, written, from, length) => {
    const bytes = encode(fromAnsi(call.memory.bytes(from, Math.min(length, 0x100000))), true).slice(
      0,
      capacity & ~1,
    );
    call.memory.setBytes(to, bytes);
    if (written) call.memory.setU32(written, bytes.length);
    return 0;
  },
  RtlUnicodeToMultiByteN: (call, to, capacity, written, from, length) => {
    const bytes = toAnsi(decode(call.memory.bytes(from, Math.min(length, 0x100000)), true)).slice(
      0,
      capacity,
    );
    call.memory.setBytes(to, bytes);
    if (written) call.memory.setU32(written, bytes.length);
    return 0;
  },
  RtlMultiByteToUnicodeSize: (call, size, _from, length) => {
    call.memory.setU32(size, length * 2);
    return 0;
  },
  RtlUnicodeToMultiByteSize: (call, size, _from, length) => {
    call.memory.setU32(size, length >>> 1);
    return 0;
  },
  RtlUnicodeStringToInteger: (call, at, base, value) => {
    const number = parse(countedString(call, at, true), base);
    if (number === undefined) return Status.invalidParameter;
    call.memory.setU32(value, number);
    return 0;
  },
  RtlCharToInteger: (call, at, base, value) => {
    const number = parse(text(call, at, false, 64), base);
    if (number === undefined) return Status.invalidParameter;
    call.memory.setU32(value, number);
    return 0;
  },
  RtlIntegerToUnicodeString: (call, value, base, at) =>
    [0, 2, 8, 10, 16].includes(base)
      ? put(call, at, (value >>> 0).toString(base || 10).toUpperCase(), true, false)
      : Status.invalidParameter,
  RtlDosPathNameToNtPathName_U: (call, name, at, part, _directory) => {
    const path = call.files.absolute(text(call, name, true, 1024));
    if (put(call, at, `\\??\\${path}`, true, true)) return 0;
    if (part) call.memory.setU32(part, call.memory.u32(at + 4) + 2 * (5 + path.lastIndexOf("\\")) - 2);
    return 1;
  },
  RtlGetCurrentDirectory_U: (call, capacity, buffer) => {
    const bytes = encode(call.files.currentDirectory, true, true);
    if (bytes.length > capacity) return bytes.length;
    call.memory.setBytes(buffer, bytes);
    return bytes.length - 2;
  },
};
