// SPDX-License-Identifier: Apache-2.0
/** The printf family: formatting as the Microsoft runtime does it, and the functions that print into memory. @module */
import type { ApiCall } from "../../api.ts";
import { join64, readF64 } from "../code.ts";
import type { Handlers } from "../define.ts";
import { decode, encode, store, text } from "../shared/text.ts";

/** Widest field and largest precision taken; longest result. */
const MAX_FIELD = 4096;
const MAX_RESULT = 0x100000;

/** Reads variable arguments from guest memory, word by word. */
export class Arguments {
  constructor(private readonly call: ApiCall, private at: number) {}
  word(): number {
    const value = this.call.memory.u32(this.at);
    this.at = (this.at + 4) >>> 0;
    return value;
  }
  long(): bigint {
    const low = this.word();
    return join64(low, this.word());
  }
  real(): number {
    const value = readF64(this.call, this.at);
    this.at = (this.at + 8) >>> 0;
    return value;
  }
}

/** The arguments after the first `fixed` words of a cdecl call. */
export function variadic(call: ApiCall, fixed: number): Arguments {
  return new Arguments(call, (call.stack + 4 + 4 * fixed) >>> 0);
}

interface Field {
  readonly flags: string;
  readonly width: number;
  /** -1: not given. */
  readonly precision: number;
  readonly size: string;
  readonly kind: string;
}

/** Digits of a double that is no number, in the runtime's spelling. */
function special(value: number, precision: number, isGeneral: boolean): string {
  const name = Number.isNaN(value) ? "#QNAN" : "#INF";
  const digits = isGeneral || precision < 0
    ? name
    : name.padEnd(precision, "0").slice(0, Math.max(precision, 0));
  return isGeneral || precision !== 0 ? `1.${digits}` : "1";
}

/** Fixed notation of a non-negative number, exact at any size. */
function fixed(value: number, precision: number): string {
  const shown = Math.min(precision, 100);
  const digits = value < 1e21
    ? value.toFixed(shown)
    : BigInt(value) + (shown > 0 ? "." + "0".repeat(shown) : "");
  return precision > shown ? digits + "0".repeat(precision - shown) : digits;
}

/** Exponent notation with the runtime's three exponent digits. */
function exponential(value: number, precision: number): string {
  const shown = Math.min(precision, 100);
  const [mantissa, exponent] = value.toExponential(shown).split("e");
  const digits = exponent.slice(1).padStart(3, "0");
  const zeros = "0".repeat(precision - shown);
  return `${mantissa}${zeros}e${exponent[0]}${digits}`;
}

function hexadecimal(value: number, precision: number): string {
  if (value === 0) return "0x0.0000000000000p+0".slice(0, precision < 0 ? undefined : 4 + precision) + "";
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const exponent = ((view.getUint16(0) >>> 4) & 0x7ff) - 1023;
  const mantissa = (view.getBigUint64(0) & 0xfffffffffffffn).toString(16).padStart(13, "0");
  const digits = precision < 0 ? mantissa : mantissa.slice(0, precision).padEnd(precision, "0");
  return `0x1.${digits}p${exponent < 0 ? "" : "+"}${exponent}`;
}

/** Magnitude of a double under a conversion, without sign. */
export function realDigits(value: number, kind: string, precision: number, alternate = false): string {
  const lower = kind.toLowerCase();
  const isGeneral = lower === "g";
  let digits: string;
  if (!Number.isFinite(value)) digits = special(value, precision < 0 ? 6 : precision, isGeneral);
  else if (lower === "f") digits = fixed(value, precision < 0 ? 6 : precision);
  else if (lower === "e") digits = exponential(value, precision < 0 ? 6 : precision);
  else if (lower === "a") digits = hexadecimal(value, precision);
  else {
    const places = precision < 0 ? 6 : precision === 0 ? 1 : precision;
    const exponent = value === 0 ? 0 : Number(value.toExponential(Math.min(places - 1, 100)).split("e")[1]);
    const isFixed = exponent >= -4 && exponent < places;
    digits = isFixed ? fixed(value, places - 1 - exponent) : exponential(value, places - 1);
    if (!alternate) digits = digits.replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "");
  }
  return kind === lower ? digits : digits.toUpperCase();
}

