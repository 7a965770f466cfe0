// SPDX-License-Identifier: Apache-2.0
/** oleaut32: VARIANTs: cleared, copied, changed between numbers, truth values and texts. @module */
import type { ApiCall } from "../../api.ts";
import { readF64, writeF64 } from "../code.ts";
import type { Handlers } from "../define.ts";
import { encode, text } from "../shared/text.ts";
import { bstrCopy, freeBstr, makeBstr, VT_BSTR } from "./bstr.ts";

const BAD_TYPE = 0x80020008;
const TYPE_MISMATCH = 0x80020005;
const OVERFLOW = 0x8002000a;
const MAX_TEXT = 0x10000;
const VT_R4 = 4;
const VT_R8 = 5;
const VT_BOOL = 11;

/** Whole numbers by VARTYPE: bytes, signed. */
const WHOLE: Readonly<Record<number, readonly [bytes: number, signed: boolean]>> = {
  2: [2, true],
  3: [4, true],
  16: [1, true],
  17: [1, false],
  18: [2, false],
  19: [4, false],
  22: [4, true],
  23: [4, false],
};

function clear(call: ApiCall, at: number): number {
  if (call.memory.u16(at) === VT_BSTR) freeBstr(call, call.memory.u32(at + 8));
  call.memory.setBytes(at, new Uint8Array(16));
  return 0;
}

const float = new DataView(new ArrayBuffer(4));

/** What a VARIANT holds; undefined for what cannot be changed into something else here. */
function valueOf(call: ApiCall, at: number): number | string | boolean | undefined {
  const type = call.memory.u16(at);
  if (type === 0) return 0;
  if (type === VT_BSTR) {
    const string = call.memory.u32(at + 8);
    return string === 0 ? "" : text(call, string, true, MAX_TEXT);
  }
  if (type === VT_BOOL) return call.memory.u16(at + 8) !== 0;
  if (type === VT_R8) return readF64(call, at + 8);
  const word = call.memory.u32(at + 8);
  if (type === VT_R4) {
    float.setUint32(0, word);
    return float.getFloat32(0);
  }
  const whole = WHOLE[type];
  if (!whole) return undefined;
  const [bytes, signed] = whole;
  return signed
    ? word << (32 - 8 * bytes) >> (32 - 8 * bytes)
    : word << (32 - 8 * bytes) >>> (32 - 8 * bytes);
}

/** Half goes to the even number, as OLE rounds. */
function rounded(value: number): number {
  const floor = Math.floor(value);
  const part = value - floor;
  return part > 0.5 || (part === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

function numberOf(value: number | string | boolean): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? -1 : 0;
  const trimmed = value.trim();
  if (/^(true|false)$/i.test(trimmed)) return /^t/i.test(trimmed) ? -1 : 0;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? Number(trimmed) : undefined;
}

function shown(value: number | string | boolean): string {
  if (typeof value === "boolean") return value ? "-1" : "0";
  return typeof value === "number" ? String(Number(value.toPrecision(15))).replace(/e/, "E") : value;
}

function change(call: ApiCall, to: number, from: number, _flags: number, wanted: number): number {
  const type = wanted & 0xffff;
  const value = valueOf(call, from);
  if (value === undefined) return call.memory.u16(from) === type ? 0 : TYPE_MISMATCH;
  const { memory } = call;
  const put = (write: () => void) => {
    clear(call, to);
    memory.setU16(to, type);
    write();
    return 0;
  };
  if (type === VT_BSTR) {
    const made = makeBstr(call, encode(shown(value), true));
    return made === 0 ? 0x8007000e : put(() => memory.setU32(to + 8, made));
  }
  const number = numberOf(value);
  if (number === undefined) return TYPE_MISMATCH;
  if (type === VT_BOOL) return put(() => memory.setU16(to + 8, number === 0 ? 0 : 0xffff));
  if (type === VT_R8) return put(() => writeF64(call, to + 8, number));
  if (type === VT_R4) {
    float.setFloat32(0, number);
    return put(() => memory.setU32(to + 8, float.getUint32(0)));
  }
  const whole = WHOLE[type];
  if (!whole) return BAD_TYPE;
  const [bytes, signed] = whole;
  const result = rounded(number);
  const [least, most] = signed
    ? [-(2 ** (8 * bytes - 1)), 2 ** (8 * bytes - 1) - 1]
    : [0, 2 ** (8 * bytes) - 1];
  if (!(result >= least && result <= most)) return OVERFLOW;
  return put(() => memory.setU32(to + 8, result >>> 0));
}

export const variants: Handlers = {
  VariantInit: (call, at) => call.memory.setBytes(at, new Uint8Array(16)),
  VariantClear: clear,
  VariantCopy: (call, to, from) => {
    clear(call, to);
    call.memory.setBytes(to, call.memory.bytes(from, 16));
    if (call.memory.u16(from) === VT_BSTR) {
      call.memory.setU32(to + 8, bstrCopy(call, call.memory.u32(from + 8)));
    }
    return 0;
  },
  VariantChangeType: change,
  VariantChangeTypeEx: (call, to, from, _locale, flags, type) => change(call, to, from, flags, type),
};
