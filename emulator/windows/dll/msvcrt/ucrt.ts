// SPDX-License-Identifier: Apache-2.0
/** ucrtbase.dll: the universal C runtime, where it differs from msvcrt. @module */
import type { ApiCall, DllDefinition, DllFunction, Handler } from "../../api.ts";
import { join64, returns64, returnsReal } from "../code.ts";
import { constant, define, type Handlers, invoke } from "../define.ts";
import known from "../known/ucrtbase.json" with { type: "json" };
import { encode, store, text } from "../shared/text.ts";
import { realFunction } from "../code.ts";
import { Arguments, format } from "./printf.ts";
import { scan } from "./scanf.ts";
import { atExit, programArguments, startup, variableAddress } from "./startup.ts";
import { put, stdio } from "./stdio.ts";
import { FILE_SIZE, iob } from "./streams.ts";

/** `_CRT_INTERNAL_PRINTF_LEGACY_VSPRINTF_NULL_TERMINATION` and …STANDARD_SNPRINTF_BEHAVIOR. */
const LEGACY = 1;
const STANDARD = 2;

const NO_LIMIT = 0xffffffff;

const print =
  (wide: boolean): Handler => (call, options, _high, buffer, capacity, picture, _locale, list) => {
    const value = format(call, text(call, picture, wide), new Arguments(call, list), wide);
    if (buffer === 0 || capacity === 0) return value.length;
    if (value.length < capacity || capacity === NO_LIMIT) {
      store(call, buffer, value, wide);
      return value.length;
    }
    if (options & LEGACY) {
      call.memory.setBytes(buffer, encode(value.slice(0, capacity), wide));
      return value.length === capacity ? value.length : -1;
    }
    store(call, buffer, value.slice(0, capacity - 1), wide);
    return options & STANDARD ? value.length : -1;
  };

const printSecure =
  (wide: boolean): Handler => (call, _options, _high, buffer, capacity, picture, _locale, list) => {
    const value = format(call, text(call, picture, wide), new Arguments(call, list), wide);
    if (buffer === 0 || capacity === 0) return -1;
    store(call, buffer, value.length < capacity ? value : "", wide);
    return value.length < capacity ? value.length : -1;
  };

const printCounted =
  (wide: boolean): Handler => (call, _options, _high, buffer, capacity, count, picture, _locale, list) => {
    const value = format(call, text(call, picture, wide), new Arguments(call, list), wide);
    if (buffer === 0 || capacity === 0) return -1;
    const cut = value.slice(0, Math.min(count, capacity - 1));
    store(call, buffer, cut, wide);
    return cut.length === value.length ? value.length : -1;
  };

const printStream = (wide: boolean): Handler => (call, _options, _high, stream, picture, _locale, list) =>
  put(call, stream, format(call, text(call, picture, wide), new Arguments(call, list), wide));

const scanText =
  (wide: boolean): Handler => (call, _options, _high, source, length, picture, _locale, list) => {
    const input = text(call, source, wide, length === NO_LIMIT ? undefined : Math.min(length, 0x100000));
    return scan(call, input, text(call, picture, wide), new Arguments(call, list), wide);
  };

/** _onexit_table_t: first, last, end. */
function registerIn(call: ApiCall, table: number, target: number): number {
  const [first, last, end] = [0, 4, 8].map((offset) => call.memory.u32(table + offset));
  const heap = call.heaps.processHeap;
  if (last !== end) {
    call.memory.setU32(last, target);
    call.memory.setU32(table + 4, last + 4);
    return 0;
  }
  const used = Math.max(0, last - first);
  if (used > 0x40000) return -1;
  const grown = first
    ? call.heaps.reallocate(heap, first, used + 128, false)
    : call.heaps.allocate(heap, 128, true);
  if (grown === 0) return -1;
  call.memory.setU32(grown + used, target);
  [grown, grown + used + 4, grown + used + 128].forEach((value, i) =>
    call.memory.setU32(table + 4 * i, value)
  );
  return 0;
}

const handlers: Handlers = {
  __acrt_iob_func: (call, index) => iob(call) + FILE_SIZE * (index & 15),
  __stdio_common_vsprintf: print(false),
  __stdio_common_vswprintf: print(true),
  __stdio_common_vsprintf_s: printSecure(false),
  __stdio_common_vswprintf_s: printSecure(true),
  __stdio_common_vsnprintf_s: printCounted(false),
  __stdio_common_vsnwprintf_s: printCounted(true),
  __stdio_common_vfprintf: printStream(false),
  __stdio_common_vfwprintf: printStream(true),
  __stdio_common_vfprintf_s: printStream(false),
  __stdio_common_vfwprintf_s: printStream(true),
  __stdio_common_vsscanf: scanText(false),
  __stdio_common_vswscanf: scanText(true),

  ...constant(0, "_set_app_type _configure_narrow_argv _configure_wide_argv _set_new_mode _query_new_mode"),
  ...constant(0, "_initialize_narrow_environment _initialize_wide_environment _set_fmode _crt_at_quick_exit"),
  ...constant(0, "_register_thread_local_exe_atexit_callback __stdio_common_vfscanf _seh_filter_dll"),
  ...constant(0, "_get_invalid_parameter_handler _set_thread_local_invalid_parameter_handler _get_terminate"),
  _seh_filter_exe: () => 0,
  set_terminate: () => 0,
  _get_initial_narrow_environment: (call) => programArguments(call, false).environ,
  _get_initial_wide_environment: (call) => programArguments(call, true).environ,
  _get_narrow_winmain_command_line: (call) => winMainLine(call, variableAddress(call, "_acmdln"), false),
  _get_wide_winmain_command_line: (call) => winMainLine(call, variableAddress(call, "_wcmdln"), true),
  _crt_atexit: (call, target) => atExit(call, target) ? 0 : -1,
  _initialize_onexit_table: (call, table) => {
    call.memory.setBytes(table, new Uint8Array(12));
    return 0;
  },
  _register_onexit_function: registerIn,
  _execute_onexit_table: function* (call, table) {
    const [first, last] = [call.memory.u32(table), call.memory.u32(table + 4)];
    const count = Math.min(0x10000, Math.max(0, (last - first) >> 2));
    for (let i = count - 1; i >= 0; i--) {
      const target = call.memory.u32(first + 4 * i);
      if (target) yield invoke(target, [], true);
    }
    call.memory.setBytes(table, new Uint8Array(12));
    return 0;
  },
  terminate: startup["?terminate@@YAXXZ"],
  _invoke_watson: startup.abort,
  _invalid_parameter_noinfo_noreturn: startup.abort,
  _stat32: stdio._stat,
  _stat64i32: stdio._stati64,
  _stat64: stdio._stati64,
  _fstat32: stdio._fstat,
};

