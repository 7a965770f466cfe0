// SPDX-License-Identifier: Apache-2.0
/** Decimal adjustment (SDM volume 2, DAA, DAS, AAA, AAS, AAM, AAD). @module */
import { type Core, Flag } from "../core.ts";
import { GuestFault, Vector } from "../fault.ts";
import type { Helper } from "./helper.ts";

/** Sets SF, ZF, PF by a byte, and CF and AF; OF is undefined and cleared. */
function setFlags(core: Core, result: number, carry: boolean, adjust: boolean): void {
  const byte = result & 0xff;
  let flags = core.eflags & ~(Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf | Flag.of);
  if (carry) flags |= Flag.cf;
  if (adjust) flags |= Flag.af;
  if (byte === 0) flags |= Flag.zf;
  if (byte & 0x80) flags |= Flag.sf;
  let parity = byte ^ (byte >> 4);
  parity = (0x6996 >> (parity & 15)) & 1;
  if (!parity) flags |= Flag.pf;
  core.eflags = flags;
}

function decimal(sign: 1 | -1): Helper {
  return (core) => {
    const old = core.reg8(0), flags = core.eflags;
    let al = old, carry = false;
    const adjust = (old & 15) > 9 || (flags & Flag.af) !== 0;
    if (adjust) {
      al += 6 * sign;
      carry = (flags & Flag.cf) !== 0 || al < 0 || al > 0xff;
    }
    if (old > 0x99 || flags & Flag.cf) {
      al += 0x60 * sign;
      carry = true;
    } else if (sign > 0) carry = false;
    core.setReg8(0, al);
    setFlags(core, al, carry, adjust);
  };
}

function ascii(sign: 1 | -1): Helper {
  return (core) => {
    const ax = core.reg16(0);
    const adjust = (ax & 15) > 9 || (core.eflags & Flag.af) !== 0;
    const value = adjust ? ax + sign * 0x106 : ax;
    core.setReg16(0, value & 0xff0f);
    setFlags(core, value & 0x0f, adjust, adjust);
  };
}

export const bcdHelpers: Record<string, Helper> = {
  daa: decimal(1),
  das: decimal(-1),
  aaa: ascii(1),
  aas: ascii(-1),
  aam: (core, op) => {
    const divisor = op.immediate & 0xff;
    if (divisor === 0) throw new GuestFault(Vector.de);
    const al = core.reg8(0);
    const rest = al % divisor;
    core.setReg16(0, (Math.floor(al / divisor) << 8) | rest);
    setFlags(core, rest, false, false);
  },
  aad: (core, op) => {
    const value = (core.reg8(0) + core.reg8(4) * (op.immediate & 0xff)) & 0xff;
    core.setReg16(0, value);
    setFlags(core, value, false, false);
  },
};
