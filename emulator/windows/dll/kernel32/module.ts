// SPDX-License-Identifier: Apache-2.0
/** kernel32: modules and their exports. @module */
import type { ApiCall, HandlerResult, Module, Request } from "../../api.ts";
import { leaveThread } from "../../callouts.ts";
import { both, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { lasting, store, text } from "../shared/text.ts";

/**
 * Loads a DLL and runs the entry points of everything that came with it, dependencies first; undefined, with
 * last error set, when there is no such DLL or it refuses.
 */
export function* loadAndAttach(
  call: ApiCall,
  name: string,
  quiet = false,
): Generator<Request, Module | undefined, number> {
  const module = call.modules.load(name);
  if (!module) {
    call.lastError = Win32.modNotFound;
    return undefined;
  }
  if (quiet || (yield* call.modules.attach(module))) return module;
  call.lastError = 1114;
  return undefined;
}

const DONT_RESOLVE = 1;
const AS_DATA = 0x62;

function* load(
  call: ApiCall,
  wide: boolean,
  name: number,
  flags: number,
): Generator<Request, HandlerResult, number> {
  if (name === 0) return call.fail(Win32.invalidParameter);
  const wanted = text(call, name, wide, 1024);
  if (wanted === "") return call.fail(Win32.invalidParameter);
  const module = yield* loadAndAttach(call, wanted, (flags & (DONT_RESOLVE | AS_DATA)) !== 0);
  return module?.base ?? 0;
}

/** The module behind a handle: 0 is the program; the low bits of a handle mark data files. */
export function moduleOf(call: ApiCall, handle: number): Module | undefined {
  if (handle === 0) return call.modules.main;
  const module = call.modules.at((handle & ~3) >>> 0);
  return module && module.base === (handle & ~3) >>> 0 ? module : undefined;
}

function handleOf(call: ApiCall, name: number, wide: boolean): Module | undefined {
  if (name === 0) return call.modules.main;
  const wanted = text(call, name, wide, 1024);
  return wanted === "" ? undefined : call.modules.find(wanted);
}

/** Address of an export by name pointer or ordinal. */
export function procedure(call: ApiCall, module: Module, name: number): number {
  return call.modules.export(module, name < 0x10000 ? name : text(call, name, false, 4096));
}

export const module: Handlers = {
  ...both({
    GetModuleHandle: (wide) => (call, name) =>
      handleOf(call, name, wide)?.base ?? call.fail(Win32.modNotFound),
    GetModuleHandleEx: (wide) => (call, flags, name, result) => {
      const found = flags & 4 ? call.modules.at(name) : handleOf(call, name, wide);
      call.memory.setU32(result, found?.base ?? 0);
      return found ? 1 : call.fail(Win32.modNotFound);
    },
    LoadLibrary: (wide) => (call, name) => load(call, wide, name, 0),
    LoadLibraryEx: (wide) => (call, name, _file, flags) => load(call, wide, name, flags),
    GetModuleFileName: (wide) => (call, handle, buffer, capacity) => {
      const module = moduleOf(call, handle);
      if (!module) return call.fail(Win32.modNotFound);
      const path = handle === 0 ? call.imagePath : module.path;
      if (path.length < capacity) {
        store(call, buffer, path, wide);
        call.lastError = 0;
        return path.length;
      }
      if (capacity > 0) store(call, buffer, path.slice(0, capacity - 1), wide);
      return call.fail(Win32.insufficientBuffer, capacity);
    },
    SetDllDirectory: () => () => 1,
    GetDllDirectory: (wide) => (call, capacity, buffer) => {
      if (capacity > 0) store(call, buffer, "", wide);
      return 0;
    },
  }),
  GetProcAddress: (call, handle, name) => {
    const module = moduleOf(call, handle);
    if (!module) return call.fail(Win32.modNotFound);
    return procedure(call, module, name) || call.fail(Win32.procNotFound);
  },
  LoadModule: (call) => call.fail(Win32.fileNotFound, Win32.fileNotFound),
  FreeLibrary: function* (call, handle) {
    const module = moduleOf(call, handle);
    if (!module) return call.fail(Win32.modNotFound);
    yield* call.modules.release(module);
    return 1;
  },
  FreeLibraryAndExitThread: function* (call, handle, code) {
    const module = moduleOf(call, handle);
    if (module) yield* call.modules.release(module);
    yield* leaveThread(call, code);
  },
  DisableThreadLibraryCalls: (call, handle) => {
    const module = moduleOf(call, handle);
    if (!module) return call.fail(Win32.modNotFound);
    call.modules.silence(module);
    return 1;
  },
  SetDefaultDllDirectories: () => 1,
  SetSearchPathMode: () => 1,
};

/** Command line as the functions hand it out. */
export function commandLinePointer(call: ApiCall, wide: boolean): number {
  if (wide) {
    const parameters = call.memory.u32(call.peb + 0x10);
    const pointer = parameters ? call.memory.u32(parameters + 0x44) : 0;
    if (pointer) return pointer;
  }
  return lasting(call, "command-line", call.commandLine, wide);
}
