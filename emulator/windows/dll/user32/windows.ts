// SPDX-License-Identifier: Apache-2.0
/** user32: window classes and windows. Nothing is drawn; procedures are called as on a desktop. @module */
import type { ApiCall, HandlerResult, Request } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { atom, atomName } from "../kernel32/environment.ts";
import { Win32 } from "../shared/errors.ts";
import { lower, store, text } from "../shared/text.ts";
import { DESKTOP, desktop, MAX_WINDOWS, Message, type Window, windowOf } from "./desktop.ts";
import { createWindow, defaultProcedure, destroy, send } from "./procedure.ts";

const classKey = (call: ApiCall, name: number, wide: boolean) =>
  lower(name < 0x10000 ? atomName(call, "class", name) ?? `#${name}` : text(call, name, wide, 256));

function register(call: ApiCall, wide: boolean, at: number, isExtended: boolean): number {
  const base = isExtended ? at + 4 : at;
  const fields = Array.from({ length: isExtended ? 11 : 10 }, (_, i) => call.memory.u32(base + 4 * i));
  const name = classKey(call, fields[9], wide);
  const { classes } = desktop(call);
  if (name === "") return call.fail(Win32.invalidParameter);
  if (classes.has(name)) return call.fail(Win32.classAlreadyExists);
  if (classes.size >= MAX_WINDOWS) return call.fail(Win32.notEnoughMemory);
  const number = atom(call, "class", name, true);
  classes.set(name, { name, procedure: fields[1], wide, extra: fields[3], atom: number, fields });
  return number;
}

function longIndex(call: ApiCall, window: Window, index: number, value?: number): number {
  const swap = (before: number, set: (value: number) => void) => {
    if (value !== undefined) set(value);
    return before;
  };
  switch (index | 0) {
    case -4:
      return swap(window.procedure, (next) => window.procedure = next);
    case -6:
      return call.modules.main.base;
    case -8:
      return window.parent;
    case -12:
      return window.id;
    case -16:
      return swap(window.style, (next) => window.style = next);
    case -20:
      return swap(window.exStyle, (next) => window.exStyle = next);
    case -21:
      return swap(window.userData, (next) => window.userData = next);
    case 4: // DWL_DLGPROC of dialogs
      if (window.dialogProcedure) {
        return swap(window.dialogProcedure, (next) => window.dialogProcedure = next);
      }
  }
  if ((index | 0) < 0 || index > 0x10000) return call.fail(1413);
  return swap(window.longs.get(index) ?? 0, (next) => window.longs.set(index, next));
}

const rectangle = (call: ApiCall, at: number, values: readonly number[]) =>
  values.forEach((value, i) => call.memory.setU32(at + 4 * i, value >>> 0));

/** Windows of other programs that are always there. */
const SHELL_WINDOWS: Record<string, number> = { progman: 0x10064, shell_traywnd: 0x1005a };

const childrenOf = (call: ApiCall, parent: number) =>
  [...desktop(call).windows.values()].filter((one) => one.parent === parent).map((one) => one.handle);
/** The program's own windows and those that are always there. */
const topLevel = (call: ApiCall) => [...childrenOf(call, 0), ...Object.values(SHELL_WINDOWS)];

/** Hands windows to a callback until it has enough. */
function* enumerate(
  handles: readonly number[],
  callback: number,
  parameter: number,
): Generator<Request, number, number> {
  for (const handle of handles) {
    const went: number = yield invoke(callback, [handle, parameter]);
    if (went === 0) return 0;
  }
  return 1;
}

function find(call: ApiCall, wide: boolean, className: number, title: number): number {
  const wantedClass = className ? classKey(call, className, wide) : "";
  const wantedTitle = title ? text(call, title, wide, 512) : undefined;
  if (wantedTitle === undefined && SHELL_WINDOWS[wantedClass]) return SHELL_WINDOWS[wantedClass];
  for (const window of desktop(call).windows.values()) {
    if (
      window.parent === 0 && (!wantedClass || lower(window.className) === wantedClass) &&
      (wantedTitle === undefined || window.text === wantedTitle)
    ) return window.handle;
  }
  return 0;
}

function* setVisible(
  call: ApiCall,
  handle: number,
  command: number,
): Generator<Request, HandlerResult, number> {
  const window = windowOf(call, handle);
  if (!window) return 0;
  const before = window.visible;
  window.visible = command !== 0;
  if (window.visible !== before) yield* send(call, handle, Message.showWindow, window.visible ? 1 : 0, 0);
  return before ? 1 : 0;
}

function* updateWindow(call: ApiCall, handle: number): Generator<Request, HandlerResult, number> {
  const window = windowOf(call, handle);
  if (!window) return 0;
  if (window.visible && !window.painted) {
    window.painted = true;
    yield* send(call, handle, Message.paint, 0, 0);
  }
  return 1;
}

