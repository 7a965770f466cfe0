// SPDX-License-Identifier: Apache-2.0
/** oleaut32: BSTRs. @module */
import type { ApiCall } from "../../api.ts";

/** A BSTR: length in bytes before the text, zero behind it. */
export function makeBstr(call: ApiCall, bytes: Uint8Array): number {
  const block = call.heaps.allocate(call.heaps.processHeap, bytes.length + 6, true);
  if (block === 0) return 0;
  call.memory.setU32(block, bytes.length);
  call.memory.setBytes(block + 4, bytes);
  return block + 4;
}

const MAX_STRING = 0x1000000;
/** VARTYPE of a BSTR. */
export const VT_BSTR = 8;

/** A BSTR of so many bytes from an address, of zeros where that is 0; 0 when there is no room. */
export const bstrOf = (call: ApiCall, at: number, bytes: number) =>
  bytes > MAX_STRING ? 0 : makeBstr(call, at ? call.memory.bytes(at, bytes) : new Uint8Array(bytes));
/** Frees a BSTR; 0 is none. */
export const freeBstr = (call: ApiCall, at: number) => {
  if (at) call.heaps.free(call.heaps.processHeap, at - 4);
};

/** A copy of a BSTR; of none, none. */
export const bstrCopy = (call: ApiCall, at: number) =>
  at === 0 ? 0 : bstrOf(call, at, call.memory.u32(at - 4));
