// SPDX-License-Identifier: Apache-2.0
/** kernel32: processes. @module */
import type { ApiCall } from "../../api.ts";
import { alias, both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { flushAll, fullPath } from "../shared/filesystem.ts";
import { fill, lasting, text } from "../shared/text.ts";
import { commandLinePointer } from "./module.ts";

const SELF = 0xffffffff;
const STILL_ACTIVE = 259;

/** The program of a command line: in quotes, or up to a blank where that names a file. */
function programOf(call: ApiCall, commandLine: string): string {
  const quoted = /^\s*"([^"]*)"/.exec(commandLine);
  if (quoted) return quoted[1];
  const words = commandLine.trim().split(" ");
  for (let i = 1; i <= Math.min(words.length, 16); i++) {
    const name = words.slice(0, i).join(" ");
    if (locate(call, name)) return name;
  }
  return words[0];
}

/** Where a program is looked for: as named, the program's folder, the current one, the system's. */
function locate(call: ApiCall, name: string): string | undefined {
  if (name === "") return undefined;
  const withSuffix = /\.[^\\/.]+$/.test(name) ? name : name + ".exe";
  const folders = /[\\/]/.test(name) ? [""] : [
    call.imagePath.slice(0, call.imagePath.lastIndexOf("\\") + 1),
    call.files.currentDirectory.replace(/\\?$/, "\\"),
    "C:\\Windows\\System32\\",
    "C:\\Windows\\",
  ];
  return folders.map((folder) => fullPath(call, folder + withSuffix)).find((path) => call.files.exists(path));
}

/** Flags of CreateProcess. */
const DEBUG = 3;
const CREATE_SUSPENDED = 4;
const UNICODE_ENVIRONMENT = 0x400;
const MAX_VARIABLES = 1024;

/** An environment block: NAME=value, each with its zero, an empty one at the end. */
function environmentBlock(call: ApiCall, address: number, wide: boolean): Map<string, string> {
  const variables = new Map<string, string>();
  for (let at = address; variables.size < MAX_VARIABLES;) {
    const entry = text(call, at, wide, 32767);
    if (entry === "") break;
    const middle = entry.indexOf("=", 1);
    if (middle > 0) variables.set(entry.slice(0, middle), entry.slice(middle + 1));
    at += (entry.length + 1) * (wide ? 2 : 1);
  }
  return variables;
}

function create(
  call: ApiCall,
  wide: boolean,
  application: number,
  line: number,
  flags: number,
  environment: number,
  directory: number,
  info: number,
) {
  flushAll(call);
  if (flags & DEBUG) {
    call.missing("CreateProcess with DEBUG_PROCESS");
    return call.fail(Win32.notSupported);
  }
  const commandLine = text(call, line, wide, 32767);
  const named = text(call, application, wide, 1024);
  const wanted = named || programOf(call, commandLine);
  const image = locate(call, wanted) ?? wanted;
  const made = call.system.createProcess(
    fullPath(call, image),
    commandLine || `"${named}"`,
    (flags & CREATE_SUSPENDED) !== 0,
    {
      environment: environment
        ? environmentBlock(call, environment, (flags & UNICODE_ENVIRONMENT) !== 0)
        : undefined,
      directory: text(call, directory, wide, 1024) || undefined,
    },
  );
  if (!made) return 0;
  [made.process, made.thread, made.pid, made.tid].forEach((value, i) =>
    call.memory.setU32(info + 4 * i, value)
  );
  return 1;
}

/** A process named by WinExec or ShellExecute; undefined when it cannot start. */
export function run(call: ApiCall, commandLine: string): { process: number; thread: number } | undefined {
  flushAll(call);
  const wanted = programOf(call, commandLine);
  const image = locate(call, wanted);
  return image ? call.system.createProcess(image, commandLine, false) : undefined;
}

function startupInfo(call: ApiCall, wide: boolean, info: number) {
  const words = new Array<number>(17).fill(0);
  words[0] = 68;
  words[2] = lasting(call, "desktop", "WinSta0\\Default", wide);
  words[3] = lasting(call, "window-title", call.imagePath, wide);
  words[11] = 1;
  words[12] = 1;
  const parameters = call.memory.u32(call.peb + 0x10);
  if (parameters) [0x18, 0x1c, 0x20].forEach((at, i) => words[14 + i] = call.memory.u32(parameters + at));
  words.forEach((value, i) => call.memory.setU32(info + 4 * i, value));
}

const times = (call: ApiCall, ...targets: number[]) =>
  targets.forEach((target, i) => {
    if (!target) return;
    const value = i === 0
      ? call.clock.systemTime - BigInt(call.clock.tickCount) * 10000n
      : i === 1
      ? 0n
      : 156001n;
    call.memory.setU32(target, Number(value & 0xffffffffn));
    call.memory.setU32(target + 4, Number(value >> 32n));
  });

