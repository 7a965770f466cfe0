// SPDX-License-Identifier: Apache-2.0
/**
 * Generated MMX and SSE sequences: load operands from memory, one operation, store the results.
 *
 * @module
 */
import type { Random } from "./random.ts";
import {
  A,
  at,
  B,
  CONTROL,
  type Named,
  type Oracle,
  RESULT,
  saveState,
  STATUS,
  storeWord,
} from "./vector_layout.ts";

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

/** SSE3 and SSSE3. */
const SSE3: readonly Named[] = [
  ["movsldup", [0xf3, 0x0f, 0x12]],
  ["movshdup", [0xf3, 0x0f, 0x16]],
  ["movddup", [0xf2, 0x0f, 0x12]],
  ["lddqu", [0xf2, 0x0f, 0xf0]],
  ["addsubpd", [0x66, 0x0f, 0xd0]],
  ["addsubps", [0xf2, 0x0f, 0xd0]],
  ["haddpd", [0x66, 0x0f, 0x7c]],
  ["haddps", [0xf2, 0x0f, 0x7c]],
  ["hsubpd", [0x66, 0x0f, 0x7d]],
  ["hsubps", [0xf2, 0x0f, 0x7d]],
  ...ssse3().map(([name, bytes]): Named => [name, [0x66, ...bytes]]),
];

/** SSSE3 on mm registers; with 66 on xmm registers. */
function ssse3(): Named[] {
  return [
    ..."pshufb phaddw phaddd phaddsw pmaddubsw phsubw phsubd phsubsw psignb psignw psignd pmulhrsw".split(" ")
      .map((name, i): Named => [name, [0x0f, 0x38, i]]),
    ["pabsb", [0x0f, 0x38, 0x1c]],
    ["pabsw", [0x0f, 0x38, 0x1d]],
    ["pabsd", [0x0f, 0x38, 0x1e]],
    ["palignr", [0x0f, 0x3a, 0x0f]],
  ];
}
const SSSE3 = ssse3();

/** Approximations, good to 12 bits (SDM volume 2, RCPPS); the bits behind are the processor's own. */
export const APPROXIMATE: readonly Named[] = [
  ["rcpps", [0x0f, 0x53]],
  ["rcpss", [0xf3, 0x0f, 0x53]],
  ["rsqrtps", [0x0f, 0x52]],
  ["rsqrtss", [0xf3, 0x0f, 0x52]],
];

/** Puts a byte behind the first one. */
const after = (bytes: readonly number[], byte: number) => [bytes[0], byte, ...bytes.slice(1)];

const prefixed = (prefix: number, ...rest: number[]) =>
  prefix === 0 ? [0x0f, ...rest] : [prefix, 0x0f, ...rest];

/** A sequence: its name and its instructions. */
interface Made {
  readonly name: string;
  readonly steps: (readonly number[])[];
}

/** Makes an SSE sequence. */
export function sse(r: Random, oracle: Oracle): Made {
  const load = (register: number, address: number) => at([0x0f, 0x10], register, address);
  const store = (register: number, address: number) => at([0x0f, 0x11], register, address);
  const host = oracle === "host";
  const [x, y] = r.oneIn(8) ? [3, 3] : [r.below(4), 4 + r.below(4)];
  const operand = (...opcode: number[]) => r.oneIn(3) ? at(opcode, x, B) : [...opcode, 0xc0 | x << 3 | y];
  const begin = [at([0x0f, 0xae], 2, CONTROL), load(x, A), load(y, B)];
  const end = [store(x, RESULT), at([0x0f, 0xae], 3, STATUS)];
  let name: string;
  let steps: (readonly number[])[];
  const which = r.below(host ? 11 : 8);
  if (which === 10) {
    const [instruction, bytes] = r.pick(APPROXIMATE);
    name = instruction;
    steps = [operand(...bytes)];
  } else if (which > 7) {
    const [instruction, bytes] = r.pick(SSE3);
    name = instruction;
    const immediate = instruction === "palignr" ? [r.below(40)] : [];
    steps = [[...(instruction === "lddqu" ? at(bytes, x, B + 4) : operand(...bytes)), ...immediate]];
  } else if (which < 3) {
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
      ["maskmovdqu", [0x66, 0x0f, 0xf7, 0xc0 | x << 3 | y]],
    ]);
    name = general[0];
    steps = [general[1]];
  } else {
    const [opcode, prefixes] = r.pick(FLOAT);
    const prefix = r.pick(prefixes);
    name = `${prefix.toString(16)} 0f ${opcode.toString(16)}`;
    steps = [operand(...prefixed(prefix, opcode))];
    // F2 and F3 come before 66 wherever it stands; Unicorn sees the 66.
    if (host && prefix > 0x66 && r.oneIn(8)) {
      steps = [r.oneIn(2) ? [0x66, ...steps[0]] : after(steps[0], 0x66)];
    }
  }
  return { name, steps: [...begin, ...steps, ...end] };
}

/** Makes an MMX sequence. */
export function mmx(r: Random, oracle: Oracle): Made {
  const [x, y] = [r.below(4), 4 + r.below(4)];
  const begin = [at([0x0f, 0x6f], x, A), at([0x0f, 0x6f], y, B)];
  const host = oracle === "host";
  const end = host && r.oneIn(2) ? saveState : [at([0x0f, 0x7f], x, RESULT), [0x0f, 0x77]];
  if (host && r.oneIn(4)) {
    const [name, bytes] = r.pick(SSSE3);
    const step = [
      ...(r.oneIn(3) ? at(bytes, x, B) : [...bytes, 0xc0 | x << 3 | y]),
      ...(name === "palignr" ? [r.below(20)] : []),
    ];
    return { name: `${name} mm`, steps: [...begin, step, ...end] };
  }
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
      ["maskmovq", 0x0f, 0xf7, 0xc0 | x << 3 | y],
    ]);
    const before = [at([0x0f, 0xae], 2, CONTROL), at([0x0f, 0x10], 2, A)];
    const store = [at([0x0f, 0x11], 2, A), at([0x0f, 0xae], 3, STATUS)];
    return { name, steps: [...before, ...begin, step, ...store, ...end] };
  }
  const opcode = r.pick(PACKED);
  const step = r.oneIn(3) ? at([0x0f, opcode], x, B) : [0x0f, opcode, 0xc0 | x << 3 | y];
  return { name: `0f ${opcode.toString(16)}`, steps: [...begin, step, ...end] };
}

/** Makes a sequence that loads the whole state and stores it again, without what processors treat differently. */
export function fxsave(_r: Random, _oracle: Oracle): Made {
  const image = (digit: number) => at([0x0f, 0xae], digit, RESULT);
  return {
    name: "fxrstor, fxsave",
    steps: [
      image(1),
      image(0),
      // Opcode and pointers to the last instruction, and the mask of MXCSR.
      [0x66, ...at([0xc7], 0, RESULT + 6), 0, 0],
      ...[8, 12, 16, 20, 28].map((offset) => storeWord(RESULT + offset, 0)),
      [0xdb, 0xe3], // fninit
    ],
  };
}
