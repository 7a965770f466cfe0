// SPDX-License-Identifier: Apache-2.0
/** user32: window classes and windows. Nothing is drawn; procedures are called as on a desktop. @module */
import type { ApiCall, HandlerResult, Request } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { atom, atomName } from "../kernel32/environment.ts";
import { lower, store, text } from "../shared/text.ts";

export const Message = {
  create: 1,
  destroy: 2,
  size: 5,
  setText: 0xc,
  getText: 0xd,
  getTextLength: 0xe,
  paint: 0xf,
  close: 0x10,
  quit: 0x12,
  showWindow: 0x18,
  setFont: 0x30,
  ncCreate: 0x81,
  ncDestroy: 0x82,
  initDialog: 0x110,
  command: 0x111,
  timer: 0x113,
} as const;

/** A registered class. */
export interface WindowClass {
  readonly name: string;
  readonly procedure: number;
  readonly wide: boolean;
  readonly extra: number;
  readonly atom: number;
  readonly fields: readonly number[];
}

/** A window; `longs` holds what SetWindowLong stores, by index. */
export interface Window {
  readonly handle: number;
  readonly className: string;
  readonly parent: number;
  readonly id: number;
  readonly tid: number;
  readonly wide: boolean;
  procedure: number;
  text: string;
  style: number;
  exStyle: number;
  visible: boolean;
  enabled: boolean;
  painted: boolean;
  rect: [number, number, number, number];
  userData: number;
  dialogProcedure: number;
  /** Set by EndDialog. */
  dialogResult: number | undefined;
  checked: number;
  readonly longs: Map<number, number>;
  readonly properties: Map<string, number>;
  /** Lines of a list or combo box. */
  readonly items: string[];
}

/** A posted message. */
export interface Posted {
  readonly window: number;
  readonly message: number;
  readonly wparam: number;
  readonly lparam: number;
}

/** A timer. */
export interface Timer {
  readonly window: number;
  readonly id: number;
  readonly period: number;
  readonly callback: number;
  due: number;
}

interface Desktop {
  readonly classes: Map<string, WindowClass>;
  readonly windows: Map<number, Window>;
  readonly queues: Map<number, Posted[]>;
  readonly timers: Timer[];
  next: number;
  quit: number | undefined;
  /** How often the user at the desktop has asked the program to close. */
  closes: number;
  active: number;
  clipboard: Map<number, number>;
  nextTimer: number;
}

/** Most windows, posted messages and timers of a process. */
const MAX_WINDOWS = 10000;
const MAX_POSTED = 10000;

/** The process's part of the desktop. */
export const desktop = (call: ApiCall): Desktop =>
  call.state("desktop", () => ({
    classes: new Map(),
    windows: new Map(),
    queues: new Map(),
    timers: [],
    next: 0x20100,
    quit: undefined,
    closes: 0,
    active: 0,
    clipboard: new Map(),
    nextTimer: 1,
  }));

/** Handle of the desktop window. */
export const DESKTOP = 0x10010;
const MESSAGE_ONLY = 0xfffffffd;

/** A window by handle, with last error set when there is none. */
export function windowOf(call: ApiCall, handle: number): Window | undefined {
  const found = desktop(call).windows.get(handle);
  if (!found) call.lastError = Win32.invalidWindowHandle;
  return found;
}

/** Puts a message into a thread's queue. */
export function post(call: ApiCall, tid: number, posted: Posted): number {
  const { queues } = desktop(call);
  const queue = queues.get(tid) ?? [];
  if (queue.length >= MAX_POSTED) return call.fail(1816);
  queue.push(posted);
  queues.set(tid, queue);
  return 1;
}

/** Classes of the system; their procedures are the default one. */
const SYSTEM_CLASSES = new Set([
  "button",
  "edit",
  "static",
  "listbox",
  "combobox",
  "scrollbar",
  "mdiclient",
  "#32770",
  "richedit",
  "richedit20a",
  "richedit20w",
  "msctls_progress32",
  "msctls_statusbar32",
  "toolbarwindow32",
  "syslistview32",
  "systreeview32",
  "systabcontrol32",
  "sysanimate32",
  "tooltips_class32",
  "msctls_trackbar32",
  "msctls_updown32",
  "rebarwindow32",
]);

const classKey = (call: ApiCall, name: number, wide: boolean) =>
  lower(name < 0x10000 ? atomName(call, "class", name) ?? `#${name}` : text(call, name, wide, 256));

