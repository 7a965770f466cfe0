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
import { condition, CPU, wholeFlagsOf } from "./emit.ts";
import { Op, SEGMENT_SIZE, State, TLB_ADDEND, TLB_BANK_SIZE } from "./layout.ts";
import { type FlagStatement, Lowering } from "./lowering.ts";
import type { Code, OpcodeName, ValueType } from "./wasm.ts";

/** Flag statements that may wait: longer chains are computed at once. */
const MAX_PENDING = 4;

/** A change of the flag words that is computed where it is needed. */
interface PendingFlags {
  readonly of: RegionLowering;
  readonly s: FlagStatement | Stmt & { do: "carry" };
}

/** What the instructions of a region share. */
export interface RegionFrame {
  readonly c: Code;
  /** Address of the CPU's area. */
  readonly area: number;
  readonly user: boolean;
  /** Locals of the eight registers and of the two flag words. */
  readonly registers: readonly number[];
  readonly flags: { readonly result: number; readonly aux: number };
  /** Registers that the region changes, a bit each. */
  written: number;
  pending: readonly PendingFlags[];
  temporary(type?: ValueType): number;
  word(address: number): number;
  /** Leaves in front of an op, for a handler. Spoils nothing that code behind it uses. */
  leave(op: number): void;
  branch(op: number, conditional: boolean): void;
  /** Goes to the offset in a local. */
  jump(op: number, eip: number): void;
}

/** Locals of a row's semantics that get a value once. */
function assignedOnce(builder: Builder): ReadonlySet<number> {
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
  return new Set([...counts].filter(([, n]) => n === 1).map(([local]) => local));
}

