// SPDX-License-Identifier: Apache-2.0
/** user32: what a process has on the desktop: classes, windows, queues, timers. @module */
import type { ApiCall } from "../../api.ts";
import { Win32 } from "../shared/errors.ts";

/** Window messages in use (winuser.h). */
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
export const MAX_WINDOWS = 10000;
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
