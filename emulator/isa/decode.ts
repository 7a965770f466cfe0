// SPDX-License-Identifier: Apache-2.0
/**
 * The decoder: bytes to a row of the table and its operands (SDM volume 2, chapter 2).
 *
 * @module
 */
import type { Row } from "./row.ts";
import { encodings, immediates, MAP_38, MAP_3A, undefinedRow } from "./table.ts";

/** Longest instruction; one that is longer raises #GP. */
export const MAX_LENGTH = 15;

/** A decoded instruction. One object can be filled again and again. */
export class Instruction {
  row: Row = undefinedRow;
  length = 0;
  operand16 = false;
  address16 = false;
  /** Segment of the memory operand or of the string source: override or default. */
  segment = 3;
  overridden = false;
  lock = false;
  repeat: 0 | 1 | 2 = 0;
  opcode = 0;
  modrm = 0;
  hasModrm = false;
  /** True when the operand of ModRM is memory (also for moffs). */
  memory = false;
  /** Base and index registers of the address, or -1. */
  base = -1;
  index = -1;
  scale = 0;
  displacement = 0;
  /** First immediate, sign-extended; a relative target is a distance. */
  immediate = 0;
  /** Second immediate: selector of a far pointer, level of ENTER. */
  second = 0;

  get mod(): number {
    return this.modrm >> 6;
  }
  get reg(): number {
    return (this.modrm >> 3) & 7;
  }
  get rm(): number {
    return this.modrm & 7;
  }
}

/** Results of {@link decode} that are no length. */
export const DecodeFailure = { truncated: 0, tooLong: -1 } as const;

const PREFIXES = new Uint8Array(256);
for (const p of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]) PREFIXES[p] = 1;
/** An opcode that is no instruction, whatever follows. */
const NO_OPCODE = MAP_3A;
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1];

/**
 * Decodes the instruction at `at`. Reads no byte at or behind `end`.
 *
 * @returns its length, or one of {@link DecodeFailure}.
 */