function pad(field: Field, sign: string, digits: string, canZero: boolean): string {
  const room = field.width - sign.length - digits.length;
  if (room <= 0) return sign + digits;
  if (field.flags.includes("-")) return sign + digits + " ".repeat(room);
  if (canZero && field.flags.includes("0")) return sign + "0".repeat(room) + digits;
  return " ".repeat(room) + sign + digits;
}

const signOf = (field: Field, negative: boolean) =>
  negative ? "-" : field.flags.includes("+") ? "+" : field.flags.includes(" ") ? " " : "";

function integer(field: Field, args: Arguments): string {
  const isSigned = field.kind === "d" || field.kind === "i";
  const isLong = field.size === "I64" || field.size === "ll" || field.size === "j" || field.size === "L";
  let value = isLong ? args.long() : BigInt(args.word());
  const bits = isLong ? 64 : field.size === "h" ? 16 : field.size === "hh" ? 8 : 32;
  value = isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
  const magnitude = value < 0n ? -value : value;
  const base = field.kind === "o" ? 8 : field.kind === "x" || field.kind === "X" ? 16 : 10;
  let digits = magnitude.toString(base);
  if (field.kind === "X") digits = digits.toUpperCase();
  if (field.precision === 0 && value === 0n) digits = "";
  digits = digits.padStart(field.precision, "0");
  let sign = isSigned ? signOf(field, value < 0n) : "";
  if (field.flags.includes("#") && value !== 0n) {
    if (base === 16) sign = `0${field.kind}`;
    else if (base === 8 && !digits.startsWith("0")) digits = "0" + digits;
  }
  return pad(field, sign, digits, field.precision < 0);
}

