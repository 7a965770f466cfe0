// SPDX-License-Identifier: Apache-2.0
/**
 * Structured exception handling: the kernel's part (record and CONTEXT on the user stack) and ntdll's
 * (vectored handlers, the chain at fs:[0] with its nested records, unwinding, the unhandled filter).
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import type { Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { get32, put32 } from "./bytes.ts";
import { Eflags, ExceptionFlag, Status } from "./constants.ts";
import { applyContext, CONTEXT_ALL, CONTEXT_SIZE, copyContext, encodeContext } from "./context.ts";
import type { Kernel } from "./kernel.ts";
import type { Process, Thread } from "./process.ts";
import { crashDetail, endProcess } from "./process_life.ts";
import { Teb } from "./structures.ts";
import { GuestFault } from "./user_memory.ts";

/** An exception on its way to a program. */
export interface GuestException {
  readonly code: number;
  readonly flags: number;
  readonly address: number;
  readonly parameters: readonly number[];
}

/** Bytes of an EXCEPTION_RECORD, offsets of its fields. */
const RECORD_SIZE = 0x50;
const Record = { code: 0, flags: 4, record: 8, address: 12, count: 16, parameters: 20 } as const;
const MAX_PARAMETERS = 15;

/** What a frame handler answers. */
const Disposition = { continueExecution: 0, continueSearch: 1, nested: 2, collided: 3 } as const;
/** What vectored handlers and filters answer to go on where it stopped. */
const CONTINUE_EXECUTION = 0xffffffff;
const CHAIN_END = 0xffffffff;
/** Frames walked at most. */
const MAX_FRAMES = 4096;

function recordBytes(exception: GuestException): Uint8Array {
  const bytes = new Uint8Array(RECORD_SIZE);
  put32(bytes, Record.code, exception.code);
  put32(bytes, Record.flags, exception.flags);
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
  bytes.set(encodeContext(context, CONTEXT_ALL), 8 + RECORD_SIZE);
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
  applyContext(call.context, call.memory.bytes(context, CONTEXT_SIZE));
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
  for (const { address } of [...call.process.vectored]) {
    const answer = yield { kind: "invoke", address, args: [pointers] };
    if (answer === CONTINUE_EXECUTION) return continueWith(call, context);
  }
  const handled = yield* walkChain(call, record, context, pointers);
  if (handled || !call.thread.alive) return;
  finish(call, record);
}

/** The exception was nobody's: the process ends. */
function finish(call: KernelCall, record: number): void {
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
): Generator<Request, boolean, number> {
  const { memory, kernel } = call;
  const nestedHandler = kernel.symbol("ntdll.dll", "NestedExceptionHandler");
  const finalHandler = kernel.symbol("ntdll.dll", "FinalExceptionHandler");
  const dispatcher = call.reserve(8);
  const chain = new Chain(call);
  let flags = memory.u32(record + Record.flags);
  let nestedUntil = 0;
  let frame = memory.u32(call.teb + Teb.exceptionList);
  for (let walked = 0; frame !== CHAIN_END; walked++) {
    if (walked > MAX_FRAMES || !chain.isValid(frame)) {
      memory.setU32(record + Record.flags, flags | ExceptionFlag.stackInvalid);
      return false;
    }
    const handler = chain.handler(frame);
    let disposition: number = Disposition.continueSearch;
    let establisher = 0;
    if (handler === nestedHandler) {
      // An exception inside a handler: frames up to the one being handled are in a nested call.
      establisher = chain.establisher(frame);
      disposition = Disposition.nested;
    } else if (handler === finalHandler) {
      const filter = call.process.unhandledFilter;
      if (filter === 0) return false;
      const answer = yield { kind: "invoke", address: filter, args: [pointers] };
      if (answer !== CONTINUE_EXECUTION) return false;
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
      if (flags & ExceptionFlag.noncontinuable) raiseHere(call, Status.noncontinuable);
      else continueWith(call, context);
      return true;
    }
    if (disposition === Disposition.nested) {
      flags |= ExceptionFlag.nestedCall;
      nestedUntil = Math.max(nestedUntil, establisher);
    } else if (disposition !== Disposition.continueSearch) {
      raiseHere(call, Status.invalidDisposition);
      return true;
    }
    frame = chain.next(frame);
  }
  return false;
}

function executeHandler(call: KernelCall, args: readonly number[]): Request {
  return { kind: "invoke", address: call.kernel.symbol("ntdll.dll", "ExecuteHandler"), args };
}

