// SPDX-License-Identifier: Apache-2.0
/** time.h. The zone is UTC. @module */
import type { ApiCall, DllFunction, Handler } from "../../api.ts";
import { join64, readU64, returns64, returnsReal, writeU64 } from "../code.ts";
import { constant, type Handlers } from "../define.ts";
import { dateOf, timeOf, UNIX_EPOCH } from "../kernel32/time.ts";
import { store, text } from "../shared/text.ts";

const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");
const MONTHS = "January February March April May June July August September October November December".split(
  " ",
);

/** struct tm: second, minute, hour, day, month from 0, years since 1900, weekday, day of year, daylight saving. */
type Tm = readonly number[];

const now = (call: ApiCall): bigint => (call.clock.systemTime - UNIX_EPOCH) / 10000000n;

function toTm(seconds: bigint): Tm | undefined {
  if (seconds < 0n || seconds > 32535215999n) return undefined;
  const parts = dateOf(seconds * 10000000n + UNIX_EPOCH);
  const start = timeOf({
    year: parts.year,
    month: 1,
    day: 1,
    hour: 0,
    minute: 0,
    second: 0,
    milliseconds: 0,
  })!;
  const yearDay = Number((seconds * 10000000n + UNIX_EPOCH - start) / 864000000000n);
  return [
    parts.second,
    parts.minute,
    parts.hour,
    parts.day,
    parts.month - 1,
    parts.year - 1900,
    parts.weekday,
    yearDay,
    0,
  ];
}

const readTm = (call: ApiCall, at: number): Tm =>
  Array.from({ length: 9 }, (_, i) => call.memory.u32(at + 4 * i) | 0);
const writeTm = (call: ApiCall, at: number, tm: Tm) =>
  tm.forEach((value, i) => call.memory.setU32(at + 4 * i, value >>> 0));

/** The runtime's one struct tm and its one text of 26 characters. */
const area = (call: ApiCall) =>
  call.state("tm", () => ({ address: call.heaps.allocate(call.heaps.processHeap, 64, true) })).address;

const broken = (size: 32 | 64): Handler => (call, at) => {
  const tm = toTm(size === 32 ? BigInt(call.memory.u32(at) | 0) : readU64(call, at));
  if (!tm) return 0;
  writeTm(call, area(call), tm);
  return area(call);
};

const two = (value: number) => String(value).padStart(2, "0");
const standard = (tm: Tm) =>
  `${(DAYS[tm[6]] ?? "???").slice(0, 3)} ${(MONTHS[tm[4]] ?? "???").slice(0, 3)} ${two(tm[3])} ` +
  `${two(tm[2])}:${two(tm[1])}:${two(tm[0])} ${tm[5] + 1900}\n`;

const showTime = (size: 32 | 64): Handler => (call, at) => {
  const tm = toTm(size === 32 ? BigInt(call.memory.u32(at) | 0) : readU64(call, at));
  if (!tm) return 0;
  store(call, area(call) + 36, standard(tm), false);
  return area(call) + 36;
};

