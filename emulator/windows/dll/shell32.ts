// SPDX-License-Identifier: Apache-2.0
/** shell32.dll: folders, starting programs, file operations. @module */
import type { ApiCall, DllDefinition } from "../api.ts";
import { both, constant, define, type Handlers } from "./define.ts";
import known from "./known/shell32.json" with { type: "json" };
import { run } from "./kernel32/process.ts";
import { splitCommandLine } from "./msvcrt/startup.ts";
import {
  closeFile,
  contentOf,
  fullPath,
  isDirectory,
  isFile,
  openFile,
  removeFile,
  writeFile,
} from "./shared/filesystem.ts";
import { shellOrdinals } from "./ordinals.ts";
import { shlwapi } from "./shlwapi.ts";
import { encode, store, text } from "./shared/text.ts";

const PROFILE = "C:\\Users\\user";
const ROAMING = `${PROFILE}\\AppData\\Roaming`;
const MENU = "Microsoft\\Windows\\Start Menu";

/** CSIDL_… numbers (shlobj.h). */
const FOLDERS: Record<number, string> = {
  0x00: `${PROFILE}\\Desktop`,
  0x02: `${ROAMING}\\${MENU}\\Programs`,
  0x05: `${PROFILE}\\Documents`,
  0x06: `${PROFILE}\\Favorites`,
  0x07: `${ROAMING}\\${MENU}\\Programs\\Startup`,
  0x08: `${ROAMING}\\Microsoft\\Windows\\Recent`,
  0x09: `${ROAMING}\\Microsoft\\Windows\\SendTo`,
  0x0b: `${ROAMING}\\${MENU}`,
  0x0d: `${PROFILE}\\Music`,
  0x0e: `${PROFILE}\\Videos`,
  0x10: `${PROFILE}\\Desktop`,
  0x14: "C:\\Windows\\Fonts",
  0x15: `${ROAMING}\\Microsoft\\Windows\\Templates`,
  0x16: `C:\\ProgramData\\${MENU}`,
  0x17: `C:\\ProgramData\\${MENU}\\Programs`,
  0x18: `C:\\ProgramData\\${MENU}\\Programs\\Startup`,
  0x19: "C:\\Users\\Public\\Desktop",
  0x1a: ROAMING,
  0x1c: `${PROFILE}\\AppData\\Local`,
  0x20: `${PROFILE}\\AppData\\Local\\Microsoft\\Windows\\Temporary Internet Files`,
  0x21: `${ROAMING}\\Microsoft\\Windows\\Cookies`,
  0x23: "C:\\ProgramData",
  0x24: "C:\\Windows",
  0x25: "C:\\Windows\\system32",
  0x26: "C:\\Program Files",
  0x27: `${PROFILE}\\Pictures`,
  0x28: PROFILE,
  0x2b: "C:\\Program Files\\Common Files",
  0x2e: "C:\\Users\\Public\\Documents",
};

const E_INVALIDARG = 0x80070057;
const E_NOTIMPL = 0x80004001;

/** FOLDERID_… by the first word of its GUID (knownfolders.h). */
const KNOWN_FOLDERS = new Map<number, string>([
  [0x3eb685db, FOLDERS[0x1a]],
  [0xf1b32785, FOLDERS[0x1c]],
  [0xb4bfcc3a, FOLDERS[0x00]],
  [0xfdd39ad0, FOLDERS[0x05]],
  [0x62ab5d82, FOLDERS[0x23]],
  [0x905e63b6, FOLDERS[0x26]],
  [0xf38bf404, FOLDERS[0x24]],
  [0x1ac14e77, FOLDERS[0x25]],
  [0x5e6c858f, FOLDERS[0x28]],
  [0xb97d20bb, FOLDERS[0x07]],
  [0x374de290, `${PROFILE}\\Downloads`],
]);

const noInterface = (call: ApiCall, result: number) => {
  call.memory.setU32(result, 0);
  return E_NOTIMPL;
};

