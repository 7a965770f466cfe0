// SPDX-License-Identifier: Apache-2.0
/**
 * Which DLL function stands at an address of a watched process: learned from the guest's own memory, by its
 * list of modules (PEB → PEB_LDR_DATA → InLoadOrderModuleList, whose layout has been the same in every 32-bit
 * Windows NT) and their export directories (PE format specification, "The .edata Section").
 *
 * Everything read is the guest's word: every walk is bounded, nothing is allocated by a number that was read,
 * and what makes no sense is left out. The guest may run on between two reads, and what it has paged out is
 * not there: then the result is partial, and a later look completes it.
 *
 * @module
 */
import type { ProcessMemory } from "../ports.ts";
import { parsePeHeader, type PeDirectory } from "./pe_header.ts";
import { PAGE_SIZE } from "./store.ts";

/** Bounds on what a guest can make us walk and keep. */
const MOST_MODULES = 256;
const MOST_EXPORTS = 32_768;
/** Functions and forwards of all modules kept for one domain, names of one function, forwards of one process. */
const MOST_FUNCTIONS = 1_000_000;
const MOST_NAMES = 16;
const MOST_FORWARDS = 65_536;
/** Bytes of one export directory. */
const MOST_DIRECTORY = 1024 * 1024;
/** Reads of one look at a process, and looks at an export directory of which pages are missing. */
const MOST_READS = 4096;
const MOST_TRIES = 8;
const LONGEST_DLL = 64;
const LONGEST_NAME = 255;
/** Forwards of forwards that are followed. */
const LONGEST_FORWARD = 4;
/** End of user space (2 GiB). */
const USER_END = 0x8000_0000;

/** Offsets in 32-bit PEB, PEB_LDR_DATA and LDR_DATA_TABLE_ENTRY. */
const PEB = { image: 0x08, ldr: 0x0c } as const;
const LDR_IN_LOAD_ORDER = 0x0c;
const ENTRY = { base: 0x18, size: 0x20, nameLength: 0x2c, nameBuffer: 0x30, bytes: 0x34 } as const;
const EXPORT_DIRECTORY = 40;

/** How an import table says a function: DLL, and name or ordinal. */
export interface ImportName {
  readonly dll: string;
  readonly name: string | number;
}

/** What an address means. */
export interface FunctionNames {
  /** The names of the function that begins there; its own DLL's first, then forwards to it. Empty: none. */
  at(address: number): readonly ImportName[];
}

/** The exports of one module, without its base. */
interface ExportTable {
  /** Names (ordinals where there is none) by RVA. */
  readonly functions: ReadonlyMap<number, readonly (string | number)[]>;
  /** RVAs by name. */
  readonly named: ReadonlyMap<string, number>;
  /** Functions that are another DLL's: name, and `DLL.name`. */
  readonly forwards: ReadonlyMap<string | number, string>;
  /** False when pages of the directory were missing. */
  readonly complete: boolean;
}

const NO_EXPORTS: ExportTable = {
  functions: new Map(),
  named: new Map(),
  forwards: new Map(),
  complete: true,
};

interface Module {
  readonly dll: string;
  readonly base: number;
  /** Of its export table in the {@link ExportTables}. */
  readonly key: string;
  readonly table: ExportTable;
}

/** Export tables that were read once, for all processes of a domain: by base, size and time stamp. */
export class ExportTables {
  readonly #tables = new Map<string, { readonly table: ExportTable; readonly tries: number }>();
  #weight = 0;
  /** Nothing new is read any more: the guest has more than anybody needs, and the reading costs. */
  #full = false;

