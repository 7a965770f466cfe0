// SPDX-License-Identifier: Apache-2.0
/**
 * Generated sequences for x87, MMX and SSE/SSE2: load operands from memory, one operation, store the results,
 * so that memory and EFLAGS say everything.
 *
 * @module
 */
import { type Instruction, Layout, type Poke, type State } from "./cases.ts";
import type { Random } from "./random.ts";

/** Operands and results, absolute addresses in the data window. */
const A = Layout.data + 0x100, B = Layout.data + 0x120;
/** Where results are stored, 64 bytes at most. */
export const RESULT = Layout.data + 0x140;
/** Where the x87 status word or MXCSR is stored after the operation, and 4 bytes on after the stores. */
export const STATUS = Layout.data + 0x180;
const CONTROL = Layout.data + 0x190;

/** A sequence with the operands it needs. */
export interface Sequence extends Instruction {
  readonly kind: "x87" | "mmx" | "sse";
  /** Number of instructions in the sequence. */
  readonly length: number;
}

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

/** `opcode` with an absolute memory operand: ModRM mod 0, rm 5. */
function at(opcode: readonly number[], digit: number, address: number): number[] {
  return [...opcode, digit << 3 | 5, ...word(address)];
}

/**
 * SSE2 and MMX operations on integers, second opcode byte behind 0F: with 66 on xmm registers, without on mm
 * registers (where the list says so).
 */
const PACKED =
  ("60 61 62 63 64 65 66 67 68 69 6a 6b 74 75 76 d1 d2 d3 d4 d5 d8 d9 da db dc dd de df e0 e1 e2 e3 e4 " +
    "e5 e8 e9 ea eb ec ed ee ef f1 f2 f3 f4 f5 f6 f8 f9 fa fb fc fd fe").split(" ").map((h) =>
      parseInt(h, 16)
    );
const PACKED_XMM_ONLY = [0x6c, 0x6d];
/** Shifts by an immediate: opcode and ModRM digit. */
const SHIFTS: readonly (readonly [number, number])[] = [
  [0x71, 2],
  [0x71, 4],
  [0x71, 6],
  [0x72, 2],
  [0x72, 4],
  [0x72, 6],
  [0x73, 2],
  [0x73, 6],
];
/** Floating point: opcode behind 0F and the prefixes it exists with (0 none). */
const FLOAT: readonly (readonly [number, readonly number[]])[] = [
  [0x51, [0, 0x66, 0xf2, 0xf3]],
  [0x54, [0, 0x66]],
  [0x55, [0, 0x66]],
  [0x56, [0, 0x66]],
  [0x57, [0, 0x66]],
  [0x58, [0, 0x66, 0xf2, 0xf3]],
  [0x59, [0, 0x66, 0xf2, 0xf3]],
  [0x5c, [0, 0x66, 0xf2, 0xf3]],
  [0x5d, [0, 0x66, 0xf2, 0xf3]],
  [0x5e, [0, 0x66, 0xf2, 0xf3]],
  [0x5f, [0, 0x66, 0xf2, 0xf3]],
  [0x14, [0, 0x66]],
  [0x15, [0, 0x66]],
  [0x5a, [0, 0x66, 0xf2, 0xf3]],
  [0x5b, [0, 0x66, 0xf3]],
  [0xe6, [0x66, 0xf2, 0xf3]],
  [0x2e, [0, 0x66]],
  [0x2f, [0, 0x66]],
  [0x10, [0xf2, 0xf3]],
  [0x28, [0, 0x66]],
  [0x12, [0]],
  [0x16, [0]],
];
/** With an immediate byte: compare, shuffles. */
const WITH_BYTE: readonly (readonly [number, readonly number[]])[] = [
  [0xc2, [0, 0x66, 0xf2, 0xf3]],
  [0xc6, [0, 0x66]],
  [0x70, [0x66, 0xf2, 0xf3]],
];

const prefixed = (prefix: number, ...rest: number[]) =>
  prefix === 0 ? [0x0f, ...rest] : [prefix, 0x0f, ...rest];

