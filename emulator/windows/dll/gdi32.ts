// SPDX-License-Identifier: Apache-2.0
/** gdi32.dll: drawing into nothing. Objects are handles with a size where a program asks for one. @module */
import type { ApiCall, DllDefinition, Handler } from "../api.ts";
import { alias, both, constant, define, type Handlers, invoke } from "./define.ts";
import known from "./known/gdi32.json" with { type: "json" };
import { profileEnumerations } from "./shared/enumerations.ts";
import { counted, store } from "./shared/text.ts";

interface Bitmap {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly bits: number;
}

interface Objects {
  next: number;
  readonly bitmaps: Map<number, Bitmap>;
  readonly live: Set<number>;
}

const MAX_OBJECTS = 10000;
const MAX_BITMAP = 0x4000000;

const objects = (call: ApiCall) =>
  call.state<Objects>("gdi", () => ({ next: 0x05050010, bitmaps: new Map(), live: new Set() }));

/** A new object's handle. */
const create: Handler = (call) => {
  const state = objects(call);
  if (state.live.size >= MAX_OBJECTS) return 0;
  state.next += 0x10001;
  state.live.add(state.next);
  return state.next >>> 0;
};

function createBitmap(call: ApiCall, width: number, height: number, depth: number, bits: number): number {
  const handle = create(call) as number;
  if (handle) {
    objects(call).bitmaps.set(handle, { width: width | 0, height: Math.abs(height | 0), depth, bits });
  }
  return handle;
}

const CAPS: Record<number, number> = {
  0: 0x4000,
  2: 1,
  4: 508,
  6: 286,
  8: 1920,
  10: 1080,
  12: 32,
  14: 1,
  24: 0xffffffff,
  38: 0x7e99,
  88: 96,
  90: 96,
  104: 0,
  108: 8,
  116: 60,
};

/** DeviceCaps values that GetStockObject's handles follow. */
const STOCK = 0x01900010;

const textSize = (call: ApiCall, length: number, at: number): number => {
  call.memory.setU32(at, 7 * length);
  call.memory.setU32(at + 4, 16);
  return 1;
};

const drawText = (wide: boolean): Handler => (call, _dc, _x, _y, at, length) => {
  call.print(counted(call, at, Math.min(length, 4096), wide) + "\n");
  return 1;
};

/** Bytes of an ENUMLOGFONTEX and a NEWTEXTMETRIC; where the name of a font stands. */
const FONT_SIZE = 348;
const METRIC_SIZE = 76;
const FONT_NAME = 28;
const TRUETYPE = 4;

/** Hands the one font there is to a callback. */
const oneFont = (wide: boolean): Handler =>
  function* (call, _dc, _wanted, callback, parameter) {
    const { heaps } = call;
    const block = heaps.allocate(heaps.processHeap, FONT_SIZE + METRIC_SIZE, true);
    if (block === 0) return 0;
    store(call, block + FONT_NAME, "System", wide);
    const result: number = yield invoke(callback, [block, block + FONT_SIZE, TRUETYPE, parameter]);
    heaps.free(heaps.processHeap, block);
    return result;
  };

/** Most points of a line that are handed out. */
const MAX_POINTS = 4096;

/** LineDDA: every point of a line but the last. */
const line: Handler = function* (_call, x1, y1, x2, y2, callback, parameter) {
  const [dx, dy] = [(x2 | 0) - (x1 | 0), (y2 | 0) - (y1 | 0)];
  const steps = Math.max(Math.abs(dx), Math.abs(dy));
  for (let i = 0; i < Math.min(steps, MAX_POINTS); i++) {
    const point = [(x1 | 0) + Math.round(dx * i / steps), (y1 | 0) + Math.round(dy * i / steps)];
    yield invoke(callback, [...point, parameter]);
  }
  return 1;
};

