// SPDX-License-Identifier: Apache-2.0
/** Flags, segment registers, ENTER, BOUND (SDM volume 2). @module */
import { Flag } from "../core.ts";
import { GuestFault, Vector } from "../fault.ts";
import { changeableFlags } from "../interrupts.ts";
import { State } from "../layout.ts";
import { loadDataSegment } from "../segments.ts";
import type { Helper } from "./helper.ts";

/** Segment register of PUSH and POP, by opcode. */
const pushed = (opcode: number) => opcode < 0x100 ? opcode >> 3 : (opcode >> 3) & 7;
const FAR_SEGMENT: Record<number, number> = { 0xc4: 0, 0xc5: 3, 0x1b2: 2, 0x1b4: 4, 0x1b5: 5 };

export const dataHelpers: Record<string, Helper> = {
  sahf: (core) => {
    const changed = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf;
    core.eflags = (core.eflags & ~changed) | (core.reg8(4) & changed);
  },
  std: (core) => core.setState(State.eflags, core.state(State.eflags) | Flag.df),
  popf: (core, op) => {
    const image = op.peek(0, op.size);
    const changed = changeableFlags(core, op.size);
    op.moveStack(op.size);
    core.eflags = (core.eflags & ~changed & ~Flag.rf) | (image & changed);
  },
  enter: (core, op) => {
    const size = op.size;
    const level = op.second & 31, space = op.immediate & 0xffff;
    const mask = core.state(State.stackMask);
    const frame = (core.reg(4) - size) & mask;
    const slots = level === 0 ? 1 : level + 1;
    const outer = (i: number) => core.read(op.linear(2, (core.reg(5) - i * size) & mask, size, false), size);
    // Everything that can fault comes first; the processor also checks the final top of the stack.
    for (let i = 1; i < level; i++) outer(i);
    core.prepareWrite(op.linear(2, (core.reg(4) - slots * size - space) & mask, size, true), size);
    for (let i = 1; i <= slots; i++) {
      core.prepareWrite(op.linear(2, op.stackOffset(-i * size), size, true), size);
    }
    op.poke(-size, size, core.reg(5));
    for (let i = 1; i < level; i++) op.poke(-(i + 1) * size, size, outer(i));
    if (level > 0) op.poke(-slots * size, size, frame);
    op.writeRegister(5, size, frame);
    op.moveStack(-slots * size - space);
  },
  bound: (core, op) => {
    const { size } = op;
    const extend = (v: number) => size === 2 ? (v << 16) >> 16 : v;
    const index = extend(core.reg(op.reg));
    const low = extend(core.read(op.memory(size, false), size));
    const high = extend(core.read(op.memory(size, false, size), size));
    if (index < low || index > high) throw new GuestFault(Vector.br);
  },
  pushSegment: (core, op) => {
    const value = core.selectors[pushed(op.opcode)];
    op.poke(-op.size, op.size, value);
    op.moveStack(-op.size);
  },
  popSegment: (core, op) => {
    const segment = pushed(op.opcode);
    const selector = op.peek(0, op.size) & 0xffff;
    loadDataSegment(core, segment, selector);
    op.moveStack(op.size);
    if (segment === 2) core.stackShadow = core.retired() + 1;
  },
  storeSegment: (core, op) => {
    if (op.reg > 5) throw new GuestFault(Vector.ud);
    op.writeRm(op.isRegister ? op.size : 2, core.selectors[op.reg]);
  },
  loadSegment: (core, op) => {
    if (op.reg > 5 || op.reg === 1) throw new GuestFault(Vector.ud);
    loadDataSegment(core, op.reg, op.readRm(2));
    if (op.reg === 2) core.stackShadow = core.retired() + 1;
  },
  loadFarPointer: (core, op) => {
    const { size } = op;
    const offset = core.read(op.memory(size, false), size);
    const selector = core.read(op.memory(2, false, size), 2);
    loadDataSegment(core, FAR_SEGMENT[op.opcode], selector);
    op.writeRegister(op.reg, size, offset);
  },
  fwait: (core) => {
    if ((core.cr0 & 0xa) === 0xa) throw new GuestFault(Vector.nm);
    if (core.fpu.pending) throw new GuestFault(16);
  },
};
