// SPDX-License-Identifier: Apache-2.0
/**
 * Lowers instructions of a compiled region: registers and flag words are locals, fields of the op record are
 * constants, and whatever the region cannot do itself leaves it in front of the instruction, for the
 * interpreter to do. Nothing of an instruction has been done at that point, because what can fault stands
 * before the first change in every row.
 *
 * @module
 */
import type { Builder, Expr, Row, Size, Stmt, Variant } from "../isa/mod.ts";
import { CPU, tlbOffset, wholeFlagsOf } from "./emit.ts";
import type { FlagSource, FlagStatement } from "./flag_words.ts";
import { Op, SEGMENT_SIZE, State, TLB_ADDEND, TLB_BANK_SIZE } from "./layout.ts";
import { Lowering, SLOW_WRITE, TAGS } from "./lowering.ts";
import type { NotedStatement, RegionFlags } from "./region_flags.ts";
import { operandStream, type Stream, streamOf } from "./region_streams.ts";
import type { Code, ValueType } from "./wasm.ts";

/** What the instructions of a region share. */
export interface RegionFrame {
  readonly c: Code;
  /** Address of the CPU's area. */
  readonly area: number;
  readonly user: boolean;
  /** Locals of the eight registers. */
  readonly registers: readonly number[];
  readonly flags: RegionFlags;
  /** Registers that the region changes, a bit each. */
  written: number;
  /** Where an access keeps the page it was in last; undefined: nowhere. */
  stream(key: string): Stream | undefined;
  temporary(type?: ValueType): number;
  word(address: number): number;
  /** Leaves in front of an op, for a handler. Spoils nothing that code behind it uses. */
  leave(op: number): void;
  branch(op: number, conditional: boolean): void;
  /** Goes to the offset in a local. */
  jump(op: number, eip: number): void;
}

const onceOf = new WeakMap<Builder, ReadonlySet<number>>();
/** Locals of a row's semantics that get a value once. */
function assignedOnce(builder: Builder): ReadonlySet<number> {
  const known = onceOf.get(builder);
  if (known) return known;
  const counts = new Map<number, number>();
  const walk = (list: readonly Stmt[]) => {
    for (const s of list) {
      if (s.do === "let" || s.do === "read" || s.do === "load") {
        counts.set(s.local, (counts.get(s.local) ?? 0) + 1);
      } else if (s.do === "if") {
        walk(s.then);
        walk(s.else);
      }
    }
  };
  walk(builder.statements);
  const once = new Set([...counts].filter(([, n]) => n === 1).map(([local]) => local));
  onceOf.set(builder, once);
  return once;
}

const touching = new WeakMap<Stmt, boolean>();
/** True when a statement reads or sets flags. */
export function touchesFlags(statement: Stmt): boolean {
  let touches = touching.get(statement);
  if (touches === undefined) {
    const text = JSON.stringify(statement);
    touches = /"(do":"(flags|flagsFrom|carry|zero)|op":"(condition|carry|adjust|wholeFlags))"/.test(text);
    touching.set(statement, touches);
  }
  return touches;
}

/** Functions that regions import. */
export const Import = {
  /** (linear, bytes | write flag) → 1 when the TLB has the page now. */
  refill: 0,
  /** (op) → HelperResult: an instruction in TypeScript. */
  helper: 1,
} as const;

const FOLD: Partial<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => (a + b) | 0,
  sub: (a, b) => (a - b) | 0,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr_u: (a, b) => (a >>> b) | 0,
  shr_s: (a, b) => a >> b,
  eq: (a, b) => a === b ? 1 : 0,
  ne: (a, b) => a !== b ? 1 : 0,
  lt_u: (a, b) => a >>> 0 < b >>> 0 ? 1 : 0,
  gt_u: (a, b) => a >>> 0 > b >>> 0 ? 1 : 0,
  ge_u: (a, b) => a >>> 0 >= b >>> 0 ? 1 : 0,
  le_u: (a, b) => a >>> 0 <= b >>> 0 ? 1 : 0,
};

