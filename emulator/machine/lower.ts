// SPDX-License-Identifier: Apache-2.0
/**
 * Lowers the semantics of a row's variant to one WebAssembly function: a handler of the threaded interpreter
 * with parameters (op record, CPU area) that ends in a tail call of the next handler.
 *
 * @module
 */
import { Builder, type Expr, type Row, type Size, type Variant } from "../isa/mod.ts";
import { Exit, FRAMES_BASE, Op, OP_SIZE, SEGMENT_SIZE, State, TLB_ADDEND } from "./layout.ts";
import { condition, CPU, dispatch, type FlagLocals, goTo, OP, type Runtime, tlbEntry } from "./emit.ts";
import { auxWord, type FlagSource, type FlagStatement, resultWord } from "./flag_words.ts";
import { Lowering, SLOW_WRITE, TAGS } from "./lowering.ts";
import { Code } from "./wasm.ts";

/** Lowering of one handler. */
class HandlerLowering extends Lowering {
  readonly #runtime: Runtime;
  /** Where the flag words of the last statement that set all flags are. */
  #flagLocals: FlagLocals | undefined;

  constructor(row: Row, variant: Variant, runtime: Runtime) {
    const builder = new Builder(variant);
    row.build!(builder);
    const c = new Code(2);
    super(c, row, variant, builder, (type) => c.local(type));
    this.#runtime = runtime;
  }

  run(jump: number): Code {
    this.list(this.builder.statements);
    if (jump >= 0) {
      this.c.get(OP).const(OP_SIZE).op("add").set(OP);
      condition(this.c, jump, this.#flagLocals);
      this.branch(true);
    }
    if (!this.ended) {
      this.c.get(OP).const(OP_SIZE).op("add").set(OP);
      dispatch(this.c, this.#runtime.handlerType);
    } else this.c.unreachable();
    return this.c;
  }

  protected temporary(): number {
    return this.c.local();
  }
  protected field(offset: number): void {
    this.c.get(OP).load(32, offset);
  }
  protected getRegister(offset: number, size: Size): void {
    this.c.get(CPU).load(size, offset);
  }
  protected setRegister(offset: number, size: Size, value: () => void): void {
    this.c.get(CPU);
    value();
    this.c.store(size, offset);
  }
  protected getSlot(slot: 0 | 1, size: Size): void {
    this.c.get(OP).load(32, slot === 0 ? Op.slot0 : Op.slot1).load(size);
  }
  protected setSlot(slot: 0 | 1, size: Size, value: () => void): void {
    this.c.get(OP).load(32, slot === 0 ? Op.slot0 : Op.slot1);
    value();
    this.c.store(size);
  }
  protected getState(offset: number): void {
    this.c.get(CPU).load(32, offset);
  }
  protected setState(offset: number, value: () => void): void {
    this.c.get(CPU);
    value();
    this.c.store(32, offset);
  }
  protected condition(code: number): void {
    condition(this.c, code);
  }
  protected wholeFlags(): void {
    this.c.get(CPU).call(this.#runtime.wholeFlags);
  }
  protected address(indexed: boolean): void {
    const c = this.c;
    c.get(OP).load(32, Op.base).load(32).get(OP).load(32, Op.displacement).op("add");
    if (indexed) c.get(OP).load(32, Op.index).load(32).get(OP).load(32, Op.scale).op("shl").op("add");
  }
  protected segmentCache(segment: number | "operand"): void {
    if (segment === "operand") this.field(Op.segment);
    else this.c.get(CPU).const(State.segments + segment * SEGMENT_SIZE).op("add");
  }
  protected tlbEntry(linear: number): void {
    tlbEntry(this.c, linear);
  }
  protected segmentFault(cache: number): void {
    this.c.if().get(OP).get(cache).call(this.#runtime.segmentFault).const(Exit.event).return().end();
  }
  protected translate(linear: number, bytes: number, write: boolean, host: number): void {
    const c = this.c;
    const entry = this.temporary();
    this.tlbEntry(linear);
    c.tee(entry).load(32, write ? TAGS.write : TAGS.read);
    c.get(linear);
    if (bytes > 1) c.const(bytes - 1).op("add");
    c.const(-4096).op("and").op("eq").if();
    c.get(linear).get(entry).load(32, TLB_ADDEND).op("add").set(host);
    c.else();
    c.get(OP).get(linear).const(bytes | (write ? SLOW_WRITE : 0)).call(this.#runtime.slow).tee(host);
    c.op("eqz").if().const(Exit.event).return().end();
    c.end();
  }
  protected commit(host: number): void {
    this.c.get(host).const(FRAMES_BASE).op("lt_u").if().call(this.#runtime.commit).end();
  }
  protected raise(vector: number): void {
    this.c.get(OP).const(vector).call(this.#runtime.raise).const(Exit.event).return();
  }
  protected branch(conditional: boolean): void {
    const { c } = this;
    if (conditional) c.if();
    goTo(c, "taken", this.#runtime);
    if (conditional) {
      c.end();
      goTo(c, "fallthrough", this.#runtime);
    }
    this.ended = true;
  }
  protected jump(target: Expr): void {
    this.setState(State.eip, () => this.expr(target));
    this.c.get(OP).get(CPU).returnCall(this.#runtime.enter);
    this.ended = true;
  }
  protected setFlags(s: FlagStatement): void {
    const c = this.c;
    const known = { result: c.local(), aux: c.local() };
    this.#flagLocals = known;
    const from: FlagSource = {
      c,
      push: (e) => this.expr(e),
      temporary: () => this.temporary(),
      oldAux: () => this.getState(State.flagAux),
    };
    resultWord(from, s);
    c.set(known.result);
    this.setState(State.flagResult, () => c.get(known.result));
    auxWord(from, s);
    c.set(known.aux);
    this.setState(State.flagAux, () => c.get(known.aux));
  }

  protected again(): void {
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
  protected bulk(kind: "movs" | "stos", size: Size): void {
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

/** The handler of a row's variant, followed by the conditional jump with condition code `jump` if not -1. */
export function lower(row: Row, variant: Variant, runtime: Runtime, jump = -1): Code {
  return new HandlerLowering(row, variant, runtime).run(jump);
}