export const process: Handlers = {
  ...both({
    CreateProcess: (wide) => (call, app, line, _pa, _ta, _inherit, flags, env, dir, _startup, info) =>
      create(call, wide, app, line, flags, env, dir, info),
    GetStartupInfo: (wide) => (call, info) => startupInfo(call, wide, info),
    GetCommandLine: (wide) => (call) => commandLinePointer(call, wide),
    QueryFullProcessImageName: (wide) => (call, process, _flags, buffer, size) => {
      const pid = call.system.processId(process);
      if (pid === 0) return call.fail(Win32.invalidHandle);
      const path = call.system.processes().find((other) => other.pid === pid)?.path ?? "";
      const capacity = call.memory.u32(size);
      if (path.length >= capacity) return call.fail(Win32.insufficientBuffer);
      call.memory.setU32(size, fill(call, buffer, capacity, path, wide));
      return 1;
    },
  }),
  CreateProcessInternalA: (call, _token, app, line, _pa, _ta, _inherit, flags, env, dir, _startup, info) =>
    create(call, false, app, line, flags, env, dir, info),
  CreateProcessInternalW: (call, _token, app, line, _pa, _ta, _inherit, flags, env, dir, _startup, info) =>
    create(call, true, app, line, flags, env, dir, info),
  WinExec: (call, line) => {
    const made = run(call, text(call, line, false, 32767));
    if (!made) return 2;
    call.handles.close(made.process);
    call.handles.close(made.thread);
    return 33;
  },
  ExitProcess: function* (call, code) {
    yield* call.modules.shutDown();
    flushAll(call);
    call.exitProcess(code);
  },
  ...alias(["FatalExit"], (call, code) => call.exitProcess(code)),
  FatalAppExitA: (call, _action, message) => {
    call.print(text(call, message, false, 1024) + "\n");
    call.exitProcess(1);
  },
  FatalAppExitW: (call, _action, message) => {
    call.print(text(call, message, true, 1024) + "\n");
    call.exitProcess(1);
  },
  TerminateProcess: (call, process, code) => {
    if (process === SELF || call.system.processId(process) === call.pid) {
      flushAll(call);
      call.exitProcess(code);
      return 1;
    }
    return call.system.terminateProcess(process, code) ? 1 : 0;
  },
  OpenProcess: (call, _access, _inherit, pid) =>
    pid === 0 ? call.fail(Win32.invalidParameter) : call.system.openProcess(pid),
  GetExitCodeProcess: (call, process, code) => {
    if (call.system.processId(process) === 0) return call.fail(Win32.invalidHandle);
    call.memory.setU32(code, call.system.exitCode(process) ?? STILL_ACTIVE);
    return 1;
  },
  GetCurrentProcess: () => SELF,
  GetProcessId: (call, process) => call.system.processId(process) || call.fail(Win32.invalidHandle),
  GetProcessVersion: () => 0x40000,
  GetPriorityClass: () => 0x20,
  ...constant(
    1,
    "SetPriorityClass SetProcessAffinityMask SetProcessPriorityBoost SetProcessShutdownParameters",
  ),
  // Asking for DEP makes it permanent, as only the first call counts.
  SetProcessDEPPolicy: (call, flags) => {
    if (flags & ~3) return call.fail(Win32.invalidParameter);
    if (call.system.depPolicy < 2) return call.fail(Win32.notSupported);
    const wanted = flags & 1 ? 9 | (flags & 2 ? 4 : 0) : 2;
    return call.system.setExecuteFlags(wanted) ? call.fail(Win32.accessDenied) : 1;
  },
  GetSystemDEPPolicy: (call) => call.system.depPolicy,
  GetProcessDEPPolicy: (call, process, flags, permanent) => {
    const options = call.system.executeFlags(process);
    if (options === undefined) return call.fail(Win32.invalidHandle);
    call.memory.setU32(flags, (options & 1) | (options & 4 ? 2 : 0));
    call.memory.setU32(permanent, options & 8 ? 1 : 0);
    return 1;
  },
  GetProcessAffinityMask: (call, _process, own, system) => {
    call.memory.setU32(own, 3);
    call.memory.setU32(system, 3);
    return 1;
  },
  GetProcessTimes: (call, _process, created, exited, kernel, user) => {
    times(call, created, exited, kernel, user);
    return 1;
  },
  GetProcessHandleCount: (call, _process, count) => {
    call.memory.setU32(count, 42);
    return 1;
  },
  GetProcessIoCounters: (call, _process, counters) => {
    call.memory.setBytes(counters, new Uint8Array(48));
    return 1;
  },
  ProcessIdToSessionId: (call, _pid, session) => {
    call.memory.setU32(session, 1);
    return 1;
  },
  WTSGetActiveConsoleSessionId: () => 1,
  IsProcessInJob: (call, _process, _job, result) => {
    call.memory.setU32(result, 0);
    return 1;
  },
  IsWow64Process: (call, _process, result) => {
    call.memory.setU32(result, 0);
    return 1;
  },
  IsDebuggerPresent: (call) => call.memory.u8(call.peb + 2),
  CheckRemoteDebuggerPresent: (call, _process, result) => {
    if (result === 0) return call.fail(Win32.invalidParameter);
    call.memory.setU32(result, 0);
    return 1;
  },
  ...constant(0, "DebugActiveProcess DebugActiveProcessStop WaitForDebugEvent ContinueDebugEvent"),
  ...constant(1, "SetHandleCount"),
  SetHandleCount: (_, count) => count,
};
