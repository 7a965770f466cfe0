// SPDX-License-Identifier: Apache-2.0
/**
 * Streams and file descriptors. A FILE of guest memory holds its descriptor and flags where the Microsoft
 * runtime keeps them, with an empty buffer, so that inlined getc and putc always call the runtime.
 *
 * @module
 */
import type { ApiCall } from "../../api.ts";
import { closeFile, type FileObject, fullPath, openFile, readFile, writeFile } from "../shared/filesystem.ts";
import { standardHandle } from "../kernel32/console.ts";
import { fromAnsi } from "../shared/text.ts";
import { Errno, errnoOf, failed, setErrno } from "./errno.ts";

export const FILE_SIZE = 32;
export const IOB_COUNT = 20;
export const EOF = 0xffffffff;

/** FILE: offsets of the flags and of the descriptor. */
const FLAGS = 12;
const DESCRIPTOR = 16;
const Flag = { read: 1, write: 2, eof: 0x10, error: 0x20, readWrite: 0x80 } as const;

/** What a descriptor stands for; without a file it is the console. */
export interface Descriptor {
  readonly file?: FileObject;
  readonly handle: number;
  isText: boolean;
  readonly pushed: number[];
  /** Lines of input the console still gives. */
  lines: number;
}

const MAX_DESCRIPTORS = 2048;

function table(call: ApiCall): Map<number, Descriptor> {
  return call.state("descriptors", () => {
    const make = (which: number): Descriptor => {
      const handle = standardHandle(call, which);
      const object = call.handles.get(handle);
      const file = object?.kind === "file" ? object as FileObject : undefined;
      return { file, handle, isText: true, pushed: [], lines: 1 };
    };
    return new Map([[0, make(0xfffffff6)], [1, make(0xfffffff5)], [2, make(0xfffffff4)]]);
  });
}

/** The descriptor with a number. */
export const descriptor = (call: ApiCall, fd: number): Descriptor | undefined => table(call).get(fd);

/** Gives an open file the lowest free descriptor. */
export function addDescriptor(
  call: ApiCall,
  file: FileObject | undefined,
  handle: number,
  isText: boolean,
): number {
  const all = table(call);
  for (let fd = 0; fd < MAX_DESCRIPTORS; fd++) {
    if (all.has(fd)) continue;
    all.set(fd, { file, handle, isText, pushed: [], lines: 0 });
    return fd;
  }
  return failed(call, 24);
}

/** Closes a descriptor. */
export function closeDescriptor(call: ApiCall, fd: number): boolean {
  const found = table(call).get(fd);
  if (!found) return false;
  if (found.file) {
    closeFile(call, found.file);
    call.handles.close(found.handle);
  }
  table(call).delete(fd);
  return true;
}

const O_WRITE = 1;
const O_READ_WRITE = 2;
const O_APPEND = 8;
const O_CREATE = 0x100;
const O_TRUNCATE = 0x200;
const O_EXCLUSIVE = 0x400;
const O_BINARY = 0x8000;

/** _open: a descriptor, or EOF with errno set. */
export function openDescriptor(call: ApiCall, name: string, flags: number): number {
  const disposition = flags & O_CREATE
    ? flags & O_EXCLUSIVE ? 1 : flags & O_TRUNCATE ? 2 : 4
    : flags & O_TRUNCATE
    ? 5
    : 3;
  const opened = openFile(call, {
    path: fullPath(call, name),
    read: (flags & O_WRITE) === 0,
    write: (flags & (O_WRITE | O_READ_WRITE)) !== 0,
    append: (flags & O_APPEND) !== 0,
    disposition,
  });
  if (typeof opened === "number") {
    return failed(call, errnoOf(opened));
  }
  return addDescriptor(call, opened.file, call.handles.open(opened.file), (flags & O_BINARY) === 0);
}

/** _open's flags for a mode of fopen; undefined when it is none. */
export function modeFlags(mode: string): number | undefined {
  const match = /^\s*([rwa])([+btcnSRTD, ]*)/.exec(mode);
  if (!match) return undefined;
  const both = match[2].includes("+");
  const base = match[1] === "r" ? 0 : match[1] === "w" ? O_CREATE | O_TRUNCATE : O_CREATE | O_APPEND;
  const access = both ? O_READ_WRITE : match[1] === "r" ? 0 : O_WRITE;
  return base | access | (match[2].includes("b") ? O_BINARY : 0x4000);
}

/** Address of an export of the C runtime that the process has loaded; 0 when it has none with it. */
export function runtimeExport(call: ApiCall, name: string): number {
  for (const module of call.modules.all()) {
    if (!/^(msvcrt|msvcr\d+|crtdll)\.dll$/i.test(module.name)) continue;
    const address = call.modules.export(module, name);
    if (address) return address;
  }
  return 0;
}

/** Address of _iob: the runtime's own, or a block made for it. */
export function iob(call: ApiCall): number {
  return call.state("iob", () => {
    const exported = runtimeExport(call, "_iob");
    if (exported) return { address: exported };
    const address = call.heaps.allocate(call.heaps.processHeap, FILE_SIZE * IOB_COUNT, true);
    call.memory.setBytes(address, initialIob());
    return { address };
  }).address;
}

