// SPDX-License-Identifier: Apache-2.0
/**
 * Flags inside a compiled region. A change of the flags is only noted, with the values it was made from; its
 * words are computed where something reads them: mostly in code that leaves the region. Noted changes go along
 * edges between blocks, in words of the CPU's area, when all edges into a block bring the same kind.
 *
 * At most two changes are noted at a time: INC and DEC keep the CF of the one before, rotates keep all but CF
 * and OF of it.
 *
 * @module
 */
import type { Expr, FlagKind, Size, Stmt } from "../isa/mod.ts";
import { condition } from "./emit.ts";
import { auxWord, type FlagSource, type FlagStatement, resultWord } from "./flag_words.ts";
import { State } from "./layout.ts";
import type { Code, OpcodeName } from "./wasm.ts";

/** A statement whose effect on the flags is noted. */
export type NotedStatement = FlagStatement | Stmt & { do: "carry" };

/** A change of the flags that is computed where it is needed. */
export interface NotedChange {
  readonly from: FlagSource;
  readonly s: NotedStatement;
  /** The result is the sum or difference of the operands, without a carry from before. */
  readonly plain: boolean;
}

/** What is noted at one place of the code; `maybe`: only when the guard is set, otherwise the words hold. */
export interface FlagState {
  readonly noted: readonly NotedChange[];
  readonly maybe: boolean;
}

/** The kind of one noted change, with the values that are known; the others are in memory. */
interface ChangeShape {
  readonly kind: FlagKind | "from" | "carry";
  readonly size: Size;
  readonly plain: boolean;
  readonly values: readonly (number | undefined)[];
}
/** What is noted where a block begins. No changes: the words hold the flags. */
export interface FlagShape {
  readonly changes: readonly ChangeShape[];
  readonly maybe: boolean;
}

/** The flags are in their words: as it happens, or because what comes has too little in common. */
export const WORDS: FlagShape = { changes: [], maybe: false };
export const SETTLED: FlagShape = { changes: [], maybe: true };

/** Most values of a noted change. */
const MAX_VALUES = 4;

const local = (index: number): Expr => ({ op: "local", index, width: 32 });
const number = (value: number): Expr => ({ op: "const", value, width: 32 });
const sum = (name: "add" | "sub", a: Expr, b: Expr): Expr => ({ op: "binary", name, a, b, width: 32 });

function kindOf(s: NotedStatement): ChangeShape["kind"] {
  return s.do === "carry" ? "carry" : s.do === "flagsFrom" ? "from" : s.kind;
}
/** INC and DEC. */
function keepsCarry(s: NotedStatement): boolean {
  return s.do === "flags" && (s.kind === "increment" || s.kind === "decrement");
}

/** The values that a change is made from. */
function valuesOf({ s, plain }: NotedChange): Expr[] {
  if (s.do === "carry") return [s.carry, s.overflow!];
  if (s.do === "flagsFrom") return [s.result, s.carry, s.overflow, s.adjust];
  if (s.kind === "add" || s.kind === "sub") return plain ? [s.a, s.b] : [s.a, s.b, s.result];
  return [s.result];
}
/** The statement with these values. */
function statementOf(shape: ChangeShape, v: readonly Expr[]): NotedStatement {
  const { kind, size } = shape;
  switch (kind) {
    case "carry":
      return { do: "carry", carry: v[0], overflow: v[1] };
    case "from":
      return { do: "flagsFrom", size, result: v[0], carry: v[1], overflow: v[2], adjust: v[3] };
    case "add":
    case "sub": {
      const result = shape.plain ? sum(kind, v[0], v[1]) : v[2];
      return { do: "flags", kind, size, a: v[0], b: v[1], result };
    }
    case "logic":
      return { do: "flags", kind, size, a: v[0], b: v[0], result: v[0] };
    default: {
      const a = sum(kind === "increment" ? "sub" : "add", v[0], number(1));
      return { do: "flags", kind, size, a, b: number(1), result: v[0] };
    }
  }
}