/** Calls a window's procedure; windows without one answer as DefWindowProc does. */
export function* send(
  call: ApiCall,
  handle: number,
  message: number,
  wparam: number,
  lparam: number,
): Generator<Request, number, number> {
  const window = desktop(call).windows.get(handle);
  if (!window) return 0;
  if (window.procedure) return yield invoke(window.procedure, [handle, message, wparam, lparam]);
  if (window.dialogProcedure) return yield* dialogProcedure(call, window, message, wparam, lparam);
  return yield* defaultProcedure(call, window.wide, handle, message, wparam, lparam);
}

/** Messages whose result is the dialog procedure's own: WM_CTLCOLOR…, WM_COMPAREITEM, WM_VKEYTOITEM, …. */
const OWN_RESULT = new Set<number>([
  Message.initDialog,
  0x132,
  0x133,
  0x134,
  0x135,
  0x136,
  0x137,
  0x138,
  0x2e,
  0x2f,
  0x37,
  0x39,
]);
const CANCEL = 2;

/** What the class of dialogs does with a message: the dialog's procedure first, then the default. */
export function* dialogProcedure(
  call: ApiCall,
  window: Window,
  message: number,
  wparam: number,
  lparam: number,
): Generator<Request, number, number> {
  window.longs.set(0, 0);
  const took: number = yield invoke(window.dialogProcedure, [window.handle, message, wparam, lparam]);
  if (OWN_RESULT.has(message)) return took;
  if (took !== 0) return window.longs.get(0) ?? 0;
  if (message === Message.close) {
    post(call, window.tid, { window: window.handle, message: Message.command, wparam: CANCEL, lparam: 0 });
    return 0;
  }
  return yield* defaultProcedure(call, window.wide, window.handle, message, wparam, lparam);
}

/** DefWindowProc, and the parts of the system's controls that programs ask for. */
export function* defaultProcedure(
  call: ApiCall,
  wide: boolean,
  handle: number,
  message: number,
  wparam: number,
  lparam: number,
): Generator<Request, number, number> {
  const window = desktop(call).windows.get(handle);
  if (!window) return 0;
  switch (message) {
    case Message.ncCreate:
      return 1;
    case Message.close:
      yield* destroy(call, handle);
      return 0;
    case Message.setText:
      window.text = text(call, lparam, wide, 0x8000);
      return 1;
    case Message.getTextLength:
      return window.text.length;
    case Message.getText: {
      if (wparam === 0) return 0;
      const value = window.text.slice(0, wparam - 1);
      store(call, lparam, value, wide);
      return value.length;
    }
    case 0x84: // WM_NCHITTEST
      return 1;
    case 0x14: // WM_ERASEBKGND
      return 1;
    case 0x11: // WM_QUERYENDSESSION
    case 0x13: // WM_QUERYOPEN
      return 1;
    default:
      return control(call, window, wide, message, wparam, lparam);
  }
}

/** Messages of list boxes, combo boxes and buttons. */
function control(
  call: ApiCall,
  window: Window,
  wide: boolean,
  message: number,
  wparam: number,
  lparam: number,
) {
  switch (message) {
    case 0x180: // LB_ADDSTRING
    case 0x143: // CB_ADDSTRING
      if (window.items.length >= 10000) return -2;
      window.items.push(text(call, lparam, wide, 4096));
      return window.items.length - 1;
    case 0x18b: // LB_GETCOUNT
    case 0x146: // CB_GETCOUNT
      return window.items.length;
    case 0x184: // LB_RESETCONTENT
    case 0x14b: // CB_RESETCONTENT
      window.items.length = 0;
      return 0;
    case 0x189: // LB_GETTEXT
    case 0x148: { // CB_GETLBTEXT
      const item = window.items[wparam];
      if (item === undefined) return -1;
      store(call, lparam, item, wide);
      return item.length;
    }
    case 0x188: // LB_GETCURSEL
    case 0x147: // CB_GETCURSEL
      return window.items.length > 0 ? 0 : -1;
    case 0xf0: // BM_GETCHECK
      return window.checked;
    case 0xf1: // BM_SETCHECK
      window.checked = wparam;
      return 0;
    case 0xf5: // BM_CLICK
      post(call, window.tid, {
        window: window.parent,
        message: Message.command,
        wparam: window.id & 0xffff,
        lparam: window.handle,
      });
      return 0;
    default:
      return 0;
  }
}