/** First content of _iob: standard input, output and error. */
export function initialIob(): Uint8Array {
  const bytes = new Uint8Array(FILE_SIZE * IOB_COUNT);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < IOB_COUNT; i++) {
    view.setUint32(i * FILE_SIZE + FLAGS, i === 0 ? Flag.read : i < 3 ? Flag.write : 0, true);
    view.setInt32(i * FILE_SIZE + DESCRIPTOR, i < 3 ? i : -1, true);
  }
  return bytes;
}

/** A FILE for a descriptor: a free one of _iob, else a heap block. */
export function makeStream(call: ApiCall, fd: number, flags: number): number {
  const base = iob(call);
  let at = 0;
  for (let i = 3; i < IOB_COUNT && at === 0; i++) {
    if (call.memory.u32(base + i * FILE_SIZE + FLAGS) === 0) at = base + i * FILE_SIZE;
  }
  at ||= call.heaps.allocate(call.heaps.processHeap, FILE_SIZE, true);
  if (at === 0) return 0;
  call.memory.setBytes(at, new Uint8Array(FILE_SIZE));
  const access = flags & O_READ_WRITE ? Flag.readWrite : flags & O_WRITE ? Flag.write : Flag.read;
  call.memory.setU32(at + FLAGS, access);
  call.memory.setU32(at + DESCRIPTOR, fd);
  return at;
}

/** Frees a FILE. */
export function dropStream(call: ApiCall, stream: number): void {
  call.memory.setU32(stream + FLAGS, 0);
  const base = iob(call);
  if (stream < base || stream >= base + FILE_SIZE * IOB_COUNT) {
    call.heaps.free(call.heaps.processHeap, stream);
  }
}

/** Descriptor number of a FILE. */
export const numberOf = (call: ApiCall, stream: number) => call.memory.u32(stream + DESCRIPTOR);

/** The descriptor of a FILE, with errno set when there is none. */
export function descriptorOf(call: ApiCall, stream: number): Descriptor | undefined {
  const found = stream === 0 ? undefined : table(call).get(numberOf(call, stream));
  if (!found) setErrno(call, stream === 0 ? Errno.invalid : Errno.badFile);
  return found;
}

/** Sets or clears flags of a FILE. */
export function setFlags(call: ApiCall, stream: number, set: number, clear: number): void {
  const flags = call.memory.u32(stream + FLAGS);
  const changed = ((flags & ~clear) | set) >>> 0;
  if (changed !== flags) call.memory.setU32(stream + FLAGS, changed);
}

/** Flag bits of a FILE. */
export const streamFlags = (call: ApiCall, stream: number) => call.memory.u32(stream + FLAGS);
export { Flag };

/** Bytes as they come from the device. */
function readRaw(target: Descriptor, length: number): Uint8Array {
  if (target.file) return target.file.readable ? readFile(target.file, length) : new Uint8Array(0);
  return target.lines-- > 0 ? Uint8Array.of(13, 10).subarray(0, length) : new Uint8Array(0);
}

/** Reads bytes; in text mode CR LF becomes LF and Ctrl-Z ends the file. */
export function readBytes(target: Descriptor, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let size = 0;
  while (size < length && target.pushed.length > 0) out[size++] = target.pushed.pop()!;
  while (size < length) {
    const chunk = readRaw(target, length - size);
    if (chunk.length === 0) break;
    if (!target.isText) {
      out.set(chunk, size);
      size += chunk.length;
      continue;
    }
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] === 26) {
        if (target.file) target.file.position = target.file.node.size;
        return out.slice(0, size);
      }
      const next = chunk[i] !== 13
        ? undefined
        : i + 1 < chunk.length
        ? chunk[i + 1]
        : target.file?.node.bytes[target.file.position];
      if (next === 10 && chunk[i] === 13) continue;
      out[size++] = chunk[i];
    }
    if (!target.file) break;
  }
  return out.slice(0, size);
}

/** Reads one character, or EOF. */
export function readByte(target: Descriptor): number {
  const bytes = readBytes(target, 1);
  return bytes.length === 0 ? EOF : bytes[0];
}

/** Writes bytes; in text mode LF becomes CR LF in files. False when the file cannot take them. */
export function writeBytes(call: ApiCall, target: Descriptor, bytes: Uint8Array): boolean {
  if (!target.file) {
    call.print(fromAnsi(bytes));
    return true;
  }
  if (!target.file.writable) return false;
  if (!target.isText || !bytes.includes(10)) return writeFile(target.file, bytes);
  const out: number[] = [];
  for (const byte of bytes) {
    if (byte === 10) out.push(13);
    out.push(byte);
  }
  return writeFile(target.file, Uint8Array.from(out));
}

/** Closes all streams' descriptors, as exit does. */
export function closeAll(call: ApiCall): void {
  for (const fd of [...table(call).keys()]) if (fd > 2) closeDescriptor(call, fd);
}
