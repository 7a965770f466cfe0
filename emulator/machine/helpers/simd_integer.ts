// SPDX-License-Identifier: Apache-2.0
/** MMX and SSE2 on integers, and moves of vector registers (SDM volume 2). @module */
import type { Core } from "../core.ts";
import { generalProtection, GuestFault, Vector } from "../fault.ts";
import type { OpView } from "../op_view.ts";
import { immediateShift, type Lanes, packedOperations } from "../simd.ts";
import type { Helper } from "./helper.ts";
import {
  D,
  enterMmx,
  loadMmx,
  loadQ,
  loadW,
  loadXmm,
  mmx,
  opcodeOf,
  prefixOf,
  readMemory,
  S,
  sse,
  storeMmx,
  storeXmm,
  writeLinear,
  writeMemory,
} from "./simd_operands.ts"; // deno-fmt-ignore

const byte = (op: OpView) => op.immediate & 0xff;

function shuffleWords(source: Lanes, target: Lanes, base: number, order: number): void {
  const words = source.u16.slice();
  for (let i = 0; i < 4; i++) target.u16[base + i] = words[base + ((order >> (2 * i)) & 3)];
}
function signMask(lanes: Lanes, n: number): number {
  let mask = 0;
  for (let i = 0; i < n; i++) mask |= (lanes.u8[i] >> 7) << i;
  return mask;
}
/** Writes the bytes whose mask has its top bit set to DS:(E)DI. */
function maskedStore(core: Core, op: OpView, n: number): void {
  const at = op.linear(op.segment, core.reg(7) & op.addressMask, n, true);
  const value = D.u8.slice(0, n), mask = S.u8.slice(0, n);
  for (let i = 0; i < n; i++) if (mask[i] & 0x80) core.prepareWrite((at + i) | 0, 1);
  for (let i = 0; i < n; i++) if (mask[i] & 0x80) core.write((at + i) | 0, 1, value[i]);
}

const mmxHelpers: Record<string, Helper> = {
  mmxPacked: (core, op) => {
    const opcode = opcodeOf(op);
    // The unpacking of low halves reads only four bytes.
    loadQ(core, op, S, opcode >= 0x60 && opcode <= 0x62 ? 4 : 8);
    loadMmx(core, op.reg, D);
    packedOperations[opcode](D, S, 8);
    enterMmx(core);
    storeMmx(core, op.reg, D);
  },
  mmxShift: (core, op) => {
    loadMmx(core, op.rm, D);
    S.u64[0] = BigInt(byte(op));
    immediateShift(opcodeOf(op), op.reg)(D, S, 8);
    enterMmx(core);
    storeMmx(core, op.rm, D);
  },
  mmxLoad32: (core, op) => {
    D.u64[0] = BigInt.asUintN(32, BigInt(op.readRm(4)));
    enterMmx(core);
    storeMmx(core, op.reg, D);
  },
  mmxStore32: (core, op) => {
    loadMmx(core, op.reg, D);
    op.writeRm(4, D.i32[0]);
    enterMmx(core);
  },
  mmxLoad: (core, op) => {
    loadQ(core, op, D);
    enterMmx(core);
    storeMmx(core, op.reg, D);
  },
  mmxStore: (core, op) => {
    loadMmx(core, op.reg, D);
    if (!op.isRegister) writeMemory(core, op, 8, D);
    enterMmx(core);
    if (op.isRegister) storeMmx(core, op.rm, D);
  },
  mmxShuffle: (core, op) => {
    loadQ(core, op, S);
    shuffleWords(S, D, 0, byte(op));
    enterMmx(core);
    storeMmx(core, op.reg, D);
  },
  mmxInsert: (core, op) => {
    const word = op.readRm(2);
    loadMmx(core, op.reg, D);
    D.u16[byte(op) & 3] = word;
    enterMmx(core);
    storeMmx(core, op.reg, D);
  },
  mmxExtract: (core, op) => {
    loadMmx(core, op.rm, S);
    enterMmx(core);
    core.setReg(op.reg, S.u16[byte(op) & 3]);
  },
  mmxMask: (core, op) => {
    loadMmx(core, op.rm, S);
    enterMmx(core);
    core.setReg(op.reg, signMask(S, 8));
  },
  mmxMaskedStore: (core, op) => {
    loadMmx(core, op.reg, D);
    loadMmx(core, op.rm, S);
    maskedStore(core, op, 8);
    enterMmx(core);
  },
  emms: (core) => {
    core.fpu.top = 0;
    core.fpu.empty = 0xff;
  },
};

