// SPDX-License-Identifier: Apache-2.0
/**
 * Structured exception handling: the kernel's part (record and CONTEXT on the user stack) and ntdll's
 * (vectored handlers, the chain at fs:[0] with its nested records).
 *
 * @module
 */
import type { Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { get32, put32 } from "./bytes.ts";
import { Eflags, ExceptionFlag, Status } from "./constants.ts";
import { CONTEXT_ALL, CONTEXT_SIZE } from "./context.ts";
import { Chain, CHAIN_END, isValidHandler, MAX_FRAMES } from "./frame_chain.ts";
import type { Kernel } from "./kernel.ts";
import type { Process, Thread } from "./process.ts";
import { crashDetail, endProcess } from "./process_life.ts";
import { Teb } from "./structures.ts";
import { readContext, writeContext } from "./thread_context.ts";
import { CONTINUE_EXECUTION, unhandledFilter } from "./unhandled_filter.ts";
import { GuestFault } from "./user_memory.ts";

/** An exception on its way to a program. */
export interface GuestException {
  readonly code: number;
  readonly flags: number;
  readonly address: number;
  readonly parameters: readonly number[];
  /** Address of the record of the exception that led to it. */
  readonly cause?: number;
}

/** Bytes of an EXCEPTION_RECORD. */
export const RECORD_SIZE = 0x50;
/** Offsets of its fields. */
export const Record = { code: 0, flags: 4, record: 8, address: 12, count: 16, parameters: 20 } as const;
const MAX_PARAMETERS = 15;

/** What a frame handler answers. */
export const Disposition = { continueExecution: 0, continueSearch: 1, nested: 2, collided: 3 } as const;

/** The EXCEPTION_RECORD of an exception. */
export function recordBytes(exception: GuestException): Uint8Array {
  const bytes = new Uint8Array(RECORD_SIZE);
  put32(bytes, Record.code, exception.code);
  put32(bytes, Record.flags, exception.flags);
  put32(bytes, Record.record, exception.cause ?? 0);
  put32(bytes, Record.address, exception.address);
  const parameters = exception.parameters.slice(0, MAX_PARAMETERS);
  put32(bytes, Record.count, parameters.length);
  parameters.forEach((value, i) => put32(bytes, Record.parameters + i * 4, value));
  return bytes;
}

/**
 * Sends a thread, whose registers are those of the exception, to KiUserExceptionDispatcher. A process whose
 * stack cannot take the record ends.
 */
export function raiseException(kernel: Kernel, thread: Thread, exception: GuestException): void {
  const { context, process } = thread;
  const contextAt = ((context.registers[4] - CONTEXT_SIZE) & ~3) >>> 0;
  const recordAt = (contextAt - RECORD_SIZE) >>> 0;
  const top = (recordAt - 8) >>> 0;
  const bytes = new Uint8Array(8 + RECORD_SIZE + CONTEXT_SIZE);
  put32(bytes, 0, recordAt);
  put32(bytes, 4, contextAt);
  bytes.set(recordBytes(exception), 8);
  bytes.set(readContext(kernel, thread, context, CONTEXT_ALL), 8 + RECORD_SIZE);
  try {
    process.user!.memory.setBytes(top, bytes);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    crash(kernel, process, exception, "; its stack cannot take the exception record");
    return;
  }
  context.registers[4] = top;
  context.eip = kernel.symbol("ntdll.dll", "KiUserExceptionDispatcher");
  context.eflags &= ~(Eflags.trap | Eflags.direction);
}

function crash(kernel: Kernel, process: Process, exception: GuestException, more = ""): void {
  const { code, address, parameters } = exception;
  const detail = crashDetail(code, address, parameters) + more;
  endProcess(kernel, process, code, { code, address, detail });
}

/** Goes on with the registers of a CONTEXT in guest memory. */
export function continueWith(call: KernelCall, context: number): void {
  writeContext(call.kernel, call.thread, call.memory.bytes(context, CONTEXT_SIZE));
  call.replaced = true;
}

/** KiUserExceptionDispatcher: [esp] is the record, [esp+4] the CONTEXT. */
export function* dispatchException(call: KernelCall): Generator<Request, void, number> {
  const { memory } = call;
  const record = memory.u32(call.stack);
  const context = memory.u32(call.stack + 4);
  const pointers = call.reserve(8);
  memory.setU32(pointers, record);
  memory.setU32(pointers + 4, context);
  const went = (yield* callVectored(call.process.vectored, pointers))
    ? "handled"
    : yield* walkChain(call, record, context, pointers);
  if (!call.thread.alive) return;
  if (went === "unhandled") return finish(call, record);
  if (went === "raised") return;
  yield* callVectored(call.process.vectoredContinue, pointers);
  continueWith(call, context);
}

/** Calls vectored handlers until one says to go on; whether one did. */
function* callVectored(
  handlers: readonly { readonly address: number }[],
  pointers: number,
): Generator<Request, boolean, number> {
  for (const { address } of [...handlers]) {
    if ((yield { kind: "invoke", address, args: [pointers] }) === CONTINUE_EXECUTION) return true;
  }
  return false;
}

/** The exception was nobody's: the process ends. */
export function finish(call: KernelCall, record: number): void {
  const bytes = call.memory.bytes(record, RECORD_SIZE);
  const count = Math.min(get32(bytes, Record.count), MAX_PARAMETERS);
  crash(call.kernel, call.process, {
    code: get32(bytes, Record.code),
    flags: get32(bytes, Record.flags),
    address: get32(bytes, Record.address),
    parameters: Array.from({ length: count }, (_, i) => get32(bytes, Record.parameters + i * 4)),
  });
}

function* walkChain(
  call: KernelCall,
  record: number,
  context: number,
  pointers: number,
): Generator<Request, "handled" | "raised" | "unhandled", number> {
  const { memory, kernel } = call;
  const nestedHandler = kernel.symbol("ntdll.dll", "NestedExceptionHandler");
  const unwindHandler = kernel.symbol("ntdll.dll", "UnwindHandler");
  const finalHandler = kernel.symbol("ntdll.dll", "FinalExceptionHandler");
  const dispatcher = call.reserve(8);
  const chain = new Chain(call);
  let flags = memory.u32(record + Record.flags);
  let nestedUntil = 0;
  let frame = memory.u32(call.teb + Teb.exceptionList);
  for (let walked = 0; frame !== CHAIN_END; walked++) {
    const handler = chain.isValid(frame) ? chain.handler(frame) : undefined;
    if (walked > MAX_FRAMES || handler === undefined || !isValidHandler(call, handler)) {
      memory.setU32(record + Record.flags, flags | ExceptionFlag.stackInvalid);
      return "unhandled";
    }
    let disposition: number = Disposition.continueSearch;
    let establisher = 0;
    if (handler === nestedHandler) {
      // An exception inside a handler: frames up to the one being handled are in a nested call.
      establisher = chain.establisher(frame);
      disposition = Disposition.nested;
    } else if (handler === unwindHandler) {
      // Of an unwinding whose handler failed: nothing of this exception's.
      disposition = Disposition.continueSearch;
    } else if (handler === finalHandler) {
      const answer = yield* unhandledFilter(call, pointers);
      if (answer !== CONTINUE_EXECUTION) return "unhandled";
      disposition = Disposition.continueExecution;
    } else {
      memory.setU32(record + Record.flags, flags);
      disposition = yield executeHandler(call, [record, frame, context, dispatcher, handler, nestedHandler]);
      chain.refresh();
      if (disposition === Disposition.nested) establisher = memory.u32(dispatcher);
    }
    if (nestedUntil === frame) {
      flags &= ~ExceptionFlag.nestedCall;
      nestedUntil = 0;
    }
    if (disposition === Disposition.continueExecution) {
      if ((flags & ExceptionFlag.noncontinuable) === 0) return "handled";
      raiseHere(call, Status.noncontinuable, record);
      return "raised";
    }
    if (disposition === Disposition.nested) {
      flags |= ExceptionFlag.nestedCall;
      nestedUntil = Math.max(nestedUntil, establisher);
    } else if (disposition !== Disposition.continueSearch) {
      raiseHere(call, Status.invalidDisposition, record);
      return "raised";
    }
    frame = chain.next(frame);
  }
  return "unhandled";
}

/** Calls a frame's handler: (record, frame, context, dispatcher, handler, handler of the record pushed for it). */
export function executeHandler(call: KernelCall, args: readonly number[]): Request {
  return { kind: "invoke", address: call.kernel.symbol("ntdll.dll", "ExecuteHandler"), args };
}

/** Raises an exception that the dispatcher itself has, with the record it was at. */
export function raiseHere(call: KernelCall, code: number, cause: number): void {
  call.raise(code, ExceptionFlag.noncontinuable, [], cause);
}

/** RtlRaiseException and NtRaiseException: the record is the caller's. */
export function raiseRecord(call: KernelCall, record: number, context: number | undefined): void {
  const bytes = call.memory.bytes(record, RECORD_SIZE);
  const count = Math.min(get32(bytes, Record.count), MAX_PARAMETERS);
  const address = context === undefined ? call.returnAddress : get32(bytes, Record.address);
  if (context === undefined) {
    call.context.eip = call.returnAddress;
    call.context.registers[4] = call.stack + 8;
  } else writeContext(call.kernel, call.thread, call.memory.bytes(context, CONTEXT_SIZE));
  call.replaced = true;
  raiseException(call.kernel, call.thread, {
    code: get32(bytes, Record.code),
    flags: get32(bytes, Record.flags),
    address,
    parameters: Array.from({ length: count }, (_, i) => get32(bytes, Record.parameters + i * 4)),
    cause: get32(bytes, Record.record),
  });
}
