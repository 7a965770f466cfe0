// SPDX-License-Identifier: Apache-2.0
/**
 * Numbers of the Windows ABI that several files here speak: status codes, protections, flags.
 *
 * Source: Windows SDK headers ntstatus.h and winnt.h (values only).
 *
 * @module
 */

/** PAGE_… protection values. */
export const Protect = {
  noAccess: 0x01,
  readOnly: 0x02,
  readWrite: 0x04,
  writeCopy: 0x08,
  execute: 0x10,
  executeRead: 0x20,
  executeReadWrite: 0x40,
  executeWriteCopy: 0x80,
  guard: 0x100,
  noCache: 0x200,
  writeCombine: 0x400,
} as const;

/** MEM_… values: what an allocation asks for, the state and the type of a region. */
export const Memory = {
  commit: 0x1000,
  reserve: 0x2000,
  decommit: 0x4000,
  release: 0x8000,
  free: 0x10000,
  private: 0x20000,
  mapped: 0x40000,
  reset: 0x80000,
  topDown: 0x100000,
  image: 0x1000000,
} as const;

/** NTSTATUS values; those from 0xc0000000 on are errors. Exceptions carry them as their code. */
export const Status = {
  success: 0,
  timeout: 0x102,
  userApc: 0xc0,
  imageNotAtBase: 0x4000_0003,
  guardPageViolation: 0x80000001,
  datatypeMisalignment: 0x80000002,
  breakpoint: 0x80000003,
  singleStep: 0x80000004,
  infoLengthMismatch: 0xc0000004,
  accessViolation: 0xc0000005,
  inPageError: 0xc0000006,
  invalidHandle: 0xc0000008,
  invalidParameter: 0xc000000d,
  noMemory: 0xc0000017,
  conflictingAddresses: 0xc0000018,
  notMappedView: 0xc0000019,
  unableToFreeVm: 0xc000001a,
  unableToDeleteSection: 0xc000001b,
  invalidSystemService: 0xc000001c,
  illegalInstruction: 0xc000001d,
  invalidViewSize: 0xc000001f,
  alreadyCommitted: 0xc0000021,
  accessDenied: 0xc0000022,
  noncontinuable: 0xc0000025,
  invalidDisposition: 0xc0000026,
  unwind: 0xc0000027,
  badStack: 0xc0000028,
  invalidUnwindTarget: 0xc0000029,
  notCommitted: 0xc000002d,
  sectionTooBig: 0xc0000040,
  invalidPageProtection: 0xc0000045,
  sectionProtection: 0xc000004e,
  invalidImageFormat: 0xc000007b,
  arrayBoundsExceeded: 0xc000008c,
  floatDenormalOperand: 0xc000008d,
  floatDivideByZero: 0xc000008e,
  floatInexactResult: 0xc000008f,
  floatInvalidOperation: 0xc0000090,
  floatOverflow: 0xc0000091,
  floatStackCheck: 0xc0000092,
  floatUnderflow: 0xc0000093,
  integerDivideByZero: 0xc0000094,
  integerOverflow: 0xc0000095,
  privilegedInstruction: 0xc0000096,
  insufficientResources: 0xc000009a,
  invalidParameter2: 0xc00000f0,
  invalidParameter3: 0xc00000f1,
  invalidParameter4: 0xc00000f2,
  invalidParameter5: 0xc00000f3,
  freeVmNotAtBase: 0xc000009f,
  memoryNotAllocated: 0xc00000a0,
  stackOverflow: 0xc00000fd,
  commitmentLimit: 0xc000012d,
  dllNotFound: 0xc0000135,
  dllInitFailed: 0xc0000142,
  mappedAlignment: 0xc0000220,
  floatMultipleFaults: 0xc00002b4,
  floatMultipleTraps: 0xc00002b5,
} as const;

/** Bits of EXCEPTION_RECORD.ExceptionFlags. */
export const ExceptionFlag = {
  noncontinuable: 1,
  unwinding: 2,
  exitUnwind: 4,
  stackInvalid: 8,
  nestedCall: 16,
} as const;

/** Bits of EFLAGS. */
export const Eflags = { carry: 1, trap: 0x100, interrupt: 0x200, direction: 0x400, resume: 0x10000 } as const;

/** Segment selectors of Windows x86. */
export const Selector = {
  kernelCode: 0x08,
  kernelData: 0x10,
  userCode: 0x1b,
  userData: 0x23,
  tss: 0x28,
  kpcr: 0x30,
  teb: 0x3b,
} as const;

/** Results of waits. */
export const Wait = {
  object0: 0,
  abandoned0: 0x80,
  ioCompletion: 0xc0,
  timeout: 0x102,
  failed: 0xffffffff,
} as const;

/** User addresses lie below this; the 64 KiB below are never accessible. */
export const USER_END = 0x7fff_0000;
/** Lowest user address that can be allocated. */
export const USER_START = 0x1_0000;
/** KUSER_SHARED_DATA. */
export const SHARED_DATA = 0x7ffe_0000;
/** Where allocations begin: multiples of 64 KiB. */
export const GRANULARITY = 0x1_0000;
