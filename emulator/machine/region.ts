// SPDX-License-Identifier: Apache-2.0
/**
 * Compiles a region: blocks that are linked with each other, as one WebAssembly function that is entered at
 * its head. Control flow is structured by the dominator tree (loops become loops, blocks with several
 * predecessors ends of blocks); an edge that would make it irreducible leaves the region instead.
 *
 * Each edge does what a jump of the interpreter does: the target's generation must be current and the budget
 * must hold its instructions; otherwise the interpreter makes the jump. Within a region nothing can change
 * generations, translations or code, because all that leaves it.
 *
 * @module
 */
import { Builder, type Row, rows, type Variant } from "../isa/mod.ts";
import { CPU, OP } from "./emit.ts";
import { Handler, REGION_SLOTS } from "./generate.ts";
import { Block, JUMP_ENTRIES, Op, OP_SIZE, OpInfo, State } from "./layout.ts";
import { needsFlags, type RegionFrame, RegionLowering, settle } from "./region_lower.ts";
import { Code, ModuleWriter, ValueType } from "./wasm.ts";

/** Most blocks and instructions in a region. */
const MAX_BLOCKS = 128;
const MAX_OPS = 1200;
/** Fewer instructions than this before the region would be left are not worth entering it. */
const MIN_OPS = 3;

/** What a handler number stands for. */
interface HandlerInfo {
  readonly row: Row;
  readonly variant: Variant;
  readonly builder: Builder;
}
const handlers = new Map<number, HandlerInfo>();
let byHandler: { row: Row; variant: Variant }[] | undefined;

/** The instruction behind a handler that regions can hold; undefined for the others. */
function infoOf(handler: number, row: Row): HandlerInfo | undefined {
  if (row.build === undefined || row.unsupported) return undefined;
  const known = handlers.get(handler);
  if (known) return known;
  if (byHandler === undefined) {
    byHandler = [];
    for (const r of rows) {
      r.variants.forEach((variant, i) => {
        byHandler![r.firstHandler + i] = { row: r, variant };
        if (r.firstFused >= 0) {
          for (let j = 0; j < 16; j++) byHandler![r.firstFused + 16 * i + j] = { row: r, variant };
        }
      });
    }
  }
  const found = byHandler[handler];
  if (found === undefined || found.row !== row || found.variant.repeat !== 0) return undefined;
  const builder = new Builder(found.variant);
  row.build(builder);
  const info = { ...found, builder };
  handlers.set(handler, info);
  return info;
}

/** One instruction of a block, or the op behind its last one that goes on to the next. */
interface NodeOp {
  readonly address: number;
  readonly handler: number;
  readonly info: HandlerInfo | undefined;
}
/** One block of a region. */
interface Node {
  readonly address: number;
  readonly count: number;
  readonly ops: NodeOp[];
  readonly needsFlags: boolean;
  taken: Node | undefined;
  fallthrough: Node | undefined;
  /** The block that is the rest of this one: its ops stand for those that were taken off here. */
  rest: Node | undefined;
  /** First op of the rest, or 0: where the block is left when its rest cannot follow it. */
  restOp: number;
  /** Is the rest of another block, so it can be running without having been entered. */
  joined: boolean;
  /** Blocks a computed jump is known to go to. */
  targets: Node[];
  number: number;
  dominator: Node | undefined;
  merge: boolean;
  loop: boolean;
  children: Node[];
  depth: number;
  loopDepth: number;
}

/** What the compiler reads of a CPU. */
export interface RegionSource {
  readonly words: Int32Array;
  readonly area: number;
  readonly user: boolean;
  readonly tableSize: number;
  /** The block at an EIP in the mode of the head, when it is decoded. */
  find(eip: number, near: number): number | undefined;
}

/** A compiled region: its module and the blocks in it. */
export interface CompiledRegion {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly blocks: readonly number[];
}

/** The true handler of an op, whatever stands in for it. */
export function trueHandler(words: Int32Array, op: number, tableSize: number): number {
  const handler = words[op >>> 2];
  return handler === Handler.heat || handler >= tableSize - REGION_SLOTS
    ? words[(op - OP_SIZE + Block.first) >>> 2]
    : handler;
}

/** Compiles the region of a head; undefined when it is not worth it. */
export function compileRegion(source: RegionSource, head: number): CompiledRegion | undefined {
  return new RegionCompiler(source).compile(head);
}

class RegionCompiler implements RegionFrame {
  readonly c = new Code(2);
  readonly area: number;
  readonly user: boolean;
  readonly registers: number[];
  readonly flags: { result: number; aux: number };
  written = 0;
  pending: RegionFrame["pending"] = [];
  readonly #source: RegionSource;
  readonly #nodes = new Map<number, Node>();
  readonly #left: number;
  readonly #generation: number;
  readonly #handler: number;
  #exitDepth = 0;
  #current!: Node;
  /** Locals that hold nothing from one block to the next: all of a type, and how many are taken. */
  readonly #pool = new Map<ValueType, number[]>();
  #taken = new Map<ValueType, number>();

