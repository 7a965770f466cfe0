// SPDX-License-Identifier: Apache-2.0
/**
 * DLLs that are known by name only: their functions answer 0 and are listed as missing, but for the few here
 * whose answer a program's way depends on.
 *
 * @module
 */
import type { ApiCall, DllDefinition, KernelObject } from "../api.ts";
import { both, constant, define, type Handlers, type KnownData } from "./define.ts";
import data from "./known/passive.json" with { type: "json" };
import { pseudoRandom } from "./advapi32/crypto.ts";
import { COMPUTER } from "./kernel32/system.ts";
import { environmentBlock } from "./kernel32/environment.ts";
import { guidBytes } from "./ntdll/addresses.ts";
import { otherEnumerations } from "./shared/enumerations.ts";
import { Win32 } from "./shared/errors.ts";
import { fill, store, text } from "./shared/text.ts";

const FIRST_BASE = 0x68000000;
const STEP = 0x100000;

/** File names that are not the library's with `.dll`. */
const FILE_NAMES: Record<string, string> = { winspool: "winspool.drv" };

const NO_NETWORK = 1222;
const NOT_CONNECTED = 2250;
const E_FAIL = 0x80004005;
const DNS_NAME_ERROR = 9003;
const RPC_S_INVALID_STRING_UUID = 1705;
const TRUST_E_NOSIGNATURE = 0x800b0100;

const internet = (call: ApiCall) => call.handles.open({ kind: "internet" } as KernelObject);

/** `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` of a UUID. */
function uuidText(call: ApiCall, at: number): string {
  const digits = (value: number, count: number) => value.toString(16).padStart(count, "0");
  const tail = [...call.memory.bytes(at + 8, 8)].map((byte) => digits(byte, 2)).join("");
  const head = [
    digits(call.memory.u32(at), 8),
    digits(call.memory.u16(at + 4), 4),
    digits(call.memory.u16(at + 6), 4),
  ];
  return [...head, tail.slice(0, 4), tail.slice(4)].join("-");
}

function makeUuid(call: ApiCall, at: number): number {
  const bytes = pseudoRandom(call, 16);
  bytes[7] = (bytes[7] & 15) | 0x40;
  bytes[8] = (bytes[8] & 63) | 0x80;
  call.memory.setBytes(at, bytes);
  return 0;
}

