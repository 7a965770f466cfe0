// SPDX-License-Identifier: Apache-2.0
/**
 * Compiles a region: blocks that are linked with each other, as one WebAssembly function that is entered at
 * its head. Control flow is structured by the dominator tree (loops become loops, blocks with several
 * predecessors ends of blocks); an edge that would make it irreducible leaves the region instead.
 *
 * Within a region nothing can change generations, translations or code, because all that leaves it. So a
 * block's generation is looked at where control comes from another page, and the budget where a loop is
 * entered or goes round: there it must hold all instructions up to the next such place; otherwise the
 * interpreter goes on, block by block.
 *
 * @module
 */
import { CPU, OP } from "./emit.ts";
import { Handler } from "./generate.ts";
import { Block, Exit, HelperResult, OP_SIZE, State } from "./layout.ts";
import { type Node, RegionGraph, type RegionSource, trueHandler } from "./region_graph.ts";
import {
  type FlagShape,
  type FlagState,
  meet,
  RegionFlags,
  sameShape,
  SETTLED,
  WORDS,
} from "./region_flags.ts";
import { Import, type RegionFrame, RegionLowering } from "./region_lower.ts";
import { accesses, type Stream, Streams } from "./region_streams.ts";
import { Code, ValueType } from "./wasm.ts";
import { ModuleWriter } from "./wasm_module.ts";

/** Attempts to find how flags go between blocks before they go in their words. */
const MAX_ATTEMPTS = 4;

/** A compiled region: its module and the blocks in it. */
export interface CompiledRegion {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly blocks: readonly number[];
}

/** Compiles the region of a head; undefined when it is not worth it. */
export function compileRegion(source: RegionSource, head: number): CompiledRegion | undefined {
  const order = RegionGraph.of(source, head);
  if (order === undefined) return undefined;
  const streams = new Streams();
  const word = (address: number) => source.words[address >>> 2];
  for (const { ops } of order) {
    for (const { address, info } of ops) {
      if (info === undefined) continue;
      accesses(
        info,
        (field) => word(address + field),
        source.area,
        (stream, read, write) => streams.add(stream, read, write),
      );
    }
  }
  // How flags come into a block follows from the code of those before it, and in loops that is a circle: what
  // an attempt found is what the next one takes for granted.
  let shapes = new Map<Node, FlagShape>();
  for (let attempt = 1;; attempt++) {
    const compiler = new RegionCompiler(source, streams, shapes);
    const bytes = compiler.compile(order);
    if (compiler.sound) return { bytes, blocks: order.map((node) => node.address) };
    shapes = attempt < MAX_ATTEMPTS ? compiler.found : new Map(order.map((node) => [node, SETTLED]));
  }
}

/** What is known at one place of the code while it is written. */
interface Place {
  readonly flags: FlagState;
  readonly owed: number;
  readonly taken: Map<ValueType, number>;
  readonly node: Node;
}

class RegionCompiler implements RegionFrame {
  readonly c = new Code(2);
  readonly area: number;
  readonly user: boolean;
  readonly registers: number[];
  readonly flags: RegionFlags;
  written = 0;
  /** Nothing was taken for granted that turned out otherwise. */
  sound = true;
  /** The shapes in which flags come into blocks. */
  readonly found = new Map<Node, FlagShape>();
  readonly #assumed: ReadonlyMap<Node, FlagShape>;
  /** Shapes that code relies on already. */
  readonly #relied = new Map<Node, FlagShape>();
  readonly #source: RegionSource;
  readonly #streams: Streams;
  readonly #left: number;
  readonly #generation: number;
  readonly #handler: number;
  #exitDepth = 0;
  #current!: Node;
  /** Instructions of blocks that were entered and are still to be taken from the budget. */
  #owed = 0;
  #entryOwed = 0;
  /** Locals that hold nothing from one block to the next: all of a type, and how many are taken. */
  readonly #pool = new Map<ValueType, number[]>();
  #taken = new Map<ValueType, number>();

  constructor(source: RegionSource, streams: Streams, assumed: ReadonlyMap<Node, FlagShape>) {
    this.#source = source;
    this.#streams = streams;
    this.#assumed = assumed;
    this.area = source.area;
    this.user = source.user;
    this.registers = Array.from({ length: 8 }, () => this.c.local());
    this.flags = new RegionFlags(this.c, this.area, () => this.temporary());
    this.#left = this.c.local();
    this.#generation = this.c.local();
    this.#handler = this.c.local();
  }

  word(address: number): number {
    return this.#source.words[address >>> 2];
  }
  stream(key: string): Stream | undefined {
    return this.#streams.get(key);
  }
  temporary(type: ValueType = ValueType.i32): number {
    let pool = this.#pool.get(type);
    if (pool === undefined) this.#pool.set(type, pool = []);
    const n = this.#taken.get(type) ?? 0;
    this.#taken.set(type, n + 1);
    return pool[n] ??= this.c.local(type);
  }

