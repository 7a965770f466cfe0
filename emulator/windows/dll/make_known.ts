// SPDX-License-Identifier: Apache-2.0
/**
 * Writes `known/*.json`: the names that DLLs export and how many argument words each function removes, from
 * the import libraries of Debian's `mingw-w64-i686-dev`. Run by hand when that package changes:
 * `deno run --allow-read --allow-write emulator/windows/dll/make_known.ts [LIBRARY-DIRECTORY]`.
 *
 * Names that came with Windows 8 and later are left out, so that a program which asks for them learns that it
 * runs on Windows 7.
 *
 * @module
 */
import { type LibraryImport, readImportLibrary } from "./import_library.ts";
import type { KnownData } from "./define.ts";

const LIBRARIES = "/usr/i686-w64-mingw32/lib";

/** DLLs that have functions of their own in this folder: one data file each. */
const modelled = (
  "advapi32 comctl32 comdlg32 crypt32 gdi32 iphlpapi kernel32 msvcrt ntdll ole32 oleaut32 psapi shell32 shlwapi " +
  "urlmon user32 version wininet winmm ws2_32 wsock32"
).split(" ");

/** DLLs that are known by name only: one data file together. */
const passive = (
  "avicap32 avifil32 bcrypt cabinet cfgmgr32 credui cryptnet d3d8 d3d9 dbghelp ddraw dinput dinput8 dnsapi " +
  "dsound dwmapi gdiplus glu32 hid imagehlp imm32 lz32 mapi32 mpr msacm32 msi msimg32 mswsock msvfw32 ncrypt " +
  "netapi32 odbc32 odbccp32 oleacc oledlg olepro32 opengl32 pdh powrprof rasapi32 rpcrt4 schannel secur32 " +
  "setupapi snmpapi tapi32 url userenv usp10 uxtheme winhttp winscard winspool wintrust wldap32 wtsapi32"
).split(" ");

/** The universal C runtime: its API sets in one library. */
const universal = { library: "ucrt", pattern: /^api-ms-win-crt-/i };

/** Other C runtimes; their functions are those of msvcrt where the names agree. */
const runtimes = "crtdll msvcr70 msvcr71 msvcr80 msvcr90 msvcr100 msvcr110 msvcr120".split(" ");

/** Functions of Windows 8 and later: these words anywhere in the name, or these names. */
const LATER =
  /(?<!Security)Package|AppContainer|AppPolicy|CurrentApplicationUserModelId|ApplicationUserModelId|WaitOnAddress|WakeByAddress|ThreadDescription|PrefetchVirtualMemory|VirtualAlloc2|VirtualAllocFromApp|MapViewOfFile3|CreateFileMapping2|FromApp|GetSystemTimePrecise|CreateFile2|CopyFile2|IsWow64Process2|IsWow64GuestMachine|ProcessMitigationPolicy|PointerFrameSubclass|GetOverlappedResultEx|SetFileIoOverlappedRangeEx|OfferVirtualMemory|ReclaimVirtualMemory|DiscardVirtualMemory|FirmwareEnvironmentVariableEx|FirmwareType|Enclave|PseudoConsole|DpiForMonitor|DpiForWindow|DpiForSystem|DpiAwarenessContext|ThreadDpi|DpiHosting|ForDpi|GetPointer(?!s)|InjectTouch|SyntheticPointer|PackageFamily|DeriveCapability|CpuSet|QueryUnbiasedInterruptTimePrecise|QueryInterruptTime|LoadPackagedLibrary|CeipIsOptedIn|TrySubmitThreadpoolCallbackEx|GetTempPath2|GetMachineType|UserShadowStack|StackGuardPages|DynamicEnforcedCET|RtlRaiseCustomSystemEventTrigger|QueryProtectedPolicy|Silo|DisplayConfigPath$|GetProcessInformation$|SetProcessInformation$|GetThreadInformation$|SetThreadInformation$|RegisterBadMemoryNotification|ResolveDelayLoad|PathAlloc|PathCch|PssCapture|PssWalk|PssQuery|PssFree|PssDuplicate/;

/** The data of one library; undefined when the directory has no such library. */
function data(
  directory: string,
  library: string,
  belongs = (dll: string) => dll.toLowerCase().replace(/\.\w+$/, "") === library,
): KnownData | undefined {
  let archive: Uint8Array;
  try {
    archive = Deno.readFileSync(`${directory}/lib${library}.a`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const groups = new Map<string, Set<string>>();
  // A few names stand twice, with different words; the first is the library's own.
  const seen = new Set<string>();
  const add = (group: string, name: string) => groups.set(group, (groups.get(group) ?? new Set()).add(name));
  for (const item of readImportLibrary(archive) satisfies LibraryImport[]) {
    if (item.name === undefined || LATER.test(item.name) || seen.has(item.name)) continue;
    if (!belongs(item.dll)) continue;
    seen.add(item.name);
    add(item.kind === "stdcall" || item.kind === "fastcall" ? String(item.words) : item.kind, item.name);
  }
  return Object.fromEntries(
    [...groups].map(([group, names]) => [group, [...names].sort().join(" ")] as const)
      .sort(([a], [b]) => a < b ? -1 : 1),
  );
}

if (import.meta.main) {
  const directory = Deno.args[0] ?? LIBRARIES;
  const target = new URL("known/", import.meta.url);
  const write = (name: string, value: unknown) =>
    Deno.writeTextFileSync(new URL(`${name}.json`, target), JSON.stringify(value, null, 2) + "\n");
  for (const library of modelled) write(library, data(directory, library));
  write("ucrtbase", data(directory, universal.library, (dll) => universal.pattern.test(dll)));
  for (const [file, libraries] of Object.entries({ passive, runtimes })) {
    write(file, Object.fromEntries(libraries.map((library) => [library, data(directory, library)])));
  }
}
