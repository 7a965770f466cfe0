// SPDX-License-Identifier: Apache-2.0
/**
 * Reads GNU import libraries (`lib….a`): which functions a DLL exports and how many argument words each
 * removes from the stack. Used when the data in `known/` is made, never at run time.
 *
 * @module
 */

/** One import of a library: a function or a variable of a DLL. */
export interface LibraryImport {
  /** DLL file name as the library spells it. */
  readonly dll: string;
  /** Exported name, or undefined when imported by ordinal only. */
  readonly name?: string;
  readonly ordinal?: number;
  readonly kind: "stdcall" | "cdecl" | "fastcall" | "data";
  /** Argument words that the callee removes; 0 for cdecl and data. */
  readonly words: number;
}

const MEMBER_HEADER = 60;

/** Members of a `!<arch>` file, without the symbol and name tables. */
function* members(archive: Uint8Array): Generator<Uint8Array> {
  const text = (from: number, to: number) => new TextDecoder("latin1").decode(archive.subarray(from, to));
  if (text(0, 8) !== "!<arch>\n") throw new Error("Cannot read import library: it is not an archive");
  for (let at = 8; at + MEMBER_HEADER <= archive.length;) {
    const name = text(at, at + 16).trim();
    const size = Number(text(at + 48, at + 58).trim());
    const body = at + MEMBER_HEADER;
    if (name !== "/" && name !== "//") yield archive.subarray(body, body + size);
    at = body + size + (size & 1);
  }
}

interface ObjectFile {
  sections: Map<string, Uint8Array>;
  symbols: { name: string; section: number; external: boolean }[];
}

/** Sections and symbols of a COFF object (PE specification, 3 and 5.4). */
function readObject(bytes: Uint8Array): ObjectFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const latin = (from: number, to: number) => {
    let end = from;
    while (end < to && bytes[end] !== 0) end++;
    return new TextDecoder("latin1").decode(bytes.subarray(from, end));
  };
  const sectionCount = view.getUint16(2, true);
  const symbolTable = view.getUint32(8, true);
  const symbolCount = view.getUint32(12, true);
  const strings = symbolTable + symbolCount * 18;
  const sections = new Map<string, Uint8Array>();
  for (let i = 0; i < sectionCount; i++) {
    const header = 20 + view.getUint16(16, true) + i * 40;
    const size = view.getUint32(header + 16, true);
    const raw = view.getUint32(header + 20, true);
    sections.set(latin(header, header + 8), bytes.subarray(raw, raw + size));
  }
  const symbols: ObjectFile["symbols"] = [];
  for (let i = 0; i < symbolCount; i++) {
    const at = symbolTable + i * 18;
    const name = view.getUint32(at, true) === 0
      ? latin(strings + view.getUint32(at + 4, true), bytes.length)
      : latin(at, at + 8);
    symbols.push({ name, section: view.getInt16(at + 12, true), external: bytes[at + 16] === 2 });
    i += bytes[at + 17];
  }
  return { sections, symbols };
}

/** Most argument words that a function takes. */
const MAX_WORDS = 64;

/** Calling convention and argument words of a decorated C symbol (`_f@8`, `_f`, `@f@8`). */
function decoration(symbol: string): Pick<LibraryImport, "kind" | "words"> {
  const size = /@(\d+)$/.exec(symbol);
  const words = size ? Number(size[1]) >>> 2 : 0;
  // Some variables carry an offset where functions carry the size of their arguments.
  if (words > MAX_WORDS) return { kind: "data", words: 0 };
  if (symbol.startsWith("@")) return { kind: "fastcall", words: Math.max(0, words - 2) };
  return size ? { kind: "stdcall", words } : { kind: "cdecl", words: 0 };
}

/** All imports of a library made by dlltool; objects that are no import thunks are passed over. */
export function readImportLibrary(archive: Uint8Array): LibraryImport[] {
  const found: (Omit<LibraryImport, "dll"> & { head: string })[] = [];
  const dllOfName = new Map<string, string>();
  const nameOfHead = new Map<string, string>();
  for (const body of members(archive)) {
    const object = readObject(body);
    const defined = object.symbols.filter((symbol) => symbol.external && symbol.section > 0);
    const wanted = object.symbols.filter((symbol) => symbol.external && symbol.section === 0);
    const iname = defined.find((symbol) => symbol.name.endsWith("_iname"));
    const dllName = object.sections.get(".idata$7");
    if (iname && dllName) {
      dllOfName.set(iname.name, new TextDecoder("latin1").decode(dllName).replace(/\0.*$/s, ""));
      continue;
    }
    const head = defined.find((symbol) => /^_+head_/.test(symbol.name));
    if (head) {
      nameOfHead.set(head.name, wanted.find((symbol) => symbol.name.endsWith("_iname"))?.name ?? "");
      continue;
    }
    const pointer = defined.find((symbol) => symbol.name.startsWith("__imp_"));
    const headName = wanted.find((symbol) => /^_+head_/.test(symbol.name))?.name;
    const thunk = object.sections.get(".idata$5");
    if (!pointer || !headName || !thunk || thunk.length < 4) continue;
    const code = object.sections.get(".text")?.length;
    const plain = code
      ? decoration(pointer.name.slice("__imp_".length))
      : { kind: "data" as const, words: 0 };
    const hintName = object.sections.get(".idata$6");
    const lookup = new DataView(thunk.buffer, thunk.byteOffset).getUint32(0, true);
    if (lookup & 0x80000000) found.push({ ...plain, ordinal: lookup & 0xffff, head: headName });
    else if (hintName && hintName.length > 2) {
      const name = new TextDecoder("latin1").decode(hintName.subarray(2)).replace(/\0.*$/s, "");
      found.push({ ...plain, name, head: headName });
    }
  }
  return found.map(({ head, ...rest }) => ({
    ...rest,
    dll: dllOfName.get(nameOfHead.get(head) ?? "") ?? "",
  }));
}
