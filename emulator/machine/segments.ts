// SPDX-License-Identifier: Apache-2.0
/** Descriptors and the loading of segment registers (SDM volume 3, 3.4 and 5.6 to 5.8). @module */
import { type Core, Rights } from "./core.ts";
import { GuestFault, Vector } from "./fault.ts";

/** A descriptor, decoded. */
export interface Descriptor {
  readonly address: number;
  readonly low: number;
  readonly high: number;
  readonly base: number;
  /** In bytes, inclusive. */
  readonly limit: number;
  /** As {@link Rights}. */
  readonly rights: number;
  readonly dpl: number;
}

/** Decodes the two words of a descriptor. */
export function parseDescriptor(address: number, low: number, high: number): Descriptor {
  const base = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000);
  const raw = (low & 0xffff) | (high & 0xf_0000);
  const rights = (high >>> 8) & 0xf0ff;
  return {
    address,
    low,
    high,
    base,
    limit: (rights & Rights.pages ? (raw << 12) | 0xfff : raw) >>> 0,
    rights,
    dpl: (rights >> 5) & 3,
  };
}

/** Linear address of a selector's descriptor, or -1 when it is outside its table. */
export function descriptorAddress(core: Core, selector: number): number | undefined {
  const table = selector & 4 ? core.ldtr : core.gdtr;
  if (selector & 4 && !(core.ldtr.rights & Rights.present)) return undefined;
  if ((selector | 7) > table.limit) return undefined;
  return (table.base + (selector & 0xfff8)) | 0;
}

/** The descriptor of a selector; throws `vector`(selector) when it is outside its table. */
export function descriptorAt(core: Core, selector: number, vector: number = Vector.gp): Descriptor {
  const address = descriptorAddress(core, selector);
  if (address === undefined) throw new GuestFault(vector, selector & 0xfffc);
  return parseDescriptor(address, core.read(address, 4, false), core.read((address + 4) | 0, 4, false));
}

/** Null selectors are 0 to 3. */
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
/** Code that may run and is no data. */
export const isCode = (d: Descriptor): boolean => (d.rights & 0x18) === 0x18;
/** Data that can be written. */
export const isWritable = (d: Descriptor): boolean => (d.rights & 0x1a) === 0x12;

/** Sets the accessed bit in memory when it is clear. */
export function markAccessed(core: Core, d: Descriptor): void {
  if (!(d.rights & Rights.accessed)) {
    core.write((d.address + 5) | 0, 1, (d.rights | Rights.accessed) & 0xff, false);
  }
}

/** Puts a descriptor into a segment register. */
export function install(core: Core, segment: number, selector: number, d: Descriptor): void {
  core.setSegment(segment, selector, d.base, d.limit, d.rights | Rights.accessed);
}
/** Puts a null selector into a data segment register. */
export function installNull(core: Core, segment: number, selector: number): void {
  core.setSegment(segment, selector, 0, 0, Rights.unusable);
}

/** Checks a stack segment for a privilege level; throws `vector`(selector), or #SS when it is not present. */
export function checkStack(
  core: Core,
  selector: number,
  cpl: number,
  vector: number = Vector.gp,
): Descriptor {
  if (isNull(selector)) throw new GuestFault(vector, vector === Vector.gp ? 0 : selector & 0xfffc);
  const d = descriptorAt(core, selector, vector);
  if ((selector & 3) !== cpl || d.dpl !== cpl || !isWritable(d)) {
    throw new GuestFault(vector, selector & 0xfffc);
  }
  if (!(d.rights & Rights.present)) throw new GuestFault(Vector.ss, selector & 0xfffc);
  return d;
}

/** Loads a data or stack segment register as MOV does, with all checks; throws `vector`(selector) where they fail. */
export function loadDataSegment(
  core: Core,
  segment: number,
  selector: number,
  vector: number = Vector.gp,
): void {
  if (segment === 2) {
    const d = checkStack(core, selector, core.cpl);
    markAccessed(core, d);
    install(core, 2, selector, d);
    return;
  }
  if (isNull(selector)) return installNull(core, segment, selector);
  const d = descriptorAt(core, selector, vector);
  const { rights } = d;
  const readable = (rights & Rights.notSystem) !== 0 &&
    (!(rights & Rights.code) || (rights & Rights.readable) !== 0);
  const conforming = (rights & 0xc) === 0xc;
  if (!readable || (!conforming && ((selector & 3) > d.dpl || core.cpl > d.dpl))) {
    throw new GuestFault(vector, selector & 0xfffc);
  }
  if (!(rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
  markAccessed(core, d);
  install(core, segment, selector, d);
}

/** Loads any segment register without privilege checks; CS sets the CPL. For the host. */
export function loadSegmentUnchecked(core: Core, segment: number, selector: number): void {
  if (isNull(selector) && segment !== 1) return installNull(core, segment, selector);
  install(core, segment, selector, descriptorAt(core, selector));
  if (segment === 1) core.setCpl(selector & 3);
}

/** Loads TR; the descriptor must be a TSS. */
export function loadTaskUnchecked(core: Core, selector: number): void {
  const d = descriptorAt(core, selector);
  core.tr = { selector, base: d.base, limit: d.limit, rights: d.rights | 2 };
}
