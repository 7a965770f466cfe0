// SPDX-License-Identifier: Apache-2.0
/** All DLLs of the model. @module */
import type { DllDefinition } from "../api.ts";
import { advapi32 } from "./advapi32/mod.ts";
import { gdi32 } from "./gdi32.ts";
import { kernel32 } from "./kernel32/mod.ts";
import { laterRuntimes, msvcrt, ucrtbase } from "./msvcrt/mod.ts";
import { iphlpapi } from "./iphlpapi.ts";
import { urlmon, wininet, ws2, wsock } from "./network.ts";
import { ntdll } from "./ntdll/mod.ts";
import { ole32, oleaut32 } from "./ole.ts";
import { mscoree, passive } from "./passive.ts";
import { shell32 } from "./shell32.ts";
import { shlwapi } from "./shlwapi.ts";
import { comctl32, comdlg32, crypt32, psapi, version, winmm } from "./small.ts";
import { user32 } from "./user32/mod.ts";

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

/** All DLLs of the model. */
export const dlls: readonly DllDefinition[] = [
  advapi32,
  comctl32,
  comdlg32,
  crypt32,
  gdi32,
  iphlpapi,
  kernel32,
  kernelbase,
  mscoree,
  msvcrt,
  ntdll,
  ole32,
  oleaut32,
  psapi,
  shell32,
  shlwapi,
  urlmon,
  user32,
  version,
  wininet,
  winmm,
  ws2,
  wsock,
  ucrtbase,
  ...laterRuntimes,
  ...passive,
];
