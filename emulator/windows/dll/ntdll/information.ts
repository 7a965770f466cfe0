// SPDX-License-Identifier: Apache-2.0
/**
 * ntdll: queries of processes, threads, memory, objects and the system. Whoever looks for a debugger finds an
 * ordinary desktop.
 *
 * @module
 */
import type { ApiCall } from "../../api.ts";

import { constant, type Handlers } from "../define.ts";
import { Status } from "../shared/errors.ts";
import { encode } from "../shared/text.ts";

const SELF = 0xffffffff;
/** Family, and model with stepping, as CPUID says them. */
const PROCESSOR_LEVEL = 6;
const PROCESSOR_REVISION = 0x0f06;

/** Writes an answer if it fits; the size is told either way. */
function answer(call: ApiCall, buffer: number, length: number, returned: number, bytes: Uint8Array): number {
  if (returned) call.memory.setU32(returned, bytes.length);
  if (length < bytes.length) return Status.infoLengthMismatch;
  call.memory.setBytes(buffer, bytes);
  return 0;
}

const words = (...values: number[]): Uint8Array => {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setUint32(4 * i, value >>> 0, true));
  return bytes;
};

/** A UNICODE_STRING at `at` with its text behind it, as queries return names. */
function inlineString(at: number, value: string): Uint8Array {
  const characters = encode(value, true, true);
  const bytes = new Uint8Array(8 + characters.length);
  bytes.set(words((characters.length - 2) | (characters.length << 16), at + 8));
  bytes.set(characters, 8);
  return bytes;
}

const devicePath = (path: string) => path.replace(/^[a-z]:/i, "\\Device\\HarddiskVolume2");

function parentOf(call: ApiCall, pid: number): number {
  return call.system.processes().find((process) => process.pid === pid)?.parentPid ?? 0;
}

function queryProcess(
  call: ApiCall,
  process: number,
  kind: number,
  buffer: number,
  length: number,
  returned: number,
) {
  const own = process === SELF;
  const pid = own ? call.pid : call.system.processId(process);
  if (pid === 0) return Status.invalidHandle;
  const give = (bytes: Uint8Array) => answer(call, buffer, length, returned, bytes);
  switch (kind) {
    case 0:
      return give(
        words(
          call.system.exitCode(process) ?? 259,
          own ? call.peb : call.system.pebOf(process),
          3,
          8,
          pid,
          parentOf(call, pid),
        ),
      );
    case 7: // debug port
      return give(words(0));
    case 0x1e: // debug object
      if (length < 4) return Status.infoLengthMismatch;
      call.memory.setU32(buffer, 0);
      return Status.portNotSet;
    case 0x1f: // debug flags: children inherit nothing
      return give(words(1));
    case 0x22: // execute flags: DEP
      return give(words(call.system.executeFlags(process) ?? 0));
    case 0x24: // cookie
      return give(words((0x5bd1e995 ^ Math.imul(call.pid, 0x9e3779b1)) >>> 0));
    case 0x18: // session
    case 0x1a: // WOW64
      return give(words(kind === 0x18 ? 1 : 0));
    case 0x14: // handle count
      return give(words(42));
    case 0x1b:
      return give(inlineString(buffer, devicePath(pathOf(call, pid))));
    case 0x2b:
      return give(inlineString(buffer, pathOf(call, pid)));
    case 4:
      return give(new Uint8Array(32));
    case 3:
      return give(new Uint8Array(44));
    default:
      return Status.invalidInfoClass;
  }
}

function pathOf(call: ApiCall, pid: number): string {
  return call.system.processes().find((process) => process.pid === pid)?.path ?? "";
}

/** Drivers that a Windows 7 shows first in its module list: name and base. */
const DRIVERS: [string, number, number][] = [
  ["\\SystemRoot\\system32\\ntkrnlpa.exe", 0x82800000, 0x412000],
  ["\\SystemRoot\\system32\\halmacpi.dll", 0x82c12000, 0x37000],
];

