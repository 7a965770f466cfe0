// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the handlers of model functions: plain ones at once, generators in steps between which guest code runs
 * or the thread waits.
 *
 * @module
 */
import type { HandlerResult, Request } from "./api.ts";
import { KernelCall } from "./api_call.ts";
import { get32, words } from "./bytes.ts";
import { Eflags, Status, Wait } from "./constants.ts";
import { assignContext, copyContext } from "./context.ts";
import { raiseException } from "./exceptions.ts";
import type { Kernel } from "./kernel.ts";
import type { CallFrame, Thread } from "./process.ts";
import { Teb } from "./structures.ts";
import { GuestFault } from "./user_memory.ts";
import { deadlineOf, tryWait, waitObjects } from "./wait.ts";

/** Unfinished handlers of one thread; the oldest are forgotten (their callers were left by a jump). */
const MAX_FRAMES = 256;
/** Bytes of `int 2eh`: a call that faulted is repeated from there. */
const CALL_LENGTH = 2;
const ERROR_CALL_NOT_IMPLEMENTED = 120;

/** The thread made a system call: EAX is its number, ESP points at the return address. */
export function systemCall(kernel: Kernel, thread: Thread): void {
  const { context } = thread;
  if (context.eip === kernel.fastCallEnd && !leaveFastCall(kernel, thread)) return;
  const service = kernel.dlls.service(context.registers[0]);
  if (!service) {
    context.registers[0] = Status.invalidSystemService;
    return;
  }
  if (!service.function) {
    kernel.countMissing(service.dll, service.name);
    if (!service.returns) {
      kernel.unsupported = `call of ${service.dll}!${service.name}, whose arguments are not known`;
    }
    context.registers[0] = 0;
    if (service.dll !== "ntdll.dll") sayNotImplemented(thread);
    return;
  }
  const call = new KernelCall(kernel, thread, service);
  try {
    const count = service.function.args;
    const bytes = count === 0 ? undefined : call.memory.bytes(call.stack + 4, count * 4);
    const args = Array.from({ length: count }, (_, i) => get32(bytes!, i * 4));
    call.record = kernel.trace.begin(call, args);
    const result = service.function.handler(call, ...args);
    if (typeof result === "object") {
      if (thread.frames.length >= MAX_FRAMES) thread.frames.shift();
      const frame: CallFrame = {
        call,
        generator: result as CallFrame["generator"],
        context: copyContext(context),
        callbackStack: 0,
        callbackWords: 0,
      };
      thread.frames.push(frame);
      advance(kernel, thread, frame, 0);
    } else complete(kernel, call, result);
  } catch (error) {
    fault(kernel, call, error);
  }
}

/**
 * A system call came through KiFastSystemCall: goes on as if the stub that called this had trapped itself. False
 * when its stack cannot be read, which raises an exception.
 */
function leaveFastCall(kernel: Kernel, thread: Thread): boolean {
  const { context, process } = thread;
  try {
    context.eip = process.user!.memory.u32(context.registers[4]);
    context.registers[4] += 4;
    return true;
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    const { code, parameters } = error;
    raiseException(kernel, thread, { code, flags: 0, address: context.eip - CALL_LENGTH, parameters });
    return false;
  }
}

/** Last error of a function that has no model. */
function sayNotImplemented(thread: Thread): void {
  try {
    thread.process.user!.memory.setU32(thread.teb + Teb.lastError, ERROR_CALL_NOT_IMPLEMENTED);
  } catch (error) {
    // A program may have barred its own TEB.
    if (!(error instanceof GuestFault)) throw error;
  }
}

/** The handler is done: its result goes into EAX, or the exception it asked for is raised. */
function complete(kernel: Kernel, call: KernelCall, result: HandlerResult): void {
  const { thread, raised } = call;
  if (!thread.alive) return;
  if (!call.replaced) thread.context.registers[0] = result ?? 0;
  if (call.record && !raised) call.record.result = thread.context.registers[0] >>> 0;
  if (!raised) return;
  // As if the function had returned: the exception is its caller's.
  const definition = call.service.function!;
  const address = call.returnAddress;
  const removed = definition.convention === "stdcall" ? definition.args * 4 : 0;
  thread.context.eip = address;
  thread.context.registers[4] = call.stack + 4 + removed;
  raiseException(kernel, thread, { ...raised, address });
}

/** The handler touched what its caller may not touch: an exception at the system call itself. */
function fault(kernel: Kernel, call: KernelCall, error: unknown): void {
  if (!(error instanceof GuestFault)) throw error;
  const { thread } = call;
  if (!thread.alive) return;
  thread.context.eip -= CALL_LENGTH;
  raiseException(kernel, thread, {
    code: error.code,
    flags: 0,
    address: thread.context.eip,
    parameters: error.parameters,
  });
}

