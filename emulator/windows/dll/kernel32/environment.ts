// SPDX-License-Identifier: Apache-2.0
/** kernel32: environment variables, INI files, atoms. @module */
import type { ApiCall } from "../../api.ts";
import { both, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { contentOf, fullPath } from "../shared/filesystem.ts";
import { encode, fill, fromAnsi, store, text, toAnsi } from "../shared/text.ts";

/** Value of a variable, its name in any case. */
export function variable(call: ApiCall, name: string): string | undefined {
  const wanted = name.toUpperCase();
  for (const [key, value] of call.environment) if (key.toUpperCase() === wanted) return value;
  return undefined;
}

/** Sets a variable, or removes it. */
export function setVariable(call: ApiCall, name: string, value: string | undefined): void {
  const wanted = name.toUpperCase();
  const key = [...call.environment.keys()].find((other) => other.toUpperCase() === wanted);
  if (value !== undefined) call.environment.set(key ?? name, value);
  else if (key !== undefined) call.environment.delete(key);
}

/** `%NAME%` replaced where the variable exists. */
export function expand(call: ApiCall, value: string): string {
  return value.replace(/%([^%]+)%/g, (whole, name) => variable(call, name) ?? whole).slice(0, 32768);
}

/** All variables as a block of `name=value` strings, sorted, in a new heap block. */
export function environmentBlock(call: ApiCall, wide: boolean): number {
  const lines = [...call.environment].map(([name, value]) => `${name}=${value}\0`).sort();
  const bytes = encode(lines.join("") + "\0", wide);
  const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
  if (block) call.memory.setBytes(block, bytes);
  return block;
}

type Ini = { section: string; keys: [string, string][] }[];

function parseIni(value: string): Ini {
  const sections: Ini = [];
  for (const line of value.split(/\r?\n/)) {
    const head = /^\s*\[([^\]]*)\]/.exec(line);
    if (head) sections.push({ section: head[1].trim(), keys: [] });
    const cut = line.indexOf("=");
    if (!head && cut > 0 && !line.trimStart().startsWith(";")) {
      sections.at(-1)?.keys.push([line.slice(0, cut).trim(), line.slice(cut + 1).trim()]);
    }
  }
  return sections;
}

const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();

function iniPath(call: ApiCall, file: number, wide: boolean): string {
  const name = file ? text(call, file, wide, 1024) : "win.ini";
  return /[\\/]/.test(name) ? fullPath(call, name) : `C:\\Windows\\${name}`;
}

const readIni = (call: ApiCall, path: string) =>
  parseIni(fromAnsi(contentOf(call, path) ?? new Uint8Array(0)));

/** A value, or lists of keys or sections (zero-separated) where the argument is null. */
function iniString(
  call: ApiCall,
  wide: boolean,
  section: number,
  key: number,
  fallback: number,
  buffer: number,
  capacity: number,
  file: number,
) {
  const ini = readIni(call, iniPath(call, file, wide));
  const wanted = text(call, section, wide, 260);
  const found = ini.find((other) => same(other.section, wanted));
  const isList = section === 0 || key === 0;
  let value: string;
  if (section === 0) value = ini.map((other) => other.section + "\0").join("");
  else if (key === 0) value = (found?.keys ?? []).map(([name]) => name + "\0").join("");
  else {
    const name = text(call, key, wide, 260);
    value = found?.keys.find(([other]) => same(other, name))?.[1] ??
      text(call, fallback, wide, 0x8000).trimEnd();
    if (/^(".*"|'.*')$/.test(value)) value = value.slice(1, -1);
  }
  if (capacity === 0) return 0;
  const room = capacity - (isList ? 2 : 1);
  const cut = value.slice(0, Math.max(0, room));
  store(call, buffer, cut, wide);
  return cut.length;
}

function writeIni(call: ApiCall, wide: boolean, section: number, key: number, value: number, file: number) {
  const path = iniPath(call, file, wide);
  const ini = readIni(call, path);
  const wanted = text(call, section, wide, 260);
  let found = ini.find((other) => same(other.section, wanted));
  if (!found) ini.push(found = { section: wanted, keys: [] });
  if (key === 0) found.keys.length = 0;
  else {
    const name = text(call, key, wide, 260);
    const at = found.keys.findIndex(([other]) => same(other, name));
    if (value === 0) {
      if (at >= 0) found.keys.splice(at, 1);
    } else {found.keys.splice(at >= 0 ? at : found.keys.length, at >= 0 ? 1 : 0, [
        name,
        text(call, value, wide, 4096),
      ]);}
  }
  const out = ini.map((other) =>
    `[${other.section}]\r\n${other.keys.map(([k, v]) => `${k}=${v}\r\n`).join("")}`
  );
  return call.files.write(path, toAnsi(out.join(""))) ? 1 : call.fail(Win32.accessDenied);
}

interface Atoms {
  readonly names: Map<number, string>;
  next: number;
}

const atoms = (call: ApiCall, scope: string) =>
  call.state<Atoms>(`atoms:${scope}`, () => ({ names: new Map(), next: 0xc000 }));