function real(field: Field, args: Arguments): string {
  const value = args.real();
  const isNegative = value < 0 || Object.is(value, -0);
  let digits = realDigits(Math.abs(value), field.kind, field.precision, field.flags.includes("#"));
  if (field.flags.includes("#") && !/[.n#]/i.test(digits)) digits += ".";
  return pad(field, signOf(field, isNegative), digits, Number.isFinite(value));
}

/** `%s` follows the function's own width; `%S` the other; `h` and `l` say it. */
function isWideText(field: Field, wide: boolean): boolean {
  if (field.size === "h") return false;
  if (field.size === "l" || field.size === "w") return true;
  return field.kind === "s" || field.kind === "c" ? wide : !wide;
}

function characters(call: ApiCall, field: Field, args: Arguments, wide: boolean): string {
  const pointer = args.word();
  const limit = field.precision < 0 ? MAX_RESULT : field.precision;
  if (pointer === 0) return "(null)".slice(0, limit);
  return text(call, pointer, isWideText(field, wide), limit);
}

const PICTURE = /%([-+ 0#]*)(\*|\d*)(?:\.(\*|-?\d*))?(I64|I32|ll|hh|[hlLwIjztFN](?=[a-zA-Z]))?([a-zA-Z%])/g;

/** Formats text; `wide` says in which of the two families the calling function is. */
export function format(call: ApiCall, picture: string, args: Arguments, wide: boolean): string {
  const parts: string[] = [];
  let size = 0;
  const add = (part: string) => {
    if (size + part.length > MAX_RESULT) part = part.slice(0, MAX_RESULT - size);
    size += part.length;
    parts.push(part);
  };
  let last = 0;
  for (const match of picture.matchAll(PICTURE)) {
    add(picture.slice(last, match.index));
    last = match.index + match[0].length;
    let flags = match[1];
    let width = match[2] === "*" ? args.word() | 0 : Number(match[2] || 0);
    if (width < 0) {
      flags += "-";
      width = -width;
    }
    const given = match[3];
    const precision = given === undefined ? -1 : given === "*" ? args.word() | 0 : Number(given || 0);
    const field: Field = {
      flags,
      width: Math.min(width, MAX_FIELD),
      precision: Math.max(-1, Math.min(precision, MAX_FIELD)),
      size: match[4] ?? "",
      kind: match[5],
    };
    add(convert(call, field, args, wide) ?? match[0].slice(1));
  }
  add(picture.slice(last).replace(/%$/, ""));
  return parts.join("");
}

function convert(call: ApiCall, field: Field, args: Arguments, wide: boolean): string | undefined {
  switch (field.kind) {
    case "%":
      return "%";
    case "d":
    case "i":
    case "u":
    case "x":
    case "X":
    case "o":
      return integer(field, args);
    case "e":
    case "E":
    case "f":
    case "F":
    case "g":
    case "G":
    case "a":
    case "A":
      return real(field, args);
    case "p":
      return pad(field, "", args.word().toString(16).toUpperCase().padStart(8, "0"), false);
    case "c":
    case "C": {
      const unit = args.word();
      const isWide = isWideText(field, wide);
      return pad(
        field,
        "",
        decode(isWide ? Uint8Array.of(unit, unit >>> 8) : Uint8Array.of(unit), isWide),
        false,
      );
    }
    case "s":
    case "S":
      return pad(field, "", characters(call, field, args, wide), false);
    case "Z": {
      const string = args.word();
      if (string === 0) return "(null)";
      return decode(call.memory.bytes(call.memory.u32(string + 4), call.memory.u16(string)), false);
    }
    case "n": // writing through %n is off in Windows 7's runtime
      args.word();
      return "";
    default:
      return undefined;
  }
}

/** Puts text into a buffer of `capacity` characters as _snprintf does: no zero when it just fits, -1 when not. */
function bounded(call: ApiCall, buffer: number, capacity: number, value: string, wide: boolean): number {
  if (value.length < capacity) {
    store(call, buffer, value, wide);
    return value.length;
  }
  if (capacity > 0) call.memory.setBytes(buffer, encode(value.slice(0, capacity), wide));
  return value.length === capacity ? value.length : -1;
}

/** The _s variants: always a zero; too long is refused, or cut when `count` allows. */
function secure(
  call: ApiCall,
  buffer: number,
  capacity: number,
  count: number,
  value: string,
  wide: boolean,
) {
  if (buffer === 0 || capacity === 0) return -1;
  const cut = count < value.length ? value.slice(0, count) : value;
  if (cut.length >= capacity) {
    store(call, buffer, count === 0xffffffff ? value.slice(0, capacity - 1) : "", wide);
    return -1;
  }
  store(call, buffer, cut, wide);
  return cut.length === value.length ? value.length : -1;
}

/** Printing into memory: one narrow and one wide set. */
function family(wide: boolean): Handlers {
  const f = wide
    ? {
      plain: "swprintf",
      n: "_snwprintf",
      v: "vswprintf",
      vn: "_vsnwprintf",
      s: "swprintf_s",
      ns: "_snwprintf_s",
    }
    : {
      plain: "sprintf",
      n: "_snprintf",
      v: "vsprintf",
      vn: "_vsnprintf",
      s: "sprintf_s",
      ns: "_snprintf_s",
    };
  const make = (call: ApiCall, picture: number, args: Arguments) =>
    format(call, text(call, picture, wide), args, wide);
  const put = (call: ApiCall, buffer: number, value: string) => {
    store(call, buffer, value, wide);
    return value.length;
  };
  return {
    [f.plain]: (call, buffer, picture) => put(call, buffer, make(call, picture, variadic(call, 2))),
    [f.v]: (call, buffer, picture, list) => put(call, buffer, make(call, picture, new Arguments(call, list))),
    [f.n]: (call, buffer, capacity, picture) =>
      bounded(call, buffer, capacity, make(call, picture, variadic(call, 3)), wide),
    [f.vn]: (call, buffer, capacity, picture, list) =>
      bounded(call, buffer, capacity, make(call, picture, new Arguments(call, list)), wide),
    [f.s]: (call, buffer, capacity, picture) =>
      secure(call, buffer, capacity, 0x7fffffff, make(call, picture, variadic(call, 3)), wide),
    [f.ns]: (call, buffer, capacity, count, picture) =>
      secure(call, buffer, capacity, count, make(call, picture, variadic(call, 4)), wide),
    [f.v + "_s"]: (call, buffer, capacity, picture, list) =>
      secure(call, buffer, capacity, 0x7fffffff, make(call, picture, new Arguments(call, list)), wide),
    [f.vn + "_s"]: (call, buffer, capacity, count, picture, list) =>
      secure(call, buffer, capacity, count, make(call, picture, new Arguments(call, list)), wide),
    [wide ? "_scwprintf" : "_scprintf"]: (call, picture) => make(call, picture, variadic(call, 1)).length,
    [wide ? "_vscwprintf" : "_vscprintf"]: (call, picture, list) =>
      make(call, picture, new Arguments(call, list)).length,
  };
}

export const formatted: Handlers = { ...family(false), ...family(true) };