export function decode(
  bytes: Uint8Array,
  at: number,
  end: number,
  code32: boolean,
  out: Instruction,
): number {
  let p = at;
  let operand16 = !code32, address16 = !code32;
  let override = -1, repeat: 0 | 1 | 2 = 0, lock = false;
  const limit = Math.min(end, at + MAX_LENGTH);
  const short = end - at < MAX_LENGTH ? DecodeFailure.truncated : DecodeFailure.tooLong;
  let byte: number;
  for (;;) {
    if (p >= limit) return short;
    byte = bytes[p++];
    if (PREFIXES[byte] === 0) break;
    switch (byte) {
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
        override = (byte >> 3) & 3;
        break;
      case 0x64:
      case 0x65:
        override = byte & 7;
        break;
      case 0x66:
        operand16 = code32;
        break;
      case 0x67:
        address16 = code32;
        break;
      case 0xf0:
        lock = true;
        break;
      case 0xf2:
        repeat = 2;
        break;
      default:
        repeat = 1;
    }
  }
  let opcode = byte;
  if (byte === 0x0f) {
    if (p >= limit) return short;
    opcode = 256 + bytes[p++];
    if (opcode === 0x138 || opcode === 0x13a) {
      if (p >= limit) return short;
      // Nothing that is modelled has F3 or F2 there: the first opcodes of the map are none.
      const map = opcode === 0x138 ? MAP_38 : MAP_3A;
      opcode = repeat !== 0 ? NO_OPCODE : map + bytes[p] + (operand16 === code32 ? 256 : 0);
      p++;
      // F3 and F2 come before 66 where they select an instruction.
    } else if (repeat !== 0 || operand16 === code32) {
      const selected = opcode + 256 * (repeat !== 0 ? repeat + 1 : 1);
      if (encodings[selected].byModrm !== undefined) opcode = selected;
    }
  }
  const encoding = encodings[opcode];
  out.opcode = opcode;
  out.operand16 = operand16;
  out.address16 = address16;
  out.repeat = repeat;
  out.lock = lock;
  out.base = -1;
  out.index = -1;
  out.scale = 0;
  out.displacement = 0;
  out.immediate = 0;
  out.second = 0;
  out.memory = false;
  out.hasModrm = false;
  out.modrm = 0;
  out.overridden = override >= 0;
  let segment = 3;
  let row = encoding.row;
  if (row === undefined) {
    const group = encoding.byModrm;
    if (group === undefined) {
      out.row = undefinedRow;
      out.segment = segment;
      return out.length = p - at;
    }
    if (p >= limit) return short;
    const modrm = bytes[p++];
    out.modrm = modrm;
    out.hasModrm = true;
    row = group[modrm];
    // MOV to and from control and debug registers takes every ModRM as a register (SDM volume 2, MOV).
    if (modrm < 0xc0 && !(opcode >= 0x120 && opcode <= 0x123)) {
      out.memory = true;
      const mod = modrm >> 6, rm = modrm & 7;
      let size = mod === 0 ? 0 : mod === 1 ? 1 : address16 ? 2 : 4;
      if (address16) {
        if (mod === 0 && rm === 6) size = 2;
        else {
          out.base = BASE16[rm];
          out.index = INDEX16[rm];
          if (rm === 2 || rm === 3 || rm === 6) segment = 2;
        }
      } else if (rm === 4) {
        if (p >= limit) return short;
        const sib = bytes[p++];
        const index = (sib >> 3) & 7, base = sib & 7;
        if (index !== 4) {
          out.index = index;
          out.scale = sib >> 6;
        }
        if (base === 5 && mod === 0) size = 4;
        else {
          out.base = base;
          if (base === 4 || base === 5) segment = 2;
        }
      } else if (rm === 5 && mod === 0) size = 4;
      else {
        out.base = rm;
        if (rm === 5) segment = 2;
      }
      if (p + size > limit) return short;
      if (size === 1) out.displacement = (bytes[p] << 24) >> 24;
      else if (size === 2) out.displacement = ((bytes[p] | (bytes[p + 1] << 8)) << 16) >> 16;
      else if (size === 4) {
        out.displacement = bytes[p] | (bytes[p + 1] << 8) | (bytes[p + 2] << 16) | (bytes[p + 3] << 24);
      }
      p += size;
    }
  }
  out.segment = override >= 0 ? override : segment;
  const list = immediates[row.id];
  for (let i = 0; i < list.length; i++) {
    const spec = list[i];
    let size: number;
    if (spec === "Ob" || spec === "Ov") size = address16 ? 2 : 4;
    else if (spec === "Ib" || spec === "Is" || spec === "Jb") size = 1;
    else if (spec === "Iw") size = 2;
    else if (spec === "Ap") size = operand16 ? 4 : 6;
    else size = operand16 ? 2 : 4;
    if (p + size > limit) return short;
    let value: number;
    if (size === 1) value = (bytes[p] << 24) >> 24;
    else if (size === 2) value = ((bytes[p] | (bytes[p + 1] << 8)) << 16) >> 16;
    else value = bytes[p] | (bytes[p + 1] << 8) | (bytes[p + 2] << 16) | (bytes[p + 3] << 24);
    if (spec === "Ap") {
      out.second = bytes[p + size - 2] | (bytes[p + size - 1] << 8);
      if (operand16) value &= 0xffff;
    }
    if (spec[0] === "O") {
      out.memory = true;
      out.displacement = address16 ? value & 0xffff : value;
    } else if (i === 0 || list[0][0] === "O") out.immediate = spec === "Iw" ? value & 0xffff : value;
    else out.second = value;
    p += size;
  }
  // LOCK: only in front of what reads, changes and writes memory (SDM volume 2, LOCK).
  out.row = lock && !(row.lock && out.memory) ? undefinedRow : row;
  return out.length = p - at;
}
