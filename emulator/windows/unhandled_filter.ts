// SPDX-License-Identifier: Apache-2.0
/**
 * UnhandledExceptionFilter: what is asked last, before a process ends.
 *
 * @module
 */
import type { Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { Protect, Status } from "./constants.ts";
import { Directory } from "./pe.ts";

/** What vectored handlers and filters answer to go on where it stopped. */
export const CONTINUE_EXECUTION = 0xffffffff;
/** What the filter answers when the process is to end. */
const EXECUTE_HANDLER = 1;
/** Offsets in an EXCEPTION_RECORD: code, then what and where of an access violation. */
const Record = { code: 0, kind: 20, address: 24 } as const;
const WRITE = 1;

/** The answer for the exception of these EXCEPTION_POINTERS: the program's own filter's, if it has one. */
export function* unhandledFilter(call: KernelCall, pointers: number): Generator<Request, number, number> {
  const record = call.memory.u32(pointers);
  if (openResources(call, record)) return CONTINUE_EXECUTION;
  const address = call.process.unhandledFilter;
  return address === 0 ? EXECUTE_HANDLER : yield { kind: "invoke", address, args: [pointers] };
}

/** A write into the program's read-only resources is let through: its page becomes writable. */
function openResources(call: KernelCall, record: number): boolean {
  const { memory, process } = call;
  if (memory.u32(record + Record.code) !== Status.accessViolation) return false;
  if (memory.u32(record + Record.kind) !== WRITE) return false;
  const address = memory.u32(record + Record.address);
  const { pe, imageBase, manager } = process.user!;
  const { rva, size } = pe.directory(Directory.resource);
  const start = imageBase + rva;
  if (rva === 0 || address < start || address >= start + size) return false;
  const page = address - address % PAGE_SIZE;
  if (manager.query(page).protect !== Protect.readOnly) return false;
  return manager.protect(page, PAGE_SIZE, Protect.readWrite).status === Status.success;
}
