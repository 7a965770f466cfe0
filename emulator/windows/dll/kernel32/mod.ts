// SPDX-License-Identifier: Apache-2.0
/** kernel32.dll: the Win32 base API. @module */
import type { DllDefinition } from "../../api.ts";
import { define } from "../define.ts";
import known from "../known/kernel32.json" with { type: "json" };
import { localeEnumerations } from "../shared/enumerations.ts";
import { code } from "./code.ts";
import { console } from "./console.ts";
import { directory } from "./directory.ts";
import { environment } from "./environment.ts";
import { file } from "./file.ts";
import { locale } from "./locale.ts";
import { memory } from "./memory.ts";
import { module } from "./module.ts";
import { process } from "./process.ts";
import { kernelProcessStatus } from "./process_status.ts";
import { resource } from "./resource.ts";
import { string } from "./string.ts";
import { sync } from "./sync.ts";
import { system } from "./system.ts";
import { thread, threadFunctions } from "./thread.ts";
import { time, timeFunctions } from "./time.ts";
import { toolhelp } from "./toolhelp.ts";

/** What Windows 7 forwards to ntdll: kernel32's name → ntdll's. */
const FORWARDS: Record<string, string> = {
  AcquireSRWLockExclusive: "RtlAcquireSRWLockExclusive",
  AcquireSRWLockShared: "RtlAcquireSRWLockShared",
  DecodePointer: "RtlDecodePointer",
  DecodeSystemPointer: "RtlDecodeSystemPointer",
  DeleteCriticalSection: "RtlDeleteCriticalSection",
  EncodePointer: "RtlEncodePointer",
  EncodeSystemPointer: "RtlEncodeSystemPointer",
  EnterCriticalSection: "RtlEnterCriticalSection",
  ExitThread: "RtlExitUserThread",
  HeapAlloc: "RtlAllocateHeap",
  HeapReAlloc: "RtlReAllocateHeap",
  HeapSize: "RtlSizeHeap",
  InitializeConditionVariable: "RtlInitializeConditionVariable",
  InitializeCriticalSection: "RtlInitializeCriticalSection",
  InitializeCriticalSectionAndSpinCount: "RtlInitializeCriticalSectionAndSpinCount",
  InitializeCriticalSectionEx: "RtlInitializeCriticalSectionEx",
  InitializeSListHead: "RtlInitializeSListHead",
  InitializeSRWLock: "RtlInitializeSRWLock",
  InterlockedFlushSList: "RtlInterlockedFlushSList",
  InterlockedPopEntrySList: "RtlInterlockedPopEntrySList",
  InterlockedPushEntrySList: "RtlInterlockedPushEntrySList",
  LeaveCriticalSection: "RtlLeaveCriticalSection",
  QueryDepthSList: "RtlQueryDepthSList",
  ReleaseSRWLockExclusive: "RtlReleaseSRWLockExclusive",
  ReleaseSRWLockShared: "RtlReleaseSRWLockShared",
  RestoreLastError: "RtlRestoreLastWin32Error",
  RtlCaptureContext: "RtlCaptureContext",
  RtlCaptureStackBackTrace: "RtlCaptureStackBackTrace",
  RtlFillMemory: "RtlFillMemory",
  RtlMoveMemory: "RtlMoveMemory",
  RtlUnwind: "RtlUnwind",
  RtlZeroMemory: "RtlZeroMemory",
  SetCriticalSectionSpinCount: "RtlSetCriticalSectionSpinCount",
  SleepConditionVariableCS: "RtlSleepConditionVariableCS",
  SleepConditionVariableSRW: "RtlSleepConditionVariableSRW",
  TryAcquireSRWLockExclusive: "RtlTryAcquireSRWLockExclusive",
  TryAcquireSRWLockShared: "RtlTryAcquireSRWLockShared",
  TryEnterCriticalSection: "RtlTryEnterCriticalSection",
  VerSetConditionMask: "VerSetConditionMask",
  WakeAllConditionVariable: "RtlWakeAllConditionVariable",
  WakeConditionVariable: "RtlWakeConditionVariable",
};

/** kernel32.dll, with all its functions. */
export const kernel32: DllDefinition = define({
  name: "kernel32.dll",
  base: 0x76a00000,
  known,
  handlers: [
    console,
    directory,
    environment,
    file,
    locale,
    localeEnumerations,
    memory,
    module,
    process,
    kernelProcessStatus,
    resource,
    string,
    sync,
    system,
    thread,
    time,
    toolhelp,
  ],
  functions: [...code, ...threadFunctions, ...timeFunctions],
  forwards: Object.fromEntries(Object.entries(FORWARDS).map(([name, target]) => [name, `NTDLL.${target}`])),
});
