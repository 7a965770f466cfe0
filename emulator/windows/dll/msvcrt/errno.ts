// SPDX-License-Identifier: Apache-2.0
/** errno of the C runtime: one word a thread. @module */
import type { ApiCall } from "../../api.ts";
import { Win32 } from "../shared/errors.ts";

/** Values in use (errno.h). */
export const Errno = {
  noEntry: 2,
  badFile: 9,
  noMemory: 12,
  access: 13,
  exists: 17,
  invalid: 22,
  range: 34,
} as const;

/** Address of the calling thread's errno. */
export function errnoAddress(call: ApiCall): number {
  return call.state(`errno:${call.tid}`, () => ({
    address: call.heaps.allocate(call.heaps.processHeap, 8, true),
  })).address;
}

/** Sets errno and returns it. */
export function setErrno(call: ApiCall, code: number): number {
  call.memory.setU32(errnoAddress(call), code);
  return code;
}

/** Sets errno and returns `result`, -1 unless said. */
export function failed(call: ApiCall, code: number, result = 0xffffffff): number {
  setErrno(call, code);
  return result;
}

/** errno for a Win32 error. */
export function errnoOf(error: number): number {
  switch (error) {
    case Win32.fileNotFound:
    case Win32.pathNotFound:
    case Win32.invalidName:
      return Errno.noEntry;
    case Win32.fileExists:
    case Win32.alreadyExists:
      return Errno.exists;
    case Win32.invalidHandle:
      return Errno.badFile;
    case Win32.accessDenied:
    case 32:
      return Errno.access;
    default:
      return Errno.invalid;
  }
}
