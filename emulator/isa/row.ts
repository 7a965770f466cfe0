// SPDX-License-Identifier: Apache-2.0
/**
 * A row of the instruction table: one encoding, its operands and its semantics.
 *
 * @module
 */
import type { Builder, Place, Size, Variant } from "./ir.ts";

/**
 * How an operand is encoded, in the SDM's letters (volume 2, appendix A): E ModRM operand, G register of ModRM, M memory
 * only, R register only, I immediate, J relative, O offset, Z register in the opcode, A far pointer, S/C/D segment,
 * control, debug register; sizes b, w, d, v (16 or 32), z, q, p. `Is` is a sign-extended byte. A register name
 * or `1` stands for itself. P and V are an MMX and an XMM register, Q and W the same or memory.
 */
export type OperandSpec =
  | "Eb"
  | "Ew"
  | "Ed"
  | "Ev"
  | "Gb"
  | "Gw"
  | "Gd"
  | "Gv"
  | "M"
  | "Mb"
  | "Mw"
  | "Md"
  | "Mv"
  | "Mq"
  | "Mp"
  | "Ib"
  | "Iw"
  | "Iz"
  | "Is"
  | "Jb"
  | "Jz"
  | "Ob"
  | "Ov"
  | "Zb"
  | "Zv"
  | "AL"
  | "AX"
  | "CL"
  | "DX"
  | "1"
  | "Sw"
  | "Cd"
  | "Dd"
  | "Rd"
  | "Ap"
  | "Iv"
  | "P"
  | "Q"
  | "V"
  | "W"; // deno-fmt-ignore

/** What a row says beyond encoding and semantics. */
export interface RowOptions {
  /** LOCK is legal when the first operand is memory. */
  lock?: boolean;
  /** Control may go elsewhere than behind the instruction, or the mode may change: the last of its block. */
  ends?: boolean;
  /** Uses the stack or strings: has variants for general segments. */
  implicit?: boolean;
  /** Frequent: has a variant for each form of address. */
  hot?: boolean;
  /** Prefixes F3 and F2 repeat it; `repe` means they also test ZF. */
  repeat?: "rep" | "repe";
  /** POP to memory: ESP in its address counts after the increment. */
  pops?: boolean;
  /** Operand size is always 32 bits or does not matter. */
  fixed?: Size;
  /** Has handlers that run a conditional jump behind it as well. */
  fuses?: boolean;
}

/** One row. */
export interface Row extends RowOptions {
  /** Position in the table. */
  readonly id: number;
  /** Opcode bytes in hex; `/4` a ModRM digit, `/4r` its register forms only, `/r` all register forms; a third byte in full for rows that have one ModRM value only. */
  readonly opcode: string;
  readonly mnemonic: string;
  readonly operands: readonly OperandSpec[];
  /** Semantics; rows without are helpers. */
  readonly build?: (b: Builder) => void;
  /** Name of the TypeScript function that runs it. */
  readonly helper?: string;
  /** Operand sizes that have variants. */
  readonly sizes: readonly Size[];
  /** Number of handlers of the row, and the number of the first one. */
  variants: Variant[];
  firstHandler: number;
  /** First of the handlers fused with a conditional jump, sixteen for each variant; -1 without. */
  firstFused: number;
}

/** A row as the families write it. */
export type RowSource = [
  opcode: string,
  mnemonic: string,
  operands: string,
  semantics: ((b: Builder) => void) | string,
  options?: RowOptions,
];

const MEMORY_PLACES: readonly Place[] = ["flat", "indexed", "general"];

/** Places the ModRM or moffs operand of a row can have. */
function places(operands: readonly OperandSpec[], hot: boolean): (Place | "none")[] {
  const memory: Place[] = hot ? [...MEMORY_PLACES] : ["general"];
  for (const spec of operands) {
    if (spec[0] === "E") return ["register", ...memory];
    if (spec[0] === "M" || spec[0] === "O") return memory;
  }
  return ["none"];
}

/** Makes a row: finds its sizes and lists its variants. */
export function makeRow(id: number, source: RowSource): Row {
  const [opcode, mnemonic, spec, semantics, options = {}] = source;
  const operands = (spec === "" ? [] : spec.split(",")) as OperandSpec[];
  const byte = operands.some((o) => ["Eb", "Gb", "Zb", "AL", "Ob"].includes(o)) &&
    !operands.some((o) => /^.[vz]$/.test(o));
  const sizes: readonly Size[] = options.fixed !== undefined ? [options.fixed] : byte ? [8] : [32, 16];
  const helper = typeof semantics === "string";
  const variants: Variant[] = [];
  if (!helper) {
    for (const size of sizes) {
      for (const place of places(operands, options.hot ?? false)) {
        for (const general of options.implicit ? [false, true] : [false]) {
          for (const repeat of options.repeat === "repe" ? [0, 1, 2] : options.repeat ? [0, 1] : [0]) {
            variants.push({ size, place, general, repeat: repeat as 0 | 1 | 2 });
          }
        }
      }
    }
  }
  return {
    ...options,
    id,
    opcode,
    mnemonic,
    operands,
    sizes,
    variants,
    firstHandler: 0,
    firstFused: -1,
    ...(helper ? { helper: semantics } : { build: semantics }),
  };
}

/** Number of a row's variant, from its first handler. The order is that of {@link makeRow}. */
export function variantNumber(
  row: Row,
  size: Size,
  place: Place | "none",
  general: boolean,
  repeat: number,
): number {
  const perSize = row.variants.length / row.sizes.length;
  let number = row.sizes.length > 1 && size === 16 ? perSize : 0;
  const repeats = row.repeat === "repe" ? 3 : row.repeat ? 2 : 1;
  const generals = row.implicit ? 2 : 1;
  const perPlace = repeats * generals;
  const placeCount = perSize / perPlace;
  if (placeCount > 1) {
    const memoryAt = placeCount === 3 ? 0 : 1;
    const hot = placeCount >= 3;
    const index = place === "register"
      ? 0
      : memoryAt + (hot ? (place === "flat" ? 0 : place === "indexed" ? 1 : 2) : 0);
    number += index * perPlace;
  }
  if (row.implicit && general) number += repeats;
  if (repeats > 1) number += repeats === 2 ? Math.min(repeat, 1) : repeat;
  return number;
}