/** strftime's conversions in the C locale. */
export function formatTm(picture: string, tm: Tm): string {
  const [second, minute, hour, day, month, year, weekday, yearDay] = tm;
  const week = (first: number) => two(Math.floor((yearDay + 7 - ((weekday - first + 7) % 7)) / 7));
  const parts: Record<string, () => string> = {
    a: () => (DAYS[weekday] ?? "").slice(0, 3),
    A: () => DAYS[weekday] ?? "",
    b: () => (MONTHS[month] ?? "").slice(0, 3),
    B: () => MONTHS[month] ?? "",
    c: () => `${two(month + 1)}/${two(day)}/${two(year % 100)} ${two(hour)}:${two(minute)}:${two(second)}`,
    d: () => two(day),
    H: () => two(hour),
    I: () => two(hour % 12 || 12),
    j: () => String(yearDay + 1).padStart(3, "0"),
    m: () => two(month + 1),
    M: () => two(minute),
    p: () => hour < 12 ? "AM" : "PM",
    S: () => two(second),
    U: () => week(0),
    w: () => `${weekday}`,
    W: () => week(1),
    x: () => `${two(month + 1)}/${two(day)}/${two(year % 100)}`,
    X: () => `${two(hour)}:${two(minute)}:${two(second)}`,
    y: () => two(year % 100),
    Y: () => `${year + 1900}`,
    z: () => "UTC",
    Z: () => "UTC",
    "%": () => "%",
  };
  return picture.replace(/%#?(.)/gs, (whole, kind) => parts[kind]?.() ?? whole);
}

const formatTime = (wide: boolean): Handler => (call, buffer, capacity, picture, tm) => {
  const value = formatTm(text(call, picture, wide, 4096), readTm(call, tm));
  if (value.length >= capacity) return 0;
  store(call, buffer, value, wide);
  return value.length;
};

function fromTm(call: ApiCall, at: number): bigint {
  const [second, minute, hour, day, month, year] = readTm(call, at);
  const milliseconds = Date.UTC(year + 1900, month, day, hour, minute, second);
  if (Number.isNaN(milliseconds) || milliseconds < 0) return -1n;
  const seconds = BigInt(Math.floor(milliseconds / 1000));
  const tm = toTm(seconds);
  if (tm) writeTm(call, at, tm);
  return seconds;
}

const timeText = (part: (call: ApiCall) => string): Handler => (call, buffer) => {
  store(call, buffer, part(call), false);
  return buffer;
};

export const time: Handlers = {
  time: (call, at) => {
    const seconds = Number(now(call) & 0xffffffffn);
    if (at) call.memory.setU32(at, seconds);
    return seconds;
  },
  _time32: (call, at) => {
    const seconds = Number(now(call) & 0xffffffffn);
    if (at) call.memory.setU32(at, seconds);
    return seconds;
  },
  clock: (call) => call.clock.tickCount,
  gmtime: broken(32),
  localtime: broken(32),
  _gmtime32: broken(32),
  _localtime32: broken(32),
  _gmtime64: broken(64),
  _localtime64: broken(64),
  ...Object.fromEntries(
    (["_gmtime64_s", "_localtime64_s", "_gmtime32_s", "_localtime32_s"] as const).map((
      name,
    ): [string, Handler] => [
      name,
      (call, target, at) => {
        const tm = toTm(name.includes("64") ? readU64(call, at) : BigInt(call.memory.u32(at) | 0));
        if (!tm) return 22;
        writeTm(call, target, tm);
        return 0;
      },
    ]),
  ),
  mktime: (call, at) => Number(BigInt.asIntN(32, fromTm(call, at))),
  _mktime32: (call, at) => Number(BigInt.asIntN(32, fromTm(call, at))),
  asctime: (call, tm) => {
    store(call, area(call) + 36, standard(readTm(call, tm)), false);
    return area(call) + 36;
  },
  ctime: showTime(32),
  _ctime32: showTime(32),
  _ctime64: showTime(64),
  strftime: formatTime(false),
  wcsftime: formatTime(true),
  _strdate: timeText((call) => formatTm("%x", toTm(now(call))!)),
  _strtime: timeText((call) => formatTm("%X", toTm(now(call))!)),
  _ftime: (call, at) => {
    call.memory.setU32(at, Number(now(call) & 0xffffffffn));
    call.memory.setU16(at + 4, dateOf(call.clock.systemTime).milliseconds);
    call.memory.setU32(at + 6, 0);
  },
  _ftime64: (call, at) => {
    writeU64(call, at, now(call));
    call.memory.setU16(at + 8, dateOf(call.clock.systemTime).milliseconds);
    call.memory.setU32(at + 10, 0);
  },
  ...constant(0, "_tzset"),
};

export const timeFunctions: readonly DllFunction[] = [
  returns64("_time64", "cdecl", 1, (call, at) => {
    if (at) writeU64(call, at, now(call));
    return now(call);
  }),
  returns64("_mktime64", "cdecl", 1, fromTm),
  returns64("_mkgmtime64", "cdecl", 1, fromTm),
  returnsReal("difftime", 2, (_, a, b) => (a | 0) - (b | 0)),
  returnsReal("_difftime64", 4, (_, a, b, c, d) => Number(join64(a, b) - join64(c, d))),
];
