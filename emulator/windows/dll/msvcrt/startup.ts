// SPDX-License-Identifier: Apache-2.0
/** Start and end of a C program: arguments, initialisers, atexit, signals, C++ and exception support. @module */
import { leaveThread } from "../../callouts.ts";
import type { ApiCall, DllVariable, HandlerResult, Request } from "../../api.ts";
import { alias, constant, type Handlers, invoke } from "../define.ts";
import { environmentBlock } from "../kernel32/environment.ts";
import { flushAll } from "../shared/filesystem.ts";
import { encode, lasting } from "../shared/text.ts";
import { sleep } from "../kernel32/sync.ts";
import { errnoAddress } from "./errno.ts";
import { closeAll, FILE_SIZE, initialIob, IOB_COUNT, runtimeExport } from "./streams.ts";

/** Most entries of a table of functions. */
const MAX_TABLE = 65536;

/** Splits a command line by the rules of Microsoft's C runtime. */
export function splitCommandLine(line: string): string[] {
  const args: string[] = [];
  let i = 0;
  // The program's name: quotes toggle, backslashes are plain.
  let name = "";
  for (let quoted = false; i < line.length; i++) {
    if (line[i] === '"') quoted = !quoted;
    else if (!quoted && (line[i] === " " || line[i] === "\t")) break;
    else name += line[i];
  }
  args.push(name);
  while (i < line.length && args.length < 4096) {
    while (line[i] === " " || line[i] === "\t") i++;
    if (i >= line.length) break;
    let value = "";
    for (let quoted = false; i < line.length; i++) {
      let slashes = 0;
      while (line[i] === "\\") slashes++, i++;
      if (line[i] === '"') {
        value += "\\".repeat(slashes >> 1);
        if (slashes & 1) value += '"';
        else if (quoted && line[i + 1] === '"') value += line[++i];
        else quoted = !quoted;
        continue;
      }
      value += "\\".repeat(slashes);
      if (i >= line.length || (!quoted && (line[i] === " " || line[i] === "\t"))) break;
      value += line[i];
    }
    args.push(value);
  }
  return args;
}

/** A null-terminated table of strings in one heap block. */
function stringTable(call: ApiCall, values: readonly string[], wide: boolean): number {
  const texts = values.map((value) => encode(value, wide, true));
  const head = 4 * (values.length + 1);
  const block = call.heaps.allocate(
    call.heaps.processHeap,
    head + texts.reduce((sum, one) => sum + one.length, 0),
    true,
  );
  if (block === 0) return 0;
  let at = block + head;
  texts.forEach((one, i) => {
    call.memory.setU32(block + 4 * i, at);
    call.memory.setBytes(at, one);
    at += one.length;
  });
  return block;
}

/** What main is given. */
export interface ProgramArguments {
  readonly argc: number;
  readonly argv: number;
  readonly environ: number;
}

/** argc, argv and environ of the process, made once and put into the exported variables. */
export function programArguments(call: ApiCall, wide: boolean): ProgramArguments {
  return call.state(`arguments:${wide}`, () => {
    const values = splitCommandLine(call.commandLine);
    const variables = [...call.environment].map(([name, value]) => `${name}=${value}`).sort();
    const made = {
      argc: values.length,
      argv: stringTable(call, values, wide),
      environ: stringTable(call, variables, wide),
    };
    setVariable(call, "__argc", made.argc);
    setVariable(call, wide ? "__wargv" : "__argv", made.argv);
    setVariable(call, wide ? "_wenviron" : "_environ", made.environ);
    setVariable(call, wide ? "__winitenv" : "__initenv", made.environ);
    return made;
  });
}

/** Address of an exported variable of the runtime in use, or of a heap block with its first content. */
export function variableAddress(call: ApiCall, name: string): number {
  return call.state(`variable:${name}`, () => {
    const exported = runtimeExport(call, name);
    if (exported) return { address: exported };
    const variable = variables.find((one) => one.name === name);
    const address = call.heaps.allocate(call.heaps.processHeap, Math.max(8, variable?.size ?? 0), true);
    const initial = variable?.initial;
    if (address && initial) {
      call.memory.setBytes(address, typeof initial === "function" ? initial(call) : initial);
    }
    return { address };
  }).address;
}

const setVariable = (call: ApiCall, name: string, value: number) =>
  call.memory.setU32(variableAddress(call, name), value);

