// SPDX-License-Identifier: Apache-2.0
/**
 * Offsets of the Windows 7 SP1 x86 (PAE) structures that the model keeps in guest memory: one table, from
 * which writers and readers work. The monitor reads the same structures by the same offsets.
 *
 * Source: public symbols of ntkrnlpa.exe 6.1.7601 and ntdll.dll as shown by a debugger's type display.
 *
 * @module
 */
import { put16, put32, put64, utf16 } from "./bytes.ts";
import type { KernelMemory } from "./kernel_memory.ts";

/** KPCR, with the KPRCB at its end. */
export const Kpcr = {
  exceptionList: 0x00,
  stackBase: 0x04,
  stackLimit: 0x08,
  self: 0x1c,
  prcb: 0x20,
  idt: 0x38,
  gdt: 0x3c,
  tss: 0x40,
  majorVersion: 0x44,
  number: 0x51,
  prcbData: 0x120,
  currentThread: 0x124,
  nextThread: 0x128,
  idleThread: 0x12c,
  size: 0x3748,
} as const;

/** EPROCESS, its KPROCESS first. */
export const Eprocess = {
  dispatcherType: 0x00,
  dispatcherSignal: 0x04,
  directoryTableBase: 0x18,
  threadListHeadKernel: 0x2c,
  createTime: 0xa0,
  exitTime: 0xa8,
  uniqueProcessId: 0xb4,
  activeProcessLinks: 0xb8,
  sectionBaseAddress: 0x12c,
  inheritedFrom: 0x140,
  session: 0x168,
  imageFileName: 0x16c,
  threadListHead: 0x188,
  activeThreads: 0x198,
  peb: 0x1a8,
  flags: 0x270,
  exitStatus: 0x274,
  vadRoot: 0x278,
  size: 0x2c0,
} as const;

/** Bits of EPROCESS.Flags. */
export const ProcessFlag = { processExiting: 0x4, processDelete: 0x8, vmDeleted: 0x20 } as const;

/** ETHREAD, its KTHREAD first. */
export const Ethread = {
  dispatcherType: 0x00,
  dispatcherSignal: 0x04,
  initialStack: 0x28,
  apcStateProcess: 0x50,
  state: 0x68,
  teb: 0x88,
  process: 0x150,
  threadListEntryKernel: 0x1e0,
  createTime: 0x200,
  startAddress: 0x218,
  cid: 0x22c,
  threadListEntry: 0x268,
  win32StartAddress: 0x260,
  size: 0x2b8,
} as const;

/** MM_AVL_TABLE and MMVAD nodes. */
export const Vad = {
  parent: 0x00,
  left: 0x04,
  right: 0x08,
  startingVpn: 0x0c,
  endingVpn: 0x10,
  flags: 0x14,
  size: 0x3c,
  /** MM_AVL_TABLE: depth in bits 0–4, number of elements from bit 8. */
  tableFlags: 0x14,
} as const;

/** PEB. */
export const Peb = {
  beingDebugged: 0x02,
  imageBaseAddress: 0x08,
  ldr: 0x0c,
  processParameters: 0x10,
  processHeap: 0x18,
  numberOfProcessors: 0x64,
  ntGlobalFlag: 0x68,
  heapSegmentReserve: 0x78,
  heapSegmentCommit: 0x7c,
  numberOfHeaps: 0x88,
  maximumNumberOfHeaps: 0x8c,
  processHeaps: 0x90,
  osMajorVersion: 0xa4,
  osMinorVersion: 0xa8,
  osBuildNumber: 0xac,
  osCsdVersion: 0xae,
  osPlatformId: 0xb0,
  imageSubsystem: 0xb4,
  imageSubsystemMajor: 0xb8,
  imageSubsystemMinor: 0xbc,
  sessionId: 0x1d4,
  csdVersion: 0x1f0,
  size: 0x248,
} as const;

/** TEB. */
export const Teb = {
  exceptionList: 0x00,
  stackBase: 0x04,
  stackLimit: 0x08,
  fiberData: 0x10,
  self: 0x18,
  clientId: 0x20,
  tlsPointer: 0x2c,
  peb: 0x30,
  lastError: 0x34,
  currentLocale: 0xc4,
  realClientId: 0x6b4,
  deallocationStack: 0xe0c,
  tlsSlots: 0xe10,
  tlsExpansion: 0xf94,
  size: 0x1000,
} as const;

