// SPDX-License-Identifier: Apache-2.0
/** kernel32: files, pipes, handles. Nothing leaves the model's file system. @module */
import type { ApiCall } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32, win32OfStatus } from "../shared/errors.ts";
import {
  closeFile,
  type ConsoleObject,
  contentOf,
  type FileNode,
  type FileObject,
  flush,
  flushAll,
  fullPath,
  isDirectory,
  isFile,
  MAX_FILE,
  openFile,
  type PipeObject,
  readFile,
  removeFile,
  resize,
  writeFile,
} from "../shared/filesystem.ts";
import { fromAnsi, text } from "../shared/text.ts";

const INVALID = 0xffffffff;
const GENERIC_READ = 0x80000000;
const GENERIC_WRITE = 0x40000000;
const APPEND = 4;
const DELETE_ON_CLOSE = 0x04000000;

/** Bytes one call reads or writes. */
const MAX_TRANSFER = 0x4000000;
const MAX_PIPE = 0x100000;

/** The open file behind a handle. */
export const fileOf = (call: ApiCall, handle: number): FileObject | undefined => {
  const object = call.handles.get(handle);
  return object?.kind === "file" ? object as FileObject : undefined;
};

const DEVICES = /^(\\\\\.\\(?![a-z]:)|\\\\\?\\(?![a-z]:)|\\\\)/i;

function create(
  call: ApiCall,
  wide: boolean,
  name: number,
  access: number,
  disposition: number,
  flags: number,
) {
  const path = text(call, name, wide, 1024);
  if (/^(con|conin\$|conout\$)$/i.test(path)) {
    return call.handles.open({ kind: "console", lines: 1 } as ConsoleObject);
  }
  if (/^\\\\\.\\pipe\\/i.test(path) || DEVICES.test(path) && !/^\\\\[.?]\\[a-z]:\\/i.test(path)) {
    return call.fail(Win32.fileNotFound, INVALID);
  }
  const writes = (access & (GENERIC_WRITE | 0x10000000 | 2 | APPEND)) !== 0;
  const full = fullPath(call, path);
  if (isDirectory(call, full) && !isFile(call, full) && (flags & 0x02000000) !== 0) {
    return call.handles.open({ kind: "directory" });
  }
  const opened = openFile(call, {
    path: full,
    read: (access & (GENERIC_READ | 0x10000000 | 1)) !== 0,
    write: writes,
    append: (access & (APPEND | 2 | GENERIC_WRITE)) === APPEND,
    disposition,
    deleteOnClose: (flags & DELETE_ON_CLOSE) !== 0,
  });
  if (typeof opened === "number") return call.fail(opened, INVALID);
  call.lastError = opened.existed && (disposition === 2 || disposition === 4) ? Win32.alreadyExists : 0;
  return call.handles.open(opened.file);
}

function overlappedPosition(call: ApiCall, file: FileObject, overlapped: number): void {
  if (overlapped) file.position = Math.min(call.memory.u32(overlapped + 8), MAX_FILE);
}

function read(
  call: ApiCall,
  handle: number,
  buffer: number,
  length: number,
  done: number,
  overlapped: number,
) {
  if (done) call.memory.setU32(done, 0);
  const object = call.handles.get(handle);
  let bytes: Uint8Array;
  if (object?.kind === "file") {
    const file = object as FileObject;
    if (!file.readable) return call.fail(Win32.accessDenied);
    overlappedPosition(call, file, overlapped);
    bytes = readFile(file, Math.min(length, MAX_TRANSFER));
  } else if (object?.kind === "console") {
    const input = object as ConsoleObject;
    bytes = input.lines-- > 0 ? Uint8Array.of(13, 10).subarray(0, length) : new Uint8Array(0);
  } else if (object?.kind === "pipe") {
    const { data } = object as PipeObject;
    if (data.length === 0) return call.fail(Win32.brokenPipe);
    bytes = Uint8Array.from(data.splice(0, Math.min(length, MAX_PIPE)));
  } else return call.fail(Win32.invalidHandle);
  if (!call.memory.accessible(buffer, bytes.length, true)) return call.fail(Win32.noAccess);
  call.memory.setBytes(buffer, bytes);
  if (done) call.memory.setU32(done, bytes.length);
  if (overlapped) {
    call.memory.setU32(overlapped, 0);
    call.memory.setU32(overlapped + 4, bytes.length);
    if (bytes.length === 0 && length > 0) return call.fail(Win32.handleEof);
  }
  return 1;
}

