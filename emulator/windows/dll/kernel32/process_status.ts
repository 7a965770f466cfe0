// SPDX-License-Identifier: Apache-2.0
/** psapi.dll's functions, which kernel32 has too under names that begin with K32. @module */
import type { ApiCall, Module } from "../../api.ts";
import { alias, both, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { fill } from "../shared/text.ts";

const devicePath = (path: string) => path.replace(/^[a-z]:/i, "\\Device\\HarddiskVolume2");

/** Modules of the process that a handle names; undefined, with last error set, when there are none to see. */
function modulesOf(call: ApiCall, process: number): readonly Module[] | undefined {
  const pid = call.system.processId(process);
  const modules = pid === 0 ? undefined : call.system.modulesOf(pid);
  // A process that has not run yet has no list of modules to read.
  if (!modules?.length) call.lastError = pid === 0 ? Win32.invalidHandle : Win32.partialCopy;
  return modules?.length ? modules : undefined;
}

/** A module by its base, 0 being the program. */
function moduleIn(call: ApiCall, process: number, base: number): Module | undefined {
  const modules = modulesOf(call, process);
  if (!modules) return undefined;
  const found = base === 0 ? modules[0] : modules.find((module) => module.base === base);
  if (!found) call.lastError = Win32.invalidHandle;
  return found;
}

function listModules(call: ApiCall, process: number, buffer: number, size: number, needed: number) {
  const modules = modulesOf(call, process);
  if (!modules) return 0;
  modules.slice(0, size >>> 2).forEach((module, i) => call.memory.setU32(buffer + 4 * i, module.base));
  call.memory.setU32(needed, 4 * modules.length);
  return 1;
}

const named =
  (what: (module: Module) => string) =>
  (wide: boolean) =>
  (call: ApiCall, process: number, base: number, buffer: number, capacity: number) => {
    const found = moduleIn(call, process, base);
    if (!found) return 0;
    if (capacity === 0) return call.fail(Win32.insufficientBuffer);
    return fill(call, buffer, capacity, what(found).slice(0, capacity - 1), wide);
  };

/** psapi's functions. */
export const processStatus: Handlers = {
  ...both({
    GetModuleFileNameEx: named((module) => module.path),
    GetModuleBaseName: named((module) => module.name),
    GetProcessImageFileName: (wide) => (call, process, buffer, capacity) => {
      const pid = call.system.processId(process);
      const found = call.system.processes().find((one) => one.pid === pid);
      if (!found) return call.fail(Win32.invalidHandle);
      const path = devicePath(found.path);
      if (path.length >= capacity) return call.fail(Win32.insufficientBuffer);
      return fill(call, buffer, capacity, path, wide);
    },
    GetMappedFileName: (wide) => (call, process, address, buffer, capacity) => {
      const module = modulesOf(call, process)?.find(({ base, size }) =>
        address >= base && address < base + size
      );
      if (!module) return call.fail(Win32.invalidParameter);
      return fill(call, buffer, capacity, devicePath(module.path), wide);
    },
  }),
  EnumProcesses: (call, buffer, size, needed) => {
    const pids = [0, ...call.system.processes().map((process) => process.pid)].slice(0, size >>> 2);
    pids.forEach((pid, i) => call.memory.setU32(buffer + 4 * i, pid));
    call.memory.setU32(needed, 4 * pids.length);
    return 1;
  },
  ...alias(["EnumProcessModules", "EnumProcessModulesEx"], listModules),
  GetModuleInformation: (call, process, base, buffer) => {
    const found = moduleIn(call, process, base);
    if (!found) return 0;
    [found.base, found.size, found.entryPoint].forEach((value, i) =>
      call.memory.setU32(buffer + 4 * i, value)
    );
    return 1;
  },
  GetProcessMemoryInfo: (call, process, buffer, size) => {
    if (call.system.processId(process) === 0) return call.fail(Win32.invalidHandle);
    const counters = [40, 1210, 4943872, 4882432, 98304, 98304, 4096, 4096, 1830912, 1900544];
    counters.slice(0, size >>> 2).forEach((value, i) => call.memory.setU32(buffer + 4 * i, value));
    return 1;
  },
  EmptyWorkingSet: () => 1,
  EnumDeviceDrivers: (call, _buffer, _size, needed) => {
    call.memory.setU32(needed, 0);
    return 1;
  },
};

/** The same under kernel32's names. */
export const kernelProcessStatus: Handlers = Object.fromEntries(
  Object.entries(processStatus).map(([name, handler]) => [`K32${name}`, handler]),
);