const sseHelpers: Record<string, Helper> = {
  ssePacked: (core, op) => {
    loadW(core, op, S);
    loadXmm(core, op.reg, D);
    packedOperations[opcodeOf(op)](D, S, 16);
    storeXmm(core, op.reg, D);
  },
  sseShift: (core, op) => {
    loadXmm(core, op.rm, D);
    S.u64[0] = BigInt(byte(op));
    immediateShift(opcodeOf(op), op.reg)(D, S, 16);
    storeXmm(core, op.rm, D);
  },
  sseLogic: (core, op) => {
    loadW(core, op, S);
    loadXmm(core, op.reg, D);
    packedOperations[[0xdb, 0xdf, 0xeb, 0xef][opcodeOf(op) - 0x54]](D, S, 16);
    storeXmm(core, op.reg, D);
  },
  sseLoad: (core, op) => {
    loadW(core, op, D);
    storeXmm(core, op.reg, D);
  },
  sseStore: (core, op) => {
    loadXmm(core, op.reg, D);
    if (op.isRegister) storeXmm(core, op.rm, D);
    else writeMemory(core, op, 16, D, true);
  },
  sseLoadUnaligned: (core, op) => {
    loadW(core, op, D, 16, false);
    storeXmm(core, op.reg, D);
  },
  sseStoreUnaligned: (core, op) => {
    loadXmm(core, op.reg, D);
    if (op.isRegister) storeXmm(core, op.rm, D);
    else writeMemory(core, op, 16, D);
  },
  sseLoadLow: (core, op) => {
    // The register form is MOVHLPS.
    if (op.isRegister) {
      loadXmm(core, op.rm, S);
      S.u64[0] = S.u64[1];
    } else readMemory(core, op, 8, S);
    loadXmm(core, op.reg, D);
    D.u64[0] = S.u64[0];
    storeXmm(core, op.reg, D);
  },
  sseStoreLow: (core, op) => {
    loadXmm(core, op.reg, D);
    writeMemory(core, op, 8, D);
  },
  sseLoadHigh: (core, op) => {
    // The register form is MOVLHPS.
    if (op.isRegister) loadXmm(core, op.rm, S);
    else readMemory(core, op, 8, S);
    loadXmm(core, op.reg, D);
    D.u64[1] = S.u64[0];
    storeXmm(core, op.reg, D);
  },
  sseStoreHigh: (core, op) => {
    loadXmm(core, op.reg, D);
    D.u64[0] = D.u64[1];
    writeMemory(core, op, 8, D);
  },
  sseLoadScalar: (core, op) => {
    const size = prefixOf(op) === 2 ? 4 : 8;
    if (!op.isRegister) readMemory(core, op, size, D);
    else {
      loadXmm(core, op.rm, S);
      loadXmm(core, op.reg, D);
      if (size === 4) D.i32[0] = S.i32[0];
      else D.u64[0] = S.u64[0];
    }
    storeXmm(core, op.reg, D);
  },
  sseStoreScalar: (core, op) => {
    const size = prefixOf(op) === 2 ? 4 : 8;
    loadXmm(core, op.reg, S);
    if (!op.isRegister) return writeMemory(core, op, size, S);
    loadXmm(core, op.rm, D);
    if (size === 4) D.i32[0] = S.i32[0];
    else D.u64[0] = S.u64[0];
    storeXmm(core, op.rm, D);
  },
  sseLoad32: (core, op) => {
    D.u64[1] = 0n;
    D.u64[0] = BigInt.asUintN(32, BigInt(op.readRm(4)));
    storeXmm(core, op.reg, D);
  },
  sseStore32: (core, op) => {
    op.writeRm(4, core.xmm[4 * op.reg]);
  },
  sseLoadQuad: (core, op) => {
    loadW(core, op, D, 8);
    D.u64[1] = 0n;
    storeXmm(core, op.reg, D);
  },
  sseStoreQuad: (core, op) => {
    loadXmm(core, op.reg, D);
    if (!op.isRegister) return writeMemory(core, op, 8, D);
    D.u64[1] = 0n;
    storeXmm(core, op.rm, D);
  },
  sseShuffle: (core, op) => {
    loadW(core, op, S);
    const order = byte(op), prefix = prefixOf(op);
    D.u8.set(S.u8);
    if (prefix === 1) { for (let i = 0; i < 4; i++) D.i32[i] = S.i32[(order >> (2 * i)) & 3]; }
    else shuffleWords(S, D, prefix === 2 ? 4 : 0, order);
    storeXmm(core, op.reg, D);
  },
  sseShuffleFloat: (core, op) => {
    loadW(core, op, S);
    loadXmm(core, op.reg, D);
    const order = byte(op), old = D.i32.slice();
    if (prefixOf(op) === 1) {
      const low = D.u64[order & 1];
      D.u64[1] = S.u64[(order >> 1) & 1];
      D.u64[0] = low;
    } else {
      for (let i = 0; i < 4; i++) D.i32[i] = (i < 2 ? old : S.i32)[(order >> (2 * i)) & 3];
    }
    storeXmm(core, op.reg, D);
  },
  sseUnpack: (core, op) => {
    loadW(core, op, S);
    loadXmm(core, op.reg, D);
    const high = opcodeOf(op) & 1;
    packedOperations[prefixOf(op) === 1 ? 0x6c + high : high ? 0x6a : 0x62](D, S, 16);
    storeXmm(core, op.reg, D);
  },
  sseSigns: (core, op) => {
    loadXmm(core, op.rm, S);
    const wide = prefixOf(op) === 1;
    let mask = 0;
    for (let i = 0; i < (wide ? 2 : 4); i++) mask |= (S.u32[wide ? 2 * i + 1 : i] >>> 31) << i;
    core.setReg(op.reg, mask);
  },
  sseInsert: (core, op) => {
    const word = op.readRm(2);
    loadXmm(core, op.reg, D);
    D.u16[byte(op) & 7] = word;
    storeXmm(core, op.reg, D);
  },
  sseExtract: (core, op) => {
    loadXmm(core, op.rm, S);
    core.setReg(op.reg, S.u16[byte(op) & 7]);
  },
  sseMask: (core, op) => {
    loadXmm(core, op.rm, S);
    core.setReg(op.reg, signMask(S, 16));
  },
  sseMaskedStore: (core, op) => {
    loadXmm(core, op.reg, D);
    loadXmm(core, op.rm, S);
    maskedStore(core, op, 16);
  },
  sseToMmx: (core, op) => {
    loadXmm(core, op.rm, D);
    enterMmx(core);
    storeMmx(core, op.reg, D);
  },
  sseFromMmx: (core, op) => {
    loadMmx(core, op.rm, D);
    enterMmx(core);
    storeXmm(core, op.reg, D);
  },
  loadMxcsr: (core, op) => {
    const value = core.read(op.memory(4, false), 4);
    if (value & ~0xffff) throw generalProtection(0);
    core.mxcsr = value;
  },
  storeMxcsr: (core, op) => core.write(op.memory(4, true), 4, core.mxcsr),
};

