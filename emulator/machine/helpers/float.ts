// SPDX-License-Identifier: Apache-2.0
/** x87 instructions (SDM volume 1, chapter 8; volume 2). @module */
import { type Core, Flag } from "../core.ts";
import { GuestFault, Vector } from "../fault.ts";
import * as f80 from "../float80.ts";
import type { Float80, Order } from "../float80.ts";
import type { Fpu } from "../fpu.ts";
import type { OpView } from "../op_view.ts";
import type { Helper } from "./helper.ts";

const MF = 16;

/** Throws #NM when CR0.EM or CR0.TS say that there is no x87. */
const control = (helper: Helper): Helper => (core, op) => {
  if (core.cr0 & 0xc) throw new GuestFault(Vector.nm);
  return helper(core, op);
};
/** An instruction that waits for pending exceptions and is remembered as the last one. */
export const waiting = (body: (f: Fpu, core: Core, op: OpView) => void): Helper =>
  control((core, op) => {
    const f = core.fpu;
    if (f.pending) throw new GuestFault(MF);
    f.begin();
    body(f, core, op);
    f.ip = op.eip;
    f.cs = core.selectors[1];
    f.opcode = ((op.opcode & 7) << 8) | op.modrm;
    if (!op.isRegister) {
      f.dp = op.offset;
      f.ds = core.selectors[op.segment];
    }
  });

export const digit = (op: OpView) => (op.modrm >> 3) & 7;
export const read64 = (core: Core, at: number) =>
  BigInt.asUintN(32, BigInt(core.read(at, 4))) |
  (BigInt.asUintN(32, BigInt(core.read((at + 4) | 0, 4))) << 32n);
export function write64(core: Core, at: number, value: bigint): void {
  core.prepareWrite(at, 8);
  core.write(at, 4, Number(BigInt.asIntN(32, value)));
  core.write((at + 4) | 0, 4, Number(BigInt.asIntN(32, value >> 32n)));
}
function read80(core: Core, at: number): Float80 {
  const top = core.read((at + 8) | 0, 2);
  return { sign: top >> 15, exponent: top & 0x7fff, significand: read64(core, at) };
}
function write80(core: Core, at: number, v: Float80): void {
  core.prepareWrite(at, 10);
  write64(core, at, v.significand);
  core.write((at + 8) | 0, 2, (v.sign << 15) | v.exponent);
}

/** A denormal in memory does not count beside a NaN, an invalid operation or an empty register. */
function settleDenormal(f: Fpu, a: Float80): void {
  const { env } = f;
  if (env.flags & f80.FloatFlag.invalid || f80.isNaN80(a)) env.flags &= ~f80.FloatFlag.denormal;
}

/** Source of an arithmetic instruction: ST(i), or memory by opcode (D8 m32, DC m64, DA i32, DE i16). */
function source(f: Fpu, core: Core, op: OpView): Float80 {
  if (op.isRegister) return f.get(op.rm);
  switch (op.opcode) {
    case 0xd8:
      return f80.fromBits(BigInt.asUintN(32, BigInt(core.read(op.memory(4, false), 4))), 32, f.env);
    case 0xdc:
      return f80.fromBits(read64(core, op.memory(8, false)), 64, f.env);
    case 0xda:
      return f80.fromInteger(BigInt(core.read(op.memory(4, false), 4)));
    default:
      return f80.fromInteger(BigInt((core.read(op.memory(2, false), 2) << 16) >> 16));
  }
}

const ORDERS: Record<Order, number> = { greater: 0, less: 0x100, equal: 0x4000, unordered: 0x4500 };
const ORDER_FLAGS: Record<Order, number> = {
  greater: 0,
  less: Flag.cf,
  equal: Flag.zf,
  unordered: Flag.cf | Flag.zf | Flag.pf,
};

/** Replaces ST(0) by a function of it. */
export const unary = (compute: (a: Float80, f: Fpu, op: OpView) => Float80): Helper =>
  waiting((f, _core, op) => {
    const a = f.get(0);
    const empty = f.isEmpty(0);
    const result = empty ? f80.INDEFINITE : compute(a, f, op);
    if (f.end()) f.set(0, result);
  });