/** What CreateWindowEx is told. */
export interface Creation {
  readonly exStyle: number;
  readonly className: string;
  readonly title: string;
  readonly style: number;
  readonly rect: readonly [number, number, number, number];
  readonly parent: number;
  readonly menu: number;
  readonly instance: number;
  readonly parameter: number;
  readonly wide: boolean;
  /** Pointers for CREATESTRUCT. */
  readonly namePointer: number;
  readonly classPointer: number;
}

const USE_DEFAULT = 0x80000000;

/** Makes a window and sends it its first messages; 0 when there is no such class or the program refuses. */
export function* createWindow(call: ApiCall, creation: Creation): Generator<Request, number, number> {
  const state = desktop(call);
  const known = state.classes.get(lower(creation.className));
  if (!known && !SYSTEM_CLASSES.has(lower(creation.className))) return call.fail(Win32.cannotFindWindowClass);
  if (state.windows.size >= MAX_WINDOWS) return call.fail(Win32.notEnoughMemory);
  const [x, y, width, height] = creation.rect.map((value) => value === USE_DEFAULT ? undefined : value | 0);
  const handle = state.next;
  state.next += 2;
  const window: Window = {
    handle,
    className: creation.className,
    parent: creation.parent === MESSAGE_ONLY ? 0 : creation.parent,
    id: creation.menu,
    tid: call.tid,
    wide: known?.wide ?? creation.wide,
    procedure: known?.procedure ?? 0,
    text: creation.title,
    style: creation.style,
    exStyle: creation.exStyle,
    visible: (creation.style & 0x10000000) !== 0,
    enabled: (creation.style & 0x08000000) === 0,
    painted: false,
    rect: [x ?? 26, y ?? 26, width ?? 960, height ?? 540],
    userData: 0,
    dialogProcedure: 0,
    dialogResult: undefined,
    checked: 0,
    longs: new Map(),
    properties: new Map(),
    items: [],
  };
  state.windows.set(handle, window);
  if (window.procedure === 0) return handle;
  const structure = call.heaps.allocate(call.heaps.processHeap, 48, true);
  [
    creation.parameter,
    creation.instance,
    creation.menu,
    creation.parent,
    window.rect[3],
    window.rect[2],
    window.rect[1],
    window.rect[0],
    creation.style,
    creation.namePointer,
    creation.classPointer,
    creation.exStyle,
  ].forEach((value, i) => call.memory.setU32(structure + 4 * i, value >>> 0));
  const accepted = yield* send(call, handle, Message.ncCreate, 0, structure);
  const created = accepted === 0 ? 0xffffffff : yield* send(call, handle, Message.create, 0, structure);
  call.heaps.free(call.heaps.processHeap, structure);
  if (created === 0xffffffff) {
    yield* destroy(call, handle);
    return 0;
  }
  yield* send(call, handle, Message.size, 0, (window.rect[2] & 0xffff) | (window.rect[3] << 16));
  if (window.visible) yield* send(call, handle, Message.showWindow, 1, 0);
  if (!window.parent) state.active = handle;
  return handle;
}

/** Destroys a window and its children. */
export function* destroy(call: ApiCall, handle: number): Generator<Request, number, number> {
  const state = desktop(call);
  const window = state.windows.get(handle);
  if (!window) return call.fail(Win32.invalidWindowHandle);
  yield* send(call, handle, Message.destroy, 0, 0);
  for (const child of [...state.windows.values()].filter((other) => other.parent === handle)) {
    if (child.style & 0x40000000) yield* destroy(call, child.handle);
  }
  yield* send(call, handle, Message.ncDestroy, 0, 0);
  state.windows.delete(handle);
  for (let i = state.timers.length - 1; i >= 0; i--) {
    if (state.timers[i].window === handle) state.timers.splice(i, 1);
  }
  return 1;
}

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
    for (const window of [...desktop(call).windows.values()].filter((one) => one.parent === 0)) {
      const went: number = yield invoke(callback, [window.handle, parameter]);
      if (went === 0) return 0;
    }
    return 1;
  },
  EnumChildWindows: function* (call, parent, callback, parameter) {
    for (const window of [...desktop(call).windows.values()].filter((one) => one.parent === parent)) {
      const went: number = yield invoke(callback, [window.handle, parameter]);
      if (went === 0) return 0;
    }
    return 1;
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
