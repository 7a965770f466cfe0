// SPDX-License-Identifier: Apache-2.0
/**
 * The intermediate representation in which instruction semantics are said: data, so that the interpreter
 * generator, a compiler and analyses read the same. Expressions have no effects; everything that can fault
 * is a statement, and in a row's semantics all faulting statements stand before the first commit.
 *
 * @module
 */

/** Operand and memory access sizes in bits. */
export type Size = 8 | 16 | 32;
/** Width of a value: 32 or 64 bits. */
export type Width = 32 | 64;

/** Binary operations; names as in WebAssembly. Comparisons give a 32-bit 0 or 1. */
export type Binary =
  | "add"
  | "sub"
  | "mul"
  | "div_s"
  | "div_u"
  | "rem_s"
  | "rem_u"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr_s"
  | "shr_u"
  | "rotl"
  | "rotr"
  | "eq"
  | "ne"
  | "lt_s"
  | "lt_u"
  | "gt_s"
  | "gt_u"
  | "le_s"
  | "le_u"
  | "ge_s"
  | "ge_u"; // deno-fmt-ignore
/** Unary operations; `wrap` and the extensions change the width. */
export type Unary = "eqz" | "clz" | "ctz" | "popcnt" | "extend8_s" | "extend16_s" | "wrap" | "extend_s" | "extend_u";

/** Words of CPU state and of the instruction that semantics may read. */
export type StateName = "stackMask" | "eflags" | "operandImmediate" | "nextEip" | "addressMask";

/** An expression. */
export type Expr =
  | { readonly op: "const"; readonly value: number; readonly width: Width }
  | { readonly op: "local"; readonly index: number; readonly width: Width }
  | { readonly op: "register"; readonly register: number; readonly size: Size }
  | { readonly op: "state"; readonly name: StateName }
  | { readonly op: "condition"; readonly code: number }
  | { readonly op: "carry" }
  | { readonly op: "adjust" }
  | { readonly op: "wholeFlags" }
  | { readonly op: "effectiveAddress"; readonly operand: number }
  | {
    readonly op: "binary";
    readonly name: Binary;
    readonly a: Expr;
    readonly b: Expr;
    readonly width: Width;
  }
  | { readonly op: "unary"; readonly name: Unary; readonly a: Expr; readonly width: Width }
  | { readonly op: "select"; readonly c: Expr; readonly a: Expr; readonly b: Expr };
/** An expression or a constant. */
export type Value = Expr | number;

/** How the six arithmetic flags follow from a result. `size` is the operand size. */
export type FlagKind = "add" | "sub" | "logic" | "increment" | "decrement";

/** A segment: by number, or `operand` for the one of the memory operand (default or overridden). */
export type SegmentName = number | "operand";

/** A statement. */
export type Stmt =
  | { readonly do: "let"; readonly local: number; readonly value: Expr }
  | { readonly do: "read"; readonly local: number; readonly operand: number; readonly modify: boolean }
  | { readonly do: "prepare"; readonly operand: number }
  | { readonly do: "write"; readonly operand: number; readonly value: Expr }
  | { readonly do: "setRegister"; readonly register: number; readonly size: Size; readonly value: Expr }
  | {
    readonly do: "resolve";
    readonly host: number;
    readonly segment: SegmentName;
    readonly offset: Expr;
    readonly bytes: number;
    readonly write: boolean;
  }
  | {
    readonly do: "load";
    readonly local: number;
    readonly host: number;
    readonly size: Size;
    readonly at: number;
  }
  | {
    readonly do: "store";
    readonly host: number;
    readonly size: Size;
    readonly at: number;
    readonly value: Expr;
  }
  | { readonly do: "commit"; readonly host: number }
  | {
    readonly do: "flags";
    readonly kind: FlagKind;
    readonly a: Expr;
    readonly b: Expr;
    readonly result: Expr;
    readonly size: Size;
  }
  /** Sets CF, or CF and OF, and keeps the others. */
  | { readonly do: "carry"; readonly carry: Expr; readonly overflow?: Expr }
  /** Sets result flags from a sign-extended result, CF, OF and AF from 0/1 values. */
  | {
    readonly do: "flagsFrom";
    readonly result: Expr;
    readonly size: Size;
    readonly carry: Expr;
    readonly overflow: Expr;
    readonly adjust: Expr;
  }
  /** Sets ZF and keeps the others. */
  | { readonly do: "zero"; readonly zero: Expr }
  /** Clears and sets bits of EFLAGS outside the arithmetic ones. */
  | { readonly do: "setState"; readonly name: "eflags"; readonly value: Expr }
  | { readonly do: "if"; readonly condition: Expr; readonly then: Stmt[]; readonly else: Stmt[] }
  | { readonly do: "raise"; readonly vector: number }
  /** Goes to the target in the instruction (linked); taken only when the condition holds. */
  | { readonly do: "branch"; readonly condition?: Expr }
  /** Goes to a computed offset. */
  | { readonly do: "jump"; readonly target: Expr }
  /** One more iteration of a repeated string instruction, when the budget allows. */
  | { readonly do: "again" }
  /** Moves `count` elements (at most to the end of the pages and of the budget) in one go; see lower.ts. */
  | { readonly do: "bulk"; readonly kind: "movs" | "stos"; readonly size: Size };

