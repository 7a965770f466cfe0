// SPDX-License-Identifier: Apache-2.0
/**
 * The second tier of a CPU: counts entries of blocks, compiles the regions of hot ones, and puts them into
 * the table of handlers. Heat is counted in entries, never in time, so a run is the same each time.
 *
 * @module
 */
import type { BlockInfo, Mode } from "./blocks.ts";
import { machineCodeBytes } from "./code_memory.ts";
import type { Core } from "./core.ts";
import { Handler, REGION_SLOTS } from "./generate.ts";
import { Block, Op, OP_SIZE, State } from "./layout.ts";
import { SLOW_WRITE } from "./lowering.ts";
import { compileRegion } from "./region.ts";
import type { RegionSource } from "./region_graph.ts";

/** Entries of a block after which it is hot. */
export const HOT_ENTRIES = 3000;
/** How many times as often a block that lies in a region must be entered before it heads another one. */
const PATIENCE = 16;
/** Compiled blocks that may die in a frame before its code stays interpreted. */
const MAX_DEATHS = 16;
/**
 * Bytes of modules after which all regions are dropped. Their machine code, of both of V8's compilers, takes five
 * to six times as many.
 */
const MAX_BYTES = 6 << 20;
/** Bytes of machine code in the process after which all are dropped, and how often that is looked at. */
const MAX_MACHINE_CODE = 56 << 20;
const LOOK_AFTER_BYTES = 1 << 20;

interface Region {
  readonly head: number;
  readonly slot: number;
  readonly bytes: number;
  readonly blocks: readonly number[];
}

/** Counts of what the second tier did. */
export interface JitStatistics {
  /** Regions compiled, dropped, and refused as not worth it. */
  compiled: number;
  dropped: number;
  refused: number;
  /** Bytes of the modules that stand. */
  bytes: number;
}

/** Regions of one CPU. */
export class Jit {
  readonly statistics: JitStatistics = { compiled: 0, dropped: 0, refused: 0, bytes: 0 };
  readonly #core: Core;
  readonly #table: WebAssembly.Table;
  readonly #firstSlot: number;
  readonly #hotEntries: number;
  readonly #free: number[] = [];
  readonly #idle: unknown;
  readonly #helper: (op: number) => number;
  /** Puts a page that another one pushed out back into the TLB: the host is not asked, nothing else changes. */
  readonly #refill = (linear: number, spec: number): number => {
    const { tlb, cpl } = this.#core;
    const bytes = spec & 0xff;
    if ((linear & 4095) + bytes > 4096) return 0;
    const entry = tlb.recall(linear, cpl === 3);
    return entry >= 0 && tlb.allows(entry, (spec & SLOW_WRITE) !== 0) ? 1 : 0;
  };
  readonly #byHead = new Map<number, Region>();
  readonly #byBlock = new Map<number, Set<Region>>();
  /** Blocks inside of regions that must be entered more often before they head one. */
  readonly #patient = new Set<number>();
  /** Bytes of modules since the last look at machine code. */
  #unlooked = 0;
  /** Deaths of compiled blocks by frame. */
  readonly #deaths = new Map<number, number>();

  constructor(core: Core, table: WebAssembly.Table, hotEntries: number, helper: (op: number) => number) {
    this.#helper = helper;
    this.#core = core;
    this.#hotEntries = hotEntries;
    this.#table = table;
    this.#firstSlot = table.length - REGION_SLOTS;
    for (let i = table.length - 1; i >= this.#firstSlot; i--) this.#free.push(i);
    this.#idle = table.get(this.#firstSlot);
  }

  /** Counts the entries of a block that was decoded. */
  watch(block: BlockInfo, mode: Mode): void {
    if (mode.single || mode.checked || (this.#deaths.get(block.frame) ?? 0) >= MAX_DEATHS) return;
    const words = this.#core.words;
    words[(block.address + Block.first) >>> 2] = words[(block.address + OP_SIZE) >>> 2];
    this.#heat(block.address);
  }
  #heat(block: number, times = 1): void {
    const words = this.#core.words;
    words[(block + Block.heat) >>> 2] = times * this.#hotEntries;
    words[(block + OP_SIZE + Op.handler) >>> 2] = Handler.heat;
  }

  /** Compiles the region that begins at a first op; when there is none, its own handler stands again. */
  hot(op: number): void {
    const core = this.#core;
    const head = op - OP_SIZE;
    const w = op >>> 2;
    if (this.#byBlock.has(head) && !this.#patient.has(head)) {
      this.#patient.add(head);
      this.#heat(head, PATIENCE);
      return;
    }
    this.#patient.delete(head);
    core.words[w] = core.words[(head + Block.first) >>> 2];
    if (this.statistics.bytes > MAX_BYTES || this.#free.length === 0 || this.#tooMuchCode()) this.#dropAll();
    const source: RegionSource = {
      words: core.words,
      area: core.area,
      user: core.mode.user,
      tableSize: this.#table.length,
      memoryPages: core.bytes.length >>> 16,
      find: (eip) => {
        const block = core.blocks.findNear(eip, core.mode);
        return block?.address;
      },
    };
    const compiled = compileRegion(source, head);
    if (compiled === undefined) {
      this.statistics.refused++;
      return;
    }
    const instance = new WebAssembly.Instance(new WebAssembly.Module(compiled.bytes), {
      env: { memory: core.memory.memory, handlers: this.#table, refill: this.#refill, helper: this.#helper },
    });
    const slot = this.#free.pop()!;
    this.#table.set(slot, instance.exports.run);
    const region: Region = { head, slot, bytes: compiled.bytes.length, blocks: compiled.blocks };
    this.#byHead.set(head, region);
    for (const block of region.blocks) {
      let set = this.#byBlock.get(block);
      if (set === undefined) this.#byBlock.set(block, set = new Set());
      set.add(region);
    }
    this.statistics.compiled++;
    this.statistics.bytes += region.bytes;
    this.#unlooked += region.bytes;
    core.words[w] = slot;
  }

  /** Now and then: true when V8 holds more machine code than may be, whatever modules say. */
  #tooMuchCode(): boolean {
    if (this.#unlooked < LOOK_AFTER_BYTES) return false;
    this.#unlooked = 0;
    return (machineCodeBytes() ?? 0) > MAX_MACHINE_CODE;
  }

  /** A block died: regions with it go. One that runs now is about to be left: its op behind leads out of it. */
  died(block: BlockInfo): void {
    this.#patient.delete(block.address);
    const regions = this.#byBlock.get(block.address);
    if (regions === undefined) return;
    this.#core.setState(State.deaths, (this.#core.state(State.deaths) + 1) | 0);
    this.#deaths.set(block.frame, (this.#deaths.get(block.frame) ?? 0) + 1);
    for (const region of [...regions]) this.#drop(region);
  }
  /** Everything was forgotten, on purpose: frames may be hot again. */
  cleared(): void {
    this.#deaths.clear();
  }
  #drop(region: Region): void {
    const words = this.#core.words;
    const w = (region.head + OP_SIZE) >>> 2;
    // A dead block's op leads out of it already.
    if (words[w] === region.slot) this.#heat(region.head);
    this.#table.set(region.slot, this.#idle);
    this.#free.push(region.slot);
    this.#byHead.delete(region.head);
    for (const block of region.blocks) {
      const set = this.#byBlock.get(block);
      set?.delete(region);
      if (set?.size === 0) this.#byBlock.delete(block);
    }
    this.statistics.bytes -= region.bytes;
    this.statistics.dropped++;
  }
  #dropAll(): void {
    for (const region of [...this.#byHead.values()]) this.#drop(region);
  }
}