/** What holds for both; {@link SETTLED} when they have too little in common. */
export function meet(a: FlagShape, b: FlagShape): FlagShape {
  const settled = (shape: FlagShape) => shape.changes.length === 0 && shape.maybe;
  if (settled(a) || settled(b)) return SETTLED;
  if (a.changes.length === 0) return b.changes.length === 0 ? a : { ...b, maybe: true };
  if (b.changes.length === 0) return { ...a, maybe: true };
  if (a.changes.length !== b.changes.length) return SETTLED;
  const changes: ChangeShape[] = [];
  for (const [i, x] of a.changes.entries()) {
    const y = b.changes[i];
    if (x.kind !== y.kind || x.size !== y.size) return SETTLED;
    const plain = x.plain && y.plain;
    const values = Array.from(
      { length: Math.max(x.values.length, y.values.length) },
      (_, k) =>
        k < 2 || x.plain === y.plain ? x.values[k] === y.values[k] ? x.values[k] : undefined : undefined,
    );
    changes.push({ kind: x.kind, size: x.size, plain, values });
  }
  return { changes, maybe: a.maybe || b.maybe };
}
/** True when two shapes are the same. */
export function sameShape(a: FlagShape, b: FlagShape): boolean {
  return a.maybe === b.maybe && a.changes.length === b.changes.length &&
    a.changes.every((x, i) => {
      const y = b.changes[i];
      return x.kind === y.kind && x.size === y.size && x.plain === y.plain &&
        x.values.length === y.values.length && x.values.every((v, k) => v === y.values[k]);
    });
}

/** The flags while a region is compiled. */
export class RegionFlags {
  readonly #c: Code;
  /** Locals of the two words. */
  readonly words: { readonly result: number; readonly aux: number };
  /** Addresses of the guard and of the values of noted changes between blocks. */
  readonly #guard: number;
  readonly #between: number;
  readonly #temporary: () => number;
  readonly #passed: FlagSource;
  state: FlagState = { noted: [], maybe: false };

