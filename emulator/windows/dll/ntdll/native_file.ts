// SPDX-License-Identifier: Apache-2.0
/** ntdll: files and sections by system call. @module */
import type { ApiCall } from "../../api.ts";
import type { Handlers } from "../define.ts";
import { Status } from "../shared/errors.ts";
import {
  type FileObject,
  flush,
  fullPath,
  isDirectory,
  MAX_FILE,
  openFile,
  readFile,
  removeFile,
  resize,
  writeFile,
} from "../shared/filesystem.ts";
import { toMm } from "../../protection.ts";
import { backing } from "../kernel32/file.ts";
import { countedString, objectName } from "./unicode.ts";

const BAD_EXE_FORMAT = 193;

const SEC_IMAGE = 0x1000000;

const fileOf = (call: ApiCall, handle: number): FileObject | undefined => {
  const object = call.handles.get(handle);
  return object?.kind === "file" ? object as FileObject : undefined;
};

const FROM_WIN32 = new Map<number, number>([
  [2, Status.nameNotFound],
  [3, 0xc000003a],
  [5, Status.accessDenied],
  [32, 0xc0000043],
  [80, Status.nameCollision],
  [123, 0xc0000033],
]);

/** FILE_SUPERSEDE…FILE_OVERWRITE_IF to CreateFile's dispositions. */
const DISPOSITIONS = [2, 3, 1, 4, 5, 2];

function pathOf(call: ApiCall, attributes: number): string {
  const name = countedString(call, call.memory.u32(attributes + 8), true);
  return fullPath(call, name.replace(/^\\\?\?\\/, "").replace(/^\\SystemRoot/i, "C:\\Windows"));
}

function ioStatus(call: ApiCall, at: number, status: number, information: number): number {
  call.memory.setU32(at, status);
  call.memory.setU32(at + 4, information);
  return status;
}

function create(
  call: ApiCall,
  handle: number,
  access: number,
  attributes: number,
  io: number,
  disposition: number,
) {
  const path = pathOf(call, attributes);
  if (isDirectory(call, path)) {
    call.memory.setU32(handle, call.handles.open({ kind: "directory" }));
    return ioStatus(call, io, 0, 1);
  }
  const opened = openFile(call, {
    path,
    read: (access & 0x90000001) !== 0,
    write: (access & 0x50000006) !== 0,
    disposition: DISPOSITIONS[disposition] ?? 0,
  });
  if (typeof opened === "number") return FROM_WIN32.get(opened) ?? Status.invalidParameter;
  call.memory.setU32(handle, call.handles.open(opened.file));
  return ioStatus(call, io, 0, opened.existed ? 1 : 2);
}

function seekTo(call: ApiCall, file: FileObject, offset: number): void {
  if (offset === 0) return;
  const [low, high] = [call.memory.u32(offset), call.memory.u32(offset + 4)];
  // High word -1 with low -2 keeps the position, -1 goes to the end.
  if (high === 0xffffffff) file.position = low === 0xffffffff ? file.node.size : file.position;
  else file.position = high === 0 ? Math.min(low, MAX_FILE) : MAX_FILE;
}

export const nativeFiles: Handlers = {
  NtCreateFile: (call, handle, access, attributes, io, _size, _attr, _share, disposition) =>
    create(call, handle, access, attributes, io, disposition),
  NtOpenFile: (call, handle, access, attributes, io) => create(call, handle, access, attributes, io, 1),
  NtReadFile: (call, handle, _event, _apc, _context, io, buffer, length, offset) => {
    const file = fileOf(call, handle);
    if (!file) return Status.invalidHandle;
    seekTo(call, file, offset);
    const bytes = readFile(file, Math.min(length, MAX_FILE));
    if (bytes.length === 0 && length > 0) return ioStatus(call, io, Status.endOfFile, 0);
    call.memory.setBytes(buffer, bytes);
    return ioStatus(call, io, 0, bytes.length);
  },
  NtWriteFile: (call, handle, _event, _apc, _context, io, buffer, length, offset) => {
    const file = fileOf(call, handle);
    if (!file) return Status.invalidHandle;
    if (!file.writable) return Status.accessDenied;
    seekTo(call, file, offset);
    const isFull = length > MAX_FILE || !writeFile(file, call.memory.bytes(buffer, length));
    return isFull ? 0xc000007f : ioStatus(call, io, 0, length);
  },
  NtDeleteFile: (call, attributes) => {
    const error = removeFile(call, pathOf(call, attributes));
    return error ? FROM_WIN32.get(error) ?? Status.accessDenied : 0;
  },
  NtQueryInformationFile: (call, handle, io, buffer, length, kind) => {
    const file = fileOf(call, handle);
    if (!file) return Status.invalidHandle;
    const size = { 5: 24, 14: 8 }[kind];
    if (size === undefined) return Status.invalidInfoClass;
    if (length < size) return Status.infoLengthMismatch;
    call.memory.setBytes(buffer, new Uint8Array(size));
    if (kind === 14) call.memory.setU32(buffer, file.position);
    else {
      call.memory.setU32(buffer, (file.node.size + 0xfff) & ~0xfff);
      call.memory.setU32(buffer + 8, file.node.size);
      call.memory.setU32(buffer + 16, 1);
    }
    return ioStatus(call, io, 0, size);
  },
  NtSetInformationFile: (call, handle, io, buffer, _length, kind) => {
    const file = fileOf(call, handle);
    if (!file) return Status.invalidHandle;
    if (kind === 14) file.position = Math.min(call.memory.u32(buffer), MAX_FILE);
    else if (kind === 20 && !resize(file.node, call.memory.u32(buffer))) return 0xc000007f;
    return ioStatus(call, io, 0, 0);
  },
  NtQueryAttributesFile: (call, attributes, buffer) => {
    const path = pathOf(call, attributes);
    const isThere = call.files.exists(path);
    if (!isThere && !isDirectory(call, path)) return Status.nameNotFound;
    call.memory.setBytes(buffer, new Uint8Array(40));
    call.memory.setU32(buffer + 32, isThere ? 0x20 : 0x10);
    return 0;
  },
  NtCreateSection: (call, handle, _access, attributes, maximum, protect, kind, fileHandle) => {
    const file = fileHandle ? fileOf(call, fileHandle) : undefined;
    if (fileHandle && !file) return Status.invalidHandle;
    if (toMm(protect) === undefined) return 0xc0000045;
    if (file) flush(call, file.node);
    const asked = maximum ? call.memory.u32(maximum) : 0;
    if (!file && asked === 0) return 0xc0000040;
    const isImage = (kind & SEC_IMAGE) !== 0;
    if (isImage && !file) return Status.invalidParameter;
    const section = call.system.createSection(
      isImage ? 0 : asked || file!.node.size,
      (protect | kind) >>> 0,
      file && backing(file.node),
      objectName(call, attributes),
    );
    if (section === 0) {
      return call.lastError === BAD_EXE_FORMAT ? Status.invalidImageFormat : Status.noMemory;
    }
    call.memory.setU32(handle, section);
    return 0;
  },
};
