// SPDX-License-Identifier: Apache-2.0
/** shlwapi.dll: paths and strings. @module */
import type { ApiCall, DllDefinition, Handler } from "../api.ts";
import { both, define, type Handlers } from "./define.ts";
import known from "./known/shlwapi.json" with { type: "json" };
import { collate } from "./kernel32/string.ts";
import { Arguments, format, variadic } from "./msvcrt/printf.ts";
import { leadingInteger } from "./msvcrt/stdlib.ts";
import { fullPath, isDirectory, isFile, matches } from "./shared/filesystem.ts";
import { encode, lower, store, text } from "./shared/text.ts";

const MAX_PATH = 260;

const step = (wide: boolean) => wide ? 2 : 1;
const at = (base: number, index: number, wide: boolean) => base + index * step(wide);

/** A function that rewrites a path in place: its result is the new text, or undefined to leave it. */
const rewrite =
  (change: (path: string) => string | undefined) => (wide: boolean): Handler => (call, path) => {
    if (path === 0) return 0;
    const changed = change(text(call, path, wide, MAX_PATH));
    if (changed === undefined) return 0;
    store(call, path, changed.slice(0, MAX_PATH - 1), wide);
    return 1;
  };

const lastSlash = (path: string) => Math.max(path.lastIndexOf("\\"), path.lastIndexOf("/"));
const fileStart = (path: string) => {
  const cut = Math.max(lastSlash(path.replace(/[\\/]+$/, "")), path.lastIndexOf(":")) + 1;
  return cut;
};
const extensionStart = (path: string) => {
  const dot = path.lastIndexOf(".");
  return dot > lastSlash(path) && !path.slice(dot).includes(" ") ? dot : path.length;
};
const isRelative = (path: string) => !/^([A-Za-z]:|[\\/])/.test(path);
const withSlash = (path: string) => path === "" || /\\$/.test(path) ? path : path + "\\";

/** `.` and `..` taken out. */
function canonical(path: string): string {
  const drive = /^[A-Za-z]:/.exec(path)?.[0] ?? "";
  const rest = path.slice(drive.length);
  const parts: string[] = [];
  for (const part of rest.split("\\")) {
    if (part === "..") {
      if (parts.length > 1 || (parts.length === 1 && parts[0] !== "")) parts.pop();
    } else if (part !== ".") parts.push(part);
  }
  const joined = drive + parts.join("\\");
  return joined === drive && rest.startsWith("\\") ? drive + "\\" : joined;
}

function combine(call: ApiCall, wide: boolean, target: number, directory: number, file: number): number {
  const [a, b] = [text(call, directory, wide, MAX_PATH), text(call, file, wide, MAX_PATH)];
  const joined = b === ""
    ? a
    : isRelative(b)
    ? withSlash(a) + b
    : /^\\(?!\\)/.test(b)
    ? a.slice(0, 2) + b
    : b;
  const path = canonical(joined);
  if (path.length >= MAX_PATH) return 0;
  store(call, target, path, wide);
  return target;
}

const find = (index: (value: string, part: string) => number) => (wide: boolean): Handler => (call, a, b) => {
  if (a === 0 || b === 0) return 0;
  const found = index(text(call, a, wide), text(call, b, wide));
  return found < 0 ? 0 : at(a, found, wide);
};
const fold = (ignoreCase: boolean, value: string) => ignoreCase ? lower(value) : value;
const character = (unit: number, wide: boolean) => String.fromCharCode(unit & (wide ? 0xffff : 0xff));
const findFirst = (ignoreCase: boolean) => (wide: boolean): Handler => (call, a, unit) => {
  if (a === 0) return 0;
  const found = fold(ignoreCase, text(call, a, wide)).indexOf(fold(ignoreCase, character(unit, wide)));
  return found < 0 ? 0 : at(a, found, wide);
};
/** The end of the text may be given; without it the text ends at its zero. */
const findLast = (ignoreCase: boolean) => (wide: boolean): Handler => (call, a, end, unit) => {
  if (a === 0) return 0;
  const value = text(call, a, wide, end > a ? (end - a) / step(wide) : undefined);
  const found = fold(ignoreCase, value).lastIndexOf(fold(ignoreCase, character(unit, wide)));
  return found < 0 ? 0 : at(a, found, wide);
};
const compare = (ignoreCase: boolean) => (wide: boolean): Handler => (call, a, b) =>
  collate(text(call, a, wide), text(call, b, wide), ignoreCase);
const compareStart = (ignoreCase: boolean) => (wide: boolean): Handler => (call, a, b, max) => {
  const limit = Math.min(max, 0x100000);
  return collate(text(call, a, wide, limit), text(call, b, wide, limit), ignoreCase);
};

