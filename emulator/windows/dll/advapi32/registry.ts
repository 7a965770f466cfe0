// SPDX-License-Identifier: Apache-2.0
/** advapi32: a small registry in memory; what a program writes it finds again, nobody else does. @module */
import type { ApiCall, KernelObject } from "../../api.ts";
import { both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { decode, encode, lower, store, text } from "../shared/text.ts";

/** A value: type REG_… and bytes. */
export interface Value {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
}

interface Key {
  readonly name: string;
  readonly keys: Map<string, Key>;
  readonly values: Map<string, Value>;
}

interface KeyObject extends KernelObject {
  readonly kind: "registry";
  readonly path: string;
  readonly key: Key;
}

const REG_SZ = 1;
const REG_EXPAND_SZ = 2;
const REG_DWORD = 4;
const REG_MULTI_SZ = 7;

/** Limits of what one process may put into the registry. */
const MAX_KEYS = 4096;
const MAX_VALUE = 0x100000;
const MAX_TOTAL = 0x1000000;

const ROOTS: Record<number, string> = {
  0x80000000: "HKCR",
  0x80000001: "HKCU",
  0x80000002: "HKLM",
  0x80000003: "HKU",
  0x80000005: "HKCC",
};

const CURRENT = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion";
const NT = "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion";
const USER = "HKCU\\Software\\Microsoft\\Windows\\CurrentVersion";
const PROFILE = "C:\\Users\\user";

/** What the registry holds at first: path, value, text or number. */
const INITIAL: readonly (readonly [string, string?, (string | number)?])[] = [
  [NT, "ProductName", "Windows 7 Professional"],
  [NT, "CurrentVersion", "6.1"],
  [NT, "CurrentBuild", "7601"],
  [NT, "CurrentBuildNumber", "7601"],
  [NT, "CSDVersion", "Service Pack 1"],
  [NT, "ProductId", "00371-177-0000061-85693"],
  [NT, "RegisteredOwner", "user"],
  [NT, "SystemRoot", "C:\\Windows"],
  [NT, "InstallDate", 1290309840],
  [`${NT}\\Winlogon`, "Shell", "explorer.exe"],
  [`${NT}\\Winlogon`, "Userinit", "C:\\Windows\\system32\\userinit.exe,"],
  [`${NT}\\Image File Execution Options`],
  [`${NT}\\Windows`, "AppInit_DLLs", ""],
  [CURRENT, "ProgramFilesDir", "C:\\Program Files"],
  [CURRENT, "CommonFilesDir", "C:\\Program Files\\Common Files"],
  [`${CURRENT}\\Run`],
  [`${CURRENT}\\RunOnce`],
  [`${CURRENT}\\Uninstall`],
  [`${CURRENT}\\App Paths`],
  [`${CURRENT}\\Policies\\System`, "EnableLUA", 1],
  [`${CURRENT}\\Explorer`],
  [`${USER}\\Run`],
  [`${USER}\\RunOnce`],
  [`${USER}\\Policies`],
  [`${USER}\\Explorer\\Advanced`, "Hidden", 2],
  [`${USER}\\Explorer\\Shell Folders`, "AppData", `${PROFILE}\\AppData\\Roaming`],
  [`${USER}\\Explorer\\Shell Folders`, "Desktop", `${PROFILE}\\Desktop`],
  [`${USER}\\Explorer\\Shell Folders`, "Personal", `${PROFILE}\\Documents`],
  [
    `${USER}\\Explorer\\Shell Folders`,
    "Startup",
    `${PROFILE}\\AppData\\Roaming\\Microsoft\\Windows\\Start Menu\\Programs\\Startup`,
  ],
  [`${USER}\\Internet Settings`, "ProxyEnable", 0],
  ["HKCU\\Control Panel\\Desktop", "Wallpaper", "C:\\Windows\\web\\wallpaper\\Windows\\img0.jpg"],
  ["HKCU\\Software\\Classes"],
  ["HKCU\\Environment"],
  ["HKLM\\HARDWARE\\DESCRIPTION\\System", "SystemBiosVersion", "DELL   - 6222004"],
  ["HKLM\\HARDWARE\\DESCRIPTION\\System", "VideoBiosVersion", "Hardware Version 0.0"],
  [
    "HKLM\\HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0",
    "ProcessorNameString",
    "Intel(R) Core(TM)2 CPU          6300  @ 1.86GHz",
  ],
  ["HKLM\\HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0", "~MHz", 1862],
  ["HKLM\\SYSTEM\\CurrentControlSet\\Control\\ComputerName\\ComputerName", "ComputerName", "USER-PC"],
  ["HKLM\\SYSTEM\\CurrentControlSet\\Services\\Disk\\Enum", "0", "IDE\\DiskST500DM002-1BD142____KC45____"],
  ["HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters", "Hostname", "USER-PC"],
  ["HKCR\\.exe", "", "exefile"],
  ["HKCR\\.txt", "", "txtfile"],
  ["HKCR\\exefile\\shell\\open\\command", "", '"%1" %*'],
  ["HKCR\\http\\shell\\open\\command", "", '"C:\\Program Files\\Internet Explorer\\iexplore.exe" %1'],
];

const make = (name: string): Key => ({ name, keys: new Map(), values: new Map() });

interface Registry {
  readonly root: Key;
  keys: number;
  bytes: number;
}

function registry(call: ApiCall): Registry {
  return call.state("registry", () => {
    const state: Registry = { root: make(""), keys: 0, bytes: 0 };
    for (const [path, name, value] of INITIAL) {
      const key = walk(state.root, path, true)!;
      if (name === undefined || value === undefined) continue;
      const bytes = typeof value === "number"
        ? new Uint8Array(Uint32Array.of(value).buffer)
        : encode(value, true, true);
      key.values.set(lower(name), { name, type: typeof value === "number" ? REG_DWORD : REG_SZ, bytes });
    }
    return state;
  });
}

function walk(from: Key, path: string, create: boolean): Key | undefined {
  let key: Key | undefined = from;
  for (const part of path.split("\\").filter((one) => one !== "").slice(0, 64)) {
    let next: Key | undefined = key.keys.get(lower(part));
    if (!next && create) key.keys.set(lower(part), next = make(part));
    if (!next) return undefined;
    key = next;
  }
  return key;
}

/** The key behind a handle: a root or an open key. */
function keyOf(call: ApiCall, handle: number): { key: Key; path: string } | undefined {
  const root = ROOTS[handle];
  if (root) return { key: walk(registry(call).root, root, true)!, path: root };
  const object = call.handles.get(handle);
  return object?.kind === "registry" ? object as KeyObject : undefined;
}

function open(
  call: ApiCall,
  wide: boolean,
  parent: number,
  name: number,
  result: number,
  create: number | false,
) {
  const from = keyOf(call, parent);
  if (!from) return Win32.invalidHandle;
  const path = text(call, name, wide, 1024);
  let key = walk(from.key, path, false);
  const existed = key !== undefined;
  if (!key && create !== false) {
    if (registry(call).keys++ > MAX_KEYS) return Win32.accessDenied;
    key = walk(from.key, path, true);
  }
  if (!key) return Win32.fileNotFound;
  const object: KeyObject = { kind: "registry", path: path ? `${from.path}\\${path}` : from.path, key };
  call.memory.setU32(result, call.handles.open(object));
  if (create) call.memory.setU32(create, existed ? 2 : 1);
  return 0;
}

const isText = (type: number) => type === REG_SZ || type === REG_EXPAND_SZ || type === REG_MULTI_SZ;

/** Bytes of a value as a narrow or wide caller sees them. */
const shown = (value: Value, wide: boolean) =>
  isText(value.type) && !wide ? encode(decode(value.bytes, true), false) : value.bytes;

function give(
  call: ApiCall,
  value: Value,
  wide: boolean,
  type: number,
  buffer: number,
  size: number,
): number {
  const bytes = shown(value, wide);
  if (type) call.memory.setU32(type, value.type);
  if (!size) return buffer ? Win32.invalidParameter : 0;
  const room = call.memory.u32(size);
  call.memory.setU32(size, bytes.length);
  if (buffer === 0) return 0;
  if (room < bytes.length) return Win32.moreData;
  call.memory.setBytes(buffer, bytes);
  return 0;
}

function query(
  call: ApiCall,
  wide: boolean,
  handle: number,
  name: number,
  type: number,
  buffer: number,
  size: number,
) {
  const found = keyOf(call, handle);
  if (!found) return Win32.invalidHandle;
  const value = found.key.values.get(lower(text(call, name, wide, 16384)));
  return value ? give(call, value, wide, type, buffer, size) : Win32.fileNotFound;
}

function set(
  call: ApiCall,
  wide: boolean,
  key: Key,
  name: string,
  type: number,
  buffer: number,
  size: number,
): number {
  const state = registry(call);
  if (size > MAX_VALUE || (state.bytes += size) > MAX_TOTAL) return Win32.notEnoughMemory;
  const raw = size ? call.memory.bytes(buffer, size) : new Uint8Array(0);
  const bytes = isText(type) && !wide ? encode(decode(raw, false), true) : raw;
  key.values.set(lower(name), { name, type, bytes });
  return 0;
}

function enumerate(
  call: ApiCall,
  wide: boolean,
  handle: number,
  index: number,
  buffer: number,
  size: number | undefined,
) {
  const found = keyOf(call, handle);
  if (!found) return Win32.invalidHandle;
  const key = [...found.key.keys.values()][index];
  if (!key) return Win32.noMoreItems;
  const capacity = size === undefined ? 256 : call.memory.u32(size);
  if (key.name.length >= capacity) return Win32.moreData;
  store(call, buffer, key.name, wide);
  if (size) call.memory.setU32(size, key.name.length);
  return 0;
}

function removeTree(call: ApiCall, wide: boolean, handle: number, name: number, deep: boolean): number {
  const found = keyOf(call, handle);
  if (!found) return Win32.invalidHandle;
  const path = text(call, name, wide, 1024).replace(/\\+$/, "");
  const cut = path.lastIndexOf("\\");
  const parent = walk(found.key, path.slice(0, Math.max(0, cut)), false);
  const key = parent?.keys.get(lower(path.slice(cut + 1)));
  if (!parent || !key) return Win32.fileNotFound;
  if (!deep && key.keys.size > 0) return Win32.accessDenied;
  parent.keys.delete(lower(path.slice(cut + 1)));
  return 0;
}

/** A text value by path, for other DLLs. */
export function registryText(call: ApiCall, path: string, name: string): string | undefined {
  const value = walk(registry(call).root, path, false)?.values.get(lower(name));
  return value && isText(value.type) ? decode(value.bytes, true).replace(/\0.*$/s, "") : undefined;
}

export const registryFunctions: Handlers = {
  ...both({
    RegOpenKey: (wide) => (call, parent, name, result) => open(call, wide, parent, name, result, false),
    RegOpenKeyEx: (wide) => (call, parent, name, _options, _access, result) =>
      open(call, wide, parent, name, result, false),
    RegCreateKey: (wide) => (call, parent, name, result) => open(call, wide, parent, name, result, 0),
    RegCreateKeyEx:
      (wide) => (call, parent, name, _reserved, _class, _options, _access, _security, result, done) =>
        open(call, wide, parent, name, result, done),
    RegQueryValueEx: (wide) => (call, key, name, _reserved, type, buffer, size) =>
      query(call, wide, key, name, type, buffer, size),
    RegQueryValue: (wide) => (call, handle, name, buffer, size) => {
      const found = keyOf(call, handle);
      const key = found && walk(found.key, text(call, name, wide, 1024), false);
      if (!key) return Win32.fileNotFound;
      const value = key.values.get("") ?? { name: "", type: REG_SZ, bytes: encode("", true, true) };
      return give(call, value, wide, 0, buffer, size);
    },
    RegGetValue: (wide) => (call, handle, path, name, _flags, type, buffer, size) => {
      const found = keyOf(call, handle);
      const key = found && walk(found.key, text(call, path, wide, 1024), false);
      const value = key?.values.get(lower(text(call, name, wide, 16384)));
      return value ? give(call, value, wide, type, buffer, size) : Win32.fileNotFound;
    },
    RegSetValueEx: (wide) => (call, handle, name, _reserved, type, buffer, size) => {
      const found = keyOf(call, handle);
      return found
        ? set(call, wide, found.key, text(call, name, wide, 16384), type, buffer, size)
        : Win32.invalidHandle;
    },
    RegSetValue: (wide) => (call, handle, name, type, buffer) => {
      const found = keyOf(call, handle);
      if (!found) return Win32.invalidHandle;
      const key = walk(found.key, text(call, name, wide, 1024), true)!;
      return set(call, wide, key, "", type, buffer, (text(call, buffer, wide).length + 1) * (wide ? 2 : 1));
    },
    RegDeleteValue: (wide) => (call, handle, name) => {
      const found = keyOf(call, handle);
      if (!found) return Win32.invalidHandle;
      return found.key.values.delete(lower(text(call, name, wide, 16384))) ? 0 : Win32.fileNotFound;
    },
    RegDeleteKey: (wide) => (call, handle, name) => removeTree(call, wide, handle, name, false),
    RegDeleteKeyEx: (wide) => (call, handle, name) => removeTree(call, wide, handle, name, false),
    RegDeleteTree: (wide) => (call, handle, name) => removeTree(call, wide, handle, name, true),
    RegEnumKey: (wide) => (call, handle, index, buffer) =>
      enumerate(call, wide, handle, index, buffer, undefined),
    RegEnumKeyEx: (wide) => (call, handle, index, buffer, size) =>
      enumerate(call, wide, handle, index, buffer, size),
    RegEnumValue: (wide) => (call, handle, index, name, nameSize, _reserved, type, buffer, size) => {
      const found = keyOf(call, handle);
      if (!found) return Win32.invalidHandle;
      const value = [...found.key.values.values()][index];
      if (!value) return Win32.noMoreItems;
      if (value.name.length >= call.memory.u32(nameSize)) return Win32.moreData;
      store(call, name, value.name, wide);
      call.memory.setU32(nameSize, value.name.length);
      return size ? give(call, value, wide, type, buffer, size) : 0;
    },
    RegQueryInfoKey: (wide) =>
    (
      call,
      handle,
      _class,
      _classSize,
      _reserved,
      keys,
      longestKey,
      _longestClass,
      values,
      longestName,
      longestValue,
    ) => {
      const found = keyOf(call, handle);
      if (!found) return Win32.invalidHandle;
      const names = [...found.key.values.values()];
      const longest = (list: number[]) => list.reduce((a, b) => Math.max(a, b), 0);
      const answers: [number, number][] = [
        [keys, found.key.keys.size],
        [longestKey, longest([...found.key.keys.values()].map((key) => key.name.length))],
        [values, names.length],
        [longestName, longest(names.map((value) => value.name.length))],
        [longestValue, longest(names.map((value) => shown(value, wide).length))],
      ];
      for (const [at, value] of answers) if (at) call.memory.setU32(at, value);
      return 0;
    },
    RegConnectRegistry: () => () => Win32.accessDenied,
    RegLoadKey: () => () => 1314,
    RegUnLoadKey: () => () => 1314,
    RegSaveKey: () => () => 1314,
  }),
  RegCloseKey: (call, handle) => ROOTS[handle] || call.handles.close(handle) ? 0 : Win32.invalidHandle,
  RegOpenCurrentUser: (call, _access, result) => {
    call.memory.setU32(result, 0x80000001);
    return 0;
  },
  ...constant(0, "RegFlushKey RegNotifyChangeKeyValue RegDisablePredefinedCache RegSetKeySecurity"),
};
