// SPDX-License-Identifier: Apache-2.0
/** Control registers, descriptor tables, model-specific registers (SDM volume 3, chapters 2 and 5). @module */
import { DebugStatus, GENERAL_DETECT } from "../breakpoints.ts";
import { Cr0, Cr4, loadCr0, loadCr3, loadCr4 } from "../control_registers.ts";
import { type Core, Flag, Rights } from "../core.ts";
import { generalProtection, GuestFault, invalidOpcode, Vector } from "../fault.ts";
import { State } from "../layout.ts";
import type { OpView } from "../op_view.ts";
import { descriptorAddress, descriptorAt, isNull, parseDescriptor } from "../segments.ts";
import type { Helper } from "./helper.ts";

/** NXE: there is no SYSCALL, no long mode. */
const EFER_BITS = 0x800;

/** Privileged: ring 0 only. */
const privileged = (helper: Helper): Helper => (core, op) => {
  if (core.cpl !== 0) throw generalProtection(0);
  return helper(core, op);
};

function writeCr0(core: Core, op: OpView, wanted: number): void {
  if (loadCr0(core, wanted)) return;
  core.exit = { kind: "unsupported", bytes: new Uint8Array([0x0f, 0x22, op.modrm]), address: op.eip >>> 0 };
}

/** Number of a debug register in an instruction: 4 and 5 are 6 and 7, but not with CR4.DE. Throws. */
function debugRegister(core: Core, op: OpView): number {
  const alias = op.reg === 4 || op.reg === 5;
  if (alias && core.cr4 & Cr4.de) throw invalidOpcode();
  if (core.cpl !== 0) throw generalProtection(0);
  const control = core.breakpoints.get(7);
  if (control & GENERAL_DETECT) {
    core.breakpoints.report(DebugStatus.detected);
    core.breakpoints.set(7, control & ~GENERAL_DETECT, (core.cr4 & Cr4.de) !== 0);
    throw new GuestFault(Vector.db);
  }
  return alias ? op.reg + 2 : op.reg;
}

/** Time-stamp counter as [low, high]. */
function tsc(core: Core): [number, number] {
  const value = core.retired() + core.tscOffset;
  return [value % 0x1_0000_0000 | 0, Math.floor(value / 0x1_0000_0000) | 0];
}

interface Msr {
  read(core: Core): [low: number, high: number];
  write?(core: Core, low: number, high: number): void;
}
const word = (get: (core: Core) => number, set: (core: Core, value: number) => void): Msr => ({
  read: (core) => [get(core), 0],
  write: set,
});
const fixed = (low: number, high = 0): Msr => ({ read: () => [low, high] });

/** Model-specific registers by number; any other is #GP. */
const MSRS: Record<number, Msr> = {
  0x10: {
    read: tsc,
    write: (core, low, high) => {
      core.tscOffset = (high >>> 0) * 0x1_0000_0000 + (low >>> 0) - core.retired();
    },
  },
  0x1b: fixed(0xfee0_0900 | 0),
  0x8b: fixed(0),
  0x174: word((c) => c.sysenter.cs, (c, v) => c.sysenter.cs = v & 0xffff),
  0x175: word((c) => c.sysenter.esp, (c, v) => c.sysenter.esp = v),
  0x176: word((c) => c.sysenter.eip, (c, v) => c.sysenter.eip = v),
  0x1a0: fixed(1),
  0x277: {
    read: (core) => [core.pat[0], core.pat[1]],
    write: (core, low, high) => {
      // Memory types 0, 1 and 4 to 7; nothing depends on them here.
      for (const word of [low, high]) {
        for (let at = 0; at < 32; at += 8) {
          const type = (word >>> at) & 0xff;
          if (type > 7 || type === 2 || type === 3) throw generalProtection(0);
        }
      }
      core.pat = [low, high];
    },
  },
  0xc000_0103: word((c) => c.tscAux, (c, v) => c.tscAux = v),
  0xc000_0080: {
    read: (core) => [core.efer, 0],
    write: (core, low, high) => {
      if (low & ~EFER_BITS || high) throw generalProtection(0);
      core.efer = low;
      core.flushAll();
    },
  },
};

/** CPUID leaves: a P6-class processor with PAE and NX (SDM volume 2, CPUID). */
const TEXT = (s: string): number[] => {
  const b = new TextEncoder().encode(s.padEnd(Math.ceil(s.length / 4) * 4, "\0"));
  return Array.from(
    { length: b.length / 4 },
    (_, i) => b[4 * i] | (b[4 * i + 1] << 8) | (b[4 * i + 2] << 16) | (b[4 * i + 3] << 24),
  );
};
const VENDOR = TEXT("GenuineIntel");
const BRAND = TEXT("Intel(R) Core(TM)2 CPU          6300  @ 1.86GHz".padEnd(48, "\0"));
/** FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, PGE, CMOV, PAT, PSE36, CLFSH, MMX, FXSR, SSE, SSE2, HTT. */
const FEATURES = [0, 2, 3, 4, 5, 6, 8, 11, 13, 15, 16, 17, 19, 23, 24, 25, 26, 28]
  .reduce((bits, bit) => bits | (1 << bit), 0);
