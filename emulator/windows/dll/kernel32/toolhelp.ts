// SPDX-License-Identifier: Apache-2.0
/** kernel32: snapshots of processes, modules and threads. @module */
import type { ApiCall, KernelObject, Module, ProcessInfo } from "../../api.ts";
import type { Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { store } from "../shared/text.ts";

const PROCESSES = 2;
const THREADS = 4;
const MODULES = 0x18;
const INVALID = 0xffffffff;
const IDLE = { pid: 0, parentPid: 0, name: "[System Process]", threads: 1 };

interface Snapshot extends KernelObject {
  readonly kind: "snapshot";
  readonly processes: readonly Pick<ProcessInfo, "pid" | "parentPid" | "name" | "threads">[];
  /** Process whose modules these are. */
  readonly owner: number;
  readonly modules: readonly Module[];
  readonly threads: readonly { tid: number; pid: number }[];
  readonly position: { process: number; module: number; thread: number };
}

const snapshotOf = (call: ApiCall, handle: number): Snapshot | undefined => {
  const object = call.handles.get(handle);
  return object?.kind === "snapshot" ? object as Snapshot : undefined;
};

const words = (call: ApiCall, at: number, values: readonly number[]) =>
  values.forEach((value, i) => call.memory.setU32(at + 4 * i, value));

function process(wide: boolean, first: boolean) {
  return (call: ApiCall, handle: number, entry: number) => {
    const snapshot = snapshotOf(call, handle);
    if (!snapshot) return call.fail(Win32.invalidHandle);
    if (call.memory.u32(entry) < (wide ? 556 : 296)) return call.fail(24);
    if (first) snapshot.position.process = 0;
    const found = snapshot.processes[snapshot.position.process++];
    if (!found) return call.fail(Win32.noMoreFiles);
    words(call, entry + 4, [0, found.pid, 0, 0, Math.max(found.threads, 1), found.parentPid, 8, 0]);
    store(call, entry + 36, found.name.slice(0, 259), wide);
    return 1;
  };
}

function module(wide: boolean, first: boolean) {
  return (call: ApiCall, handle: number, entry: number) => {
    const snapshot = snapshotOf(call, handle);
    if (!snapshot) return call.fail(Win32.invalidHandle);
    if (call.memory.u32(entry) < (wide ? 1064 : 548)) return call.fail(24);
    if (first) snapshot.position.module = 0;
    const found = snapshot.modules[snapshot.position.module++];
    if (!found) return call.fail(Win32.noMoreFiles);
    words(call, entry + 4, [1, snapshot.owner, 0xffff, 0xffff, found.base, found.size, found.base]);
    store(call, entry + 32, found.name.slice(0, 255), wide);
    store(call, entry + 32 + 256 * (wide ? 2 : 1), found.path.slice(0, 259), wide);
    return 1;
  };
}

function thread(first: boolean) {
  return (call: ApiCall, handle: number, entry: number) => {
    const snapshot = snapshotOf(call, handle);
    if (!snapshot) return call.fail(Win32.invalidHandle);
    if (first) snapshot.position.thread = 0;
    if (call.memory.u32(entry) < 28) return call.fail(24);
    const found = snapshot.threads[snapshot.position.thread++];
    if (!found) return call.fail(Win32.noMoreFiles);
    words(call, entry + 4, [0, found.tid, found.pid, 8, 0, 0]);
    return 1;
  };
}

export const toolhelp: Handlers = {
  CreateToolhelp32Snapshot: (call, flags, pid) => {
    const owner = pid || call.pid;
    const modules = flags & MODULES ? call.system.modulesOf(owner) : [];
    if (!modules) return call.fail(Win32.accessDenied, INVALID);
    return call.handles.open(
      {
        kind: "snapshot",
        processes: flags & PROCESSES ? [IDLE, ...call.system.processes()] : [],
        owner,
        modules: [...modules],
        threads: flags & THREADS ? call.system.threads() : [],
        position: { process: 0, module: 0, thread: 0 },
      } as Snapshot,
    );
  },
  Process32First: process(false, true),
  Process32Next: process(false, false),
  Process32FirstW: process(true, true),
  Process32NextW: process(true, false),
  Module32First: module(false, true),
  Module32Next: module(false, false),
  Module32FirstW: module(true, true),
  Module32NextW: module(true, false),
  Thread32First: thread(true),
  Thread32Next: thread(false),
  Heap32ListFirst: (call) => call.fail(Win32.noMoreFiles),
  Heap32ListNext: (call) => call.fail(Win32.noMoreFiles),
  Heap32First: (call) => call.fail(Win32.noMoreFiles),
  Heap32Next: (call) => call.fail(Win32.noMoreFiles),
};
