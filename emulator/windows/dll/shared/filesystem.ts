// SPDX-License-Identifier: Apache-2.0
/**
 * Open files. Bytes live in nodes shared by all handles of the process and go back to the model's file system
 * when a handle is closed or somebody asks for the file by name.
 *
 * @module
 */
import type { ApiCall, KernelObject } from "../../api.ts";
import { Win32 } from "./errors.ts";

/** Largest file a guest may make: 64 MiB. */
export const MAX_FILE = 0x4000000;

/** Content of an open file. */
export interface FileNode {
  readonly path: string;
  bytes: Uint8Array;
  size: number;
  dirty: boolean;
  handles: number;
}

/** An open file behind a handle. */
export interface FileObject extends KernelObject {
  readonly kind: "file";
  readonly node: FileNode;
  position: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly append: boolean;
  readonly deleteOnClose: boolean;
}

/** A console handle: output goes to the report, input is one empty line and then the end. */
export interface ConsoleObject extends KernelObject {
  readonly kind: "console";
  lines: number;
}

/** One end of an anonymous pipe. */
export interface PipeObject extends KernelObject {
  readonly kind: "pipe";
  readonly data: number[];
}

/** A search handle of FindFirstFile. */
export interface FindObject extends KernelObject {
  readonly kind: "find";
  readonly names: readonly string[];
  readonly directory: string;
  next: number;
}

/** What CreateFile asks for. */
export interface OpenRequest {
  readonly path: string;
  readonly read: boolean;
  readonly write: boolean;
  /** CREATE_NEW 1, CREATE_ALWAYS 2, OPEN_EXISTING 3, OPEN_ALWAYS 4, TRUNCATE_EXISTING 5. */
  readonly disposition: number;
  readonly append?: boolean;
  readonly deleteOnClose?: boolean;
}

interface Table {
  readonly nodes: Map<string, FileNode>;
  readonly directories: Set<string>;
}

function table(call: ApiCall): Table {
  return call.state("files", () => ({
    nodes: new Map<string, FileNode>(),
    directories: new Set([
      "c:",
      "c:\\windows",
      "c:\\windows\\system32",
      "c:\\windows\\system32\\drivers",
      "c:\\windows\\temp",
      "c:\\program files",
      "c:\\program files\\common files",
      "c:\\programdata",
      "c:\\users",
      "c:\\users\\public",
    ]),
  }));
}

/** The full path of a name, without `\\?\` and trailing backslash. */
export function fullPath(call: ApiCall, name: string): string {
  const plain = name.replace(/^(\\\\\?\\|\\\?\?\\|\\\\\.\\(?=[A-Za-z]:))/, "").replaceAll("/", "\\");
  const absolute = call.files.absolute(plain);
  return absolute.length > 3 ? absolute.replace(/\\+$/, "") : absolute;
}

const key = (path: string) => path.toLowerCase().replace(/\\+$/, "");

/** True for a directory: one that was made, a well-known one, or one that a file or the environment lies in. */
export function isDirectory(call: ApiCall, path: string): boolean {
  const wanted = key(path);
  const { directories } = table(call);
  if (directories.has(wanted)) return true;
  const inside = (other: string) => key(other) === wanted || key(other).startsWith(wanted + "\\");
  if (inside(call.files.currentDirectory)) return true;
  if (call.imagePath.toLowerCase().startsWith(wanted + "\\")) return true;
  for (const [name, value] of call.environment) {
    if (
      /^(temp|tmp|appdata|localappdata|userprofile|programfiles|public|windir)$/i.test(name) && inside(value)
    ) {
      return true;
    }
  }
  return call.files.read(path) === undefined && (call.files.list?.(path).length ?? 0) > 0;
}

/** True for an existing file. */
export function isFile(call: ApiCall, path: string): boolean {
  const node = table(call).nodes.get(key(path));
  return node !== undefined || (call.files.exists(path) && call.files.read(path) !== undefined);
}

/** Makes or removes a directory of the process's own. */
export function makeDirectory(call: ApiCall, path: string): number {
  if (isDirectory(call, path) || isFile(call, path)) return Win32.alreadyExists;
  const parent = path.slice(0, path.lastIndexOf("\\"));
  if (!isDirectory(call, parent)) return Win32.pathNotFound;
  table(call).directories.add(key(path));
  return 0;
}

/** Removes a directory that was made here. */
export function removeDirectory(call: ApiCall, path: string): number {
  if (!isDirectory(call, path)) return Win32.fileNotFound;
  if ((call.files.list?.(path).length ?? 0) > 0) return Win32.dirNotEmpty;
  table(call).directories.delete(key(path));
  return 0;
}

/** Writes an open file back to the model's file system. */
export function flush(call: ApiCall, node: FileNode): void {
  if (!node.dirty) return;
  call.files.write(node.path, node.bytes.slice(0, node.size));
  node.dirty = false;
}

/** Writes all open files back. */
export function flushAll(call: ApiCall): void {
  for (const node of table(call).nodes.values()) flush(call, node);
}