/** Resumes an unfinished handler with what it waited for. */
export function advance(kernel: Kernel, thread: Thread, frame: CallFrame, value: number): void {
  let step: IteratorResult<Request, HandlerResult>;
  for (;;) {
    try {
      step = frame.generator.next(value);
    } catch (error) {
      drop(thread, frame);
      assignContext(thread.context, frame.context);
      fault(kernel, frame.call, error);
      return;
    }
    if (!thread.alive) return;
    if (step.done) {
      drop(thread, frame);
      if (frame.parent) {
        advance(kernel, thread, frame.parent, step.value ?? 0);
        return;
      }
      if (!frame.call.replaced) assignContext(thread.context, frame.context);
      try {
        complete(kernel, frame.call, step.value);
      } catch (error) {
        fault(kernel, frame.call, error);
      }
      return;
    }
    if (step.value.kind === "invoke") {
      invoke(kernel, thread, frame, step.value);
      return;
    }
    const ready = block(kernel, thread, step.value);
    if (ready === undefined) return;
    value = ready;
  }
}

function drop(thread: Thread, frame: CallFrame): void {
  const index = thread.frames.indexOf(frame);
  if (index >= 0) thread.frames.length = index;
}

/** Sends the thread into guest code that will come back through the callback gate. */
function invoke(
  kernel: Kernel,
  thread: Thread,
  frame: CallFrame,
  request: Extract<Request, { kind: "invoke" }>,
): void {
  const { context } = thread;
  const args = request.args.slice(0, 64);
  const stack = (frame.call.stackPointer - 4 * (args.length + 1)) >>> 0;
  assignContext(context, frame.context);
  try {
    frame.call.memory.setBytes(stack, words([kernel.symbol("ntdll.dll", "NtCallbackReturn"), ...args]));
  } catch (error) {
    drop(thread, frame);
    fault(kernel, frame.call, error);
    return;
  }
  frame.callbackStack = stack;
  frame.callbackWords = args.length;
  context.registers[4] = stack;
  context.eip = request.address;
  context.eflags &= ~(Eflags.trap | Eflags.direction);
}

/** Guest code that a handler called has returned; EAX is its result. False when nobody waits for it. */
export function callbackReturn(kernel: Kernel, thread: Thread): boolean {
  const { frames, context } = thread;
  const esp = context.registers[4];
  for (let i = frames.length - 1; i >= 0; i--) {
    const frame = frames[i];
    if (frame.callbackStack === 0) continue;
    const popped = esp - frame.callbackStack;
    if (popped < 4 || popped > 4 + frame.callbackWords * 4) continue;
    frames.length = i + 1;
    frame.callbackStack = 0;
    advance(kernel, thread, frame, context.registers[0]);
    return true;
  }
  return false;
}

/** Starts a wait; its result when it ends at once. */
function block(
  kernel: Kernel,
  thread: Thread,
  request: Exclude<Request, { kind: "invoke" }>,
): number | undefined {
  const alertable = request.alertable ?? false;
  kernel.timers.expire(kernel.clock.now);
  if (request.kind === "sleep") {
    const deadline = deadlineOf(kernel, request.milliseconds);
    thread.waiting = { objects: [], all: false, deadline, alertable };
  } else {
    const objects = waitObjects(thread, request.handles);
    if (!objects) return Wait.failed;
    thread.waiting = {
      objects,
      all: request.all,
      deadline: deadlineOf(kernel, request.timeout),
      alertable,
    };
  }
  // A sleep always gives the others their turn, and APCs are run by the scheduler's way.
  if (request.kind === "sleep" || (alertable && thread.apcs.length > 0)) return undefined;
  const result = tryWait(kernel, thread, thread.waiting);
  if (result !== undefined) thread.waiting = undefined;
  return result;
}

/** Runs in the thread's own address space: resumes the handler that waited. */
export function resumeWait(kernel: Kernel, thread: Thread): void {
  const value = thread.wakeValue;
  if (value === undefined) return;
  const frame = thread.frames[thread.frames.length - 1];
  if (!frame) {
    thread.wakeValue = undefined;
    return;
  }
  if (value === Wait.ioCompletion && thread.apcs.length > 0) {
    const runner: CallFrame = {
      call: frame.call,
      generator: apcRunner(thread),
      context: frame.context,
      callbackStack: 0,
      callbackWords: 0,
      parent: frame,
    };
    thread.wakeValue = undefined;
    thread.frames.push(runner);
    advance(kernel, thread, runner, 0);
    return;
  }
  thread.wakeValue = undefined;
  advance(kernel, thread, frame, value);
}

function* apcRunner(thread: Thread): Generator<Request, HandlerResult, number> {
  yield* thread.runApcs();
  return Wait.ioCompletion;
}