/** Lowering of one instruction of a region. */
export class RegionLowering extends Lowering {
  readonly #frame: RegionFrame;
  readonly #op: number;
  readonly #once: ReadonlySet<number>;
  /** Locals whose value is known, and what the others were computed from. */
  readonly #known = new Map<number, number>();
  readonly #definitions = new Map<number, Expr>();
  #nested = 0;
  readonly #source: FlagSource;
  /** The stream of the access being made. */
  #stream: string | undefined;

  constructor(frame: RegionFrame, op: number, row: Row, variant: Variant, builder: Builder) {
    super(frame.c, row, variant, builder, (type) => frame.temporary(type));
    this.#frame = frame;
    this.#op = op;
    this.#once = assignedOnce(builder);
    this.#source = {
      c: this.c,
      push: (e) => this.expr(e),
      temporary: () => this.temporary(),
      oldAux: () => this.c.get(frame.flags.words.aux),
    };
  }
  /** Appends the instruction. Returns true when control does not go on behind it. */
  run(): boolean {
    this.list(this.builder.statements);
    return this.ended;
  }

  #word(field: number): number {
    return this.#frame.word(this.#op + field);
  }
  protected temporary(): number {
    return this.#frame.temporary();
  }
  protected field(offset: number): void {
    this.c.const(this.#word(offset));
  }
  protected getRegister(offset: number, size: Size): void {
    const at = offset - State.registers;
    this.c.get(this.#frame.registers[at >> 2]);
    if (size === 32) return;
    if (at & 3) this.c.const(8).op("shr_u");
    this.c.const(size === 8 ? 0xff : 0xffff).op("and");
  }
  protected setRegister(offset: number, size: Size, value: () => void): void {
    const c = this.c;
    const at = offset - State.registers;
    const register = this.#frame.registers[at >> 2];
    this.#frame.written |= 1 << (at >> 2);
    if (size === 32) {
      value();
      c.set(register);
      return;
    }
    const mask = size === 8 ? 0xff : 0xffff, shift = 8 * (at & 3);
    value();
    c.const(mask).op("and");
    if (shift) c.const(shift).op("shl");
    c.get(register).const(~(mask << shift)).op("and").op("or").set(register);
  }
  #slot(slot: 0 | 1): number {
    return this.#word(slot === 0 ? Op.slot0 : Op.slot1) - this.#frame.area;
  }
  protected getSlot(slot: 0 | 1, size: Size): void {
    this.getRegister(this.#slot(slot), size);
  }
  protected setSlot(slot: 0 | 1, size: Size, value: () => void): void {
    this.setRegister(this.#slot(slot), size, value);
  }
  protected getState(offset: number): void {
    if (offset === State.flagAux || offset === State.flagResult) {
      const { flags } = this.#frame;
      flags.settle();
      this.c.get(offset === State.flagAux ? flags.words.aux : flags.words.result);
    } else this.c.get(CPU).load(32, offset);
  }
  protected setState(offset: number, value: () => void): void {
    if (offset === State.flagAux || offset === State.flagResult) {
      value();
      const { words } = this.#frame.flags;
      this.c.set(offset === State.flagAux ? words.aux : words.result);
      return;
    }
    this.c.get(CPU);
    value();
    this.c.store(32, offset);
  }
  protected wholeFlags(): void {
    this.#frame.flags.settle();
    wholeFlagsOf(this.c, this.#frame.flags.words);
  }
  protected address(indexed: boolean): void {
    const c = this.c;
    const push = (field: number): boolean => {
      const at = this.#word(field) - this.#frame.area;
      if (at === State.zero) return false;
      this.getRegister(at, 32);
      return true;
    };
    const displacement = this.#word(Op.displacement);
    const based = push(Op.base);
    if (!based) c.const(displacement);
    else if (displacement !== 0) c.const(displacement).op("add");
    if (!indexed || !push(Op.index)) return;
    const scale = this.#word(Op.scale);
    if (scale) c.const(scale).op("shl");
    c.op("add");
  }
  protected segmentCache(segment: number | "operand"): void {
    if (segment === "operand") this.field(Op.segment);
    else this.c.const(this.#frame.area + State.segments + segment * SEGMENT_SIZE);
  }
  protected tlbEntry(linear: number): void {
    tlbOffset(this.c, () => this.c.get(linear));
    this.c.const(this.#bank).op("add");
  }
  get #bank(): number {
    return this.#frame.area + State.tlbBanks + (this.#frame.user ? TLB_BANK_SIZE : 0);
  }
  protected segmentFault(_cache: number): void {
    this.c.unlikely().if();
    this.#frame.leave(this.#op);
    this.c.end();
  }
  protected override operand(i: number, write: boolean): number {
    this.#stream = operandStream((field) => this.#word(field), this.#frame.area);
    return super.operand(i, write);
  }
  /**
   * Nothing in a region changes translations, so the page of the last access is kept; another page
   * is looked up in the TLB, and what is not there leaves the region. An access that crosses a page does too.
   */
  protected translate(linear: number, bytes: number, write: boolean, host: number): void {
    const c = this.c;
    const stream = this.#stream === undefined ? undefined : this.#frame.stream(this.#stream);
    const entry = this.temporary();
    const lookUp = (tag: number) => {
      c.get(entry).load(32, tag).get(linear);
      if (bytes > 1) c.const(bytes - 1).op("add");
      c.const(-4096).op("and").op("eq");
    };
    if (stream) {
      c.get(linear).const(stream.addend).load(32).op("add").set(host);
      c.get(linear).op("extend_u").const(stream.page).load(64).op64("sub").const64(4096 - bytes).op64("gt_u");
      c.unlikely().if();
    }
    this.tlbEntry(linear);
    c.set(entry);
    lookUp(write ? TAGS.write : TAGS.read);
    c.op("eqz").unlikely().if();
    c.get(linear).const(bytes | (write ? SLOW_WRITE : 0)).call(Import.refill).op("eqz").unlikely().if();
    this.#frame.leave(this.#op);
    c.end();
    c.end();
    c.get(linear).get(entry).load(32, TLB_ADDEND).op("add").set(host);
    if (!stream) return;
    // A page is kept when all accesses of the stream may be made to it.
    const both = stream.reads && stream.writes;
    if (both) {
      lookUp(write ? TAGS.read : TAGS.write);
      c.if();
    }
    c.const(stream.page).get(linear).const(-4096).op("and").op("extend_u").store(64);
    c.const(stream.addend).get(entry).load(32, TLB_ADDEND).store(32);
    if (both) c.end();
    c.end();
  }
  /** Accesses that cross a page take the slow path, so there is nothing to write back. */
  protected commit(_host: number): void {}
  protected raise(_vector: number): void {
    this.#frame.leave(this.#op);
  }
  protected branch(conditional: boolean): void {
    this.#frame.branch(this.#op, conditional);
    this.ended = true;
  }
  protected jump(target: Expr): void {
    const eip = this.temporary();
    this.expr(target);
    this.c.set(eip);
    this.#frame.jump(this.#op, eip);
    this.ended = true;
  }
  protected again(): void {
    throw new Error("Cannot compile a repeated string instruction");
  }
  protected bulk(): void {
    this.again();
  }

  // Values known now.

  #fold(e: Expr): number | undefined {
    switch (e.op) {
      case "const":
        return e.width === 32 ? e.value : undefined;
      case "local":
        return e.width === 32 ? this.#known.get(e.index) : undefined;
      case "state":
        return e.name === "operandImmediate"
          ? this.#word(Op.immediate)
          : e.name === "nextEip"
          ? this.#word(Op.next)
          : e.name === "addressMask"
          ? this.#word(Op.mask)
          : undefined;
      case "unary": {
        if (e.name !== "eqz" || e.a.op === "local" && e.a.width === 64) return undefined;
        const a = this.#fold(e.a);
        return a === undefined ? undefined : a === 0 ? 1 : 0;
      }
      case "binary": {
        const a = this.#fold(e.a), b = this.#fold(e.b);
        return a === undefined || b === undefined ? undefined : FOLD[e.name]?.(a, b);
      }
      default:
        return undefined;
    }
  }
  protected override expr(e: Expr): void {
    const value = this.#fold(e);
    if (value !== undefined) this.c.const(value);
    else if (e.op === "carry") this.#frame.flags.carry();
    else super.expr(e);
  }
  protected override statement(s: Stmt): void {
    if (s.do === "let" && this.#once.has(s.local)) {
      const value = this.#nested === 0 ? this.#fold(s.value) : undefined;
      if (value !== undefined) {
        this.#known.set(s.local, value);
        return;
      }
      this.#definitions.set(s.local, s.value);
    }
    if (s.do === "resolve") this.#stream = streamOf(s.offset, (local) => this.#definitions.get(local));
    if (s.do === "read" && this.#nested === 0 && this.#once.has(s.local)) {
      const place = this.place(s.operand);
      if (place === "immediate" || place === "one") {
        this.#known.set(s.local, place === "one" ? 1 : this.#word(Op.immediate));
        return;
      }
    }
    super.statement(s);
  }
  protected override if(s: Stmt & { do: "if" }): void {
    const value = this.#fold(s.condition);
    if (value !== undefined) {
      this.list(value ? s.then : s.else);
      return;
    }
    if (touchesFlags(s)) this.#frame.flags.settle();
    this.#nested++;
    super.if(s);
    this.#nested--;
  }

  // Flags.

  /** True for what gives the same value until the instruction runs again. */
  #lasting(e: Expr): boolean {
    switch (e.op) {
      case "const":
        return true;
      case "local":
        return e.index >= this.builder.locals.length || this.#once.has(e.index);
      case "binary":
        return this.#lasting(e.a) && this.#lasting(e.b);
      case "unary":
        return this.#lasting(e.a);
      case "select":
        return this.#lasting(e.a) && this.#lasting(e.b) && this.#lasting(e.c);
      default:
        return this.#fold(e) !== undefined;
    }
  }
  /** The expression, or a local that has its value from now on. */
  #keep(e: Expr): Expr {
    const value = this.#fold(e);
    if (value !== undefined) return { op: "const", value, width: 32 };
    if (this.#lasting(e)) return e;
    const local = this.temporary();
    this.expr(e);
    this.c.set(local);
    return { op: "local", index: this.locals.push(local) - 1, width: 32 };
  }
  #note(s: NotedStatement, plain: boolean): void {
    const { flags } = this.#frame;
    const change = { from: this.#source, s, plain };
    if (this.#nested === 0) flags.note(change);
    else {
      flags.settle();
      flags.apply(change);
    }
  }
  protected setFlags(s: FlagStatement): void {
    if (s.do === "flagsFrom") {
      this.#note({
        ...s,
        carry: this.#keep(s.carry),
        overflow: this.#keep(s.overflow),
        adjust: this.#keep(s.adjust),
        result: this.#keep(s.result),
      }, false);
      return;
    }
    const plain = this.#plain(s);
    this.#note({ ...s, a: this.#keep(s.a), b: this.#keep(s.b), result: this.#keep(s.result) }, plain);
  }
  /** True when the result is the sum or difference of the operands and nothing else. */
  #plain(s: FlagStatement & { do: "flags" }): boolean {
    if (s.result.op !== "local") return false;
    const from = this.#definitions.get(s.result.index);
    return from?.op === "binary" && from.name === s.kind && same(from.a, s.a) && same(from.b, s.b);
  }
  protected override setCarry(carry: Expr, overflow: Expr | undefined): void {
    // The old OF of another statement is not worth waiting for.
    if (overflow === undefined || this.#nested > 0) {
      const kept = this.#keep(carry);
      this.#frame.flags.settle();
      super.setCarry(kept, overflow);
    } else this.#note({ do: "carry", carry: this.#keep(carry), overflow: this.#keep(overflow) }, false);
  }
  protected override setZero(zero: Expr): void {
    this.#frame.flags.settle();
    super.setZero(zero);
  }
  protected condition(code: number): void {
    this.#frame.flags.condition(code);
  }
}

function same(a: Expr, b: Expr): boolean {
  return a.op === "const" && b.op === "const"
    ? a.value === b.value
    : a.op === "local" && b.op === "local" && a.index === b.index;
}