/** Where an operand is in one variant of a row. */
export type Place = "register" | "immediate" | "flat" | "indexed" | "general";

/** What one handler is made for. */
export interface Variant {
  /** Operand size of the instruction (16 or 32), or 8 for byte rows. */
  readonly size: Size;
  /** Where the ModRM (or moffs) operand is. */
  readonly place: Place | "none";
  /** Segments may have bases and limits, the stack may be 16-bit. */
  readonly general: boolean;
  /** 0 none, 1 repe/rep, 2 repne. */
  readonly repeat: 0 | 1 | 2;
}

const lift = (v: Value, width: Width = 32): Expr =>
  typeof v === "number" ? { op: "const", value: v | 0, width } : v;

/** Width of an expression's value. */
export function widthOf(e: Expr): Width {
  switch (e.op) {
    case "const":
    case "local":
    case "unary":
      return e.width;
    case "binary":
      return e.width;
    case "select":
      return widthOf(e.a);
    default:
      return 32;
  }
}

const COMPARISONS: ReadonlySet<Binary> = new Set<Binary>([
  "eq",
  "ne",
  "lt_s",
  "lt_u",
  "gt_s",
  "gt_u",
  "le_s",
  "le_u",
  "ge_s",
  "ge_u", // deno-fmt-ignore
]);

/** Width of a binary operation's operands. */
export function operandWidth(e: Expr & { op: "binary" }): Width {
  return widthOf(e.a);
}

function binary(name: Binary) {
  return (a: Value, b: Value): Expr => {
    const width = typeof a !== "number" ? widthOf(a) : typeof b !== "number" ? widthOf(b) : 32;
    return {
      op: "binary",
      name,
      a: lift(a, width),
      b: lift(b, width),
      width: COMPARISONS.has(name) ? 32 : width,
    };
  };
}

export const add = binary("add");
export const sub = binary("sub");
export const mul = binary("mul");
export const divS = binary("div_s");
export const divU = binary("div_u");
export const remS = binary("rem_s");
export const remU = binary("rem_u");
export const and = binary("and");
export const or = binary("or");
export const xor = binary("xor");
export const shl = binary("shl");
export const sar = binary("shr_s");
export const shr = binary("shr_u");
export const rotl = binary("rotl");
export const rotr = binary("rotr");
export const eq = binary("eq");
export const ne = binary("ne");
export const ltU = binary("lt_u");
export const gtU = binary("gt_u");
export const geU = binary("ge_u");
export const ltS = binary("lt_s");
export const gtS = binary("gt_s");

function unary(name: Unary, width: Width) {
  return (a: Value): Expr => ({ op: "unary", name, a: lift(a), width });
}

export const isZero = unary("eqz", 32);
export const clz = unary("clz", 32);
export const ctz = unary("ctz", 32);
/** Low half of a 64-bit value. */
export const wrap = unary("wrap", 32);
export const wideS = unary("extend_s", 64);
export const wideU = unary("extend_u", 64);
export const select = (c: Value, a: Value, b: Value): Expr => ({
  op: "select",
  c: lift(c),
  a: lift(a),
  b: lift(b),
});
export const not = (a: Value): Expr => xor(a, -1);
export const neg = (a: Value): Expr => sub(0, a);

/** Sign-extends from an operand size. */
export function signed(a: Value, size: Size): Expr {
  return size === 8 ? unary("extend8_s", 32)(a) : size === 16 ? unary("extend16_s", 32)(a) : lift(a);
}
/** Zero-extends from an operand size. */
export function unsigned(a: Value, size: Size): Expr {
  return size === 32 ? lift(a) : and(a, size === 8 ? 0xff : 0xffff);
}

/** Collects the statements of one row's variant. The methods are the vocabulary of semantics. */
export class Builder {
  /** Operand size in bits, in bytes. */
  readonly size: Size;
  readonly bytes: number;
  readonly variant: Variant;
  readonly statements: Stmt[] = [];
  /** Widths of the locals. */
  readonly locals: Width[] = [];
  #current: Stmt[] = this.statements;

