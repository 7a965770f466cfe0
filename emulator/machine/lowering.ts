// SPDX-License-Identifier: Apache-2.0
/**
 * What lowering a row's semantics to WebAssembly has in common, whichever tier it is for: statements and
 * expressions are walked here, once; a tier says where registers, flags and operands are and how an
 * instruction that cannot go on is left.
 *
 * Flags are kept as two words: the sign-extended result (ZF, SF, PF), and an aux word with CF in bit 31,
 * CF xor OF in bit 30, AF in bit 3, a correction of SF in bit 0 and of the parity byte in bits 8–15.
 *
 * @module
 */
import {
  type Builder,
  type Expr,
  type OperandSpec,
  type Place,
  type Row,
  type Size,
  type Stmt,
  type Variant,
  widthOf,
} from "../isa/mod.ts";
import type { FlagStatement } from "./flag_words.ts";
import { Op, SegmentField, State } from "./layout.ts";
import { type Code, type OpcodeName, ValueType } from "./wasm.ts";

/** Offset of the tag for an access in a TLB entry. */
export const TAGS = { read: 0, write: 4 } as const;
/** Flags of the third argument of `slow`, beside the size in bytes. */
export const SLOW_WRITE = 0x100;

/** How the segment of an access is found: not at all when flat, by number, by the instruction. */
export type SegmentKind = number | "operand" | "none";

/** Size in bits of an operand. */
export function operandSize(spec: OperandSpec, size: Size): Size {
  if (spec === "AL" || spec === "CL") return 8;
  if (spec === "AX") return size;
  if (spec === "DX") return 16;
  switch (spec[1]) {
    case "b":
      return 8;
    case "w":
      return 16;
    case "d":
      return 32;
    default:
      return size;
  }
}

/** Offset in the state of a register: byte registers 4–7 are the high bytes of 0–3. */
export function registerOffset(register: number, size: Size): number {
  return State.registers + (size === 8 ? 4 * (register & 3) + (register >> 2) : 4 * register);
}

/** Lowering of one instruction. */
export abstract class Lowering {
  readonly c: Code;
  protected readonly row: Row;
  protected readonly variant: Variant;
  protected readonly builder: Builder;
  /** WebAssembly locals of the locals of the semantics. */
  protected readonly locals: number[];
  /** Host address of the memory operand once it is resolved. */
  protected operandHost = -1;
  protected operandWritable = false;
  protected ended = false;

  constructor(c: Code, row: Row, variant: Variant, builder: Builder, temporary: (type: ValueType) => number) {
    this.c = c;
    this.row = row;
    this.variant = variant;
    this.builder = builder;
    this.locals = builder.locals.map((w) => temporary(w === 64 ? ValueType.i64 : ValueType.i32));
  }

  /** A local for the rest of the instruction. */
  protected abstract temporary(): number;
  /** Pushes a word of the op record. */
  protected abstract field(offset: number): void;
  /** Pushes, or sets, a register by its offset in the state. */
  protected abstract getRegister(offset: number, size: Size): void;
  protected abstract setRegister(offset: number, size: Size, value: () => void): void;
  /** Pushes, or sets, the register that is the first or second operand. */
  protected abstract getSlot(slot: 0 | 1, size: Size): void;
  protected abstract setSlot(slot: 0 | 1, size: Size, value: () => void): void;
  /** Pushes, or sets, a word of state other than registers. */
  protected abstract getState(offset: number): void;
  protected abstract setState(offset: number, value: () => void): void;
  /** Pushes 0 or 1 for a condition code. */
  protected abstract condition(code: number): void;
  /** Pushes EFLAGS. */
  protected abstract wholeFlags(): void;
  /** Pushes base plus displacement (plus index) of the memory operand, before the address mask. */
  protected abstract address(indexed: boolean): void;
  /** Pushes the address of a segment cache. */
  protected abstract segmentCache(segment: number | "operand"): void;
  /** Pushes the address of the TLB entry for a linear address. */
  protected abstract tlbEntry(linear: number): void;
  /** Consumes a condition: when it holds, the access is against the segment. */
  protected abstract segmentFault(cache: number): void;
  /** Finds the host address for bytes at a linear address, or leaves the instruction. */
  protected abstract translate(linear: number, bytes: number, write: boolean, host: number): void;
  /** Ends the stores through a handle. */
  protected abstract commit(host: number): void;
  protected abstract raise(vector: number): void;
  /** Goes to the linked target; with a condition on the stack, or behind the instruction. */
  protected abstract branch(conditional: boolean): void;
  /** Goes to a computed offset. */
  protected abstract jump(target: Expr): void;
  protected abstract again(): void;
  protected abstract bulk(kind: "movs" | "stos", size: Size): void;
  /** Takes the flags as the statement says. */
  protected abstract setFlags(s: FlagStatement): void;