function systemModules(): Uint8Array {
  const bytes = new Uint8Array(4 + 284 * DRIVERS.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, DRIVERS.length, true);
  DRIVERS.forEach(([name, base, size], i) => {
    const at = 4 + 284 * i;
    view.setUint32(at + 8, base, true);
    view.setUint32(at + 12, size, true);
    view.setUint32(at + 16, 0x08804000, true);
    view.setUint16(at + 20, i, true);
    view.setUint16(at + 24, 1, true);
    view.setUint16(at + 26, name.lastIndexOf("\\") + 1, true);
    for (let j = 0; j < name.length; j++) bytes[at + 28 + j] = name.charCodeAt(j);
  });
  return bytes;
}

/** Bytes of a SYSTEM_PROCESS_INFORMATION before its threads, and of one of these. */
const PROCESS_RECORD = 184;
const THREAD_RECORD = 64;
const THREAD_WAITING = 5;

function systemProcesses(call: ApiCall, buffer: number): Uint8Array {
  const idle = { pid: 0, parentPid: 0, name: "" };
  const list = [idle, ...call.system.processes()];
  const threads = call.system.threads();
  const records = list.map(({ pid, parentPid, name }, i) => {
    const characters = encode(name, true, true);
    const own = threads.filter((thread) => thread.pid === pid);
    const nameAt = PROCESS_RECORD + THREAD_RECORD * own.length;
    const size = (nameAt + characters.length + 7) & ~7;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    if (i < list.length - 1) view.setUint32(0, size, true);
    view.setUint32(4, own.length, true);
    own.forEach(({ tid }, index) => {
      const at = PROCESS_RECORD + THREAD_RECORD * index;
      view.setUint32(at + 32, pid, true);
      view.setUint32(at + 36, tid, true);
      view.setUint32(at + 40, 8, true);
      view.setUint32(at + 52, THREAD_WAITING, true);
    });
    view.setUint32(60, nameAt, true);
    view.setUint16(56, characters.length - 2, true);
    view.setUint16(58, characters.length, true);
    view.setUint32(64, 8, true);
    view.setUint32(68, pid, true);
    view.setUint32(72, parentPid, true);
    view.setUint32(76, 42, true);
    bytes.set(characters, nameAt);
    return bytes;
  });
  const all = new Uint8Array(records.reduce((sum, record) => sum + record.length, 0));
  let at = 0;
  for (const record of records) {
    const view = new DataView(record.buffer);
    view.setUint32(60, (buffer + at + view.getUint32(60, true)) >>> 0, true);
    all.set(record, at);
    at += record.length;
  }
  return all;
}

function querySystem(call: ApiCall, kind: number, buffer: number, length: number, returned: number) {
  const give = (bytes: Uint8Array) => answer(call, buffer, length, returned, bytes);
  switch (kind) {
    case 0:
      return give(words(0, 156250, 0x1000, 0x7ff5d, 1, 0x7ffdf, 0x10000, 0x10000, 0x7ffeffff, 3, 2));
    case 1:
      return give(words(PROCESSOR_LEVEL << 16, PROCESSOR_REVISION | (2 << 16), 0x20193fff));
    case 3: {
      const bytes = new Uint8Array(48);
      const view = new DataView(bytes.buffer);
      view.setBigUint64(0, call.clock.systemTime - BigInt(call.clock.tickCount) * 10000n, true);
      view.setBigUint64(8, call.clock.systemTime, true);
      return give(bytes);
    }
    case 5:
      return give(systemProcesses(call, buffer));
    case 8:
      return give(new Uint8Array(96));
    case 0x0b:
      return give(systemModules());
    case 0x10:
      return give(words(0));
    case 0x23: // kernel debugger: off, absent
      return give(Uint8Array.of(0, 1));
    case 0x67: // code integrity
      return give(words(8, 1));
    default:
      return Status.invalidInfoClass;
  }
}

/** Threads that were hidden from debuggers. */
const hidden = (call: ApiCall) => call.state("hidden-threads", () => new Set<number>());

