// SPDX-License-Identifier: Apache-2.0
/** stdio: streams. @module */
import type { ApiCall, Handler } from "../../api.ts";
import { constant, type Handlers } from "../define.ts";
import { contentOf, flush, fullPath, isDirectory, isFile, removeFile } from "../shared/filesystem.ts";
import { encode, lasting, store, text, toAnsi } from "../shared/text.ts";
import { Errno, errnoAddress, errnoOf, failed } from "./errno.ts";
import { Arguments, format, variadic } from "./printf.ts";
import { scan } from "./scanf.ts";
import {
  addDescriptor,
  closeAll,
  closeDescriptor,
  type Descriptor,
  descriptor,
  descriptorOf,
  dropStream,
  EOF,
  FILE_SIZE,
  Flag,
  iob,
  makeStream,
  modeFlags,
  numberOf,
  openDescriptor,
  readByte,
  readBytes,
  setFlags,
  streamFlags,
  writeBytes,
} from "./streams.ts";
import { errorText } from "./string.ts";

/** Bytes one call moves. */
const MAX_TRANSFER = 0x4000000;

const standard = (call: ApiCall, index: number) => iob(call) + index * FILE_SIZE;

function open(call: ApiCall, name: string, mode: string): number {
  const flags = modeFlags(mode);
  if (flags === undefined) return failed(call, Errno.invalid, 0);
  const fd = openDescriptor(call, name, flags);
  return fd === EOF ? 0 : makeStream(call, fd, flags);
}

/** Writes text to a stream; characters written or EOF. */
export function put(call: ApiCall, stream: number, value: string): number {
  const target = descriptorOf(call, stream);
  if (!target) return EOF;
  if (writeBytes(call, target, toAnsi(value))) return value.length;
  setFlags(call, stream, Flag.error, 0);
  return EOF;
}

function getByte(call: ApiCall, stream: number): number {
  const target = descriptorOf(call, stream);
  const byte = target ? readByte(target) : EOF;
  if (byte === EOF && target) setFlags(call, stream, Flag.eof, 0);
  return byte;
}

function putByte(call: ApiCall, unit: number, stream: number): number {
  return put(call, stream, String.fromCharCode(unit & 255)) === EOF ? EOF : unit & 255;
}

/** One line with its LF, at most `max` characters; undefined at the end. */
function line(call: ApiCall, stream: number, max: number): string | undefined {
  let value = "";
  while (value.length < max) {
    const byte = getByte(call, stream);
    if (byte === EOF) return value === "" ? undefined : value;
    value += String.fromCharCode(byte);
    if (byte === 10) break;
  }
  return value;
}

function gets(call: ApiCall, buffer: number, capacity: number, stream: number, wide: boolean): number {
  if ((capacity | 0) <= 0) return 0;
  const value = line(call, stream, Math.min(capacity - 1, 0x100000));
  if (value === undefined) return 0;
  store(call, buffer, value, wide);
  return buffer;
}

function seek(target: Descriptor | undefined, distance: number, origin: number): boolean {
  if (!target?.file) return false;
  const { file } = target;
  const from = [0, file.position - target.pushed.length, file.node.size][origin];
  if (from === undefined || from + distance < 0) return false;
  file.position = from + distance;
  target.pushed.length = 0;
  return true;
}

const position = (target: Descriptor | undefined) =>
  target?.file ? target.file.position - target.pushed.length : EOF;

function scanStream(call: ApiCall, stream: number, picture: string, args: Arguments): number {
  const target = descriptorOf(call, stream);
  if (!target) return EOF;
  // The whole rest is looked at; what the fields did not use is put back.
  const start = target.file?.position ?? 0;
  const input = [...readBytes(target, 0x10000)].map((byte) => String.fromCharCode(byte)).join("");
  const used = { at: 0 };
  const stored = scan(call, input, picture, args, false, used);
  if (target.file) target.file.position = start + used.at;
  if (stored === -1) setFlags(call, stream, Flag.eof, 0);
  return stored;
}

function stat(call: ApiCall, path: string, buffer: number, layout: "32" | "64"): number {
  const full = fullPath(call, path);
  const isFolder = isDirectory(call, full) && !isFile(call, full);
  const content = contentOf(call, full);
  if (!content && !isFolder) return failed(call, Errno.noEntry);
  const size = layout === "32" ? 36 : 48;
  call.memory.setBytes(buffer, new Uint8Array(size));
  const drive = full.toLowerCase().charCodeAt(0) - 97;
  call.memory.setU32(buffer, drive);
  call.memory.setU16(buffer + 6, isFolder ? 0x41ff : /\.(exe|com|bat|cmd)$/i.test(full) ? 0x81ff : 0x81b6);
  call.memory.setU16(buffer + 8, 1);
  call.memory.setU32(buffer + 16, drive);
  const made = 1290309840;
  if (layout === "32") {
    call.memory.setU32(buffer + 20, content?.length ?? 0);
    for (let i = 0; i < 3; i++) call.memory.setU32(buffer + 24 + 4 * i, made);
  } else {
    call.memory.setU32(buffer + 24, content?.length ?? 0);
    for (let i = 0; i < 3; i++) call.memory.setU32(buffer + 32 + 4 * i, made);
  }
  return 0;
}

