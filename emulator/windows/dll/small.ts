// SPDX-License-Identifier: Apache-2.0
/** comctl32, comdlg32, version, winmm, psapi, crypt32: a few functions each. @module */
import { Buffer } from "node:buffer";
import type { ApiCall, DllDefinition } from "../api.ts";
import { both, constant, define } from "./define.ts";
import comctl32Names from "./known/comctl32.json" with { type: "json" };
import comdlg32Names from "./known/comdlg32.json" with { type: "json" };
import crypt32Names from "./known/crypt32.json" with { type: "json" };
import psapiNames from "./known/psapi.json" with { type: "json" };
import versionNames from "./known/version.json" with { type: "json" };
import winmmNames from "./known/winmm.json" with { type: "json" };
import { processStatus } from "./kernel32/process_status.ts";
import { resourceData } from "./kernel32/resource.ts";
import { comctlOrdinals } from "./ordinals.ts";
import { Win32 } from "./shared/errors.ts";
import { fill, fromAnsi, fromWide, store, text } from "./shared/text.ts";

const handle = (kind: string) => (call: ApiCall) => call.handles.open({ kind });

export const comctl32: DllDefinition = define({
  name: "comctl32.dll",
  base: 0x74000000,
  known: comctl32Names,
  handlers: [
    {
      InitCommonControls: () => 0,
      InitCommonControlsEx: () => 1,
      ImageList_Create: handle("images"),
      ImageList_Add: () => 0,
      ImageList_ReplaceIcon: () => 0,
      ImageList_Destroy: (call, list) => call.handles.close(list) ? 1 : 0,
      ImageList_GetImageCount: () => 0,
    },
  ],
  ordinals: comctlOrdinals,
});

export const comdlg32: DllDefinition = define({
  name: "comdlg32.dll",
  base: 0x73f00000,
  known: comdlg32Names,
  handlers: [
    // The user presses Cancel; that is no error.
    constant(
      0,
      "GetOpenFileNameA GetOpenFileNameW GetSaveFileNameA GetSaveFileNameW ChooseColorA ChooseColorW",
    ),
    constant(0, "ChooseFontA ChooseFontW PrintDlgA PrintDlgW CommDlgExtendedError"),
  ],
});

const VERSION_RESOURCE = 16;

/** The version resource of a file: of a loaded module, else none. */
function versionOf(call: ApiCall, name: string): { address: number; size: number } | undefined {
  const module = call.modules.find(name) ??
    (name.toLowerCase() === call.imagePath.toLowerCase() ? call.modules.main : undefined);
  return module && resourceData(call, module, VERSION_RESOURCE, 1);
}

/** Walks VS_VERSIONINFO (wLength, wValueLength, wType, key, value, children) to a `\`-separated path. */
function versionValue(
  call: ApiCall,
  block: number,
  path: string,
): { address: number; length: number } | undefined {
  const { memory } = call;
  const align = (at: number) => block + ((at - block + 3) & ~3);
  let at = block;
  const valueOf = (node: number) => {
    const key = text(call, node + 6, true, 256);
    return {
      key,
      value: align(node + 6 + 2 * key.length + 2),
      length: memory.u16(node + 2),
      type: memory.u16(node + 4),
    };
  };
  for (const part of path.split("\\").filter((one) => one !== "")) {
    const { value, length, type } = valueOf(at);
    const end = at + memory.u16(at);
    let child = align(value + (type ? 2 * length : length));
    while (
      child < end && memory.u16(child) !== 0 && valueOf(child).key.toLowerCase() !== part.toLowerCase()
    ) {
      child = align(child + memory.u16(child));
    }
    if (child >= end || memory.u16(child) === 0) return undefined;
    at = child;
  }
  const found = valueOf(at);
  return { address: found.value, length: found.length };
}

export const version: DllDefinition = define({
  name: "version.dll",
  base: 0x73e00000,
  known: versionNames,
  handlers: [
    both({
      GetFileVersionInfoSize: (wide) => (call, name, zero) => {
        if (zero) call.memory.setU32(zero, 0);
        return versionOf(call, text(call, name, wide, 1024))?.size ?? call.fail(Win32.resourceDataNotFound);
      },
      GetFileVersionInfo: (wide) => (call, name, _zero, size, buffer) => {
        const found = versionOf(call, text(call, name, wide, 1024));
        if (!found) return call.fail(Win32.resourceDataNotFound);
        call.memory.setBytes(buffer, call.memory.bytes(found.address, Math.min(found.size, size, 0x10000)));
        return 1;
      },
      VerQueryValue: (wide) => (call, block, path, result, length) => {
        const found = versionValue(call, block, text(call, path, wide, 1024));
        if (!found) return call.fail(Win32.resourceTypeNotFound);
        call.memory.setU32(result, found.address);
        if (length) call.memory.setU32(length, found.length);
        return 1;
      },
      VerLanguageName: (wide) => (call, _language, buffer, capacity) =>
        fill(call, buffer, capacity, "English (United States)", wide),
    }),
  ],
});