function write(
  call: ApiCall,
  handle: number,
  buffer: number,
  length: number,
  done: number,
  overlapped: number,
) {
  if (done) call.memory.setU32(done, 0);
  if (length > MAX_TRANSFER) return call.fail(Win32.diskFull);
  const object = call.handles.get(handle);
  if (!object) return call.fail(Win32.invalidHandle);
  if (!call.memory.accessible(buffer, length, false)) return call.fail(Win32.noAccess);
  const bytes = call.memory.bytes(buffer, length);
  if (object.kind === "file") {
    const file = object as FileObject;
    if (!file.writable) return call.fail(Win32.accessDenied);
    overlappedPosition(call, file, overlapped);
    if (!writeFile(file, bytes)) return call.fail(Win32.diskFull);
  } else if (object.kind === "console") call.print(fromAnsi(bytes));
  else if (object.kind === "pipe") {
    const { data } = object as PipeObject;
    if (data.length + length > MAX_PIPE) return call.fail(Win32.diskFull);
    for (const byte of bytes) data.push(byte);
  } else return call.fail(Win32.invalidHandle);
  if (done) call.memory.setU32(done, length);
  return 1;
}

/** Moves a file's position; the new one as 53-bit number, or undefined with last error set. */
function seek(call: ApiCall, handle: number, distance: number, method: number): number | undefined {
  const file = fileOf(call, handle);
  if (!file) return void call.fail(Win32.invalidHandle);
  const from = [0, file.position, file.node.size][method];
  if (from === undefined) return void call.fail(Win32.invalidParameter);
  if (from + distance < 0) return void call.fail(Win32.negativeSeek);
  return file.position = Math.min(from + distance, Number.MAX_SAFE_INTEGER);
}

const signed = (low: number, high: number) => (high | 0) * 0x1_0000_0000 + low;

const DUPLICATE_CLOSE_SOURCE = 1;

/** Closes any handle, with what a file needs. */
export function closeHandle(call: ApiCall, handle: number): boolean {
  const object = call.handles.get(handle);
  if (object?.kind === "file") closeFile(call, object as FileObject);
  return call.handles.close(handle);
}

const SEC_IMAGE = 0x1000000;

/** A file as what a section is made of: what its views write is seen by its readers. */
export const backing = (node: FileNode) => ({
  path: node.path,
  changed: (bytes: Uint8Array) => {
    node.bytes = bytes;
    node.size = bytes.length;
  },
});

function mapping(
  call: ApiCall,
  handle: number,
  protect: number,
  high: number,
  low: number,
  name: string,
) {
  if (high > 0 || low > 0x40000000) return call.fail(Win32.notEnoughMemory);
  if (handle === INVALID) {
    if (low === 0) return call.fail(Win32.invalidParameter);
    return call.system.createSection(low, protect, undefined, name);
  }
  const file = fileOf(call, handle);
  if (!file) return call.fail(Win32.invalidHandle);
  if (low === 0 && file.node.size === 0) return call.fail(1006);
  if (low > file.node.size && !(file.writable && resize(file.node, low))) {
    return call.fail(Win32.notEnoughMemory);
  }
  file.node.dirty = true;
  flush(call, file.node);
  const size = protect & SEC_IMAGE ? 0 : low || file.node.size;
  return call.system.createSection(size, protect, backing(file.node), name);
}

