// SPDX-License-Identifier: Apache-2.0
/** ntdll: the loader's functions, PE headers, resources, decompression. @module */
import type { ApiCall } from "../../api.ts";
import type { Handlers } from "../define.ts";
import { Status } from "../shared/errors.ts";
import { loadAndAttach } from "../kernel32/module.ts";
import { findResource, resourceKey } from "../kernel32/resource.ts";
import { countedString } from "./unicode.ts";
import { decompressLznt1 } from "./lznt1.ts";

const LZNT1 = 2;
const MAX_BUFFER = 0x4000000;

/** Address of the PE header of an image; 0 when it has none. */
function ntHeader(call: ApiCall, base: number): number {
  if (!call.memory.accessible(base, 0x40, false) || call.memory.u16(base) !== 0x5a4d) return 0;
  const header = (base + call.memory.u32(base + 0x3c)) >>> 0;
  return call.memory.accessible(header, 4, false) && call.memory.u32(header) === 0x4550 ? header : 0;
}

function directoryEntry(call: ApiCall, base: number, mapped: number, index: number, size: number): number {
  const header = ntHeader(call, (base & ~3) >>> 0);
  if (header === 0 || index >= Math.min(16, call.memory.u32(header + 0x74))) return 0;
  const rva = call.memory.u32(header + 0x78 + 8 * index);
  call.memory.setU32(size, call.memory.u32(header + 0x7c + 8 * index));
  if (rva === 0) return 0;
  return mapped & 255 ? (base & ~3) + rva : rvaToAddress(call, header, base & ~3, rva);
}

function rvaToAddress(call: ApiCall, header: number, base: number, rva: number): number {
  const first = header + 24 + call.memory.u16(header + 20);
  for (let i = 0; i < Math.min(96, call.memory.u16(header + 6)); i++) {
    const start = call.memory.u32(first + 40 * i + 12);
    const size = call.memory.u32(first + 40 * i + 16);
    if (rva >= start && rva < start + size) return base + rva - start + call.memory.u32(first + 40 * i + 20);
  }
  return 0;
}

export const loader: Handlers = {
  LdrLoadDll: function* (call, _path, _flags, name, handle) {
    const module = yield* loadAndAttach(call, countedString(call, name, true));
    if (!module) return Status.dllNotFound;
    call.memory.setU32(handle, module.base);
    return 0;
  },
  LdrGetDllHandle: (call, _path, _flags, name, handle) => {
    const module = call.modules.find(countedString(call, name, true));
    call.memory.setU32(handle, module?.base ?? 0);
    return module ? 0 : Status.dllNotFound;
  },
  LdrGetDllHandleEx: (call, _flags, _path, _characteristics, name, handle) => {
    const module = call.modules.find(countedString(call, name, true));
    if (handle) call.memory.setU32(handle, module?.base ?? 0);
    return module ? 0 : Status.dllNotFound;
  },
  LdrGetProcedureAddress: (call, base, name, ordinal, result) => {
    const module = call.modules.at(base);
    if (!module) return Status.dllNotFound;
    const address = call.modules.export(module, name ? countedString(call, name, false) : ordinal);
    call.memory.setU32(result, address);
    return address ? 0 : name ? Status.procedureNotFound : Status.ordinalNotFound;
  },
  LdrUnloadDll: function* (call, base) {
    const module = call.modules.at(base);
    if (!module) return Status.dllNotFound;
    yield* call.modules.release(module);
    return 0;
  },
  LdrDisableThreadCalloutsForDll: (call, base) => {
    const module = call.modules.at(base);
    if (module) call.modules.silence(module);
    return module ? 0 : Status.dllNotFound;
  },
  LdrAddRefDll: () => 0,
  LdrLockLoaderLock: (call, _flags, state, cookie) => {
    if (state) call.memory.setU32(state, 1);
    call.memory.setU32(cookie, 0x10000001);
    return 0;
  },
  LdrUnlockLoaderLock: () => 0,
  LdrFindResource_U: (call, base, ids, level, entry) => {
    const module = call.modules.at(base);
    if (!module) return Status.dllNotFound;
    const [type, name, language] = [0, 1, 2].map((i) => i < level ? call.memory.u32(ids + 4 * i) : 0);
    const found = findResource(
      call,
      module,
      resourceKey(call, type, true),
      resourceKey(call, name, true),
      language & 0xffff,
    );
    if (found < 0) return 0xc000008b;
    call.memory.setU32(entry, found);
    return 0;
  },
  LdrAccessResource: (call, base, entry, address, size) => {
    if (address) call.memory.setU32(address, ((base & ~3) + call.memory.u32(entry)) >>> 0);
    if (size) call.memory.setU32(size, call.memory.u32(entry + 4));
    return 0;
  },
  RtlImageNtHeader: ntHeader,
  RtlImageNtHeaderEx: (call, _flags, base, _low, _high, result) => {
    const header = ntHeader(call, base);
    call.memory.setU32(result, header);
    return header ? 0 : 0xc000007b;
  },
  RtlImageDirectoryEntryToData: directoryEntry,
  RtlImageRvaToVa: (call, header, base, rva) => rvaToAddress(call, header, base, rva),
  RtlPcToFileHeader: (call, address, base) => {
    const module = call.modules.at(address);
    call.memory.setU32(base, module?.base ?? 0);
    return module?.base ?? 0;
  },
  RtlGetCompressionWorkSpaceSize: (call, _format, compress, fragment) => {
    call.memory.setU32(compress, 0x18010);
    call.memory.setU32(fragment, 0x1000);
    return 0;
  },
  RtlDecompressBuffer: (call, format, target, capacity, source, length, final) => {
    if ((format & 255) !== LZNT1) {
      return (format & 255) < 2 ? Status.invalidParameter : Status.unsupportedCompression;
    }
    const input = call.memory.bytes(source, Math.min(length, MAX_BUFFER));
    const output = decompressLznt1(input, Math.min(capacity, MAX_BUFFER));
    if (!output) return Status.badCompressionBuffer;
    call.memory.setBytes(target, output);
    call.memory.setU32(final, output.length);
    return 0;
  },
};
