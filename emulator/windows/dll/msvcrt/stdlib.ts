// SPDX-License-Identifier: Apache-2.0
/** stdlib: memory, numbers, sorting, environment, paths, multibyte text, locale. @module */
import type { ApiCall, DllFunction, Handler, HandlerResult, Request } from "../../api.ts";
import { join64, readF64, returns64, returnsReal, writeF64 } from "../code.ts";
import { alias, constant, type Handlers, invoke } from "../define.ts";
import { setVariable, variable } from "../kernel32/environment.ts";
import { run } from "../kernel32/process.ts";
import { encode, fill, fromAnsi, lasting, store, text, toAnsi } from "../shared/text.ts";
import { Errno, failed, setErrno } from "./errno.ts";

const allocate = (call: ApiCall, size: number, zero: boolean) =>
  call.heaps.allocate(call.heaps.processHeap, Math.max(1, size), zero) || failed(call, Errno.noMemory, 0);

/** Leading integer of a text as strtol takes it: the value and how many characters it used. */
export function leadingInteger(value: string, base: number): { value: bigint; used: number } {
  const head = /^[ \t-\r]*([+-]?)/.exec(value)!;
  let at = head[0].length;
  let radix = base;
  const isHex = /^0[xX][0-9a-fA-F]/.test(value.slice(at, at + 3));
  if ((base === 0 || base === 16) && isHex) {
    at += 2;
    radix = 16;
  } else if (base === 0) radix = value[at] === "0" ? 8 : 10;
  let result = 0n;
  const start = at;
  for (; at < value.length; at++) {
    const digit = parseInt(value[at], 36);
    if (Number.isNaN(digit) || digit >= radix) break;
    // Beyond 64 bits only "too large" matters.
    if (result < 1n << 70n) result = result * BigInt(radix) + BigInt(digit);
  }
  if (at === start) return { value: 0n, used: 0 };
  return { value: head[1] === "-" ? -result : result, used: at };
}

const clamp = (value: bigint, low: bigint, high: bigint) => value < low ? low : value > high ? high : value;

function toLong(
  call: ApiCall,
  source: number,
  end: number,
  base: number,
  wide: boolean,
  bits: number,
  signed: boolean,
) {
  const found = leadingInteger(text(call, source, wide, 1024), base);
  if (end) call.memory.setU32(end, source + found.used * (wide ? 2 : 1));
  const size = BigInt(bits);
  if (signed) {
    const limited = clamp(found.value, -(1n << (size - 1n)), (1n << (size - 1n)) - 1n);
    if (limited !== found.value) setErrno(call, Errno.range);
    return limited;
  }
  const top = (1n << size) - 1n;
  if (found.value > top || found.value < -top) {
    setErrno(call, Errno.range);
    return top;
  }
  return BigInt.asUintN(bits, found.value);
}