/** Item ID lists made here are the folder's number in a heap block. */
function itemList(call: ApiCall, csidl: number, result: number): number {
  const list = call.heaps.allocate(call.heaps.processHeap, 8, true);
  call.memory.setU16(list, 6);
  call.memory.setU32(list + 2, csidl & 0xff);
  call.memory.setU32(result, list);
  return 0;
}

/** SHELLEXECUTEINFO: the flag that asks for the process, and where it goes. */
const SEE_MASK_NOCLOSEPROCESS = 0x40;
const EXECUTE_PROCESS = 0x38;

/** Starts a program or opens a document; `keep` is where the handle of its process is wanted, 0: nowhere. */
function execute(call: ApiCall, file: string, parameters: string, verb: string, keep = 0): number {
  if (/^(https?|ftp|mailto):/i.test(file)) {
    call.print(`[open] ${file}\n`);
    return 42;
  }
  if (verb !== "" && !/^(open|runas)$/i.test(verb)) return 31;
  const made = run(call, `"${file}" ${parameters}`.trim());
  if (!made) return isFile(call, fullPath(call, file)) ? 31 : 2;
  call.handles.close(made.thread);
  if (keep) call.memory.setU32(keep, made.process);
  else call.handles.close(made.process);
  return 42;
}

function argumentsOf(call: ApiCall, line: number, count: number): number {
  const values = splitCommandLine(line ? text(call, line, true, 32767) || call.imagePath : call.commandLine);
  const bytes = values.map((value) => encode(value, true, true));
  const head = 4 * (values.length + 1);
  const block = call.heaps.allocate(
    call.heaps.processHeap,
    head + bytes.reduce((sum, one) => sum + one.length, 0),
    true,
  );
  let at = block + head;
  bytes.forEach((one, i) => {
    call.memory.setU32(block + 4 * i, at);
    call.memory.setBytes(at, one);
    at += one.length;
  });
  call.memory.setU32(count, values.length);
  return block;
}

/** SHFileOperation: copy, move and delete single files. */
function operate(call: ApiCall, wide: boolean, at: number): number {
  const [, kind, from, to] = [0, 4, 8, 12].map((offset) => call.memory.u32(at + offset));
  call.memory.setU32(at + 18, 0);
  const source = fullPath(call, text(call, from, wide, 1024));
  const bytes = contentOf(call, source);
  if (!bytes) return isDirectory(call, source) ? 0 : 2;
  if (kind === 1 || kind === 2) {
    const named = fullPath(call, text(call, to, wide, 1024));
    const target = isDirectory(call, named)
      ? `${named}\\${source.slice(source.lastIndexOf("\\") + 1)}`
      : named;
    const opened = openFile(call, { path: target, read: false, write: true, disposition: 2 });
    if (typeof opened === "number") return opened;
    writeFile(opened.file, bytes);
    closeFile(call, opened.file);
  }
  return kind === 2 ? 0 : removeFile(call, source);
}

