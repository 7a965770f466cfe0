// SPDX-License-Identifier: Apache-2.0
/** kernel32: paths, attributes, directories, drives. @module */
import type { ApiCall } from "../../api.ts";
import { both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import {
  closeFile,
  contentOf,
  type FileObject,
  type FindObject,
  fullPath,
  isDirectory,
  isFile,
  makeDirectory,
  matches,
  openFile,
  removeDirectory,
} from "../shared/filesystem.ts";
import { fill, store, text } from "../shared/text.ts";

const INVALID = 0xffffffff;
const DIRECTORY = 0x10;
const ARCHIVE = 0x20;
/** A disk of 500 GB in clusters of 4 KiB. */
const CLUSTERS = 121_964_031;
const FREE_CLUSTERS = 87_430_115;
/** When the model's files were made: 2010-11-21 03:24:00 UTC, as FILETIME. */
const MADE = 129347834400000000n;

const pathOf = (call: ApiCall, pointer: number, wide: boolean) =>
  fullPath(call, text(call, pointer, wide, 1024));

function attributes(call: ApiCall, path: string): number | undefined {
  const changed = call.state("attributes", () => new Map<string, number>());
  const own = changed.get(path.toLowerCase());
  if (isFile(call, path)) return own ?? ARCHIVE;
  return isDirectory(call, path) ? (own ?? 0) | DIRECTORY : undefined;
}

function writeTimes(call: ApiCall, at: number): void {
  for (let i = 0; i < 3; i++) {
    call.memory.setU32(at + 8 * i, Number(MADE & 0xffffffffn));
    call.memory.setU32(at + 8 * i + 4, Number(MADE >> 32n));
  }
}

function findData(call: ApiCall, at: number, directory: string, name: string, wide: boolean): void {
  const path = fullPath(call, `${directory}\\${name}`);
  const size = contentOf(call, path)?.length ?? 0;
  call.memory.setBytes(at, new Uint8Array(wide ? 592 : 320));
  call.memory.setU32(at, name === "." || name === ".." ? DIRECTORY : attributes(call, path) ?? ARCHIVE);
  writeTimes(call, at + 4);
  call.memory.setU32(at + 32, size);
  store(call, at + 44, name.slice(0, 259), wide);
}

function findFirst(call: ApiCall, wide: boolean, pattern: number, data: number) {
  const whole = fullPath(call, text(call, pattern, wide, 1024));
  const cut = whole.lastIndexOf("\\");
  const directory = whole.slice(0, cut);
  const last = whole.slice(cut + 1);
  const hasWildcard = /[*?]/.test(last);
  if (!hasWildcard) {
    if (attributes(call, whole) === undefined) {
      return call.fail(isDirectory(call, directory) ? Win32.fileNotFound : Win32.pathNotFound, INVALID);
    }
    findData(call, data, directory, last, wide);
    return call.handles.open({ kind: "find", names: [], directory, next: 0 } as FindObject);
  }
  if (!isDirectory(call, directory)) return call.fail(Win32.pathNotFound, INVALID);
  const all = [".", "..", ...(call.files.list?.(directory) ?? [])];
  const names = all.filter((name) => matches(last, name));
  if (names.length === 0) return call.fail(Win32.fileNotFound, INVALID);
  findData(call, data, directory, names[0], wide);
  return call.handles.open({ kind: "find", names, directory, next: 1 } as FindObject);
}

function findNext(call: ApiCall, wide: boolean, handle: number, data: number) {
  const object = call.handles.get(handle);
  if (object?.kind !== "find") return call.fail(Win32.invalidHandle);
  const find = object as FindObject;
  if (find.next >= find.names.length) return call.fail(Win32.noMoreFiles);
  findData(call, data, find.directory, find.names[find.next++], wide);
  return 1;
}

const FOLDERS: Record<string, string> = {
  GetWindowsDirectory: "C:\\Windows",
  GetSystemWindowsDirectory: "C:\\Windows",
  GetSystemDirectory: "C:\\Windows\\system32",
};

const folders = Object.fromEntries(
  Object.entries(FOLDERS).map(([name, path]) => [
    name,
    (wide: boolean) => (call: ApiCall, buffer: number, capacity: number) =>
      fill(call, buffer, capacity, path, wide),
  ]),
);

function temporary(call: ApiCall): string {
  const named = [...call.environment].find(([name]) => /^(tmp|temp)$/i.test(name))?.[1];
  return (named ?? "C:\\Windows\\Temp").replace(/\\?$/, "\\");
}

function search(call: ApiCall, wide: boolean, path: number, file: number, extension: number) {
  const name = text(call, file, wide, 1024);
  const full = /\.[^\\.]*$/.test(name) ? name : name + text(call, extension, wide, 64);
  const places = path
    ? text(call, path, wide, 8192).split(";")
    : [call.imagePath.replace(/\\[^\\]*$/, ""), call.files.currentDirectory, ...Object.values(FOLDERS)];
  return places.slice(0, 64).map((place) => fullPath(call, `${place}\\${full}`)).find((at) =>
    isFile(call, at)
  );
}

function disk(call: ApiCall, ...targets: number[]) {
  // Sectors a cluster, bytes a sector.
  [8, 512, FREE_CLUSTERS, CLUSTERS].forEach((value, i) => {
    if (targets[i]) call.memory.setU32(targets[i], value);
  });
  return 1;
}

export const directory: Handlers = {
  ...both({
    ...folders,
    GetTempPath: (wide) => (call, capacity, buffer) => fill(call, buffer, capacity, temporary(call), wide),
    GetTempFileName: (wide) => (call, folder, prefix, unique, buffer) => {
      const place = text(call, folder, wide, 1024).replace(/\\?$/, "\\");
      const start = text(call, prefix, wide, 3);
      const counter = call.state("temporary", () => ({ next: 0x3a1c }));
      for (let i = 0; i < 0x10000; i++) {
        const number = unique & 0xffff || (counter.next = (counter.next % 0xffff) + 1);
        const path = fullPath(call, `${place}${start}${number.toString(16).toUpperCase()}.tmp`);
        if (!unique) {
          const opened = openFile(call, { path, read: false, write: true, disposition: 1 });
          if (opened === Win32.fileExists) continue;
          if (typeof opened === "number") return call.fail(opened);
          closeFile(call, opened.file);
        }
        store(call, buffer, path.slice(0, 259), wide);
        return number;
      }
      return call.fail(Win32.fileExists);
    },
    GetCurrentDirectory: (wide) => (call, capacity, buffer) =>
      fill(call, buffer, capacity, call.files.currentDirectory, wide),
    SetCurrentDirectory: (wide) => (call, name) => {
      const path = pathOf(call, name, wide);
      if (!isDirectory(call, path)) return call.fail(Win32.fileNotFound);
      call.files.currentDirectory = path;
      return 1;
    },
    GetFullPathName: (wide) => (call, name, capacity, buffer, part) => {
      const given = text(call, name, wide, 1024);
      if (given === "") return call.fail(Win32.invalidName);
      const path = call.files.absolute(given);
      const written = fill(call, buffer, capacity, path, wide);
      if (part && written === path.length) {
        const cut = path.lastIndexOf("\\") + 1;
        call.memory.setU32(part, cut < path.length ? buffer + cut * (wide ? 2 : 1) : 0);
      }
      return written;
    },
    GetShortPathName: (wide) => (call, name, buffer, capacity) =>
      longPath(call, name, buffer, capacity, wide),
    GetLongPathName: (wide) => (call, name, buffer, capacity) => longPath(call, name, buffer, capacity, wide),
    GetFileAttributes: (wide) => (call, name) =>
      attributes(call, pathOf(call, name, wide)) ?? call.fail(Win32.fileNotFound, INVALID),
    SetFileAttributes: (wide) => (call, name, value) => {
      const path = pathOf(call, name, wide);
      if (attributes(call, path) === undefined) return call.fail(Win32.fileNotFound);
      call.state("attributes", () => new Map<string, number>()).set(path.toLowerCase(), value & 0x7fa7);
      return 1;
    },
    GetFileAttributesEx: (wide) => (call, name, _level, data) => {
      const path = pathOf(call, name, wide);
      const value = attributes(call, path);
      if (value === undefined) return call.fail(Win32.fileNotFound);
      call.memory.setU32(data, value);
      writeTimes(call, data + 4);
      call.memory.setU32(data + 28, 0);
      call.memory.setU32(data + 32, contentOf(call, path)?.length ?? 0);
      return 1;
    },
    CreateDirectory: (wide) => (call, name) => {
      const error = makeDirectory(call, pathOf(call, name, wide));
      return error ? call.fail(error) : 1;
    },
    CreateDirectoryEx: (wide) => (call, _template, name) => {
      const error = makeDirectory(call, pathOf(call, name, wide));
      return error ? call.fail(error) : 1;
    },
    RemoveDirectory: (wide) => (call, name) => {
      const error = removeDirectory(call, pathOf(call, name, wide));
      return error ? call.fail(error) : 1;
    },
    FindFirstFile: (wide) => (call, pattern, data) => findFirst(call, wide, pattern, data),
    FindFirstFileEx: (wide) => (call, pattern, _level, data) => findFirst(call, wide, pattern, data),
    FindNextFile: (wide) => (call, handle, data) => findNext(call, wide, handle, data),
    SearchPath: (wide) => (call, path, file, extension, capacity, buffer, part) => {
      const found = search(call, wide, path, file, extension);
      if (!found) return call.fail(Win32.fileNotFound);
      const written = fill(call, buffer, capacity, found, wide);
      if (part && written === found.length) {
        call.memory.setU32(part, buffer + (found.lastIndexOf("\\") + 1) * (wide ? 2 : 1));
      }
      return written;
    },
    GetDriveType: (wide) => (call, name) => {
      const root = text(call, name, wide, 260) || call.files.currentDirectory;
      return /^c:/i.test(root) ? 3 : /^d:/i.test(root) ? 5 : 1;
    },
    GetLogicalDriveStrings: (wide) => (call, capacity, buffer) => {
      const drives = "C:\\\0D:\\\0";
      if (capacity < drives.length + 1) return drives.length + 1;
      store(call, buffer, drives, wide);
      return drives.length;
    },
    GetVolumeInformation:
      (wide) => (call, root, name, capacity, serial, component, flags, system, systemCapacity) => {
        const drive = text(call, root, wide, 260) || "C:\\";
        if (!/^c:/i.test(drive)) return call.fail(/^d:/i.test(drive) ? 21 : Win32.pathNotFound);
        if (name) fill(call, name, capacity, "", wide);
        if (serial) call.memory.setU32(serial, 0x9c4f17d2);
        if (component) call.memory.setU32(component, 255);
        if (flags) call.memory.setU32(flags, 0x03e700ff);
        if (system) fill(call, system, systemCapacity, "NTFS", wide);
        return 1;
      },
    GetDiskFreeSpace: () => (call, _root, ...targets) => disk(call, ...targets),
    GetDiskFreeSpaceEx: () => (call, _root, available, total, free) => {
      [FREE_CLUSTERS, CLUSTERS, FREE_CLUSTERS].forEach((clusters, i) => {
        const value = BigInt(clusters * 4096);
        const at = [available, total, free][i];
        if (!at) return;
        call.memory.setU32(at, Number(value & 0xffffffffn));
        call.memory.setU32(at + 4, Number(value >> 32n));
      });
      return 1;
    },
    QueryDosDevice: (wide) => (call, name, buffer, capacity) => {
      const device = text(call, name, wide, 64);
      if (!/^c:$/i.test(device)) return call.fail(Win32.fileNotFound);
      const target = "\\Device\\HarddiskVolume2";
      if (target.length + 2 > capacity) return call.fail(Win32.insufficientBuffer);
      store(call, buffer, target + "\0", wide);
      return target.length + 2;
    },
    GetBinaryType: (wide) => (call, name, kind) => {
      const bytes = contentOf(call, pathOf(call, name, wide));
      if (!bytes || bytes[0] !== 0x4d || bytes[1] !== 0x5a) return call.fail(193);
      call.memory.setU32(kind, 0);
      return 1;
    },
    SetVolumeLabel: () => () => 1,
  }),
  FindClose: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidHandle),
  GetLogicalDrives: () => 0xc,
  GetFileTime: (call, handle, created, accessed, written) => {
    if (call.handles.get(handle)?.kind !== "file") return call.fail(Win32.invalidHandle);
    for (const at of [created, accessed, written]) {
      if (!at) continue;
      call.memory.setU32(at, Number(MADE & 0xffffffffn));
      call.memory.setU32(at + 4, Number(MADE >> 32n));
    }
    return 1;
  },
  SetFileTime: (call, handle) =>
    call.handles.get(handle)?.kind === "file" ? 1 : call.fail(Win32.invalidHandle),
  GetFileInformationByHandle: (call, handle, data) => {
    const object = call.handles.get(handle);
    if (object?.kind !== "file") return call.fail(Win32.invalidHandle);
    const { node } = object as FileObject;
    call.memory.setU32(data, attributes(call, node.path) ?? ARCHIVE);
    writeTimes(call, data + 4);
    [0x9c4f17d2, 0, node.size, 1, 0x10000, 0x8a31].forEach((value, i) =>
      call.memory.setU32(data + 28 + 4 * i, value)
    );
    return 1;
  },
  ...constant(1, "SetFileApisToOEM SetFileApisToANSI AreFileApisANSI"),
  Wow64DisableWow64FsRedirection: (call) => call.fail(Win32.invalidFunction),
  Wow64RevertWow64FsRedirection: (call) => call.fail(Win32.invalidFunction),
  Wow64EnableWow64FsRedirection: (call) => call.fail(Win32.invalidFunction),
};

function longPath(call: ApiCall, name: number, buffer: number, capacity: number, wide: boolean) {
  const given = text(call, name, wide, 1024);
  if (attributes(call, fullPath(call, given)) === undefined) return call.fail(Win32.fileNotFound);
  return fill(call, buffer, capacity, given, wide);
}