/** FILE_MAP_… to a page protection. */
function viewProtection(access: number): number {
  const executes = (access & 0x20) !== 0;
  if (access === 1) return executes ? 0x80 : 0x08;
  if (access & 2) return executes ? 0x40 : 0x04;
  return executes ? 0x20 : 0x02;
}

function mapView(
  call: ApiCall,
  section: number,
  access: number,
  high: number,
  low: number,
  size: number,
  base: number,
) {
  if (high > 0) return call.fail(Win32.invalidParameter);
  const view = call.virtual.mapView(section, base, low, size, viewProtection(access));
  // The handle of a section lacks the right to map it as it must not be.
  if (view.status === 0xc000004e) return call.fail(Win32.accessDenied);
  return view.status >= 0x80000000 ? call.fail(win32OfStatus(view.status)) : view.base;
}

export const file: Handlers = {
  ...both({
    CreateFile: (wide) => (call, name, access, _share, _security, disposition, flags) =>
      create(call, wide, name, access, disposition, flags),
    DeleteFile: (wide) => (call, name) => {
      const error = removeFile(call, fullPath(call, text(call, name, wide, 1024)));
      return error ? call.fail(error) : 1;
    },
    CreateFileMapping: (wide) => (call, file, _security, protect, high, low, name) => {
      return mapping(call, file, protect, high, low, text(call, name, wide, 260));
    },
    OpenFileMapping: (wide) => (call, _access, _inherit, name) =>
      call.system.openNamed(text(call, name, wide, 260), "section"),
    CopyFile: (wide) => (call, from, to, failIfThere) => copy(call, wide, from, to, failIfThere !== 0),
    CopyFileEx: (wide) =>
      function* (call, from, to, progress, data, _cancel, flags) {
        const went = copy(call, wide, from, to, (flags & 1) !== 0);
        if (went && progress) yield invoke(progress, progressWords(call, wide, to, data));
        return went;
      },
    MoveFileWithProgress: (wide) =>
      function* (call, from, to, progress, data, flags) {
        const went = move(call, wide, from, to, flags);
        if (went && progress) yield invoke(progress, progressWords(call, wide, to, data));
        return went;
      },
    MoveFile: (wide) => (call, from, to) => move(call, wide, from, to, 0),
    MoveFileEx: (wide) => (call, from, to, flags) => move(call, wide, from, to, flags),
    CreateNamedPipe: () => (call) => call.fail(Win32.accessDenied, INVALID),
    CallNamedPipe: () => (call) => call.fail(Win32.fileNotFound),
    WaitNamedPipe: () => (call) => call.fail(Win32.fileNotFound),
    CreateMailslot: () => (call) => call.fail(Win32.accessDenied, INVALID),
  }),
  OpenFile: (call, name, info, style) => {
    const path = fullPath(call, text(call, name, false, 128));
    const opened = openFile(call, {
      path,
      read: (style & 1) === 0,
      write: (style & 3) !== 0,
      disposition: style & 0x1000 ? 2 : 3,
    });
    const error = typeof opened === "number" ? opened : 0;
    call.memory.setU8(info, 136);
    call.memory.setU16(info + 2, error);
    call.memory.setText(info + 8, false, path, 128);
    if (typeof opened === "number") return call.fail(opened, INVALID);
    const handle = call.handles.open(opened.file);
    if (style & 0x200) return void closeHandle(call, handle);
    return handle;
  },
  _lopen: (call, name, mode) => create(call, false, name, mode & 3 ? 0xc0000000 : GENERIC_READ, 3, 0),
  _lcreat: (call, name) => create(call, false, name, 0xc0000000, 2, 0),
  _lread: (call, handle, buffer, length) => {
    const done = call.stack - 0x40;
    return read(call, handle, buffer, length, done, 0) ? call.memory.u32(done) : INVALID;
  },
  _lwrite: (call, handle, buffer, length) => write(call, handle, buffer, length, 0, 0) ? length : INVALID,
  _hread: (call, handle, buffer, length) => {
    const done = call.stack - 0x40;
    return read(call, handle, buffer, length, done, 0) ? call.memory.u32(done) : INVALID;
  },
  _hwrite: (call, handle, buffer, length) => write(call, handle, buffer, length, 0, 0) ? length : INVALID,
  _lclose: (call, handle) => closeHandle(call, handle) ? 0 : call.fail(Win32.invalidHandle, INVALID),
  _llseek: (call, handle, distance, method) => seek(call, handle, distance | 0, method) ?? INVALID,
  ReadFile: read,
  WriteFile: write,
  ReadFileEx: (call) => call.fail(Win32.invalidParameter),
  WriteFileEx: (call) => call.fail(Win32.invalidParameter),
  SetFilePointer: (call, handle, low, high, method) => {
    const distance = high ? signed(low, call.memory.u32(high)) : low | 0;
    const position = seek(call, handle, distance, method);
    if (position === undefined) return INVALID;
    if (high) call.memory.setU32(high, Math.floor(position / 0x1_0000_0000));
    call.lastError = 0;
    return position >>> 0;
  },
  SetFilePointerEx: (call, handle, low, high, result, method) => {
    const position = seek(call, handle, signed(low, high), method);
    if (position === undefined) return 0;
    if (result) {
      call.memory.setU32(result, position >>> 0);
      call.memory.setU32(result + 4, Math.floor(position / 0x1_0000_0000));
    }
    return 1;
  },
  GetFileSize: (call, handle, high) => {
    const file = fileOf(call, handle);
    if (!file) return call.fail(Win32.invalidHandle, INVALID);
    if (high) call.memory.setU32(high, 0);
    call.lastError = 0;
    return file.node.size;
  },
  GetFileSizeEx: (call, handle, size) => {
    const file = fileOf(call, handle);
    if (!file) return call.fail(Win32.invalidHandle);
    call.memory.setU32(size, file.node.size);
    call.memory.setU32(size + 4, 0);
    return 1;
  },
  SetEndOfFile: (call, handle) => {
    const file = fileOf(call, handle);
    if (!file) return call.fail(Win32.invalidHandle);
    if (!file.writable) return call.fail(Win32.accessDenied);
    return resize(file.node, file.position) ? 1 : call.fail(Win32.diskFull);
  },
  SetFileValidData: (call) => call.fail(1314),
  FlushFileBuffers: (call, handle) => {
    const file = fileOf(call, handle);
    if (file) flush(call, file.node);
    return call.handles.get(handle) ? 1 : call.fail(Win32.invalidHandle);
  },
  GetFileType: (call, handle) => {
    const kind = call.handles.get(handle)?.kind;
    if (kind === "file") return 1;
    if (kind === "console") return 2;
    return kind === "pipe" ? 3 : call.fail(Win32.invalidHandle);
  },
  LockFile: (call, handle) => fileOf(call, handle) ? 1 : call.fail(Win32.invalidHandle),
  UnlockFile: (call, handle) => fileOf(call, handle) ? 1 : call.fail(Win32.invalidHandle),
  LockFileEx: (call, handle) => fileOf(call, handle) ? 1 : call.fail(Win32.invalidHandle),
  UnlockFileEx: (call, handle) => fileOf(call, handle) ? 1 : call.fail(Win32.invalidHandle),
  GetOverlappedResult: (call, _handle, overlapped, done) => {
    call.memory.setU32(done, call.memory.u32(overlapped + 4));
    return 1;
  },
  ...constant(1, "CancelIo CancelIoEx CancelSynchronousIo"),
  DeviceIoControl: (call, handle) =>
    call.fail(call.handles.get(handle) ? Win32.notSupported : Win32.invalidHandle),
  CreatePipe: (call, readEnd, writeEnd) => {
    const data: number[] = [];
    call.memory.setU32(readEnd, call.handles.open({ kind: "pipe", data } as PipeObject));
    call.memory.setU32(writeEnd, call.handles.open({ kind: "pipe", data } as PipeObject));
    return 1;
  },
  PeekNamedPipe: (call, handle, buffer, length, done, available, left) => {
    const object = call.handles.get(handle);
    if (object?.kind !== "pipe") return call.fail(Win32.invalidHandle);
    const { data } = object as PipeObject;
    const bytes = Uint8Array.from(data.slice(0, length));
    if (buffer) call.memory.setBytes(buffer, bytes);
    if (done) call.memory.setU32(done, buffer ? bytes.length : 0);
    if (available) call.memory.setU32(available, data.length);
    if (left) call.memory.setU32(left, 0);
    return 1;
  },
  ...constant(0, "ConnectNamedPipe DisconnectNamedPipe"),

  MapViewOfFile: (call, section, access, high, low, size) =>
    mapView(call, section, access, high, low, size, 0),
  MapViewOfFileEx: mapView,
  UnmapViewOfFile: (call, base) => call.virtual.unmapView(base) ? call.fail(Win32.invalidAddress) : 1,
  FlushViewOfFile: (call, base) => call.virtual.flushView(base) ? call.fail(Win32.invalidAddress) : 1,

  CloseHandle: (call, handle) => {
    if (handle === INVALID || handle === 0xfffffffe) return 1;
    return closeHandle(call, handle) ? 1 : call.fail(Win32.invalidHandle);
  },
  DuplicateHandle: (call, from, handle, to, result, _access, _inherit, options) => {
    const copy = call.system.duplicate(handle, from, to);
    if (copy === 0) return call.fail(Win32.invalidHandle);
    const own = call.system.processId(from) === call.pid;
    const object = own ? call.handles.get(handle) : undefined;
    if (object?.kind === "file") (object as FileObject).node.handles++;
    if (result) call.memory.setU32(result, copy);
    if (own && options & DUPLICATE_CLOSE_SOURCE) closeHandle(call, handle);
    return 1;
  },
  GetHandleInformation: (call, handle, flags) => {
    if (!call.handles.get(handle)) return call.fail(Win32.invalidHandle);
    call.memory.setU32(flags, 0);
    return 1;
  },
  SetHandleInformation: (call, handle) => call.handles.get(handle) ? 1 : call.fail(Win32.invalidHandle),
};

