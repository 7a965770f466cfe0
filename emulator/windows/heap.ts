// SPDX-License-Identifier: Apache-2.0
/**
 * Heaps: blocks with headers in guest memory, the books kept outside it, so that a program that overruns its
 * blocks hurts only itself.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import type { HeapEntry } from "./api.ts";
import { alignUp, put16, put32 } from "./bytes.ts";
import { Memory, Protect } from "./constants.ts";
import type { MemoryManager } from "./memory_manager.ts";
import type { UserMemory } from "./user_memory.ts";

const HEADER = 8;
const UNIT = 16;
/** Bytes of the HEAP structure before the first block. */
const HEAP_SIZE = 0x588;
const SEGMENT = 0x10_0000;
/** Larger blocks get an allocation of their own. */
const LARGE = 0x7_f000;
/** Bytes before such a block. */
const LARGE_HEADER = 0x20;
/** HEAP.Flags. */
const GROWABLE = 2;
const ENABLE_EXECUTE = 0x4_0000;
/** Most blocks of one heap. */
const MAX_BLOCKS = 1 << 20;

interface Segment {
  readonly base: number;
  readonly end: number;
  committed: number;
  next: number;
}

/** How a heap is made. */
export interface HeapOptions {
  /** HEAP_CREATE_ENABLE_EXECUTE: its blocks may run. */
  readonly executable?: boolean;
  /** Bytes it may have at most; 0: it grows. */
  readonly maximum?: number;
  /** Where it is to be if there is room; 0: anywhere. */
  readonly at?: number;
}

/** One heap of a process. */
export class Heap {
  private readonly segments: Segment[] = [];
  private readonly blocks = new Map<number, { size: number; room: number; large: boolean }>();
  /** Free blocks by their room, last freed first. */
  private readonly free = new Map<number, number[]>();

  private readonly protect: number;
  private readonly maximum: number;
  /** What {@link entries} found last; forgotten when a block comes or goes. */
  private listed: readonly HeapEntry[] | undefined;

  private constructor(
    private readonly manager: MemoryManager,
    private readonly memory: UserMemory,
    options: HeapOptions,
  ) {
    this.protect = options.executable ? Protect.executeReadWrite : Protect.readWrite;
    this.maximum = alignUp(options.maximum ?? 0, PAGE_SIZE);
  }

  /** Makes a heap; undefined when there is no room. */
  static create(
    manager: MemoryManager,
    memory: UserMemory,
    options: HeapOptions = {},
  ): { heap: Heap; base: number } | undefined {
    const heap = new Heap(manager, memory, options);
    const segment = heap.addSegment(HEAP_SIZE, options.at) ?? heap.addSegment(HEAP_SIZE);
    if (!segment) return undefined;
    // HEAP: signature, Flags (HEAP_GROWABLE …) and ForceFlags = 0 where debugger checks look for them.
    const header = new Uint8Array(0x48);
    put32(header, 0x08, 0xffeeffee);
    put32(header, 0x40, (heap.maximum === 0 ? GROWABLE : 0) | (options.executable ? ENABLE_EXECUTE : 0));
    memory.setBytes(segment.base, header);
    return { heap, base: segment.base };
  }

  /** Gives all its memory back. */
  destroy(): void {
    for (const [address, block] of this.blocks) {
      if (block.large) this.manager.free(address - LARGE_HEADER, 0, Memory.release);
    }
    for (const segment of this.segments) this.manager.free(segment.base, 0, Memory.release);
    this.blocks.clear();
    this.segments.length = 0;
  }

  /** Its memory and the blocks there, by address. */
  entries(): readonly HeapEntry[] {
    if (this.listed) return this.listed;
    const found: HeapEntry[] = this.segments.map(({ base, end }) => (
      { address: base, size: end - base, overhead: 0, kind: "region" }
    ));
    for (const [address, { size, room, large }] of this.blocks) {
      const overhead = large ? LARGE_HEADER : Math.min(room - size, 255);
      found.push({ address, size, overhead, kind: "busy" });
    }
    for (const [room, addresses] of this.free) {
      for (const address of addresses) {
        found.push({ address, size: room - HEADER, overhead: HEADER, kind: "free" });
      }
    }
    return this.listed = found.sort((a, b) => a.address - b.address);
  }