const CONSTANTS: Float80[] = ([
  [0x3fff, 0x8000000000000000n, 0],
  [0x4000, 0xd49a784bcd1b8afen, 0x492n],
  [0x3fff, 0xb8aa3b295c17f0bbn, 0xbe8n],
  [0x4000, 0xc90fdaa22168c234n, 0xc4cn],
  [0x3ffd, 0x9a209a84fbcff798n, 0x8f9n],
  [0x3ffe, 0xb17217f7d1cf79abn, 0xc9en],
  [0, 0n, 0],
] as const).map(([exponent, significand]) => ({ sign: 0, exponent, significand }));
/** Whether the exact constant lies above what the table has: rounding up adds one. */
const CONSTANT_ABOVE = [false, true, true, true, true, true, false];
/** Whether the next bits of the constant round to nearest upwards. */
const CONSTANT_NEAREST = [false, false, true, true, true, true, false];

/** The environment's fields, in order. */
function environment(core: Core, size: number): number[] {
  const f = core.fpu;
  const selector = f.cs | (size === 4 ? (f.opcode & 0x7ff) << 16 : 0);
  const upper = size === 4 ? 0xffff_0000 : 0;
  return [f.control | upper, f.statusWord | upper, f.tagWord | upper, f.ip, selector, f.dp, f.ds | upper];
}
function storeEnvironment(core: Core, op: OpView): void {
  environment(core, op.size).forEach((value, i) => {
    core.write(op.memory(op.size, true, i * op.size), op.size, value);
  });
}
function loadEnvironment(core: Core, op: OpView): void {
  const f = core.fpu, { size } = op;
  const [cw, sw, tags, ip, selector, dp, ds] = Array.from(
    { length: 7 },
    (_, i) => core.read(op.memory(size, false, i * size), size),
  );
  f.control = (cw & 0x1f7f) | 0x40;
  f.statusWord = sw;
  f.tagWord = tags;
  f.ip = ip;
  f.cs = selector & 0xffff;
  if (size === 4) f.opcode = (selector >>> 16) & 0x7ff;
  f.dp = dp;
  f.ds = ds & 0xffff;
}