/** SSE3, SSSE3. */
const EXTENSIONS = (1 << 0) | (1 << 9);
function leaf(number: number): [eax: number, ebx: number, ecx: number, edx: number] {
  switch (number >>> 0) {
    case 0:
      return [2, VENDOR[0], VENDOR[2], VENDOR[1]];
    case 1:
      return [0x6f6, 0x0002_0800, EXTENSIONS, FEATURES];
    case 0x8000_0000:
      return [0x8000_0004 | 0, 0, 0, 0];
    case 0x8000_0001:
      // NX, RDTSCP.
      return [0, 0, 0, (1 << 20) | (1 << 27)];
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const at = 4 * ((number & 15) - 2);
      return [BRAND[at], BRAND[at + 1], BRAND[at + 2], BRAND[at + 3]];
    }
    default:
      // Leaf 2, and everything beyond the highest leaf: one cache descriptor.
      return [0x0302_0101, 0, 0, 0x0c04_0843];
  }
}

/** Descriptor that LAR, LSL, VERR and VERW may look at, or undefined. */
function visible(
  core: Core,
  selector: number,
  types: number,
): ReturnType<typeof parseDescriptor> | undefined {
  if (isNull(selector)) return undefined;
  const address = descriptorAddress(core, selector);
  if (address === undefined) return undefined;
  const d = parseDescriptor(address, core.read(address, 4, false), core.read((address + 4) | 0, 4, false));
  const system = !(d.rights & Rights.notSystem);
  if (system && !((types >> (d.rights & 15)) & 1)) return undefined;
  const conforming = !system && (d.rights & 0xc) === 0xc;
  if (!conforming && (d.dpl < core.cpl || d.dpl < (selector & 3))) return undefined;
  return d;
}
/** System descriptor types that LAR and LSL accept, as bit sets. */
const LAR_TYPES = 0b0001_1010_0011_1110, LSL_TYPES = 0b0000_1010_0000_1110;

function setZero(core: Core, zero: boolean): void {
  core.eflags = zero ? core.eflags | Flag.zf : core.eflags & ~Flag.zf;
}

