// SPDX-License-Identifier: Apache-2.0
/**
 * Pieces of code that handlers and block entries share: dispatch, jumps between blocks, conditions, TLB.
 *
 * @module
 */
import { Block, Exit, Op, OP_SIZE, State, TLB_ENTRIES, TLB_ENTRY_SIZE } from "./layout.ts";
import type { Code } from "./wasm.ts";

/** Functions of the module that handlers call, by index, and the type of handlers. */
export interface Runtime {
  handlerType: number;
  slow: number;
  segmentFault: number;
  raise: number;
  commit: number;
  link: number;
  enter: number;
  wholeFlags: number;
}

export const OP = 0, CPU = 1;
/** Appends the tail call of the handler of the op on the stack (kept in local OP). */
export function dispatch(c: Code, handlerType: number): void {
  c.get(OP).get(CPU).get(OP).load(32, Op.handler).returnCallIndirect(handlerType);
}

/** Appends the start of the block in `block`: takes its instructions from the budget or returns. */
export function startBlock(c: Code, block: number, handlerType: number): void {
  const left = c.local();
  c.get(CPU).load(32, State.budget).get(block).load(32, Block.count).op("sub").tee(left);
  c.const(0).op("lt_s").if().const(Exit.budget).return().end();
  c.get(CPU).get(left).store(32, State.budget);
  c.get(block).const(OP_SIZE).op("add").set(OP);
  dispatch(c, handlerType);
}

/** Pushes the offset in its bank of the TLB entry for a linear address ({@link tlbIndex}). */
export function tlbOffset(c: Code, linear: () => void): void {
  linear();
  linear();
  c.const(10).op("shr_u").op("xor").const(8).op("shr_u").const((TLB_ENTRIES - 1) * TLB_ENTRY_SIZE).op("and");
}
/** Pushes the address of the TLB entry for a linear address. */
export function tlbEntry(c: Code, linear: number): void {
  c.get(CPU).load(32, State.tlb);
  tlbOffset(c, () => c.get(linear));
  c.op("add");
}

/** Locals that hold the two flag words just stored. */
export interface FlagLocals {
  readonly result: number;
  readonly aux: number;
}

/** Pushes 0 or 1 for a condition code (SDM volume 1, appendix B). */
export function condition(c: Code, code: number, known?: FlagLocals): void {
  const result = () => known ? c.get(known.result) : c.get(CPU).load(32, State.flagResult);
  const aux = () => known ? c.get(known.aux) : c.get(CPU).load(32, State.flagAux);
  const overflow = () => {
    aux();
    aux().const(1).op("shl").op("xor");
  };
  const less = () => {
    overflow();
    result().op("xor");
    aux().const(31).op("shl").op("xor").const(31).op("shr_u");
  };
  switch (code >> 1) {
    case 0:
      overflow();
      c.const(31).op("shr_u");
      break;
    case 1:
      aux().const(31).op("shr_u");
      break;
    case 2:
      result();
      if (code & 1) c.const(0).op("ne");
      else c.op("eqz");
      return;
    case 3:
      aux().const(31).op("shr_u");
      result().op("eqz").op("or");
      break;
    case 4:
      result();
      aux().const(31).op("shl").op("xor").const(31).op("shr_u");
      break;
    case 5:
      result();
      aux().const(8).op("shr_u").op("xor").const(0xff).op("and").op("popcnt").const(1).op("and").op("eqz");
      break;
    case 6:
      less();
      break;
    default:
      less();
      result().op("eqz").op("or");
  }
  if (code & 1) c.op("eqz");
}

/** Pushes EFLAGS from the lazy words. */
export function wholeFlagsOf(c: Code, known?: FlagLocals): void {
  c.get(CPU).load(32, State.eflags).const(2).op("or");
  const put = (code: number, bit: number) => {
    condition(c, code, known);
    if (bit > 0) c.const(bit).op("shl");
    c.op("or");
  };
  put(2, 0);
  put(10, 2);
  put(4, 6);
  put(8, 7);
  put(0, 11);
  if (known) c.get(known.aux);
  else c.get(CPU).load(32, State.flagAux);
  c.const(1).op("shl").const(0x10).op("and").op("or");
}

/** Goes to a block that the op is linked to, or through the slow path that links it. */
export function goTo(c: Code, which: "taken" | "fallthrough", runtime: Runtime): void {
  const block = c.local(), left = c.local();
  c.get(OP).load(32, Op[which]).tee(block).load(32, Block.generation);
  c.get(CPU).load(32, State.generation).op("eq").if();
  c.get(CPU).load(32, State.budget).get(block).load(32, Block.count).op("sub").tee(left);
  c.const(0).op("ge_s").if();
  c.get(CPU).get(left).store(32, State.budget);
  c.get(block).const(OP_SIZE).op("add").set(OP);
  dispatch(c, runtime.handlerType);
  c.end().end();
  // The taken target is the immediate; what lies behind is the next EIP.
  c.get(CPU).get(OP).load(32, which === "taken" ? Op.immediate : Op.next).store(32, State.eip);
  c.get(OP).get(CPU).const(Op[which]).returnCall(runtime.link);
}