export const floatHelpers: Record<string, Helper> = {
  farith: waiting((f, core, op) => {
    const x = source(f, core, op), a = f.get(0);
    const fault = f.env.flags & 0x40;
    const d = digit(op);
    let result: Float80 = f80.INDEFINITE;
    if (!fault) {
      if (d === 0) result = f80.add(a, x, f.env);
      else if (d === 1) result = f80.multiply(a, x, f.env);
      else if (d === 4) result = f80.add(a, x, f.env, true);
      else if (d === 5) result = f80.add(x, a, f.env, true);
      else if (d === 6) result = f80.divide(a, x, f.env);
      else result = f80.divide(x, a, f.env);
    }
    settleDenormal(f, a);
    if (!f.end()) return;
    f.set(op.isRegister && op.opcode !== 0xd8 ? op.rm : 0, result);
    if (op.isRegister && op.opcode === 0xde) f.pop();
  }),
  fcom: waiting((f, core, op) => {
    const x = source(f, core, op), a = f.get(0);
    const quiet = op.opcode === 0xdd;
    const order = f.env.flags & 0x40 ? "unordered" : f80.compare(a, x, quiet, f.env);
    settleDenormal(f, a);
    if (!f.end()) return;
    f.setConditions(ORDERS[order]);
    // DE D0 to D7 repeats DC D8 to DF.
    if (digit(op) & 1 || (op.isRegister && op.opcode === 0xde)) f.pop();
  }),
  fcompp: waiting((f, _core, op) => {
    const a = f.get(0), x = f.get(1);
    const order = f.env.flags & 0x40 ? "unordered" : f80.compare(a, x, op.opcode === 0xda, f.env);
    if (!f.end()) return;
    f.setConditions(ORDERS[order]);
    f.pop();
    f.pop();
  }),
  fcomi: waiting((f, core, op) => {
    const a = f.get(0), x = f.get(op.rm);
    const order = f.env.flags & 0x40 ? "unordered" : f80.compare(a, x, digit(op) === 5, f.env);
    if (!f.end()) return;
    const arithmetic = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf | Flag.of;
    core.eflags = (core.eflags & ~arithmetic) | ORDER_FLAGS[order];
    if (op.opcode === 0xdf) f.pop();
  }),
  ftst: waiting((f) => {
    const a = f.get(0);
    const order = f.env.flags & 0x40 ? "unordered" : f80.compare(a, f80.zero(0), false, f.env);
    if (f.end()) f.setConditions(ORDERS[order]);
  }),
  fxam: waiting((f) => {
    const { sign } = f.registers[f.top];
    f.end();
    f.setConditions(f.classify(0));
    if (sign) f.status |= 0x200;
  }),
  fld: waiting((f, core, op) => {
    let value: Float80;
    if (op.isRegister) value = f.get(op.rm);
    else if (op.opcode === 0xd9) {
      value = f80.fromBits(BigInt.asUintN(32, BigInt(core.read(op.memory(4, false), 4))), 32, f.env);
    } else if (op.opcode === 0xdd) value = f80.fromBits(read64(core, op.memory(8, false)), 64, f.env);
    else value = read80(core, op.memory(10, false));
    f.push(value);
  }),
  fild: waiting((f, core, op) => {
    let value: bigint;
    if (op.opcode === 0xdb) value = BigInt(core.read(op.memory(4, false), 4));
    else if (digit(op) === 5) value = BigInt.asIntN(64, read64(core, op.memory(8, false)));
    else value = BigInt((core.read(op.memory(2, false), 2) << 16) >> 16);
    f.push(f80.fromInteger(value));
  }),
  fst: waiting((f, core, op) => {
    const a = f.get(0);
    // DF D0 to D7 repeats DD D8 to DF.
    const pops = (digit(op) & 1) === 1 || op.opcode === 0xdf;
    if (op.isRegister) {
      if (!f.end()) return;
      f.set(op.rm, a);
    } else if (op.opcode === 0xdb) {
      const at = op.memory(10, true);
      core.prepareWrite(at, 10);
      if (!f.end()) return;
      write80(core, at, a);
    } else {
      const bits = op.opcode === 0xdd ? 64 : 32;
      const at = op.memory(bits / 8, true);
      core.prepareWrite(at, bits / 8);
      const value = f80.toBits(a, bits, f.env);
      if (!f.end(true)) return;
      if (bits === 64) write64(core, at, value);
      else core.write(at, 4, Number(BigInt.asIntN(32, value)));
    }
    if (pops) f.pop();
  }),
  // Takes an empty register for any other.
  fstpnce: waiting((f, _core, op) => {
    const empty = f.isEmpty(0);
    f.end();
    f.set(op.rm, f.registers[f.top]);
    if (empty) f.empty |= 1 << ((f.top + op.rm) & 7);
    f.pop();
  }),
  fist: waiting((f, core, op) => {
    const a = f.get(0);
    // FISTTP, digit 1, cuts off.
    const truncates = digit(op) === 1;
    const bits = op.opcode === 0xdb ? 32 : digit(op) === 7 || op.opcode === 0xdd ? 64 : 16;
    const at = op.memory(bits / 8, true);
    core.prepareWrite(at, bits / 8);
    const value = f80.toInteger(a, bits, f.env, truncates ? 3 : f.env.rounding);
    if (!f.end()) return;
    if (bits === 64) write64(core, at, value);
    else core.write(at, bits / 8, Number(value));
    if (digit(op) & 1) f.pop();
  }),
  fxch: waiting((f, _core, op) => {
    const a = f.get(0), b = f.get(op.rm);
    if (!f.end()) return;
    f.set(0, b);
    f.set(op.rm, a);
  }),
  fconst: waiting((f, _core, op) => {
    const i = op.modrm - 0xe8;
    const { rounding } = f.env;
    const up = (rounding === 0 && CONSTANT_NEAREST[i]) || (rounding === 2 && CONSTANT_ABOVE[i]);
    const c = CONSTANTS[i];
    f.push(up ? { ...c, significand: c.significand + 1n } : c);
  }),
  fsign: unary((a, _f, op) => ({ ...a, sign: op.modrm === 0xe0 ? a.sign ^ 1 : 0 })),
  fsqrt: unary((a, f) => f80.squareRoot(a, f.env)),
  frndint: unary((a, f) => f80.toIntegral(a, f.env)),
  fscale: unary((a, f) => f80.scale(a, f.get(1), f.env)),
  fxtract: waiting((f) => {
    const a = f.get(0);
    let exponent = a, significand = a;
    if (f80.isZero(a)) {
      f.env.flags |= f80.FloatFlag.zeroDivide;
      exponent = f80.infinity(1);
    } else if (f80.isInfinity(a)) exponent = f80.infinity(0);
    else if (f80.isNaN80(a) || f80.isUnsupported(a)) exponent = significand = f80.add(a, f80.zero(0), f.env);
    else {
      if (f80.isDenormal(a)) f.env.flags |= f80.FloatFlag.denormal;
      const length = f80.bitLength(a.significand);
      const power = (a.exponent === 0 ? 1 : a.exponent) - 16383 - (64 - length);
      exponent = f80.fromInteger(BigInt(power));
      significand = { sign: a.sign, exponent: 16383, significand: a.significand << BigInt(64 - length) };
    }
    if (!f.isEmpty(7)) {
      f.env.flags = f80.FloatFlag.invalid | 0x40 | f80.ROUNDED_UP;
      exponent = significand = f80.INDEFINITE;
    }
    if (!f.end()) return;
    f.set(0, exponent);
    f.top = (f.top - 1) & 7;
    f.set(0, significand);
  }),
  fprem: waiting((f, _core, op) => {
    const a = f.get(0), b = f.get(1);
    const r = f.env.flags & 0x40
      ? { value: f80.INDEFINITE, quotient: 0, complete: true }
      : f80.remainder(a, b, op.modrm === 0xf5, f.env);
    if (!f.end()) return;
    f.set(0, r.value);
    const q = r.quotient;
    f.setConditions(r.complete ? ((q & 4) << 6) | ((q & 2) << 13) : 0x400);
    f.status = (f.status & ~0x200) | (r.complete ? (q & 1) << 9 : 0);
  }),
  fcmov: waiting((f, core, op) => {
    const flags = core.eflags;
    const tests = [Flag.cf, Flag.zf, Flag.cf | Flag.zf, Flag.pf];
    const holds = (flags & tests[digit(op)]) !== 0;
    const value = f.get(op.rm);
    f.get(0);
    // An empty register is a fault whatever the flags.
    const fault = (f.env.flags & 0x40) !== 0;
    if (f.end() && (fault || holds === (op.opcode === 0xda))) f.set(0, fault ? f80.INDEFINITE : value);
  }),
  ffree: waiting((f, _core, op) => {
    f.empty |= 1 << ((f.top + op.rm) & 7);
    // FFREEP, DF C0 to C7, pops as well.
    if (op.opcode === 0xdf) f.pop();
  }),
  fturn: waiting((f, _core, op) => {
    f.end();
    f.top = (f.top + (op.modrm === 0xf6 ? -1 : 1)) & 7;
  }),
  fnop: waiting(() => {}),
  fignore: control(() => {}),
  fninit: control((core) => core.fpu.init()),
  fnclex: control((core) => {
    core.fpu.status &= 0x7f00;
  }),
  fldcw: control((core, op) => {
    if (core.fpu.pending) throw new GuestFault(MF);
    core.fpu.control = (core.read(op.memory(2, false), 2) & 0x1f7f) | 0x40;
    core.fpu.summarize();
  }),
  fnstcw: control((core, op) => core.write(op.memory(2, true), 2, core.fpu.control)),
  fnstsw: control((core, op) => {
    if (op.isRegister) core.setReg16(0, core.fpu.statusWord);
    else core.write(op.memory(2, true), 2, core.fpu.statusWord);
  }),
  fnstenv: control((core, op) => {
    core.prepareWrite(op.memory(7 * op.size, true), 7 * op.size);
    storeEnvironment(core, op);
    // All exceptions are masked afterwards.
    core.fpu.control |= 0x3f;
    core.fpu.summarize();
  }),
  fldenv: control((core, op) => {
    if (core.fpu.pending) throw new GuestFault(MF);
    loadEnvironment(core, op);
  }),
  fnsave: control((core, op) => {
    const f = core.fpu, start = 7 * op.size;
    core.prepareWrite(op.memory(start + 80, true), start + 80);
    storeEnvironment(core, op);
    for (let i = 0; i < 8; i++) {
      write80(core, op.memory(10, true, start + 10 * i), f.registers[(f.top + i) & 7]);
    }
    f.init();
  }),
  frstor: control((core, op) => {
    const f = core.fpu, start = 7 * op.size;
    if (f.pending) throw new GuestFault(MF);
    const values = Array.from({ length: 8 }, (_, i) => read80(core, op.memory(10, false, start + 10 * i)));
    loadEnvironment(core, op);
    values.forEach((value, i) => f.registers[(f.top + i) & 7] = value);
  }),
};
