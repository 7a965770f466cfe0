// SPDX-License-Identifier: Apache-2.0
/**
 * Functions of ntdll and kernel32 that belong to the kernel's model: how threads start, how exceptions are
 * dispatched and unwound, how callbacks return.
 *
 * @module
 */
import { stdcall } from "./api.ts";
import type { ApiCall, DllDefinition, DllFunction } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { code, Interrupt } from "./assembler.ts";
import { CONTEXT_FULL, copyContext, encodeContext } from "./context.ts";
import { continueWith, dispatchException, raiseRecord } from "./exceptions.ts";
import { FIBERS } from "./fibers.ts";
import { POOL_KERNEL32, POOL_NTDLL, WORKER } from "./thread_pool.ts";
import { leaveThread } from "./callouts.ts";
import { startThread } from "./thread_start.ts";
import { unhandledFilter } from "./unhandled_filter.ts";
import { unwind } from "./unwind.ts";

/** The kernel's own functions see the kernel behind the call. */
const own = (call: ApiCall) => call as KernelCall;

/** A function that is machine code only. */
function machineCode(name: string, args: number, bytes: Uint8Array): DllFunction {
  return { name, convention: "stdcall", args, code: bytes, handler: (call) => call.missing(name) };
}

/**
 * Calls an exception handler with a nested record on the chain, so that an exception in the handler is
 * known for what it is: (record, frame, context, dispatcher, handler, nested handler).
 */
const EXECUTE_HANDLER = code(
  ...[0x55, 0x8b, 0xec],
  // xor eax, eax; xor ebx, ebx; xor esi, esi; xor edi, edi
  ...[0x33, 0xc0, 0x33, 0xdb, 0x33, 0xf6, 0x33, 0xff],
  // push [ebp+0ch] (frame); push [ebp+1ch] (nested handler); push fs:[0]; mov fs:[0], esp
  ...[0xff, 0x75, 0x0c, 0xff, 0x75, 0x1c, 0x64, 0xff, 0x35, 0, 0, 0, 0, 0x64, 0x89, 0x25, 0, 0, 0, 0],
  // push dispatcher, context, frame, record; mov ecx, [ebp+18h]; call ecx
  ...[0xff, 0x75, 0x14, 0xff, 0x75, 0x10, 0xff, 0x75, 0x0c, 0xff, 0x75, 0x08, 0x8b, 0x4d, 0x18, 0xff, 0xd1],
  // mov esp, fs:[0]; pop fs:[0]; mov esp, ebp; pop ebp; ret 18h
  ...[0x64, 0x8b, 0x25, 0, 0, 0, 0, 0x64, 0x8f, 0x05, 0, 0, 0, 0, 0x8b, 0xe5, 0x5d, 0xc2, 0x18, 0],
);

/** `mov eax, 1; ret`: handlers whose work the dispatcher does itself. */
const SEARCH_ON = code(0xb8, 1, 0, 0, 0, 0xc3);

/** `int 2bh; ret 12`: where callbacks return to. */
const CALLBACK_RETURN = code(0xcd, Interrupt.callbackReturn, 0xc2, 12, 0);

/** `push [esp+4]; call edx; push eax; push eax`: runs the start function, its result is the exit code. */
const CALL_START = code(0xff, 0x74, 0x24, 4, 0xff, 0xd2, 0x50, 0x50);

/** `mov edx, esp; int 2eh` and `ret`: Windows has SYSENTER there, which does the same. */
const FAST_CALL = code(0x8b, 0xd4, 0xcd, Interrupt.systemCall, 0xc3);
/** Bytes up to where a system call goes on. */
export const FAST_CALL_LENGTH = 4;

const continueHandler = (call: ApiCall, context: number) => continueWith(own(call), context);
const raiseHandler = (call: ApiCall, record: number, context: number) =>
  raiseRecord(own(call), record, context);