/** True when a list of statements reads or sets flags. */
function touchesFlags(list: readonly Stmt[]): boolean {
  const text = JSON.stringify(list);
  return /"(do":"(flags|flagsFrom|carry|zero)|op":"(condition|carry|adjust|wholeFlags))"/.test(text);
}

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

  constructor(frame: RegionFrame, op: number, row: Row, variant: Variant, builder: Builder) {
    super(frame.c, row, variant, builder, (type) => frame.temporary(type));
    this.#frame = frame;
    this.#op = op;
    this.#once = assignedOnce(builder);
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
      this.#settle();
      this.c.get(offset === State.flagAux ? this.#frame.flags.aux : this.#frame.flags.result);
    } else this.c.get(CPU).load(32, offset);
  }
  protected setState(offset: number, value: () => void): void {
    if (offset === State.flagAux || offset === State.flagResult) {
      value();
      this.c.set(offset === State.flagAux ? this.#frame.flags.aux : this.#frame.flags.result);
      return;
    }
    this.c.get(CPU);
    value();
    this.c.store(32, offset);
  }
  protected wholeFlags(): void {
    this.#settle();
    wholeFlagsOf(this.c, this.#frame.flags);
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
    this.c.get(linear).const(8).op("shr_u").const(0xff0).op("and");
    this.c.const(this.#bank).op("add");
  }
  get #bank(): number {
    return this.#frame.area + State.tlbBanks + (this.#frame.user ? TLB_BANK_SIZE : 0);
  }
  protected segmentFault(_cache: number): void {
    this.c.if();
    this.#frame.leave(this.#op);
    this.c.end();
  }
  protected translated(linear: number, entry: number, _spec: number, host: number): void {
    const c = this.c;
    c.op("eqz").if();
    this.#frame.leave(this.#op);
    c.end();
    c.get(linear).get(entry).load(32, TLB_ADDEND).op("add").set(host);
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
    else if (e.op === "carry") this.#carryFlag(this.#frame.pending.length - 1);
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
    if (touchesFlags([s])) this.#settle();
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
    if (this.#lasting(e)) return e;
    const local = this.temporary();
    this.expr(e);
    this.c.set(local);
    return { op: "local", index: this.locals.push(local) - 1, width: 32 };
  }
  /** Sets the flag words by a statement. */
  #compute(s: PendingFlags["s"]): void {
    const { result, aux } = this.#frame.flags;
    if (s.do === "carry") {
      super.setCarry(s.carry, s.overflow);
      return;
    }
    this.auxWord(s);
    this.resultWord(s);
    this.c.set(result).set(aux);
  }
  #settle(): void {
    settle(this.#frame);
  }
  compute(s: PendingFlags["s"]): void {
    this.#compute(s);
  }
  #defer(s: PendingFlags["s"], whole: boolean): void {
    const frame = this.#frame;
    if (this.#nested > 0) {
      this.#compute(s);
      return;
    }
    if (!whole && frame.pending.length >= MAX_PENDING) this.#settle();
    frame.pending = [...whole ? [] : frame.pending, { of: this, s }];
  }
  protected setFlags(s: FlagStatement): void {
    if (s.do === "flagsFrom") {
      this.#defer({
        ...s,
        carry: this.#keep(s.carry),
        overflow: this.#keep(s.overflow),
        adjust: this.#keep(s.adjust),
        result: this.#keep(s.result),
      }, true);
      return;
    }
    const whole = s.kind !== "increment" && s.kind !== "decrement";
    this.#defer({ ...s, a: this.#keep(s.a), b: this.#keep(s.b), result: this.#keep(s.result) }, whole);
  }
  protected override setCarry(carry: Expr, overflow: Expr | undefined): void {
    // The old OF of another statement is not worth waiting for.
    if (overflow === undefined || this.#nested > 0) {
      const kept = this.#keep(carry);
      this.#settle();
      super.setCarry(kept, overflow);
      return;
    }
    this.#defer({ do: "carry", carry: this.#keep(carry), overflow: this.#keep(overflow) }, false);
  }
  protected override setZero(zero: Expr): void {
    this.#settle();
    super.setZero(zero);
  }
  /** Pushes CF after the pending statement number `i`. */
  #carryFlag(i: number): void {
    const frame = this.#frame;
    if (i < 0) {
      this.c.get(frame.flags.aux).const(31).op("shr_u");
      return;
    }
    const { of, s } = frame.pending[i];
    if (s.do === "carry" || s.do === "flagsFrom") of.expr(s.carry);
    else if (s.kind === "logic") this.c.const(0);
    else if (s.kind === "increment" || s.kind === "decrement") this.#carryFlag(i - 1);
    else if (of.#plain(s)) of.#compare(s, "lt_u");
    else {
      of.auxWord(s);
      this.c.const(31).op("shr_u");
    }
  }
  /** True for a subtraction without borrow. */
  #plain(s: FlagStatement): s is FlagStatement & { do: "flags" } {
    if (s.do !== "flags" || s.kind !== "sub" || s.result.op !== "local") return false;
    const from = this.#definitions.get(s.result.index);
    return from?.op === "binary" && from.name === "sub" && same(from.a, s.a) && same(from.b, s.b);
  }
  #compare(s: Stmt & { do: "flags" }, name: OpcodeName): void {
    const shift = 32 - s.size;
    for (const side of [s.a, s.b]) {
      this.expr(side);
      if (shift) this.c.const(shift).op("shl");
    }
    this.c.op(name);
  }
  protected condition(code: number): void {
    const frame = this.#frame;
    const last = frame.pending.at(-1);
    const kind = code >> 1;
    if (kind === 1) this.#carryFlag(frame.pending.length - 1);
    else if (last === undefined || last.s.do === "carry") {
      this.#settle();
      condition(this.c, code, frame.flags);
      return;
    } else if (kind === 2 || kind === 4) {
      last.of.resultWord(last.s);
      if (kind === 2) this.c.op("eqz");
      else this.c.const(0).op("lt_s");
    } else if (last.of.#plain(last.s) && [3, 6, 7].includes(kind)) {
      last.of.#compare(last.s, kind === 3 ? "le_u" : kind === 6 ? "lt_s" : "le_s");
    } else {
      this.#settle();
      condition(this.c, code, frame.flags);
      return;
    }
    if (code & 1) this.c.op("eqz");
  }
}

function same(a: Expr, b: Expr): boolean {
  return a.op === "const" && b.op === "const"
    ? a.value === b.value
    : a.op === "local" && b.op === "local" && a.index === b.index;
}

/** Computes the flag words that are pending, in their locals. */
export function settle(frame: RegionFrame): void {
  const { pending } = frame;
  // While a statement is computed, the words are those of the statement before it.
  frame.pending = [];
  for (const { of, s } of pending) of.compute(s);
}

/** True when a block that begins with these instructions may need the flags it is entered with. */
export function needsFlags(
  rows: readonly { readonly builder: Builder; readonly variant: Variant }[],
): boolean {
  for (const { builder, variant } of rows) {
    for (const s of builder.statements) {
      if (s.do === "flags" && (s.kind === "add" || s.kind === "sub" || s.kind === "logic")) {
        return touchesFlags([{ ...s, kind: "logic", do: "let" } as unknown as Stmt]);
      }
      if (s.do === "flagsFrom") return touchesFlags([{ ...s, do: "let" } as unknown as Stmt]);
      const memory = variant.place !== "register" && variant.place !== "none";
      if (["let", "setRegister"].includes(s.do) || (["read", "write"].includes(s.do) && !memory)) {
        if (touchesFlags([s])) return true;
      } else return true;
    }
  }
  return true;
}
