// SPDX-License-Identifier: Apache-2.0
/** kernel32: clocks, times and dates. The model's time zone is UTC. @module */
import type { ApiCall, DllFunction } from "../../api.ts";
import { readU64, returns64, writeU64 } from "../code.ts";
import { constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { store } from "../shared/text.ts";

/** 100 ns between 1601 and 1970. */
export const UNIX_EPOCH = 116444736000000000n;

/** Parts of a moment, UTC. */
export interface DateParts {
  readonly year: number;
  readonly month: number;
  readonly weekday: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  readonly milliseconds: number;
}

/** FILETIME to its parts. */
export function dateOf(time: bigint): DateParts {
  const date = new Date(Number((time - UNIX_EPOCH) / 10000n));
  if (Number.isNaN(date.getTime())) {
    return { year: 0, month: 0, weekday: 0, day: 0, hour: 0, minute: 0, second: 0, milliseconds: 0 };
  }
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    weekday: date.getUTCDay(),
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    milliseconds: date.getUTCMilliseconds(),
  };
}

/** Parts to FILETIME; undefined when there is no such date. */
export function timeOf(parts: Omit<DateParts, "weekday">): bigint | undefined {
  const milliseconds = Date.UTC(
    parts.year,
    parts.month - 1,
    parts.day,
    parts.hour,
    parts.minute,
    parts.second,
    parts.milliseconds,
  );
  const date = new Date(milliseconds);
  const isReal = parts.year >= 1601 && date.getUTCMonth() === parts.month - 1 &&
    date.getUTCDate() === parts.day &&
    parts.hour < 24 && parts.minute < 60 && parts.second < 60 && parts.milliseconds < 1000;
  return isReal ? BigInt(milliseconds) * 10000n + UNIX_EPOCH : undefined;
}

/** Reads a SYSTEMTIME. */
export function readSystemTime(call: ApiCall, at: number): DateParts {
  const [year, month, weekday, day, hour, minute, second, milliseconds] = Array.from(
    { length: 8 },
    (_, i) => call.memory.u16(at + 2 * i),
  );
  return { year, month, weekday, day, hour, minute, second, milliseconds };
}

/** Writes a SYSTEMTIME. */
export function writeSystemTime(call: ApiCall, at: number, parts: DateParts): void {
  const { year, month, weekday, day, hour, minute, second, milliseconds } = parts;
  [year, month, weekday, day, hour, minute, second, milliseconds].forEach((value, i) =>
    call.memory.setU16(at + 2 * i, value)
  );
}

const now = (call: ApiCall, at: number) => writeSystemTime(call, at, dateOf(call.clock.systemTime));
const copyTime = (call: ApiCall, from: number, to: number) => {
  writeU64(call, to, readU64(call, from));
  return 1;
};

function convertSystemTime(call: ApiCall, from: number, to: number) {
  const time = timeOf(readSystemTime(call, from));
  if (time === undefined) return call.fail(Win32.invalidParameter);
  writeU64(call, to, time);
  return 1;
}

function zoneInformation(call: ApiCall, at: number) {
  call.memory.setBytes(at, new Uint8Array(172));
  store(call, at + 4, "UTC", true);
  store(call, at + 88, "UTC", true);
  return 0;
}

export const time: Handlers = {
  GetTickCount: (call) => call.clock.tickCount,
  QueryPerformanceCounter: (call, at) => {
    writeU64(call, at, call.clock.performanceCounter);
    return 1;
  },
  QueryPerformanceFrequency: (call, at) => {
    writeU64(call, at, call.clock.performanceFrequency);
    return 1;
  },
  QueryUnbiasedInterruptTime: (call, at) => {
    writeU64(call, at, BigInt(call.clock.tickCount) * 10000n);
    return 1;
  },
  GetSystemTimeAsFileTime: (call, at) => writeU64(call, at, call.clock.systemTime),
  GetSystemTime: now,
  GetLocalTime: now,
  ...constant(1, "SetSystemTime SetLocalTime SetSystemTimeAdjustment"),
  GetSystemTimeAdjustment: (call, adjustment, increment, disabled) => {
    call.memory.setU32(adjustment, 156250);
    call.memory.setU32(increment, 156250);
    call.memory.setU32(disabled, 1);
    return 1;
  },
  FileTimeToSystemTime: (call, from, to) => {
    const value = readU64(call, from);
    if (value >> 63n) return call.fail(Win32.invalidParameter);
    writeSystemTime(call, to, dateOf(value));
    return 1;
  },
  SystemTimeToFileTime: convertSystemTime,
  FileTimeToLocalFileTime: copyTime,
  LocalFileTimeToFileTime: copyTime,
  SystemTimeToTzSpecificLocalTime: (call, _zone, from, to) => {
    writeSystemTime(call, to, readSystemTime(call, from));
    return 1;
  },
  TzSpecificLocalTimeToSystemTime: (call, _zone, from, to) => {
    writeSystemTime(call, to, readSystemTime(call, from));
    return 1;
  },
  CompareFileTime: (call, a, b) => {
    const [x, y] = [readU64(call, a), readU64(call, b)];
    return x < y ? -1 : x > y ? 1 : 0;
  },
  FileTimeToDosDateTime: (call, from, date, dosTime) => {
    const parts = dateOf(readU64(call, from));
    if (parts.year < 1980 || parts.year > 2107) return call.fail(Win32.invalidParameter);
    call.memory.setU16(date, ((parts.year - 1980) << 9) | (parts.month << 5) | parts.day);
    call.memory.setU16(dosTime, (parts.hour << 11) | (parts.minute << 5) | (parts.second >> 1));
    return 1;
  },
  DosDateTimeToFileTime: (call, date, dosTime, to) => {
    const value = timeOf({
      year: 1980 + (date >>> 9 & 0x7f),
      month: date >>> 5 & 15,
      day: date & 31,
      hour: dosTime >>> 11 & 31,
      minute: dosTime >>> 5 & 63,
      second: (dosTime & 31) * 2,
      milliseconds: 0,
    });
    if (value === undefined) return call.fail(Win32.invalidParameter);
    writeU64(call, to, value);
    return 1;
  },
  GetTimeZoneInformation: zoneInformation,
  GetDynamicTimeZoneInformation: (call, at) => {
    call.memory.setBytes(at, new Uint8Array(432));
    store(call, at + 172, "UTC", true);
    return zoneInformation(call, at);
  },
  GetTimeZoneInformationForYear: (call, _year, _zone, at) => {
    zoneInformation(call, at);
    return 1;
  },
  GetSystemTimes: (call, idle, kernel, user) => {
    const up = BigInt(call.clock.tickCount) * 20000n;
    const parts: [number, bigint][] = [[idle, up * 9n / 10n], [kernel, up * 95n / 100n], [user, up / 20n]];
    for (const [at, value] of parts) if (at) writeU64(call, at, value);
    return 1;
  },
};

export const timeFunctions: readonly DllFunction[] = [
  returns64("GetTickCount64", "stdcall", 0, (call) => BigInt(call.clock.tickCount)),
];
