// SPDX-License-Identifier: Apache-2.0
/** user32: dialogs from templates, message boxes, strings and other resources. @module */
import type { ApiCall, Handler, HandlerResult, Request } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { moduleOf } from "../kernel32/module.ts";
import { resourceData, resourceKey } from "../kernel32/resource.ts";
import { store, text } from "../shared/text.ts";
import { deliver, next } from "./messages.ts";
import { desktop, Message, post, type Window, windowOf } from "./desktop.ts";
import { createWindow, destroy, dialogProcedure, send } from "./procedure.ts";

const Resource = {
  bitmap: 2,
  icon: 3,
  menu: 4,
  dialog: 5,
  string: 6,
  accelerator: 9,
  groupIcon: 14,
} as const;
const OK = 1;
const CANCEL = 2;
const MAX_CONTROLS = 512;

/** What a user presses in each kind of message box: OK, or Yes. */
const BUTTONS = [OK, OK, 3, 6, 6, 4, 2];

function messageBox(call: ApiCall, wide: boolean, message: number, title: number, type: number): number {
  const shown = [title, message].map((at) => text(call, at, wide, 4096)).filter((part) => part !== "");
  call.print(`[${shown.join("] [")}]\n`);
  return BUTTONS[type & 15] ?? OK;
}

interface Item {
  readonly id: number;
  readonly style: number;
  readonly exStyle: number;
  readonly rect: readonly [number, number, number, number];
  readonly className: string;
  readonly title: string;
}

const STANDARD: Record<number, string> = {
  0x80: "button",
  0x81: "edit",
  0x82: "static",
  0x83: "listbox",
  0x84: "scrollbar",
  0x85: "combobox",
};

/** Reads a DLGTEMPLATE or DLGTEMPLATEEX. */
export function readTemplate(call: ApiCall, start: number): { title: string; style: number; items: Item[] } {
  const { memory } = call;
  let at = start;
  const word = () => (at += 2, memory.u16(at - 2));
  const long = () => (at += 4, memory.u32(at - 4));
  const string = (): string | number => {
    const first = memory.u16(at);
    if (first === 0xffff) {
      at += 4;
      return memory.u16(at - 2);
    }
    const value = text(call, at, true, 1024);
    at += 2 * value.length + 2;
    return value;
  };
  const isExtended = memory.u16(start) === 1 && memory.u16(start + 2) === 0xffff;
  if (isExtended) at += 12;
  const style = long();
  if (!isExtended) at += 4;
  const count = Math.min(word(), MAX_CONTROLS);
  at += 8;
  string();
  string();
  const title = String(string());
  if (style & 0x40) {
    at += isExtended ? 6 : 2;
    string();
  }
  const items: Item[] = [];
  for (let i = 0; i < count; i++) {
    at = (at + 3) & ~3;
    if (isExtended) at += 4;
    const [a, b] = [long(), long()];
    const rect: [number, number, number, number] = [word(), word(), word(), word()];
    const id = isExtended ? long() : word();
    const name = string();
    const caption = string();
    at += 2 + memory.u16(at);
    items.push({
      id,
      style: isExtended ? b : a,
      exStyle: isExtended ? a : b,
      rect,
      className: typeof name === "number" ? STANDARD[name] ?? "static" : name,
      title: typeof caption === "string" ? caption : "",
    });
  }
  return { title, style, items };
}

function* createDialog(
  call: ApiCall,
  template: number,
  parent: number,
  procedure: number,
  parameter: number,
): Generator<Request, Window | undefined, number> {
  const { title, style, items } = readTemplate(call, template);
  const base = {
    exStyle: 0,
    menu: 0,
    instance: 0,
    parameter: 0,
    wide: true,
    namePointer: 0,
    classPointer: 0,
  };
  const handle = yield* createWindow(call, {
    ...base,
    className: "#32770",
    title,
    style,
    rect: [100, 100, 400, 300],
    parent,
  });
  const window = desktop(call).windows.get(handle);
  if (!window) return undefined;
  window.dialogProcedure = procedure;
  for (const item of items) {
    yield* createWindow(call, { ...base, ...item, parent: handle, menu: item.id });
  }
  if (procedure) yield invoke(procedure, [handle, Message.initDialog, 0, parameter]);
  return window;
}

/** How long a dialog is idle before the user presses something, and how often the user does. */
const IDLE = 1500;
const STEP = 100;
const MAX_PRESSES = 20;
const MAX_MESSAGES = 20000;