function remove(call: ApiCall, path: string): number {
  const error = removeFile(call, fullPath(call, path));
  return error ? failed(call, errnoOf(error)) : 0;
}

function rename(call: ApiCall, from: string, to: string): number {
  const source = fullPath(call, from);
  const content = contentOf(call, source);
  if (!content) return failed(call, Errno.noEntry);
  if (isFile(call, fullPath(call, to))) return failed(call, Errno.exists);
  call.files.write(fullPath(call, to), content);
  return remove(call, from);
}

const access = (call: ApiCall, path: string) => {
  const full = fullPath(call, path);
  return isFile(call, full) || isDirectory(call, full) ? 0 : failed(call, Errno.noEntry);
};

const close: Handler = (call, stream) => {
  if (stream === 0 || streamFlags(call, stream) === 0) return EOF;
  const went = closeDescriptor(call, numberOf(call, stream));
  dropStream(call, stream);
  return went ? 0 : EOF;
};

/** Narrow and wide functions that differ in their text alone. */
function family(wide: boolean): Handlers {
  const t = (call: ApiCall, at: number) => text(call, at, wide, 0x100000);
  const f = wide
    ? {
      open: "_wfopen",
      reopen: "_wfreopen",
      print: "wprintf",
      fprint: "fwprintf",
      vprint: "vwprintf",
      vfprint: "vfwprintf",
      puts: "_putws",
      fputs: "fputws",
      gets: "_getws",
      fgets: "fgetws",
      access: "_waccess",
      unlink: "_wunlink",
      remove: "_wremove",
      rename: "_wrename",
      stat: "_wstat",
      fdopen: "_wfdopen",
      lowOpen: "_wopen",
      error: "_wperror",
    }
    : {
      open: "fopen",
      reopen: "freopen",
      print: "printf",
      fprint: "fprintf",
      vprint: "vprintf",
      vfprint: "vfprintf",
      puts: "puts",
      fputs: "fputs",
      gets: "gets",
      fgets: "fgets",
      access: "_access",
      unlink: "_unlink",
      remove: "remove",
      rename: "rename",
      stat: "_stat",
      fdopen: "_fdopen",
      lowOpen: "_open",
      error: "perror",
    };
  return {
    [f.open]: (call, name, mode) => open(call, t(call, name), t(call, mode)),
    [`${f.open}_s`]: (call, result, name, mode) => {
      const stream = open(call, t(call, name), t(call, mode));
      call.memory.setU32(result, stream);
      return stream ? 0 : call.memory.u32(errnoAddress(call));
    },
    [wide ? "_wfsopen" : "_fsopen"]: (call, name, mode, _share) => open(call, t(call, name), t(call, mode)),
    [f.reopen]: (call, name, mode, stream) => {
      const flags = modeFlags(t(call, mode));
      const fd = numberOf(call, stream);
      closeDescriptor(call, fd);
      const opened = flags === undefined ? EOF : openDescriptor(call, t(call, name), flags);
      if (opened === EOF) return 0;
      setFlags(call, stream, flags! & 1 ? Flag.write : Flag.read, 0xff);
      call.memory.setU32(stream + 16, opened);
      return stream;
    },
    [f.fdopen]: (call, fd, mode) =>
      descriptor(call, fd) ? makeStream(call, fd, modeFlags(t(call, mode)) ?? 0) : 0,
    [f.print]: (call, picture) =>
      put(call, standard(call, 1), format(call, t(call, picture), variadic(call, 1), wide)),
    [f.fprint]: (call, stream, picture) =>
      put(call, stream, format(call, t(call, picture), variadic(call, 2), wide)),
    [f.vprint]: (call, picture, list) =>
      put(call, standard(call, 1), format(call, t(call, picture), new Arguments(call, list), wide)),
    [f.vfprint]: (call, stream, picture, list) =>
      put(call, stream, format(call, t(call, picture), new Arguments(call, list), wide)),
    [`${f.print}_s`]: (call, picture) =>
      put(call, standard(call, 1), format(call, t(call, picture), variadic(call, 1), wide)),
    [`${f.fprint}_s`]: (call, stream, picture) =>
      put(call, stream, format(call, t(call, picture), variadic(call, 2), wide)),
    [f.puts]: (call, string) => put(call, standard(call, 1), t(call, string) + "\n") === EOF ? EOF : 0,
    [f.fputs]: (call, string, stream) => put(call, stream, t(call, string)) === EOF ? EOF : 0,
    [f.gets]: (call, buffer) => {
      const value = line(call, standard(call, 0), 0x10000);
      if (value === undefined) return 0;
      store(call, buffer, value.replace(/\n$/, ""), wide);
      return buffer;
    },
    [f.fgets]: (call, buffer, capacity, stream) => gets(call, buffer, capacity, stream, wide),
    [f.access]: (call, path, _mode) => access(call, t(call, path)),
    [f.unlink]: (call, path) => remove(call, t(call, path)),
    [f.remove]: (call, path) => remove(call, t(call, path)),
    [f.rename]: (call, from, to) => rename(call, t(call, from), t(call, to)),
    [f.stat]: (call, path, buffer) => stat(call, t(call, path), buffer, "32"),
    [`${f.stat}i64`]: (call, path, buffer) => stat(call, t(call, path), buffer, "64"),
    [f.lowOpen]: (call, path, flags) => openDescriptor(call, t(call, path), flags),
    [f.error]: (call, string) => {
      const prefix = string ? `${t(call, string)}: ` : "";
      put(call, standard(call, 2), `${prefix}${errorText(call.memory.u32(errnoAddress(call)))}\n`);
    },
  };
}

