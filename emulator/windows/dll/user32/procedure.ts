// SPDX-License-Identifier: Apache-2.0
/** user32: how messages reach procedures, and how windows come and go. @module */
import type { ApiCall, Request } from "../../api.ts";
import { invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { lower, store, text } from "../shared/text.ts";
import { desktop, MAX_WINDOWS, Message, post, type Window } from "./desktop.ts";

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

/** Parent of windows that only receive messages. */
const MESSAGE_ONLY = 0xfffffffd;
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