function raiseHere(call: KernelCall, code: number): void {
  call.raise(code, ExceptionFlag.noncontinuable, []);
}

/**
 * The registration records on a thread's stack. Thousands can stand there (handlers that fault again and
 * again), so that the stack is read by pages, anew whenever guest code ran.
 */
class Chain {
  private base = 0;
  private limit = 0;
  private page = 0;
  private bytes: Uint8Array = new Uint8Array(0);

  constructor(private readonly call: KernelCall) {
    this.refresh();
  }

  /** Guest code ran: nothing that was read counts any more. */
  refresh(): void {
    const { memory, teb } = this.call;
    this.base = memory.u32(teb + Teb.stackBase);
    this.limit = memory.u32(teb + Teb.stackLimit);
    this.page = 0;
  }

  /** A record lies on the thread's stack, aligned; its handler does not. */
  isValid(frame: number): boolean {
    if (frame % 4 !== 0 || frame < this.limit || frame + 8 > this.base) return false;
    const handler = this.handler(frame);
    return handler < this.limit || handler >= this.base;
  }

  next(frame: number): number {
    return this.word(frame);
  }
  handler(frame: number): number {
    return this.word(frame + 4);
  }
  /** In a nested record: the frame whose handler was running. */
  establisher(frame: number): number {
    return this.word(frame + 8);
  }

  private word(address: number): number {
    const page = address - address % PAGE_SIZE;
    if (page !== this.page) {
      this.bytes = this.call.memory.bytes(page, PAGE_SIZE);
      this.page = page;
    }
    return get32(this.bytes, address - page);
  }
}

/** RtlUnwind: calls the handlers of the frames above the target with the unwinding flag, takes them off. */
export function* unwind(
  call: KernelCall,
  target: number,
  record: number,
  result: number,
): Generator<Request, number, number> {
  const { memory, teb } = call;
  const after = copyContext(call.context);
  after.eip = call.returnAddress;
  after.registers[0] = result;
  after.registers[4] += 20;
  const context = call.reserve(CONTEXT_SIZE);
  memory.setBytes(context, encodeContext(after, CONTEXT_ALL));
  if (record === 0) {
    record = call.reserve(RECORD_SIZE);
    const address = call.returnAddress;
    memory.setBytes(record, recordBytes({ code: Status.unwind, flags: 0, address, parameters: [] }));
  }
  const flags = memory.u32(record + Record.flags) | ExceptionFlag.unwinding |
    (target === 0 ? ExceptionFlag.exitUnwind : 0);
  memory.setU32(record + Record.flags, flags);
  const nestedHandler = call.kernel.symbol("ntdll.dll", "NestedExceptionHandler");
  const finalHandler = call.kernel.symbol("ntdll.dll", "FinalExceptionHandler");
  const dispatcher = call.reserve(8);
  const chain = new Chain(call);
  let frame = memory.u32(teb + Teb.exceptionList);
  for (let walked = 0; frame !== CHAIN_END && frame !== target; walked++) {
    if (target !== 0 && frame > target) {
      raiseHere(call, Status.invalidUnwindTarget);
      return result;
    }
    if (walked > MAX_FRAMES || !chain.isValid(frame)) {
      raiseHere(call, Status.badStack);
      return result;
    }
    const handler = chain.handler(frame);
    if (handler !== nestedHandler && handler !== finalHandler) {
      yield executeHandler(call, [record, frame, context, dispatcher, handler, nestedHandler]);
      chain.refresh();
    }
    frame = chain.next(frame);
    memory.setU32(teb + Teb.exceptionList, frame);
  }
  return result;
}

/** RtlRaiseException and NtRaiseException: the record is the caller's. */
export function raiseRecord(call: KernelCall, record: number, context: number | undefined): void {
  const bytes = call.memory.bytes(record, RECORD_SIZE);
  const count = Math.min(get32(bytes, Record.count), MAX_PARAMETERS);
  const address = context === undefined ? call.returnAddress : get32(bytes, Record.address);
  if (context === undefined) {
    call.context.eip = call.returnAddress;
    call.context.registers[4] = call.stack + 8;
  } else applyContext(call.context, call.memory.bytes(context, CONTEXT_SIZE));
  call.replaced = true;
  raiseException(call.kernel, call.thread, {
    code: get32(bytes, Record.code),
    flags: get32(bytes, Record.flags),
    address,
    parameters: Array.from({ length: count }, (_, i) => get32(bytes, Record.parameters + i * 4)),
  });
}
