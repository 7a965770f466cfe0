// SPDX-License-Identifier: Apache-2.0
/** kernel32: strings, code pages, character types, comparison. @module */
import type { ApiCall } from "../../api.ts";
import { both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import {
  counted,
  decode,
  encode,
  fromAnsi,
  lower,
  order,
  store,
  stringLength,
  text,
  toAnsi,
  upper,
} from "../shared/text.ts";

/** Longest text a conversion takes. */
const MAX_TEXT = 0x1000000;

const isGood = (call: ApiCall, address: number) => address !== 0 && call.memory.accessible(address, 1, false);

const UTF8 = 65001;
const KNOWN_PAGES = new Set([
  0,
  1,
  2,
  3,
  437,
  850,
  1250,
  1251,
  1252,
  1253,
  1254,
  20127,
  28591,
  65000,
  UTF8,
  1200,
]);

/** Text of bytes in a code page; single-byte pages are read as Windows-1252. */
function fromPage(page: number, bytes: Uint8Array, strict: boolean): string | undefined {
  if (page !== UTF8) return fromAnsi(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: strict, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

const toPage = (page: number, value: string) =>
  page === UTF8 ? new TextEncoder().encode(value) : toAnsi(value);

/** Bytes of an argument with length (-1: up to and with the zero). */
function sourceBytes(call: ApiCall, source: number, length: number, wide: boolean): Uint8Array | undefined {
  if (source === 0 || length === 0) return undefined;
  if (length === 0xffffffff || (length | 0) < 0) return encode(text(call, source, wide), wide, true);
  if (length > MAX_TEXT) return undefined;
  return call.memory.bytes(source, length * (wide ? 2 : 1));
}

function toWideChars(
  call: ApiCall,
  page: number,
  flags: number,
  source: number,
  length: number,
  target: number,
  capacity: number,
) {
  if (!KNOWN_PAGES.has(page)) return call.fail(Win32.invalidParameter);
  const all = length === 0xffffffff || (length | 0) < 0;
  if (source === 0 || length === 0 || (!all && length > MAX_TEXT)) return call.fail(Win32.invalidParameter);
  const bytes = all ? zeroTerminated(call, source) : call.memory.bytes(source, length);
  const value = fromPage(page, bytes, (flags & 8) !== 0);
  if (value === undefined) return call.fail(Win32.noUnicodeTranslation);
  if (capacity === 0) return value.length;
  if (value.length > capacity) return call.fail(Win32.insufficientBuffer);
  call.memory.setBytes(target, encode(value, true));
  return value.length;
}

/** The bytes of a narrow C string with its zero. */
function zeroTerminated(call: ApiCall, source: number): Uint8Array {
  return call.memory.bytes(source, stringLength(call, source, false) + 1);
}

function toMultiByte(
  call: ApiCall,
  page: number,
  _flags: number,
  source: number,
  length: number,
  target: number,
  capacity: number,
  _default: number,
  used: number,
) {
  if (!KNOWN_PAGES.has(page)) return call.fail(Win32.invalidParameter);
  const bytes = sourceBytes(call, source, length, true);
  if (!bytes) return call.fail(Win32.invalidParameter);
  const value = decode(bytes, true);
  const converted = toPage(page, value);
  if (used && page !== UTF8) call.memory.setU32(used, fromAnsi(converted) === value ? 0 : 1);
  if (capacity === 0) return converted.length;
  if (converted.length > capacity) return call.fail(Win32.insufficientBuffer);
  call.memory.setBytes(target, converted);
  return converted.length;
}

/** CT_CTYPE1 bits of a character. */
export function characterType(unit: number): number {
  const char = String.fromCharCode(unit);
  if (unit < 0x20 || unit === 0x7f) {
    return 0x20 | (unit >= 9 && unit <= 13 ? 8 : 0) | (unit === 9 ? 0x40 : 0);
  }
  if (unit === 0x20 || unit === 0xa0) return 0x48;
  let bits = 0;
  if (/\p{Lu}/u.test(char)) bits |= 0x101;
  else if (/\p{Ll}/u.test(char)) bits |= 0x102;
  else if (/\p{L}/u.test(char)) bits |= 0x100;
  else if (/[0-9]/.test(char)) bits |= 4;
  else if (unit >= 0x80 && unit < 0xa0) bits |= 0x20;
  else bits |= 0x10;
  if (/[0-9A-Fa-f]/.test(char)) bits |= 0x80;
  return bits;
}

function stringTypes(call: ApiCall, kind: number, value: string, target: number) {
  for (let i = 0; i < value.length; i++) {
    const unit = value.charCodeAt(i);
    const types = kind === 1
      ? characterType(unit)
      : kind === 2
      ? (characterType(unit) & 0x100 ? 1 : characterType(unit) & 4 ? 3 : 11)
      : kind === 4
      ? (characterType(unit) & 0x100 ? 0x8000 : 0)
      : undefined;
    if (types === undefined) return call.fail(Win32.invalidParameter);
    call.memory.setU16(target + 2 * i, types);
  }
  return 1;
}

const LCMAP_LOWER = 0x100;
const LCMAP_UPPER = 0x200;
const LCMAP_SORTKEY = 0x400;

function mapString(
  call: ApiCall,
  wide: boolean,
  flags: number,
  source: number,
  length: number,
  target: number,
  capacity: number,
) {
  if (source === 0 || length === 0) return call.fail(Win32.invalidParameter);
  const value = counted(call, source, length, wide) + ((length | 0) < 0 ? "\0" : "");
  if (flags & LCMAP_SORTKEY) {
    const key = toAnsi(flags & 1 ? lower(value) : value);
    if (capacity === 0) return key.length + 1;
    if (capacity < key.length + 1) return call.fail(Win32.insufficientBuffer);
    call.memory.setBytes(target, key);
    call.memory.setU8(target + key.length, 0);
    return key.length + 1;
  }
  const mapped = flags & LCMAP_UPPER ? upper(value) : flags & LCMAP_LOWER ? lower(value) : value;
  const bytes = encode(mapped, wide);
  if (capacity === 0) return mapped.length;
  if (mapped.length > capacity) return call.fail(Win32.insufficientBuffer);
  call.memory.setBytes(target, bytes);
  return mapped.length;
}

/** Word-sort order: letters without their case first, then the case. */
export function collate(a: string, b: string, ignoreCase: boolean): number {
  const folded = order(lower(a), lower(b));
  return folded !== 0 || ignoreCase ? folded : -order(a, b);
}

function compare(call: ApiCall, wide: boolean, flags: number, a: number, al: number, b: number, bl: number) {
  if (a === 0 || b === 0) return call.fail(Win32.invalidParameter);
  return collate(counted(call, a, al, wide), counted(call, b, bl, wide), (flags & 1) !== 0) + 2;
}

function copy(call: ApiCall, wide: boolean, target: number, source: number, max: number) {
  if (!isGood(call, target) || !isGood(call, source)) return 0;
  if (max > 0) store(call, target, text(call, source, wide, Math.max(0, max - 1)), wide);
  return target;
}

const pageInfo = (call: ApiCall, page: number, info: number) => {
  if (!KNOWN_PAGES.has(page)) return call.fail(Win32.invalidParameter);
  call.memory.setBytes(info, new Uint8Array(18));
  call.memory.setU32(info, page === UTF8 ? 4 : 1);
  call.memory.setU8(info + 4, 0x3f);
  return 1;
};

export const string: Handlers = {
  ...both({
    lstrlen: (wide) => (call, string) => isGood(call, string) ? text(call, string, wide).length : 0,
    lstrcpy: (wide) => (call, target, source) => copy(call, wide, target, source, 0x7fffffff),
    lstrcpyn: (wide) => (call, target, source, max) => copy(call, wide, target, source, max),
    lstrcat: (wide) => (call, target, source) => {
      if (!isGood(call, target) || !isGood(call, source)) return 0;
      store(call, target + text(call, target, wide).length * (wide ? 2 : 1), text(call, source, wide), wide);
      return target;
    },
    lstrcmp: (wide) => (call, a, b) => collate(text(call, a, wide), text(call, b, wide), false),
    lstrcmpi: (wide) => (call, a, b) => collate(text(call, a, wide), text(call, b, wide), true),
    CompareString: (wide) => (call, _locale, flags, a, al, b, bl) => compare(call, wide, flags, a, al, b, bl),
    LCMapString: (wide) => (call, _locale, flags, source, length, target, capacity) =>
      mapString(call, wide, flags, source, length, target, capacity),
    FoldString: (wide) => (call, _flags, source, length, target, capacity) =>
      mapString(call, wide, 0, source, length, target, capacity),
    GetStringTypeEx: (wide) => (call, _locale, kind, source, length, target) =>
      stringTypes(call, kind, counted(call, source, length, wide), target),
    GetCPInfoEx: (wide) => (call, page, _flags, info) => {
      if (!pageInfo(call, page, info)) return 0;
      call.memory.setU16(info + 18, 0x3f);
      call.memory.setU32(info + 20, page < 2 ? 1252 : page);
      store(call, info + 24, `${page < 2 ? 1252 : page}`, wide);
      return 1;
    },
  }),
  lstrcmp: (call, a, b) => collate(text(call, a, false), text(call, b, false), false),
  lstrcmpi: (call, a, b) => collate(text(call, a, false), text(call, b, false), true),
  lstrcpy: (call, target, source) => copy(call, false, target, source, 0x7fffffff),
  lstrcpyn: (call, target, source, max) => copy(call, false, target, source, max),
  lstrlen: (call, string) => isGood(call, string) ? text(call, string, false).length : 0,
  lstrcat: (call, target, source) => {
    if (!isGood(call, target) || !isGood(call, source)) return 0;
    store(call, target + text(call, target, false).length, text(call, source, false), false);
    return target;
  },
  CompareStringEx: (call, _locale, flags, a, al, b, bl) => compare(call, true, flags, a, al, b, bl),
  CompareStringOrdinal: (call, a, al, b, bl, ignoreCase) => {
    const fold = ignoreCase ? upper : (value: string) => value;
    return order(fold(counted(call, a, al, true)), fold(counted(call, b, bl, true))) + 2;
  },
  LCMapStringEx: (call, _locale, flags, source, length, target, capacity) =>
    mapString(call, true, flags, source, length, target, capacity),
  GetStringTypeA: (call, _locale, kind, source, length, target) =>
    stringTypes(call, kind, counted(call, source, length, false), target),
  GetStringTypeW: (call, kind, source, length, target) =>
    stringTypes(call, kind, counted(call, source, length, true), target),
  MultiByteToWideChar: toWideChars,
  WideCharToMultiByte: toMultiByte,
  GetCPInfo: pageInfo,
  GetACP: () => 1252,
  GetOEMCP: () => 437,
  IsValidCodePage: (_, page) => KNOWN_PAGES.has(page) && page > 3 ? 1 : 0,
  ...constant(0, "IsDBCSLeadByte IsDBCSLeadByteEx"),
};