/** The button a user presses: OK or Next, else the first push button but Cancel; undefined when there is none. */
function nextButton(call: ApiCall, dialog: number): Window | undefined {
  const buttons = [...desktop(call).windows.values()].filter((window) =>
    window.parent === dialog && window.className === "button" && (window.style & 15) <= 1 && window.enabled &&
    window.visible && window.id !== CANCEL
  );
  return buttons.find((button) => button.id === OK) ?? buttons[0];
}

/** A modal loop: messages, and when there are none the user, who goes on, then cancels, then closes. */
function* runDialog(
  call: ApiCall,
  template: number | undefined,
  parent: number,
  procedure: number,
  parameter: number,
): Generator<Request, HandlerResult, number> {
  if (template === undefined) return call.fail(Win32.resourceNameNotFound, 0xffffffff);
  const window = yield* createDialog(call, template, parent, procedure, parameter);
  if (!window) return 0xffffffff;
  window.visible = true;
  call.print(`[dialog] [${window.text}]\n`);
  const { handle } = window;
  let [presses, idle] = [0, 0];
  for (let i = 0; i < MAX_MESSAGES; i++) {
    if (window.dialogResult !== undefined || !desktop(call).windows.has(handle)) break;
    const posted = next(call, 0, 0, 0, true);
    if (posted?.message === Message.quit) {
      // Quitting is for the program's own loop: it finds it again.
      desktop(call).quit = posted.wparam;
      break;
    }
    if (posted) {
      yield* deliver(call, posted);
      continue;
    }
    yield { kind: "sleep", milliseconds: STEP };
    if ((idle += STEP) < IDLE) continue;
    idle = 0;
    if (++presses > MAX_PRESSES + 2) break;
    const button = presses <= MAX_PRESSES ? nextButton(call, handle) : undefined;
    const id = button ? button.id & 0xffff : CANCEL;
    const press = presses > MAX_PRESSES + 1
      ? { window: handle, message: Message.close, wparam: 0, lparam: 0 }
      : {
        window: handle,
        message: Message.command,
        wparam: id,
        lparam: itemOf(call, handle, id)?.handle ?? 0,
      };
    post(call, call.tid, press);
  }
  if (desktop(call).windows.has(handle)) yield* destroy(call, handle);
  return window.dialogResult ?? 0;
}

function itemOf(call: ApiCall, dialog: number, id: number): Window | undefined {
  for (const window of desktop(call).windows.values()) {
    if (window.parent === dialog && (window.id & 0xffff) === (id & 0xffff)) return window;
  }
  return undefined;
}

function templateOf(call: ApiCall, wide: boolean, instance: number, name: number): number | undefined {
  const module = moduleOf(call, instance);
  return module && resourceData(call, module, Resource.dialog, resourceKey(call, name, wide))?.address;
}

/** String `id` of a module's string tables. */
export function loadString(call: ApiCall, instance: number, id: number): string | undefined {
  const module = moduleOf(call, instance);
  const table = module && resourceData(call, module, Resource.string, ((id >>> 4) & 0xfff) + 1);
  if (!table) return undefined;
  let at = table.address;
  for (let i = 0; i < (id & 15); i++) at += 2 + 2 * call.memory.u16(at);
  const length = call.memory.u16(at);
  let value = "";
  for (let i = 0; i < length; i++) value += String.fromCharCode(call.memory.u16(at + 2 + 2 * i));
  return value;
}

/** A handle for an icon, menu, bitmap or accelerator table: made once a resource. */
const loaded = (kind: number) => (wide: boolean): Handler => (call, instance, name) => {
  const key = resourceKey(call, name, wide);
  const module = moduleOf(call, instance);
  const isThere = instance === 0 || (module && resourceData(call, module, kind, key));
  if (!isThere) return call.fail(Win32.resourceNameNotFound);
  const handles = call.state("user-handles", () => ({ next: 0x30001, known: new Map<string, number>() }));
  const label = `${kind}:${instance}:${key}`;
  const known = handles.known.get(label);
  if (known) return known;
  handles.known.set(label, handles.next);
  handles.next += 0x10002;
  return handles.next - 0x10002;
};

const itemText = (wide: boolean): Handler => (call, dialog, id, buffer, capacity) => {
  const item = itemOf(call, dialog, id);
  if (!item || capacity === 0) return call.fail(1421);
  const value = item.text.slice(0, capacity - 1);
  store(call, buffer, value, wide);
  return value.length;
};