/** Number of an atom; made if asked. 0 when there is none. */
export function atom(call: ApiCall, scope: string, name: string, make: boolean): number {
  const number = /^#(\d+)$/.exec(name);
  if (number) return Number(number[1]) & 0xffff;
  const table = atoms(call, scope);
  for (const [key, value] of table.names) if (same(value, name)) return key;
  if (!make || table.next > 0xffff || name === "") return call.fail(Win32.fileNotFound);
  table.names.set(table.next, name);
  return table.next++;
}

/** Text of an atom, or undefined. */
export function atomName(call: ApiCall, scope: string, value: number): string | undefined {
  return value < 0xc000 ? (value === 0 ? undefined : `#${value}`) : atoms(call, scope).names.get(value);
}

const atomFunctions = (prefix: string, scope: string) =>
  both({
    [`${prefix}AddAtom`]: (wide) => (call, name) =>
      name < 0xc000 ? name : atom(call, scope, text(call, name, wide, 255), true),
    [`${prefix}FindAtom`]: (wide) => (call, name) =>
      name < 0xc000 ? name : atom(call, scope, text(call, name, wide, 255), false),
    [`${prefix}GetAtomName`]: (wide) => (call, value, buffer, capacity) => {
      const name = atomName(call, scope, value & 0xffff);
      if (name === undefined || capacity === 0) return call.fail(Win32.invalidHandle);
      store(call, buffer, name.slice(0, capacity - 1), wide);
      return Math.min(name.length, capacity - 1);
    },
  });

export const environment: Handlers = {
  ...both({
    GetEnvironmentVariable: (wide) => (call, name, buffer, capacity) => {
      const value = variable(call, text(call, name, wide, 32767));
      return value === undefined
        ? call.fail(Win32.envvarNotFound)
        : fill(call, buffer, capacity, value, wide);
    },
    SetEnvironmentVariable: (wide) => (call, name, value) => {
      const key = text(call, name, wide, 32767);
      if (key === "" || key.includes("=")) return call.fail(Win32.invalidParameter);
      setVariable(call, key, value ? text(call, value, wide, 32767) : undefined);
      return 1;
    },
    ExpandEnvironmentStrings: (wide) => (call, source, buffer, capacity) => {
      const value = expand(call, text(call, source, wide, 32767));
      const written = fill(call, buffer, capacity, value, wide);
      return written === value.length ? written + 1 : written;
    },
    FreeEnvironmentStrings: () => (call, block) => call.heaps.free(call.heaps.processHeap, block) ? 1 : 0,
    GetPrivateProfileString: (wide) => (call, section, key, fallback, buffer, capacity, file) =>
      iniString(call, wide, section, key, fallback, buffer, capacity, file),
    GetProfileString: (wide) => (call, section, key, fallback, buffer, capacity) =>
      iniString(call, wide, section, key, fallback, buffer, capacity, 0),
    GetPrivateProfileInt: (wide) => (call, section, key, fallback, file) =>
      iniNumber(call, wide, section, key, fallback, file),
    GetProfileInt: (wide) => (call, section, key, fallback) =>
      iniNumber(call, wide, section, key, fallback, 0),
    WritePrivateProfileString: (wide) => (call, section, key, value, file) =>
      section === 0 ? 1 : writeIni(call, wide, section, key, value, file),
    WriteProfileString: (wide) => (call, section, key, value) => writeIni(call, wide, section, key, value, 0),
    GetPrivateProfileSection: (wide) => (call, section, buffer, capacity, file) => {
      const wanted = text(call, section, wide, 260);
      const found = readIni(call, iniPath(call, file, wide)).find((other) => same(other.section, wanted));
      const value = (found?.keys ?? []).map(([k, v]) => `${k}=${v}\0`).join("").slice(
        0,
        Math.max(0, capacity - 2),
      );
      store(call, buffer, value, wide);
      return value.length;
    },
    GetPrivateProfileSectionNames: (wide) => (call, buffer, capacity, file) =>
      iniString(call, wide, 0, 0, 0, buffer, capacity, file),
  }),
  GetEnvironmentStrings: (call) => environmentBlock(call, false),
  GetEnvironmentStringsA: (call) => environmentBlock(call, false),
  GetEnvironmentStringsW: (call) => environmentBlock(call, true),
  ...atomFunctions("", "process"),
  ...atomFunctions("Global", "global"),
  DeleteAtom: () => 0,
  GlobalDeleteAtom: () => 0,
  InitAtomTable: () => 1,
};

function iniNumber(
  call: ApiCall,
  wide: boolean,
  section: number,
  key: number,
  fallback: number,
  file: number,
) {
  const wanted = text(call, section, wide, 260);
  const name = text(call, key, wide, 260);
  const ini = readIni(call, iniPath(call, file, wide));
  const value = ini.find((other) => same(other.section, wanted))?.keys.find(([other]) => same(other, name))
    ?.[1];
  if (value === undefined) return fallback;
  const parsed = parseInt(value, /^\s*-?0x/i.test(value) ? 16 : 10);
  return Number.isNaN(parsed) ? 0 : parsed >>> 0;
}
