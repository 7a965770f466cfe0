// SPDX-License-Identifier: Apache-2.0
/** Ports (SDM volume 1, chapter 19). @module */
import { type Core, Flag } from "../core.ts";
import { generalProtection } from "../fault.ts";
import { HelperResult, State } from "../layout.ts";
import type { OpView } from "../op_view.ts";
import type { Helper } from "./helper.ts";

/** Throws unless IOPL or the TSS's bitmap allows all bytes of the port. */
function checkPort(core: Core, port: number, size: number): void {
  if (core.cpl <= core.iopl) return;
  const { base, limit, rights } = core.tr;
  if (!(rights & 8) || limit < 0x67) throw generalProtection(0);
  const map = core.read((base + 0x66) | 0, 2, false);
  const at = map + (port >> 3);
  if (at + 1 > limit) throw generalProtection(0);
  const bits = core.read((base + at) | 0, 2, false);
  if (bits & (((1 << size) - 1) << (port & 7))) throw generalProtection(0);
}
/** Checks an access to a port and shows it to the breakpoints. */
function usePort(core: Core, port: number, size: number): void {
  checkPort(core, port, size);
  core.breakpoints.port(port, size);
}

/** Port and size of IN and OUT, by opcode. */
function operands(core: Core, op: OpView): [port: number, size: 1 | 2 | 4] {
  const size = op.opcode & 1 ? op.size : 1;
  const port = op.opcode & 8 ? core.reg16(2) : op.immediate & 0xff;
  usePort(core, port, size);
  return [port, size];
}

/** Runs one element of INS or OUTS; with a prefix the instruction stays until the count is zero. */
function element(core: Core, op: OpView, body: (size: 1 | 2 | 4) => void): number | void {
  const mask = op.addressMask;
  if (op.repeat && !(core.reg(1) & mask)) return;
  body(op.opcode & 1 ? op.size : 1);
  if (!op.repeat) return;
  const count = (core.reg(1) - 1) & mask;
  core.setReg(1, (core.reg(1) & ~mask) | count);
  if (count === 0) return;
  core.eip = op.eip;
  return HelperResult.jump;
}
function advance(core: Core, op: OpView, register: number, size: number): void {
  const mask = op.addressMask;
  const by = core.state(State.eflags) & Flag.df ? -size : size;
  core.setReg(register, (core.reg(register) & ~mask) | ((core.reg(register) + by) & mask));
}

export const portHelpers: Record<string, Helper> = {
  portIn: (core, op) => {
    const [port, size] = operands(core, op);
    op.writeRegister(0, size, core.host.portRead(port, size));
  },
  portOut: (core, op) => {
    const [port, size] = operands(core, op);
    const value = size === 1 ? core.reg8(0) : size === 2 ? core.reg16(0) : core.reg(0) >>> 0;
    core.host.portWrite(port, size, value);
  },
  inString: (core, op) =>
    element(core, op, (size) => {
      const port = core.reg16(2);
      usePort(core, port, size);
      const at = op.linear(0, core.reg(7) & op.addressMask, size, true);
      core.prepareWrite(at, size);
      core.write(at, size, core.host.portRead(port, size));
      advance(core, op, 7, size);
    }),
  outString: (core, op) =>
    element(core, op, (size) => {
      const port = core.reg16(2);
      usePort(core, port, size);
      const value = core.read(op.linear(op.segment, core.reg(6) & op.addressMask, size, false), size);
      core.host.portWrite(port, size, value >>> 0);
      advance(core, op, 6, size);
    }),
};