  protected list(statements: readonly Stmt[]): void {
    for (const s of statements) this.statement(s);
  }

  /** Where operand `i` is. */
  protected place(i: number): Place | "fixed" | "one" {
    const spec = this.row.operands[i];
    if ("EMO".includes(spec[0])) return this.variant.place as Place;
    if (spec === "AL" || spec === "AX" || spec === "CL" || spec === "DX") return "fixed";
    if (spec === "1") return "one";
    return spec[0] === "I" ? "immediate" : "register";
  }
  protected fixed(i: number): number {
    const spec = this.row.operands[i];
    return State.registers + 4 * (spec === "CL" ? 1 : spec === "DX" ? 2 : 0);
  }

  protected statement(s: Stmt): void {
    const c = this.c;
    switch (s.do) {
      case "let":
        this.expr(s.value);
        c.set(this.locals[s.local]);
        break;
      case "read":
        this.read(s.operand, s.modify);
        c.set(this.locals[s.local]);
        break;
      case "prepare":
        if (["flat", "indexed", "general"].includes(this.place(s.operand))) this.operand(s.operand, true);
        break;
      case "write":
        this.write(s.operand, s.value);
        break;
      case "setRegister":
        this.setRegister(registerOffset(s.register, s.size), s.size, () => this.expr(s.value));
        break;
      case "resolve":
        this.expr(s.offset);
        this.resolve(this.segment(s.segment), s.bytes, s.write, this.locals[s.host]);
        break;
      case "load":
        c.get(this.locals[s.host]).load(s.size, s.at).set(this.locals[s.local]);
        break;
      case "store":
        c.get(this.locals[s.host]);
        this.expr(s.value);
        c.store(s.size, s.at);
        break;
      case "commit":
        this.commit(this.locals[s.host]);
        break;
      case "flags":
      case "flagsFrom":
        this.setFlags(s);
        break;
      case "carry":
        this.setCarry(s.carry, s.overflow);
        break;
      case "zero":
        this.setZero(s.zero);
        break;
      case "setState":
        this.setState(State[s.name], () => this.expr(s.value));
        break;
      case "if":
        this.if(s);
        break;
      case "raise":
        this.raise(s.vector);
        break;
      case "branch":
        if (s.condition) this.expr(s.condition);
        this.branch(s.condition !== undefined);
        break;
      case "jump":
        this.jump(s.target);
        break;
      case "again":
        this.again();
        break;
      case "bulk":
        this.bulk(s.kind, s.size);
        break;
    }
  }

  /** One part or the other, by a condition. What is resolved in a part is resolved in that part only. */
  protected if(s: Stmt & { do: "if" }): void {
    const c = this.c;
    const host = this.operandHost, writable = this.operandWritable;
    this.expr(s.condition);
    c.if();
    this.list(s.then);
    this.operandHost = host;
    this.operandWritable = writable;
    if (s.else.length > 0) {
      c.else();
      this.list(s.else);
      this.operandHost = host;
      this.operandWritable = writable;
    }
    c.end();
  }

  protected expr(e: Expr): void {
    const c = this.c;
    switch (e.op) {
      case "const":
        if (e.width === 64) c.const64(e.value);
        else c.const(e.value);
        break;
      case "local":
        c.get(this.locals[e.index]);
        break;
      case "register":
        this.getRegister(registerOffset(e.register, e.size), e.size);
        break;
      case "state":
        if (e.name === "stackMask") this.getState(State.stackMask);
        else if (e.name === "eflags") this.getState(State.eflags);
        else if (e.name === "operandImmediate") this.field(Op.immediate);
        else if (e.name === "nextEip") this.field(Op.next);
        else this.field(Op.mask);
        break;
      case "condition":
        this.condition(e.code);
        break;
      case "carry":
        this.getState(State.flagAux);
        c.const(31).op("shr_u");
        break;
      case "adjust":
        this.getState(State.flagAux);
        c.const(3).op("shr_u").const(1).op("and");
        break;
      case "wholeFlags":
        this.wholeFlags();
        break;
      case "effectiveAddress":
        this.effectiveAddress();
        break;
      case "binary": {
        this.expr(e.a);
        this.expr(e.b);
        const name = e.name as OpcodeName;
        if (widthOf(e.a) === 64) c.op64(name);
        else c.op(name);
        break;
      }
      case "unary": {
        this.expr(e.a);
        if (widthOf(e.a) === 64 && e.name !== "wrap") c.op64(e.name as OpcodeName);
        else c.op(e.name as OpcodeName);
        break;
      }
      case "select":
        this.expr(e.a);
        this.expr(e.b);
        this.expr(e.c);
        c.select();
        break;
    }
  }