  constructor(c: Code, area: number, temporary: () => number) {
    this.#c = c;
    this.#temporary = temporary;
    this.words = { result: c.local(), aux: c.local() };
    this.#guard = area + State.betweenBlocks;
    this.#between = this.#guard + 4;
    this.#passed = {
      c,
      push: (e) => this.#push(e),
      temporary,
      oldAux: () => c.get(this.words.aux),
    };
  }

  // Noting.

  /** Notes a change. `s` has values that last until the end of the block. */
  note(change: NotedChange): void {
    const { s } = change;
    if (s.do !== "carry" && !keepsCarry(s)) {
      this.state = { noted: [change], maybe: false };
      return;
    }
    if (this.state.maybe && !(s.do !== "carry" && this.#onlyKeepsCarry())) this.settle();
    const { noted } = this.state;
    const kept = s.do === "carry"
      // CF and OF are new: of the others, whatever set them last.
      ? noted.filter((n) => n.s.do !== "carry").slice(-1)
      // All but CF is new: whatever set CF last.
      : noted.filter((n) => !keepsCarry(n.s)).slice(-1);
    this.state = { noted: [...kept, change], maybe: false };
  }
  #onlyKeepsCarry(): boolean {
    return this.state.noted.every((n) => keepsCarry(n.s));
  }

  /** Computes the words of what is noted. */
  settle(): void {
    const { noted, maybe } = this.state;
    if (noted.length === 0) return;
    this.state = { noted: [], maybe: false };
    const c = this.#c;
    if (maybe) c.const(this.#guard).load(32).if();
    if (noted.length === 2 && keepsCarry(noted[1].s)) {
      // Of the first one only CF is left.
      this.#carryOf(noted[0]);
      c.const(31).op("shl").set(this.words.aux);
      this.apply(noted[1]);
    } else for (const change of noted) this.apply(change);
    if (maybe) c.end();
  }
  /** Computes the words after one change; what was noted before is in them. */
  apply({ from, s }: NotedChange): void {
    const c = this.#c;
    const { result, aux } = this.words;
    if (s.do !== "carry") {
      auxWord(from, s);
      resultWord(from, s);
      c.set(result).set(aux);
      return;
    }
    const carry = this.#temporary();
    from.push(s.carry);
    c.tee(carry).const(31).op("shl");
    c.get(carry);
    from.push(s.overflow!);
    c.op("xor").const(30).op("shl").op("or");
    c.get(aux).const(0x3fff_ffff).op("and").op("or").set(aux);
  }

  // Reading.

  /** Pushes CF. */
  carry(): void {
    if (this.state.maybe && !this.#onlyKeepsCarry()) this.settle();
    const last = this.state.noted.filter((n) => !keepsCarry(n.s)).at(-1);
    if (last === undefined) this.#c.get(this.words.aux).const(31).op("shr_u");
    else this.#carryOf(last);
  }
  #carryOf({ from, s, plain }: NotedChange): void {
    const c = this.#c;
    if (s.do === "carry" || s.do === "flagsFrom") from.push(s.carry);
    else if (s.kind === "logic") c.const(0);
    else if (plain && s.kind === "sub") this.#compare(from, s.size, s.a, s.b, "lt_u");
    else if (plain && s.kind === "add") {
      this.#compare(from, s.size, s.result, s.a, "lt_u");
    } else {
      auxWord(from, s);
      c.const(31).op("shr_u");
    }
  }
  #compare(from: FlagSource, size: Size, a: Expr, b: Expr, name: OpcodeName): void {
    for (const side of [a, b]) {
      from.push(side);
      if (size < 32) this.#c.const(32 - size).op("shl");
    }
    this.#c.op(name);
  }

  /** Pushes 0 or 1 for a condition code (SDM volume 1, appendix B). */
  condition(code: number): void {
    const c = this.#c;
    const kind = code >> 1;
    if (kind === 1) this.carry();
    else if (this.state.maybe || !this.#shortCondition(kind)) {
      this.settle();
      condition(c, code, this.words);
      return;
    }
    if (code & 1) c.op("eqz");
  }
  /** Pushes the condition without the words, when that goes. */
  #shortCondition(kind: number): boolean {
    const c = this.#c;
    const { noted } = this.state;
    const setter = noted.filter((n) => n.s.do !== "carry").at(-1);
    if (setter === undefined) return false;
    const { from, plain } = setter;
    const s = setter.s as FlagStatement;
    const last = noted.at(-1) === setter;
    switch (kind) {
      case 2:
        resultWord(from, s);
        c.op("eqz");
        return true;
      case 4:
        resultWord(from, s);
        c.const(0).op("lt_s");
        return true;
      case 5:
        from.push(s.result);
        c.const(0xff).op("and").op("popcnt").const(1).op("and").op("eqz");
        return true;
    }
    if (!last || s.do !== "flags") return false;
    if (s.kind === "logic") {
      if (kind === 0) c.const(0);
      else {
        resultWord(from, s);
        if (kind === 3) c.op("eqz");
        else c.const(0).op(kind === 6 ? "lt_s" : "le_s");
      }
      return true;
    }
    if (kind === 6 || kind === 7) {
      const name = kind === 6 ? "lt_s" : "le_s";
      if (s.kind === "sub" && plain) this.#compare(from, s.size, s.a, s.b, name);
      else if (s.kind === "decrement") this.#compare(from, s.size, s.a, number(1), name);
      else if (s.kind === "increment") this.#compare(from, s.size, s.a, number(-1), name);
      else return false;
      return true;
    }
    if (kind !== 3 || s.kind !== "sub" || !plain) return false;
    this.#compare(from, s.size, s.a, s.b, "le_u");
    return true;
  }

  // Between blocks.

  /** The shape of what is noted now. */
  shape(): FlagShape {
    const { noted, maybe } = this.state;
    const changes = noted.map((change): ChangeShape => ({
      kind: kindOf(change.s),
      size: change.s.do === "carry" ? 32 : change.s.size,
      plain: change.plain,
      values: valuesOf(change).map((e) => e.op === "const" ? e.value : undefined),
    }));
    return { changes, maybe };
  }
  /** Brings what is noted into the shape in which a block expects it. Afterwards nothing is noted. */
  pass(to: FlagShape): void {
    const c = this.#c;
    const { noted, maybe } = this.state;
    if (to.changes.length === 0) return this.settle();
    if (noted.length === 0) {
      c.const(this.#guard).const(0).store(32);
      return;
    }
    const stores: [address: number, value: number][] = [];
    for (const [i, change] of noted.entries()) {
      const shape = to.changes[i];
      if (shape === undefined) break;
      const values = valuesOf(shape.plain || !change.plain ? change : { ...change, plain: false });
      for (const [k, value] of values.entries()) {
        if (shape.values[k] !== undefined || shape.values.length <= k) continue;
        const address = this.#address(i, k);
        if (value.op === "local" && change.from === this.#passed && value.index === address) continue;
        const local = this.#temporary();
        change.from.push(value);
        c.set(local);
        stores.push([address, local]);
      }
    }
    for (const [address, value] of stores) c.const(address).get(value).store(32);
    if (to.maybe && !maybe) c.const(this.#guard).const(1).store(32);
    this.state = { noted: [], maybe: false };
  }
  #address(change: number, value: number): number {
    return this.#between + 4 * (MAX_VALUES * change + value);
  }
  /** Pushes values that were passed: the number of a local is an address here. */
  #push(e: Expr): void {
    const c = this.#c;
    if (e.op === "const") c.const(e.value);
    else if (e.op === "local") c.const(e.index).load(32);
    else if (e.op === "binary") {
      this.#push(e.a);
      this.#push(e.b);
      c.op(e.name as OpcodeName);
    } else throw new Error(`Cannot pass a flag value: ${e.op}`);
  }
  /** Begins a block with what its predecessors passed. */
  begin(shape: FlagShape): void {
    const noted = shape.changes.map((change, i): NotedChange => ({
      from: this.#passed,
      plain: change.plain,
      s: statementOf(
        change,
        change.values.map((v, k) => v === undefined ? local(this.#address(i, k)) : number(v)),
      ),
    }));
    this.state = { noted, maybe: shape.maybe && noted.length > 0 };
  }
}
