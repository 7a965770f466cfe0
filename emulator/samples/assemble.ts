// SPDX-License-Identifier: Apache-2.0
/**
 * Turns the texts of `asm/` into programs: Intel syntax as the assembler (Keystone) takes it, and lines of our
 * own that begin with `%`:
 *
 * | line | meaning |
 * |---|---|
 * | `%section NAME ACCESS` | what follows goes into a section of this name; access is of `rwx` |
 * | `%import DLL FUNCTION, …` | imports functions; each name is the label of its slot in the import table |
 * | `%entry LABEL` | the first instruction |
 * | `%tls LABEL` | the TLS directory |
 * | `%without-nx` | the program does not ask for DEP: under OptIn its data may run |
 * | `%payload FROM TO` | what the program hides: the bytes between two labels as they are before encryption |
 * | `%encrypt FROM TO KEY` | after assembly the bytes between two labels are XORed with a byte; in order |
 * | `%rc4 FROM TO KEY` | the same with RC4 and the ASCII text of the key |
 * | `%marker` | the bytes that the self-test's rule looks for |
 *
 * A `;` begins a comment.
 *
 * @module
 */
import { MARKER } from "./marker.ts";
import { writePe } from "./pe_writer.ts";

const IMAGE_BASE = 0x40_0000;
const FIRST_SECTION = IMAGE_BASE + 0x1000;

/** Assembles text for an address; throws with the assembler's reason. */
export type Assembler = (text: string, address: number) => Uint8Array;

/** What a text makes. */
export interface Assembled {
  /** The PE file. */
  readonly file: Uint8Array<ArrayBuffer>;
  /** What it hides, piece by piece, in the clear. */
  readonly payloads: readonly Uint8Array[];
}

/** The bytes between two labels. */
interface Range {
  readonly from: string;
  readonly to: string;
}

/** A text taken apart. */
interface Source {
  readonly sections: { readonly name: string; readonly access: string; readonly lines: string[] }[];
  readonly imports: Map<string, string[]>;
  readonly encrypt: (Range & { readonly cipher: "%encrypt" | "%rc4"; readonly key: string })[];
  readonly payloads: Range[];
  entry: string;
  tls?: string;
  nx: boolean;
}

const REGISTERS = /^(e?[abcd]x|e?[sd]i|e?[sb]p|[cdefgs]s)$/;

/** Keystone takes the operand of `push label` for a byte. */
function pushOfLabel(line: string): string[] | undefined {
  const label = /^push\s+([a-z_][a-z_0-9]*)$/i.exec(line)?.[1];
  return label === undefined || REGISTERS.test(label) ? undefined : [".byte 0x68", `.long ${label}`];
}

function parse(name: string, text: string): Source {
  const source: Source = {
    sections: [],
    imports: new Map(),
    encrypt: [],
    payloads: [],
    entry: "",
    nx: true,
  };
  for (const [index, whole] of text.split("\n").entries()) {
    const line = whole.replace(/;.*$/, "").trim();
    if (line === "") continue;
    const [directive, ...words] = line.split(/[\s,]+/);
    const section = source.sections.at(-1);
    const fail = (reason: string): never => {
      throw new Error(`Cannot assemble ${name}, line ${index + 1} ("${line}"): ${reason}`);
    };
    if (directive === "%section") {
      if (words.length !== 2) fail("a name and an access are wanted");
      source.sections.push({ name: words[0], access: words[1], lines: [] });
    } else if (directive === "%import") {
      const known = source.imports.get(words[0]) ?? [];
      source.imports.set(words[0], [...known, ...words.slice(1)]);
    } else if (directive === "%entry") {
      source.entry = words[0];
    } else if (directive === "%tls") {
      source.tls = words[0];
    } else if (directive === "%without-nx") {
      source.nx = false;
    } else if (directive === "%payload") {
      if (words.length !== 2) fail("two labels are wanted");
      source.payloads.push({ from: words[0], to: words[1] });
    } else if (directive === "%encrypt" || directive === "%rc4") {
      if (words.length !== 3) fail("two labels and a key are wanted");
      source.encrypt.push({ cipher: directive, from: words[0], to: words[1], key: words[2] });
    } else if (!section) {
      fail("it stands before the first %section");
    } else if (directive === "%marker") {
      section.lines.push(`.ascii "${MARKER}"`);
    } else if (directive.startsWith("%")) {
      fail("there is no such directive");
    } else {
      section.lines.push(...pushOfLabel(line) ?? [line]);
    }
  }
  return source;
}

