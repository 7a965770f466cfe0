// SPDX-License-Identifier: Apache-2.0
/** ole32.dll: task memory and identifiers; no classes are registered. @module */
import type { ApiCall, DllDefinition } from "../api.ts";
import { pseudoRandom } from "./advapi32/crypto.ts";
import { constant, define, type Handlers } from "./define.ts";
import names from "./known/ole32.json" with { type: "json" };
import { store, text } from "./shared/text.ts";

const E_POINTER = 0x80004003;
const CLASS_NOT_REGISTERED = 0x80040154;
const E_INVALIDARG = 0x80070057;
const E_NOTIMPL = 0x80004001;
const E_OUTOFMEMORY = 0x8007000e;

const hexadecimal = (value: number, digits: number) => value.toString(16).toUpperCase().padStart(digits, "0");

/** `{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}` of the sixteen bytes at an address. */
function guidText(call: ApiCall, at: number): string {
  const tail = [...call.memory.bytes(at + 8, 8)].map((byte) => hexadecimal(byte, 2)).join("");
  return `{${hexadecimal(call.memory.u32(at), 8)}-${hexadecimal(call.memory.u16(at + 4), 4)}-` +
    `${hexadecimal(call.memory.u16(at + 6), 4)}-${tail.slice(0, 4)}-${tail.slice(4)}}`;
}

function parseGuid(call: ApiCall, value: string, at: number): number {
  const match = /^\{?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\}?$/i.exec(value);
  if (!match) return 0x800401f3;
  call.memory.setU32(at, parseInt(match[1], 16));
  call.memory.setU16(at + 4, parseInt(match[2], 16));
  call.memory.setU16(at + 6, parseInt(match[3], 16));
  const tail = match[4] + match[5];
  for (let i = 0; i < 8; i++) call.memory.setU8(at + 8 + i, parseInt(tail.slice(2 * i, 2 * i + 2), 16));
  return 0;
}

const noClass = (call: ApiCall, result: number) => {
  if (result === 0) return E_POINTER;
  call.memory.setU32(result, 0);
  return CLASS_NOT_REGISTERED;
};

const initialise = (call: ApiCall) => {
  const state = call.state(`ole:${call.tid}`, () => ({ count: 0 }));
  return state.count++ === 0 ? 0 : 1;
};

const ole: Handlers = {
  CoInitialize: initialise,
  CoInitializeEx: initialise,
  OleInitialize: initialise,
  ...constant(
    0,
    "CoUninitialize OleUninitialize CoInitializeSecurity CoSetProxyBlanket CoFreeUnusedLibraries",
  ),
  ...constant(
    0,
    "CoRegisterClassObject CoRevokeClassObject CoLockObjectExternal RegisterDragDrop RevokeDragDrop",
  ),
  CoCreateInstance: (call, _class, _outer, _context, _interface, result) => noClass(call, result),
  CoCreateInstanceEx: () => CLASS_NOT_REGISTERED,
  CoGetClassObject: (call, _class, _context, _server, _interface, result) => noClass(call, result),
  CoGetMalloc: (call, _context, result) => {
    call.memory.setU32(result, 0);
    return E_INVALIDARG;
  },
  CoTaskMemAlloc: (call, size) => call.heaps.allocate(call.heaps.processHeap, size, false),
  CoTaskMemRealloc: (call, block, size) =>
    block
      ? call.heaps.reallocate(call.heaps.processHeap, block, size, false)
      : call.heaps.allocate(call.heaps.processHeap, size, false),
  CoTaskMemFree: (call, block) => {
    if (block) call.heaps.free(call.heaps.processHeap, block);
  },
  CoCreateGuid: (call, at) => {
    const bytes = pseudoRandom(call, 16);
    bytes[7] = (bytes[7] & 15) | 0x40;
    bytes[8] = (bytes[8] & 63) | 0x80;
    call.memory.setBytes(at, bytes);
    return 0;
  },
  StringFromGUID2: (call, at, buffer, capacity) => {
    if (capacity < 39) return 0;
    store(call, buffer, guidText(call, at), true);
    return 39;
  },
  StringFromCLSID: (call, at, result) => stringFromGuid(call, at, result),
  StringFromIID: (call, at, result) => stringFromGuid(call, at, result),
  CLSIDFromString: (call, value, at) => parseGuid(call, text(call, value, true, 64), at),
  IIDFromString: (call, value, at) => parseGuid(call, text(call, value, true, 64), at),
  CLSIDFromProgID: () => 0x800401f3,
  // What would hand out an interface says that it is not implemented.
  ...constant(
    E_NOTIMPL,
    "CreateBindCtx MkParseDisplayName GetRunningObjectTable StgCreateDocfile StgOpenStorage",
  ),
  ...constant(
    E_NOTIMPL,
    "CreateStreamOnHGlobal GetHGlobalFromStream CreateILockBytesOnHGlobal CoMarshalInterface",
  ),
  ...constant(E_NOTIMPL, "CoUnmarshalInterface CoGetObject BindMoniker CreateFileMoniker CreateItemMoniker"),
  ...constant(
    E_NOTIMPL,
    "CoCreateFreeThreadedMarshaler CoGetInterfaceAndReleaseStream OleCreate OleLoad OleSave",
  ),
  ...constant(E_NOTIMPL, "CoMarshalInterThreadInterfaceInStream OleGetClipboard OleSetClipboard DoDragDrop"),
  ...constant(E_NOTIMPL, "CoGetCallContext CoGetContextToken CreateClassMoniker CoRegisterMessageFilter"),
  IsEqualGUID: (call, a, b) => guidText(call, a) === guidText(call, b) ? 1 : 0,
};

function stringFromGuid(call: ApiCall, at: number, result: number): number {
  const block = call.heaps.allocate(call.heaps.processHeap, 78, false);
  if (!block) return E_OUTOFMEMORY;
  store(call, block, guidText(call, at), true);
  call.memory.setU32(result, block);
  return 0;
}

export const ole32: DllDefinition = define({
  name: "ole32.dll",
  base: 0x75a00000,
  known: names,
  handlers: [ole],
  words: { IsEqualGUID: 2 },
  refusal: (name) => /^(Co|Ole|Stg|Create|Get|Dll)[A-Z]/.test(name) ? E_NOTIMPL : undefined,
});
