// SPDX-License-Identifier: Apache-2.0
/**
 * The guest's file system: a map of Windows paths to bytes, in memory. Paths never leave the guest's model.
 *
 * @module
 */
import type { Files } from "./api.ts";
import type { DllRegistry } from "./dll_registry.ts";
import type { Process } from "./process.ts";

const SYSTEM = "c:\\windows\\system32";
const MAX_FILES = 4096;
const MAX_BYTES = 256 * 1024 * 1024;

interface Entry {
  readonly path: string;
  bytes: Uint8Array;
}

/** Files by path, in any case. */
export class FileSystem {
  private readonly entries = new Map<string, Entry>();
  private total = 0;

  constructor(private readonly dlls: DllRegistry) {}

  exists(path: string): boolean {
    return this.entries.has(path.toLowerCase()) || this.systemLibrary(path) !== undefined;
  }

  read(path: string): Uint8Array | undefined {
    const entry = this.entries.get(path.toLowerCase());
    if (entry) return entry.bytes;
    const library = this.systemLibrary(path);
    return library === undefined ? undefined : this.dlls.image(library)?.bytes;
  }

  /** False when there is no room. */
  write(path: string, bytes: Uint8Array): boolean {
    const key = path.toLowerCase();
    const before = this.entries.get(key);
    const total = this.total - (before?.bytes.length ?? 0) + bytes.length;
    if (total > MAX_BYTES || (!before && this.entries.size >= MAX_FILES)) return false;
    this.total = total;
    if (before) before.bytes = bytes;
    else this.entries.set(key, { path, bytes });
    return true;
  }

  remove(path: string): boolean {
    const entry = this.entries.get(path.toLowerCase());
    if (!entry) return false;
    this.total -= entry.bytes.length;
    return this.entries.delete(path.toLowerCase());
  }

  /** Names of files and directories in a directory, sorted. */
  list(directory: string): readonly string[] {
    const prefix = directory.toLowerCase().replace(/\\*$/, "\\");
    const names = new Map<string, string>();
    for (const { path } of this.entries.values()) {
      if (!path.toLowerCase().startsWith(prefix)) continue;
      const name = path.slice(prefix.length).split("\\")[0];
      names.set(name.toLowerCase(), name);
    }
    if (prefix === `${SYSTEM}\\`) { for (const name of this.dlls.names()) names.set(name, name); }
    return [...names.keys()].sort().map((key) => names.get(key)!);
  }

  /** DLL of the model that a path in the system directory names. */
  private systemLibrary(path: string): string | undefined {
    const key = path.toLowerCase();
    if (!key.startsWith(`${SYSTEM}\\`)) return undefined;
    const name = key.slice(SYSTEM.length + 1);
    return this.dlls.has(name) ? name : undefined;
  }

  /** Where the loader finds a DLL that is not the model's: as a path, beside the program, by directory. */
  findLibrary(name: string, process: Process): string | undefined {
    const file = /\.[^\\/]*$/.test(name) ? name.replace(/\.$/, "") : `${name}.dll`;
    const home = process.identity.path.slice(0, process.identity.path.lastIndexOf("\\"));
    const tries = /[\\/:]/.test(file)
      ? [absolutePath(file, process.currentDirectory)]
      : [home, process.currentDirectory, "C:\\Windows\\system32", "C:\\Windows"].map((d) => `${d}\\${file}`);
    return tries.find((path) => this.entries.has(path.toLowerCase()));
  }
}

/** A full Windows path: drive, no `.` or `..`, single backslashes. */
export function absolutePath(path: string, directory: string): string {
  let text = path.replaceAll("/", "\\").replace(/^\\\\[?.]\\/, "").replace(/^\\\?\?\\/, "");
  if (/^\\\\/.test(text)) return text;
  if (/^[a-zA-Z]:(?!\\)/.test(text)) text = `${text.slice(0, 2)}\\${text.slice(2)}`;
  else if (text.startsWith("\\")) text = directory.slice(0, 2) + text;
  else if (!/^[a-zA-Z]:/.test(text)) text = `${directory}\\${text}`;
  const parts: string[] = [];
  for (const part of text.slice(2).split("\\")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `${text.slice(0, 2)}\\${parts.join("\\")}`;
}

/** The file system as one process sees it. */
export class ProcessFiles implements Files {
  constructor(private readonly files: FileSystem, private readonly process: Process) {}

  exists(path: string): boolean {
    return this.files.exists(this.absolute(path));
  }
  read(path: string): Uint8Array | undefined {
    return this.files.read(this.absolute(path));
  }
  write(path: string, bytes: Uint8Array): boolean {
    return this.files.write(this.absolute(path), bytes);
  }
  remove(path: string): boolean {
    return this.files.remove(this.absolute(path));
  }
  list(directory: string): readonly string[] {
    return this.files.list(this.absolute(directory));
  }
  absolute(path: string): string {
    return absolutePath(path, this.process.currentDirectory);
  }
  get currentDirectory(): string {
    return this.process.currentDirectory;
  }
  set currentDirectory(directory: string) {
    this.process.currentDirectory = this.absolute(directory);
  }
}