const wideUnit = (unit: number) => unit & 0xffff;

export const stdio: Handlers = {
  ...family(false),
  ...family(true),
  __iob_func: iob,
  fclose: close,
  _fclose_nolock: close,
  _fcloseall: (call) => {
    closeAll(call);
    return 0;
  },
  fflush: (call, stream) => {
    const file = stream ? descriptorOf(call, stream)?.file : undefined;
    if (file) flush(call, file.node);
    return 0;
  },
  _flushall: () => 3,
  fread: (call, buffer, size, count, stream) => {
    const target = descriptorOf(call, stream);
    if (!target || size === 0 || count === 0) return 0;
    const wanted = Math.min(size * count, MAX_TRANSFER);
    const bytes = readBytes(target, wanted);
    call.memory.setBytes(buffer, bytes);
    if (bytes.length < wanted) setFlags(call, stream, Flag.eof, 0);
    return Math.floor(bytes.length / size);
  },
  fwrite: (call, buffer, size, count, stream) => {
    const target = descriptorOf(call, stream);
    if (!target || size === 0 || count === 0 || size * count > MAX_TRANSFER) return 0;
    if (writeBytes(call, target, call.memory.bytes(buffer, size * count))) return count;
    setFlags(call, stream, Flag.error, 0);
    return 0;
  },
  fgetc: getByte,
  getc: getByte,
  _filbuf: getByte,
  getchar: (call) => getByte(call, standard(call, 0)),
  _fgetchar: (call) => getByte(call, standard(call, 0)),
  fgetwc: (call, stream) => wideUnit(getByte(call, stream)),
  getwc: (call, stream) => wideUnit(getByte(call, stream)),
  getwchar: (call) => wideUnit(getByte(call, standard(call, 0))),
  fputc: putByte,
  putc: putByte,
  _flsbuf: (call, unit, stream) => {
    // The caller's macro counted one character down.
    call.memory.setU32(stream + 4, 0);
    return putByte(call, unit, stream);
  },
  putchar: (call, unit) => putByte(call, unit, standard(call, 1)),
  _fputchar: (call, unit) => putByte(call, unit, standard(call, 1)),
  fputwc: (call, unit, stream) =>
    put(call, stream, String.fromCharCode(wideUnit(unit))) === EOF ? 0xffff : unit,
  putwc: (call, unit, stream) =>
    put(call, stream, String.fromCharCode(wideUnit(unit))) === EOF ? 0xffff : unit,
  putwchar: (call, unit) =>
    put(call, standard(call, 1), String.fromCharCode(wideUnit(unit))) === EOF ? 0xffff : unit,
  ungetc: (call, unit, stream) => {
    const target = descriptorOf(call, stream);
    if (!target || unit === EOF || target.pushed.length > 8) return EOF;
    target.pushed.push(unit & 255);
    setFlags(call, stream, 0, Flag.eof);
    return unit & 255;
  },
  fseek: (call, stream, distance, origin) => {
    setFlags(call, stream, 0, Flag.eof);
    return seek(descriptorOf(call, stream), distance | 0, origin) ? 0 : EOF;
  },
  _fseeki64: (call, stream, low, _high, origin) =>
    seek(descriptorOf(call, stream), low | 0, origin) ? 0 : EOF,
  ftell: (call, stream) => position(descriptorOf(call, stream)),
  rewind: (call, stream) => {
    seek(descriptorOf(call, stream), 0, 0);
    setFlags(call, stream, 0, Flag.eof | Flag.error);
  },
  fgetpos: (call, stream, at) => {
    call.memory.setU32(at, position(descriptorOf(call, stream)));
    call.memory.setU32(at + 4, 0);
    return 0;
  },
  fsetpos: (call, stream, at) => seek(descriptorOf(call, stream), call.memory.u32(at), 0) ? 0 : EOF,
  feof: (call, stream) => streamFlags(call, stream) & Flag.eof,
  ferror: (call, stream) => streamFlags(call, stream) & Flag.error,
  clearerr: (call, stream) => setFlags(call, stream, 0, Flag.eof | Flag.error),
  _fileno: numberOf,
  ...constant(0, "setvbuf setbuf _lock_file _unlock_file _locking _commit"),
  fscanf: (call, stream, picture) => scanStream(call, stream, text(call, picture, false), variadic(call, 2)),
  scanf: (call, picture) =>
    scanStream(call, standard(call, 0), text(call, picture, false), variadic(call, 1)),
  tmpfile: (call) => {
    const counter = call.state("tmpfile", () => ({ next: 1 }));
    return open(call, `C:\\Windows\\Temp\\t${counter.next++}.tmp`, "w+b");
  },
  tmpnam: (call, buffer) => {
    const counter = call.state("tmpfile", () => ({ next: 1 }));
    const name = `\\s3a1.${counter.next++}`;
    if (buffer === 0) return lasting(call, `tmpnam:${counter.next}`, name, false);
    store(call, buffer, name, false);
    return buffer;
  },

  _read: (call, fd, buffer, length) => {
    const target = descriptor(call, fd);
    if (!target) return failed(call, Errno.badFile);
    const bytes = readBytes(target, Math.min(length, MAX_TRANSFER));
    call.memory.setBytes(buffer, bytes);
    return bytes.length;
  },
  _write: (call, fd, buffer, length) => {
    const target = descriptor(call, fd);
    if (!target || length > MAX_TRANSFER) return failed(call, Errno.badFile);
    return writeBytes(call, target, call.memory.bytes(buffer, length)) ? length : EOF;
  },
  _close: (call, fd) => closeDescriptor(call, fd) ? 0 : failed(call, Errno.badFile),
  _lseek: (call, fd, distance, origin) => {
    const target = descriptor(call, fd);
    return seek(target, distance | 0, origin) ? position(target) : EOF;
  },
  _tell: (call, fd) => position(descriptor(call, fd)),
  _filelength: (call, fd) => descriptor(call, fd)?.file?.node.size ?? EOF,
  _eof: (call, fd) => {
    const file = descriptor(call, fd)?.file;
    return file ? (file.position >= file.node.size ? 1 : 0) : EOF;
  },
  _creat: (call, path) => openDescriptor(call, text(call, path, false), 0x302),
  _sopen: (call, path, flags) => openDescriptor(call, text(call, path, false), flags),
  _isatty: (call, fd) => descriptor(call, fd)?.file ? 0 : fd < 3 ? 0x40 : 0,
  _setmode: (call, fd, mode) => {
    const target = descriptor(call, fd);
    if (!target) return failed(call, Errno.badFile);
    const before = target.isText ? 0x4000 : 0x8000;
    target.isText = (mode & 0x8000) === 0;
    return before;
  },
  _get_osfhandle: (call, fd) => descriptor(call, fd)?.handle ?? EOF,
  _open_osfhandle: (call, handle, flags) => addDescriptor(call, undefined, handle, (flags & 0x8000) === 0),
  _fstat: (call, fd, buffer) => {
    const target = descriptor(call, fd);
    if (!target) return failed(call, Errno.badFile);
    if (target.file) return stat(call, target.file.node.path, buffer, "32");
    call.memory.setBytes(buffer, new Uint8Array(36));
    call.memory.setU16(buffer + 6, 0x2000);
    return 0;
  },
  _getch: () => 13,
  _getche: () => 13,
  _kbhit: () => 0,
  _putch: (call, unit) => {
    call.print(String.fromCharCode(unit & 255));
    return unit;
  },
  _cputs: (call, string) => {
    call.print(text(call, string, false));
    return 0;
  },
  _cprintf: (call, picture) => {
    const value = format(call, text(call, picture, false), variadic(call, 1), false);
    call.print(value);
    return value.length;
  },
  _getcwd: (call, buffer, capacity) => {
    const path = call.files.currentDirectory;
    const at = buffer ||
      call.heaps.allocate(call.heaps.processHeap, Math.max(capacity, path.length + 1), false);
    if (buffer && path.length >= capacity) return failed(call, Errno.range, 0);
    call.memory.setBytes(at, encode(path, false, true));
    return at;
  },
  _chdir: (call, path) => {
    const full = fullPath(call, text(call, path, false));
    if (!isDirectory(call, full)) return failed(call, Errno.noEntry);
    call.files.currentDirectory = full;
    return 0;
  },
};