const MODELLED: Record<string, Handlers> = {
  rpcrt4: {
    UuidCreate: makeUuid,
    UuidCreateSequential: makeUuid,
    ...both({
      UuidToString: (wide) => (call, uuid, result) => {
        const block = call.heaps.allocate(call.heaps.processHeap, 80, true);
        if (block === 0) return 14;
        store(call, block, uuidText(call, uuid), wide);
        call.memory.setU32(result, block);
        return 0;
      },
      UuidFromString: (wide) => (call, string, target) => {
        const bytes = string === 0
          ? new Array<number>(16).fill(0)
          : guidBytes(`{${text(call, string, wide, 64)}}`);
        if (!bytes) return RPC_S_INVALID_STRING_UUID;
        call.memory.setBytes(target, Uint8Array.from(bytes));
        return 0;
      },
      RpcStringFree: () => (call, string) => {
        call.heaps.free(call.heaps.processHeap, call.memory.u32(string));
        call.memory.setU32(string, 0);
        return 0;
      },
    }),
  },
  uxtheme: {
    ...constant(1, "IsThemeActive IsAppThemed"),
    ...constant(3, "GetThemeAppProperties"),
    ...constant(
      0,
      "SetWindowTheme OpenThemeData CloseThemeData EnableThemeDialogTexture SetThemeAppProperties",
    ),
  },
  dwmapi: {
    DwmIsCompositionEnabled: (call, result) => {
      call.memory.setU32(result, 0);
      return 0;
    },
  },
  imm32: constant(
    0,
    "ImmGetContext ImmAssociateContext ImmIsIME ImmReleaseContext ImmGetDefaultIMEWnd ImmDisableIME",
  ),
  mpr: {
    ...constant(
      NO_NETWORK,
      "WNetOpenEnumA WNetOpenEnumW WNetAddConnectionA WNetAddConnectionW WNetAddConnection2A",
    ),
    ...constant(NO_NETWORK, "WNetAddConnection2W WNetUseConnectionA WNetUseConnectionW WNetEnumResourceA"),
    ...constant(
      NOT_CONNECTED,
      "WNetGetConnectionA WNetGetConnectionW WNetCancelConnection2A WNetCancelConnection2W",
    ),
    ...constant(NOT_CONNECTED, "WNetGetUniversalNameA WNetGetUniversalNameW WNetEnumResourceW"),
  },
  netapi32: {
    ...constant(2114, "NetShareEnum NetServerEnum NetSessionEnum NetUserEnum NetLocalGroupGetMembers"),
    ...constant(2221, "NetUserGetInfo NetUserAdd NetUserSetInfo NetLocalGroupAddMembers"),
    ...constant(0, "NetApiBufferFree"),
    ...constant(5, "NetWkstaGetInfo NetServerGetInfo NetRemoteTOD NetScheduleJobAdd"),
    ...constant(0x23, "Netbios"),
  },
  dnsapi: {
    DnsQuery_A: (call, name) => resolve(call, name, false),
    DnsQuery_W: (call, name) => resolve(call, name, true),
    DnsFlushResolverCache: () => 1,
  },
  winhttp: {
    WinHttpOpen: internet,
    WinHttpConnect: (call, _session, server, port) => {
      call.print(`[connect] ${text(call, server, true, 256)}:${port & 0xffff}\n`);
      return internet(call);
    },
    WinHttpOpenRequest: (call, _connection, verb, path) => {
      call.print(`[request] ${text(call, verb, true, 32) || "GET"} ${text(call, path, true, 2048)}\n`);
      return internet(call);
    },
    WinHttpSendRequest: (call) => call.fail(Win32.internetNameNotResolved),
    WinHttpReceiveResponse: (call) => call.fail(Win32.internetCannotConnect),
    WinHttpCloseHandle: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidHandle),
    ...constant(1, "WinHttpSetOption WinHttpSetTimeouts WinHttpAddRequestHeaders"),
  },
  wintrust: constant(TRUST_E_NOSIGNATURE, "WinVerifyTrust WinVerifyTrustEx"),
  userenv: {
    CreateEnvironmentBlock: (call, result) => {
      call.memory.setU32(result, environmentBlock(call, true));
      return 1;
    },
    DestroyEnvironmentBlock: (call, block) => call.heaps.free(call.heaps.processHeap, block) ? 1 : 0,
    ...both({
      GetUserProfileDirectory: (wide) => (call, _token, buffer, size) => {
        const path = "C:\\Users\\user";
        const capacity = call.memory.u32(size);
        call.memory.setU32(size, path.length + 1);
        return fill(call, buffer, capacity, path, wide) === path.length
          ? 1
          : call.fail(Win32.insufficientBuffer);
      },
    }),
  },
  secur32: both({
    GetUserNameEx: (wide) => (call, _format, buffer, size) => {
      const name = `${COMPUTER}\\user`;
      const capacity = call.memory.u32(size);
      call.memory.setU32(size, name.length);
      return fill(call, buffer, capacity, name, wide) === name.length ? 1 : call.fail(Win32.moreData);
    },
  }),
  setupapi: constant(
    0xffffffff,
    "SetupDiGetClassDevsA SetupDiGetClassDevsW SetupOpenInfFileA SetupOpenInfFileW",
  ),
  msimg32: constant(1, "AlphaBlend GradientFill TransparentBlt"),
  // No device: programs say so, or go on without.
  ddraw: constant(E_FAIL, "DirectDrawCreate DirectDrawCreateEx"),
  dsound: constant(0x88780078, "DirectSoundCreate DirectSoundCreate8"),
  dinput8: constant(E_FAIL, "DirectInput8Create"),
  dinput: constant(E_FAIL, "DirectInputCreateA DirectInputCreateW DirectInputCreateEx"),
  gdiplus: constant(1, "GdiplusStartup"),
  odbc32: constant(0xffff, "SQLAllocHandle SQLAllocEnv SQLAllocConnect"),
  oleacc: constant(E_FAIL, "AccessibleObjectFromWindow AccessibleObjectFromPoint"),
  msi: constant(1605, "MsiGetProductInfoA MsiGetProductInfoW MsiEnumProductsA MsiEnumProductsW"),
  imagehlp: {
    MakeSureDirectoryPathExists: () => 1,
    ImageNtHeader: (call, base) => (base + call.memory.u32(base + 0x3c)) >>> 0,
  },
  wtsapi32: constant(0, "WTSEnumerateSessionsA WTSEnumerateSessionsW WTSQueryUserToken"),
};

function resolve(call: ApiCall, name: number, wide: boolean): number {
  call.print(`[resolve] ${text(call, name, wide, 256)}\n`);
  return DNS_NAME_ERROR;
}

export const passive: readonly DllDefinition[] = Object.entries(data as Record<string, KnownData>).map(
  ([name, known], i) =>
    define({
      name: FILE_NAMES[name] ?? `${name}.dll`,
      base: FIRST_BASE + i * STEP,
      known,
      handlers: [MODELLED[name] ?? {}, otherEnumerations[name] ?? {}],
    }),
);

/** The .NET loader: a program's managed code does not run here, which is said in the report. */
export const mscoree: DllDefinition = define({
  name: "mscoree.dll",
  base: 0x71f00000,
  handlers: [{
    _CorExeMain: (call) => {
      call.missing("_CorExeMain (managed code)");
      call.exitProcess(0);
    },
    _CorDllMain: () => 1,
    CorBindToRuntimeEx: () => E_FAIL,
    CorExitProcess: (call, code) => call.exitProcess(code),
  }],
  words: { _CorExeMain: 0, _CorDllMain: 3, CorBindToRuntimeEx: 6, CorExitProcess: 1 },
});
