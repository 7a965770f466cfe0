// SPDX-License-Identifier: Apache-2.0
/**
 * oleaut32: SAFEARRAYs in guest memory: dimensions, flags, element size, locks, data, then the bounds, last
 * dimension first; the element's type stands before it.
 *
 * @module
 */
import type { ApiCall } from "../../api.ts";
import type { Handlers } from "../define.ts";
import { bstrCopy, freeBstr, VT_BSTR } from "./bstr.ts";

const E_INVALIDARG = 0x80070057;
const E_OUTOFMEMORY = 0x8007000e;
const BAD_INDEX = 0x8002000b;
const IS_LOCKED = 0x8002000d;
const MAX_DIMENSIONS = 64;
const MAX_BYTES = 0x1000_0000;
/** FADF_HAVEVARTYPE, FADF_BSTR. */
const HAS_TYPE = 0x80;
const HAS_STRINGS = 0x100;
/** Offsets. */
const Field = { dimensions: 0, flags: 2, element: 4, locks: 8, data: 12, bounds: 16 } as const;
/** Where the type stands before the descriptor, and what is allocated there. */
const TYPE_BEFORE = 4;
const HEAD = 16;

/** Bytes of an element by its VARTYPE. */
const SIZES: Readonly<Record<number, number>> = {
  2: 2, // I2
  3: 4, // I4
  4: 4, // R4
  5: 8, // R8
  6: 8, // CY
  7: 8, // DATE
  8: 4, // BSTR
  9: 4, // DISPATCH
  10: 4, // ERROR
  11: 2, // BOOL
  12: 16, // VARIANT
  13: 4, // UNKNOWN
  16: 1, // I1
  17: 1, // UI1
  18: 2, // UI2
  19: 4, // UI4
  22: 4, // INT
  23: 4, // UINT
};

interface Bound {
  readonly count: number;
  readonly lower: number;
}

function create(call: ApiCall, type: number, bounds: readonly Bound[]): number {
  const element = SIZES[type & 0xffff];
  if (!element || bounds.length === 0 || bounds.length > MAX_DIMENSIONS) return 0;
  const size = bounds.reduce((product, { count }) => product * count, element);
  if (size > MAX_BYTES) return 0;
  const { heaps, memory } = call;
  const block = heaps.allocate(heaps.processHeap, HEAD + Field.bounds + 8 * bounds.length, true);
  const data = heaps.allocate(heaps.processHeap, Math.max(size, 1), true);
  if (block === 0 || data === 0) {
    for (const one of [block, data]) if (one) heaps.free(heaps.processHeap, one);
    return 0;
  }
  const array = block + HEAD;
  memory.setU32(array - TYPE_BEFORE, type & 0xffff);
  memory.setU16(array + Field.dimensions, bounds.length);
  memory.setU16(array + Field.flags, HAS_TYPE | (type === VT_BSTR ? HAS_STRINGS : 0));
  memory.setU32(array + Field.element, element);
  memory.setU32(array + Field.data, data);
  bounds.toReversed().forEach(({ count, lower }, i) => {
    memory.setU32(array + Field.bounds + 8 * i, count);
    memory.setU32(array + Field.bounds + 8 * i + 4, lower >>> 0);
  });
  return array;
}

const dimensions = (call: ApiCall, array: number) =>
  Math.min(call.memory.u16(array + Field.dimensions), MAX_DIMENSIONS);

/** The bound of a dimension, counted from 1, first dimension first. */
function bound(call: ApiCall, array: number, dimension: number): Bound | undefined {
  const count = array === 0 ? 0 : dimensions(call, array);
  if (dimension < 1 || dimension > count) return undefined;
  const at = array + Field.bounds + 8 * (count - dimension);
  return { count: call.memory.u32(at), lower: call.memory.u32(at + 4) | 0 };
}

/** Address of an element; undefined when an index is out of its bounds. */
function elementAt(call: ApiCall, array: number, indices: number): number | undefined {
  let position = 0;
  let step = 1;
  for (let dimension = 1; dimension <= dimensions(call, array); dimension++) {
    const { count, lower } = bound(call, array, dimension)!;
    const index = (call.memory.u32(indices + 4 * (dimension - 1)) | 0) - lower;
    if (index < 0 || index >= count) return undefined;
    position += index * step;
    step *= count;
  }
  return call.memory.u32(array + Field.data) + position * call.memory.u32(array + Field.element);
}