function sse(r: Random): { name: string; steps: number[][] } {
  const load = (register: number, address: number) => at([0x0f, 0x10], register, address);
  const store = (register: number, address: number) => at([0x0f, 0x11], register, address);
  const [x, y] = r.oneIn(8) ? [3, 3] : [r.below(4), 4 + r.below(4)];
  const operand = (...opcode: number[]) => r.oneIn(3) ? at(opcode, x, B) : [...opcode, 0xc0 | x << 3 | y];
  const begin = [at([0x0f, 0xae], 2, CONTROL), load(x, A), load(y, B)];
  const end = [store(x, RESULT), at([0x0f, 0xae], 3, STATUS)];
  let name: string;
  let steps: number[][];
  const which = r.below(8);
  if (which < 3) {
    const opcode = r.oneIn(16) ? r.pick(PACKED_XMM_ONLY) : r.pick(PACKED);
    name = `66 0f ${opcode.toString(16)}`;
    steps = [operand(0x66, 0x0f, opcode)];
  } else if (which === 3) {
    const [opcode, digit] = r.oneIn(5) ? [0x73, r.pick([3, 7])] : r.pick(SHIFTS);
    name = `66 0f ${opcode.toString(16)} /${digit}`;
    steps = [[0x66, 0x0f, opcode, 0xc0 | digit << 3 | x, r.oneIn(4) ? r.below(256) : r.below(40)]];
  } else if (which === 4) {
    const [opcode, prefixes] = r.pick(WITH_BYTE);
    const prefix = r.pick(prefixes);
    name = `${prefix.toString(16)} 0f ${opcode.toString(16)} ib`;
    steps = [[...operand(...prefixed(prefix, opcode)), opcode === 0xc2 ? r.below(8) : r.below(256)]];
  } else if (which === 5) {
    // Between general and vector registers; EAX and ECX are compared as registers.
    const general = r.pick<[string, number[]]>([
      ["movd xmm, r", [0x66, 0x0f, 0x6e, 0xc0 | x << 3 | 1]],
      ["movd r, xmm", [0x66, 0x0f, 0x7e, 0xc0 | x << 3 | 0]],
      ["pextrw", [0x66, 0x0f, 0xc5, 0xc0 | x, r.below(256)]],
      ["pinsrw", [0x66, 0x0f, 0xc4, 0xc0 | x << 3 | 1, r.below(256)]],
      ["pmovmskb", [0x66, 0x0f, 0xd7, 0xc0 | x]],
      ["movmskps", [0x0f, 0x50, 0xc0 | x]],
      ["movmskpd", [0x66, 0x0f, 0x50, 0xc0 | x]],
      ["cvtsi2ss", [0xf3, 0x0f, 0x2a, 0xc0 | x << 3 | 1]],
      ["cvtsi2sd", [0xf2, 0x0f, 0x2a, 0xc0 | x << 3 | 1]],
      ["cvttss2si", [0xf3, 0x0f, 0x2c, 0xc0 | x]],
      ["cvttsd2si", [0xf2, 0x0f, 0x2c, 0xc0 | x]],
      ["cvtss2si", [0xf3, 0x0f, 0x2d, 0xc0 | x]],
      ["cvtsd2si", [0xf2, 0x0f, 0x2d, 0xc0 | x]],
      ["movq xmm", [0xf3, 0x0f, 0x7e, 0xc0 | x << 3 | y]],
      ["movdqa", [0x66, 0x0f, 0x6f, 0xc0 | x << 3 | y]],
      ["movntdq", at([0x66, 0x0f, 0xe7], x, RESULT + 0x10)],
      ["movntps", at([0x0f, 0x2b], x, RESULT + 0x10)],
      ["movntpd", at([0x66, 0x0f, 0x2b], x, RESULT + 0x10)],
      ["movnti", at([0x0f, 0xc3], 1, RESULT + 0x10)],
      ["movlps m", at([0x0f, 0x13], x, RESULT + 0x10)],
      ["movhps m", at([0x0f, 0x17], x, RESULT + 0x10)],
      ["movlpd m", at([0x66, 0x0f, 0x13], x, RESULT + 0x10)],
      ["movhpd m", at([0x66, 0x0f, 0x17], x, RESULT + 0x10)],
      ["movlpd", at([0x66, 0x0f, 0x12], x, B)],
      ["movhpd", at([0x66, 0x0f, 0x16], x, B)],
      ["movaps m", at([0x0f, 0x29], x, RESULT + 0x10)],
      ["movapd m", at([0x66, 0x0f, 0x29], x, RESULT + 0x10)],
      ["movupd", at([0x66, 0x0f, 0x10], x, B + 4)],
      ["movupd m", at([0x66, 0x0f, 0x11], x, RESULT + 0x14)],
      ["movss m", at([0xf3, 0x0f, 0x11], x, RESULT + 0x10)],
      ["movsd m", at([0xf2, 0x0f, 0x11], x, RESULT + 0x10)],
      ["movq m", at([0x66, 0x0f, 0xd6], x, RESULT + 0x10)],
      ["movdqa m", at([0x66, 0x0f, 0x7f], x, RESULT + 0x10)],
      ["movdqu", at([0xf3, 0x0f, 0x6f], x, B + 4)],
      ["movdqu m", at([0xf3, 0x0f, 0x7f], x, RESULT + 0x14)],
      ["lfence", [0x0f, 0xae, 0xe8]],
      ["mfence", [0x0f, 0xae, 0xf0]],
      ["sfence", [0x0f, 0xae, 0xf8]],
    ]);
    name = general[0];
    steps = [general[1]];
  } else {
    const [opcode, prefixes] = r.pick(FLOAT);
    const prefix = r.pick(prefixes);
    name = `${prefix.toString(16)} 0f ${opcode.toString(16)}`;
    steps = [operand(...prefixed(prefix, opcode))];
  }
  return { name, steps: [...begin, ...steps, ...end] };
}

