// SPDX-License-Identifier: Apache-2.0
/** kernel32: the locale of the model, United States English. @module */
import type { ApiCall } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { encode, fill, lower, text } from "../shared/text.ts";
import { dateOf, readSystemTime } from "./time.ts";

const US_ENGLISH = 0x409;

const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");
const MONTHS = "January February March April May June July August September October November December".split(
  " ",
);

/** LCTYPE → value (winnls.h). */
const INFO = new Map<number, string>([
  [0x1, "0409"],
  [0x2, "English (United States)"],
  [0x3, "ENU"],
  [0x4, "English"],
  [0x5, "1"],
  [0x6, "United States"],
  [0x7, "USA"],
  [0x8, "United States"],
  [0x9, "0409"],
  [0xa, "1"],
  [0xb, "437"],
  [0xc, ","],
  [0xd, "1"],
  [0xe, "."],
  [0xf, ","],
  [0x10, "3;0"],
  [0x11, "2"],
  [0x12, "1"],
  [0x13, "0123456789"],
  [0x14, "$"],
  [0x15, "USD"],
  [0x16, "."],
  [0x17, ","],
  [0x18, "3;0"],
  [0x19, "2"],
  [0x1a, "2"],
  [0x1b, "0"],
  [0x1c, "0"],
  [0x1d, "/"],
  [0x1e, ":"],
  [0x1f, "M/d/yyyy"],
  [0x20, "dddd, MMMM dd, yyyy"],
  [0x21, "0"],
  [0x23, "0"],
  [0x25, "0"],
  [0x28, "AM"],
  [0x29, "PM"],
  [0x50, ""],
  [0x51, "-"],
  [0x59, "en"],
  [0x5a, "US"],
  [0x5c, "en-US"],
  [0x1001, "English"],
  [0x1002, "United States"],
  [0x1003, "h:mm:ss tt"],
  [0x1004, "1252"],
  [0x1009, "1"],
  [0x100c, "6"],
  [0x100d, "0"],
  [0x1010, "0"],
  // Day names start with Monday.
  ...DAYS.map((day, i) => [0x2a + ((i + 6) % 7), day] as [number, string]),
  ...DAYS.map((day, i) => [0x31 + ((i + 6) % 7), day.slice(0, 3)] as [number, string]),
  ...MONTHS.map((month, i) => [0x38 + i, month] as [number, string]),
  ...MONTHS.map((month, i) => [0x44 + i, month.slice(0, 3)] as [number, string]),
]);

const RETURN_NUMBER = 0x20000000;

function localeInfo(call: ApiCall, wide: boolean, type: number, buffer: number, capacity: number) {
  const value = INFO.get(type & 0xffff);
  if (value === undefined) return call.fail(Win32.invalidFlags);
  if (type & RETURN_NUMBER) {
    const size = wide ? 2 : 4;
    if (capacity === 0) return size;
    if (capacity < size) return call.fail(Win32.insufficientBuffer);
    call.memory.setU32(
      buffer,
      parseInt(value, (type & 0xffff) === 1 || (type & 0xffff) === 9 ? 16 : 10) || 0,
    );
    return size;
  }
  if (capacity === 0) return value.length + 1;
  if (fill(call, buffer, capacity, value, wide) > value.length) return call.fail(Win32.insufficientBuffer);
  return value.length + 1;
}

/** Formats a date or time picture (`dddd, MMMM dd, yyyy`, `h:mm:ss tt`). */
export function formatPicture(picture: string, time: ReturnType<typeof dateOf>): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const parts: Record<string, string> = {
    dddd: DAYS[time.weekday],
    ddd: DAYS[time.weekday].slice(0, 3),
    dd: two(time.day),
    d: `${time.day}`,
    MMMM: MONTHS[time.month - 1],
    MMM: MONTHS[time.month - 1].slice(0, 3),
    MM: two(time.month),
    M: `${time.month}`,
    yyyy: `${time.year}`,
    yy: two(time.year % 100),
    y: `${time.year % 100}`,
    HH: two(time.hour),
    H: `${time.hour}`,
    hh: two(time.hour % 12 || 12),
    h: `${time.hour % 12 || 12}`,
    mm: two(time.minute),
    m: `${time.minute}`,
    ss: two(time.second),
    s: `${time.second}`,
    tt: time.hour < 12 ? "AM" : "PM",
    t: time.hour < 12 ? "A" : "P",
  };
  return picture.replace(
    /'((?:[^']|'')*)'|d{1,4}|M{1,4}|y{1,4}|H{1,2}|h{1,2}|m{1,2}|s{1,2}|t{1,2}/g,
    (part, literal) => literal === undefined ? parts[part] ?? part : literal.replaceAll("''", "'"),
  );
}

