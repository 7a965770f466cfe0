// SPDX-License-Identifier: Apache-2.0
/** version.dll: version resources of loaded modules. @module */
import type { ApiCall, DllDefinition } from "../api.ts";
import { both, define } from "./define.ts";
import { resourceData } from "./kernel32/resource.ts";
import names from "./known/version.json" with { type: "json" };
import { Win32 } from "./shared/errors.ts";
import { fill, lasting, text } from "./shared/text.ts";

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
): { address: number; length: number; isText: boolean } | undefined {
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
  return { address: found.value, length: found.length, isText: found.type === 1 };
}

export const version: DllDefinition = define({
  name: "version.dll",
  base: 0x73e00000,
  known: names,
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
        const narrow = !wide && found.isText && found.length > 0;
        const value = narrow ? text(call, found.address, true, found.length) : "";
        call.memory.setU32(
          result,
          narrow ? lasting(call, `version:${value}`, value, false) : found.address,
        );
        if (length) call.memory.setU32(length, found.length);
        return 1;
      },
      VerLanguageName: (wide) => (call, _language, buffer, capacity) =>
        fill(call, buffer, capacity, "English (United States)", wide),
    }),
  ],
});