const handlers: Handlers = {
  ...both({
    SHGetFolderPath: (wide) => (call, _owner, csidl, _token, _flags, buffer) => {
      const path = FOLDERS[csidl & 0xff];
      if (!path) return E_INVALIDARG;
      store(call, buffer, path, wide);
      return 0;
    },
    SHGetSpecialFolderPath: (wide) => (call, _owner, buffer, csidl) => {
      const path = FOLDERS[csidl & 0xff];
      if (path) store(call, buffer, path, wide);
      return path ? 1 : 0;
    },
    SHGetPathFromIDList: (wide) => (call, list, buffer) => {
      const path = list ? FOLDERS[call.memory.u32(list + 2) & 0xff] : undefined;
      if (path) store(call, buffer, path, wide);
      return path ? 1 : 0;
    },
    ShellExecute: (wide) => (call, _owner, verb, file, parameters) =>
      execute(
        call,
        text(call, file, wide, 2048),
        text(call, parameters, wide, 8192),
        text(call, verb, wide, 64),
      ),
    ShellExecuteEx: (wide) => (call, at) => {
      const [verb, file, parameters] = [12, 16, 20].map((offset) =>
        text(call, call.memory.u32(at + offset), wide, 8192)
      );
      const keeps = (call.memory.u32(at + 4) & SEE_MASK_NOCLOSEPROCESS) !== 0;
      if (keeps) call.memory.setU32(at + EXECUTE_PROCESS, 0);
      const result = execute(call, file, parameters, verb, keeps ? at + EXECUTE_PROCESS : 0);
      call.memory.setU32(at + 32, result);
      return result > 32 ? 1 : call.fail(result === 2 ? 2 : 1155);
    },
    SHFileOperation: (wide) => (call, at) => operate(call, wide, at),
    FindExecutable: (wide) => (call, file, _directory, buffer) => {
      const path = fullPath(call, text(call, file, wide, 1024));
      if (!isFile(call, path)) return 2;
      store(call, buffer, path, wide);
      return 33;
    },
    SHGetFileInfo: (wide) => (call, _path, _attributes, info, size) => {
      const bytes = wide ? 692 : 352;
      if (info && size >= bytes) call.memory.setBytes(info, new Uint8Array(bytes));
      return 1;
    },
    Shell_NotifyIcon: () => () => 1,
    ExtractIconEx: () => () => 0,
    SHBrowseForFolder: () => () => 0,
    ShellAbout: () => () => 1,
    DragQueryFile: () => () => 0,
  }),
  CommandLineToArgvW: argumentsOf,
  SHGetSpecialFolderLocation: (call, _owner, csidl, result) => itemList(call, csidl, result),
  SHGetFolderLocation: (call, _owner, csidl, _token, _reserved, result) => itemList(call, csidl, result),
  SHCreateDirectoryExA: (call, _owner, path) =>
    isDirectory(call, fullPath(call, text(call, path, false, 260))) ? 183 : 0,
  SHCreateDirectoryExW: (call, _owner, path) =>
    isDirectory(call, fullPath(call, text(call, path, true, 260))) ? 183 : 0,
  ILFree: (call, list) => {
    call.heaps.free(call.heaps.processHeap, list);
  },
  IsUserAnAdmin: () => 0,
  // Interfaces of the shell are not modelled: programs are told so.
  SHGetMalloc: noInterface,
  SHGetDesktopFolder: noInterface,
  ...constant(
    E_NOTIMPL,
    "SHBindToParent SHParseDisplayName SHCreateItemFromParsingName SHGetDataFromIDListA",
  ),
  ...constant(E_NOTIMPL, "SHGetDataFromIDListW SHCreateShellItem SHLoadInProc SHGetInstanceExplorer"),
  SHGetKnownFolderPath: (call, folder, _flags, _token, result) => {
    const path = KNOWN_FOLDERS.get(call.memory.u32(folder));
    call.memory.setU32(result, 0);
    if (!path) return 0x80070002;
    const bytes = encode(path, true, true);
    const block = call.heaps.allocate(call.heaps.processHeap, bytes.length, false);
    if (block) call.memory.setBytes(block, bytes);
    call.memory.setU32(result, block);
    return 0;
  },
  ...constant(
    0,
    "SHChangeNotify DragAcceptFiles DragFinish SHAddToRecentDocs",
  ),
  ...constant(
    0,
    "SHEmptyRecycleBinA SHEmptyRecycleBinW SetCurrentProcessExplicitAppUserModelID SHAppBarMessage",
  ),
};

/** Path and string functions that shell32 passes on to shlwapi. */
const passedOn = Object.values(known).join(" ").split(" ")
  .filter((name) => /^(Str|Path)/.test(name))
  .filter((name) => shlwapi.functions.some((one) => one.name === name));

export const shell32: DllDefinition = define({
  name: "shell32.dll",
  base: 0x73800000,
  known,
  handlers: [handlers],
  forwards: Object.fromEntries(passedOn.map((name) => [name, `SHLWAPI.${name}`])),
  ordinals: shellOrdinals,
  refusal: (name) =>
    /^(SHCreate|SHBind|SHParse|SHGet.*(Interface|Item|Folder|Data))/.test(name) ? E_NOTIMPL : undefined,
});
