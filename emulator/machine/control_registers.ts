// SPDX-License-Identifier: Apache-2.0
/** CR0, CR3 and CR4: which values they take (SDM volume 3, 2.5 and 4.4.1). @module */
import type { Core } from "./core.ts";
import { generalProtection } from "./fault.ts";

/** Bits of CR0. */
export const Cr0 = {
  pe: 1,
  mp: 2,
  em: 4,
  ts: 8,
  et: 0x10,
  nw: 0x2000_0000,
  cd: 0x4000_0000,
  pg: 0x8000_0000 | 0,
} as const; // deno-fmt-ignore
/** Bits of CR4. */
export const Cr4 = { tsd: 4, de: 8, pse: 0x10, pae: 0x20, pge: 0x80, pce: 0x100 } as const;
const CR0_BITS = 0xe005_003f | 0;
/** TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT; there are no VME and PVI. */
const CR4_BITS = 0x07fc;
/** Changes of these load the page-directory pointers again, where there are such. */
const CR4_LOADS = Cr4.pse | Cr4.pae | Cr4.pge;
const CR0_LOADS = Cr0.pg | Cr0.cd | Cr0.nw;

function take(core: Core, register: 0 | 3 | 4, value: number): void {
  if (register === 0) core.cr0 = value;
  else if (register === 3) core.cr3 = value;
  else core.cr4 = value;
  core.flushAll();
  core.host.controlRegisterWritten(register, value >>> 0);
}

/** #GP when the page-directory pointers that would be loaded have reserved bits. */
function checkPointers(core: Core, cr0: number, cr3: number, cr4: number): void {
  if (!(cr0 & Cr0.pg) || !(cr4 & Cr4.pae)) return;
  if (core.host.directoryPointersValid?.(cr3 >>> 0) === false) throw generalProtection(0);
}

/** MOV to CR0 and LMSW. Returns false for real mode, which is not modelled; nothing is changed then. */
export function loadCr0(core: Core, wanted: number): boolean {
  const value = (wanted & CR0_BITS) | Cr0.et;
  if ((value & Cr0.pg && !(value & Cr0.pe)) || (value & Cr0.nw && !(value & Cr0.cd))) {
    throw generalProtection(0);
  }
  if (!(value & Cr0.pe)) return false;
  if ((value ^ core.cr0) & CR0_LOADS) checkPointers(core, value, core.cr3, core.cr4);
  take(core, 0, value);
  return true;
}

/** MOV to CR3, and the CR3 of a new task. */
export function loadCr3(core: Core, value: number): void {
  checkPointers(core, core.cr0, value, core.cr4);
  take(core, 3, value);
}

/** MOV to CR4. */
export function loadCr4(core: Core, value: number): void {
  if (value & ~CR4_BITS) throw generalProtection(0);
  if ((value ^ core.cr4) & CR4_LOADS) checkPointers(core, core.cr0, core.cr3, value);
  const extensions = (value ^ core.cr4) & Cr4.de;
  take(core, 4, value);
  if (extensions) core.breakpoints.rearm((value & Cr4.de) !== 0);
}
