// SPDX-License-Identifier: Apache-2.0
/** user32: the desktop's measures, mouse and keyboard, characters, rectangles, menus, clipboard, painting. @module */
import type { ApiCall, Handler } from "../../api.ts";
import { both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { counted, encode, lower, store, text, upper } from "../shared/text.ts";
import { characterType } from "../kernel32/string.ts";
import { Arguments, format, variadic } from "../msvcrt/printf.ts";
import { DESKTOP, desktop, windowOf } from "./desktop.ts";

/** GetSystemMetrics of a desktop of 1920 × 1080 (winuser.h). */
const METRICS: Record<number, number> = {
  0: 1920,
  1: 1080,
  2: 17,
  3: 17,
  4: 22,
  5: 1,
  6: 1,
  7: 3,
  8: 3,
  11: 32,
  12: 32,
  13: 32,
  14: 32,
  15: 20,
  16: 1920,
  17: 1018,
  19: 1,
  28: 132,
  29: 38,
  30: 30,
  31: 30,
  32: 8,
  33: 8,
  34: 132,
  35: 38,
  36: 4,
  37: 4,
  43: 3,
  45: 2,
  46: 2,
  49: 16,
  50: 16,
  59: 1936,
  60: 1096,
  61: 1936,
  62: 1056,
  68: 4,
  69: 4,
  75: 1,
  78: 1920,
  79: 1080,
  80: 1,
  81: 1,
};

/** The mouse moves as a hand does it: a slow walk that depends on the clock alone. */
function cursor(call: ApiCall): [number, number] {
  const phase = call.clock.tickCount / 700;
  return [Math.round(960 + 600 * Math.sin(phase)), Math.round(540 + 300 * Math.sin(phase * 1.37 + 1))];
}

/** A heap block with text as the wsprintf functions make it: at most 1024 characters. */
const printed = (wide: boolean, call: ApiCall, buffer: number, picture: number, args: Arguments): number => {
  const value = format(call, text(call, picture, wide, 4096), args, wide).slice(0, 1023);
  store(call, buffer, value, wide);
  return value.length;
};

const convert = (change: (value: string) => string) => (wide: boolean): Handler => (call, at) => {
  if (at < 0x10000) return change(String.fromCharCode(at & (wide ? 0xffff : 0xff))).charCodeAt(0);
  store(call, at, change(text(call, at, wide)), wide);
  return at;
};

const convertBuffer =
  (change: (value: string) => string) => (wide: boolean): Handler => (call, at, length) => {
    call.memory.setBytes(at, encode(change(counted(call, at, Math.min(length, 0x100000), wide)), wide));
    return length;
  };

const classOf = (bits: number) => (): Handler => (_, unit) => characterType(unit & 0xffff) & bits ? 1 : 0;

type Rect = [number, number, number, number];
const readRect = (call: ApiCall, at: number): Rect =>
  [0, 4, 8, 12].map((offset) => call.memory.u32(at + offset) | 0) as Rect;
const writeRect = (call: ApiCall, at: number, rect: readonly number[]) => {
  rect.forEach((value, i) => call.memory.setU32(at + 4 * i, value >>> 0));
  return 1;
};
const isEmpty = ([left, top, right, bottom]: Rect) => left >= right || top >= bottom;

/** A handle for something of which only its existence matters. */
function newHandle(call: ApiCall): number {
  const handles = call.state("user-objects", () => ({ next: 0x40001 }));
  handles.next += 0x10002;
  return handles.next;
}

const copyText: Handler = (call, source, target) => {
  store(call, target, text(call, source, false), false);
  return 1;
};
const copyWide = (toWideText: boolean): Handler => (call, source, target) => {
  store(call, target, text(call, source, !toWideText), toWideText);
  return 1;
};

function systemParameters(call: ApiCall, wide: boolean, action: number, size: number, at: number): number {
  switch (action) {
    case 0x30: // SPI_GETWORKAREA
      return writeRect(call, at, [0, 0, 1920, 1040]);
    case 0x73: // SPI_GETDESKWALLPAPER
      store(call, at, "C:\\Windows\\web\\wallpaper\\Windows\\img0.jpg".slice(0, Math.max(0, size - 1)), wide);
      return 1;
    case 0x10: // SPI_GETSCREENSAVEACTIVE
      call.memory.setU32(at, 1);
      return 1;
    default:
      return 1;
  }
}

export const misc: Handlers = {
  GetSystemMetrics: (_, index) => METRICS[index] ?? 0,
  GetCursorPos: (call, at) => {
    const [x, y] = cursor(call);
    call.memory.setU32(at, x);
    call.memory.setU32(at + 4, y);
    return 1;
  },
  GetPhysicalCursorPos: (call, at) => {
    const [x, y] = cursor(call);
    call.memory.setU32(at, x);
    call.memory.setU32(at + 4, y);
    return 1;
  },
  GetLastInputInfo: (call, at) => {
    call.memory.setU32(at + 4, Math.max(0, call.clock.tickCount - 340));
    return 1;
  },
  GetCursorInfo: (call, at) => {
    [1, 0x10003, ...cursor(call)].forEach((value, i) => call.memory.setU32(at + 4 + 4 * i, value));
    return 1;
  },
  GetCursor: () => 0x10003,
  SetCursor: () => 0x10003,
  ...constant(1, "SetCursorPos ClipCursor ShowCursor BlockInput mouse_event keybd_event LockWorkStation"),
  ...constant(0, "GetKeyState GetAsyncKeyState GetCapture ReleaseCapture SetCapture GetInputDesktop"),
  GetKeyboardState: (call, at) => {
    call.memory.setBytes(at, new Uint8Array(256));
    return 1;
  },
  GetKeyboardLayout: () => 0x04090409,
  GetKeyboardLayoutList: (call, count, at) => {
    if (count > 0) call.memory.setU32(at, 0x04090409);
    return 1;
  },
  GetKeyboardType: (_, kind) => [4, 0, 12][kind] ?? 0,
  SendInput: (_, count) => count,
  GetDoubleClickTime: () => 500,
  GetCaretBlinkTime: () => 530,
  GetSysColor: (_, index) =>
    [0xc8c8c8, 0, 0xd1b499, 0xdbcdbf, 0xf0f0f0, 0xffffff, 0x646464, 0, 0][index] ?? 0xf0f0f0,
  GetSysColorBrush: (_, index) => 0x1100060 + index,
  SwapMouseButton: () => 0,

  ...both({
    wsprintf: (wide) => (call, buffer, picture) => printed(wide, call, buffer, picture, variadic(call, 2)),
    wvsprintf: (wide) => (call, buffer, picture, list) =>
      printed(wide, call, buffer, picture, new Arguments(call, list)),
    CharUpper: convert(upper),
    CharLower: convert(lower),
    CharUpperBuff: convertBuffer(upper),
    CharLowerBuff: convertBuffer(lower),
    CharNext: (wide) => (call, at) =>
      (wide ? call.memory.u16(at) : call.memory.u8(at)) === 0 ? at : at + (wide ? 2 : 1),
    CharPrev: (wide) => (_, start, at) => at > start ? at - (wide ? 2 : 1) : start,
    IsCharAlpha: classOf(0x100),
    IsCharAlphaNumeric: classOf(0x104),
    IsCharUpper: classOf(1),
    IsCharLower: classOf(2),
    SystemParametersInfo: (wide) => (call, action, size, at) =>
      systemParameters(call, wide, action, size, at),
    GetKeyboardLayoutName: (wide) => (call, at) => {
      store(call, at, "00000409", wide);
      return 1;
    },
    GetKeyNameText: () => () => 0,
    MapVirtualKey: () => (_, code) => code,
    VkKeyScan: () => (_, unit) => unit & 0xff,
    LoadKeyboardLayout: () => () => 0x04090409,
    AppendMenu: () => () => 1,
    InsertMenu: () => () => 1,
    InsertMenuItem: () => () => 1,
    ModifyMenu: () => () => 1,
    SetMenuItemInfo: () => () => 1,
    GetMenuString: () => () => 0,
    DrawText: (wide) => (call, _dc, at, length) => {
      call.print(counted(call, at, Math.min(length, 0x1000) | (length & 0x80000000), wide) + "\n");
      return 16;
    },
    DrawTextEx: (wide) => (call, _dc, at, length) => {
      call.print(counted(call, at, Math.min(length, 0x1000) | (length & 0x80000000), wide) + "\n");
      return 16;
    },
    SetWindowsHookEx: () => newHandle,
    SetWindowsHook: () => newHandle,
    RegisterClipboardFormat: (wide) => (call, name) => {
      const known = call.state("clipboard-formats", () => new Map<string, number>());
      const key = lower(text(call, name, wide, 256));
      if (!known.has(key)) known.set(key, 0xc100 + known.size);
      return known.get(key);
    },
    EnumDisplayDevices: (wide) => (call, _device, index, at) => {
      if (index > 0) return 0;
      const step = wide ? 2 : 1;
      store(call, at + 4, "\\\\.\\DISPLAY1", wide);
      store(call, at + 4 + 32 * step, "NVIDIA GeForce GT 430", wide);
      call.memory.setU32(at + 4 + 160 * step, 5);
      return 1;
    },
    GetMonitorInfo: (wide) => (call, _monitor, at) => {
      writeRect(call, at + 4, [0, 0, 1920, 1080]);
      writeRect(call, at + 20, [0, 0, 1920, 1040]);
      call.memory.setU32(at + 36, 1);
      if (call.memory.u32(at) > 40) store(call, at + 40, "\\\\.\\DISPLAY1", wide);
      return 1;
    },
    GetUserObjectInformation: (wide) => (call, _object, kind, at, size, needed) => {
      const value = kind === 2 ? "Default" : "";
      const bytes = (value.length + 1) * (wide ? 2 : 1);
      if (needed) call.memory.setU32(needed, bytes);
      if (size < bytes) return call.fail(Win32.insufficientBuffer);
      store(call, at, value, wide);
      return 1;
    },
    OpenDesktop: () => newHandle,
    CreateDesktop: () => newHandle,
    OpenWindowStation: () => newHandle,
    ChangeDisplaySettings: () => () => 0,
    EnumDisplaySettings: () => () => 0,
    WinHelp: () => () => 1,
  }),
  CharToOemA: copyText,
  OemToCharA: copyText,
  CharToOemW: copyWide(false),
  OemToCharW: copyWide(true),
  CharNextExA: (call, _page, at) => call.memory.u8(at) === 0 ? at : at + 1,
  CallNextHookEx: () => 0,
  ...constant(1, "UnhookWindowsHookEx UnhookWindowsHook SetThreadDesktop SwitchDesktop CloseDesktop"),
  ...constant(
    1,
    "CloseWindowStation SetProcessWindowStation SetProcessDPIAware RegisterHotKey UnregisterHotKey",
  ),
  ...constant(
    1,
    "ExitWindowsEx ChangeWindowMessageFilter ChangeWindowMessageFilterEx FlashWindow AnimateWindow",
  ),
  GetProcessWindowStation: () => 0x2c,
  GetThreadDesktop: () => 0x30,
  SetWinEventHook: newHandle,
  UnhookWinEvent: () => 1,
  MonitorFromWindow: () => 0x10001,
  MonitorFromPoint: () => 0x10001,
  MonitorFromRect: () => 0x10001,
  EnumDisplayMonitors: function* (call, dc, _clip, callback, parameter) {
    const rect = call.heaps.allocate(call.heaps.processHeap, 16, true);
    writeRect(call, rect, [0, 0, 1920, 1080]);
    yield invoke(callback, [0x10001, dc, rect, parameter]);
    call.heaps.free(call.heaps.processHeap, rect);
    return 1;
  },

  CreateMenu: newHandle,
  CreatePopupMenu: newHandle,
  GetMenu: () => 0,
  GetSystemMenu: () => 0x40003,
  GetSubMenu: newHandle,
  ...constant(1, "SetMenu DeleteMenu RemoveMenu DrawMenuBar SetMenuDefaultItem SetMenuInfo"),
  ...constant(
    0,
    "EnableMenuItem CheckMenuItem CheckMenuRadioItem TrackPopupMenu TrackPopupMenuEx GetMenuItemCount",
  ),

  OpenClipboard: () => 1,
  CloseClipboard: () => 1,
  EmptyClipboard: (call) => {
    desktop(call).clipboard.clear();
    return 1;
  },
  SetClipboardData: (call, kind, data) => {
    if (desktop(call).clipboard.size > 256) return 0;
    desktop(call).clipboard.set(kind, data);
    return data;
  },
  GetClipboardData: (call, kind) => desktop(call).clipboard.get(kind) ?? 0,
  IsClipboardFormatAvailable: (call, kind) => desktop(call).clipboard.has(kind) ? 1 : 0,
  CountClipboardFormats: (call) => desktop(call).clipboard.size,
  GetClipboardSequenceNumber: () => 7,
  GetClipboardOwner: () => 0,
  SetClipboardViewer: () => 0,

  GetDC: () => 0x01010054,
  GetDCEx: () => 0x01010054,
  GetWindowDC: () => 0x01010054,
  ReleaseDC: () => 1,
  WindowFromDC: () => DESKTOP,
  WindowFromPoint: (call) => desktop(call).active || DESKTOP,
  BeginPaint: (call, handle, at) => {
    const window = windowOf(call, handle);
    if (!window) return 0;
    window.painted = true;
    call.memory.setBytes(at, new Uint8Array(64));
    call.memory.setU32(at, 0x01010054);
    writeRect(call, at + 8, [0, 0, window.rect[2], window.rect[3]]);
    return 0x01010054;
  },
  EndPaint: () => 1,
  InvalidateRect: (call, handle) => {
    const window = desktop(call).windows.get(handle);
    if (window) window.painted = false;
    return 1;
  },
  ...constant(
    1,
    "ValidateRect RedrawWindow FillRect FrameRect DrawIcon DrawIconEx DrawEdge DrawFrameControl",
  ),
  ...constant(1, "DrawFocusRect InvertRect InvalidateRgn ValidateRgn LockWindowUpdate ScrollWindow ScrollDC"),
  ...constant(1, "SetScrollRange ShowScrollBar EnableScrollBar CreateCaret DestroyCaret ShowCaret HideCaret"),
  ...constant(
    1,
    "SetCaretPos SetLayeredWindowAttributes UpdateLayeredWindow SetWindowRgn GetWindowPlacement",
  ),
  ...constant(1, "SetWindowPlacement EndDeferWindowPos PrintWindow SetWindowDisplayAffinity"),
  ...constant(0, "SetScrollPos GetScrollPos SetScrollInfo GetUpdateRect GetUpdateRgn CloseWindow"),
  BeginDeferWindowPos: newHandle,
  DeferWindowPos: (_, handle) => handle,
  CreateIconFromResource: newHandle,
  CreateIconFromResourceEx: newHandle,
  CreateIconIndirect: newHandle,
  CreateIcon: newHandle,
  CreateCursor: newHandle,
  CopyIcon: (_, icon) => icon,
  CopyImage: (_, image) => image,
  LookupIconIdFromDirectory: () => 1,
  LookupIconIdFromDirectoryEx: () => 1,
  CreateAcceleratorTableA: newHandle,
  CreateAcceleratorTableW: newHandle,
  ClientToScreen: (call, handle, at) => shift(call, handle, at, 1),
  ScreenToClient: (call, handle, at) => shift(call, handle, at, -1),
  MapWindowPoints: () => 0,
  ChildWindowFromPoint: (_, parent) => parent,
  AdjustWindowRect: (call, at, _style, menu) => {
    const [left, top, right, bottom] = readRect(call, at);
    return writeRect(call, at, [left - 8, top - 30 - (menu ? 20 : 0), right + 8, bottom + 8]);
  },
  AdjustWindowRectEx: (call, at, _style, menu) => {
    const [left, top, right, bottom] = readRect(call, at);
    return writeRect(call, at, [left - 8, top - 30 - (menu ? 20 : 0), right + 8, bottom + 8]);
  },
  SetRect: (call, at, left, top, right, bottom) => writeRect(call, at, [left, top, right, bottom]),
  SetRectEmpty: (call, at) => writeRect(call, at, [0, 0, 0, 0]),
  CopyRect: (call, to, from) => writeRect(call, to, readRect(call, from)),
  IsRectEmpty: (call, at) => isEmpty(readRect(call, at)) ? 1 : 0,
  EqualRect: (call, a, b) => readRect(call, a).join() === readRect(call, b).join() ? 1 : 0,
  OffsetRect: (call, at, x, y) => {
    const [left, top, right, bottom] = readRect(call, at);
    return writeRect(call, at, [left + x, top + y, right + x, bottom + y]);
  },
  InflateRect: (call, at, x, y) => {
    const [left, top, right, bottom] = readRect(call, at);
    return writeRect(call, at, [left - x, top - y, right + x, bottom + y]);
  },
  PtInRect: (call, at, x, y) => {
    const [left, top, right, bottom] = readRect(call, at);
    return (x | 0) >= left && (x | 0) < right && (y | 0) >= top && (y | 0) < bottom ? 1 : 0;
  },
  IntersectRect: (call, to, a, b) => {
    const [p, q] = [readRect(call, a), readRect(call, b)];
    const both: Rect = [
      Math.max(p[0], q[0]),
      Math.max(p[1], q[1]),
      Math.min(p[2], q[2]),
      Math.min(p[3], q[3]),
    ];
    writeRect(call, to, isEmpty(both) ? [0, 0, 0, 0] : both);
    return isEmpty(both) ? 0 : 1;
  },
  UnionRect: (call, to, a, b) => {
    const [p, q] = [readRect(call, a), readRect(call, b)];
    const union: Rect = isEmpty(p) ? q : isEmpty(q) ? p : [
      Math.min(p[0], q[0]),
      Math.min(p[1], q[1]),
      Math.max(p[2], q[2]),
      Math.max(p[3], q[3]),
    ];
    writeRect(call, to, union);
    return isEmpty(union) ? 0 : 1;
  },
};

function shift(call: ApiCall, handle: number, at: number, sign: number): number {
  const window = windowOf(call, handle);
  if (!window) return 0;
  call.memory.setU32(at, call.memory.u32(at) + sign * window.rect[0]);
  call.memory.setU32(at + 4, call.memory.u32(at + 4) + sign * window.rect[1]);
  return 1;
}
