// SPDX-License-Identifier: Apache-2.0
/**
 * Predecoded blocks: at most MAX_BLOCK instructions up to a control transfer or the end of the page, in an
 * arena of linear memory. Blocks are never moved; a dead block's ops all lead out of it. When the arena is
 * full everything is forgotten.
 *
 * @module
 */
import {
  decode,
  DecodeFailure,
  Instruction,
  jumpCondition,
  type OperandSpec,
  type Row,
  rows,
  variantNumber,
} from "../isa/mod.ts";
import { Handler } from "./generate.ts";
import {
  AREA_SIZE,
  Block,
  FRAMES_BASE,
  JUMP_ENTRIES,
  Op,
  OP_SIZE,
  OpInfo,
  SEGMENT_SIZE,
  State,
} from "./layout.ts";
import { operandSize } from "./lowering.ts";
import type { LinearMemory } from "./memory.ts";

/** Most instructions in a block. */
export const MAX_BLOCK = 48;
const GRANULE_SHIFT = 6;
const GRANULES = 64;
/** Writes to a frame without blocks after which stores to it are fast again. */
const MAX_IDLE_WRITES = 16;

/** What the decoding of a block depends on beside the bytes. */
export interface Mode {
  readonly id: number;
  readonly code32: boolean;
  /** ES, SS, DS without base and limit, 32-bit stack. */
  readonly flat: boolean;
  /** One instruction a block. */
  readonly single: boolean;
  readonly user: boolean;
  /** Alignment is checked: no access may take the short way. */
  readonly checked: boolean;
  /** Limit of the code segment. */
  readonly limit: number;
}

/** One block. */
export interface BlockInfo {
  readonly address: number;
  readonly key: number;
  /** Op records behind the header. */
  readonly ops: number;
  readonly frame: number;
  /** Bytes in the frame that were decoded. */
  readonly start: number;
  readonly end: number;
  /** Frame and bytes of the last instruction's part in the next page, or -1. */
  readonly frame2: number;
  readonly end2: number;
  dead: boolean;
  /** Next block of the same key (other frames). */
  next: BlockInfo | undefined;
}

/** Decoded code of a frame. */
interface FrameCode {
  count: number;
  /** Writes since the last block died. */
  idle: number;
  readonly granules: (BlockInfo[] | undefined)[];
}

/** What a block is decoded from. */
export interface Source {
  eip: number;
  /** Linear address. */
  linear: number;
  frame: number;
  mode: Mode;
  /** Gives the frame of the next page when the first instruction crosses into it; may throw a fault. */
  nextFrame(): number;
}

/** The blocks of one CPU. */
export class BlockCache {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #area: number;
  readonly #end: number;
  #free: number;
  /** Counts complete clearings, after which addresses of blocks mean nothing. */
  epoch = 0;
  readonly #byKey = new Map<number, BlockInfo>();
  /** By frame: blocks with bytes in each of its granules. */
  readonly #byFrame = new Map<number, FrameCode>();
  readonly #instruction = new Instruction();
  readonly #scratch = new Uint8Array(32);
  /** A breakpoint is set at a linear address: blocks begin there, and each entry asks the CPU. */
  watched: (linear: number) => boolean = () => false;
  /** A frame got its first block or lost its last one. */
  onCodeChanged: (frame: number, hasCode: boolean) => void = () => {};
  /** A block was decoded; all is forgotten. */
  onDecoded: (block: BlockInfo, mode: Mode) => void = () => {};
  onClear: () => void = () => {};
  /** A block died. */
  onDeath: (block: BlockInfo) => void = () => {};

  constructor(memory: LinearMemory, area: number) {
    this.#words = memory.words;
    this.#bytes = memory.bytes;
    this.#area = area;
    this.#free = area + State.arena;
    this.#end = area + AREA_SIZE;
    const dead = (area + State.deadBlock) >>> 2;
    this.#words[dead + (Block.generation >> 2)] = -1;
    this.#words[dead + (Block.mode >> 2)] = -1;
    this.#clearJumpCache();
  }

