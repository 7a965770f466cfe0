// SPDX-License-Identifier: Apache-2.0
/**
 * Lowers the semantics of a row's variant to one WebAssembly function: a handler of the threaded interpreter
 * with parameters (op record, CPU area) that ends in a tail call of the next handler.
 *
 * Flags are kept as two words: the sign-extended result (ZF, SF, PF), and an aux word with CF in bit 31,
 * CF xor OF in bit 30, AF in bit 3, a correction of SF in bit 0 and of the parity byte in bits 8–15.
 *
 * @module
 */
import {
  Builder,
  type Expr,
  type OperandSpec,
  type Place,
  type Row,
  type Size,
  type Stmt,
  type Variant,
  widthOf,
} from "../isa/mod.ts";
import { Exit, FRAMES_BASE, Op, OP_SIZE, SEGMENT_SIZE, SegmentField, State, TLB_ADDEND } from "./layout.ts";
import { condition, CPU, dispatch, type FlagLocals, goTo, OP, type Runtime, tlbEntry } from "./emit.ts";
import { Code, type OpcodeName, ValueType } from "./wasm.ts";

const TAGS = { read: 0, write: 4 } as const;
/** Flags of the third argument of `slow`, beside the size in bytes. */
export const SLOW_WRITE = 0x100;

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

/** Lowering of one handler. */
class Lowering {
  readonly c = new Code(2);
  readonly #row: Row;
  readonly #variant: Variant;
  readonly #builder: Builder;
  readonly #runtime: Runtime;
  readonly #locals: number[];
  /** Host address of the memory operand once it is resolved. */
  #operandHost = -1;
  #operandWritable = false;
  #ended = false;
  /** Where the flag words of the last statement that set all flags are. */
  #flagLocals: FlagLocals | undefined;

  constructor(row: Row, variant: Variant, runtime: Runtime) {
    this.#row = row;
    this.#variant = variant;
    this.#runtime = runtime;
    this.#builder = new Builder(variant);
    row.build!(this.#builder);
    this.#locals = this.#builder.locals.map((w) => this.c.local(w === 64 ? ValueType.i64 : ValueType.i32));
  }

  run(jump: number): Code {
    this.#list(this.#builder.statements);
    if (jump >= 0) {
      this.c.get(OP).const(OP_SIZE).op("add").set(OP);
      condition(this.c, jump, this.#flagLocals);
      this.#branch(true);
    }
    if (!this.#ended) this.#next();
    else this.c.unreachable();
    return this.c;
  }

  #next(): void {
    this.c.get(OP).const(OP_SIZE).op("add").set(OP);
    dispatch(this.c, this.#runtime.handlerType);
  }

  #list(statements: readonly Stmt[]): void {
    for (const s of statements) this.#statement(s);
  }

  /** Where operand `i` is. */
  #place(i: number): Place | "fixed" | "one" {
    const spec = this.#row.operands[i];
    if ("EMO".includes(spec[0])) return this.#variant.place as Place;
    if (spec === "AL" || spec === "AX" || spec === "CL" || spec === "DX") return "fixed";
    if (spec === "1") return "one";
    return spec[0] === "I" ? "immediate" : "register";
  }
  #fixed(i: number): number {
    const spec = this.#row.operands[i];
    return State.registers + 4 * (spec === "CL" ? 1 : spec === "DX" ? 2 : 0);
  }