function copy(call: ApiCall, wide: boolean, from: number, to: number, failIfThere: boolean): number {
  const source = fullPath(call, text(call, from, wide, 1024));
  const target = fullPath(call, text(call, to, wide, 1024));
  const bytes = contentOf(call, source);
  if (!bytes) return call.fail(Win32.fileNotFound);
  if (failIfThere && isFile(call, target)) return call.fail(Win32.fileExists);
  const opened = openFile(call, { path: target, read: false, write: true, disposition: 2 });
  if (typeof opened === "number") return call.fail(opened);
  const went = writeFile(opened.file, bytes);
  closeFile(call, opened.file);
  return went ? 1 : call.fail(Win32.diskFull);
}

/** Arguments of a progress routine when all is copied: four sizes, the stream, why it is called, handles, data. */
function progressWords(call: ApiCall, wide: boolean, to: number, data: number): number[] {
  const size = to ? contentOf(call, fullPath(call, text(call, to, wide, 1024)))?.length ?? 0 : 0;
  return [size, 0, size, 0, size, 0, size, 0, 1, 0, INVALID, INVALID, data];
}

function move(call: ApiCall, wide: boolean, from: number, to: number, flags: number) {
  const source = fullPath(call, text(call, from, wide, 1024));
  // MOVEFILE_DELAY_UNTIL_REBOOT and no target: promised, never done.
  if (flags & 4 || to === 0) return 1;
  const target = fullPath(call, text(call, to, wide, 1024));
  const bytes = contentOf(call, source);
  if (!bytes) return call.fail(Win32.fileNotFound);
  if (isFile(call, target) && !(flags & 1)) return call.fail(Win32.alreadyExists);
  if (!call.files.write(target, bytes)) return call.fail(Win32.diskFull);
  const error = removeFile(call, source);
  flushAll(call);
  return error ? call.fail(error) : 1;
}