  #clearJumpCache(): void {
    const first = (this.#area + State.jumpCache) >>> 2;
    for (let i = 0; i < 2 * JUMP_ENTRIES; i += 2) {
      this.#words[first + i] = 0;
      this.#words[first + i + 1] = this.#area + State.deadBlock;
    }
  }
  hasCode(frame: number): boolean {
    return this.#byFrame.has(frame);
  }
  static key(eip: number, mode: Mode): number {
    return mode.id * 0x1_0000_0000 + (eip >>> 0);
  }
  /** The block at an EIP that was decoded from this frame. */
  find(eip: number, mode: Mode, frame: number): BlockInfo | undefined {
    let block = this.#byKey.get(BlockCache.key(eip, mode));
    while (block && block.frame !== frame) block = block.next;
    return block;
  }
  /** The block at an EIP when there is one only. */
  findNear(eip: number, mode: Mode): BlockInfo | undefined {
    const block = this.#byKey.get(BlockCache.key(eip, mode));
    return block?.next ? undefined : block;
  }
  /** Remembers a block as target of indirect jumps. */
  cacheJump(eip: number, block: number): void {
    const at = (this.#area + State.jumpCache + (((eip ^ (eip >>> 12)) & (JUMP_ENTRIES - 1)) << 3)) >>> 2;
    this.#words[at] = eip;
    this.#words[at + 1] = block;
  }
  /** Forgets everything. */
  clear(): void {
    for (const block of [...this.#byKey.values()]) {
      for (let b: BlockInfo | undefined = block; b; b = b.next) this.#kill(b);
    }
    this.#byKey.clear();
    for (const frame of this.#byFrame.keys()) this.onCodeChanged(frame, false);
    this.#byFrame.clear();
    this.epoch++;
    this.onClear();
    this.#free = this.#area + State.arena;
    this.#clearJumpCache();
  }

  /** Blocks with a byte among those written die. Returns whether any did. */
  invalidate(frame: number, offset: number, length: number): boolean {
    const code = this.#byFrame.get(frame);
    if (code === undefined) return false;
    if (code.count === 0) {
      // Code that rewrites itself comes back at once; only a frame that stays without blocks is data again.
      if (++code.idle > MAX_IDLE_WRITES) {
        this.#byFrame.delete(frame);
        this.onCodeChanged(frame, false);
      }
      return false;
    }
    let any = false;
    const last = (offset + length - 1) >> GRANULE_SHIFT;
    for (let g = offset >> GRANULE_SHIFT; g <= last && g < GRANULES; g++) {
      const list = code.granules[g];
      if (list === undefined) continue;
      for (let i = list.length - 1; i >= 0; i--) {
        const block = list[i];
        const first = block.frame === frame && block.start < offset + length && offset < block.end;
        const second = block.frame2 === frame && offset < block.end2;
        if (!first && !second) continue;
        this.remove(block);
        any = true;
      }
    }
    return any;
  }

  #kill(block: BlockInfo): void {
    block.dead = true;
    this.#words[(block.address + Block.generation) >>> 2] = -1;
    for (let i = 1; i <= block.ops; i++) {
      this.#words[(block.address + i * OP_SIZE + Op.handler) >>> 2] = Handler.leave;
    }
    this.onDeath(block);
  }
  /** Takes a block out. */
  remove(block: BlockInfo): void {
    this.#kill(block);
    const head = this.#byKey.get(block.key);
    if (head === block) {
      if (block.next) this.#byKey.set(block.key, block.next);
      else this.#byKey.delete(block.key);
    } else {
      for (let b = head; b; b = b.next) if (b.next === block) b.next = block.next;
    }
    this.#unregister(block, block.frame, block.start, block.end);
    if (block.frame2 >= 0) this.#unregister(block, block.frame2, 0, block.end2);
  }
  #unregister(block: BlockInfo, frame: number, start: number, end: number): void {
    const code = this.#byFrame.get(frame);
    if (code === undefined) return;
    for (let g = start >> GRANULE_SHIFT; g <= (end - 1) >> GRANULE_SHIFT; g++) {
      const list = code.granules[g];
      const at = list ? list.indexOf(block) : -1;
      if (list && at >= 0) list.splice(at, 1);
    }
    code.count--;
    code.idle = 0;
  }
  #register(block: BlockInfo, frame: number, start: number, end: number): void {
    let code = this.#byFrame.get(frame);
    if (code === undefined) {
      code = { count: 0, idle: 0, granules: new Array(GRANULES) };
      this.#byFrame.set(frame, code);
      this.onCodeChanged(frame, true);
    }
    code.count++;
    for (let g = start >> GRANULE_SHIFT; g <= (end - 1) >> GRANULE_SHIFT; g++) {
      (code.granules[g] ??= []).push(block);
    }
  }

