// SPDX-License-Identifier: Apache-2.0
/** user32: dialogs from templates, message boxes, strings and other resources. @module */
import type { ApiCall, Handler, HandlerResult, Request } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { moduleOf } from "../kernel32/module.ts";
import { resourceData, resourceKey } from "../kernel32/resource.ts";
import { store, text } from "../shared/text.ts";
import { wait } from "./messages.ts";
import { createWindow, desktop, destroy, Message, send, type Window, windowOf } from "./windows.ts";

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

/** What the user does in a dialog that waits: presses OK, then Cancel, then closes it. */
const USER_ACTIONS: readonly (readonly [number, number])[] = [
  [Message.command, OK],
  [Message.command, CANCEL],
  [Message.close, 0],
];

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
  call.print(`[dialog] [${window.text}]\n`);
  const isDone = () => window.dialogResult !== undefined || !desktop(call).windows.has(window.handle);
  for (const [message, wparam] of USER_ACTIONS) {
    // Posted messages and timers first: dialogs often work by them.
    for (let i = 0; i < 1000 && !isDone(); i++) {
      const queue = desktop(call).queues.get(call.tid) ?? [];
      const timer = desktop(call).timers.find((one) => one.window === window.handle);
      if (queue.length === 0 && (!timer || i > 50)) break;
      const posted = yield* wait(call, 0, 0, 0);
      if (posted.message === Message.quit) {
        desktop(call).quit = posted.wparam;
        window.dialogResult = 0;
        break;
      }
      if (posted.message === Message.timer && posted.lparam) {
        yield invoke(posted.lparam, [posted.window, posted.message, posted.wparam, call.clock.tickCount]);
      } else if (posted.window === window.handle && procedure) {
        yield invoke(procedure, [posted.window, posted.message, posted.wparam, posted.lparam]);
      } else yield* send(call, posted.window, posted.message, posted.wparam, posted.lparam);
    }
    if (isDone()) break;
    yield { kind: "sleep", milliseconds: 1500 };
    if (procedure) {
      const control = message === Message.command ? itemOf(call, window.handle, wparam)?.handle ?? 0 : 0;
      if (message === Message.command && control === 0 && wparam === OK) continue;
      yield invoke(window.dialogProcedure || procedure, [window.handle, message, wparam, control]);
    }
  }
  const result = window.dialogResult ?? 0;
  if (desktop(call).windows.has(window.handle)) yield* destroy(call, window.handle);
  return result;
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
    DefDlgProc: () => () => 0,
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