export const systemHelpers: Record<string, Helper> = {
  cli: (core) => {
    if (core.cpl > core.iopl) throw generalProtection(0);
    core.setState(State.eflags, core.state(State.eflags) & ~Flag.if);
  },
  sti: (core) => {
    if (core.cpl > core.iopl) throw generalProtection(0);
    const flags = core.state(State.eflags);
    if (!(flags & Flag.if)) core.interruptShadow = core.retired() + 1;
    core.setState(State.eflags, flags | Flag.if);
  },
  halt: privileged((core) => {
    core.exit = { kind: "halt" };
  }),
  vmcall: (core) => {
    if (core.cpl !== 0) throw invalidOpcode();
    core.exit = { kind: "vmcall" };
  },
  writeBack: privileged(() => {}),
  clearTaskSwitched: privileged((core) => {
    if (core.cr0 & Cr0.ts) loadCr0(core, core.cr0 & ~Cr0.ts);
  }),
  readControl: privileged((core, op) => {
    const values: Record<number, number> = { 0: core.cr0, 2: core.cr2, 3: core.cr3, 4: core.cr4 };
    core.setReg(op.rm, values[op.reg]);
  }),
  writeControl: privileged((core, op) => {
    const value = core.reg(op.rm);
    switch (op.reg) {
      case 0:
        return writeCr0(core, op, value);
      case 2:
        core.cr2 = value;
        return;
      case 3:
        return loadCr3(core, value);
      default:
        return loadCr4(core, value);
    }
  }),
  readDebug: (core, op) => core.setReg(op.rm, core.breakpoints.get(debugRegister(core, op))),
  writeDebug: (core, op) => {
    core.breakpoints.set(debugRegister(core, op), core.reg(op.rm), (core.cr4 & Cr4.de) !== 0);
  },
  invalidatePage: privileged((core, op) => {
    const va = (core.segmentBase(op.segment) + op.offset) | 0;
    core.tlb.flushPage(va);
    core.bumpGeneration();
    core.host.invalidatePage(va >>> 0);
  }),
  readMsr: privileged((core) => {
    const msr = MSRS[core.reg(1) >>> 0];
    if (msr === undefined) throw generalProtection(0);
    const [low, high] = msr.read(core);
    core.setReg(0, low);
    core.setReg(2, high);
  }),
  writeMsr: privileged((core) => {
    const msr = MSRS[core.reg(1) >>> 0];
    if (msr === undefined || msr.write === undefined) throw generalProtection(0);
    msr.write(core, core.reg(0), core.reg(2));
  }),
  readTsc: (core, op) => {
    if (core.cr4 & Cr4.tsd && core.cpl !== 0) throw generalProtection(0);
    const [low, high] = tsc(core);
    core.setReg(0, low);
    core.setReg(2, high);
    if (op.opcode === 0x101) core.setReg(1, core.tscAux);
  },
  readPmc: (core) => {
    // Two counters that nobody has started.
    if (core.cpl !== 0 && !(core.cr4 & Cr4.pce)) throw generalProtection(0);
    if (core.reg(1) >>> 0 > 1) throw generalProtection(0);
    core.setReg(0, 0);
    core.setReg(2, 0);
  },
  cpuid: (core) => {
    const [eax, ebx, ecx, edx] = leaf(core.reg(0));
    core.setReg(0, eax);
    core.setReg(3, ebx);
    core.setReg(1, ecx);
    core.setReg(2, edx);
  },
  storeTable: (core, op) => {
    const table = (op.reg & 1) === 0 ? core.gdtr : core.idtr;
    core.prepareWrite(op.memory(6, true), 6);
    core.write(op.memory(2, true), 2, table.limit);
    core.write(op.memory(4, true, 2), 4, op.size === 2 ? table.base & 0xff_ffff : table.base);
  },
  loadTable: privileged((core, op) => {
    const limit = core.read(op.memory(2, false), 2);
    const base = core.read(op.memory(4, false, 2), 4) & (op.size === 2 ? 0xff_ffff : -1);
    const table = { base: base >>> 0, limit };
    if (op.reg === 2) core.gdtr = table;
    else core.idtr = table;
  }),
  storeSystemSelector: (core, op) => {
    op.writeRm(op.isRegister ? op.size : 2, op.reg === 0 ? core.ldtr.selector : core.tr.selector);
  },
  loadLocalTable: privileged((core, op) => {
    const selector = op.readRm(2);
    if (isNull(selector)) {
      core.ldtr = { selector, base: 0, limit: 0, rights: 0 };
      return;
    }
    if (selector & 4) throw generalProtection(selector & 0xfffc);
    const d = descriptorAt(core, selector);
    if ((d.rights & 0x1f) !== 2) throw generalProtection(selector & 0xfffc);
    if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
    core.ldtr = { selector, base: d.base, limit: d.limit, rights: d.rights };
  }),
  loadTask: privileged((core, op) => {
    const selector = op.readRm(2);
    if (isNull(selector)) throw generalProtection(0);
    if (selector & 4) throw generalProtection(selector & 0xfffc);
    const d = descriptorAt(core, selector);
    const type = d.rights & 0x1f;
    if (type !== 1 && type !== 9) throw generalProtection(selector & 0xfffc);
    if (!(d.rights & Rights.present)) throw new GuestFault(Vector.np, selector & 0xfffc);
    core.write((d.address + 5) | 0, 1, (d.rights | 2) & 0xff, false);
    core.tr = { selector, base: d.base, limit: d.limit, rights: d.rights | 2 };
  }),
  verify: (core, op) => {
    const d = visible(core, op.readRm(2), 0);
    const code = d !== undefined && (d.rights & Rights.code) !== 0;
    const readable = !code || (d.rights & Rights.readable) !== 0;
    const writable = !code && d !== undefined && (d.rights & Rights.writable) !== 0;
    setZero(core, d !== undefined && (op.reg === 4 ? readable : writable));
  },
  loadAccessRights: (core, op) => {
    const d = visible(core, op.readRm(2), LAR_TYPES);
    if (d) op.writeRegister(op.reg, op.size, d.high & (op.size === 2 ? 0xff00 : 0xf0_ff00));
    setZero(core, d !== undefined);
  },
  loadSegmentLimit: (core, op) => {
    const d = visible(core, op.readRm(2), LSL_TYPES);
    if (d) op.writeRegister(op.reg, op.size, d.limit);
    setZero(core, d !== undefined);
  },
  storeMachineStatus: (core, op) => op.writeRm(op.isRegister ? op.size : 2, core.cr0),
  loadMachineStatus: privileged((core, op) => {
    // PE can be set but not cleared.
    loadCr0(core, (core.cr0 & ~14) | (op.readRm(2) & 15));
  }),
  arpl: (core, op) => {
    const target = op.readRm(2);
    const rpl = core.reg16(op.reg) & 3;
    const lower = (target & 3) < rpl;
    op.writeRm(2, lower ? (target & 0xfffc) | rpl : target);
    setZero(core, lower);
  },
};