/** The import section as text: directory, address table (its slots carry the functions' names), names. */
function importSection(imports: Source["imports"]): string[] {
  const rva = (label: string) => `.long ${label} - ${IMAGE_BASE}`;
  const directory: string[] = [];
  const tables: string[] = [];
  const names: string[] = [];
  for (const [number, [dll, functions]] of [...imports].entries()) {
    // No lookup table: the loader takes the names from the address table, as with old linkers.
    directory.push(".long 0, 0, 0", rva(`dll_${number}`), rva(`table_${number}`));
    names.push(`dll_${number}:`, `.asciz "${dll}"`);
    tables.push(`table_${number}:`);
    for (const name of functions) {
      tables.push(`${name}:`, rva(`name_${name}`));
      names.push(".p2align 1, 0", `name_${name}:`, ".byte 0, 0", `.asciz "${name}"`);
    }
    tables.push(".long 0");
  }
  return [...directory, ".long 0, 0, 0, 0, 0", ...tables, ...names];
}

/** RC4 (the same both ways). */
export function rc4(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  const state = Uint8Array.from({ length: 256 }, (_, i) => i);
  const swap = (i: number, j: number) => [state[i], state[j]] = [state[j], state[i]];
  for (let i = 0, j = 0; i < 256; i++) {
    j = (j + state[i] + key[i % key.length]) & 255;
    swap(i, j);
  }
  let i = 0, j = 0;
  return bytes.map((byte) => {
    i = (i + 1) & 255;
    j = (j + state[i]) & 255;
    swap(i, j);
    return byte ^ state[(state[i] + state[j]) & 255];
  });
}

/**
 * The PE file that a text describes, and its payloads. All sections are assembled as one run of memory; the addresses of the
 * labels that matter come back in a table behind it. Throws an Error with the text's name for anything that
 * is not understood.
 */
export function assembleProgram(name: string, text: string, assembler: Assembler): Assembled {
  const source = parse(name, text);
  source.sections.push({ name: ".idata", access: "rw", lines: importSection(source.imports) });
  const ranges = [...source.encrypt, ...source.payloads].flatMap(({ from, to }) => [from, to]);
  const labels = [source.entry, ...source.tls === undefined ? [] : [source.tls], ...ranges];
  const body: string[] = [];
  for (const [index, { lines }] of source.sections.entries()) {
    body.push(".p2align 12, 0", `section_${index}:`, ...lines, `section_end_${index}:`);
    labels.push(`section_${index}`, `section_end_${index}`);
  }
  body.push(".p2align 12, 0", ...labels.map((label) => `.long ${label}`));
  let memory: Uint8Array;
  try {
    memory = assembler(body.join("\n"), FIRST_SECTION);
  } catch (cause) {
    throw new Error(`Cannot assemble ${name}: ${(cause as Error).message}`, { cause });
  }

  // The assembler gives nothing back, without a word, for some texts it does not take.
  if (memory.length < 4 * labels.length) throw new Error(`Cannot assemble ${name}: the assembler gave up`);
  const table = new DataView(memory.buffer, memory.byteOffset + memory.length - 4 * labels.length);
  const address = (label: string) => table.getUint32(4 * labels.indexOf(label), true);
  const between = ({ from, to }: Range) =>
    memory.subarray(address(from) - FIRST_SECTION, address(to) - FIRST_SECTION);
  const payloads = source.payloads.map((range) => between(range).slice());
  for (const { cipher, key, ...range } of source.encrypt) {
    const bytes = between(range);
    const byte = Number(key);
    bytes.set(
      cipher === "%rc4" ? rc4(new TextEncoder().encode(key), bytes) : bytes.map((clear) => clear ^ byte),
    );
  }
  const sections = source.sections.map(({ name, access }, index) => {
    const [start, end] = [address(`section_${index}`), address(`section_end_${index}`)];
    return {
      name,
      access,
      rva: start - IMAGE_BASE,
      bytes: memory.slice(start - FIRST_SECTION, end - FIRST_SECTION),
    };
  });
  const file = writePe({
    imageBase: IMAGE_BASE,
    entryPoint: address(source.entry) - IMAGE_BASE,
    sections,
    imports: { rva: sections.at(-1)!.rva, size: 20 * (source.imports.size + 1) },
    tls: source.tls === undefined ? undefined : address(source.tls) - IMAGE_BASE,
    nx: source.nx,
  });
  return { file, payloads };
}

/** The assembler of npm's `keystone-wasm`, for 32-bit x86 code. */
export async function loadAssembler(): Promise<Assembler> {
  const { Const, Keystone, loadKeystone } = await import("keystone-wasm");
  await loadKeystone();
  const keystone = new Keystone(Const.KS_ARCH_X86, Const.KS_MODE_32);
  return (text, address) => keystone.asm(text, { address });
}