/** Leading real number of a text and how many characters it used. */
export function leadingReal(value: string): { value: number; used: number } {
  const match = /^[ \t-\r]*([+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?)/.exec(value);
  if (!match) return { value: 0, used: 0 };
  return { value: Number(match[1].replace(/d/i, "e")), used: match[0].length };
}

const atoi = (wide: boolean): Handler => (call, source) =>
  Number(BigInt.asIntN(32, leadingInteger(text(call, source, wide, 1024), 10).value));

const toText = (wide: boolean, signed: boolean): Handler => (call, value, buffer, radix) => {
  const base = radix >= 2 && radix <= 36 ? radix : 10;
  store(call, buffer, (signed && base === 10 ? value | 0 : value).toString(base), wide);
  return buffer;
};
const toTextSecure = (wide: boolean, signed: boolean): Handler => (call, value, buffer, capacity, radix) => {
  const shown = (signed && radix === 10 ? value | 0 : value).toString(radix >= 2 && radix <= 36 ? radix : 10);
  if (shown.length >= capacity) return setErrno(call, Errno.range);
  store(call, buffer, shown, wide);
  return 0;
};

const longText = (wide: boolean, signed: boolean): Handler => (call, low, high, buffer, radix) => {
  const value = signed && radix === 10 ? BigInt.asIntN(64, join64(low, high)) : join64(low, high);
  store(call, buffer, value.toString(radix >= 2 && radix <= 36 ? radix : 10), wide);
  return buffer;
};

/** Most bytes qsort moves. */
const MAX_SORT = 0x1000000;

/** Sorts a copy by merging, with the program's comparison; stable, at most n log n calls. */
function* sort(
  call: ApiCall,
  base: number,
  count: number,
  width: number,
  compare: number,
): Generator<Request, HandlerResult, number> {
  if (count < 2 || width === 0 || count * width > MAX_SORT) return;
  const bytes = call.memory.bytes(base, count * width);
  const copy = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
  if (copy === 0) return;
  call.memory.setBytes(copy, bytes);
  let order = Array.from({ length: count }, (_, i) => i);
  for (let run = 1; run < count; run *= 2) {
    const merged: number[] = [];
    for (let start = 0; start < count; start += 2 * run) {
      const [middle, end] = [Math.min(start + run, count), Math.min(start + 2 * run, count)];
      let [i, j] = [start, middle];
      while (i < middle && j < end) {
        const went: number = yield invoke(compare, [copy + order[i] * width, copy + order[j] * width], true);
        merged.push((went | 0) <= 0 ? order[i++] : order[j++]);
      }
      while (i < middle) merged.push(order[i++]);
      while (j < end) merged.push(order[j++]);
    }
    order = merged;
  }
  const sorted = new Uint8Array(bytes.length);
  order.forEach((from, i) => sorted.set(bytes.subarray(from * width, (from + 1) * width), i * width));
  call.memory.setBytes(base, sorted);
  call.heaps.free(call.heaps.processHeap, copy);
}

function* search(
  call: ApiCall,
  key: number,
  base: number,
  count: number,
  width: number,
  compare: number,
): Generator<Request, HandlerResult, number> {
  void call;
  for (let low = 0, high = count; low < high;) {
    const middle = Math.floor((low + high) / 2);
    const at = base + middle * width;
    const went: number = yield invoke(compare, [key, at], true);
    if (went === 0) return at;
    if ((went | 0) < 0) high = middle;
    else low = middle + 1;
  }
  return 0;
}

function random(call: ApiCall): number {
  const state = call.state(`random:${call.tid}`, () => ({ seed: 1 }));
  state.seed = (Math.imul(state.seed, 214013) + 2531011) >>> 0;
  return (state.seed >>> 16) & 0x7fff;
}

const environmentText = (wide: boolean): Handler => (call, name) => {
  const key = text(call, name, wide, 1024);
  const value = variable(call, key);
  return value === undefined ? 0 : lasting(call, `getenv:${key}:${value}`, value, wide);
};

const putEnvironment = (wide: boolean): Handler => (call, entry) => {
  const value = text(call, entry, wide, 32767);
  const cut = value.indexOf("=");
  if (cut <= 0) return 0xffffffff;
  setVariable(call, value.slice(0, cut), value.slice(cut + 1) || undefined);
  return 0;
};

const splitPath = (wide: boolean): Handler => (call, path, drive, directory, name, extension) => {
  const match = /^([A-Za-z]:)?(.*[\\/])?([^\\/]*?)(\.[^.\\/]*)?$/s.exec(text(call, path, wide, 1024))!;
  [drive, directory, name, extension].forEach((at, i) => at && store(call, at, match[i + 1] ?? "", wide));
};

const makePath = (wide: boolean): Handler => (call, path, drive, directory, name, extension) => {
  const t = (at: number) => text(call, at, wide, 1024);
  const folder = t(directory);
  const suffix = t(extension);
  store(
    call,
    path,
    (t(drive) ? t(drive)[0] + ":" : "") + (folder && !/[\\/]$/.test(folder) ? folder + "\\" : folder) +
      t(name) +
      (suffix && !suffix.startsWith(".") ? "." + suffix : suffix),
    wide,
  );
};

const fullPathName = (wide: boolean): Handler => (call, buffer, path, capacity) => {
  const full = call.files.absolute(text(call, path, wide, 1024));
  if (buffer) return fill(call, buffer, capacity, full, wide) === full.length ? buffer : 0;
  const bytes = encode(full, wide, true);
  const block = allocate(call, bytes.length, false);
  if (block) call.memory.setBytes(block, bytes);
  return block;
};

const system = (wide: boolean): Handler => (call, command) => {
  if (command === 0) return 1;
  const line = text(call, command, wide, 8192);
  const made = run(call, line);
  if (!made) return 1;
  call.handles.close(made.process);
  call.handles.close(made.thread);
  return 0;
};

/** mbstowcs and wcstombs: code page 1252. */
function convert(call: ApiCall, target: number, source: number, count: number, toWideText: boolean) {
  const value = text(call, source, !toWideText, Math.min(count || 0x100000, 0x100000));
  if (target === 0) return text(call, source, !toWideText).length;
  const bytes = encode(value, toWideText, value.length < count).slice(0, count * (toWideText ? 2 : 1));
  call.memory.setBytes(target, bytes);
  return value.length;
}

/** struct lconv of the C locale: ten pointers to text, eight bytes that say "not available". */
function localeConventions(call: ApiCall): number {
  return call.state("lconv", () => {
    const [dot, none] = [lasting(call, "dot", ".", false), lasting(call, "empty", "", false)];
    const address = call.heaps.allocate(call.heaps.processHeap, 48, true);
    for (let i = 0; i < 10; i++) call.memory.setU32(address + 4 * i, i === 0 ? dot : none);
    call.memory.setBytes(address + 40, new Uint8Array(8).fill(127));
    return { address };
  }).address;
}

const secureConvert = (toWideText: boolean): Handler => (call, done, target, capacity, source, count) => {
  const value = text(call, source, !toWideText);
  const cut = count === 0xffffffff ? value.slice(0, Math.max(0, capacity - 1)) : value.slice(0, count);
  if (target && cut.length >= capacity) return setErrno(call, Errno.range);
  if (target) store(call, target, cut, toWideText);
  if (done) call.memory.setU32(done, cut.length + 1);
  return 0;
};

const rotateLeft = (value: number, count: number) =>
  (count & 31) === 0 ? value : (value << (count & 31)) | (value >>> (32 - (count & 31)));

export const stdlib: Handlers = {
  malloc: (call, size) => allocate(call, size, false),
  calloc: (call, count, size) =>
    count * size > 0x7fffffff ? failed(call, Errno.noMemory, 0) : allocate(call, count * size, true),
  realloc: (call, block, size) => {
    if (block === 0) return allocate(call, size, false);
    if (size === 0) return void call.heaps.free(call.heaps.processHeap, block);
    return call.heaps.reallocate(call.heaps.processHeap, block, size, false) ||
      failed(call, Errno.noMemory, 0);
  },
  free: (call, block) => {
    if (block) call.heaps.free(call.heaps.processHeap, block);
  },
  _msize: (call, block) => call.heaps.size(call.heaps.processHeap, block) ?? 0xffffffff,
  _expand: (call, block, size) => (call.heaps.size(call.heaps.processHeap, block) ?? 0) >= size ? block : 0,
  ...alias(["??2@YAPAXI@Z", "??_U@YAPAXI@Z"], (call, size) => allocate(call, size, false)),
  ...alias(["??3@YAXPAX@Z", "??_V@YAXPAX@Z"], (call, block) => {
    if (block) call.heaps.free(call.heaps.processHeap, block);
  }),
  _aligned_malloc: (call, size, alignment) => {
    const step = Math.max(4, Math.min(alignment, 0x10000));
    const block = allocate(call, size + step + 4, false);
    if (block === 0) return 0;
    const at = (block + 4 + step - 1) & -step;
    call.memory.setU32(at - 4, block);
    return at;
  },
  _aligned_free: (call, at) => {
    if (at) call.heaps.free(call.heaps.processHeap, call.memory.u32(at - 4));
  },

  ...alias(["atoi", "atol"], atoi(false)),
  ...alias(["_wtoi", "_wtol"], atoi(true)),
  strtol: (call, source, end, base) => Number(toLong(call, source, end, base, false, 32, true)),
  strtoul: (call, source, end, base) => Number(toLong(call, source, end, base, false, 32, false)),
  wcstol: (call, source, end, base) => Number(toLong(call, source, end, base, true, 32, true)),
  wcstoul: (call, source, end, base) => Number(toLong(call, source, end, base, true, 32, false)),
  ...alias(["_itoa", "_ltoa"], toText(false, true)),
  ...alias(["_itow", "_ltow"], toText(true, true)),
  _ultoa: toText(false, false),
  _ultow: toText(true, false),
  ...alias(["_itoa_s", "_ltoa_s"], toTextSecure(false, true)),
  ...alias(["_itow_s", "_ltow_s"], toTextSecure(true, true)),
  _ultoa_s: toTextSecure(false, false),
  _ultow_s: toTextSecure(true, false),
  _i64toa: longText(false, true),
  _ui64toa: longText(false, false),
  _i64tow: longText(true, true),
  _ui64tow: longText(true, false),
  _gcvt: (call, low, high, digits, buffer) => {
    const value = doubleOf(low, high);
    store(call, buffer, String(Number(value.toPrecision(Math.max(1, Math.min(digits, 17))))), false);
    return buffer;
  },
  ...alias(["abs", "labs"], (_, value) => Math.abs(value | 0)),
  ...alias(["_rotl", "_lrotl"], (_, value, count) => rotateLeft(value, count)),
  ...alias(["_rotr", "_lrotr"], (_, value, count) => rotateLeft(value, 32 - (count & 31))),
  _swab: (call, from, to, length) => {
    const bytes = call.memory.bytes(from, Math.max(0, Math.min(length | 0, 0x1000000) & ~1)).slice();
    for (let i = 0; i < bytes.length; i += 2) [bytes[i], bytes[i + 1]] = [bytes[i + 1], bytes[i]];
    call.memory.setBytes(to, bytes);
  },
  rand: random,
  srand: (call, seed) => {
    call.state(`random:${call.tid}`, () => ({ seed: 1 })).seed = seed;
  },
  rand_s: (call, at) => {
    call.memory.setU32(at, ((random(call) << 17) ^ (random(call) << 8) ^ random(call)) >>> 0);
    return 0;
  },
  qsort: sort,
  bsearch: search,

  getenv: environmentText(false),
  _wgetenv: environmentText(true),
  _putenv: putEnvironment(false),
  _wputenv: putEnvironment(true),
  getenv_s: (call, needed, buffer, capacity, name) => {
    const value = variable(call, text(call, name, false, 1024));
    call.memory.setU32(needed, value === undefined ? 0 : value.length + 1);
    if (value === undefined || capacity === 0) return 0;
    return fill(call, buffer, capacity, value, false) === value.length ? 0 : Errno.range;
  },
  system: system(false),
  _wsystem: system(true),
  _splitpath: splitPath(false),
  _wsplitpath: splitPath(true),
  _makepath: makePath(false),
  _wmakepath: makePath(true),
  _fullpath: fullPathName(false),
  _wfullpath: fullPathName(true),

  mbstowcs: (call, target, source, count) => convert(call, target, source, count, true),
  wcstombs: (call, target, source, count) => convert(call, target, source, count, false),
  mbstowcs_s: secureConvert(true),
  wcstombs_s: secureConvert(false),
  mbtowc: (call, target, source, count) => {
    if (source === 0 || count === 0) return 0;
    const byte = call.memory.u8(source);
    if (target) call.memory.setU16(target, fromAnsi(Uint8Array.of(byte)).charCodeAt(0));
    return byte === 0 ? 0 : 1;
  },
  wctomb: (call, target, unit) => {
    if (target === 0) return 0;
    call.memory.setU8(target, toAnsi(String.fromCharCode(unit & 0xffff))[0]);
    return 1;
  },
  mblen: (call, source, count) => source === 0 || count === 0 || call.memory.u8(source) === 0 ? 0 : 1,
  btowc: (_, byte) => byte > 255 ? 0xffff : fromAnsi(Uint8Array.of(byte)).charCodeAt(0),
  wctob: (_, unit) => unit < 0x80 ? unit : 0xffffffff,
  mbrtowc: (call, target, source, count) => {
    if (source === 0 || count === 0) return 0;
    const byte = call.memory.u8(source);
    if (target) call.memory.setU16(target, byte);
    return byte === 0 ? 0 : 1;
  },
  wcrtomb: (call, target, unit) => {
    if (target) call.memory.setU8(target, unit & 255);
    return 1;
  },

  setlocale: (call, _category, name) => {
    const wanted = text(call, name, false, 64);
    return name === 0 || wanted === "" || wanted === "C" ? lasting(call, "C", "C", false) : 0;
  },
  _wsetlocale: (call) => lasting(call, "C", "C", true),
  localeconv: localeConventions,
  ...constant(1, "___mb_cur_max_func __mb_cur_max_func"),
  ___lc_codepage_func: () => 0,
  ___lc_handle_func: (call) => lasting(call, "lc-handle", "\0".repeat(24), false),
  ___lc_collate_cp_func: () => 0,
  _getmbcp: () => 0,
  _set_new_handler: () => 0,
  "?_set_new_handler@@YAP6AHI@ZP6AHI@Z@Z": () => 0,
  "?_query_new_mode@@YAHXZ": () => 0,
  "?set_new_handler@@YAP6AXXZP6AXXZ@Z": () => 0,
  _callnewh: () => 0,
  _encode_pointer: (_, pointer) => pointer,
  _decode_pointer: (_, pointer) => pointer,
  _encoded_null: () => 0,
  _crt_debugger_hook: () => 0,
};

const view = new DataView(new ArrayBuffer(8));
function doubleOf(low: number, high: number): number {
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return view.getFloat64(0, true);
}

const real = (wide: boolean) => (call: ApiCall, source: number, end: number) => {
  const found = leadingReal(text(call, source, wide, 1024));
  if (end) call.memory.setU32(end, source + found.used * (wide ? 2 : 1));
  return found.value;
};
const quotient = (a: number, b: number): bigint => {
  const [x, y] = [a | 0, b | 0];
  const result = y === 0 ? 0 : Math.trunc(x / y);
  return join64(result, x - result * y);
};

/** stdlib functions with results in EDX:EAX or on the x87 stack. */
export const stdlibFunctions: readonly DllFunction[] = [
  returns64("_atoi64", "cdecl", 1, (call, at) => toLong(call, at, 0, 10, false, 64, true)),
  returns64("_wtoi64", "cdecl", 1, (call, at) => toLong(call, at, 0, 10, true, 64, true)),
  returns64("_strtoi64", "cdecl", 3, (call, at, end, base) => toLong(call, at, end, base, false, 64, true)),
  returns64("_strtoui64", "cdecl", 3, (call, at, end, base) => toLong(call, at, end, base, false, 64, false)),
  returns64("_wcstoi64", "cdecl", 3, (call, at, end, base) => toLong(call, at, end, base, true, 64, true)),
  returns64("_wcstoui64", "cdecl", 3, (call, at, end, base) => toLong(call, at, end, base, true, 64, false)),
  returns64("_abs64", "cdecl", 2, (_, low, high) => {
    const value = BigInt.asIntN(64, join64(low, high));
    return value < 0n ? -value : value;
  }),
  returns64("div", "cdecl", 2, (_, a, b) => quotient(a, b)),
  returns64("ldiv", "cdecl", 2, (_, a, b) => quotient(a, b)),
  returnsReal("atof", 1, (call, at) => real(false)(call, at, 0)),
  returnsReal("_wtof", 1, (call, at) => real(true)(call, at, 0)),
  returnsReal("strtod", 2, real(false)),
  returnsReal("wcstod", 2, real(true)),
  returnsReal("modf", 3, (call, _low, _high, whole) => {
    const value = readF64(call, call.stack + 4);
    const integral = Math.trunc(value);
    writeF64(call, whole, integral);
    return Number.isFinite(value) ? value - integral : 0;
  }),
  returnsReal("frexp", 3, (call, low, high, exponent) => {
    let value = doubleOf(low, high);
    let power = 0;
    if (value !== 0 && Number.isFinite(value)) {
      while (Math.abs(value) >= 1) value /= 2, power++;
      while (Math.abs(value) < 0.5) value *= 2, power--;
    }
    call.memory.setU32(exponent, power >>> 0);
    return value;
  }),
  returnsReal("ldexp", 3, (_, low, high, power) => {
    let value = doubleOf(low, high);
    let left = Math.max(-5000, Math.min(power | 0, 5000));
    while (left > 0 && Number.isFinite(value)) value *= 2 ** Math.min(left, 1000), left -= 1000;
    while (left < 0 && value !== 0) value *= 2 ** Math.max(left, -1000), left += 1000;
    return value;
  }),
];