/** Opens a file; a number is a Win32 error. `existed` tells CREATE_ALWAYS and OPEN_ALWAYS what they met. */
export function openFile(
  call: ApiCall,
  request: OpenRequest,
): { file: FileObject; existed: boolean } | number {
  const { nodes } = table(call);
  const path = request.path;
  if (path === "" || /[<>"|?*]/.test(path)) return path === "" ? Win32.pathNotFound : Win32.invalidName;
  let node = nodes.get(key(path));
  const content = node ? undefined : call.files.exists(path) ? call.files.read(path) : undefined;
  const existed = node !== undefined || content !== undefined;
  if (!existed && isDirectory(call, path)) return Win32.accessDenied;
  const parent = path.slice(0, Math.max(2, path.lastIndexOf("\\")));
  if (!existed && !isDirectory(call, parent)) return Win32.pathNotFound;
  switch (request.disposition) {
    case 1:
      if (existed) return Win32.fileExists;
      break;
    case 2:
    case 4:
      break;
    case 3:
    case 5:
      if (!existed) return Win32.fileNotFound;
      break;
    default:
      return Win32.invalidParameter;
  }
  if (!node) {
    const bytes = content ?? new Uint8Array(0);
    // A running image cannot be opened for writing.
    if (request.write && key(path) === key(call.imagePath)) return 32;
    node = { path, bytes: bytes.slice(), size: bytes.length, dirty: !existed, handles: 0 };
    nodes.set(key(path), node);
  }
  if (request.disposition === 2 || request.disposition === 5) {
    node.size = 0;
    node.dirty = true;
  }
  node.handles++;
  if (!existed) flush(call, node);
  const file: FileObject = {
    kind: "file",
    node,
    position: 0,
    readable: request.read,
    writable: request.write,
    append: request.append ?? false,
    deleteOnClose: request.deleteOnClose ?? false,
  };
  return { file, existed };
}

/** Ends one handle's use of a file. */
export function closeFile(call: ApiCall, file: FileObject): void {
  const { nodes } = table(call);
  flush(call, file.node);
  if (--file.node.handles > 0) return;
  nodes.delete(key(file.node.path));
  if (file.deleteOnClose) call.files.remove(file.node.path);
}

/** Reads from the file's position on and moves it. */
export function readFile(file: FileObject, length: number): Uint8Array {
  const end = Math.min(file.node.size, file.position + length);
  const bytes = file.node.bytes.subarray(Math.min(file.position, end), end);
  file.position += bytes.length;
  return bytes;
}

/** Makes room and sets the size; false when it is past {@link MAX_FILE}. */
export function resize(node: FileNode, size: number): boolean {
  if (size > MAX_FILE) return false;
  if (size > node.bytes.length) {
    const grown = new Uint8Array(Math.min(MAX_FILE, Math.max(size, node.bytes.length * 2, 4096)));
    grown.set(node.bytes.subarray(0, node.size));
    node.bytes = grown;
  } else if (size > node.size) node.bytes.fill(0, node.size, size);
  node.size = size;
  node.dirty = true;
  return true;
}

/** Writes at the file's position and moves it; false when the disk is full. */
export function writeFile(file: FileObject, bytes: Uint8Array): boolean {
  const { node } = file;
  if (file.append) file.position = node.size;
  const end = file.position + bytes.length;
  if (end > node.size && !resize(node, end)) return false;
  node.bytes.set(bytes, file.position);
  node.dirty = true;
  file.position = end;
  return true;
}

/** Bytes of a file by path, with what is still in open nodes. */
export function contentOf(call: ApiCall, path: string): Uint8Array | undefined {
  const node = table(call).nodes.get(key(path));
  if (node) return node.bytes.slice(0, node.size);
  return call.files.exists(path) ? call.files.read(path) : undefined;
}

/** Removes a file; 0 or a Win32 error. */
export function removeFile(call: ApiCall, path: string): number {
  if (isDirectory(call, path) && !isFile(call, path)) return Win32.accessDenied;
  if (!isFile(call, path)) return Win32.fileNotFound;
  if (key(path) === key(call.imagePath)) return Win32.accessDenied;
  if (table(call).nodes.has(key(path))) return 32;
  return call.files.remove(path) ? 0 : Win32.accessDenied;
}

/** `*` and `?` as FindFirstFile knows them. */
export function matches(pattern: string, name: string): boolean {
  if (pattern === "*.*") return true;
  // Greedy matching with one way back: linear space, at most pattern × name steps.
  const p = pattern.toLowerCase();
  const n = name.toLowerCase();
  let i = 0;
  let j = 0;
  let star = -1;
  let mark = 0;
  while (j < n.length) {
    if (i < p.length && (p[i] === "?" || p[i] === n[j])) i++, j++;
    else if (i < p.length && p[i] === "*") star = i++, mark = j;
    else if (star >= 0) i = star + 1, j = ++mark;
    else return false;
  }
  while (p[i] === "*") i++;
  return i === p.length;
}
