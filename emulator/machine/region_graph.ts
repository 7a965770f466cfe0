// SPDX-License-Identifier: Apache-2.0
/**
 * The graph of a region: blocks that are linked with each other, in an order and with dominators from which
 * structured control flow is made.
 *
 * @module
 */
import { Builder, type Row, rows, type Stmt, type Variant } from "../isa/mod.ts";
import { Handler, REGION_SLOTS } from "./generate.ts";
import { Block, Op, OP_SIZE, OpInfo } from "./layout.ts";
import { touchesFlags } from "./region_lower.ts";

/** Most blocks and instructions in a region. */
const MAX_BLOCKS = 128;
const MAX_OPS = 1200;
/** Fewer instructions than this before the region would be left are not worth entering it. */
const MIN_OPS = 3;

/** What a handler number stands for. */
export interface HandlerInfo {
  readonly row: Row;
  readonly variant: Variant;
  readonly builder: Builder;
}
const handlers = new Map<number, HandlerInfo>();
let byHandler: { row: Row; variant: Variant }[] | undefined;

/** The instruction behind a handler that regions can hold; undefined for the others. */
function infoOf(handler: number, row: Row): HandlerInfo | undefined {
  if (row.build === undefined) return undefined;
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

/**
 * One instruction of a block, or the op behind its last one that goes on to the next. Without `info` it is one
 * that TypeScript does (`helper`), or the region is left there.
 */
export interface NodeOp {
  readonly helper: boolean;
  readonly address: number;
  readonly handler: number;
  readonly info: HandlerInfo | undefined;
}
/** One block of a region. */
export interface Node {
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
  /** Place in reverse postorder. */
  number: number;
  dominator: Node | undefined;
  merge: boolean;
  loop: boolean;
  children: Node[];
  /** Most instructions from behind this block to where the budget is looked at again. */
  need: number;
  depth: number;
  loopDepth: number;
}

/** What the compiler reads of a CPU. */
export interface RegionSource {
  readonly words: Int32Array;
  readonly area: number;
  readonly user: boolean;
  readonly tableSize: number;
  /** Size of the memory in pages of WebAssembly. */
  readonly memoryPages: number;
  /** The block at an EIP in the mode of the head, when it is decoded. */
  find(eip: number, near: number): number | undefined;
}

/** The true handler of an op, whatever stands in for it. */
export function trueHandler(words: Int32Array, op: number, tableSize: number): number {
  const handler = words[op >>> 2];
  return handler === Handler.heat || handler >= tableSize - REGION_SLOTS
    ? words[(op - OP_SIZE + Block.first) >>> 2]
    : handler;
}

/** The blocks of a region. */
export class RegionGraph {
  readonly #source: RegionSource;
  readonly #nodes = new Map<number, Node>();

  private constructor(source: RegionSource) {
    this.#source = source;
  }
  /** The region of a head; undefined when it is not worth it. */
  static of(source: RegionSource, head: number): readonly Node[] | undefined {
    const graph = new RegionGraph(source);
    const root = graph.#collect(head);
    return root && graph.#structure(root);
  }
  #word(address: number): number {
    return this.#source.words[address >>> 2];
  }

  #collect(head: number): Node | undefined {
    const queue = [head];
    const edges: [Node, NodeOp][] = [];
    const returns: Node[] = [];
    const sites: Node[] = [];
    const siteAddresses = new Set<number>();
    const mode = this.#word(head + Block.mode);
    let total = 0;
    for (let i = 0; i < queue.length && this.#nodes.size < MAX_BLOCKS && total < MAX_OPS; i++) {
      const address = queue[i];
      if (this.#nodes.has(address) || this.#word(address + Block.generation) === -1) continue;
      if (this.#word(address + Block.mode) !== mode) continue;
      const node = this.#node(address);
      if (node === undefined || (node.ops[0].info === undefined && !node.ops[0].helper)) {
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
        queue.push(this.#word(last.address + field));
      }
      if (last.info?.row.mnemonic === "call") {
        const site = this.#source.find(this.#word(last.address + Op.next), node.address);
        if (site !== undefined) {
          siteAddresses.add(site);
          queue.push(site);
        }
      }
    }
    for (const [node, last] of edges) {
      const kind = last.info ? endOf(last.info) : "fallthrough";
      if (kind !== "fallthrough") node.taken = this.#nodes.get(this.#word(last.address + Op.taken));
      if (kind !== "taken") node.fallthrough = this.#nodes.get(this.#word(last.address + Op.fallthrough));
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
    for (const node of this.#nodes.values()) byStart.set(this.#word(node.address + Block.eip), node);
    for (const node of this.#nodes.values()) {
      if (!node.taken) continue;
      for (let i = 1; i < node.ops.length; i++) {
        const op = node.ops[i];
        const rest = byStart.get(this.#word(op.address + Op.eip));
        const last = node.ops[node.ops.length - 1];
        if (rest === undefined || rest.rest || !last.info) continue;
        const restLast = rest.ops[rest.ops.length - 1];
        // The same bytes: of one page, and of one frame.
        const page = this.#word(node.address + Block.page);
        if (page === 2 || page !== this.#word(rest.address + Block.page)) continue;
        if (this.#word(node.address + Block.addend) !== this.#word(rest.address + Block.addend)) continue;
        if (rest.ops.length !== node.ops.length - i || !restLast.info) continue;
        const same = (field: number) =>
          this.#word(last.address + field) === this.#word(restLast.address + field);
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
    const count = this.#word(address + Block.count);
    const ops: NodeOp[] = [];
    for (let i = 1; i <= count + 1; i++) {
      const op = address + i * OP_SIZE;
      const handler = trueHandler(this.#source.words, op, this.#source.tableSize);
      // A patched op: the block is about to be left.
      if (handler === Handler.leave) return undefined;
      if (i > count) {
        ops.push({ address: op, handler, info: undefined, helper: false });
        break;
      }
      const row = rows[this.#word(op + Op.info) & OpInfo.rowMask];
      const info = infoOf(handler, row);
      const helper = handler === Handler.helper && !row.ends;
      ops.push({ address: op, handler, info, helper });
      if ((info === undefined && !helper) || row.ends) break;
    }
    return {
      address,
      count,
      ops,
      needsFlags: needsFlags(ops),
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
      need: 0,
      depth: 0,
      loopDepth: 0,
    };
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
        for (const next of successors(node)) if (next.number < 0) visit(next);
        order.push(node);
      };
      visit(root);
      order.reverse();
      order.forEach((node, i) => node.number = i);
      this.#dominators(order);
      if (!this.#cut(order)) {
        for (const node of order) {
          if (node !== root) node.dominator!.children.push(node);
          for (const next of successors(node)) if (next.number <= node.number) next.loop = true;
        }
        const forward = new Map<Node, number>();
        for (const node of order) {
          for (const next of successors(node)) {
            if (next.number > node.number) forward.set(next, (forward.get(next) ?? 0) + 1);
          }
        }
        for (const [node, n] of forward) node.merge = n > 1;
        for (const node of order.toReversed()) {
          // Entering a loop looks at the budget.
          const needs = successors(node).filter((next) => next.number > node.number && !next.loop)
            .map((next) => next.need + (next === node.rest ? 0 : next.count));
          node.need = Math.max(0, ...needs);
        }
        return order;
      }
    }
  }
  #dominators(order: readonly Node[]): void {
    const before = new Map<Node, Node[]>(order.map((node) => [node, []]));
    for (const node of order) for (const next of successors(node)) before.get(next)!.push(node);
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
}

/** Where control goes behind the last instruction of a block. */
export function endOf(info: HandlerInfo): "taken" | "fallthrough" | "both" | "jump" {
  const last = info.builder.statements[info.builder.statements.length - 1];
  if (last?.do === "branch") return last.condition ? "both" : "taken";
  return last?.do === "jump" ? "jump" : "fallthrough";
}

/** Where control can go from a block within its region. */
export function successors(node: Node): Node[] {
  const all = [...node.targets];
  if (node.rest) all.push(node.rest);
  if (node.fallthrough) all.push(node.fallthrough);
  if (node.taken) all.push(node.taken);
  return all;
}

const uses = new WeakMap<Builder, boolean | undefined>();
/** Whether an instruction may need the flags it is entered with: true, false (it sets them), or undefined. */
function flagUse({ builder, variant }: HandlerInfo): boolean | undefined {
  if (uses.has(builder)) return uses.get(builder);
  const use = () => {
    for (const s of builder.statements) {
      // Its values only: the statement itself sets flags.
      if (s.do === "flags" && (s.kind === "add" || s.kind === "sub" || s.kind === "logic")) {
        return touchesFlags({ ...s, do: "let" } as unknown as Stmt);
      }
      if (s.do === "flagsFrom") return touchesFlags({ ...s, do: "let" } as unknown as Stmt);
      const memory = variant.place !== "register" && variant.place !== "none";
      if (["let", "setRegister"].includes(s.do) || (["read", "write"].includes(s.do) && !memory)) {
        if (touchesFlags(s)) return true;
      } else return true;
    }
    return undefined;
  };
  const result = use();
  uses.set(builder, result);
  return result;
}
/** True when a block with these instructions may need the flags it is entered with. */
function needsFlags(ops: readonly NodeOp[]): boolean {
  for (const { info } of ops) {
    const use = info ? flagUse(info) : true;
    if (use !== undefined) return use;
  }
  return true;
}
