// SPDX-License-Identifier: Apache-2.0
/** C strings and characters, narrow and wide. @module */
import type { ApiCall, Handler } from "../../api.ts";
import type { Handlers } from "../define.ts";
import { characterType } from "../kernel32/string.ts";
import { encode, lasting, lower, order, store, stringLength, text, upper } from "../shared/text.ts";
import { setErrno } from "./errno.ts";

const same = (value: string) => value;

/** The str… and wcs… functions, from one body. */
function family(wide: boolean): Handlers {
  const prefix = wide ? "wcs" : "str";
  const step = wide ? 2 : 1;
  const t = (call: ApiCall, at: number, max?: number) => text(call, at, wide, max);
  const pointer = (base: number, index: number) => index < 0 ? 0 : base + index * step;
  const char = (unit: number) => String.fromCharCode(unit & (wide ? 0xffff : 0xff));
  const raw = (call: ApiCall, at: number, max?: number) => {
    // Characters as code units, so that searching for a byte finds that byte.
    if (wide) return t(call, at, max);
    let value = "";
    for (const byte of call.memory.bytes(at, stringLength(call, at, false, max))) {
      value += String.fromCharCode(byte);
    }
    return value;
  };
  const compare = (fold: (value: string) => string, limited: boolean): Handler => (call, a, b, max) => {
    const limit = limited ? Math.min(max, 0x100000) : undefined;
    return order(fold(raw(call, a, limit)), fold(raw(call, b, limit)));
  };
  const span = (isIn: boolean): Handler => (call, a, b) => {
    const set = raw(call, b);
    const value = raw(call, a);
    let i = 0;
    while (i < value.length && set.includes(value[i]) === isIn) i++;
    return i;
  };
  const change = (fold: (value: string) => string): Handler => (call, at) => {
    store(call, at, fold(t(call, at)), wide);
    return at;
  };
  const copySecure =
    (append: boolean, limited: boolean): Handler => (call, target, capacity, source, max) => {
      if (target === 0 || capacity === 0) return 22;
      if (source === 0) {
        store(call, target, "", wide);
        return 22;
      }
      const count = limited && max !== 0xffffffff ? Math.min(max, 0x100000) : undefined;
      const added = t(call, source, count);
      const value = (append ? t(call, target, capacity) : "") + added;
      if (value.length >= capacity) {
        const isCut = limited && max === 0xffffffff;
        store(call, target, isCut ? value.slice(0, capacity - 1) : "", wide);
        return isCut ? 80 : 34;
      }
      store(call, target, value, wide);
      return 0;
    };
  const token = (
    call: ApiCall,
    string: number,
    set: string,
    get: () => number,
    keep: (at: number) => void,
  ) => {
    let at = string || get();
    if (at === 0) return 0;
    const value = raw(call, at);
    let start = 0;
    while (start < value.length && set.includes(value[start])) start++;
    if (start === value.length) {
      keep(0);
      return 0;
    }
    let end = start;
    while (end < value.length && !set.includes(value[end])) end++;
    if (end < value.length) {
      if (wide) call.memory.setU16(at + end * 2, 0);
      else call.memory.setU8(at + end, 0);
      keep(at + (end + 1) * step);
    } else keep(0);
    at += start * step;
    return at;
  };
  const insensitive = wide ? "_wcs" : "_str";
  const names: Handlers = {
    cat: (call, target, source) => {
      store(call, pointer(target, stringLength(call, target, wide)), t(call, source), wide);
      return target;
    },
    cpy: (call, target, source) => {
      store(call, target, t(call, source), wide);
      return target;
    },
    len: (call, at) => stringLength(call, at, wide),
    nlen: (call, at, max) => stringLength(call, at, wide, Math.min(max, 0x100000)),
    cmp: compare(same, false),
    ncmp: compare(same, true),
    coll: compare(same, false),
    ncat: (call, target, source, max) => {
      const end = pointer(target, stringLength(call, target, wide));
      store(call, end, t(call, source, Math.min(max, 0x100000)), wide);
      return target;
    },
    ncpy: (call, target, source, max) => {
      const size = Math.min(max, 0x1000000);
      const value = encode(t(call, source, size), wide);
      const bytes = new Uint8Array(size * step);
      bytes.set(value);
      call.memory.setBytes(target, bytes);
      return target;
    },
    chr: (call, at, unit) => {
      const value = raw(call, at);
      return (unit & (wide ? 0xffff : 0xff)) === 0
        ? pointer(at, value.length)
        : pointer(at, value.indexOf(char(unit)));
    },
    rchr: (call, at, unit) => {
      const value = raw(call, at);
      return (unit & (wide ? 0xffff : 0xff)) === 0
        ? pointer(at, value.length)
        : pointer(at, value.lastIndexOf(char(unit)));
    },
    str: (call, a, b) => pointer(a, raw(call, a).indexOf(raw(call, b))),
    spn: span(true),
    cspn: span(false),
    pbrk: (call, a, b) => {
      const set = raw(call, b);
      return pointer(a, [...raw(call, a)].findIndex((one) => set.includes(one)));
    },
    tok: (call, string, set) => {
      const state = call.state(`token:${wide}:${call.tid}`, () => ({ at: 0 }));
      return token(call, string, raw(call, set), () => state.at, (at) => state.at = at);
    },
    tok_s: (call, string, set, context) =>
      token(
        call,
        string,
        raw(call, set),
        () => call.memory.u32(context),
        (at) => call.memory.setU32(context, at),
      ),
    cpy_s: copySecure(false, false),
    cat_s: copySecure(true, false),
    ncpy_s: copySecure(false, true),
    ncat_s: copySecure(true, true),
    xfrm: (call, target, source, max) => {
      const value = t(call, source);
      if (value.length < max) store(call, target, value, wide);
      return value.length;
    },
  };
  const under: Handlers = {
    icmp: compare(lower, false),
    nicmp: compare(lower, true),
    icoll: compare(lower, false),
    lwr: change(lower),
    upr: change(upper),
    rev: change((value) => [...value].reverse().join("")),
    dup: (call, at) => {
      if (at === 0) return 0;
      const bytes = encode(t(call, at), wide, true);
      const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
      if (block) call.memory.setBytes(block, bytes);
      return block;
    },
    set: (call, at, unit) => {
      store(call, at, char(unit).repeat(stringLength(call, at, wide)), wide);
      return at;
    },
    nset: (call, at, unit, max) => {
      const length = stringLength(call, at, wide, Math.min(max, 0x100000));
      call.memory.setBytes(at, encode(char(unit).repeat(length), wide));
      return at;
    },
    lwr_s: (call, at) => {
      store(call, at, lower(t(call, at)), wide);
      return 0;
    },
    upr_s: (call, at) => {
      store(call, at, upper(t(call, at)), wide);
      return 0;
    },
    inc: (_, at) => at + step,
    dec: (_, start, at) => at > start ? at - step : 0,
  };
  const renamed = (group: Handlers, start: string) =>
    Object.fromEntries(Object.entries(group).map(([name, handler]) => [start + name, handler]));
  return { ...renamed(names, prefix), ...renamed(under, insensitive) };
}