  #statement(s: Stmt): void {
    const c = this.c;
    switch (s.do) {
      case "let":
        this.#expr(s.value);
        c.set(this.#locals[s.local]);
        break;
      case "read":
        this.#read(s.operand, s.modify);
        c.set(this.#locals[s.local]);
        break;
      case "prepare":
        if (["flat", "indexed", "general"].includes(this.#place(s.operand))) this.#operand(s.operand, true);
        break;
      case "write":
        this.#write(s.operand, s.value);
        break;
      case "setRegister":
        c.get(CPU);
        this.#expr(s.value);
        c.store(s.size, registerOffset(s.register, s.size));
        break;
      case "resolve":
        this.#expr(s.offset);
        this.#resolve(this.#segment(s.segment), s.bytes, s.write, this.#locals[s.host]);
        break;
      case "load":
        c.get(this.#locals[s.host]).load(s.size, s.at).set(this.#locals[s.local]);
        break;
      case "store":
        c.get(this.#locals[s.host]);
        this.#expr(s.value);
        c.store(s.size, s.at);
        break;
      case "commit":
        this.#commit(this.#locals[s.host]);
        break;
      case "flags":
        this.#flags(s);
        break;
      case "carry":
        this.#carry(s.carry, s.overflow);
        break;
      case "flagsFrom": {
        this.#result(s.result, s.size);
        const carry = c.local();
        c.get(CPU);
        this.#expr(s.carry);
        c.tee(carry).const(31).op("shl");
        c.get(carry);
        this.#expr(s.overflow);
        c.op("xor").const(30).op("shl").op("or");
        if (!(s.adjust.op === "const" && s.adjust.value === 0)) {
          this.#expr(s.adjust);
          c.const(3).op("shl").op("or");
        }
        c.store(32, State.flagAux);
        break;
      }
      case "zero":
        this.#zero(s.zero);
        break;
      case "setState":
        c.get(CPU);
        this.#expr(s.value);
        c.store(32, State[s.name]);
        break;
      case "if": {
        const host = this.#operandHost, writable = this.#operandWritable;
        this.#expr(s.condition);
        c.if();
        this.#list(s.then);
        this.#operandHost = host;
        this.#operandWritable = writable;
        if (s.else.length > 0) {
          c.else();
          this.#list(s.else);
          this.#operandHost = host;
          this.#operandWritable = writable;
        }
        c.end();
        break;
      }
      case "raise":
        c.get(OP).const(s.vector).call(this.#runtime.raise).const(Exit.event).return();
        break;
      case "branch":
        if (s.condition) this.#expr(s.condition);
        this.#branch(s.condition !== undefined);
        break;
      case "jump":
        c.get(CPU);
        this.#expr(s.target);
        c.store(32, State.eip).get(OP).get(CPU).returnCall(this.#runtime.enter);
        this.#ended = true;
        break;
      case "again":
        this.#again();
        break;
      case "bulk":
        this.#bulk(s.kind, s.size);
        break;
    }
  }

  /** Goes to the linked target; with a condition on the stack, or behind the instruction. */
  #branch(conditional: boolean): void {
    const { c } = this;
    if (conditional) c.if();
    goTo(c, "taken", this.#runtime);
    if (conditional) {
      c.end();
      goTo(c, "fallthrough", this.#runtime);
    }
    this.#ended = true;
  }

  #expr(e: Expr): void {
    const c = this.c;
    switch (e.op) {
      case "const":
        if (e.width === 64) c.const64(e.value);
        else c.const(e.value);
        break;
      case "local":
        c.get(this.#locals[e.index]);
        break;
      case "register":
        c.get(CPU).load(e.size, registerOffset(e.register, e.size));
        break;
      case "state":
        if (e.name === "stackMask") c.get(CPU).load(32, State.stackMask);
        else if (e.name === "eflags") c.get(CPU).load(32, State.eflags);
        else if (e.name === "operandImmediate") c.get(OP).load(32, Op.immediate);
        else if (e.name === "nextEip") c.get(OP).load(32, Op.next);
        else c.get(OP).load(32, Op.mask);
        break;
      case "condition":
        condition(c, e.code);
        break;
      case "carry":
        c.get(CPU).load(32, State.flagAux).const(31).op("shr_u");
        break;
      case "adjust":
        c.get(CPU).load(32, State.flagAux).const(3).op("shr_u").const(1).op("and");
        break;
      case "wholeFlags":
        c.get(CPU).call(this.#runtime.wholeFlags);
        break;
      case "effectiveAddress":
        this.#effectiveAddress();
        break;
      case "binary": {
        this.#expr(e.a);
        this.#expr(e.b);
        const name = e.name as OpcodeName;
        if (widthOf(e.a) === 64) c.op64(name);
        else c.op(name);
        break;
      }
      case "unary": {
        this.#expr(e.a);
        if (widthOf(e.a) === 64 && e.name !== "wrap") c.op64(e.name as OpcodeName);
        else c.op(e.name as OpcodeName);
        break;
      }
      case "select":
        this.#expr(e.a);
        this.#expr(e.b);
        this.#expr(e.c);
        c.select();
        break;
    }
  }

  /** Pushes the offset of the memory operand. */
  #effectiveAddress(): void {
    const c = this.c;
    const place = this.#variant.place;
    c.get(OP).load(32, Op.base).load(32).get(OP).load(32, Op.displacement).op("add");
    if (place !== "flat") {
      c.get(OP).load(32, Op.index).load(32).get(OP).load(32, Op.scale).op("shl").op("add");
    }
    if (place === "general") c.get(OP).load(32, Op.mask).op("and");
  }

  /** How the segment of an access is found: not at all when flat, by address in the CPU, by the op record. */
  #segment(name: number | "operand"): number | "operand" | "none" {
    const { place, general } = this.#variant;
    if (name === "operand") return place === "general" || (place === "none" && general) ? "operand" : "none";
    return general ? name : "none";
  }

  /** Consumes the offset on the stack; leaves the host address in `host`, or returns from the handler. */
  #resolve(segment: number | "operand" | "none", bytes: number, write: boolean, host: number): void {
    const c = this.c;
    const linear = c.local();
    const spec = bytes | (write ? SLOW_WRITE : 0);
    c.set(linear);
    if (segment !== "none") {
      const cache = c.local(), from = c.local();
      if (segment === "operand") c.get(OP).load(32, Op.segment);
      else c.get(CPU).const(State.segments + segment * SEGMENT_SIZE).op("add");
      c.set(cache);
      c.get(linear).get(cache).load(32, SegmentField.low).op("sub").tee(from);
      c.get(cache).load(32, SegmentField.span).op("gt_u");
      if (bytes > 1) {
        c.get(from).const(bytes - 1).op("add").get(cache).load(32, SegmentField.span).op("gt_u").op("or");
      }
      c.get(cache).load(32, write ? SegmentField.denyWrite : SegmentField.denyRead).op("or");
      c.if().get(OP).get(cache).call(this.#runtime.segmentFault).const(Exit.event).return().end();
      c.get(linear).get(cache).load(32, SegmentField.base).op("add").set(linear);
    }
    const entry = c.local();
    tlbEntry(c, linear);
    c.tee(entry).load(32, write ? TAGS.write : TAGS.read);
    c.get(linear);
    if (bytes > 1) c.const(bytes - 1).op("add");
    c.const(-4096).op("and").op("eq").if();
    c.get(linear).get(entry).load(32, TLB_ADDEND).op("add").set(host);
    c.else();
    c.get(OP).get(linear).const(spec).call(this.#runtime.slow).tee(host);
    c.op("eqz").if().const(Exit.event).return().end();
    c.end();
  }

  /** Resolves the memory operand once; leaves it in #operandHost. */
  #operand(i: number, write: boolean): number {
    if (this.#operandHost >= 0 && (this.#operandWritable || !write)) return this.#operandHost;
    const host = this.c.local();
    this.#effectiveAddress();
    const size = operandSize(this.#row.operands[i], this.#variant.size);
    this.#resolve(this.#segment("operand"), size >> 3, write, host);
    this.#operandHost = host;
    this.#operandWritable = write;
    return host;
  }

  #commit(host: number): void {
    this.c.get(host).const(FRAMES_BASE).op("lt_u").if().call(this.#runtime.commit).end();
  }

  #read(i: number, modify: boolean): void {
    const c = this.c;
    const size = operandSize(this.#row.operands[i], this.#variant.size);
    switch (this.#place(i)) {
      case "register":
        c.get(OP).load(32, i === 0 ? Op.slot0 : Op.slot1).load(size);
        break;
      case "fixed":
        c.get(CPU).load(size, this.#fixed(i));
        break;
      case "immediate":
        c.get(OP).load(32, Op.immediate);
        break;
      case "one":
        c.const(1);
        break;
      default:
        c.get(this.#operand(i, modify)).load(size);
    }
  }

  #write(i: number, value: Expr): void {
    const c = this.c;
    const size = operandSize(this.#row.operands[i], this.#variant.size);
    switch (this.#place(i)) {
      case "register":
        c.get(OP).load(32, i === 0 ? Op.slot0 : Op.slot1);
        this.#expr(value);
        c.store(size);
        break;
      case "fixed":
        c.get(CPU);
        this.#expr(value);
        c.store(size, this.#fixed(i));
        break;
      default: {
        const host = this.#operand(i, true);
        c.get(host);
        this.#expr(value);
        c.store(size);
        this.#commit(host);
      }
    }
  }

  #result(result: Expr, size: Size): void {
    const c = this.c;
    c.get(CPU);
    this.#expr(result);
    if (size === 8) c.op("extend8_s");
    else if (size === 16) c.op("extend16_s");
    c.store(32, State.flagResult);
  }

  #flags(s: Stmt & { do: "flags" }): void {
    const c = this.c;
    const known = { result: c.local(), aux: c.local() };
    this.#flagLocals = known;
    this.#expr(s.result);
    if (s.size === 8) c.op("extend8_s");
    else if (s.size === 16) c.op("extend16_s");
    c.set(known.result).get(CPU).get(known.result).store(32, State.flagResult);
    const store = () => c.set(known.aux).get(CPU).get(known.aux).store(32, State.flagAux);
    if (s.kind === "logic") {
      c.const(0);
      store();
      return;
    }
    if (s.kind === "increment" || s.kind === "decrement") {
      const least = 1 << (s.size - 1);
      const carry = c.local();
      c.get(CPU).load(32, State.flagAux).const(0x8000_0000 | 0).op("and").set(carry);
      c.get(carry).get(carry).const(1).op("shr_u");
      // Overflow exactly when the result is the least (increment) or the greatest (decrement) number.
      this.#expr(s.result);
      if (s.size < 32) c.const(least * 2 - 1).op("and");
      c.const(s.kind === "increment" ? least : least - 1).op("eq").const(30).op("shl").op("xor").op("or");
      this.#expr(s.result);
      c.const(15).op("and").const(s.kind === "increment" ? 0 : 15).op("eq").const(3).op("shl").op("or");
      store();
      return;
    }
    // Carry or borrow out of every bit position.
    const out = c.local();
    if (s.kind === "add") {
      this.#expr(s.a);
      this.#expr(s.b);
      c.op("and");
      this.#expr(s.a);
      this.#expr(s.b);
      c.op("or");
      this.#expr(s.result);
      c.const(-1).op("xor").op("and").op("or");
    } else {
      this.#expr(s.a);
      c.const(-1).op("xor");
      this.#expr(s.b);
      c.op("and");
      this.#expr(s.a);
      this.#expr(s.b);
      c.op("xor").const(-1).op("xor");
      this.#expr(s.result);
      c.op("and").op("or");
    }
    if (s.size === 32) {
      c.const(0xc000_0008 | 0).op("and");
      store();
      return;
    }
    c.tee(out).const(32 - s.size).op("shl").const(0xc000_0000 | 0).op("and");
    c.get(out).const(8).op("and").op("or");
    store();
  }

  /** Sets CF (and OF); without an overflow the old one stays. */
  #carry(carry: Expr, overflow: Expr | undefined): void {
    const c = this.c;
    const cf = c.local(), of = c.local();
    this.#expr(carry);
    c.set(cf);
    if (overflow) this.#expr(overflow);
    else condition(c, 0);
    c.set(of);
    c.get(CPU).get(CPU).load(32, State.flagAux).const(0x3fff_ffff).op("and");
    c.get(cf).const(31).op("shl").op("or");
    c.get(cf).get(of).op("xor").const(30).op("shl").op("or");
    c.store(32, State.flagAux);
  }

  #zero(zero: Expr): void {
    const c = this.c;
    const aux = c.local();
    c.get(CPU).load(32, State.flagAux).const(0xc000_0008 | 0).op("and");
    condition(c, 8);
    c.op("or");
    condition(c, 11);
    c.const(8).op("shl").op("or").set(aux);
    c.get(CPU).get(aux).store(32, State.flagAux);
    c.get(CPU).const(0).const(0x100);
    this.#expr(zero);
    c.select().store(32, State.flagResult);
  }

  #again(): void {
    const c = this.c;
    const budget = c.local();
    c.get(CPU).load(32, State.budget).tee(budget).const(0).op("gt_s").if();
    c.get(CPU).get(budget).const(1).op("sub").store(32, State.budget);
    dispatch(c, this.#runtime.handlerType);
    c.end();
    c.get(CPU).get(budget).get(OP).load(32, Op.remaining).op("add").const(1).op("sub").store(
      32,
      State.budget,
    );
    c.get(CPU).get(OP).load(32, Op.eip).store(32, State.eip);
    c.const(Exit.budget).return();
  }

  /**
   * REP MOVS and REP STOS upwards: as many elements as the pages, the count and the budget allow, but not the
   * last one, which the ordinary iteration does. Only pages that are in the TLB already.
   */
  #bulk(kind: "movs" | "stos", size: Size): void {
    const c = this.c;
    const shift = size === 8 ? 0 : size === 16 ? 1 : 2;
    const n = c.local(),
      other = c.local(),
      to = c.local(),
      from = c.local(),
      entry = c.local(),
      end = c.local();
    const register = (r: number) => c.get(CPU).load(32, State.registers + 4 * r);
    const least = (push: () => void) => {
      push();
      c.set(other).get(n).get(other).get(n).get(other).op("lt_u").select().set(n);
    };
    const room = (r: number) =>
      least(() => {
        c.const(4096);
        register(r).const(4095).op("and").op("sub");
        if (shift > 0) c.const(shift).op("shr_u");
      });
    c.block();
    c.get(CPU).load(32, State.eflags).const(0x400).op("and").brIf(0);
    register(1).const(1).op("sub").set(n);
    least(() => c.get(CPU).load(32, State.budget));
    room(7);
    if (kind === "movs") room(6);
    c.get(n).const(2).op("lt_u").brIf(0);
    const look = (r: number, tag: number, host: number) => {
      register(r).set(host);
      tlbEntry(c, host);
      c.tee(entry).load(32, tag).get(host).const(-4096).op("and").op("ne").brIf(0);
      c.get(host).get(entry).load(32, TLB_ADDEND).op("add").set(host);
    };
    look(7, TAGS.write, to);
    if (kind === "movs") look(6, TAGS.read, from);
    c.get(n).const(shift).op("shl").tee(other).get(to).op("add").set(end);
    const source = c.local();
    if (kind === "stos") register(0).set(source);
    c.loop();
    c.get(to);
    if (kind === "movs") c.get(from).load(size);
    else c.get(source);
    c.store(size);
    if (kind === "movs") c.get(from).const(size >> 3).op("add").set(from);
    c.get(to).const(size >> 3).op("add").tee(to).get(end).op("lt_u").brIf(0);
    c.end();
    for (const r of kind === "movs" ? [6, 7] : [7]) {
      c.get(CPU);
      register(r).get(other).op("add").store(32, State.registers + 4 * r);
    }
    c.get(CPU);
    register(1).get(n).op("sub").store(32, State.registers + 4);
    c.get(CPU).get(CPU).load(32, State.budget).get(n).op("sub").store(32, State.budget);
    c.end();
  }
}

/** Offset in the state of a register: byte registers 4–7 are the high bytes of 0–3. */
function registerOffset(register: number, size: Size): number {
  return State.registers + (size === 8 ? 4 * (register & 3) + (register >> 2) : 4 * register);
}

/** The handler of a row's variant, followed by the conditional jump with condition code `jump` if not -1. */
export function lower(row: Row, variant: Variant, runtime: Runtime, jump = -1): Code {
  return new Lowering(row, variant, runtime).run(jump);
}
