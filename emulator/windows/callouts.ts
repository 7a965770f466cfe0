// SPDX-License-Identifier: Apache-2.0
/**
 * What the loader calls in modules when processes and threads begin and end: TLS callbacks and the entry
 * points of DLLs.
 *
 * @module
 */
import type { ApiCall, Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import type { LoadedModule } from "./modules.ts";
import { endThread } from "./process_life.ts";

/** Why a module is called (DLL_…). */
export const Reason = { processDetach: 0, processAttach: 1, threadAttach: 2, threadDetach: 3 } as const;

const MAX_TLS_CALLBACKS = 64;
const SHUTTING_DOWN = "shutting-down";

/** Calls a module's TLS callbacks, read one by one while they run: a callback may add others. */
function* callTls(call: KernelCall, base: number, reason: number): Generator<Request, void, number> {
  const array = call.process.tlsCallbacks.get(base);
  for (let i = 0; array !== undefined && i < MAX_TLS_CALLBACKS; i++) {
    const address = call.memory.u32(array + 4 * i);
    if (address === 0) return;
    yield { kind: "invoke", address, args: [base, reason, 0] };
  }
}

/** Calls a DLL: its TLS callbacks, then its entry point, whose answer is the result (1: it has none). */
export function* callDll(
  call: KernelCall,
  module: LoadedModule,
  reason: number,
  reserved: number,
): Generator<Request, number, number> {
  yield* callTls(call, module.base, reason);
  if (module.entryPoint === 0 || module.image) return 1;
  return yield { kind: "invoke", address: module.entryPoint, args: [module.base, reason, reserved] };
}

/**
 * Tells all modules: DLLs in the order of their initialization (the other way round at an end), then the
 * program. Returns the DLL that does not want the process to start, if one does.
 */
export function* callModules(
  call: KernelCall,
  reason: number,
): Generator<Request, LoadedModule | undefined, number> {
  const { process } = call;
  const isEnd = reason === Reason.processDetach || reason === Reason.threadDetach;
  const ofThread = reason === Reason.threadAttach || reason === Reason.threadDetach;
  const dlls = process.initialized.filter((one) => !(ofThread && process.quiet.has(one.base)));
  if (isEnd) dlls.reverse();
  for (const module of dlls) {
    const went = yield* callDll(call, module, reason, ofThread ? 0 : 1);
    if (went === 0 && reason === Reason.processAttach) return module;
  }
  const [main] = process.modules;
  if (main) yield* callTls(call, main.base, reason);
  return undefined;
}

/** What ExitProcess does before the process ends: the other threads are gone, modules are told. */
export function* shutDown(call: KernelCall): Generator<Request, void, number> {
  const { process, kernel, thread } = call;
  if (process.states.has(SHUTTING_DOWN)) return;
  process.states.set(SHUTTING_DOWN, true);
  for (const other of [...process.threads]) if (other !== thread) endThread(kernel, other, 0);
  yield* callModules(call, Reason.processDetach);
}

/** Ends the calling thread as ExitThread does; with the last one the process ends. */
export function* leaveThread(call: ApiCall, code: number): Generator<Request, void, number> {
  const { process } = call as KernelCall;
  if (process.threads.length > 1) yield* callModules(call as KernelCall, Reason.threadDetach);
  else yield* shutDown(call as KernelCall);
  call.exitThread(code);
}
