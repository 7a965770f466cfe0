// SPDX-License-Identifier: Apache-2.0
/** kernel32: the machine and its Windows, errors, exceptions, profiles of processes, small things. @module */
import type { ApiCall } from "../../api.ts";
import { both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { encode, fill, store, text } from "../shared/text.ts";

/** Windows 7 Service Pack 1, build 7601. */
export const VERSION = {
  major: 6,
  minor: 1,
  build: 7601,
  platform: 2,
  servicePack: "Service Pack 1",
} as const;
/** Name of the computer and of its user. */
export const COMPUTER = "USER-PC";
export const USER = "user";

/** Writes OSVERSIONINFO or OSVERSIONINFOEX; the caller's size says which. */
export function writeVersion(call: ApiCall, at: number, wide: boolean): boolean {
  const size = call.memory.u32(at);
  const plain = wide ? 276 : 148;
  if (size < plain) return false;
  [VERSION.major, VERSION.minor, VERSION.build, VERSION.platform].forEach((value, i) =>
    call.memory.setU32(at + 4 + 4 * i, value)
  );
  const name = encode(VERSION.servicePack, wide, true);
  const field = new Uint8Array(plain - 20);
  field.set(name);
  call.memory.setBytes(at + 20, field);
  if (size >= plain + 8) {
    call.memory.setU16(at + plain, 1);
    call.memory.setU16(at + plain + 2, 0);
    call.memory.setU16(at + plain + 4, 0x100);
    call.memory.setU8(at + plain + 6, 1);
    call.memory.setU8(at + plain + 7, 0);
  }
  return true;
}

/** Result of comparing the version asked for with the model's; the condition mask has 3 bits a type. */
export function verifyVersion(call: ApiCall, at: number, types: number, low: number, high: number): boolean {
  const mask = BigInt(low) | (BigInt(high) << 32n);
  // type bit, offset and size of the field, our value; major, minor and service pack compare as one number.
  const fields: [number, number, number, number][] = [
    [2, 4, 4, VERSION.major],
    [1, 8, 4, VERSION.minor],
    [0x20, 276, 2, 1],
    [0x10, 278, 2, 0],
    [4, 12, 4, VERSION.build],
    [8, 16, 4, VERSION.platform],
    [0x80, 282, 1, 1],
    [0x40, 280, 2, 0x100],
  ];
  let chained = 0;
  for (const [bit, offset, size, ours] of fields) {
    if (!(types & bit)) continue;
    const condition = Number((mask >> BigInt(3 * Math.log2(bit))) & 7n);
    const at1 = at + offset;
    const wanted = size === 4
      ? call.memory.u32(at1)
      : size === 2
      ? call.memory.u16(at1)
      : call.memory.u8(at1);
    const inChain = (bit & 0x33) !== 0;
    const difference = ours - wanted;
    if (inChain && condition > 1) {
      if (difference !== 0) {
        chained = difference;
        if (condition === 2 || condition === 3) return difference > 0;
        return difference < 0;
      }
      const isLast = !fields.some(([other, , , _v]) =>
        (other & 0x33) && types & other && other < bit && other !== bit
      );
      if (isLast && (condition === 2 || condition === 4) && chained === 0) return false;
      continue;
    }
    const holds =
      [true, difference === 0, difference > 0, difference >= 0, difference < 0, difference <= 0][condition];
    if (bit === 0x40 ? condition === 6 && (ours & wanted) !== wanted : holds === false) return false;
  }
  return true;
}

function systemInfo(call: ApiCall, at: number) {
  const processors = Math.max(1, Math.min(32, call.memory.u32(call.peb + 0x64)));
  const mask = 2 ** processors - 1;
  [0, 0x1000, 0x10000, 0x7ffeffff, mask, processors, 586, 0x10000, 0x0f060006].forEach((value, i) =>
    call.memory.setU32(at + 4 * i, value)
  );
}

/** SYSTEM_LOGICAL_PROCESSOR_INFORMATION: processors, what they have in common, and the cache's description. */
const PROCESSOR_PARTS: readonly (readonly number[])[] = [
  [1, 0, 0, 0, 0, 0],
  [2, 0, 0, 0, 0, 0],
  // Second-level cache of both: 8 ways, lines of 64 bytes, 2 MiB, unified.
  [3, 2, 0x0040_0802, 0x20_0000, 0, 0],
  [3, 3, 0, 0, 0, 0],
  [3, 1, 0, 0, 0, 0],
];

/** Text of the system's messages that programs show most. */
const MESSAGES: Record<number, string> = {
  0: "The operation completed successfully.\r\n",
  1: "Incorrect function.\r\n",
  2: "The system cannot find the file specified.\r\n",
  3: "The system cannot find the path specified.\r\n",
  5: "Access is denied.\r\n",
  6: "The handle is invalid.\r\n",
  8: "Not enough storage is available to process this command.\r\n",
  87: "The parameter is incorrect.\r\n",
  122: "The data area passed to a system call is too small.\r\n",
  126: "The specified module could not be found.\r\n",
  127: "The specified procedure could not be found.\r\n",
  183: "Cannot create a file when that file already exists.\r\n",
  998: "Invalid access to memory location.\r\n",
  1400: "Invalid window handle.\r\n",
  1812: "The specified image file did not contain a resource section.\r\n",
};

const ALLOCATE = 0x100;
const IGNORE_INSERTS = 0x200;
const FROM_STRING = 0x400;
const ARRAY = 0x2000;

function formatMessage(
  call: ApiCall,
  wide: boolean,
  flags: number,
  source: number,
  id: number,
  buffer: number,
  capacity: number,
  values: number,
) {
  let message = flags & FROM_STRING ? text(call, source, wide, 0x8000) : MESSAGES[id];
  if (message === undefined) return call.fail(317);
  if (!(flags & IGNORE_INSERTS)) {
    const list = flags & ARRAY ? values : values ? call.memory.u32(values) : 0;
    message = message.replace(/%(?:(\d{1,2})(?:!([^!]*)!)?|(.))/gs, (_, index, picture, other) => {
      if (index === undefined) {
        return { n: "\r\n", r: "\r", t: "\t", b: " ", "0": "" }[other as string] ?? other;
      }
      if (index === "0") return "";
      if (!list) return "";
      const word = call.memory.u32(list + 4 * (Number(index) - 1));
      if (picture === undefined || /s$/i.test(picture)) return text(call, word, wide, 0x1000);
      if (/[xX]$/.test(picture)) return word.toString(16);
      return /u$/.test(picture) ? `${word}` : `${word | 0}`;
    }).slice(0, 0x10000);
  }
  if (flags & ALLOCATE) {
    const bytes = encode(message, wide, true);
    const block = call.heaps.allocate(call.heaps.processHeap, Math.max(bytes.length, capacity), true);
    if (!block) return call.fail(Win32.notEnoughMemory);
    call.memory.setBytes(block, bytes);
    call.memory.setU32(buffer, block);
    return message.length;
  }
  if (message.length + 1 > capacity) return call.fail(Win32.insufficientBuffer);
  store(call, buffer, message, wide);
  return message.length;
}

function named(call: ApiCall, buffer: number, size: number, value: string, wide: boolean) {
  const capacity = call.memory.u32(size);
  if (value.length + 1 > capacity) {
    call.memory.setU32(size, value.length + 1);
    return call.fail(111);
  }
  call.memory.setU32(size, value.length);
  return fill(call, buffer, capacity, value, wide) ? 1 : 0;
}

/** Instruction set of the model's CPU: MMX, SSE, SSE2, RDTSC, PAE, CMPXCHG8B, NX. */
const FEATURES = new Set([2, 3, 6, 8, 9, 10, 12]);

export const system: Handlers = {
  GetVersion: () => (VERSION.build << 16) | (VERSION.minor << 8) | VERSION.major,
  ...both({
    GetVersionEx: (wide) => (call, at) =>
      writeVersion(call, at, wide) ? 1 : call.fail(Win32.insufficientBuffer),
    VerifyVersionInfo: () => (call, at, types, low, high) =>
      verifyVersion(call, at, types, low, high) ? 1 : call.fail(1150),
    GetComputerName: (wide) => (call, buffer, size) => named(call, buffer, size, COMPUTER, wide),
    GetComputerNameEx: (wide) => (call, kind, buffer, size) =>
      named(call, buffer, size, kind === 2 || kind === 6 ? "" : COMPUTER, wide),
    FormatMessage: (wide) => (call, flags, source, id, _language, buffer, capacity, values) =>
      formatMessage(call, wide, flags, source, id, buffer, capacity, values),
    GetFirmwareEnvironmentVariable: () => (call) => call.fail(Win32.invalidFunction),
    CreateActCtx: () => (call) => call.fail(14001, 0xffffffff),
    FindActCtxSectionString: () => (call) => call.fail(14003),
    CreateJobObject: () => (call) => call.handles.open({ kind: "job" }),
  }),
  GetSystemInfo: systemInfo,
  GetNativeSystemInfo: systemInfo,
  IsProcessorFeaturePresent: (_, feature) => FEATURES.has(feature) ? 1 : 0,
  GetProductInfo: (call, _major, _minor, _spMajor, _spMinor, type) => {
    call.memory.setU32(type, 1);
    return 1;
  },
  GetSystemPowerStatus: (call, at) => {
    [1, 128, 255, 0].forEach((value, i) => call.memory.setU8(at + i, value));
    call.memory.setU32(at + 4, 0xffffffff);
    call.memory.setU32(at + 8, 0xffffffff);
    return 1;
  },
  GetActiveProcessorCount: (call) => call.memory.u32(call.peb + 0x64),
  GetMaximumProcessorCount: (call) => call.memory.u32(call.peb + 0x64),
  GetActiveProcessorGroupCount: () => 1,
  GetCurrentProcessorNumber: () => 0,
  GetLargePageMinimum: () => 0x200000,
  GetNumaHighestNodeNumber: (call, at) => {
    call.memory.setU32(at, 0);
    return 1;
  },
  GetLogicalProcessorInformation: (call, buffer, length) => {
    const room = call.memory.u32(length);
    const size = PROCESSOR_PARTS.length * 24;
    call.memory.setU32(length, size);
    if (room < size) return call.fail(Win32.insufficientBuffer);
    PROCESSOR_PARTS.flat().forEach((word, i) => call.memory.setU32(buffer + 4 * i, word));
    return 1;
  },

  SetErrorMode: (call, mode) => {
    const state = call.state("error-mode", () => ({ mode: 0 }));
    const before = state.mode;
    state.mode = mode;
    return before;
  },
  GetErrorMode: (call) => call.state("error-mode", () => ({ mode: 0 })).mode,
  GetThreadErrorMode: () => 0,
  RaiseException: (call, code, flags, count, values) => {
    const parameters = Array.from(
      { length: values ? Math.min(count, 15) : 0 },
      (_, i) => call.memory.u32(values + 4 * i),
    );
    // Bit 28 is Windows' own.
    call.raise(code & ~0x1000_0000, flags & 1, parameters);
  },
  DebugBreak: (call) => call.raise(0x80000003, 0, [0]),
  SetUnhandledExceptionFilter: (call, filter) => call.system.setUnhandledFilter(filter),
  AddVectoredExceptionHandler: (call, first, handler) => call.system.addVectoredHandler(first !== 0, handler),
  RemoveVectoredExceptionHandler: (call, handle) => call.system.removeVectoredHandler(handle) ? 1 : 0,
  AddVectoredContinueHandler: (call, first, handler) =>
    call.system.addVectoredHandler(first !== 0, handler, true),
  RemoveVectoredContinueHandler: (call, handle) => call.system.removeVectoredHandler(handle, true) ? 1 : 0,
  MulDiv: (_, a, b, c) => {
    const divisor = BigInt(c | 0);
    if (divisor === 0n) return -1;
    const product = BigInt(a | 0) * BigInt(b | 0);
    const magnitude = (n: bigint) => n < 0n ? -n : n;
    const rounded = (magnitude(product) + magnitude(divisor) / 2n) / magnitude(divisor);
    if (rounded > 0x7fffffffn) return -1;
    return Number((product < 0n) === (divisor < 0n) ? rounded : -rounded);
  },
  Beep: () => 1,
  ...constant(0, "SetThreadExecutionState GetSystemFirmwareTable EnumSystemFirmwareTables"),
  ...constant(1, "RegisterApplicationRestart SetInformationJobObject AssignProcessToJobObject"),
  ...constant(1, "ActivateActCtx DeactivateActCtx SetProcessPreferredUILanguages HeapSummary"),
  QueryActCtxW: (call) => call.fail(Win32.invalidParameter),
  GetCurrentActCtx: (call, at) => {
    call.memory.setU32(at, 0);
    return 1;
  },
};