/** RTL_USER_PROCESS_PARAMETERS. */
export const Parameters = {
  maximumLength: 0x00,
  length: 0x04,
  flags: 0x08,
  consoleHandle: 0x10,
  standardInput: 0x18,
  standardOutput: 0x1c,
  standardError: 0x20,
  currentDirectory: 0x24,
  dllPath: 0x30,
  imagePathName: 0x38,
  commandLine: 0x40,
  environment: 0x48,
  showWindowFlags: 0x68,
  windowTitle: 0x70,
  desktopInfo: 0x78,
  environmentSize: 0x290,
  size: 0x298,
} as const;

/** PEB_LDR_DATA. */
export const LdrData = {
  length: 0x00,
  initialized: 0x04,
  inLoadOrder: 0x0c,
  inMemoryOrder: 0x14,
  inInitializationOrder: 0x1c,
  size: 0x30,
} as const;

/** LDR_DATA_TABLE_ENTRY. */
export const LdrEntry = {
  inLoadOrder: 0x00,
  inMemoryOrder: 0x08,
  inInitializationOrder: 0x10,
  dllBase: 0x18,
  entryPoint: 0x1c,
  sizeOfImage: 0x20,
  fullDllName: 0x24,
  baseDllName: 0x2c,
  flags: 0x34,
  loadCount: 0x38,
  tlsIndex: 0x3a,
  hashLinks: 0x3c,
  size: 0x78,
} as const;

/** KUSER_SHARED_DATA. */
export const SharedData = {
  tickCountMultiplier: 0x04,
  interruptTime: 0x08,
  systemTime: 0x14,
  timeZoneBias: 0x20,
  imageNumberLow: 0x2c,
  imageNumberHigh: 0x2e,
  systemRoot: 0x30,
  ntProductType: 0x264,
  productTypeIsValid: 0x268,
  nxSupportPolicy: 0x2d5,
  ntMajorVersion: 0x26c,
  ntMinorVersion: 0x270,
  processorFeatures: 0x274,
  kdDebuggerEnabled: 0x2d4,
  activeConsoleId: 0x2d8,
  numberOfPhysicalPages: 0x2e8,
  systemCall: 0x300,
  systemCallReturn: 0x304,
  tickCount: 0x320,
  cookie: 0x330,
  activeProcessorCount: 0x3c0,
} as const;

/** A KSYSTEM_TIME: low, high, high again. */
export function systemTimeBytes(value: bigint): Uint8Array {
  const bytes = new Uint8Array(12);
  put64(bytes, 0, value);
  put32(bytes, 8, Number((value >> 32n) & 0xffffffffn));
  return bytes;
}

/** A UNICODE_STRING for text at `address` (which has a zero behind it). */
export function unicodeString(text: string, address: number): Uint8Array {
  const bytes = new Uint8Array(8);
  put16(bytes, 0, text.length * 2);
  put16(bytes, 2, text.length * 2 + 2);
  put32(bytes, 4, address);
  return bytes;
}

/** UTF-16 text with its zero. */
export function wideZ(text: string): Uint8Array {
  return utf16(text + "\0");
}

/** Appends a LIST_ENTRY at the tail of a list in kernel memory. */
export function insertTail(memory: KernelMemory, head: number, entry: number): void {
  const last = memory.get32(head + 4);
  memory.set32(entry, head);
  memory.set32(entry + 4, last);
  memory.set32(last, entry);
  memory.set32(head + 4, entry);
}

/** Takes a LIST_ENTRY out of its list; it then points at itself. */
export function removeEntry(memory: KernelMemory, entry: number): void {
  const next = memory.get32(entry);
  const previous = memory.get32(entry + 4);
  memory.set32(previous, next);
  memory.set32(next + 4, previous);
  initializeList(memory, entry);
}

/** Makes an empty list head. */
export function initializeList(memory: KernelMemory, head: number): void {
  memory.set32(head, head);
  memory.set32(head + 4, head);
}