function queryThread(
  call: ApiCall,
  thread: number,
  kind: number,
  buffer: number,
  length: number,
  returned: number,
) {
  const info = call.system.threadInfo(thread);
  if (!info) return Status.invalidHandle;
  const give = (bytes: Uint8Array) => answer(call, buffer, length, returned, bytes);
  switch (kind) {
    case 0:
      return give(words(info.exitCode ?? 259, info.teb, info.pid, info.tid, 3, 8, 8));
    case 1:
      return give(new Uint8Array(32));
    case 9: // start address
      return give(words(info.start));
    case 0x0c: // only thread
      return give(words(0));
    case 0x11: // hidden from debuggers
      return give(Uint8Array.of(hidden(call).has(info.tid) ? 1 : 0));
    default:
      return Status.invalidInfoClass;
  }
}

function queryVirtual(
  call: ApiCall,
  process: number,
  address: number,
  kind: number,
  buffer: number,
  length: number,
  returned: number,
) {
  const space = process === SELF ? call.virtual : call.system.virtualOf(process);
  if (!space) return Status.invalidHandle;
  if (address >= 0x7fff0000) return Status.invalidParameter;
  const region = space.query(address);
  if (kind === 0) {
    const isFree = region.state === 0x10000;
    return answer(
      call,
      buffer,
      length,
      returned,
      words(
        region.base,
        isFree ? 0 : region.allocationBase,
        isFree ? 0 : region.allocationProtect,
        region.size,
        region.state,
        isFree ? 1 : region.protect,
        region.type,
      ),
    );
  }
  if (kind !== 2) return Status.invalidInfoClass;
  const module = process === SELF ? call.modules.at(address) : undefined;
  if (!module) return 0xc0000141;
  return answer(call, buffer, length, returned, inlineString(buffer, devicePath(module.path)));
}

export const information: Handlers = {
  NtQueryInformationProcess: queryProcess,
  NtQuerySystemInformation: querySystem,
  NtQueryInformationThread: queryThread,
  NtQueryVirtualMemory: queryVirtual,
  NtSetInformationProcess: (call, process, kind, buffer, length) => {
    if (kind !== 0x22) return 0;
    if (length !== 4) return Status.infoLengthMismatch;
    if (process !== SELF) return Status.invalidParameter;
    return call.system.setExecuteFlags(call.memory.u32(buffer));
  },
  NtSetInformationThread: (call, thread, kind, _buffer, length) => {
    if (kind !== 0x11) return 0;
    if (length !== 0) return Status.infoLengthMismatch;
    const info = call.system.threadInfo(thread);
    if (!info) return Status.invalidHandle;
    hidden(call).add(info.tid);
    return 0;
  },
  NtSetSystemInformation: () => 0xc0000061,
  NtSystemDebugControl: () => 0xc0000354,
  NtQueryObject: (call, handle, kind, buffer, length, returned) => {
    const object = call.handles.get(handle);
    if (kind === 3) return answer(call, buffer, length, returned, words(0));
    if (!object) return Status.invalidHandle;
    const names: Record<string, string> = {
      file: "File",
      event: "Event",
      mutex: "Mutant",
      section: "Section",
    };
    const type = names[object.kind] ?? object.kind.replace(/^./, (first) => first.toUpperCase());
    if (kind === 0) {
      return answer(call, buffer, length, returned, words(0, 0x1f0003, 1, 2, ...new Array(10).fill(0)));
    }
    if (kind === 1) return answer(call, buffer, length, returned, words(0, 0));
    if (kind === 2) return answer(call, buffer, length, returned, inlineString(buffer, type));
    return Status.invalidInfoClass;
  },
  NtSetInformationObject: () => 0,
  NtOpenProcessToken: (call, _process, _access, handle) => {
    call.memory.setU32(handle, call.handles.open({ kind: "token" }));
    return 0;
  },
  NtAdjustPrivilegesToken: () => 0,
  ...constant(0, "NtFlushBuffersFile"),
};