export const dialogs: Handlers = {
  ...both({
    MessageBox: (wide) => (call, _owner, message, title, type) =>
      messageBox(call, wide, message, title, type),
    MessageBoxEx: (wide) => (call, _owner, message, title, type) =>
      messageBox(call, wide, message, title, type),
    MessageBoxTimeout: (wide) => (call, _owner, message, title, type) =>
      messageBox(call, wide, message, title, type),
    MessageBoxIndirect: (wide) => (call, at) =>
      messageBox(call, wide, call.memory.u32(at + 12), call.memory.u32(at + 16), call.memory.u32(at + 20)),
    DialogBoxParam: (wide) => (call, instance, name, parent, procedure, parameter) =>
      runDialog(call, templateOf(call, wide, instance, name), parent, procedure, parameter),
    DialogBoxIndirectParam: () => (call, _instance, template, parent, procedure, parameter) =>
      runDialog(call, template, parent, procedure, parameter),
    CreateDialogParam: (wide) =>
      function* (call, instance, name, parent, procedure, parameter) {
        const template = templateOf(call, wide, instance, name);
        if (template === undefined) return call.fail(Win32.resourceNameNotFound);
        const window = yield* createDialog(call, template, parent, procedure, parameter);
        return window?.handle ?? 0;
      },
    CreateDialogIndirectParam: () =>
      function* (call, _instance, template, parent, procedure, parameter) {
        const window = yield* createDialog(call, template, parent, procedure, parameter);
        return window?.handle ?? 0;
      },
    DefDlgProc: () => (call, handle, message, wparam, lparam) => {
      const window = windowOf(call, handle);
      return window?.dialogProcedure ? dialogProcedure(call, window, message, wparam, lparam) : 0;
    },
    GetDlgItemText: itemText,
    SetDlgItemText: (wide) => (call, dialog, id, value) => {
      const item = itemOf(call, dialog, id);
      if (!item) return call.fail(1421);
      item.text = text(call, value, wide, 0x8000);
      return 1;
    },
    SendDlgItemMessage: () =>
      function* (call, dialog, id, message, wparam, lparam) {
        const item = itemOf(call, dialog, id);
        return item ? yield* send(call, item.handle, message, wparam, lparam) : 0;
      },
    LoadString: (wide) => (call, instance, id, buffer, capacity) => {
      const value = loadString(call, instance, id);
      if (value === undefined || value === "") return call.fail(Win32.resourceNameNotFound);
      if (capacity === 0) return 0;
      const cut = value.slice(0, capacity - 1);
      store(call, buffer, cut, wide);
      return cut.length;
    },
    LoadIcon: loaded(Resource.groupIcon),
    LoadCursor: loaded(12),
    LoadBitmap: loaded(Resource.bitmap),
    LoadMenu: loaded(Resource.menu),
    LoadAccelerators: loaded(Resource.accelerator),
    LoadImage: (wide) => (call, instance, name, kind) =>
      (loaded([Resource.bitmap, Resource.groupIcon, 12][kind] ?? 0)(wide) as (
        call: ApiCall,
        ...w: number[]
      ) => number)(
        call,
        instance,
        name,
      ),
    LoadCursorFromFile: () => () => 0x10003,
    LoadMenuIndirect: () => () => 0x50001,
  }),
  EndDialog: (call, dialog, result) => {
    const window = windowOf(call, dialog);
    if (!window) return 0;
    window.dialogResult = result;
    return 1;
  },
  GetDlgItem: (call, dialog, id) => itemOf(call, dialog, id)?.handle ?? call.fail(1421),
  GetDlgCtrlID: (call, handle) => windowOf(call, handle)?.id ?? 0,
  GetDlgItemInt: (call, dialog, id, translated, _signed) => {
    const value = parseInt(itemOf(call, dialog, id)?.text ?? "", 10);
    if (translated) call.memory.setU32(translated, Number.isNaN(value) ? 0 : 1);
    return Number.isNaN(value) ? 0 : value;
  },
  SetDlgItemInt: (call, dialog, id, value, isSigned) => {
    const item = itemOf(call, dialog, id);
    if (item) item.text = `${isSigned ? value | 0 : value}`;
    return item ? 1 : 0;
  },
  CheckDlgButton: (call, dialog, id, checked) => {
    const item = itemOf(call, dialog, id);
    if (item) item.checked = checked;
    return item ? 1 : 0;
  },
  IsDlgButtonChecked: (call, dialog, id) => itemOf(call, dialog, id)?.checked ?? 0,
  CheckRadioButton: () => 1,
  MapDialogRect: () => 1,
  GetDialogBaseUnits: () => 8 | (16 << 16),
  ...constant(0, "GetNextDlgTabItem GetNextDlgGroupItem"),
  MessageBeep: () => 1,
  ...constant(1, "DestroyIcon DestroyCursor DestroyAcceleratorTable DestroyMenu"),
};