  /** Pushes the offset of the memory operand. */
  protected effectiveAddress(): void {
    const place = this.variant.place;
    this.address(place !== "flat");
    if (place === "general") {
      this.field(Op.mask);
      this.c.op("and");
    }
  }

  /** How the segment of an access is found: not at all when flat, by address in the CPU, by the op record. */
  protected segment(name: number | "operand"): SegmentKind {
    const { place, general } = this.variant;
    if (name === "operand") return place === "general" || (place === "none" && general) ? "operand" : "none";
    return general ? name : "none";
  }

  /** Consumes the offset on the stack; leaves the host address in `host`, or the instruction is left. */
  protected resolve(segment: SegmentKind, bytes: number, write: boolean, host: number): void {
    const c = this.c;
    const linear = this.temporary();
    c.set(linear);
    if (segment !== "none") {
      const cache = this.temporary(), from = this.temporary();
      this.segmentCache(segment);
      c.set(cache);
      c.get(linear).get(cache).load(32, SegmentField.low).op("sub").tee(from);
      c.get(cache).load(32, SegmentField.span).op("gt_u");
      if (bytes > 1) {
        c.get(from).const(bytes - 1).op("add").get(cache).load(32, SegmentField.span).op("gt_u").op("or");
      }
      c.get(cache).load(32, write ? SegmentField.denyWrite : SegmentField.denyRead).op("or");
      this.segmentFault(cache);
      c.get(linear).get(cache).load(32, SegmentField.base).op("add").set(linear);
    }
    this.translate(linear, bytes, write, host);
  }

  /** Resolves the memory operand once; leaves it in #operandHost. */
  protected operand(i: number, write: boolean): number {
    if (this.operandHost >= 0 && (this.operandWritable || !write)) return this.operandHost;
    const host = this.temporary();
    this.effectiveAddress();
    const size = operandSize(this.row.operands[i], this.variant.size);
    this.resolve(this.segment("operand"), size >> 3, write, host);
    this.operandHost = host;
    this.operandWritable = write;
    return host;
  }

  protected read(i: number, modify: boolean): void {
    const c = this.c;
    const size = operandSize(this.row.operands[i], this.variant.size);
    switch (this.place(i)) {
      case "register":
        this.getSlot(i === 0 ? 0 : 1, size);
        break;
      case "fixed":
        this.getRegister(this.fixed(i), size);
        break;
      case "immediate":
        this.field(Op.immediate);
        break;
      case "one":
        c.const(1);
        break;
      default:
        c.get(this.operand(i, modify)).load(size);
    }
  }

  protected write(i: number, value: Expr): void {
    const c = this.c;
    const size = operandSize(this.row.operands[i], this.variant.size);
    switch (this.place(i)) {
      case "register":
        this.setSlot(i === 0 ? 0 : 1, size, () => this.expr(value));
        break;
      case "fixed":
        this.setRegister(this.fixed(i), size, () => this.expr(value));
        break;
      default: {
        const host = this.operand(i, true);
        c.get(host);
        this.expr(value);
        c.store(size);
        this.commit(host);
      }
    }
  }

  /** Sets CF (and OF); without an overflow the old one stays. */
  protected setCarry(carry: Expr, overflow: Expr | undefined): void {
    const c = this.c;
    const cf = this.temporary(), of = this.temporary();
    this.expr(carry);
    c.set(cf);
    if (overflow) this.expr(overflow);
    else this.condition(0);
    c.set(of);
    this.setState(State.flagAux, () => {
      this.getState(State.flagAux);
      c.const(0x3fff_ffff).op("and");
      c.get(cf).const(31).op("shl").op("or");
      c.get(cf).get(of).op("xor").const(30).op("shl").op("or");
    });
  }

  /** Sets ZF; SF and PF stay by the corrections of the aux word. */
  protected setZero(zero: Expr): void {
    const c = this.c;
    const aux = this.temporary();
    this.getState(State.flagAux);
    c.const(0xc000_0008 | 0).op("and");
    this.condition(8);
    c.op("or");
    this.condition(11);
    c.const(8).op("shl").op("or").set(aux);
    this.setState(State.flagAux, () => c.get(aux));
    this.setState(State.flagResult, () => {
      c.const(0).const(0x100);
      this.expr(zero);
      c.select();
    });
  }
}