  private addSegment(used: number, at = 0): Segment | undefined {
    if (this.maximum !== 0 && this.segments.length > 0) return undefined;
    const size = this.maximum === 0 ? SEGMENT : Math.max(this.maximum, PAGE_SIZE);
    const made = this.manager.allocate(at, size, Memory.reserve, this.protect);
    if (made.status !== 0) return undefined;
    const segment = { base: made.base, end: made.base + made.size, committed: made.base, next: made.base };
    if (!this.grow(segment, used)) return undefined;
    segment.next = alignUp(made.base + used + HEADER, UNIT) - HEADER;
    this.segments.push(segment);
    return segment;
  }

  private grow(segment: Segment, bytes: number): boolean {
    const end = segment.next + bytes;
    if (end > segment.end) return false;
    if (end <= segment.committed) return true;
    const size = Math.min(alignUp(end - segment.committed, 0x4000), segment.end - segment.committed);
    const made = this.manager.allocate(segment.committed, size, Memory.commit, this.protect);
    if (made.status !== 0) return false;
    segment.committed += size;
    return true;
  }

  /** Address of a new block, 0 when there is no room. */
  allocate(size: number, zero: boolean): number {
    if (this.blocks.size >= MAX_BLOCKS) return 0;
    this.listed = undefined;
    if (size >= LARGE) return this.allocateLarge(size);
    const room = alignUp(Math.max(size, 1) + HEADER, UNIT);
    let address = this.free.get(room)?.pop();
    if (address === undefined) {
      const at = this.carve(room);
      if (at === undefined) return 0;
      address = at + HEADER;
    } else if (zero) this.memory.setBytes(address, new Uint8Array(size));
    this.blocks.set(address, { size, room, large: false });
    this.writeHeader(address, room, size, 1);
    return address;
  }

  private carve(room: number): number | undefined {
    let segment: Segment | undefined = this.segments[this.segments.length - 1];
    if (!this.grow(segment, room)) segment = this.addSegment(0x10);
    if (!segment || !this.grow(segment, room)) return undefined;
    const at = segment.next;
    segment.next += room;
    return at;
  }

  private allocateLarge(size: number): number {
    if (size > 0x7000_0000 || this.maximum !== 0) return 0;
    const type = Memory.reserve | Memory.commit;
    const made = this.manager.allocate(0, size + LARGE_HEADER, type, this.protect);
    if (made.status !== 0) return 0;
    const address = made.base + LARGE_HEADER;
    this.blocks.set(address, { size, room: made.size, large: true });
    this.writeHeader(address, 0, size, 9);
    return address;
  }

  private writeHeader(address: number, room: number, size: number, flags: number): void {
    const header = new Uint8Array(HEADER);
    put16(header, 0, room >>> 3);
    header[2] = flags;
    header[7] = Math.min(Math.max(room - size, 0), 255);
    this.memory.setBytes(address - HEADER, header);
  }

  /** False when the address is no block. */
  release(address: number): boolean {
    const block = this.blocks.get(address);
    if (!block) return false;
    this.blocks.delete(address);
    this.listed = undefined;
    if (block.large) {
      this.manager.free(address - LARGE_HEADER, 0, Memory.release);
      return true;
    }
    this.writeHeader(address, block.room, block.size, 0);
    const list = this.free.get(block.room);
    if (list) list.push(address);
    else this.free.set(block.room, [address]);
    return true;
  }

  /** Bytes of a block as they were asked for. */
  size(address: number): number | undefined {
    return this.blocks.get(address)?.size;
  }

  /** New address of a block with another size; 0 when there is no room (`inPlace`: where it is) or no such block. */
  reallocate(address: number, size: number, zero: boolean, inPlace = false): number {
    const block = this.blocks.get(address);
    if (!block) return 0;
    this.listed = undefined;
    if (!block.large && size + HEADER <= block.room) {
      if (zero && size > block.size) {
        this.memory.setBytes(address + block.size, new Uint8Array(size - block.size));
      }
      block.size = size;
      this.writeHeader(address, block.room, size, 1);
      return address;
    }
    if (inPlace) return 0;
    const next = this.allocate(size, zero);
    if (next === 0) return 0;
    this.memory.setBytes(next, this.memory.bytes(address, Math.min(size, block.size)));
    this.release(address);
    return next;
  }
}