const getArguments = (wide: boolean) => (call: ApiCall, argc: number, argv: number, environ: number) => {
  const made = programArguments(call, wide);
  call.memory.setU32(argc, made.argc);
  call.memory.setU32(argv, made.argv);
  call.memory.setU32(environ, made.environ);
  return 0;
};

const exits = (call: ApiCall) => call.state("atexit", () => ({ functions: [] as number[] }));

function* runExits(call: ApiCall): Generator<Request, void, number> {
  const { functions } = exits(call);
  while (functions.length > 0) yield invoke(functions.pop()!, [], true);
  closeAll(call);
}

function* exit(call: ApiCall, code: number): Generator<Request, HandlerResult, number> {
  yield* runExits(call);
  yield* call.modules.shutDown();
  flushAll(call);
  call.exitProcess(code);
}

function* runTable(first: number, last: number, call: ApiCall, stopOnError: boolean) {
  const count = Math.min(MAX_TABLE, (last - first) >>> 2);
  for (let i = 0; i < count && last > first; i++) {
    const target = call.memory.u32(first + 4 * i);
    if (target === 0) continue;
    const result: number = yield invoke(target, [], true);
    if (stopOnError && result !== 0) return result;
  }
  return 0;
}

/** Adds a function to those that run at exit. */
export function atExit(call: ApiCall, target: number): boolean {
  const { functions } = exits(call);
  if (functions.length >= MAX_TABLE) return false;
  functions.push(target);
  return true;
}

const signals = (call: ApiCall) => call.state("signals", () => new Map<number, number>());
const SIG_IGN = 1;

function ends(call: ApiCall, message: string, code: number): void {
  call.print(`${message}\n`);
  flushAll(call);
  call.exitProcess(code);
}

const thread = (
  call: ApiCall,
  start: number,
  parameter: number,
  stack: number,
  suspended: boolean,
  id: number,
) => {
  const made = call.system.createThread(start, parameter, stack, suspended);
  if (id && made.handle) call.memory.setU32(id, made.tid);
  return made.handle;
};