function format(
  call: ApiCall,
  wide: boolean,
  standard: string,
  time: number,
  picture: number,
  buffer: number,
  capacity: number,
) {
  const when = time ? readSystemTime(call, time) : dateOf(call.clock.systemTime);
  if (when.month < 1 || when.month > 12 || when.weekday > 6) return call.fail(Win32.invalidParameter);
  const value = formatPicture(picture ? text(call, picture, wide, 256) : standard, when);
  if (capacity === 0) return value.length + 1;
  if (fill(call, buffer, capacity, value, wide) > value.length) return call.fail(Win32.insufficientBuffer);
  return value.length + 1;
}

function number(
  call: ApiCall,
  wide: boolean,
  prefix: string,
  value: number,
  buffer: number,
  capacity: number,
) {
  const given = text(call, value, wide, 64);
  const match = /^(-?)(\d*)(?:\.(\d*))?$/.exec(given);
  if (!match) return call.fail(Win32.invalidParameter);
  const whole = (match[2] || "0").replace(/\B(?=(\d{3})+$)/g, ",");
  const shown = `${match[1]}${prefix}${whole}.${(match[3] ?? "").padEnd(2, "0").slice(0, 2)}`;
  if (capacity === 0) return shown.length + 1;
  if (fill(call, buffer, capacity, shown, wide) > shown.length) return call.fail(Win32.insufficientBuffer);
  return shown.length + 1;
}

export const locale: Handlers = {
  ...constant(US_ENGLISH, "GetUserDefaultLCID GetSystemDefaultLCID GetThreadLocale GetUserDefaultLangID"),
  ...constant(US_ENGLISH, "GetSystemDefaultLangID GetUserDefaultUILanguage GetSystemDefaultUILanguage"),
  ...constant(US_ENGLISH, "GetThreadUILanguage SetThreadUILanguage"),
  ...constant(1, "SetThreadLocale IsValidLanguageGroup"),
  ConvertDefaultLocale: (_, locale) => (locale & 0xffff) < 0xc01 && locale !== 0 ? locale : US_ENGLISH,
  IsValidLocale: (_, locale) => locale === US_ENGLISH || locale === 0x407 || locale === 0x809 ? 1 : 0,
  GetUserGeoID: () => 244,
  ...both({
    GetLocaleInfo: (wide) => (call, _locale, type, buffer, capacity) =>
      localeInfo(call, wide, type, buffer, capacity),
    GetDateFormat: (wide) => (call, _locale, flags, time, picture, buffer, capacity) =>
      format(call, wide, INFO.get(flags & 2 ? 0x20 : 0x1f)!, time, picture, buffer, capacity),
    GetTimeFormat: (wide) => (call, _locale, flags, time, picture, buffer, capacity) =>
      format(call, wide, flags & 2 ? "h:mm tt" : "h:mm:ss tt", time, picture, buffer, capacity),
    GetNumberFormat: (wide) => (call, _locale, _flags, value, _format, buffer, capacity) =>
      number(call, wide, "", value, buffer, capacity),
    GetCurrencyFormat: (wide) => (call, _locale, _flags, value, _format, buffer, capacity) =>
      number(call, wide, "$", value, buffer, capacity),
    EnumSystemLocales: (wide) =>
      function* (call, callback) {
        const bytes = encode("00000409", wide, true);
        const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
        call.memory.setBytes(block, bytes);
        yield invoke(callback, [block]);
        return 1;
      },
    VerLanguageName: (wide) => (call, _language, buffer, capacity) =>
      fill(call, buffer, capacity, "English (United States)", wide),
  }),
  GetLocaleInfoEx: (call, _name, type, buffer, capacity) => localeInfo(call, true, type, buffer, capacity),
  GetDateFormatEx: (call, _name, flags, time, picture, buffer, capacity) =>
    format(call, true, INFO.get(flags & 2 ? 0x20 : 0x1f)!, time, picture, buffer, capacity),
  GetTimeFormatEx: (call, _name, _flags, time, picture, buffer, capacity) =>
    format(call, true, "h:mm:ss tt", time, picture, buffer, capacity),
  GetUserDefaultLocaleName: (call, buffer, capacity) => fill(call, buffer, capacity, "en-US", true) + 1,
  GetSystemDefaultLocaleName: (call, buffer, capacity) => fill(call, buffer, capacity, "en-US", true) + 1,
  LocaleNameToLCID: (call, name) => /^(en-us)?$/.test(lower(text(call, name, true, 85))) ? US_ENGLISH : 0,
  LCIDToLocaleName: (call, _locale, buffer, capacity) => fill(call, buffer, capacity, "en-US", true) + 1,
  IsValidLocaleName: (call, name) => lower(text(call, name, true, 85)) === "en-us" ? 1 : 0,
};
