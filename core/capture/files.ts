// SPDX-License-Identifier: Apache-2.0
/**
 * Where captures go: a folder, memory, or nowhere. Names are made from addresses, layers and hashes only, so
 * nothing a guest says reaches a path.
 *
 * @module
 */
import { join } from "node:path";
import { InputError } from "../ports.ts";
import { escapeText, sayError } from "../text.ts";

/** The kinds of capture, which are also the names of their folders. */
export type CaptureKind = "pages" | "regions" | "images";

/** What a file name of each kind must look like. */
const NAMES: Readonly<Record<CaptureKind, RegExp>> = {
  pages: /^[0-9a-f]{8}-[0-9a-f]{64}\.bin$/,
  regions: /^[0-9a-f]{8}-\d{1,10}-[0-9a-f]{64}\.bin$/,
  images: /^[0-9a-f]{8}-\d{1,10}(-\d{1,10})?\.exe$/,
};
const KINDS = Object.keys(NAMES) as CaptureKind[];

/** A place for captures. Every method throws when the place cannot take what it is given. */
export interface CaptureFiles {
  /** Keeps one capture, whole or not at all. */
  write(kind: CaptureKind, name: string, bytes: Uint8Array): void;
  /** Appends lines to `events.jsonl`; each without its end of line. */
  events(lines: readonly string[]): void;
  /** Writes `report.json`, whole or not at all. */
  report(text: string): void;
  /** Writes `report.html`, whole or not at all. */
  html(text: string): void;
  close(): void;
}

/** Refuses a name that is not of the kind's form. */
function checkName(kind: CaptureKind, name: string): void {
  if (!NAMES[kind].test(name)) {
    throw new Error(`Cannot store a capture as ${kind}/${escapeText(name)}: bad name`);
  }
}

/** Keeps nothing. */
export class NoFiles implements CaptureFiles {
  write(kind: CaptureKind, name: string, _bytes: Uint8Array): void {
    checkName(kind, name);
  }
  events(): void {}
  report(): void {}
  html(): void {}
  close(): void {}
}

/** Keeps everything in memory. */
export class MemoryFiles implements CaptureFiles {
  /** Contents by `kind/name`. */
  readonly files = new Map<string, Uint8Array>();
  readonly lines: string[] = [];
  reportText: string | undefined;
  htmlText: string | undefined;

  write(kind: CaptureKind, name: string, bytes: Uint8Array): void {
    checkName(kind, name);
    this.files.set(`${kind}/${name}`, bytes.slice());
  }
  events(lines: readonly string[]): void {
    this.lines.push(...lines);
  }
  report(text: string): void {
    this.reportText = text;
  }
  html(text: string): void {
    this.htmlText = text;
  }
  close(): void {}
}

/**
 * Keeps everything in a folder: folders with mode 0700, files 0600 (what is captured may be malware), each
 * written under a temporary name and renamed.
 */
export class FolderFiles implements CaptureFiles {
  readonly #path: string;
  readonly #durable: boolean;
  readonly #events: Deno.FsFile;
  #temporary = 0;

  /**
   * Makes the folder when it is not there. Captures an earlier run left in it are removed, so that the folder
   * holds one run; files that are not umbra's stay. Throws {@link InputError} when it cannot be used.
   *
   * @param options.durable true: a file is on the disk, not only in the system's cache, when it is written.
   * @param options.keep true: what an earlier run left stays, and events are appended.
   */
  constructor(path: string, options: { readonly durable?: boolean; readonly keep?: boolean } = {}) {
    this.#path = path;
    this.#durable = options.durable ?? false;
    try {
      Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
      for (const kind of KINDS) this.#prepare(kind, options.keep ?? false);
      const events = join(path, "events.jsonl");
      const flags = options.keep ? { append: true } : { write: true, truncate: true };
      refuseLink(events);
      this.#events = Deno.openSync(events, { create: true, mode: 0o600, ...flags });
    } catch (error) {
      throw new InputError(`Cannot write captures to "${escapeText(path)}": ${sayError(error)}`);
    }
  }

  #prepare(kind: CaptureKind, keep: boolean): void {
    const folder = join(this.#path, kind);
    Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!Deno.lstatSync(folder).isDirectory) throw new Error(`${kind} is not a folder`);
    if (keep) return;
    for (const entry of Deno.readDirSync(folder)) {
      if (entry.isFile && (NAMES[kind].test(entry.name) || /^\.\d+\.tmp$/.test(entry.name))) {
        Deno.removeSync(join(folder, entry.name));
      }
    }
  }

  write(kind: CaptureKind, name: string, bytes: Uint8Array): void {
    checkName(kind, name);
    this.#replace(join(this.#path, kind), name, bytes);
  }

  events(lines: readonly string[]): void {
    if (lines.length === 0) return;
    const before = this.#events.seekSync(0, Deno.SeekMode.End);
    try {
      writeAll(this.#events, new TextEncoder().encode(lines.join("\n") + "\n"));
      if (this.#durable) this.#events.syncDataSync();
    } catch (error) {
      // Half a batch on the disk would stand there twice when it is tried again.
      this.#events.truncateSync(before);
      throw new Error(`Cannot write events.jsonl: ${sayError(error)}`, { cause: error });
    }
  }

  report(text: string): void {
    this.#replace(this.#path, "report.json", new TextEncoder().encode(text));
  }

  html(text: string): void {
    this.#replace(this.#path, "report.html", new TextEncoder().encode(text));
  }

  close(): void {
    this.#events.close();
  }

  #replace(folder: string, name: string, bytes: Uint8Array): void {
    const temporary = join(folder, `.${++this.#temporary}.tmp`);
    let file: Deno.FsFile | undefined;
    try {
      // A left-over of a killed run under the same number is not ours to follow or to append to.
      if (exists(temporary)) Deno.removeSync(temporary);
      file = Deno.openSync(temporary, { write: true, createNew: true, mode: 0o600 });
      writeAll(file, bytes);
      if (this.#durable) file.syncDataSync();
      file.close();
      file = undefined;
      Deno.renameSync(temporary, join(folder, name));
    } catch (error) {
      file?.close();
      if (exists(temporary)) Deno.removeSync(temporary);
      throw new Error(`Cannot write ${name}: ${sayError(error)}`, { cause: error });
    }
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function refuseLink(path: string): void {
  if (exists(path) && Deno.lstatSync(path).isSymlink) throw new Error("events.jsonl is a symbolic link");
}

function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}
