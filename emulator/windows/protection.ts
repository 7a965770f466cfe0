// SPDX-License-Identifier: Apache-2.0
/**
 * Page protections in their three forms: PAGE_… flags of the API, 5-bit MM codes of the memory manager, and
 * bits of page-table entries.
 *
 * @module
 */
import { Pte } from "./address_space.ts";
import { Protect } from "./constants.ts";
import { Mm } from "./vad.ts";

const BASES: readonly (readonly [number, number])[] = [
  [Protect.readOnly, Mm.readOnly],
  [Protect.execute, Mm.execute],
  [Protect.executeRead, Mm.executeRead],
  [Protect.readWrite, Mm.readWrite],
  [Protect.writeCopy, Mm.writeCopy],
  [Protect.executeReadWrite, Mm.executeReadWrite],
  [Protect.executeWriteCopy, Mm.executeWriteCopy],
];
const TO_MM = new Map(BASES);
const FROM_MM = new Map(BASES.map(([page, mm]) => [mm, page]));

/** MM code of a PAGE_… value; undefined when it is not a valid one. */
export function toMm(protect: number): number | undefined {
  const modifiers = Protect.guard | Protect.noCache | Protect.writeCombine;
  const base = protect & ~modifiers;
  if (base === Protect.noAccess) return protect === base ? Mm.noAccess : undefined;
  const code = TO_MM.get(base);
  if (code === undefined) return undefined;
  if (protect & Protect.guard) return protect & ~(base | Protect.guard) ? undefined : code | Mm.guard;
  return protect & Protect.noCache ? code | Mm.noCache : code;
}

/** PAGE_… value of an MM code. */
export function fromMm(code: number): number {
  const mm = code & 0x1f;
  if (mm === Mm.noAccess) return Protect.noAccess;
  const base = FROM_MM.get(mm & 7) ?? Protect.noAccess;
  return base | (mm & Mm.guard ? Protect.guard : 0) | (mm & Mm.noCache ? Protect.noCache : 0);
}

/** True for pages nobody may touch at first: no access, or a guard page. */
export function isBarred(code: number): boolean {
  return (code & Mm.guard) !== 0;
}

/** Writes are allowed, perhaps after a copy. */
export function isWritable(code: number): boolean {
  return !isBarred(code) && (code & 4) !== 0;
}

/** A write needs a private copy first. */
export function isCopyOnWrite(code: number): boolean {
  const base = code & 7;
  return !isBarred(code) && (base === Mm.writeCopy || base === Mm.executeWriteCopy);
}

/** Code may run there. */
export function isExecutable(code: number): boolean {
  const base = code & 7;
  return !isBarred(code) && (base === 2 || base === 3 || base === 6 || base === 7);
}

/** Protections (by MM code without modifiers) that a view mapped with the protection at this index may get. */
const COMPATIBLE: readonly (readonly number[])[] = [
  [],
  [Mm.readOnly, Mm.writeCopy],
  [Mm.execute],
  [Mm.readOnly, Mm.writeCopy, Mm.execute, Mm.executeRead],
  [Mm.readOnly, Mm.readWrite, Mm.writeCopy],
  [Mm.readOnly, Mm.readWrite, Mm.writeCopy],
  [1, 2, 3, 4, 5, 6, 7],
  [1, 2, 3, 4, 5, 6, 7],
];

/** Whether a view of data that was mapped with one protection may be given another. */
export function allows(mapped: number, code: number): boolean {
  return (code & 0x1f) === Mm.noAccess || COMPATIBLE[mapped & 7].includes(code & 7);
}

/** The code after the private copy was made. */
export function afterCopy(code: number): number {
  return isCopyOnWrite(code) ? code - 1 : code;
}

/** The code a shared page gets for a protection that would let its owner write into the shared frame. */
export function beforeCopy(code: number): number {
  const base = code & 7;
  return !isBarred(code) && (base === Mm.readWrite || base === Mm.executeReadWrite) ? code + 1 : code;
}

/** Page-table entry for a frame under a code. */
export function entryFor(gfn: number, code: number): { high: number; low: number } {
  if (isBarred(code)) return { high: 0, low: 0 };
  const write = isWritable(code) && !isCopyOnWrite(code) ? Pte.write : 0;
  return {
    high: isExecutable(code) ? 0 : Pte.noExecute,
    low: (gfn * 4096 + (Pte.present | Pte.user | Pte.accessed | write)) >>> 0,
  };
}
