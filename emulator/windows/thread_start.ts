// SPDX-License-Identifier: Apache-2.0
/**
 * LdrInitializeThunk: where every thread runs first. The process's first thread loads its DLLs, binds its
 * imports and sets up its heap; every thread gets its TLS and the registers it starts with.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import type { Request } from "./api.ts";
import { callModules, Reason } from "./callouts.ts";
import { createProcessHeap } from "./api_call.ts";
import type { KernelCall } from "./api_call.ts";
import { hex, words } from "./bytes.ts";
import { Status } from "./constants.ts";
import { assignContext, newContext } from "./context.ts";
import {
  allocateTls,
  bindImports,
  initializeModuleLists,
  loadModelDll,
  readTls,
  registerModule,
  relocate,
} from "./loader.ts";
import { parsePe } from "./pe.ts";
import type { PeFile } from "./pe.ts";
import { endProcess } from "./process_life.ts";
import { Peb, Teb } from "./structures.ts";
import { GuestFault } from "./user_memory.ts";

/** Below the top of a first stack: the last exception record, and ESP of the thread's first function. */
const LAST_RECORD = 0x3c;
const START_STACK = 0x6c;
/** Headers are read from memory when another program was put into the process. */
const MAX_HEADERS = 0x4000;

/** See the module's description. */
export function* startThread(call: KernelCall): Generator<Request, void, number> {
  const { process, thread, kernel, memory } = call;
  const isFirst = process.modules.length === 0;
  if (isFirst) {
    const problem = initializeProcess(call);
    if (problem) {
      endProcess(kernel, process, problem.code, { code: problem.code, address: 0, detail: problem.detail });
      return;
    }
  }
  const tls = allocateTls(process);
  if (tls !== 0) memory.setU32(call.teb + Teb.tlsPointer, tls);
  const record = thread.stackHigh - LAST_RECORD;
  memory.setBytes(record, words([0xffffffff, kernel.symbol("ntdll.dll", "FinalExceptionHandler")]));
  memory.setU32(call.teb + Teb.exceptionList, record);
  call.stackPointer = record - 0x100;
  if (isFirst) { for (const module of process.initialized) module.attached = true; }
  const refuses = yield* callModules(call, isFirst ? Reason.processAttach : Reason.threadAttach);
  if (refuses) {
    const { code, detail } = problem(Status.dllInitFailed, `${refuses.name} failed to initialize`);
    return endProcess(kernel, process, code, { code, address: 0, detail });
  }
  yield* thread.runApcs();
  enterStart(call);
}

/** Puts the registers into the thread with which its start function begins. */
function enterStart(call: KernelCall): void {
  const { thread, kernel, memory } = call;
  const wanted = thread.startContext!;
  call.replaced = true;
  assignContext(thread.context, wanted);
  if (wanted.eip !== kernel.symbol("ntdll.dll", "RtlUserThreadStart")) return;
  const kernel32 = call.process.modules.find((module) => module.name === "kernel32.dll")!;
  const thunk = kernel32.base + kernel32.image!.exports.get("BaseThreadInitThunk")!.rva;
  const context = newContext();
  const esp = thread.stackHigh - START_STACK;
  // As Windows 7 leaves them: EAX the thunk, EBX the PEB, EDX the start function.
  context.eip = thunk;
  context.registers.set([thunk, 0, wanted.registers[0], call.peb, esp, esp, 0, 0]);
  context.debug.set(wanted.debug);
  const parameter = wanted.registers[3];
  memory.setBytes(esp, words([kernel.symbol("ntdll.dll", "RtlUserThreadStart") + 0x1b, parameter]));
  assignContext(thread.context, context);
}

interface Problem {
  readonly code: number;
  readonly detail: string;
}

/** Loads and binds; undefined when all went well. */
function initializeProcess(call: KernelCall): Problem | undefined {
  try {
    return loadProgram(call);
  } catch (error) {
    if (error instanceof GuestFault) {
      const at = error.parameters[1] ?? 0;
      return problem(Status.invalidImageFormat, `a table of the program points outside it (${hex(at)})`);
    }
    if (error instanceof InputError) return problem(Status.invalidImageFormat, error.message);
    throw error;
  }
}

function problem(code: number, detail: string): Problem {
  return { code, detail: `cannot start the program (${hex(code)}): ${detail}` };
}

function loadProgram(call: KernelCall): Problem | undefined {
  const { process, kernel } = call;
  const { memory, peb, manager, imageBase: mappedBase, image } = process.user!;
  const noMemory = problem(Status.noMemory, "no memory for the loader's data");
  if (!initializeModuleLists(process) || !createProcessHeap(process, kernel.layout.heapBase())) {
    return noMemory;
  }
  // The image named by the PEB is what counts: a parent may have put another one in its place.
  const base = memory.u32(peb + Peb.imageBaseAddress);
  const original = base === mappedBase && manager.vads.find(base >>> 12)?.section === image;
  const pe = original ? process.user!.pe : headersInMemory(call, base);
  const entry = pe.entryPoint === 0 ? 0 : base + pe.entryPoint;
  const { name, path } = process.identity;
  const main = { name, path, base, size: pe.sizeOfImage, entryPoint: entry, image: undefined };
  if (!registerModule(process, main, false)) return noMemory;
  const ntdll = kernel.dlls.file("ntdll.dll")!.image;
  const ntdllModule = {
    name: "ntdll.dll",
    path: "C:\\Windows\\SYSTEM32\\ntdll.dll",
    base: ntdll.definition.base,
    size: ntdll.sizeOfImage,
    entryPoint: ntdll.definition.base + ntdll.entryPoint,
    image: ntdll,
  };
  if (!registerModule(process, ntdllModule, true)) return noMemory;
  if (!loadModelDll(kernel, process, call, "kernel32.dll")) return noMemory;
  if (kernel.dlls.has("kernelbase.dll") && !loadModelDll(kernel, process, call, "kernelbase.dll")) {
    return noMemory;
  }
  if (original && base !== pe.imageBase && !relocate(process, pe, base)) {
    return problem(
      Status.conflictingAddresses,
      `its base ${hex(pe.imageBase)} is taken, it has no relocations`,
    );
  }
  bindImports(kernel, process, call, pe, base);
  readTls(process, pe, base);
  return undefined;
}

function headersInMemory(call: KernelCall, base: number): PeFile {
  const { memory } = call;
  let size = 0;
  while (size < MAX_HEADERS && memory.accessible(base + size, 0x1000, false)) size += 0x1000;
  return parsePe(memory.bytes(base, size), call.process.identity.name);
}
