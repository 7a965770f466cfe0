// SPDX-License-Identifier: Apache-2.0
/** All DLLs of the model. @module */
import type { DllDefinition } from "../api.ts";
import { kernel32 } from "./kernel32/mod.ts";
import { laterRuntimes, msvcrt } from "./msvcrt/mod.ts";
import { ntdll } from "./ntdll/mod.ts";
import { passive } from "./passive.ts";

/** kernelbase exports what kernel32 exports; here the code lives in kernel32. */
const kernelbase: DllDefinition = {
  name: "kernelbase.dll",
  base: 0x75100000,
  functions: [],
  forwards: Object.fromEntries(
    [
      ...kernel32.functions.map((one) => one.name),
      ...Object.keys(kernel32.known ?? {}),
      ...Object.keys(kernel32.forwards ?? {}),
    ].map((name) => [name, `KERNEL32.${name}`]),
  ),
};

export const dlls: readonly DllDefinition[] = [
  kernel32,
  kernelbase,
  ntdll,
  msvcrt,
  ...laterRuntimes,
  ...passive,
];