  /** The module; of use only when the compiler is {@link sound} afterwards. */
  compile(order: readonly Node[]): Uint8Array<ArrayBuffer> {
    const [root] = order;
    const c = this.c;
    this.#load();
    c.get(CPU).load(32, State.budget).set(this.#left);
    c.get(CPU).load(32, State.generation).set(this.#generation);
    this.#streams.begin(c, this.area);
    c.block();
    this.#exitDepth = c.depth;
    this.#current = root;
    if (root.need > 0) {
      c.get(this.#left).const(root.need).op("lt_s").unlikely().if();
      this.leave(root.ops[0].address);
      c.end();
    }
    this.#pass(root);
    this.#tree(root);
    c.unreachable().end();
    this.#save(this.written);
    c.get(CPU).get(this.#left).store(32, State.budget);
    const m = new ModuleWriter();
    const type = m.type([ValueType.i32, ValueType.i32], [ValueType.i32]);
    m.import("refill", m.type([ValueType.i32, ValueType.i32], [ValueType.i32]));
    m.import("helper", m.type([ValueType.i32], [ValueType.i32]));
    c.get(OP).get(CPU).get(this.#handler).returnCallIndirect(type);
    m.importTable("handlers", type, this.#source.tableSize);
    const fn = m.declare(type);
    m.define(fn, c);
    m.export("run", fn);
    for (const [node, shape] of this.#relied) {
      if (!sameShape(shape, this.found.get(node)!)) this.sound = false;
    }
    return m.finish(this.#source.memoryPages, true);
  }

  #tree(node: Node): void {
    const c = this.c;
    if (node.loop) node.loopDepth = c.loop().depth;
    const merges = node.children.filter((child) => child.merge).sort((a, b) => b.number - a.number);
    for (const child of merges) child.depth = c.block().depth;
    this.#body(node);
    c.unreachable();
    for (const child of merges.reverse()) {
      c.end();
      this.#tree(child);
    }
    if (node.loop) c.end().unreachable();
  }
  #body(node: Node): void {
    this.flags.begin(this.#expected(node));
    this.#owed = this.#entryOwed;
    this.#entryOwed = 0;
    this.#taken = new Map();
    for (const { address, info, helper } of node.ops) {
      this.#current = node;
      if (helper) {
        this.#call(address);
        continue;
      }
      if (info === undefined) {
        if (this.word(address) === Handler.fallthrough) {
          this.#edge(address, Handler.fallthrough, node.fallthrough);
        } else this.leave(address);
        return;
      }
      if (new RegionLowering(this, address, info.row, info.variant, info.builder).run()) return;
    }
    if (node.rest) this.#continue(node.rest, node.restOp);
    else if (node.restOp) this.leave(node.restOp);
  }

  /** Stores what the interpreter and TypeScript work with. */
  #save(registers: number): void {
    const c = this.c;
    this.registers.forEach((local, i) => {
      if (registers & (1 << i)) c.get(CPU).get(local).store(32, State.registers + 4 * i);
    });
    c.get(CPU).get(this.flags.words.result).store(32, State.flagResult);
    c.get(CPU).get(this.flags.words.aux).store(32, State.flagAux);
  }
  #load(): void {
    const c = this.c;
    this.registers.forEach((local, i) => c.get(CPU).load(32, State.registers + 4 * i).set(local));
    c.get(CPU).load(32, State.flagResult).set(this.flags.words.result);
    c.get(CPU).load(32, State.flagAux).set(this.flags.words.aux);
  }
  /**
   * Has TypeScript do an instruction. It may find that the block cannot go on (a fault, an exit, a right that
   * is gone, a store into this block); then the op behind leads out, or the result does.
   */
  #call(op: number): void {
    const c = this.c;
    const result = this.temporary(), deaths = this.temporary();
    this.flags.settle();
    c.get(CPU).load(32, State.deaths).set(deaths);
    this.#save(0xff);
    c.get(CPU).get(this.#left).const(this.#owed).op("sub").store(32, State.budget);
    c.const(op).call(Import.helper).set(result);
    c.get(result).const(HelperResult.event).op("eq").unlikely().if().const(Exit.event).return().end();
    this.#load();
    c.get(CPU).load(32, State.budget).const(this.#owed).op("add").set(this.#left);
    c.get(result).unlikely().if();
    this.#exit(op, Handler.enter);
    c.end();
    c.const(op + OP_SIZE).load(32).const(Handler.leave).op("eq");
    c.get(CPU).load(32, State.deaths).get(deaths).op("ne").op("or").unlikely().if();
    this.#exit(op + OP_SIZE, "as it is");
    c.end();
  }

  // Flags between blocks.

  /** The shape in which a block gets the flags. */
  #expected(node: Node): FlagShape {
    const known = this.#assumed.get(node) ?? this.found.get(node) ?? WORDS;
    const before = this.#relied.get(node);
    if (before === undefined) this.#relied.set(node, known);
    else if (!sameShape(before, known)) this.sound = false;
    return known;
  }
  /** Brings the flags into the shape that a block expects. */
  #pass(target: Node): void {
    if (!target.needsFlags) {
      // They are set before anything reads them.
      this.found.set(target, this.#expected(target));
      return;
    }
    const now = this.flags.shape();
    const before = this.found.get(target) ?? this.#assumed.get(target);
    this.found.set(target, before ? meet(before, now) : now);
    this.flags.pass(this.#expected(target));
  }

  // Edges.

  #here(): Place {
    return { flags: this.flags.state, owed: this.#owed, taken: this.#taken, node: this.#current };
  }
  #back(place: Place): void {
    this.flags.state = place.flags;
    this.#owed = place.owed;
    this.#taken = place.taken;
    this.#current = place.node;
  }
  /**
   * Leaves for a handler that gets an op: a number, or what the op says when it comes to that. `refund`:
   * instructions to give back to the budget.
   */
  #exit(op: number, handler: number | "as it is", eip = -1, refund = 0): void {
    const place = this.#here();
    this.flags.settle();
    const c = this.c;
    const owed = this.#owed - refund;
    if (owed !== 0) c.get(this.#left).const(owed).op("sub").set(this.#left);
    if (eip >= 0) c.get(CPU).get(eip).store(32, State.eip);
    c.const(op).set(OP);
    if (handler === "as it is") c.get(OP).load(32);
    else c.const(handler);
    c.set(this.#handler).brTo(this.#exitDepth);
    this.#back(place);
  }
  leave(op: number): void {
    this.#exit(op, trueHandler(this.#source.words, op, this.#source.tableSize));
  }
  /** Goes to a block, as the handler would. */
  #edge(op: number, handler: number, target: Node | undefined, eip = -1): void {
    const c = this.c;
    if (target === undefined) return this.#exit(op, handler, eip);
    if (!this.#isCurrent(target)) {
      c.const(target.address).load(32, Block.generation).get(this.#generation).op("ne").unlikely().if();
      this.#exit(op, handler, eip);
      c.end();
    }
    this.#owed += target.count;
    if (target.loop) {
      this.#pay();
      c.get(this.#left).const(target.need).op("lt_s").unlikely().if();
      this.#exit(op, handler, eip, target.count);
      c.end();
    }
    this.#goTo(target);
  }
  /** Goes on in the block that is the rest of this one; its instructions are paid for. */
  #continue(rest: Node, restOp: number): void {
    const c = this.c;
    if (rest.loop) {
      this.#pay();
      c.get(this.#left).const(rest.need).op("lt_s").unlikely().if();
      this.leave(restOp);
      c.end();
    }
    this.#goTo(rest);
  }
  /** True when a block is known to be current without looking. */
  #isCurrent(target: Node): boolean {
    const node = this.#current;
    // A block that dominates this one was entered before.
    if (target.number <= node.number && !target.joined) return true;
    const page = this.word(node.address + Block.page);
    return page !== 2 && page === this.word(target.address + Block.page) &&
      this.word(node.address + Block.addend) === this.word(target.address + Block.addend);
  }
  #pay(): void {
    if (this.#owed === 0) return;
    this.c.get(this.#left).const(this.#owed).op("sub").set(this.#left);
    this.#owed = 0;
  }
  #goTo(target: Node): void {
    const c = this.c;
    const place = this.#here();
    if (target.loop || target.merge) this.#pay();
    const owed = this.#owed;
    this.#pass(target);
    if (target.number <= place.node.number) c.brTo(target.loopDepth);
    else if (target.merge) c.brTo(target.depth);
    else {
      this.#entryOwed = owed;
      this.#tree(target);
    }
    this.#back(place);
  }
  branch(op: number, conditional: boolean): void {
    const c = this.c;
    const node = this.#current;
    if (conditional) {
      c.if();
      const place = this.#here();
      this.#edge(op, Handler.taken, node.taken);
      this.#back(place);
      c.end();
      this.#edge(op, Handler.fallthrough, node.fallthrough);
    } else this.#edge(op, Handler.taken, node.taken);
  }
  jump(op: number, eip: number): void {
    const c = this.c;
    for (const target of this.#current.targets) {
      c.get(eip).const(this.word(target.address + Block.eip)).op("eq").if();
      const place = this.#here();
      this.#edge(op, Handler.enter, target, eip);
      this.#back(place);
      c.end();
    }
    this.#exit(op, Handler.enter, eip);
  }
}