const isStrings = (call: ApiCall, array: number) =>
  (call.memory.u16(array + Field.flags) & HAS_STRINGS) !== 0;

function lock(call: ApiCall, array: number, by: number): number {
  if (array === 0) return E_INVALIDARG;
  const locks = call.memory.u32(array + Field.locks) + by;
  if (locks < 0) return 0x8000ffff;
  call.memory.setU32(array + Field.locks, locks);
  return 0;
}

function destroy(call: ApiCall, array: number): number {
  if (array === 0) return 0;
  if (call.memory.u32(array + Field.locks) !== 0) return IS_LOCKED;
  const { heaps, memory } = call;
  const data = memory.u32(array + Field.data);
  const size = heaps.size(heaps.processHeap, data) ?? 0;
  if (isStrings(call, array)) {
    for (let at = data; at + 4 <= data + size; at += 4) freeBstr(call, memory.u32(at));
  }
  heaps.free(heaps.processHeap, data);
  heaps.free(heaps.processHeap, array - HEAD);
  return 0;
}

const MAX_ELEMENT = 16;

function limit(call: ApiCall, array: number, dimension: number, result: number, upper: boolean): number {
  const found = bound(call, array, dimension);
  if (!found) return array === 0 ? E_INVALIDARG : BAD_INDEX;
  call.memory.setU32(result, (upper ? found.lower + found.count - 1 : found.lower) >>> 0);
  return 0;
}

export const safeArrays: Handlers = {
  SafeArrayCreate: (call, type, count, bounds) => {
    if (count > MAX_DIMENSIONS) return 0;
    return create(
      call,
      type,
      Array.from({ length: count }, (_, i) => ({
        count: call.memory.u32(bounds + 8 * i),
        lower: call.memory.u32(bounds + 8 * i + 4) | 0,
      })),
    );
  },
  SafeArrayCreateVector: (call, type, lower, count) => create(call, type, [{ count, lower: lower | 0 }]),
  SafeArrayDestroy: destroy,
  SafeArrayGetDim: (call, array) => array ? dimensions(call, array) : 0,
  SafeArrayGetElemsize: (call, array) => array ? call.memory.u32(array + Field.element) : 0,
  SafeArrayGetUBound: (call, array, dimension, result) => limit(call, array, dimension, result, true),
  SafeArrayGetLBound: (call, array, dimension, result) => limit(call, array, dimension, result, false),
  SafeArrayGetVartype: (call, array, result) => {
    if (array === 0 || !(call.memory.u16(array + Field.flags) & HAS_TYPE)) return E_INVALIDARG;
    call.memory.setU16(result, call.memory.u32(array - TYPE_BEFORE));
    return 0;
  },
  SafeArrayLock: (call, array) => lock(call, array, 1),
  SafeArrayUnlock: (call, array) => lock(call, array, -1),
  SafeArrayAccessData: (call, array, result) => {
    const status = lock(call, array, 1);
    if (status === 0) call.memory.setU32(result, call.memory.u32(array + Field.data));
    return status;
  },
  SafeArrayUnaccessData: (call, array) => lock(call, array, -1),
  SafeArrayPtrOfIndex: (call, array, indices, result) => {
    if (array === 0) return E_INVALIDARG;
    const at = elementAt(call, array, indices);
    if (at === undefined) return BAD_INDEX;
    call.memory.setU32(result, at);
    return 0;
  },
  SafeArrayGetElement: (call, array, indices, result) => {
    if (array === 0) return E_INVALIDARG;
    const at = elementAt(call, array, indices);
    if (at === undefined) return BAD_INDEX;
    const size = Math.min(call.memory.u32(array + Field.element), MAX_ELEMENT);
    if (isStrings(call, array)) call.memory.setU32(result, bstrCopy(call, call.memory.u32(at)));
    else call.memory.setBytes(result, call.memory.bytes(at, size));
    return 0;
  },
  SafeArrayPutElement: (call, array, indices, value) => {
    if (array === 0) return E_INVALIDARG;
    const at = elementAt(call, array, indices);
    if (at === undefined) return BAD_INDEX;
    const size = Math.min(call.memory.u32(array + Field.element), MAX_ELEMENT);
    if (isStrings(call, array)) {
      freeBstr(call, call.memory.u32(at));
      const copy = bstrCopy(call, value);
      if (value !== 0 && copy === 0) return E_OUTOFMEMORY;
      call.memory.setU32(at, copy);
    } else call.memory.setBytes(at, call.memory.bytes(value, size));
    return 0;
  },
};