  constructor(source: RegionSource) {
    this.#source = source;
    this.area = source.area;
    this.user = source.user;
    this.registers = Array.from({ length: 8 }, () => this.c.local());
    this.flags = { result: this.c.local(), aux: this.c.local() };
    this.#left = this.c.local();
    this.#generation = this.c.local();
    this.#handler = this.c.local();
  }

  word(address: number): number {
    return this.#source.words[address >>> 2];
  }
  temporary(type: ValueType = ValueType.i32): number {
    let pool = this.#pool.get(type);
    if (pool === undefined) this.#pool.set(type, pool = []);
    const n = this.#taken.get(type) ?? 0;
    this.#taken.set(type, n + 1);
    return pool[n] ??= this.c.local(type);
  }

  compile(head: number): CompiledRegion | undefined {
    const root = this.#collect(head);
    if (root === undefined) return undefined;
    const order = this.#structure(root);
    const c = this.c;
    this.registers.forEach((local, i) => c.get(CPU).load(32, State.registers + 4 * i).set(local));
    c.get(CPU).load(32, State.flagResult).set(this.flags.result);
    c.get(CPU).load(32, State.flagAux).set(this.flags.aux);
    c.get(CPU).load(32, State.budget).set(this.#left);
    c.get(CPU).load(32, State.generation).set(this.#generation);
    c.block();
    this.#exitDepth = c.depth;
    this.#tree(root);
    c.unreachable().end();
    this.registers.forEach((local, i) => {
      if (this.written & (1 << i)) c.get(CPU).get(local).store(32, State.registers + 4 * i);
    });
    c.get(CPU).get(this.flags.result).store(32, State.flagResult);
    c.get(CPU).get(this.flags.aux).store(32, State.flagAux);
    c.get(CPU).get(this.#left).store(32, State.budget);
    const m = new ModuleWriter();
    const type = m.type([ValueType.i32, ValueType.i32], [ValueType.i32]);
    c.get(OP).get(CPU).get(this.#handler).returnCallIndirect(type);
    m.importTable("handlers", type, this.#source.tableSize);
    const fn = m.declare(type);
    m.define(fn, c);
    m.export("run", fn);
    return { bytes: m.finish(1), blocks: order.map((node) => node.address) };
  }

  // The graph.

  #collect(head: number): Node | undefined {
    const queue = [head];
    const edges: [Node, NodeOp][] = [];
    const returns: Node[] = [];
    const sites: Node[] = [];
    const siteAddresses = new Set<number>();
    const mode = this.word(head + Block.mode);
    let total = 0;
    for (let i = 0; i < queue.length && this.#nodes.size < MAX_BLOCKS && total < MAX_OPS; i++) {
      const address = queue[i];
      if (this.#nodes.has(address) || this.word(address + Block.generation) === -1) continue;
      if (this.word(address + Block.mode) !== mode) continue;
      const node = this.#node(address);
      if (node === undefined || (node.ops[0].info === undefined)) {
        if (address === head) return undefined;
        continue;
      }
      this.#nodes.set(address, node);
      if (siteAddresses.has(address)) sites.push(node);
      total += node.ops.length;
      const last = node.ops[node.ops.length - 1];
      if (last.info === undefined && last.handler !== Handler.fallthrough) continue;
      const kind = last.info ? endOf(last.info) : "fallthrough";
      if (kind === "jump") returns.push(node);
      else edges.push([node, last]);
      for (const field of kind === "both" ? [Op.taken, Op.fallthrough] : kind === "jump" ? [] : [Op[kind]]) {
        queue.push(this.word(last.address + field));
      }
      if (last.info?.row.mnemonic === "call") {
        const site = this.#source.find(this.word(last.address + Op.next), node.address);
        if (site !== undefined) {
          siteAddresses.add(site);
          queue.push(site);
        }
      }
    }
    for (const [node, last] of edges) {
      const kind = last.info ? endOf(last.info) : "fallthrough";
      if (kind !== "fallthrough") node.taken = this.#nodes.get(this.word(last.address + Op.taken));
      if (kind !== "taken") node.fallthrough = this.#nodes.get(this.word(last.address + Op.fallthrough));
    }
    for (const node of returns) {
      if (node.ops[node.ops.length - 1].info?.row.mnemonic === "ret") node.targets = [...sites];
    }
    this.#join();
    const root = this.#nodes.get(head)!;
    const worthwhile = root.ops.filter((op) => op.info).length >= MIN_OPS || root.taken !== undefined ||
      root.fallthrough !== undefined;
    return worthwhile ? root : undefined;
  }

  /**
   * Decoding begins a block at each target, so the same instructions can end several blocks, and loops get
   * several entries by that. Where both go on to the same blocks, the longer one ends in the shorter one.
   */
  #join(): void {
    const byStart = new Map<number, Node>();
    for (const node of this.#nodes.values()) byStart.set(this.word(node.address + Block.eip), node);
    for (const node of this.#nodes.values()) {
      if (!node.taken) continue;
      for (let i = 1; i < node.ops.length; i++) {
        const op = node.ops[i];
        const rest = byStart.get(this.word(op.address + Op.eip));
        const last = node.ops[node.ops.length - 1];
        if (rest === undefined || rest.rest || !last.info) continue;
        const restLast = rest.ops[rest.ops.length - 1];
        // The same bytes: of one page, and of one frame.
        const page = this.word(node.address + Block.page);
        if (page === 2 || page !== this.word(rest.address + Block.page)) continue;
        if (this.word(node.address + Block.addend) !== this.word(rest.address + Block.addend)) continue;
        if (rest.ops.length !== node.ops.length - i || !restLast.info) continue;
        const same = (field: number) =>
          this.word(last.address + field) === this.word(restLast.address + field);
        const both = endOf(last.info) === "both";
        if (both && !node.fallthrough) break;
        if (!same(Op.eip) || !same(Op.taken) || (both && !same(Op.fallthrough))) continue;
        node.ops.length = i;
        node.taken = node.fallthrough = undefined;
        node.rest = rest;
        node.restOp = rest.ops[0].address;
        rest.joined = true;
        break;
      }
    }
  }

  /** Reads a block's ops, up to the first one that regions cannot hold. */
  #node(address: number): Node | undefined {
    const count = this.word(address + Block.count);
    const ops: NodeOp[] = [];
    for (let i = 1; i <= count + 1; i++) {
      const op = address + i * OP_SIZE;
      const handler = trueHandler(this.#source.words, op, this.#source.tableSize);
      // A patched op: the block is about to be left.
      if (handler === Handler.leave) return undefined;
      if (i > count) {
        ops.push({ address: op, handler, info: undefined });
        break;
      }
      const row = rows[this.word(op + Op.info) & OpInfo.rowMask];
      const info = infoOf(handler, row);
      ops.push({ address: op, handler, info });
      if (info === undefined || row.ends) break;
    }
    return {
      address,
      count,
      ops,
      needsFlags: needsFlags(ops.map((op) => op.info).filter((info) => info !== undefined)),
      taken: undefined,
      fallthrough: undefined,
      rest: undefined,
      restOp: 0,
      joined: false,
      targets: [],
      number: -1,
      dominator: undefined,
      merge: false,
      loop: false,
      children: [],
      depth: 0,
      loopDepth: 0,
    };
  }

  #successors(node: Node): Node[] {
    const all = [...node.targets];
    if (node.rest) all.push(node.rest);
    if (node.fallthrough) all.push(node.fallthrough);
    if (node.taken) all.push(node.taken);
    return all;
  }

  /** Numbers the blocks in reverse postorder, finds dominators, loops and merges; cuts irreducible edges. */
  #structure(root: Node): Node[] {
    for (;;) {
      for (const node of this.#nodes.values()) {
        node.number = -1;
        node.dominator = undefined;
        node.merge = node.loop = false;
        node.children = [];
      }
      const order: Node[] = [];
      const visit = (node: Node) => {
        node.number = 0;
        for (const next of this.#successors(node)) if (next.number < 0) visit(next);
        order.push(node);
      };
      visit(root);
      order.reverse();
      order.forEach((node, i) => node.number = i);
      this.#dominators(order);
      if (!this.#cut(order)) {
        for (const node of order) {
          if (node !== root) node.dominator!.children.push(node);
          for (const next of this.#successors(node)) if (next.number <= node.number) next.loop = true;
        }
        const forward = new Map<Node, number>();
        for (const node of order) {
          for (const next of this.#successors(node)) {
            if (next.number > node.number) forward.set(next, (forward.get(next) ?? 0) + 1);
          }
        }
        for (const [node, n] of forward) node.merge = n > 1;
        return order;
      }
    }
  }
  #dominators(order: readonly Node[]): void {
    const before = new Map<Node, Node[]>(order.map((node) => [node, []]));
    for (const node of order) for (const next of this.#successors(node)) before.get(next)!.push(node);
    order[0].dominator = order[0];
    for (let changed = true; changed;) {
      changed = false;
      for (const node of order.slice(1)) {
        let dominator: Node | undefined;
        for (let p of before.get(node)!) {
          if (p.dominator === undefined) continue;
          if (dominator === undefined) dominator = p;
          else {
            let d: Node = dominator;
            while (p !== d) {
              while (p.number > d.number) p = p.dominator!;
              while (d.number > p.number) d = d.dominator!;
            }
            dominator = d;
          }
        }
        if (node.dominator !== dominator) {
          node.dominator = dominator;
          changed = true;
        }
      }
    }
  }
  /** Cuts edges that go back to a block that does not dominate their source. Returns whether any was. */
  #cut(order: readonly Node[]): boolean {
    let any = false;
    for (const node of order) {
      const bad = (next: Node | undefined): boolean => {
        if (next === undefined || next.number > node.number) return false;
        let d = node;
        while (d.number > next.number) d = d.dominator!;
        if (d === next) return false;
        return any = true;
      };
      if (bad(node.rest)) node.rest = undefined;
      if (bad(node.taken)) node.taken = undefined;
      if (bad(node.fallthrough)) node.fallthrough = undefined;
      node.targets = node.targets.filter((target) => !bad(target));
    }
    return any;
  }

  // Code.

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
    this.pending = [];
    this.#taken = new Map();
    for (const { address, info } of node.ops) {
      this.#current = node;
      if (info === undefined) {
        if (this.word(address) === Handler.fallthrough) {
          this.#edge(address, Handler.fallthrough, node.fallthrough);
        } else this.leave(address);
        return;
      }
      if (new RegionLowering(this, address, info.row, info.variant, info.builder).run()) return;
    }
    if (node.rest) {
      if (node.rest.needsFlags) settle(this);
      this.#goTo(node, node.rest);
    } else if (node.restOp) this.leave(node.restOp);
  }
  /** Leaves for a handler that gets an op. */
  #exit(op: number, handler: number, eip = -1): void {
    const { pending } = this;
    settle(this);
    this.pending = pending;
    const c = this.c;
    if (eip >= 0) c.get(CPU).get(eip).store(32, State.eip);
    c.const(op).set(OP).const(handler).set(this.#handler).brTo(this.#exitDepth);
  }
  leave(op: number): void {
    this.#exit(op, trueHandler(this.#source.words, op, this.#source.tableSize));
  }
  /** Goes to a block, as the handler would. */
  #edge(op: number, handler: number, target: Node | undefined, eip = -1): void {
    const c = this.c;
    if (target === undefined) return this.#exit(op, handler, eip);
    const node = this.#current;
    if (target.needsFlags) settle(this);
    const back = target.number <= node.number;
    // A block that dominates this one was entered before: its generation is known to be current.
    if (!back || target.joined) {
      c.const(target.address).load(32, Block.generation).get(this.#generation).op("ne").if();
      this.#exit(op, handler, eip);
      c.end();
    }
    c.get(this.#left).const(target.count).op("sub").tee(this.#left).const(0).op("lt_s").if();
    c.get(this.#left).const(target.count).op("add").set(this.#left);
    this.#exit(op, handler, eip);
    c.end();
    this.#goTo(node, target);
  }
  #goTo(node: Node, target: Node): void {
    const c = this.c;
    if (target.number <= node.number) c.brTo(target.loopDepth);
    else if (target.merge) c.brTo(target.depth);
    else {
      const { pending } = this;
      const taken = this.#taken;
      this.#tree(target);
      this.pending = pending;
      this.#taken = taken;
      this.#current = node;
    }
  }
  branch(op: number, conditional: boolean): void {
    const c = this.c;
    const node = this.#current;
    if (conditional) {
      c.if();
      const { pending } = this;
      this.#edge(op, Handler.taken, node.taken);
      this.pending = pending;
      c.end();
      this.#edge(op, Handler.fallthrough, node.fallthrough);
    } else this.#edge(op, Handler.taken, node.taken);
  }
  jump(op: number, eip: number): void {
    const c = this.c;
    const { targets } = this.#current;
    if (targets.length > 0) {
      // Only by way of the jump cache: what it does not hold, the interpreter looks up.
      const entry = this.temporary(), block = this.temporary();
      c.get(eip).get(eip).const(12).op("shr_u").op("xor");
      c.const(JUMP_ENTRIES - 1).op("and").const(3).op("shl").get(CPU).op("add").tee(entry);
      c.load(32, State.jumpCache).get(eip).op("eq").if();
      c.get(entry).load(32, State.jumpCache + 4).set(block);
      const { pending } = this;
      for (const target of targets) {
        c.get(block).const(target.address).op("eq").if();
        this.#edge(op, Handler.enter, target, eip);
        this.pending = pending;
        c.end();
      }
      c.end();
    }
    this.#exit(op, Handler.enter, eip);
  }
}

/** Where control goes behind the last instruction of a block. */
function endOf(info: HandlerInfo): "taken" | "fallthrough" | "both" | "jump" {
  const last = info.builder.statements[info.builder.statements.length - 1];
  if (last?.do === "branch") return last.condition ? "both" : "taken";
  return last?.do === "jump" ? "jump" : "fallthrough";
}
