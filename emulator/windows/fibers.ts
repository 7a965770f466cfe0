// SPDX-License-Identifier: Apache-2.0
/**
 * Fibers: stacks and registers that a thread changes between by itself. A fiber's address is that of its data in
 * the guest: the parameter, the exception list and the bounds of its stack, where Windows has them; its
 * registers are kept outside.
 *
 * @module
 */
import { stdcall } from "./api.ts";
import type { ApiCall, DllFunction } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { words } from "./bytes.ts";
import { Memory, Protect } from "./constants.ts";
import { assignContext, copyContext, newContext } from "./context.ts";
import type { Context } from "./context.ts";
import { Teb } from "./structures.ts";

const FIBER_SIZE = 0x300;
/** TEB: data of the running fiber (the version of the OS/2 subsystem where there is none), and flags. */
const FIBER_DATA = 0x10;
const SAME_TEB_FLAGS = 0xfca;
const HAS_FIBER_DATA = 4;
const NO_FIBER = 0x1e00;
const MAX_FIBERS = 1024;
const MAX_STACK = 0x100_0000;
const ERROR_INVALID_PARAMETER = 87;
const ERROR_NOT_ENOUGH_MEMORY = 8;
const ERROR_ALREADY_FIBER = 1280;
const ERROR_NOT_FIBER = 1281;

interface Fiber {
  context: Context | undefined;
  /** Allocation of its stack; 0: a thread's own. */
  readonly stack: number;
}

const fibers = (call: ApiCall) => call.state("fibers", () => new Map<number, Fiber>());

const isFiber = (call: ApiCall) => (call.memory.u16(call.teb + SAME_TEB_FLAGS) & HAS_FIBER_DATA) !== 0;

/** Takes note of a fiber; its address, 0 when there is no room. */
function add(call: ApiCall, stack: number, parameter: number, bounds: readonly number[]): number {
  const address = fibers(call).size < MAX_FIBERS
    ? call.heaps.allocate(call.heaps.processHeap, FIBER_SIZE, true)
    : 0;
  if (address === 0) return call.fail(ERROR_NOT_ENOUGH_MEMORY);
  call.memory.setBytes(address, words([parameter, 0xffffffff, ...bounds]));
  fibers(call).set(address, { context: undefined, stack });
  return address;
}

function fromThread(call: ApiCall, parameter: number): number {
  if (isFiber(call)) return call.fail(ERROR_ALREADY_FIBER);
  const bounds = [Teb.stackBase, Teb.stackLimit, Teb.deallocationStack].map((at) =>
    call.memory.u32(call.teb + at)
  );
  const address = add(call, 0, parameter, bounds);
  if (address === 0) return 0;
  call.memory.setU32(call.teb + FIBER_DATA, address);
  call.memory.setU16(call.teb + SAME_TEB_FLAGS, call.memory.u16(call.teb + SAME_TEB_FLAGS) | HAS_FIBER_DATA);
  return address;
}

function toThread(call: ApiCall): number {
  if (!isFiber(call)) return call.fail(ERROR_NOT_FIBER);
  const address = call.memory.u32(call.teb + FIBER_DATA);
  fibers(call).delete(address);
  call.heaps.free(call.heaps.processHeap, address);
  call.memory.setU32(call.teb + FIBER_DATA, NO_FIBER);
  call.memory.setU16(call.teb + SAME_TEB_FLAGS, call.memory.u16(call.teb + SAME_TEB_FLAGS) & ~HAS_FIBER_DATA);
  return 1;
}

/** Makes a fiber that begins at `start` with the parameter; a start that returns ends the thread. */
function create(call: ApiCall, commit: number, reserve: number, start: number, parameter: number): number {
  const wanted = Math.min(Math.max(reserve, commit, 0x1_0000), MAX_STACK);
  const made = call.virtual.allocate(0, wanted, Memory.reserve | Memory.commit, Protect.readWrite);
  if (made.status !== 0) return call.fail(ERROR_NOT_ENOUGH_MEMORY);
  const top = made.base + made.size;
  const address = add(call, made.base, parameter, [top, made.base, made.base]);
  if (address === 0) {
    call.virtual.free(made.base, 0, Memory.release);
    return 0;
  }
  const { kernel } = call as KernelCall;
  const context = newContext();
  const exit = call.modules.export(call.modules.find("kernel32.dll")!, "ExitThread");
  context.eip = start;
  context.registers[4] = top - 0x20;
  call.memory.setBytes(top - 0x20, words([exit, parameter]));
  call.memory.setBytes(top - 0x10, words([0xffffffff, kernel.symbol("ntdll.dll", "FinalExceptionHandler")]));
  call.memory.setU32(address + 4, top - 0x10);
  fibers(call).get(address)!.context = context;
  return address;
}

/** Keeps the caller's registers in its fiber and goes on with another's. */
function change(call: ApiCall, target: number): void {
  const own = call as KernelCall;
  const table = fibers(call);
  const wanted = table.get(target);
  const here = table.get(call.memory.u32(call.teb + FIBER_DATA));
  if (!wanted?.context || !here) return void call.fail(ERROR_INVALID_PARAMETER);
  const from = call.memory.u32(call.teb + FIBER_DATA);
  const { memory, teb } = call;
  const context = copyContext(own.context);
  context.eip = call.returnAddress;
  context.registers[4] = call.stack + 8;
  here.context = context;
  const fields = [Teb.exceptionList, Teb.stackBase, Teb.stackLimit, Teb.deallocationStack];
  fields.forEach((field, i) => memory.setU32(from + 4 + 4 * i, memory.u32(teb + field)));
  fields.forEach((field, i) => memory.setU32(teb + field, memory.u32(target + 4 + 4 * i)));
  memory.setU32(teb + FIBER_DATA, target);
  own.replaced = true;
  assignContext(own.context, wanted.context);
  wanted.context = undefined;
}

function remove(call: ApiCall, address: number): void {
  const fiber = fibers(call).get(address);
  if (!fiber) return;
  if (isFiber(call) && call.memory.u32(call.teb + FIBER_DATA) === address) return call.exitThread(1);
  fibers(call).delete(address);
  if (fiber.stack !== 0) call.virtual.free(fiber.stack, 0, Memory.release);
  call.heaps.free(call.heaps.processHeap, address);
}

/** kernel32's functions of fibers. */
export const FIBERS: readonly DllFunction[] = [
  stdcall("ConvertThreadToFiber", 1, fromThread),
  stdcall("ConvertThreadToFiberEx", 2, fromThread),
  stdcall("ConvertFiberToThread", 0, toThread),
  stdcall("CreateFiber", 3, (call, size, start, parameter) => create(call, 0, size, start, parameter)),
  stdcall(
    "CreateFiberEx",
    5,
    (call, commit, reserve, _flags, start, parameter) => create(call, commit, reserve, start, parameter),
  ),
  stdcall("SwitchToFiber", 1, change),
  stdcall("DeleteFiber", 1, remove),
  stdcall("IsThreadAFiber", 0, (call) => isFiber(call) ? 1 : 0),
];