  /** Decodes a block. Returns undefined when its first instruction is too long, or leaves the code segment. */
  decode(source: Source): BlockInfo | undefined {
    if (this.#free + (MAX_BLOCK + 3) * OP_SIZE > this.#end) this.clear();
    const { mode } = source;
    const address = this.#free;
    const start = source.linear & 4095;
    const page = FRAMES_BASE + source.frame * 4096;
    const most = mode.single ? 1 : MAX_BLOCK;
    const ins = this.#instruction;
    let frame2 = -1, end2 = 0, at = start, eip = source.eip, count = 0, ended = false;
    while (count < most && at < 4096) {
      let length = decode(this.#bytes, page + at, page + 4096, mode.code32, ins);
      if (length === DecodeFailure.truncated) {
        if (count > 0) break;
        frame2 = source.nextFrame();
        const scratch = this.#scratch;
        scratch.set(this.#bytes.subarray(page + at, page + 4096));
        const rest = 4096 - at;
        scratch.set(
          this.#bytes.subarray(FRAMES_BASE + frame2 * 4096, FRAMES_BASE + frame2 * 4096 + 15),
          rest,
        );
        length = decode(scratch, 0, rest + 15, mode.code32, ins);
        end2 = at + length - 4096;
      }
      const outside = (eip >>> 0) + length - 1 > mode.limit;
      const linear = (source.linear + at - start) | 0;
      if (length <= 0 || outside || (count > 0 && this.watched(linear))) {
        if (count > 0) break;
        return undefined;
      }
      count++;
      this.#record(address + count * OP_SIZE, ins, eip, mode);
      at += length;
      eip = (eip + length) | 0;
      if (ins.row.ends) {
        const condition = jumpCondition[ins.row.id];
        if (condition >= 0 && count > 1) this.#fuse(address + (count - 1) * OP_SIZE, condition);
        ended = true;
        break;
      }
    }
    let ops = count;
    const words = this.#words;
    if (!ended) {
      // Behind the last instruction an op that goes on to the next block.
      ops++;
      const w = (address + ops * OP_SIZE) >>> 2;
      words[w] = Handler.fallthrough;
      words[w + (Op.eip >> 2)] = eip;
      words[w + (Op.next >> 2)] = eip;
      words[w + (Op.fallthrough >> 2)] = this.#area + State.deadBlock;
      words[w + (Op.remaining >> 2)] = 0;
    }
    for (let i = 1; i <= count; i++) words[(address + i * OP_SIZE + Op.remaining) >>> 2] = count - i + 1;
    const header = address >>> 2;
    const key = BlockCache.key(source.eip, mode);
    const block: BlockInfo = {
      address,
      key,
      ops,
      frame: source.frame,
      start,
      end: Math.min(at, 4096),
      frame2,
      end2,
      dead: false,
      next: this.#byKey.get(key),
    };
    words[header + (Block.count >> 2)] = count;
    words[header + (Block.eip >> 2)] = source.eip;
    words[header + (Block.mode >> 2)] = mode.id;
    words[header + (Block.page >> 2)] = frame2 >= 0 ? 2 : source.linear & -4096;
    words[header + (Block.addend >> 2)] = page - (source.linear & -4096);
    const guarded = this.watched(source.linear);
    if (guarded) {
      // Never valid, in no mode, on no page: whoever goes there looks it up.
      words[header + (Block.generation >> 2)] = 0;
      words[header + (Block.mode >> 2)] = 0;
      words[header + (Block.page >> 2)] = 2;
    }
    this.#byKey.set(key, block);
    this.#register(block, source.frame, start, block.end);
    if (frame2 >= 0) this.#register(block, frame2, 0, end2);
    this.#free = address + (ops + 1) * OP_SIZE;
    if (!guarded) this.onDecoded(block, mode);
    return block;
  }

  /** Lets an op run the conditional jump behind it in one go, when its row has handlers for that. */
  #fuse(op: number, condition: number): void {
    const words = this.#words;
    const row = rowOf(words[(op + Op.info) >>> 2]);
    if (row.firstFused < 0) return;
    const variant = words[op >>> 2] - row.firstHandler;
    words[op >>> 2] = row.firstFused + 16 * variant + condition;
  }

  #slot(register: number, spec: OperandSpec, row: Row): number {
    const byte = operandSize(spec, row.sizes[0]) === 8;
    return this.#area + State.registers + (byte ? 4 * (register & 3) + (register >> 2) : 4 * register);
  }

  /** Writes the op record of an instruction. */
  #record(address: number, ins: Instruction, eip: number, mode: Mode): void {
    const words = this.#words;
    const w = address >>> 2;
    const row = ins.row;
    const next = (eip + ins.length) | 0;
    const size = ins.operand16 ? 16 : 32;
    const variant = variantOf(ins, mode.flat);
    words[w] = variant < 0 ? Handler.helper : row.firstHandler + variant;
    const operands = row.operands;
    for (let i = 0; i < operands.length && i < 2; i++) {
      const spec = operands[i];
      const kind = spec[0];
      const field = w + ((i === 0 ? Op.slot0 : Op.slot1) >> 2);
      if (kind === "G") words[field] = this.#slot(ins.reg, spec, row);
      else if (kind === "E" || kind === "R") words[field] = ins.memory ? 0 : this.#slot(ins.rm, spec, row);
      else if (kind === "Z") words[field] = this.#slot(ins.opcode & 7, spec, row);
    }
    const jump = operands.length > 0 && operands[0][0] === "J";
    let immediate = ins.immediate;
    if (jump) immediate = ins.operand16 ? (next + immediate) & 0xffff : (next + immediate) | 0;
    words[w + (Op.immediate >> 2)] = immediate;
    let displacement = ins.displacement;
    if (row.pops && ins.base === 4) displacement += size >> 3;
    words[w + (Op.displacement >> 2)] = displacement;
    const zero = this.#area + State.zero;
    words[w + (Op.base >> 2)] = ins.base < 0 ? zero : this.#area + State.registers + 4 * ins.base;
    words[w + (Op.index >> 2)] = ins.index < 0 ? zero : this.#area + State.registers + 4 * ins.index;
    words[w + (Op.scale >> 2)] = ins.scale;
    words[w + (Op.segment >> 2)] = this.#area + State.segments + ins.segment * SEGMENT_SIZE;
    words[w + (Op.mask >> 2)] = ins.address16 ? 0xffff : -1;
    words[w + (Op.eip >> 2)] = eip;
    words[w + (Op.next >> 2)] = next;
    const dead = this.#area + State.deadBlock;
    words[w + (Op.taken >> 2)] = row.helper ? ins.second : dead;
    words[w + (Op.fallthrough >> 2)] = row.helper ? ins.opcode | (ins.modrm << 16) : dead;
    words[w + (Op.info >> 2)] = row.id | (ins.reg << OpInfo.reg) | (ins.rm << OpInfo.rm) |
      ((ins.memory ? 0 : 1) << OpInfo.isRegister) | ((ins.operand16 ? 1 : 0) << OpInfo.operand16) |
      ((ins.address16 ? 1 : 0) << OpInfo.address16) | (ins.repeat << OpInfo.repeat) |
      (ins.segment << OpInfo.segment);
  }
}

/**
 * Number of the variant of its row that runs an instruction, -1 for rows that TypeScript runs. `flat`: ES, SS and DS
 * have no base and no limit.
 */
export function variantOf(ins: Instruction, flat: boolean): number {
  const { row } = ins;
  if (!row.build) return -1;
  const odd = ins.segment === 1 || ins.segment >= 4;
  const general = !flat || ins.address16 || odd;
  const place = !ins.memory
    ? (ins.hasModrm ? "register" : "none")
    : general
    ? "general"
    : ins.index < 0
    ? "flat"
    : "indexed";
  return variantNumber(row, ins.operand16 ? 16 : 32, place, general, row.repeat ? ins.repeat : 0);
}

/** The row of an op record's info word. */
export function rowOf(info: number): Row {
  return rows[info & OpInfo.rowMask];
}
