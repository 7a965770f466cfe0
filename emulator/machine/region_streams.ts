// SPDX-License-Identifier: Apache-2.0
/**
 * Streams: the memory accesses of a region that probably stay in one page for a while, because they go through
 * the same register. Each keeps the page of its last access at a fixed place of the CPU's area; in locals these
 * words would push the guest's registers out of the processor's.
 *
 * @module
 */
import type { Builder, Expr, Row, Stmt, Variant } from "../isa/mod.ts";
import { Op, State } from "./layout.ts";
import type { Code } from "./wasm.ts";

/** Most streams of a region; further accesses look into the TLB each time. */
const MAX_STREAMS = 16;
const STREAM_SIZE = 16;
/** High word of a page that no address is in. */
const NO_PAGE = 4;

/** One stream. */
export interface Stream {
  /** Address of the linear page of the last access (64 bits, so that none can be said). */
  readonly page: number;
  /** Address of host address minus linear address in that page. */
  readonly addend: number;
  readonly reads: boolean;
  readonly writes: boolean;
}

/** The stream of the memory operand of an op. */
export function operandStream(word: (field: number) => number, area: number): string {
  const displacement = word(Op.displacement);
  const base = word(Op.base) - area, index = word(Op.index) - area;
  if (base !== State.zero) return `${base} ${(displacement + 2048) >> 12}`;
  return index === State.zero ? `at ${displacement >>> 12}` : `${index} at ${displacement >>> 12}`;
}

/** The stream of an access at a computed offset: by the register in it. */
export function streamOf(offset: Expr, definition: (local: number) => Expr | undefined): string | undefined {
  switch (offset.op) {
    case "register":
      return `${State.registers + 4 * offset.register} 0`;
    case "binary":
      return streamOf(offset.a, definition) ?? streamOf(offset.b, definition);
    case "local": {
      const e = definition(offset.index);
      return e && streamOf(e, definition);
    }
    default:
      return undefined;
  }
}

/** What an instruction accesses: for each stream whether it reads and writes. */
export function accesses(
  { row, variant, builder }: { readonly row: Row; readonly variant: Variant; readonly builder: Builder },
  word: (field: number) => number,
  area: number,
  found: (stream: string, read: boolean, write: boolean) => void,
): void {
  const definitions = new Map<number, Expr>();
  const memory = (operand: number) =>
    "EMO".includes(row.operands[operand][0]) && row.operands[operand] !== "1" &&
    variant.place !== "register" && variant.place !== "none";
  const walk = (list: readonly Stmt[]) => {
    for (const s of list) {
      switch (s.do) {
        case "let":
          definitions.set(s.local, s.value);
          break;
        case "read":
          if (memory(s.operand)) found(operandStream(word, area), true, s.modify);
          break;
        case "prepare":
        case "write":
          if (memory(s.operand)) found(operandStream(word, area), false, true);
          break;
        case "resolve": {
          const stream = streamOf(s.offset, (local) => definitions.get(local));
          if (stream !== undefined) found(stream, !s.write, s.write);
          break;
        }
        case "if":
          walk(s.then);
          walk(s.else);
      }
    }
  };
  walk(builder.statements);
}

/** The streams of a region. */
export class Streams {
  readonly #uses = new Map<string, { count: number; reads: boolean; writes: boolean }>();
  #streams = new Map<string, Stream>();

  /** Counts an access. */
  add(stream: string, read: boolean, write: boolean): void {
    const use = this.#uses.get(stream);
    if (use === undefined) this.#uses.set(stream, { count: 1, reads: read, writes: write });
    else {
      use.count++;
      use.reads ||= read;
      use.writes ||= write;
    }
  }
  /** Begins a function: gives places to the streams with the most accesses. */
  begin(c: Code, area: number): void {
    const most = [...this.#uses].sort(([, a], [, b]) => b.count - a.count).slice(0, MAX_STREAMS);
    this.#streams = new Map(most.map(([key, { reads, writes }], i) => {
      const page = area + State.streams + STREAM_SIZE * i, addend = page + 8;
      c.const(page).const(NO_PAGE).store(32, 4);
      return [key, { page, addend, reads, writes }];
    }));
  }
  get(stream: string): Stream | undefined {
    return this.#streams.get(stream);
  }
}