  /** The table of a module; read anew as long as some of it was missing. */
  get(key: string, read: () => ExportTable): ExportTable {
    const known = this.#tables.get(key);
    if (known && (known.table.complete || known.tries >= MOST_TRIES)) return known.table;
    if (this.#full) return known?.table ?? NO_EXPORTS;
    const table = read();
    const before = known ? weight(known.table) : 0;
    const better = weight(table) > before ? table : known?.table ?? NO_EXPORTS;
    // A full cache has room for nothing more: what is not kept is not used either.
    this.#full = this.#weight + weight(better) - before > MOST_FUNCTIONS;
    if (this.#full) return known?.table ?? NO_EXPORTS;
    this.#weight += weight(better) - before;
    this.#tables.set(key, { table: better, tries: (known?.tries ?? 0) + 1 });
    return better;
  }
}

/** What a table counts for; one without functions too. */
function weight(table: ExportTable): number {
  return 16 + table.functions.size + table.forwards.size;
}

/** The modules of one process, as far as they were seen. */
export class ProcessModules implements FunctionNames {
  readonly #modules = new Map<number, Module>();
  #index: [Module[], Map<number, ImportName[]>] | undefined;

  constructor(private readonly tables: ExportTables = new ExportTables()) {}

  /**
   * Looks at the process: adds modules that are new, replaces those whose place another took. A module that
   * was unloaded stays until then, because code may still hold addresses of it. Never throws for what the guest
   * has in its memory.
   */
  look(memory: ProcessMemory): void {
    const reader = new Reader(memory);
    const program = reader.u32(memory.peb + PEB.image);
    const head = reader.u32(memory.peb + PEB.ldr) + LDR_IN_LOAD_ORDER;
    const seen = new Set<number>([head]);
    let link = reader.u32(head);
    while (!seen.has(link) && seen.size <= MOST_MODULES) {
      seen.add(link);
      const bytes = reader.bytes(link, ENTRY.bytes);
      if (bytes.length < ENTRY.bytes) return;
      const entry = new DataView(bytes.buffer, bytes.byteOffset);
      this.#take(reader, entry, program);
      link = entry.getUint32(0, true);
    }
  }

  /** Takes in one entry of the list. */
  #take(reader: Reader, entry: DataView, program: number): void {
    const base = entry.getUint32(ENTRY.base, true);
    const size = entry.getUint32(ENTRY.size, true);
    // The program itself is what shall be rebuilt: nothing is imported from it.
    if (base === 0 || base % 0x10000 !== 0 || base === program || base >= USER_END) return;
    if (size < PAGE_SIZE || size > USER_END - base) return;
    const dll = reader.dllName(
      entry.getUint32(ENTRY.nameBuffer, true),
      entry.getUint16(ENTRY.nameLength, true),
    );
    if (dll === undefined) return;
    const header = parsePeHeader(reader.bytes(base, PAGE_SIZE));
    if (typeof header === "string") return;
    const key = `${base}:${size}:${header.timestamp}`;
    const table = this.tables.get(key, () => readExports(reader, base, size, header.directories[0]));
    const known = this.#modules.get(base);
    if (known && known.key === key && known.dll === dll && known.table === table) return;
    if (!known && this.#modules.size >= MOST_MODULES) return;
    this.#modules.set(base, { dll, base, key, table });
    this.#index = undefined;
  }

  at(address: number): readonly ImportName[] {
    const [sorted, forwarded] = this.#index ??= this.#sort();
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle].base <= address) low = middle + 1;
      else high = middle;
    }
    const module = sorted[low - 1];
    const own = module?.table.functions.get(address - module.base)?.map((name) => ({
      dll: module.dll,
      name,
    }));
    return own ? [...own, ...forwarded.get(address) ?? []] : [];
  }

  /** The modules by base, and what is forwarded to an address of one from another. */
  #sort(): [Module[], Map<number, ImportName[]>] {
    const sorted = [...this.#modules.values()].sort((a, b) => a.base - b.base);
    const byStem = new Map<string, Module>();
    for (const module of sorted) if (!byStem.has(stem(module.dll))) byStem.set(stem(module.dll), module);
    const forwarded = new Map<number, ImportName[]>();
    let room = MOST_FORWARDS;
    for (const { dll, table } of sorted) {
      for (const [name, target] of table.forwards) {
        if (room-- <= 0) break;
        const address = follow(byStem, target);
        if (address !== undefined) append(forwarded, address, { dll, name });
      }
    }
    return [sorted, forwarded];
  }
}

/** Appends to one of many lists, as far as it may grow. */
function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (!list) lists.set(key, [value]);
  else if (list.length < MOST_NAMES) list.push(value);
}

/** The address a forward ends at, as far as the modules are known. */
function follow(byStem: ReadonlyMap<string, Module>, target: string): number | undefined {
  for (let depth = 0; depth < LONGEST_FORWARD; depth++) {
    const dot = target.lastIndexOf(".");
    const module = dot > 0 ? byStem.get(stem(target.slice(0, dot))) : undefined;
    if (!module) return undefined;
    const name = target.slice(dot + 1);
    const rva = module.table.named.get(name);
    if (rva !== undefined) return module.base + rva;
    const next = module.table.forwards.get(name);
    if (next === undefined) return undefined;
    target = next;
  }
  return undefined;
}

/** A DLL's name without case and suffix. */
function stem(dll: string): string {
  return dll.toLowerCase().replace(/\.dll$/, "");
}

