// SPDX-License-Identifier: Apache-2.0
/** All DLLs of the model. @module */
import type { DllDefinition } from "../api.ts";
import { advapi32 } from "./advapi32/mod.ts";
import { comctl32 } from "./comctl32.ts";
import { comdlg32 } from "./comdlg32.ts";
import { crypt32 } from "./crypt32.ts";
import { lazily } from "./define.ts";
import { gdi32 } from "./gdi32.ts";
import { kernel32 } from "./kernel32/mod.ts";
import { laterRuntimes, msvcrt, ucrtbase } from "./msvcrt/mod.ts";
import { iphlpapi } from "./iphlpapi.ts";
import { ntdll } from "./ntdll/mod.ts";
import { ole32 } from "./ole32.ts";
import { oleaut32 } from "./oleaut32/mod.ts";
import { mscoree, passive } from "./passive.ts";
import { psapi } from "./psapi.ts";
import { shell32 } from "./shell32.ts";
import { shlwapi } from "./shlwapi.ts";
import { urlmon } from "./urlmon.ts";
import { user32 } from "./user32/mod.ts";
import { version } from "./version.ts";
import { wininet } from "./wininet.ts";
import { winmm } from "./winmm.ts";
import { ws2 } from "./ws2_32.ts";
import { wsock } from "./wsock32.ts";

/** kernelbase exports what kernel32 exports; here the code lives in kernel32. */
const kernelbase: DllDefinition = lazily("kernelbase.dll", 0x75100000, () => ({
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
}));

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