/** The program's name off the command line. */
function winMainLine(call: ApiCall, pointer: number, wide: boolean): number {
  const line = call.memory.u32(pointer);
  const value = text(call, line, wide, 32767);
  const name = /^("[^"]*"?|[^ \t]*)[ \t]*/.exec(value)![0];
  return line + name.length * (wide ? 2 : 1);
}

/** Halves go to the even neighbour. */
const roundEven = (x: number) => Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);
const roundAway = (x: number) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

const REAL: Record<string, ((x: number) => number) | ((x: number, y: number) => number)> = {
  round: roundAway,
  rint: roundEven,
  nearbyint: roundEven,
  trunc: (x: number) => Math.trunc(x),
  cbrt: (x: number) => Math.cbrt(x),
  log2: (x: number) => Math.log2(x),
  log1p: (x: number) => Math.log1p(x),
  exp2: (x: number) => 2 ** x,
  expm1: (x: number) => Math.expm1(x),
  asinh: (x: number) => Math.asinh(x),
  acosh: (x: number) => Math.acosh(x),
  atanh: (x: number) => Math.atanh(x),
  hypot: (x: number, y: number) => Math.hypot(x, y),
  fmin: (x: number, y: number) => Number.isNaN(x) ? y : Number.isNaN(y) ? x : Math.min(x, y),
  fmax: (x: number, y: number) => Number.isNaN(x) ? y : Number.isNaN(y) ? x : Math.max(x, y),
};

const bits = new DataView(new ArrayBuffer(4));
const single = (word: number) => (bits.setUint32(0, word), bits.getFloat32(0));
/** Functions of floats: arguments of four bytes, result in st(0). */
const SINGLE: Record<string, ((x: number) => number) | ((x: number, y: number) => number)> = {
  sinf: (x: number) => Math.sin(x),
  cosf: (x: number) => Math.cos(x),
  tanf: (x: number) => Math.tan(x),
  asinf: (x: number) => Math.asin(x),
  acosf: (x: number) => Math.acos(x),
  atanf: (x: number) => Math.atan(x),
  expf: (x: number) => Math.exp(x),
  logf: (x: number) => Math.log(x),
  log10f: (x: number) => Math.log10(x),
  sqrtf: (x: number) => Math.sqrt(x),
  floorf: (x: number) => Math.floor(x),
  ceilf: (x: number) => Math.ceil(x),
  roundf: roundAway,
  truncf: (x: number) => Math.trunc(x),
  powf: (x: number, y: number) => x === 1 || y === 0 ? 1 : x ** y,
  fmodf: (x: number, y: number) => x % y,
  atan2f: (x: number, y: number) => Math.atan2(x, y),
};

const functions: readonly DllFunction[] = [
  ...Object.entries(REAL).map(([name, compute]) => realFunction(name, compute)),
  ...Object.entries(SINGLE).map(([name, compute]) =>
    returnsReal(name, compute.length, (_, x, y = 0) => Math.fround(compute(single(x), single(y))))
  ),
  returns64("llabs", "cdecl", 2, (_, low, high) => {
    const value = BigInt.asIntN(64, join64(low, high));
    return value < 0n ? -value : value;
  }),
];

/** Where the universal runtime prefers to be. */
export const UCRT_BASE = 0x75700000;

/** The universal runtime from what it shares with msvcrt. */
export function universalRuntime(
  shared: Handlers,
  sharedFunctions: readonly DllFunction[],
  sharedWords: Readonly<Record<string, number | "cdecl">>,
): DllDefinition {
  const names = new Set(Object.values(known).join(" ").split(" "));
  const all = { ...shared, ...handlers };
  const own = Object.fromEntries(Object.entries(all).filter(([name]) => names.has(name)));
  return define({
    name: "ucrtbase.dll",
    base: UCRT_BASE,
    known,
    handlers: [own],
    words: Object.fromEntries(Object.keys(own).map((name) => [name, sharedWords[name] ?? "cdecl"])),
    functions: [...sharedFunctions, ...functions].filter((one) => names.has(one.name)),
  });
}