/** isalpha… for narrow and isw… for wide characters: CT_CTYPE1 bits. */
const CLASSES: Record<string, number> = {
  alpha: 0x103,
  upper: 1,
  lower: 2,
  digit: 4,
  xdigit: 0x80,
  space: 8,
  punct: 0x10,
  alnum: 0x107,
  print: 0x157,
  graph: 0x117,
  cntrl: 0x20,
};

function classes(): Handlers {
  const made: Record<string, Handler> = {};
  for (const [name, bits] of Object.entries(CLASSES)) {
    // In the C locale nothing above 0x7f has a class.
    made[`is${name}`] = (_, unit) => unit < 0x80 ? characterType(unit) & bits : 0;
    made[`isw${name}`] = (_, unit) => characterType(unit & 0xffff) & bits;
    made[`_ismbb${name}`] = made[`is${name}`];
  }
  return made;
}

const ascii = (fold: (value: string) => string): Handler => (_, unit) =>
  unit < 0x80 ? fold(String.fromCharCode(unit)).charCodeAt(0) : unit;
const wideFold = (fold: (value: string) => string): Handler => (_, unit) =>
  fold(String.fromCharCode(unit & 0xffff)).charCodeAt(0);

/** Text of the errno values (errno.h). */
const ERRORS: Record<number, string> = {
  0: "No error",
  1: "Operation not permitted",
  2: "No such file or directory",
  9: "Bad file descriptor",
  12: "Not enough space",
  13: "Permission denied",
  17: "File exists",
  22: "Invalid argument",
  28: "No space left on device",
  33: "Domain error",
  34: "Result too large",
};

