// SPDX-License-Identifier: Apache-2.0
/** kernel32: functions that Windows itself makes of a few instructions without entering the kernel. @module */
import type { DllFunction } from "../../api.ts";
import { machineCode } from "../code.ts";

const LAST_ERROR = "64a118000000 8b4034"; // mov eax, fs:[18h]; mov eax, [eax+34h]

export const code: readonly DllFunction[] = [
  machineCode("GetLastError", "stdcall", 0, `${LAST_ERROR} c3`),
  // mov eax, fs:[18h]; mov ecx, [esp+4]; mov [eax+34h], ecx; ret 4
  machineCode("SetLastError", "stdcall", 1, "64a118000000 8b4c2404 894834 c20400"),
  // mov eax, fs:[18h]; mov eax, [eax+24h]; ret
  machineCode("GetCurrentThreadId", "stdcall", 0, "64a118000000 8b4024 c3"),
  // mov eax, fs:[18h]; mov eax, [eax+20h]; ret
  machineCode("GetCurrentProcessId", "stdcall", 0, "64a118000000 8b4020 c3"),
  // mov ecx, [esp+4]; mov eax, 1; lock xadd [ecx], eax; inc eax; ret 4
  machineCode("InterlockedIncrement", "stdcall", 1, "8b4c2404 b801000000 f00fc101 40 c20400"),
  // the same with -1 and dec
  machineCode("InterlockedDecrement", "stdcall", 1, "8b4c2404 83c8ff f00fc101 48 c20400"),
  // mov ecx, [esp+4]; mov edx, [esp+8]; xchg [ecx], edx; mov eax, edx; ret 8
  machineCode("InterlockedExchange", "stdcall", 2, "8b4c2404 8b542408 8711 8bc2 c20800"),
  // mov ecx, [esp+4]; mov eax, [esp+8]; lock xadd [ecx], eax; ret 8
  machineCode("InterlockedExchangeAdd", "stdcall", 2, "8b4c2404 8b442408 f00fc101 c20800"),
  // mov ecx, [esp+4]; mov edx, [esp+8]; mov eax, [esp+12]; lock cmpxchg [ecx], edx; ret 12
  machineCode("InterlockedCompareExchange", "stdcall", 3, "8b4c2404 8b542408 8b44240c f00fb111 c20c00"),
  // push ebx; push ebp; mov ebp, [esp+12]; mov ebx, [esp+16]; mov ecx, [esp+20]; mov eax, [esp+24];
  // mov edx, [esp+28]; lock cmpxchg8b [ebp]; pop ebp; pop ebx; ret 20
  machineCode(
    "InterlockedCompareExchange64",
    "stdcall",
    5,
    "53 55 8b6c240c 8b5c2410 8b4c2414 8b442418 8b54241c f00fc74d00 5d 5b c21400",
  ),
];
