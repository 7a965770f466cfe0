// SPDX-License-Identifier: Apache-2.0
/** kernel32: the console. What is written goes to the report; input is one empty line. @module */
import type { ApiCall } from "../../api.ts";
import { both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import type { ConsoleObject } from "../shared/filesystem.ts";
import { counted, fill, text } from "../shared/text.ts";

/** PEB offset of the image's subsystem; 3 is the console's. */
const SUBSYSTEM = 0xb4;
const CONSOLE = 3;
const INVALID = 0xffffffff;
/** RTL_USER_PROCESS_PARAMETERS: standard input, output, error. */
const STANDARD = [0x18, 0x1c, 0x20];

const slotOf = (call: ApiCall, which: number) => {
  const index = (0xfffffff6 - which) >>> 0;
  const parameters = call.memory.u32(call.peb + 0x10);
  return index < 3 && parameters ? parameters + STANDARD[index] : 0;
};

/** Handle behind STD_INPUT_HANDLE (-10), …OUTPUT (-11), …ERROR (-12); made on first use for console programs. */
export function standardHandle(call: ApiCall, which: number): number {
  const slot = slotOf(call, which);
  if (slot === 0) return call.fail(Win32.invalidHandle, INVALID);
  const present = call.memory.u32(slot);
  const hasConsole = call.memory.u32(call.peb + SUBSYSTEM) === CONSOLE ||
    call.state("console", () => ({ allocated: false })).allocated;
  if (present !== 0 && call.handles.get(present)) return present;
  if (!hasConsole) return present;
  const handle = call.handles.open({ kind: "console", lines: 1 } as ConsoleObject);
  call.memory.setU32(slot, handle);
  return handle;
}

const isConsole = (call: ApiCall, handle: number) => call.handles.get(handle)?.kind === "console";

function screenInfo(call: ApiCall, handle: number, at: number) {
  if (!isConsole(call, handle)) return call.fail(Win32.invalidHandle);
  [80, 300, 0, 0, 7, 0, 0, 79, 24, 80, 83].forEach((value, i) => call.memory.setU16(at + 2 * i, value));
  return 1;
}

export const console: Handlers = {
  GetStdHandle: standardHandle,
  SetStdHandle: (call, which, handle) => {
    const slot = slotOf(call, which);
    if (slot === 0) return call.fail(Win32.invalidHandle);
    call.memory.setU32(slot, handle);
    return 1;
  },
  AllocConsole: (call) => {
    call.state("console", () => ({ allocated: false })).allocated = true;
    return 1;
  },
  AttachConsole: (call) => call.fail(Win32.invalidHandle),
  ...constant(1, "FreeConsole SetConsoleCtrlHandler SetConsoleMode SetConsoleCP SetConsoleOutputCP"),
  ...constant(1, "SetConsoleTextAttribute SetConsoleCursorPosition SetConsoleScreenBufferSize"),
  ...constant(
    1,
    "SetConsoleWindowInfo FlushConsoleInputBuffer SetConsoleCursorInfo SetConsoleActiveScreenBuffer",
  ),
  ...constant(1, "GenerateConsoleCtrlEvent SetConsoleIcon"),
  ...constant(437, "GetConsoleCP GetConsoleOutputCP"),
  GetConsoleWindow: (call) => call.memory.u32(call.peb + SUBSYSTEM) === CONSOLE ? 0x10078 : 0,
  GetConsoleMode: (call, handle, mode) => {
    if (!isConsole(call, handle)) return call.fail(Win32.invalidHandle);
    call.memory.setU32(mode, 7);
    return 1;
  },
  GetConsoleScreenBufferInfo: screenInfo,
  GetConsoleCursorInfo: (call, _handle, at) => {
    call.memory.setU32(at, 25);
    call.memory.setU32(at + 4, 1);
    return 1;
  },
  GetNumberOfConsoleInputEvents: (call, _handle, count) => {
    call.memory.setU32(count, 0);
    return 1;
  },
  ...both({
    WriteConsole: (wide) => (call, handle, buffer, length, done) => {
      if (!isConsole(call, handle)) return call.fail(Win32.invalidHandle);
      call.print(counted(call, buffer, Math.min(length, 0x10000), wide));
      if (done) call.memory.setU32(done, length);
      return 1;
    },
    ReadConsole: (wide) => (call, handle, buffer, length, done) => {
      const object = call.handles.get(handle);
      if (object?.kind !== "console") return call.fail(Win32.invalidHandle);
      const input = object as ConsoleObject;
      const line = input.lines-- > 0 ? "\r\n".slice(0, length) : "";
      for (let i = 0; i < line.length; i++) {
        if (wide) call.memory.setU16(buffer + 2 * i, line.charCodeAt(i));
        else call.memory.setU8(buffer + i, line.charCodeAt(i));
      }
      call.memory.setU32(done, line.length);
      return 1;
    },
    SetConsoleTitle: () => () => 1,
    GetConsoleTitle: (wide) => (call, buffer, capacity) =>
      fill(call, buffer, capacity, call.state("console-title", () => call.imagePath), wide),
    FillConsoleOutputCharacter: () => (call, _handle, _char, length, _where, done) => {
      call.memory.setU32(done, length);
      return 1;
    },
    ReadConsoleInput: () => (call, _handle, _buffer, _length, done) => {
      call.memory.setU32(done, 0);
      return 1;
    },
    PeekConsoleInput: () => (call, _handle, _buffer, _length, done) => {
      call.memory.setU32(done, 0);
      return 1;
    },
    OutputDebugString: (wide) => (call, string) => {
      call.print(text(call, string, wide, 4096));
    },
  }),
  FillConsoleOutputAttribute: (call, _handle, _attribute, length, _where, done) => {
    call.memory.setU32(done, length);
    return 1;
  },
};
