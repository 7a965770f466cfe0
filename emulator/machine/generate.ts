// SPDX-License-Identifier: Apache-2.0
/**
 * Makes the interpreter: one WebAssembly module with a handler for each variant of each row, the block entry
 * functions, and imports for what TypeScript does.
 *
 * @module
 */
import { FIXED_HANDLERS, rows, tableFingerprint } from "../isa/mod.ts";
import { AREA_BASE, Block, Exit, HelperResult, JUMP_ENTRIES, OP_SIZE, State, TLB_ADDEND } from "./layout.ts";
import { CPU, dispatch, goTo, OP, type Runtime, startBlock, tlbOffset, wholeFlagsOf } from "./emit.ts";
import { lower } from "./lower.ts";
import { Code, ValueType } from "./wasm.ts";
import { ModuleWriter } from "./wasm_module.ts";

const { i32 } = ValueType;

/** Handlers that belong to no row. */
export const Handler = { leave: 0, fallthrough: 1, helper: 2, taken: 3, enter: 4, heat: 5 } as const;
/** Places in the table of handlers for compiled regions, behind the handlers. */
export const REGION_SLOTS = 4096;

/** Functions a module imports, with their number of parameters and whether they return a number. */
export const IMPORTS = {
  /** (op, linear, bytes | write flag) → host address, or 0 when an event is pending. */
  slow: [3, true],
  /** (op, segment cache): raises #GP or #SS. */
  segmentFault: [2, false],
  /** (op, vector) */
  raise: [2, false],
  /** Writes the bounce buffer back. */
  commit: [0, false],
  /** (op) → HelperResult */
  helper: [1, true],
  /** Finds or decodes the block at EIP → block, or 0 when an event is pending. */
  lookup: [0, true],
  /** (op, field): the same, and links the op's field to it. */
  link: [2, true],
  /** (op): leaves the block before this op → 1 to go on at its EIP, 0 when an event is pending. */
  leave: [1, true],
  /** (op): the block of this first op was entered often; its handler is no longer `heat` afterwards. */
  hot: [1, false],
} as const;

/** Appends: takes a block as current when its page is still what it was decoded from. */
function revalidate(c: Code, block: number, handlerType: number): void {
  const entry = c.local();
  c.get(block).load(32, Block.generation).const(-1).op("ne").if();
  c.get(CPU).load(32, State.tlb);
  tlbOffset(c, () => c.get(block).load(32, Block.page));
  c.op("add");
  c.tee(entry).load(32, 8).get(block).load(32, Block.page).op("eq");
  c.get(entry).load(32, TLB_ADDEND).get(block).load(32, Block.addend).op("eq").op("and").if();
  c.get(block).get(CPU).load(32, State.generation).store(32, Block.generation);
  startBlock(c, block, handlerType);
  c.end().end();
}

/** EFLAGS from the lazy words. */
function wholeFlags(): Code {
  // The function has one parameter; handlers' helpers expect the CPU in local 1.
  const c = new Code(1);
  const cpu = c.local();
  if (cpu !== CPU) throw new Error(`Cannot make wholeFlags: the CPU is local ${cpu}`);
  c.get(0).set(cpu);
  wholeFlagsOf(c);
  return c;
}

