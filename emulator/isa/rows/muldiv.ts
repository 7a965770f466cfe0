// SPDX-License-Identifier: Apache-2.0
/**
 * Multiplication and division (SDM volume 2, MUL, IMUL, DIV, IDIV). SF, ZF and PF after a multiplication
 * are undefined; they follow the low half here.
 *
 * @module
 */
import {
  and,
  type Builder,
  divS,
  divU,
  eq,
  type Expr,
  isZero,
  mul,
  ne,
  or,
  remS,
  remU,
  sar,
  shl,
  shr,
  signed,
  unsigned,
  wideS,
  wideU,
  wrap,
} from "../ir.ts"; // deno-fmt-ignore
import type { RowSource } from "../row.ts";

const AX = 0, DX = 2;

function multiply(isSigned: boolean): (b: Builder) => void {
  return (b) => {
    const size = b.size;
    const source = b.read(0);
    if (size === 32) {
      const extend = isSigned ? wideS : wideU;
      const product = b.let(mul(extend(b.reg(AX)), extend(source)));
      const low = b.let(wrap(product));
      const high = b.let(wrap(shr(product, 32)));
      b.setReg(AX, low);
      b.setReg(DX, high);
      const over = b.let(ne(high, isSigned ? sar(low, 31) : 0));
      b.flagsFrom(low, over, over);
      return;
    }
    const extend = isSigned ? signed : unsigned;
    const product = b.let(mul(extend(b.reg(AX, size), size), extend(source, size)));
    const over = b.let(isSigned ? ne(product, signed(product, size)) : shr(product, size));
    const flag = b.let(ne(over, 0));
    if (size === 8) b.setReg(AX, product, 16);
    else {
      b.setReg(AX, product, 16);
      b.setReg(DX, shr(product, 16), 16);
    }
    b.flagsFrom(product, flag, flag);
  };
}

/** IMUL with two or three operands: the product of the last two goes to the first. */
function multiplyTo(b: Builder, a: Expr, c: Expr): void {
  const product = b.let(mul(wideS(signed(a, b.size)), wideS(signed(c, b.size))));
  const low = b.let(wrap(product));
  b.write(0, low);
  const over = b.let(ne(product, wideS(signed(low, b.size))));
  b.flagsFrom(low, over, over);
}

/** The dividend: AX, DX:AX or EDX:EAX, as a 64-bit value. */
function dividend(b: Builder, isSigned: boolean): Expr & { op: "local" } {
  if (b.size === 32) return b.let(or(shl(wideU(b.reg(DX)), 32), wideU(b.reg(AX))));
  const value = b.size === 8 ? b.reg(AX, 16) : or(shl(b.reg(DX, 16), 16), b.reg(AX, 16));
  return b.let(isSigned ? wideS(b.size === 8 ? signed(value, 16) : value) : wideU(value));
}

function divide(isSigned: boolean): (b: Builder) => void {
  return (b) => {
    const size = b.size;
    const source = b.read(0);
    b.if(isZero(source), () => b.raise(0));
    const value = dividend(b, isSigned);
    const divisor = b.let(isSigned ? wideS(signed(source, size)) : wideU(source));
    if (isSigned && size === 32) {
      // The only quotient that 64 bits do not hold; WebAssembly would trap.
      const least = and(eq(wrap(shr(value, 32)), 0x8000_0000 | 0), isZero(wrap(value)));
      b.if(and(least, eq(source, -1)), () => b.raise(0));
    }
    const quotient = b.let(isSigned ? divS(value, divisor) : divU(value, divisor));
    const rest = b.let(wrap(isSigned ? remS(value, divisor) : remU(value, divisor)));
    const low = b.let(wrap(quotient));
    const fits = isSigned ? wideS(signed(low, size)) : wideU(unsigned(low, size));
    b.if(ne(quotient, fits), () => b.raise(0));
    b.setReg(AX, low, size);
    if (size === 8) b.setReg(4, rest, 8);
    else b.setReg(DX, rest, size);
  };
}

export const muldivRows: RowSource[] = [
  ["f6 /4", "mul", "Eb", multiply(false)],
  ["f7 /4", "mul", "Ev", multiply(false)],
  ["f6 /5", "imul", "Eb", multiply(true)],
  ["f7 /5", "imul", "Ev", multiply(true)],
  ["f6 /6", "div", "Eb", divide(false)],
  ["f7 /6", "div", "Ev", divide(false)],
  ["f6 /7", "idiv", "Eb", divide(true)],
  ["f7 /7", "idiv", "Ev", divide(true)],
  ["0f af", "imul", "Gv,Ev", (b) => multiplyTo(b, b.read(0), b.read(1)), { hot: true }],
  ["69", "imul", "Gv,Ev,Iz", (b) => multiplyTo(b, b.read(1), b.read(2))],
  ["6b", "imul", "Gv,Ev,Is", (b) => multiplyTo(b, b.read(1), b.read(2))],
];