const NTDLL: readonly DllFunction[] = [
  stdcall("KiUserExceptionDispatcher", 0, (call) => dispatchException(own(call))),
  stdcall("LdrInitializeThunk", 0, (call) => startThread(own(call))),
  stdcall("RtlUserThreadStart", 0, (call) => startThread(own(call))),
  stdcall("NtContinue", 2, continueHandler),
  stdcall("ZwContinue", 2, continueHandler),
  stdcall("RtlUnwind", 4, (call, target, _ip, record, value) => unwind(own(call), target, record, value)),
  stdcall("RtlRaiseException", 1, (call, record) => raiseRecord(own(call), record, undefined)),
  stdcall("NtRaiseException", 3, raiseHandler),
  stdcall("ZwRaiseException", 3, raiseHandler),
  stdcall("RtlCaptureContext", 1, (call, address) => {
    const context = copyContext(own(call).context);
    context.eip = call.returnAddress;
    context.registers[4] = call.stack + 8;
    call.memory.setBytes(address, encodeContext(context, CONTEXT_FULL));
    own(call).replaced = true;
  }),
  ...POOL_NTDLL,
  machineCode("KiFastSystemCall", 0, FAST_CALL),
  machineCode("KiFastSystemCallRet", 0, code(0xc3)),
  machineCode("DbgBreakPoint", 0, code(0xcc, 0xc3)),
  machineCode("DbgUserBreakPoint", 0, code(0xcc, 0xc3)),
  machineCode("NtCallbackReturn", 3, CALLBACK_RETURN),
  machineCode("ZwCallbackReturn", 3, CALLBACK_RETURN),
];

const KERNEL32: readonly DllFunction[] = [
  stdcall("UnhandledExceptionFilter", 1, (call, pointers) => unhandledFilter(own(call), pointers)),
  ...POOL_KERNEL32,
  ...FIBERS,
  { ...stdcall("BaseThreadInitThunk", 1, (call, exitCode) => leaveThread(call, exitCode)), head: CALL_START },
];

/** Functions in the code of a DLL that are not exported. */
export const INTERNALS: Readonly<Record<string, readonly DllFunction[]>> = {
  "ntdll.dll": [
    machineCode("ExecuteHandler", 6, EXECUTE_HANDLER),
    machineCode("NestedExceptionHandler", 4, SEARCH_ON),
    machineCode("UnwindHandler", 4, SEARCH_ON),
    machineCode("FinalExceptionHandler", 4, SEARCH_ON),
    WORKER,
  ],
};

/** Names of kernel32 that lead to the functions above. */
const FORWARDS = { RtlUnwind: "NTDLL.RtlUnwind", RtlCaptureContext: "NTDLL.RtlCaptureContext" };

/** The DLLs with the kernel's functions in the place of any of the same name. */
export function withKernelFunctions(definitions: readonly DllDefinition[]): DllDefinition[] {
  const given = new Map(definitions.map((one) => [one.name, one]));
  const ntdll = given.get("ntdll.dll") ?? { name: "ntdll.dll", base: 0x77ec_0000, functions: [] };
  const kernel32 = given.get("kernel32.dll") ?? { name: "kernel32.dll", base: 0x77de_0000, functions: [] };
  given.set("ntdll.dll", merge(ntdll, NTDLL, {}));
  given.set("kernel32.dll", merge(kernel32, KERNEL32, FORWARDS));
  return [...given.values()];
}

function merge(
  definition: DllDefinition,
  functions: readonly DllFunction[],
  forwards: Readonly<Record<string, string>>,
): DllDefinition {
  const names = new Set([...functions.map((one) => one.name), ...Object.keys(forwards)]);
  const without = <T>(record: Readonly<Record<string, T>> = {}) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !names.has(name)));
  return {
    ...definition,
    functions: [...functions, ...definition.functions.filter((one) => !names.has(one.name))],
    forwards: { ...without(definition.forwards), ...forwards },
    known: without(definition.known),
  };
}
