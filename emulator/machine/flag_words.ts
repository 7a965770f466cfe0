// SPDX-License-Identifier: Apache-2.0
/**
 * The two words that flags are kept in, as code: the sign-extended result (ZF, SF, PF), and an aux word with
 * CF in bit 31, CF xor OF in bit 30, AF in bit 3, a correction of SF in bit 0 and of the parity byte in bits
 * 8–15.
 *
 * @module
 */
import type { Expr, Stmt } from "../isa/mod.ts";
import type { Code } from "./wasm.ts";

/** A statement that sets all six flags or, as `increment` and `decrement`, all but CF. */
export type FlagStatement = Stmt & { do: "flags" | "flagsFrom" };

/** Where the values of a flag statement come from. */
export interface FlagSource {
  readonly c: Code;
  /** Pushes the value of an expression of the statement. */
  push(e: Expr): void;
  /** A local for a moment. */
  temporary(): number;
  /** Pushes the aux word of before. */
  oldAux(): void;
}

/** Pushes the result word of a flag statement. */
export function resultWord(from: FlagSource, s: FlagStatement): void {
  from.push(s.result);
  if (s.size === 8) from.c.op("extend8_s");
  else if (s.size === 16) from.c.op("extend16_s");
}

/** Pushes the aux word of a flag statement. */
export function auxWord(from: FlagSource, s: FlagStatement): void {
  const { c } = from;
  if (s.do === "flagsFrom") {
    const carry = from.temporary();
    from.push(s.carry);
    c.tee(carry).const(31).op("shl");
    c.get(carry);
    from.push(s.overflow);
    c.op("xor").const(30).op("shl").op("or");
    if (!(s.adjust.op === "const" && s.adjust.value === 0)) {
      from.push(s.adjust);
      c.const(3).op("shl").op("or");
    }
    return;
  }
  if (s.kind === "logic") {
    c.const(0);
    return;
  }
  if (s.kind === "increment" || s.kind === "decrement") {
    const least = 1 << (s.size - 1);
    const carry = from.temporary();
    from.oldAux();
    c.const(0x8000_0000 | 0).op("and").set(carry);
    c.get(carry).get(carry).const(1).op("shr_u");
    // Overflow exactly when the result is the least (increment) or the greatest (decrement) number.
    from.push(s.result);
    if (s.size < 32) c.const(least * 2 - 1).op("and");
    c.const(s.kind === "increment" ? least : least - 1).op("eq").const(30).op("shl").op("xor").op("or");
    from.push(s.result);
    c.const(15).op("and").const(s.kind === "increment" ? 0 : 15).op("eq").const(3).op("shl").op("or");
    return;
  }
  // Carry or borrow out of every bit position.
  if (s.kind === "add") {
    from.push(s.a);
    from.push(s.b);
    c.op("and");
    from.push(s.a);
    from.push(s.b);
    c.op("or");
    from.push(s.result);
    c.const(-1).op("xor").op("and").op("or");
  } else {
    from.push(s.a);
    c.const(-1).op("xor");
    from.push(s.b);
    c.op("and");
    from.push(s.a);
    from.push(s.b);
    c.op("xor").const(-1).op("xor");
    from.push(s.result);
    c.op("and").op("or");
  }
  if (s.size === 32) {
    c.const(0xc000_0008 | 0).op("and");
    return;
  }
  const out = from.temporary();
  c.tee(out).const(32 - s.size).op("shl").const(0xc000_0000 | 0).op("and");
  c.get(out).const(8).op("and").op("or");
}