function mmx(r: Random): { name: string; steps: number[][] } {
  const [x, y] = [r.below(4), 4 + r.below(4)];
  const begin = [at([0x0f, 0x6f], x, A), at([0x0f, 0x6f], y, B)];
  const end = [at([0x0f, 0x7f], x, RESULT), [0x0f, 0x77]];
  if (r.oneIn(6)) {
    const [opcode, digit] = r.pick(SHIFTS);
    const step = [0x0f, opcode, 0xc0 | digit << 3 | x, r.oneIn(4) ? r.below(256) : r.below(40)];
    return { name: `0f ${opcode.toString(16)} /${digit}`, steps: [...begin, step, ...end] };
  }
  if (r.oneIn(4)) {
    // Between register files; EAX and ECX are compared as registers, memory behind the result too.
    const [name, ...step] = r.pick<[string, ...number[]]>([
      ["movd mm, r", 0x0f, 0x6e, 0xc0 | x << 3 | 1],
      ["movd r, mm", 0x0f, 0x7e, 0xc0 | x << 3],
      ["movntq", ...at([0x0f, 0xe7], x, RESULT + 0x10)],
      ["pshufw", 0x0f, 0x70, 0xc0 | x << 3 | y, r.below(256)],
      ["pinsrw mm", 0x0f, 0xc4, 0xc0 | x << 3 | 1, r.below(256)],
      ["pextrw mm", 0x0f, 0xc5, 0xc0 | x, r.below(256)],
      ["pmovmskb mm", 0x0f, 0xd7, 0xc0 | x],
      ["cvtpi2ps", 0x0f, 0x2a, 0xc0 | 2 << 3 | x],
      ["cvtpi2pd", 0x66, 0x0f, 0x2a, 0xc0 | 2 << 3 | x],
      ["cvttps2pi", ...at([0x0f, 0x2c], x, B)],
      ["cvtps2pi", ...at([0x0f, 0x2d], x, B)],
      ["cvttpd2pi", ...at([0x66, 0x0f, 0x2c], x, A)],
      ["cvtpd2pi", ...at([0x66, 0x0f, 0x2d], x, A)],
      ["movdq2q", 0xf2, 0x0f, 0xd6, 0xc0 | x << 3 | 2],
      ["movq2dq", 0xf3, 0x0f, 0xd6, 0xc0 | 2 << 3 | x],
    ]);
    const before = [at([0x0f, 0xae], 2, CONTROL), at([0x0f, 0x10], 2, A)];
    const after = [at([0x0f, 0x11], 2, RESULT + 0x20), at([0x0f, 0xae], 3, STATUS)];
    return { name, steps: [...before, ...begin, step, ...after, ...end] };
  }
  const opcode = r.pick(PACKED);
  const step = r.oneIn(3) ? at([0x0f, opcode], x, B) : [0x0f, opcode, 0xc0 | x << 3 | y];
  return { name: `0f ${opcode.toString(16)}`, steps: [...begin, step, ...end] };
}

