// SPDX-License-Identifier: Apache-2.0
/**
 * The ranges of a process's address space, and their tree of MMVAD nodes in guest memory. The tree is a
 * treap with priorities made from the node's number: its depth stays logarithmic, and the same run gives
 * the same tree.
 *
 * @module
 */
import { put32 } from "./bytes.ts";
import type { KernelMemory } from "./kernel_memory.ts";
import type { Section } from "./sections.ts";
import { Vad as Offset } from "./structures.ts";

/** Protection codes as the memory manager keeps them (MM_… in the 5-bit field of MMVAD_FLAGS). */
export const Mm = {
  readOnly: 1,
  execute: 2,
  executeRead: 3,
  readWrite: 4,
  writeCopy: 5,
  executeReadWrite: 6,
  executeWriteCopy: 7,
  noCache: 0x08,
  guard: 0x10,
  noAccess: 0x18,
  /** Not part of the protection: the page is committed. */
  committed: 0x80,
} as const;

/** What a range is. */
export type VadKind = "private" | "mapped" | "image";

/** One reserved range of user addresses. */
export interface Vad {
  /** First and last page number. */
  readonly start: number;
  readonly end: number;
  readonly kind: VadKind;
  /** MM code asked for at reservation. */
  readonly protect: number;
  /** One byte a page: 0 reserved only, else {@link Mm.committed} with an MM code. */
  readonly pages: Uint8Array;
  /** Behind mapped and image ranges. */
  readonly section?: Section;
  /** Page of the section that `start` maps. */
  readonly sectionPage: number;
  /** A thread's stack: its guard page moves down when touched. */
  readonly stack?: boolean;
}

interface Node {
  readonly vad: Vad;
  readonly address: number;
  readonly priority: number;
  left: Node | undefined;
  right: Node | undefined;
}

/** Pages between the places where allocations begin. */
const HINT_STEP = 16;
/** Most ranges a process may have. */
export const MAX_VADS = 16384;

/** The ranges of one process, sorted, mirrored in guest memory. */
export class VadTree {
  private readonly list: Vad[] = [];
  private readonly nodes = new Map<Vad, Node>();
  private root: Node | undefined;
  private counter = 0;
  private touched = new Set<Node>();
  /** A page number below which no run of `count` pages at a multiple of {@link HINT_STEP} is free. */
  private hint = { count: 0, at: 0 };

  /** `table` is the kernel address of the EPROCESS's MM_AVL_TABLE. */
  constructor(private readonly memory: KernelMemory, private readonly table: number) {}

  /** All ranges, by address. */
  get ranges(): readonly Vad[] {
    return this.list;
  }

  /** The range that holds a page. */
  find(vpn: number): Vad | undefined {
    const i = this.indexAfter(vpn) - 1;
    return i >= 0 && this.list[i].end >= vpn ? this.list[i] : undefined;
  }

  /** Whether a run of pages touches no range. */
  isFree(start: number, end: number): boolean {
    const i = this.indexAfter(end) - 1;
    return i < 0 || this.list[i].end < start;
  }

  /** Lowest free run of `count` pages from `from` to `to` (exclusive), start a multiple of `step` pages. */
  lowestFree(count: number, step: number, from: number, to: number): number | undefined {
    // Below the hint there is no room for that many pages.
    const hinted = count >= this.hint.count && this.hint.at > from;
    let at = Math.ceil((hinted ? this.hint.at : from) / step) * step;
    for (let i = Math.max(this.indexAfter(at) - 1, 0); i < this.list.length; i++) {
      const vad = this.list[i];
      if (vad.end < at) continue;
      if (vad.start >= at + count) break;
      at = Math.ceil((vad.end + 1) / step) * step;
    }
    if (step === HINT_STEP) this.hint = { count, at };
    return at + count <= to ? at : undefined;
  }

  /** Highest free run below `to`. */
  highestFree(count: number, step: number, from: number, to: number): number | undefined {
    let top = to;
    for (let i = this.list.length - 1; i >= -1; i--) {
      const vad = this.list[i];
      const at = Math.floor((top - count) / step) * step;
      if (at >= Math.max(from, vad ? vad.end + 1 : from)) return at;
      if (vad) top = Math.min(top, vad.start);
    }
    return undefined;
  }

