// SPDX-License-Identifier: Apache-2.0
/**
 * Protectors put a few instructions of their own between a program and the functions it calls: this follows them.
 *
 * @module
 */
import type { FunctionNames, ImportName } from "./modules.ts";
import { PAGE_SIZE } from "./store.ts";

/** Captured code and what its addresses mean. */
export interface Code {
  readonly names: FunctionNames;
  /** The captured page at a page-aligned address. */
  readonly page: (va: number) => Uint8Array | undefined;
}

/** Jumps followed from one place, and instructions passed over at each. */
const MOST_JUMPS = 8;
const MOST_STOLEN = 24;

/**
 * The function that the code at an address leads to: by `jmp` (direct, or through a word of memory), `push`
 * and `ret`, a register loaded and jumped to; or by a jump behind a function's first bytes after copies of
 * these. Empty when it leads to none.
 */
export function followTrampoline(code: Code, address: number): readonly ImportName[] {
  for (let jumps = 0; jumps < MOST_JUMPS; jumps++) {
    const next = step(code, address);
    if (next === undefined) return stolen(code, address);
    const names = code.names.at(next);
    if (names.length > 0) return names;
    address = next;
  }
  return [];
}

/** Where the jump at an address leads; undefined when there is none. */
function step(code: Code, address: number): number | undefined {
  const first = byteAt(code, address);
  const second = byteAt(code, address + 1);
  if (first === 0xe9 || first === 0xeb) return jump(code, address);
  if (first === 0xff && second === 0x25) return through(code, wordAt(code, address + 2));
  if (first === 0x68 && byteAt(code, address + 5) === 0xc3) return wordAt(code, address + 1);
  if (first === undefined) return undefined;
  const jumpsTo = (register: number) =>
    byteAt(code, address + 5) === 0xff && byteAt(code, address + 6) === 0xe0 + register;
  if (first >= 0xb8 && first <= 0xbf && jumpsTo(first - 0xb8)) return wordAt(code, address + 1);
  if (first === 0xa1 && jumpsTo(0)) return through(code, wordAt(code, address + 1));
  if (first === 0x90) return address + 1;
  return undefined;
}

/**
 * Copies of a function's first bytes, then a jump behind them: the distances are the same. The jump may take
 * several steps. The copy may have its own way out before it (a function that is short is copied whole).
 */
function stolen(code: Code, address: number): readonly ImportName[] {
  for (let length = 1; length <= MOST_STOLEN; length++) {
    let target: number | undefined = address + length;
    for (let jumps = 0; jumps < MOST_JUMPS && target !== undefined; jumps++) {
      target = jump(code, target);
      const names = target === undefined ? [] : code.names.at(target - length);
      if (names.length > 0) return names;
    }
  }
  return [];
}

/** Where the direct jump at an address leads; undefined when there is none. */
function jump(code: Code, address: number): number | undefined {
  const first = byteAt(code, address);
  if (first === 0xe9) return relative(code, address + 1);
  const second = first === 0xeb ? byteAt(code, address + 1) : undefined;
  return second === undefined ? undefined : (address + 2 + (second << 24 >> 24)) >>> 0;
}

/** Target of a 32-bit displacement that ends its instruction. */
function relative(code: Code, at: number): number | undefined {
  const displacement = wordAt(code, at);
  return displacement === undefined ? undefined : (at + 4 + displacement) >>> 0;
}

function through(code: Code, at: number | undefined): number | undefined {
  return at === undefined ? undefined : wordAt(code, at);
}

function byteAt(code: Code, address: number): number | undefined {
  const offset = address % PAGE_SIZE;
  return code.page(address - offset)?.[offset];
}

/** The 32-bit word at an address, as far as it was captured. */
export function wordAt(code: Code, address: number): number | undefined {
  let word = 0;
  for (let index = 3; index >= 0; index--) {
    const byte = byteAt(code, address + index);
    if (byte === undefined) return undefined;
    word = (word * 256 + byte) >>> 0;
  }
  return word;
}