/** FXSAVE and FXRSTOR: 512 bytes (SDM volume 2, FXSAVE, table of the non-64-bit layout). */
function fxsave(core: Core, op: OpView): void {
  if (core.cr0 & 0xc) throw new GuestFault(Vector.nm);
  const at = op.memory(512, true), f = core.fpu;
  if (at & 15) throw generalProtection(0);
  core.prepareWrite(at, 288);
  const words = [
    f.control | (f.statusWord << 16),
    (~f.empty & 0xff) | ((f.opcode & 0x7ff) << 16),
    f.ip,
    f.cs,
    f.dp,
    f.ds,
    core.mxcsr,
    0xffff,
  ]; // deno-fmt-ignore
  words.forEach((value, i) => core.write((at + 4 * i) | 0, 4, value));
  for (let i = 0; i < 8; i++) {
    const r = f.registers[(f.top + i) & 7];
    D.u64[0] = r.significand;
    D.u64[1] = BigInt((r.sign << 15) | r.exponent);
    writeLinear(core, (at + 32 + 16 * i) | 0, 16, D);
    loadXmm(core, i, D);
    writeLinear(core, (at + 160 + 16 * i) | 0, 16, D);
  }
}
function fxrstor(core: Core, op: OpView): void {
  if (core.cr0 & 0xc) throw new GuestFault(Vector.nm);
  const at = op.memory(512, false), f = core.fpu;
  if (at & 15) throw generalProtection(0);
  const words = Array.from({ length: 72 }, (_, i) => core.read((at + 4 * i) | 0, 4));
  if (words[6] & ~0xffff) throw generalProtection(0);
  f.control = (words[0] & 0x1f7f) | 0x40;
  f.statusWord = words[0] >>> 16;
  f.empty = ~words[1] & 0xff;
  f.opcode = (words[1] >>> 16) & 0x7ff;
  [f.ip, f.cs, f.dp, f.ds] = [words[2], words[3] & 0xffff, words[4], words[5] & 0xffff];
  core.mxcsr = words[6];
  for (let i = 0; i < 8; i++) {
    D.i32.set(words.slice(8 + 4 * i, 12 + 4 * i));
    const top = D.u16[4];
    f.registers[(f.top + i) & 7] = { sign: top >> 15, exponent: top & 0x7fff, significand: D.u64[0] };
    D.i32.set(words.slice(40 + 4 * i, 44 + 4 * i));
    storeXmm(core, i, D);
  }
  f.summarize();
}

const wrap = (guard: (h: Helper) => Helper, helpers: Record<string, Helper>) =>
  Object.fromEntries(Object.entries(helpers).map(([name, helper]) => [name, guard(helper)]));

export const simdIntegerHelpers: Record<string, Helper> = {
  ...wrap(mmx, mmxHelpers),
  ...wrap(sse, sseHelpers),
  fxsave,
  fxrstor,
  storeRegister: (core, op) => core.write(op.memory(4, true), 4, core.reg(op.reg)),
  fence: () => {},
  flushLine: (core, op) => {
    core.read(op.memory(1, false), 1);
  },
};