/** x87 operations with two operands on the stack (ST(0) = B, ST(1) = A), by name and bytes. */
const X87: readonly (readonly [string, readonly number[]])[] = [
  ...["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"].flatMap((name, digit) =>
    [
      [`${name} st,st1`, [0xd8, 0xc1 | digit << 3]],
      ...(digit === 2 || digit === 3 ? [] : [
        [`${name} st1,st`, [0xdc, 0xc1 | digit << 3]],
        [`${name}p st1,st`, [0xde, 0xc1 | digit << 3]],
      ] as const),
      [`${name} m32`, at([0xd8], digit, A)],
      [`${name} m64`, at([0xdc], digit, A)],
      [`${name} i32`, at([0xda], digit, A)],
      [`${name} i16`, at([0xde], digit, A)],
    ] as (readonly [string, readonly number[]])[]
  ),
  ["fchs", [0xd9, 0xe0]],
  ["fabs", [0xd9, 0xe1]],
  ["ftst", [0xd9, 0xe4]],
  ["fxam", [0xd9, 0xe5]],
  ["fsqrt", [0xd9, 0xfa]],
  ["frndint", [0xd9, 0xfc]],
  ["fxch", [0xd9, 0xc9]],
  ["fld st1", [0xd9, 0xc1]],
  ["fst st1", [0xdd, 0xd1]],
  ["fcomi", [0xdb, 0xf1]],
  ["fucomi", [0xdb, 0xe9]],
  ["fcomip", [0xdf, 0xf1]],
  ["fucomip", [0xdf, 0xe9]],
  ["fucom", [0xdd, 0xe1]],
  ["fucomp", [0xdd, 0xe9]],
  ["fucompp", [0xda, 0xe9]],
  ["fcompp", [0xde, 0xd9]],
  ["fcmovb", [0xda, 0xc1]],
  ["fcmove", [0xda, 0xc9]],
  ["fcmovbe", [0xda, 0xd1]],
  ["fcmovu", [0xda, 0xd9]],
  ["fcmovnb", [0xdb, 0xc1]],
  ["fcmovne", [0xdb, 0xc9]],
  ["fcmovnbe", [0xdb, 0xd1]],
  ["fcmovnu", [0xdb, 0xd9]],
  ...["fld1", "fldl2t", "fldl2e", "fldpi", "fldlg2", "fldln2", "fldz"].map((name, i) =>
    [name, [0xd9, 0xe8 + i]] as const
  ),
  ["fxtract", [0xd9, 0xf4]],
  ["fld i16", at([0xdf], 0, A)],
  ["fist m16", at([0xdf], 2, RESULT + 0x20)],
  ["fnstcw", at([0xd9], 7, RESULT + 0x20)],
  ["fnop", [0xd9, 0xd0]],
  ["fnclex", [0xdb, 0xe2]],
  ["fstp m32", at([0xd9], 3, RESULT + 0x20)],
  ["fst m32", at([0xd9], 2, RESULT + 0x20)],
  ["fstp m64", at([0xdd], 3, RESULT + 0x20)],
  ["fst m64", at([0xdd], 2, RESULT + 0x20)],
  ["fistp m16", at([0xdf], 3, RESULT + 0x20)],
  ["fistp m32", at([0xdb], 3, RESULT + 0x20)],
  ["fistp m64", at([0xdf], 7, RESULT + 0x20)],
  ["fist m32", at([0xdb], 2, RESULT + 0x20)],
  ["fnstsw ax", [0xdf, 0xe0]],
  ["fprem", [0xd9, 0xf8]],
  ["fprem1", [0xd9, 0xf5]],
  ["fscale", [0xd9, 0xfd]],
  ["fld m80", at([0xdb], 5, B)],
  ["fstp m80", at([0xdb], 7, RESULT + 0x20)],
];

