// SPDX-License-Identifier: Apache-2.0
/** The machine's linear memory and its page frames. @module */
import { AREA_BASE, AREA_SIZE, FRAMES_BASE, MAX_CPUS } from "./layout.ts";
import { type FrameMemory, PAGE_SIZE } from "./types.ts";

const WASM_PAGE = 0x1_0000;

/** Page frames behind the CPU areas. The host's pages are taken when they are first touched. */
export class LinearMemory implements FrameMemory {
  readonly frames: number;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Int32Array<ArrayBuffer>;
  /** Told when the host writes a word through {@link FrameMemory.writeWord}. */
  onWrite: ((frame: number, offset: number) => void) | undefined;

  constructor(frames: number) {
    const pages = Math.ceil((FRAMES_BASE + frames * PAGE_SIZE) / WASM_PAGE);
    if (!Number.isInteger(frames) || frames < 1 || pages > 0xffff) {
      throw new RangeError(
        `Cannot make a machine with ${frames} frames: 1 to ${(0xffff * WASM_PAGE - FRAMES_BASE) / PAGE_SIZE}`,
      );
    }
    this.frames = frames;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.bytes = new Uint8Array(this.memory.buffer as ArrayBuffer);
    this.words = new Int32Array(this.memory.buffer as ArrayBuffer);
  }
  #check(frame: number): void {
    if (!(frame >= 0 && frame < this.frames)) {
      throw new RangeError(`Cannot reach frame ${frame}: the machine has ${this.frames}`);
    }
  }
  frame(number: number): Uint8Array {
    this.#check(number);
    const at = FRAMES_BASE + number * PAGE_SIZE;
    return this.bytes.subarray(at, at + PAGE_SIZE);
  }
  readWord(frame: number, offset: number): number {
    this.#check(frame);
    return this.words[(FRAMES_BASE + frame * PAGE_SIZE + (offset & 0xffc)) >>> 2];
  }
  writeWord(frame: number, offset: number, value: number): void {
    this.#check(frame);
    this.words[(FRAMES_BASE + frame * PAGE_SIZE + (offset & 0xffc)) >>> 2] = value;
    this.onWrite?.(frame, offset);
  }
}

/** Address of a CPU's area. */
export function cpuArea(index: number): number {
  if (index >= MAX_CPUS) throw new RangeError(`Cannot make CPU ${index}: a machine has at most ${MAX_CPUS}`);
  return AREA_BASE + index * AREA_SIZE;
}