  constructor(variant: Variant) {
    this.variant = variant;
    this.size = variant.size;
    this.bytes = variant.size >> 3;
  }
  emit(statement: Stmt): void {
    this.#current.push(statement);
  }
  #local(width: Width): Expr & { op: "local" } {
    return { op: "local", index: this.locals.push(width) - 1, width };
  }
  /** Evaluates once; the result may be used many times. */
  let(value: Value): Expr & { op: "local" } {
    const v = lift(value);
    const local = this.#local(widthOf(v));
    this.emit({ do: "let", local: local.index, value: v });
    return local;
  }
  /** Gives a local a new value. */
  assign(local: Expr & { op: "local" }, value: Value): void {
    this.emit({ do: "let", local: local.index, value: lift(value, local.width) });
  }
  /** Value of an operand: zero-extended from registers and memory, sign-extended immediates. */
  read(operand: number): Expr & { op: "local" } {
    const local = this.#local(32);
    this.emit({ do: "read", local: local.index, operand, modify: false });
    return local;
  }
  /** Reads an operand that will be written: memory is checked for writing and stays resolved. */
  modify(operand: number): Expr & { op: "local" } {
    const local = this.#local(32);
    this.emit({ do: "read", local: local.index, operand, modify: true });
    return local;
  }
  /** Checks that an operand can be written, before anything is committed. */
  prepare(operand: number): void {
    this.emit({ do: "prepare", operand });
  }
  write(operand: number, value: Value): void {
    this.emit({ do: "write", operand, value: lift(value) });
  }
  /** A general register by number (byte registers 0–3 low, 4–7 high). */
  reg(register: number, size: Size = 32): Expr {
    return { op: "register", register, size };
  }
  setReg(register: number, value: Value, size: Size = 32): void {
    this.emit({ do: "setRegister", register, size, value: lift(value) });
  }
  state(name: StateName): Expr {
    return { op: "state", name };
  }
  /** Offset (without segment base) of a memory operand. */
  address(operand: number): Expr {
    return { op: "effectiveAddress", operand };
  }
  /** Condition code 0–15 as in Jcc. */
  condition(code: number): Expr {
    return { op: "condition", code };
  }
  get carry(): Expr {
    return { op: "carry" };
  }
  get adjust(): Expr {
    return { op: "adjust" };
  }
  /** EFLAGS whole. */
  get eflags(): Expr {
    return { op: "wholeFlags" };
  }
  if(condition: Value, then: () => void, otherwise?: () => void): void {
    const outer = this.#current;
    const thenPart: Stmt[] = [];
    const elsePart: Stmt[] = [];
    this.#current = thenPart;
    then();
    this.#current = elsePart;
    otherwise?.();
    this.#current = outer;
    this.emit({ do: "if", condition: lift(condition), then: thenPart, else: elsePart });
  }
  flags(kind: FlagKind, a: Value, b: Value, result: Value, size: Size = this.size): void {
    this.emit({ do: "flags", kind, a: lift(a), b: lift(b), result: lift(result), size });
  }
  /** Sets CF (and OF), keeps the rest. */
  setCarry(carry: Value, overflow?: Value): void {
    this.emit({
      do: "carry",
      carry: lift(carry),
      ...(overflow === undefined ? {} : { overflow: lift(overflow) }),
    });
  }
  /** Sets ZF, keeps the rest. */
  setZero(zero: Value): void {
    this.emit({ do: "zero", zero: lift(zero) });
  }
  /** Sets all six: SF, ZF, PF by the result, the others as given. */
  flagsFrom(result: Value, carry: Value, overflow: Value, adjust: Value = 0, size: Size = this.size): void {
    this.emit({
      do: "flagsFrom",
      result: lift(result),
      size,
      carry: lift(carry),
      overflow: lift(overflow),
      adjust: lift(adjust),
    });
  }
  raise(vector: number): void {
    this.emit({ do: "raise", vector });
  }
  /** Resolves bytes at an offset for reading or writing; the handle serves load, store and commit. */
  resolve(segment: SegmentName, offset: Value, bytes: number, write: boolean): Expr & { op: "local" } {
    const host = this.#local(32);
    this.emit({ do: "resolve", host: host.index, segment, offset: lift(offset), bytes, write });
    return host;
  }
  load(host: Expr & { op: "local" }, at = 0, size: Size = this.size): Expr & { op: "local" } {
    const local = this.#local(32);
    this.emit({ do: "load", local: local.index, host: host.index, size, at });
    return local;
  }
  store(host: Expr & { op: "local" }, value: Value, at = 0, size: Size = this.size): void {
    this.emit({ do: "store", host: host.index, size, at, value: lift(value) });
  }
  /** Ends the stores through a handle. */
  commit(host: Expr & { op: "local" }): void {
    this.emit({ do: "commit", host: host.index });
  }
  /** Offset in the stack segment: ESP (or SP) plus a distance. */
  stack(distance: number): Expr {
    const at = distance === 0 ? this.reg(4) : add(this.reg(4), distance);
    return this.variant.general ? and(at, this.state("stackMask")) : at;
  }
  /** Sets ESP, or SP where the stack is 16-bit. */
  setStack(value: Value, register = 4): void {
    if (!this.variant.general) return this.setReg(register, value);
    const mask = this.state("stackMask");
    this.setReg(register, or(and(value, mask), and(this.reg(register), not(mask))));
  }
  /** Pushes a value of the operand size. */
  push(value: Value): void {
    const top = this.let(this.stack(-this.bytes));
    const host = this.resolve(2, top, this.bytes, true);
    this.store(host, value);
    this.commit(host);
    this.setStack(top);
  }
  /** Goes to the offset encoded in the instruction. */
  branch(condition?: Value): void {
    this.emit({ do: "branch", ...(condition === undefined ? {} : { condition: lift(condition) }) });
  }
  /** Goes to a computed offset. */
  jump(target: Value): void {
    this.emit({ do: "jump", target: this.size === 16 ? and(target, 0xffff) : lift(target) });
  }
}