export const startup: Handlers = {
  __getmainargs: getArguments(false),
  __wgetmainargs: getArguments(true),
  ...constant(0, "__set_app_type __setusermatherr _configthreadlocale __set_fmode _set_error_mode _setmbcp"),
  ...constant(0, "_get_error_mode _set_abort_behavior __lconv_init _CrtDbgReport _CrtSetReportMode"),
  __pctype_func: classTable,
  __pwctype_func: classTable,
  __p___argc: (call) => (programArguments(call, false), variableAddress(call, "__argc")),
  __p___argv: (call) => (programArguments(call, false), variableAddress(call, "__argv")),
  __p___wargv: (call) => (programArguments(call, true), variableAddress(call, "__wargv")),
  __p__environ: (call) => (programArguments(call, false), variableAddress(call, "_environ")),
  __p__wenviron: (call) => (programArguments(call, true), variableAddress(call, "_wenviron")),
  __p___initenv: (call) => (programArguments(call, false), variableAddress(call, "__initenv")),
  ...Object.fromEntries(
    "_acmdln _wcmdln _fmode _commode _pgmptr _wpgmptr _iob _osver _winver _winmajor _winminor _timezone _daylight _tzname"
      .split(" ").map((name) => [`__p_${name}`, (call: ApiCall) => variableAddress(call, name)]),
  ),
  _get_pgmptr: (call, at) => {
    call.memory.setU32(at, lasting(call, "program", call.imagePath, false));
    return 0;
  },
  __doserrno: (call) => errnoAddress(call) + 4,
  _errno: errnoAddress,
  _get_errno: (call, at) => {
    call.memory.setU32(at, call.memory.u32(errnoAddress(call)));
    return 0;
  },
  _set_errno: (call, value) => {
    call.memory.setU32(errnoAddress(call), value);
    return 0;
  },

  _initterm: (call, first, last) => runTable(first, last, call, false),
  _initterm_e: (call, first, last) => runTable(first, last, call, true),
  atexit: (call, target) => atExit(call, target) ? 0 : 1,
  _onexit: (call, target) => atExit(call, target) ? target : 0,
  __dllonexit: (call, target, first, last) => {
    const [start, end] = [call.memory.u32(first), call.memory.u32(last)];
    const size = end - start;
    const heap = call.heaps.processHeap;
    const grown = start === 0 || size < 0 || size > 4 * MAX_TABLE
      ? call.heaps.allocate(heap, 4, true)
      : call.heaps.reallocate(heap, start, size + 4, false);
    if (grown === 0) return 0;
    const used = start === 0 ? 0 : size;
    call.memory.setU32(grown + used, target);
    call.memory.setU32(first, grown);
    call.memory.setU32(last, grown + used + 4);
    return target;
  },
  exit,
  _exit: function* (call, code) {
    yield* call.modules.shutDown();
    flushAll(call);
    call.exitProcess(code);
  },
  _Exit: (call, code) => call.exitProcess(code),
  quick_exit: (call, code) => call.exitProcess(code),
  _cexit: function* (call) {
    yield* runExits(call);
  },
  _c_exit: (call) => closeAll(call),
  abort: (call) =>
    ends(call, "This application has requested the Runtime to terminate it in an unusual way.", 3),
  _amsg_exit: (call, code) => ends(call, `runtime error R60${String(code).padStart(2, "0")}`, 255),
  _purecall: (call) => ends(call, "runtime error R6025: pure virtual function call", 255),
  _assert: (call, message, file, line) =>
    ends(
      call,
      `Assertion failed: ${call.memory.text(message, false, 512)}, ${
        call.memory.text(file, false, 512)
      }:${line}`,
      3,
    ),
  _wassert: (call, message, file, line) =>
    ends(
      call,
      `Assertion failed: ${call.memory.text(message, true, 512)}, ${
        call.memory.text(file, true, 512)
      }:${line}`,
      3,
    ),
  "?terminate@@YAXXZ": (call) => ends(call, "terminate called", 3),
  _invalid_parameter_noinfo: () => 0,
  _set_invalid_parameter_handler: () => 0,
  _set_purecall_handler: () => 0,

  signal: (call, number, handler) => {
    const before = signals(call).get(number) ?? 0;
    signals(call).set(number, handler);
    return before;
  },
  raise: function* (call, number) {
    const handler = signals(call).get(number) ?? 0;
    if (handler === SIG_IGN) return 0;
    if (handler === 0) {
      ends(call, `signal ${number}`, 3);
      return 0;
    }
    signals(call).delete(number);
    yield invoke(handler, [number], true);
    return 0;
  },
  _XcptFilter: () => 0,
  __CppXcptFilter: () => 0,
  // Registered handlers of frames compiled for them: nothing here claims an exception, the search goes on.
  ...alias(["_except_handler2", "_except_handler3", "_except_handler4_common", "__CxxFrameHandler"], () => 1),
  ...alias(["__CxxFrameHandler2", "__CxxFrameHandler3"], () => 1),
  _CxxThrowException: (call, object, info) => call.raise(0xe06d7363, 1, [0x19930520, object, info]),
  "?_set_se_translator@@YAP6AXIPAU_EXCEPTION_POINTERS@@@ZP6AXI0@Z@Z": () => 0,
  ...constant(0, "_lock _unlock _mlock __uncaught_exception _heapchk _heapmin _fpreset _set_sbh_threshold"),
  _get_sbh_threshold: () => 0,
  _heapset: () => 0,

  _beginthread: (call, start, stack, parameter) =>
    thread(call, start, parameter, stack, false, 0) || 0xffffffff,
  _beginthreadex: (call, _security, stack, start, parameter, flags, id) =>
    thread(call, start, parameter, stack, (flags & 4) !== 0, id),
  _endthread: (call) => leaveThread(call, 0),
  _endthreadex: leaveThread,
  __threadid: (call) =>
    call.state(`threadid:${call.tid}`, () => ({
      address: call.heaps.allocate(call.heaps.processHeap, 4, true),
    })).address,
  _sleep: (_, milliseconds) => sleep(milliseconds),
  _getpid: (call) => call.pid,
  _controlfp: (call, value, mask) => control(call, value, mask),
  _control87: (call, value, mask) => control(call, value, mask),
  _controlfp_s: (call, current, value, mask) => {
    const word = control(call, value, mask);
    if (current) call.memory.setU32(current, word);
    return 0;
  },
  ...constant(0, "_clearfp _statusfp _clear87 _status87"),
  __crtGetEnvironmentStringsA: (call) => environmentBlock(call, false),
};