  /** Adds a range that touches no other. False when there is no memory for its node. */
  insert(vad: Vad): boolean {
    if (this.list.length >= MAX_VADS) return false;
    const address = this.memory.allocate(Offset.size);
    if (address === undefined) return false;
    // A fixed hash of the running number stands for the treap's random priority.
    const priority = Math.imul(++this.counter, 0x9e3779b1) >>> 0;
    const node: Node = { vad, address, priority, left: undefined, right: undefined };
    this.list.splice(this.indexAfter(vad.start), 0, vad);
    this.nodes.set(vad, node);
    this.touched.add(node);
    this.root = this.place(this.root, node);
    this.mirror();
    return true;
  }

  /** Removes a range. */
  remove(vad: Vad): void {
    const node = this.nodes.get(vad);
    if (!node) return;
    this.nodes.delete(vad);
    if (vad.start < this.hint.at) this.hint = { count: 0, at: 0 };
    this.list.splice(this.list.indexOf(vad), 1);
    this.root = this.take(this.root, node);
    this.touched.delete(node);
    this.memory.release(node.address, Offset.size);
    this.mirror();
  }

  private indexAfter(vpn: number): number {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.list[middle].start <= vpn) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts a node into a subtree; returns the subtree's root. */
  private place(root: Node | undefined, node: Node): Node {
    if (!root) return node;
    if (node.priority > root.priority) {
      [node.left, node.right] = this.split(root, node.vad.start);
      return node;
    }
    const side = node.vad.start < root.vad.start ? "left" : "right";
    this.link(root, side, this.place(root[side], node));
    return root;
  }

  /** Takes a node out of a subtree; returns the subtree's root. */
  private take(root: Node | undefined, node: Node): Node | undefined {
    if (!root) return undefined;
    if (root === node) return this.merge(node.left, node.right);
    const side = node.vad.start < root.vad.start ? "left" : "right";
    this.link(root, side, this.take(root[side], node));
    return root;
  }

  private link(node: Node, side: "left" | "right", child: Node | undefined): void {
    if (node[side] === child) return;
    node[side] = child;
    this.touched.add(node);
  }

  private split(node: Node | undefined, key: number): [Node | undefined, Node | undefined] {
    if (!node) return [undefined, undefined];
    if (node.vad.start < key) {
      const [left, right] = this.split(node.right, key);
      this.link(node, "right", left);
      return [node, right];
    }
    const [left, right] = this.split(node.left, key);
    this.link(node, "left", right);
    return [left, node];
  }

  private merge(left: Node | undefined, right: Node | undefined): Node | undefined {
    if (!left || !right) return left ?? right;
    if (left.priority > right.priority) {
      this.link(left, "right", this.merge(left.right, right));
      return left;
    }
    this.link(right, "left", this.merge(left, right.left));
    return right;
  }

  /** Writes the nodes that changed, and the parents of their children, into guest memory. */
  private mirror(): void {
    for (const node of this.touched) {
      if (this.nodes.get(node.vad) !== node) continue;
      this.memory.write(node.address + Offset.left, nodeBytes(node).subarray(Offset.left));
    }
    for (const node of this.touched) {
      if (node.left) this.memory.set32(node.left.address, node.address);
      if (node.right) this.memory.set32(node.right.address, node.address);
    }
    this.touched = new Set();
    if (this.root) this.memory.set32(this.root.address, this.table);
    this.memory.set32(this.table + Offset.right, this.root?.address ?? 0);
    this.memory.set32(this.table + Offset.tableFlags, (this.list.length << 8) >>> 0);
  }
}

function nodeBytes(node: Node): Uint8Array {
  const { vad } = node;
  const bytes = new Uint8Array(Offset.size);
  put32(bytes, Offset.left, node.left?.address ?? 0);
  put32(bytes, Offset.right, node.right?.address ?? 0);
  put32(bytes, Offset.startingVpn, vad.start);
  put32(bytes, Offset.endingVpn, vad.end);
  // MMVAD_FLAGS: CommitCharge 0–18, VadType 20–22 (2 = image), MemCommit 23, Protection 24–28, Private 31.
  const type = vad.kind === "image" ? 2 << 20 : 0;
  const isPrivate = vad.kind === "private" ? 0x8000_0000 : 0;
  put32(bytes, Offset.flags, (type | (vad.protect << 24) | isPrivate) >>> 0);
  return bytes;
}