/** Three digits, the rest cut off. */
function threeDigits(value: number): string {
  const places = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return (Math.floor(value * 10 ** places) / 10 ** places).toFixed(places);
}

const handlers: Handlers = {
  ...both({
    PathAddBackslash: (wide) => (call, path) => {
      const value = withSlash(text(call, path, wide, MAX_PATH));
      if (value.length >= MAX_PATH) return 0;
      store(call, path, value, wide);
      return at(path, value.length, wide);
    },
    PathRemoveBackslash: (wide) => (call, path) => {
      const value = text(call, path, wide, MAX_PATH).replace(/\\$/, "");
      store(call, path, value, wide);
      return at(path, value.length, wide);
    },
    PathRemoveFileSpec: rewrite((path) => {
      const cut = lastSlash(path);
      if (cut < 0) return undefined;
      return cut === 2 && path[1] === ":"
        ? path.slice(0, 3)
        : path.slice(0, Math.max(cut, path[0] === "\\" ? 1 : 0));
    }),
    PathRemoveExtension: rewrite((path) => path.slice(0, extensionStart(path))),
    PathStripPath: rewrite((path) => path.slice(fileStart(path))),
    PathStripToRoot: rewrite((path) => /^([A-Za-z]:\\|\\\\[^\\]+\\[^\\]+|\\)/.exec(path)?.[0]),
    PathRemoveBlanks: rewrite((path) => path.trim()),
    PathUnquoteSpaces: rewrite((path) => /^".*"$/s.test(path) ? path.slice(1, -1) : undefined),
    PathQuoteSpaces: rewrite((path) => path.includes(" ") ? `"${path}"` : undefined),
    PathAppend: (wide) => (call, path, more) => {
      const plain = text(call, more, wide, MAX_PATH).replace(/^\\+/, "");
      const joined = canonical(withSlash(text(call, path, wide, MAX_PATH)) + plain);
      if (joined.length >= MAX_PATH) return 0;
      store(call, path, joined, wide);
      return 1;
    },
    PathCombine: (wide) => (call, target, directory, file) => combine(call, wide, target, directory, file),
    PathCanonicalize: (wide) => (call, target, path) => {
      store(call, target, canonical(text(call, path, wide, MAX_PATH)), wide);
      return 1;
    },
    PathAddExtension: (wide) => (call, path, extension) => {
      const value = text(call, path, wide, MAX_PATH);
      if (extensionStart(value) < value.length) return 0;
      store(call, path, value + (extension ? text(call, extension, wide, 64) : ".exe"), wide);
      return 1;
    },
    PathRenameExtension: (wide) => (call, path, extension) => {
      const value = text(call, path, wide, MAX_PATH);
      store(call, path, value.slice(0, extensionStart(value)) + text(call, extension, wide, 64), wide);
      return 1;
    },
    PathFindFileName: (wide) => (call, path) =>
      path ? at(path, fileStart(text(call, path, wide, 4096)), wide) : 0,
    PathFindExtension: (wide) => (call, path) =>
      path ? at(path, extensionStart(text(call, path, wide, 4096)), wide) : 0,
    PathGetArgs: (wide) => (call, path) => {
      const value = text(call, path, wide, 4096);
      let quoted = false;
      for (let i = 0; i < value.length; i++) {
        if (value[i] === '"') quoted = !quoted;
        if (value[i] === " " && !quoted) return at(path, i + 1, wide);
      }
      return at(path, value.length, wide);
    },
    PathFileExists: (wide) => (call, path) => {
      const full = fullPath(call, text(call, path, wide, MAX_PATH));
      return path !== 0 && (isFile(call, full) || isDirectory(call, full)) ? 1 : call.fail(2);
    },
    PathIsDirectory: (wide) => (call, path) => {
      const full = fullPath(call, text(call, path, wide, MAX_PATH));
      return isDirectory(call, full) && !isFile(call, full) ? 16 : 0;
    },
    PathIsRelative: (wide) => (call, path) => isRelative(text(call, path, wide, MAX_PATH)) ? 1 : 0,
    PathIsRoot: (wide) => (call, path) => /^([A-Za-z]:\\|\\)$/.test(text(call, path, wide, MAX_PATH)) ? 1 : 0,
    PathIsUNC: (wide) => (call, path) => text(call, path, wide, MAX_PATH).startsWith("\\\\") ? 1 : 0,
    PathIsURL: (wide) => (call, path) => /^[a-z][a-z0-9+.-]+:/i.test(text(call, path, wide, 2048)) ? 1 : 0,
    PathIsFileSpec: (wide) => (call, path) => /[\\:]/.test(text(call, path, wide, MAX_PATH)) ? 0 : 1,
    PathIsNetworkPath: (wide) => (call, path) => text(call, path, wide, MAX_PATH).startsWith("\\\\") ? 1 : 0,
    PathGetDriveNumber: (wide) => (call, path) => {
      const value = lower(text(call, path, wide, 4));
      return /^[a-z]:/.test(value) ? value.charCodeAt(0) - 97 : -1;
    },
    PathMatchSpec: (wide) => (call, name, specs) => {
      const value = text(call, name, wide, MAX_PATH);
      return text(call, specs, wide, 1024).split(";").some((spec) => matches(spec.trim(), value)) ? 1 : 0;
    },
    StrStr: find((value, part) => value.indexOf(part)),
    StrStrI: find((value, part) => lower(value).indexOf(lower(part))),
    StrChr: findFirst(false),
    StrChrI: findFirst(true),
    StrRChr: findLast(false),
    StrRChrI: findLast(true),
    StrCmpN: compareStart(false),
    StrCmpNI: compareStart(true),
    StrCatBuff: (wide) => (call, target, source, capacity) => {
      const value = text(call, target, wide, capacity) + text(call, source, wide);
      store(call, target, value.slice(0, Math.max(0, capacity - 1)), wide);
      return target;
    },
    StrDup: (wide) => (call, source) => {
      const bytes = encode(text(call, source, wide), wide, true);
      const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
      if (block) call.memory.setBytes(block, bytes);
      return block;
    },
    StrToInt: (wide) => (call, source) =>
      Number(BigInt.asIntN(32, leadingInteger(text(call, source, wide, 64), 10).value)),
    StrToIntEx: (wide) => (call, source, flags, result) => {
      const found = leadingInteger(text(call, source, wide, 64), flags & 1 ? 0 : 10);
      if (found.used === 0) return 0;
      call.memory.setU32(result, Number(BigInt.asUintN(32, found.value)));
      return 1;
    },
    StrTrim: (wide) => (call, target, set) => {
      const value = text(call, target, wide);
      const chars = text(call, set, wide);
      let [start, end] = [0, value.length];
      while (start < end && chars.includes(value[start])) start++;
      while (end > start && chars.includes(value[end - 1])) end--;
      if (start === 0 && end === value.length) return 0;
      store(call, target, value.slice(start, end), wide);
      return 1;
    },
    StrFormatByteSize: (wide) => (call, ...args) => {
      // The wide function takes 64 bits, the narrow one 32.
      const [size, buffer, capacity] = wide ? [args[0] + args[1] * 2 ** 32, args[2], args[3]] : args;
      let [value, unit] = [size, 0];
      while (value >= 1000 && unit < 4) value /= 1024, unit++;
      const shown = unit === 0
        ? `${value} bytes`
        : `${threeDigits(value)} ${["", "KB", "MB", "GB", "TB"][unit]}`;
      if (capacity > 0) store(call, buffer, shown.slice(0, capacity - 1), wide);
      return buffer;
    },
    wnsprintf: (wide) => (call, buffer, capacity, picture) =>
      printed(call, wide, buffer, capacity, picture, variadic(call, 3)),
    wvnsprintf: (wide) => (call, buffer, capacity, picture, list) =>
      printed(call, wide, buffer, capacity, picture, new Arguments(call, list)),
  }),
  SHAutoComplete: () => 0,
  StrCmpW: compare(false)(true),
  StrCmpIW: compare(true)(true),
  StrCpyNW: (call, target, source, max) => {
    if ((max | 0) > 0) store(call, target, text(call, source, true, max - 1), true);
    return target;
  },
  StrCpyW: (call, target, source) => {
    store(call, target, text(call, source, true), true);
    return target;
  },
  StrCatW: (call, target, source) => {
    store(call, at(target, text(call, target, true).length, true), text(call, source, true), true);
    return target;
  },
};

function printed(
  call: ApiCall,
  wide: boolean,
  buffer: number,
  capacity: number,
  picture: number,
  args: Arguments,
) {
  const value = format(call, text(call, picture, wide, 4096), args, wide);
  if ((capacity | 0) <= 0) return -1;
  store(call, buffer, value.slice(0, capacity - 1), wide);
  return value.length < capacity ? value.length : -1;
}

export const shlwapi: DllDefinition = define({
  name: "shlwapi.dll",
  base: 0x76300000,
  known,
  handlers: [handlers],
});