export const windows: Handlers = {
  ...both({
    RegisterClass: (wide) => (call, at) => register(call, wide, at, false),
    RegisterClassEx: (wide) => (call, at) => register(call, wide, at, true),
    UnregisterClass: (wide) => (call, name) =>
      desktop(call).classes.delete(classKey(call, name, wide)) ? 1 : call.fail(1411),
    GetClassInfo: (wide) => (call, _instance, name, at) => {
      const found = desktop(call).classes.get(classKey(call, name, wide));
      if (!found) return call.fail(1411);
      found.fields.slice(0, 10).forEach((value, i) => call.memory.setU32(at + 4 * i, value));
      return 1;
    },
    GetClassInfoEx: (wide) => (call, _instance, name, at) => {
      const found = desktop(call).classes.get(classKey(call, name, wide));
      if (!found) return call.fail(1411);
      found.fields.slice(0, 10).forEach((value, i) => call.memory.setU32(at + 4 + 4 * i, value));
      call.memory.setU32(at + 44, found.fields[10] ?? 0);
      return found.atom;
    },
    CreateWindowEx: (wide) =>
      function* (
        call,
        exStyle,
        className,
        title,
        style,
        x,
        y,
        width,
        height,
        parent,
        menu,
        instance,
        parameter,
      ) {
        return yield* createWindow(call, {
          exStyle,
          className: classKey(call, className, wide),
          title: title < 0x10000 ? "" : text(call, title, wide, 0x8000),
          style,
          rect: [x, y, width, height],
          parent,
          menu,
          instance,
          parameter,
          wide,
          namePointer: title,
          classPointer: className,
        });
      },
    DefWindowProc: (wide) => (call, handle, message, wparam, lparam) =>
      defaultProcedure(call, wide, handle, message, wparam, lparam),
    CallWindowProc: (wide) =>
      function* (call, procedure, handle, message, wparam, lparam) {
        if (procedure === 0) return yield* defaultProcedure(call, wide, handle, message, wparam, lparam);
        return yield invoke(procedure, [handle, message, wparam, lparam]);
      },
    GetWindowLong: () => (call, handle, index) => {
      const window = windowOf(call, handle);
      return window ? longIndex(call, window, index) : 0;
    },
    SetWindowLong: () => (call, handle, index, value) => {
      const window = windowOf(call, handle);
      if (!window) return 0;
      call.lastError = 0;
      return longIndex(call, window, index, value);
    },
    GetClassLong: () => (call, handle, index) => {
      const window = windowOf(call, handle);
      const found = window && desktop(call).classes.get(lower(window.className));
      return (index | 0) === -32 ? found?.atom ?? 0 : 0;
    },
    SetClassLong: () => () => 0,
    GetClassName: (wide) => (call, handle, buffer, capacity) => {
      const window = windowOf(call, handle);
      if (!window || capacity === 0) return 0;
      const name = window.className.slice(0, capacity - 1);
      store(call, buffer, name, wide);
      return name.length;
    },
    GetWindowText: (wide) => (call, handle, buffer, capacity) => {
      const window = windowOf(call, handle);
      if (!window || (capacity | 0) <= 0) return 0;
      const value = window.text.slice(0, capacity - 1);
      store(call, buffer, value, wide);
      return value.length;
    },
    GetWindowTextLength: () => (call, handle) => windowOf(call, handle)?.text.length ?? 0,
    SetWindowText: (wide) => (call, handle, value) => {
      const window = windowOf(call, handle);
      if (!window) return 0;
      window.text = text(call, value, wide, 0x8000);
      return 1;
    },
    FindWindow: (wide) => (call, className, title) => find(call, wide, className, title),
    FindWindowEx: (wide) => (call, parent, _after, className, title) =>
      parent === 0 || parent === DESKTOP ? find(call, wide, className, title) : 0,
    SetProp: (wide) => (call, handle, name, value) => {
      const window = windowOf(call, handle);
      window?.properties.set(classKey(call, name, wide), value);
      return window ? 1 : 0;
    },
    GetProp: (wide) => (call, handle, name) =>
      windowOf(call, handle)?.properties.get(classKey(call, name, wide)) ?? 0,
    RemoveProp: (wide) => (call, handle, name) => {
      const key = classKey(call, name, wide);
      const window = windowOf(call, handle);
      const value = window?.properties.get(key) ?? 0;
      window?.properties.delete(key);
      return value;
    },
  }),
  DestroyWindow: destroy,
  ShowWindow: setVisible,
  ShowWindowAsync: setVisible,
  UpdateWindow: updateWindow,
  IsWindow: (call, handle) => handle === DESKTOP || desktop(call).windows.has(handle) ? 1 : 0,
  IsWindowVisible: (call, handle) => handle === DESKTOP || windowOf(call, handle)?.visible ? 1 : 0,
  IsWindowEnabled: (call, handle) => windowOf(call, handle)?.enabled ? 1 : 0,
  IsWindowUnicode: (call, handle) => windowOf(call, handle)?.wide ? 1 : 0,
  ...constant(0, "IsIconic IsZoomed IsHungAppWindow"),
  EnableWindow: (call, handle, enabled) => {
    const window = windowOf(call, handle);
    if (!window) return 0;
    const before = window.enabled;
    window.enabled = enabled !== 0;
    return before ? 0 : 1;
  },
  GetParent: (call, handle) => windowOf(call, handle)?.parent ?? 0,
  SetParent: (call, handle) => windowOf(call, handle)?.parent || DESKTOP,
  GetAncestor: (call, handle) => windowOf(call, handle)?.parent || handle,
  GetWindow: (call, handle, how) => how === 4 ? windowOf(call, handle)?.parent ?? 0 : 0,
  GetDesktopWindow: () => DESKTOP,
  GetShellWindow: () => SHELL_WINDOWS.progman,
  ...Object.fromEntries(
    "GetForegroundWindow GetActiveWindow GetFocus GetTopWindow GetLastActivePopup".split(" ").map((name) => [
      name,
      (call: ApiCall) => desktop(call).active || SHELL_WINDOWS.progman,
    ]),
  ),
  ...Object.fromEntries(
    "SetForegroundWindow SetActiveWindow SetFocus BringWindowToTop".split(" ").map((name) => [
      name,
      (call: ApiCall, handle: number) => {
        const state = desktop(call);
        const before = state.active;
        if (!windowOf(call, handle)) return 0;
        state.active = handle;
        return name.startsWith("SetF") && name !== "SetForegroundWindow" || name === "SetActiveWindow"
          ? before
          : 1;
      },
    ]),
  ),
  GetWindowThreadProcessId: (call, handle, pid) => {
    const window = desktop(call).windows.get(handle);
    const isShell = Object.values(SHELL_WINDOWS).includes(handle) || handle === DESKTOP;
    if (!window && !isShell) return call.fail(Win32.invalidWindowHandle);
    const shell = call.system.processes().find((process) => /^explorer/i.test(process.name))?.pid ?? 4;
    if (pid) call.memory.setU32(pid, window ? call.pid : shell);
    return window ? window.tid : shell + 4;
  },
  GetWindowRect: (call, handle, at) => {
    const window = windowOf(call, handle);
    if (!window && handle !== DESKTOP) return 0;
    const [x, y, width, height] = window?.rect ?? [0, 0, 1920, 1080];
    rectangle(call, at, [x, y, x + width, y + height]);
    return 1;
  },
  GetClientRect: (call, handle, at) => {
    const window = windowOf(call, handle);
    if (!window && handle !== DESKTOP) return 0;
    const [, , width, height] = window?.rect ?? [0, 0, 1920, 1080];
    rectangle(call, at, [0, 0, width, height]);
    return 1;
  },
  MoveWindow: (call, handle, x, y, width, height) => {
    const window = windowOf(call, handle);
    if (!window) return 0;
    window.rect = [x | 0, y | 0, width | 0, height | 0];
    return 1;
  },
  SetWindowPos: (call, handle, _after, x, y, width, height, flags) => {
    const window = windowOf(call, handle);
    if (!window) return 0;
    if (!(flags & 2)) window.rect = [x | 0, y | 0, window.rect[2], window.rect[3]];
    if (!(flags & 1)) window.rect = [window.rect[0], window.rect[1], width | 0, height | 0];
    if (flags & 0x40) window.visible = true;
    if (flags & 0x80) window.visible = false;
    return 1;
  },
  EnumWindows: function* (call, callback, parameter) {
    return yield* enumerate(topLevel(call), callback, parameter);
  },
  EnumDesktopWindows: function* (call, _desktop, callback, parameter) {
    return yield* enumerate(topLevel(call), callback, parameter);
  },
  EnumChildWindows: function* (call, parent, callback, parameter) {
    const handles = parent === 0 || parent === DESKTOP ? topLevel(call) : childrenOf(call, parent);
    return yield* enumerate(handles, callback, parameter);
  },
  EnumThreadWindows: function* (call, tid, callback, parameter) {
    for (
      const window of [...desktop(call).windows.values()].filter((one) => one.tid === tid && !one.parent)
    ) {
      const went: number = yield invoke(callback, [window.handle, parameter]);
      if (went === 0) return 0;
    }
    return 1;
  },
};