export const winmm: DllDefinition = define({
  name: "winmm.dll",
  base: 0x73d00000,
  known: winmmNames,
  handlers: [
    {
      timeGetTime: (call) => call.clock.tickCount,
      timeGetSystemTime: (call, at) => {
        call.memory.setU32(at, 1);
        call.memory.setU32(at + 4, call.clock.tickCount);
        return 0;
      },
      timeGetDevCaps: (call, at) => {
        call.memory.setU32(at, 1);
        call.memory.setU32(at + 4, 1000000);
        return 0;
      },
      timeSetEvent: () => 1,
    },
    constant(
      0,
      "timeBeginPeriod timeEndPeriod timeKillEvent waveOutGetNumDevs waveInGetNumDevs midiOutGetNumDevs",
    ),
    constant(0, "midiInGetNumDevs mixerGetNumDevs auxGetNumDevs joyGetNumDevs"),
    constant(1, "PlaySoundA PlaySoundW sndPlaySoundA sndPlaySoundW"),
    constant(2, "waveOutOpen waveInOpen midiOutOpen midiInOpen"),
    constant(263, "mciSendStringA mciSendStringW mciSendCommandA mciSendCommandW"),
  ],
});

export const psapi: DllDefinition = define({
  name: "psapi.dll",
  base: 0x73c00000,
  known: psapiNames,
  handlers: [processStatus],
});

const BASE64 = 1;
const BASE64_HEADER = 0;
const BASE64_NO_WRAP = 0x40000000;

export const crypt32: DllDefinition = define({
  name: "crypt32.dll",
  base: 0x73b00000,
  known: crypt32Names,
  handlers: [
    both({
      CryptStringToBinary: (wide) => (call, source, length, flags, buffer, size, skipped, used) => {
        const value = length ? fetch(call, source, length, wide) : text(call, source, wide, 0x100000);
        const kind = flags & 0xff;
        const isHex = kind === 4 || kind === 8 || kind === 12;
        const body = value.replace(/-----[^-]+-----/g, "").replace(/\s+/g, "");
        const isGood = isHex ? /^([0-9a-f]{2})*$/i.test(body) : /^[A-Za-z0-9+/]*={0,2}$/.test(body);
        if (!isGood) return call.fail(13);
        const bytes = new Uint8Array(Buffer.from(body, isHex ? "hex" : "base64"));
        const room = call.memory.u32(size);
        call.memory.setU32(size, bytes.length);
        if (skipped) call.memory.setU32(skipped, 0);
        if (used) call.memory.setU32(used, kind);
        if (buffer === 0) return 1;
        if (room < bytes.length) return call.fail(Win32.moreData);
        call.memory.setBytes(buffer, bytes);
        return 1;
      },
      CryptBinaryToString: (wide) => (call, source, length, flags, buffer, size) => {
        const kind = flags & 0xff;
        if (kind !== BASE64 && kind !== BASE64_HEADER && kind !== 12) {
          return call.fail(Win32.invalidParameter);
        }
        const bytes = Buffer.from(call.memory.bytes(source, Math.min(length, 0x1000000)));
        let value = kind === 12 ? bytes.toString("hex") : bytes.toString("base64");
        if (!(flags & BASE64_NO_WRAP)) value = value.replace(/.{1,64}/g, "$&\r\n");
        const room = call.memory.u32(size);
        call.memory.setU32(size, value.length + (buffer ? 0 : 1));
        if (buffer === 0) return 1;
        if (room <= value.length) return call.fail(Win32.moreData);
        store(call, buffer, value, wide);
        return 1;
      },
      CertOpenSystemStore: () => handle("store"),
    }),
    {
      CertOpenStore: handle("store"),
      CertCloseStore: (call, store) => call.handles.close(store) ? 1 : 0,
      CryptProtectData: (call) => call.fail(Win32.notSupported),
      CryptUnprotectData: (call) => call.fail(13),
    },
  ],
});

function fetch(call: ApiCall, source: number, length: number, wide: boolean): string {
  const size = Math.min(length, 0x1000000);
  return (wide ? fromWide(call.memory.bytes(source, 2 * size)) : fromAnsi(call.memory.bytes(source, size)))
    .replace(/\0+$/, "");
}