/** The abstract control word; the FPU itself keeps its default, which is what programs ask for. */
function control(call: ApiCall, value: number, mask: number): number {
  const state = call.state("control", () => ({ word: 0x9001f }));
  return state.word = ((state.word & ~mask) | (value & mask)) >>> 0;
}

const bytes = (size: number, ...values: number[]) => {
  const array = new Uint8Array(size);
  const view = new DataView(array.buffer);
  values.forEach((value, i) => view.setUint32(4 * i, value >>> 0, true));
  return array;
};
const words = (name: string, ...values: number[]): DllVariable => ({
  name,
  size: Math.max(4, values.length * 4),
  initial: bytes(Math.max(4, values.length * 4), ...values),
});
const pointer = (name: string, make: (call: ApiCall) => number): DllVariable => ({
  name,
  size: 4,
  initial: (call) => bytes(4, make(call)),
});

/** _ctype: a zero, then the class bits of 256 characters (ctype.h). */
function characterTable(): Uint8Array {
  const table = new Uint8Array(2 * 257);
  const view = new DataView(table.buffer);
  for (let unit = 0; unit < 128; unit++) {
    const char = String.fromCharCode(unit);
    let bits = 0;
    if (unit < 0x20 || unit === 0x7f) bits |= 0x20;
    if (unit >= 9 && unit <= 13) bits |= 8;
    if (unit === 0x20) bits |= 0x48;
    if (/[A-Z]/.test(char)) bits |= 1;
    else if (/[a-z]/.test(char)) bits |= 2;
    else if (/[0-9]/.test(char)) bits |= 4;
    else if (unit > 0x20 && unit < 0x7f) bits |= 0x10;
    if (/[0-9A-Fa-f]/.test(char)) bits |= 0x80;
    view.setUint16(2 * (unit + 1), bits, true);
  }
  return table;
}

/** A lasting copy of the class table; the pointer is to the entry of character 0. */
function classTable(call: ApiCall): number {
  return call.state("class-table", () => {
    const table = characterTable();
    const address = call.heaps.allocate(call.heaps.processHeap, table.length, false);
    call.memory.setBytes(address, table);
    return { address: address + 2 };
  }).address;
}

/** Exported variables of the runtime. */
export const variables: readonly DllVariable[] = [
  { name: "_iob", size: FILE_SIZE * IOB_COUNT, initial: initialIob() },
  { name: "_ctype", size: 2 * 257, initial: characterTable() },
  pointer("_pctype", classTable),
  pointer("_pwctype", classTable),
  pointer("_acmdln", (call) => lasting(call, "command-line", call.commandLine, false)),
  pointer("_wcmdln", (call) => lasting(call, "command-line", call.commandLine, true)),
  pointer("_pgmptr", (call) => lasting(call, "program", call.imagePath, false)),
  pointer("_wpgmptr", (call) => lasting(call, "program", call.imagePath, true)),
  ...["__argc", "__argv", "__wargv", "_environ", "_wenviron", "__initenv", "__winitenv", "_aexit_rtn"].map((
    name,
  ) => words(name, 0)),
  words("_fmode", 0x4000),
  words("_commode", 0),
  words("_adjust_fdiv", 0),
  words("__mb_cur_max", 1),
  words("_osplatform", 2),
  words("_osver", 7601),
  words("_winver", 0x601),
  words("_winmajor", 6),
  words("_winminor", 1),
  words("_timezone", 0),
  words("_daylight", 0),
  words("_dstbias", 0),
  words("_sys_nerr", 43),
  words("__setlc_active", 0),
  words("__unguarded_readlc_active", 0),
  words("__lc_codepage", 0),
  words("__lc_collate_cp", 0),
  words("__lc_handle", 0, 0, 0, 0, 0, 0),
  words("__badioinfo", ...new Array<number>(16).fill(0xffffffff)),
  words("__pioinfo", ...new Array<number>(64).fill(0)),
  words("_fileinfo", 1),
  words("_mbctype", ...new Array<number>(65).fill(0)),
  { name: "_HUGE", size: 8, initial: new Uint8Array(Float64Array.of(Infinity).buffer) },
  {
    name: "_tzname",
    size: 8,
    initial: (call) => bytes(8, lasting(call, "utc", "UTC", false), lasting(call, "utc", "UTC", false)),
  },
  {
    name: "_sys_errlist",
    size: 4 * 44,
    initial: (call) => bytes(4 * 44, ...new Array<number>(44).fill(lasting(call, "error", "Error", false))),
  },
];