/** The interpreter module. The same input table gives the same bytes. */
export function generate(): Uint8Array<ArrayBuffer> {
  const m = new ModuleWriter();
  const imported = {} as Record<keyof typeof IMPORTS, number>;
  for (const [name, [parameters, result]] of Object.entries(IMPORTS)) {
    imported[name as keyof typeof IMPORTS] = m.import(
      name,
      m.type(new Array<ValueType>(parameters).fill(i32), result ? [i32] : []),
    );
  }
  const handlerType = m.type([i32, i32], [i32]);
  const runtime: Runtime = {
    handlerType,
    slow: imported.slow,
    segmentFault: imported.segmentFault,
    raise: imported.raise,
    commit: imported.commit,
    link: m.declare(m.type([i32, i32, i32], [i32])),
    enter: m.declare(handlerType),
    wholeFlags: m.declare(m.type([i32], [i32])),
  };
  m.define(runtime.wholeFlags, wholeFlags());

  {
    const c = new Code(3);
    const field = 2, block = c.local();
    c.get(OP).get(field).op("add").load(32).set(block);
    c.get(block).load(32, Block.generation).get(CPU).load(32, State.generation).op("eq");
    c.if().const(Exit.budget).return().end();
    revalidate(c, block, handlerType);
    c.get(OP).get(field).call(imported.link).tee(block).op("eqz").if().const(Exit.event).return().end();
    startBlock(c, block, handlerType);
    m.define(runtime.link, c);
  }
  {
    const c = new Code(2);
    const eip = c.local(), entry = c.local(), block = c.local();
    c.get(CPU).load(32, State.eip).tee(eip).get(eip).const(12).op("shr_u").op("xor");
    c.const(JUMP_ENTRIES - 1).op("and").const(3).op("shl").get(CPU).op("add").set(entry);
    c.get(entry).load(32, State.jumpCache).get(eip).op("eq").if();
    c.get(entry).load(32, State.jumpCache + 4).tee(block).load(32, Block.mode).get(CPU).load(32, State.mode)
      .op("eq");
    c.if();
    c.get(block).load(32, Block.generation).get(CPU).load(32, State.generation).op("eq").if();
    startBlock(c, block, handlerType);
    c.end();
    revalidate(c, block, handlerType);
    c.end().end();
    c.call(imported.lookup).tee(block).op("eqz").if().const(Exit.event).return().end();
    startBlock(c, block, handlerType);
    m.define(runtime.enter, c);
  }

  const table: number[] = [];
  const handler = (c: Code) => {
    const fn = m.declare(handlerType);
    m.define(fn, c);
    table.push(fn);
  };
  {
    const c = new Code(2);
    c.get(OP).call(imported.leave).if().get(OP).get(CPU).returnCall(runtime.enter).end().const(Exit.event);
    handler(c);
  }
  {
    const c = new Code(2);
    goTo(c, "fallthrough", runtime);
    handler(c);
  }
  {
    const c = new Code(2);
    const result = c.local();
    c.get(OP).call(imported.helper).tee(result).op("eqz").if();
    c.get(OP).const(OP_SIZE).op("add").set(OP);
    dispatch(c, handlerType);
    c.end();
    c.get(result).const(HelperResult.jump).op("eq").if().get(OP).get(CPU).returnCall(runtime.enter).end();
    c.const(Exit.event);
    handler(c);
  }
  {
    // Where compiled regions end: the taken target of an op, and an EIP.
    const c = new Code(2);
    goTo(c, "taken", runtime);
    handler(c);
    handler(new Code(2).get(OP).get(CPU).returnCall(runtime.enter));
  }
  {
    // First op of a block whose entries are counted.
    const c = new Code(2);
    const block = c.local(), left = c.local();
    c.get(OP).const(OP_SIZE).op("sub").tee(block).load(32, Block.heat).const(1).op("sub").set(left);
    c.get(block).get(left).store(32, Block.heat);
    c.get(left).op("eqz").if();
    c.get(OP).call(imported.hot);
    dispatch(c, handlerType);
    c.end();
    c.get(OP).get(CPU).get(block).load(32, Block.first).returnCallIndirect(handlerType);
    handler(c);
  }
  if (table.length !== FIXED_HANDLERS) throw new Error(`Cannot number handlers: ${table.length} fixed ones`);
  for (const row of rows) for (const variant of row.variants) handler(lower(row, variant, runtime));
  for (const row of rows) {
    if (!row.fuses) continue;
    for (const variant of row.variants) {
      for (let jump = 0; jump < 16; jump++) handler(lower(row, variant, runtime, jump));
    }
  }
  const fingerprint = m.declare(m.type([], [i32]));
  m.define(fingerprint, new Code(0).const(tableFingerprint));
  m.export("fingerprint", fingerprint);
  m.table(handlerType, table, REGION_SLOTS);
  m.exportTable("handlers");
  m.export("enter", runtime.enter);
  m.export("wholeFlags", runtime.wholeFlags);
  return m.finish(AREA_BASE >>> 16);
}