/** Loads: m64, m32, 32-bit and 64-bit integer. */
const LOADS: readonly (readonly [number, number])[] = [[0xdd, 0], [0xdd, 0], [0xd9, 0], [0xdb, 0], [0xdf, 5]];

function x87(r: Random): { name: string; steps: number[][] } {
  const [name, bytes] = r.pick(X87);
  const load = (address: number) => {
    const [opcode, digit] = r.pick(LOADS);
    return at([opcode], digit, address);
  };
  const steps = [[0xdb, 0xe3], at([0xd9], 5, CONTROL), load(A), load(B), [...bytes]];
  steps.push(at([0xdd], 7, STATUS)); // fnstsw
  // What is on the stack now, not more: Unicorn does not model an empty register.
  const [operation] = name.split(" ");
  let depth = 2 + (/^(fld|fxtract)/.test(operation) ? 1 : 0) -
    (/pp$/.test(operation) ? 2 : /p$/.test(operation) ? 1 : 0);
  for (let n = 0; depth > 0; depth--, n++) steps.push(at([0xdd], 3, RESULT + 8 * n)); // fstp m64
  steps.push(at([0xdd], 7, STATUS + 4)); // fnstsw
  return { name, steps };
}

/** Makes a sequence of one of the three kinds. */
export function makeSequence(kind: Sequence["kind"], r: Random): Sequence {
  const { name, steps } = kind === "sse" ? sse(r) : kind === "mmx" ? mmx(r) : x87(r);
  return {
    kind,
    name,
    length: steps.length,
    bytes: new Uint8Array(steps.flat()),
    address: Layout.code + 0x1000 + 0x80 * r.below(0x20),
    bits: 32,
    row: { name, opcode: [], operands: ["-"], extension: -1, lock: false },
    repeated: false,
    count: -1,
    register: -1,
    target: -1,
  };
}

const DOUBLES = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  3,
  10,
  0.1,
  1e10,
  -1e10,
  2147483647,
  -2147483648,
  2147483648,
  4294967296,
  32767.5,
  -32768.5,
  1e300,
  1e-300,
  Infinity,
  -Infinity,
  NaN,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  2.2250738585072014e-308,
];

/** Fills registers and operands for a sequence. */
export function prepareSequence(sequence: Sequence, r: Random, state: State, poke: Poke): void {
  for (let i = 0; i < 8; i++) state[i] = r.value();
  state[4] = Layout.data + 0x1000;
  state[8] = sequence.address;
  state[9] = (r.word() & 0x8d5) | 2;
  const scratch = new DataView(new ArrayBuffer(16));
  for (const address of [A, B]) {
    switch (r.below(3)) {
      case 0:
        for (let i = 0; i < 16; i += 8) {
          scratch.setFloat64(i, r.oneIn(4) ? (r.word() | 0) / 1024 : r.pick(DOUBLES), true);
        }
        break;
      case 1:
        for (let i = 0; i < 16; i += 4) {
          scratch.setFloat32(i, r.oneIn(4) ? (r.word() | 0) / 1024 : r.pick(DOUBLES), true);
        }
        break;
      default:
        for (let i = 0; i < 16; i += 4) scratch.setUint32(i, r.value(), true);
    }
    for (let i = 0; i < 16; i += 4) poke(address + i, scratch.getUint32(i, true));
  }
  if (sequence.kind !== "x87") poke(CONTROL, 0x1f80);
  // Masked exceptions; mostly 53 bits of precision, as Windows sets it, and round to nearest.
  if (sequence.kind === "x87") {
    poke(CONTROL, r.pick([0x027f, 0x027f, 0x037f, 0x007f]) | (r.oneIn(4) ? r.below(4) << 10 : 0));
  }
}
