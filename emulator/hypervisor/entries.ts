// SPDX-License-Identifier: Apache-2.0
/**
 * Bits of x86 page-table entries. A 64-bit entry is handled as two unsigned 32-bit halves (`hi`, `lo`), so
 * that nothing on the fault path allocates.
 *
 * @module
 */

/** Flag bits in the low half (Intel SDM volume 3A, 4.3 and 4.4). */
export const PRESENT = 0x001;
export const WRITABLE = 0x002;
export const USER = 0x004;
export const ACCESSED = 0x020;
export const DIRTY = 0x040;
/** In a directory entry: the entry maps a large page. In a table entry this bit is PAT. */
export const LARGE = 0x080;
/** Execute-disable, bit 63: in the high half. */
export const NO_EXECUTE = 0x8000_0000;

/** Bits of a #PF error code (SDM 3A, 4.7). */
export const ErrorCode = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

/**
 * Physical-address width of the modelled processor: what a 32-bit PAE processor has that does not report
 * another one in CPUID leaf 0x80000008 (SDM 3A, 4.1.4).
 */
export const PHYSICAL_ADDRESS_BITS = 36;

/** Bits 62 to 36 of a PAE entry: reserved. */
export const RESERVED_HIGH = 0x7fff_fff0;
/** Bits 20 to 13 of a PAE directory entry that maps 2 MiB: reserved (12 is PAT). */
export const RESERVED_LARGE_PAE = 0x001f_e000;
/** Bits 8 to 5 and 2 to 1 of a page-directory-pointer entry: reserved; so are bits 63 to 36. */
export const RESERVED_PDPTE_LOW = 0x0000_01e6;
export const RESERVED_PDPTE_HIGH = 0xffff_fff0;
/** Bit 21 of a 4 MiB directory entry without PAE: reserved (20 to 13 are address bits 39 to 32). */
export const RESERVED_LARGE_LEGACY = 0x0020_0000;

/** Control register bits. */
export const CR0_PE = 0x0000_0001;
export const CR0_WP = 0x0001_0000;
export const CR0_PG = 0x8000_0000;
export const CR4_PSE = 0x10;
export const CR4_PAE = 0x20;
export const EFER_NXE = 0x800;

/** Page-frame number in a PAE entry. */
export function frameOf(hi: number, lo: number): number {
  return (hi & 0xf) * 0x10_0000 + (lo >>> 12);
}

/** High half of a present entry for a frame, without flags. */
export function highOf(frame: number): number {
  return (frame / 0x10_0000) & 0xf;
}

/** Low half of an entry for a frame with the given flags. */
export function lowOf(frame: number, flags: number): number {
  return ((frame << 12) | flags) >>> 0;
}

/**
 * Flags of the shadow entry for a guest leaf entry: never more than the guest grants, and W only once the
 * guest's dirty bit is set, so that the first write comes by and sets it.
 */
export function leafFlags(guestLow: number): number {
  const writable = (guestLow & (WRITABLE | DIRTY)) === (WRITABLE | DIRTY);
  return PRESENT | ACCESSED | (guestLow & USER) | (writable ? WRITABLE | DIRTY : 0);
}

/** Flags of the shadow entry for a guest directory entry. */
export function directoryFlags(guestLow: number): number {
  return PRESENT | ACCESSED | (guestLow & (WRITABLE | USER));
}

/** True when the new entry lacks something that the old one gave: TLBs must forget the old one. */
export function narrows(oldHi: number, oldLo: number, newHi: number, newLo: number): boolean {
  if (!(oldLo & PRESENT)) return false;
  return frameOf(oldHi, oldLo) !== frameOf(newHi, newLo) ||
    (oldLo & ~newLo & (PRESENT | WRITABLE | USER)) !== 0 || (~oldHi & newHi & NO_EXECUTE) !== 0;
}