/** Reads with a bound on their number; what cannot be read is short, and numbers in it are 0. */
class Reader {
  #left = MOST_READS;
  constructor(private readonly memory: ProcessMemory) {}

  bytes(address: number, length: number): Uint8Array {
    if (this.#left-- <= 0 || address < PAGE_SIZE || address > USER_END - length) return new Uint8Array();
    return this.memory.read(address, length);
  }

  u32(address: number): number {
    const bytes = this.bytes(address, 4);
    return bytes.length < 4 ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }

  /** A UTF-16 file name of printable ASCII without a path; undefined when it is not one. */
  dllName(address: number, length: number): string | undefined {
    if (length < 2 || length > LONGEST_DLL * 2) return undefined;
    const bytes = this.bytes(address, length);
    if (bytes.length < length) return undefined;
    let name = "";
    for (let at = 0; at + 1 < length; at += 2) {
      if (bytes[at + 1] !== 0) return undefined;
      name += String.fromCharCode(bytes[at]);
    }
    return /^[!#-)+-.0-9;=@A-[\]-{}~]+$/.test(name) ? name : undefined;
  }

  /** `length` bytes, with zeros where pages are missing. */
  sparse(address: number, length: number): { readonly bytes: Uint8Array; readonly complete: boolean } {
    const bytes = new Uint8Array(length);
    let complete = true;
    for (let done = 0; done < length;) {
      const part = this.bytes(address + done, length - done).subarray(0, length - done);
      bytes.set(part, done);
      done += part.length;
      if (done >= length) break;
      complete = false;
      if (this.#left <= 0) break;
      done += PAGE_SIZE - (address + done) % PAGE_SIZE;
    }
    return { bytes, complete };
  }
}

/** Reads the export directory of a module at `base` that is `size` bytes long. */
function readExports(reader: Reader, base: number, size: number, directory: PeDirectory): ExportTable {
  const { rva, size: length } = directory;
  if (rva === 0 || length < EXPORT_DIRECTORY || length > MOST_DIRECTORY || rva > size - length) {
    return NO_EXPORTS;
  }
  const { bytes, complete } = reader.sparse(base + rva, length);
  const view = new DataView(bytes.buffer);
  // Linkers put all of it, names too, within the directory's extent; what lies elsewhere is left out.
  const u32 = (at: number) => at >= rva && at <= rva + length - 4 ? view.getUint32(at - rva, true) : 0;
  const u16 = (at: number) => at >= rva && at <= rva + length - 2 ? view.getUint16(at - rva, true) : 0;
  const text = (at: number) => at >= rva && at < rva + length ? textAt(bytes, at - rva) : undefined;
  const [ordinalBase, functionCount, nameCount, functionsAt, namesAt, ordinalsAt] = [16, 20, 24, 28, 32, 36]
    .map((at) => view.getUint32(at, true));
  const count = Math.min(functionCount, MOST_EXPORTS, Math.floor(length / 4));
  const names = new Map<number, string[]>();
  for (let index = 0; index < Math.min(nameCount, MOST_EXPORTS, Math.floor(length / 4)); index++) {
    const name = text(u32(namesAt + index * 4));
    const place = u16(ordinalsAt + index * 2);
    if (name === undefined || place >= count) continue;
    append(names, place, name);
  }
  const functions = new Map<number, (string | number)[]>();
  const named = new Map<string, number>();
  const forwards = new Map<string | number, string>();
  for (let index = 0; index < count; index++) {
    const target = u32(functionsAt + index * 4);
    if (target === 0 || target >= size) continue;
    const own: (string | number)[] = names.get(index) ??
      (ordinalBase + index <= 0xffff ? [ordinalBase + index] : []);
    if (target >= rva && target < rva + length) {
      const forward = text(target);
      if (forward !== undefined) { for (const name of own) forwards.set(name, forward); }
      continue;
    }
    for (const name of own) append(functions, target, name);
    for (const name of own) if (typeof name === "string" && !named.has(name)) named.set(name, target);
  }
  return { functions, named, forwards, complete };
}

/** A zero-ended text of printable ASCII, not too long; undefined when there is none. */
function textAt(bytes: Uint8Array, at: number): string | undefined {
  const end = bytes.subarray(at, at + LONGEST_NAME + 1).indexOf(0);
  if (end <= 0) return undefined;
  const part = bytes.subarray(at, at + end);
  return part.every((byte) => byte > 0x20 && byte < 0x7f) ? String.fromCharCode(...part) : undefined;
}