/** Message of an errno value. */
export const errorText = (code: number) => ERRORS[code] ?? "Unknown error";

const narrow = family(false);
const copyChecked: Handler = (call, target, capacity, source, count) => {
  if (count === 0) return 0;
  if (target === 0 || source === 0 || count > capacity) {
    if (target) call.memory.setBytes(target, new Uint8Array(Math.min(capacity, 0x1000000)));
    return setErrno(call, count > capacity ? 34 : 22);
  }
  call.memory.setBytes(target, call.memory.bytes(source, Math.min(count, 0x4000000)));
  return 0;
};

/** The multibyte functions are the narrow ones: code page 1252 has one byte a character. */
const MULTIBYTE: Record<string, string> = {
  _mbscat: "strcat",
  _mbschr: "strchr",
  _mbscmp: "strcmp",
  _mbscpy: "strcpy",
  _mbscspn: "strcspn",
  _mbsdup: "_strdup",
  _mbsicmp: "_stricmp",
  _mbsinc: "_strinc",
  _mbsdec: "_strdec",
  _mbslen: "strlen",
  _mbslwr: "_strlwr",
  _mbsnbcat: "strncat",
  _mbsnbcmp: "strncmp",
  _mbsnbcpy: "strncpy",
  _mbsnbicmp: "_strnicmp",
  _mbsncmp: "strncmp",
  _mbsncpy: "strncpy",
  _mbsnicmp: "_strnicmp",
  _mbspbrk: "strpbrk",
  _mbsrchr: "strrchr",
  _mbsspn: "strspn",
  _mbsstr: "strstr",
  _mbstok: "strtok",
  _mbsupr: "_strupr",
  _strcmpi: "_stricmp",
};

export const strings: Handlers = {
  ...narrow,
  ...family(true),
  ...Object.fromEntries(Object.entries(MULTIBYTE).map(([name, target]) => [name, narrow[target]])),
  ...classes(),
  isleadbyte: () => 0,
  _isctype: (_, unit, mask) => unit < 0x100 ? characterType(unit) & mask : 0,
  iswctype: (_, unit, mask) => characterType(unit & 0xffff) & mask,
  iswascii: (_, unit) => unit < 0x80 ? 1 : 0,
  __isascii: (_, unit) => unit < 0x80 ? 1 : 0,
  __toascii: (_, unit) => unit & 0x7f,
  __iscsym: (_, unit) => unit === 0x5f || (unit < 0x80 && characterType(unit) & 0x107) ? 1 : 0,
  __iscsymf: (_, unit) => unit === 0x5f || (unit < 0x80 && characterType(unit) & 0x103) ? 1 : 0,
  _ismbblead: () => 0,
  _ismbbtrail: () => 0,
  tolower: ascii(lower),
  toupper: ascii(upper),
  _tolower: (_, unit) => unit + 0x20,
  _toupper: (_, unit) => unit - 0x20,
  towlower: wideFold(lower),
  towupper: wideFold(upper),
  _memicmp: (call, a, b, length) => {
    const size = Math.min(length, 0x1000000);
    const fold = (at: number) =>
      call.memory.bytes(at, size).map((byte) => byte >= 65 && byte <= 90 ? byte + 32 : byte);
    const [x, y] = [fold(a), fold(b)];
    const at = x.findIndex((byte, i) => byte !== y[i]);
    return at < 0 ? 0 : x[at] - y[at];
  },
  _memccpy: (call, target, source, unit, length) => {
    for (let i = 0; i < Math.min(length, 0x1000000); i++) {
      const byte = call.memory.u8(source + i);
      call.memory.setU8(target + i, byte);
      if (byte === (unit & 255)) return target + i + 1;
    }
    return 0;
  },
  memcpy_s: copyChecked,
  memmove_s: copyChecked,
  strerror: (call, code) => lasting(call, `strerror:${code}`, errorText(code), false),
  _wcserror: (call, code) => lasting(call, `strerror:${code}`, errorText(code), true),
  strerror_s: (call, buffer, capacity, code) => {
    if (capacity === 0) return 22;
    store(call, buffer, errorText(code).slice(0, capacity - 1), false);
    return 0;
  },
};