const handlers: Handlers = {
  ...alias(
    ("CreateCompatibleDC CreateSolidBrush CreateHatchBrush CreatePatternBrush CreateBrushIndirect CreatePen " +
      "CreatePenIndirect ExtCreatePen CreateFontIndirectA CreateFontIndirectW CreateFontA CreateFontW CreateRectRgn " +
      "CreateRectRgnIndirect CreateEllipticRgn CreateRoundRectRgn CreatePolygonRgn CreatePalette " +
      "CreateHalftonePalette CreateDCA CreateDCW CreateICA CreateICW CreateMetaFileA CreateMetaFileW")
      .split(" "),
    create,
  ),
  CreateCompatibleBitmap: (call, _dc, width, height) => createBitmap(call, width, height, 32, 0),
  CreateBitmap: (call, width, height, _planes, depth) => createBitmap(call, width, height, depth, 0),
  CreateDIBitmap: (call, _dc, header) =>
    createBitmap(call, call.memory.u32(header + 4), call.memory.u32(header + 8), 32, 0),
  CreateDIBSection: (call, _dc, header, _usage, bits) => {
    const [width, height] = [call.memory.u32(header + 4), call.memory.u32(header + 8)];
    const depth = call.memory.u16(header + 14);
    const size = ((Math.abs(width | 0) * depth + 31) >>> 5) * 4 * Math.abs(height | 0);
    if (size === 0 || size > MAX_BITMAP) return call.fail(87);
    const pixels = call.virtual.allocate(0, size, 0x3000, 4);
    if (pixels.status) return call.fail(8);
    if (bits) call.memory.setU32(bits, pixels.base);
    return createBitmap(call, width, height, depth, pixels.base);
  },
  DeleteObject: (call, handle) => {
    const state = objects(call);
    const bitmap = state.bitmaps.get(handle);
    if (bitmap?.bits) call.virtual.free(bitmap.bits, 0, 0x8000);
    state.bitmaps.delete(handle);
    return state.live.delete(handle) || (handle & 0xff000000) === 0x01000000 ? 1 : 0;
  },
  DeleteDC: (call, handle) => {
    objects(call).live.delete(handle);
    return 1;
  },
  GetStockObject: (_, index) => index < 20 ? STOCK + index : 0,
  SelectObject: () => STOCK + 7,
  SelectPalette: () => STOCK + 15,
  ...both({
    GetObject: () => (call, handle, size, at) => {
      const bitmap = objects(call).bitmaps.get(handle);
      if (!bitmap) return 0;
      if (at === 0) return 24;
      const stride = ((bitmap.width * bitmap.depth + 15) >>> 4) * 2;
      const fields = [0, bitmap.width, bitmap.height, stride, 1 | (bitmap.depth << 16), bitmap.bits];
      fields.slice(0, Math.min(6, size >>> 2)).forEach((value, i) => call.memory.setU32(at + 4 * i, value));
      return Math.min(24, size);
    },
    TextOut: drawText,
    ExtTextOut: (wide) => (call, _dc, _x, _y, _options, _rect, at, length) => {
      if (at) call.print(counted(call, at, Math.min(length, 4096), wide) + "\n");
      return 1;
    },
    GetTextExtentPoint: () => (call, _dc, _at, length, size) => textSize(call, length, size),
    GetTextExtentPoint32: () => (call, _dc, _at, length, size) => textSize(call, length, size),
    GetTextMetrics: (wide) => (call, _dc, at) => {
      call.memory.setBytes(at, new Uint8Array(wide ? 60 : 56));
      [16, 13, 3, 3, 0, 7, 14, 400].forEach((value, i) => call.memory.setU32(at + 4 * i, value));
      return 1;
    },
    GetTextFace: (wide) => (call, _dc, capacity, at) => {
      const name = "System";
      if (at && capacity > name.length) store(call, at, name, wide);
      return name.length + 1;
    },
    AddFontResource: () => () => 1,
    EnumFonts: oneFont,
    EnumFontFamilies: oneFont,
    EnumFontFamiliesEx: oneFont,
    StartDoc: () => () => 0xffffffff,
  }),
  ...profileEnumerations,
  LineDDA: line,
  EnumObjects: function* (call, _dc, _type, callback, parameter) {
    const block = call.heaps.allocate(call.heaps.processHeap, 16, true);
    const result: number = yield invoke(callback, [block, parameter]);
    call.heaps.free(call.heaps.processHeap, block);
    return result;
  },
  GetDeviceCaps: (_, _dc, index) => CAPS[index] ?? 0,
  TranslateCharsetInfo: (call, source, at, flags) => {
    // Whatever is asked, the answer is ANSI: charset 0, code page 1252.
    const known = flags === 2 ? source === 1252 : source === 0 || source === 1252 || flags === 3;
    if (!known) return call.fail(87);
    [0, 1252, 0, 0, 0, 0, 1, 0].forEach((value, i) => call.memory.setU32(at + 4 * i, value));
    return 1;
  },
  GetPixel: () => 0xffffff,
  SetPixel: (_, _dc, _x, _y, color) => color,
  GetDIBits: (_, _dc, _bitmap, _start, lines) => lines,
  SetDIBits: (_, _dc, _bitmap, _start, lines) => lines,
  StretchDIBits: (_, _dc, _x, _y, _w, height) => height,
  SetDIBitsToDevice: (_, _dc, _x, _y, _w, height) => height,
  GetBitmapBits: () => 0,
  SetBkColor: () => 0xffffff,
  GetBkColor: () => 0xffffff,
  SetTextColor: () => 0,
  GetTextColor: () => 0,
  ...constant(1, "SetBkMode SetMapMode SetROP2 SetPolyFillMode SetStretchBltMode GetMapMode SaveDC"),
  ...constant(
    1,
    "BitBlt StretchBlt PatBlt Rectangle Ellipse RoundRect LineTo MoveToEx Polygon Polyline RestoreDC",
  ),
  ...constant(
    1,
    "SetPixelV GdiFlush SelectClipRgn ExcludeClipRect IntersectClipRect CombineRgn FillRgn PaintRgn",
  ),
  ...constant(
    1,
    "SetWindowOrgEx SetViewportOrgEx SetWindowExtEx SetViewportExtEx RealizePalette Arc Pie Chord",
  ),
  ...constant(
    1,
    "SetTextAlign SetTextCharacterExtra SetBrushOrgEx SetTextJustification FloodFill ExtFloodFill",
  ),
  ...constant(0, "GetTextAlign GetClipBox GetROP2 EndPage StartPage EndDoc"),
};

export const gdi32: DllDefinition = define({
  name: "gdi32.dll",
  base: 0x76600000,
  known,
  handlers: [handlers],
});
