// SPDX-License-Identifier: Apache-2.0
/**
 * Generated x87 sequences. For Unicorn two operands are loaded and what is on the stack is stored as doubles; for
 * a processor the stack may be empty or full, exceptions may be unmasked, and FNSAVE stores all of it.
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
  STORE,
} from "./vector_layout.ts";

/** Operations with two operands on the stack (ST(0) = B, ST(1) = A), by name and bytes. */
const COMMON: readonly Named[] = [
  ...["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"].flatMap((name, digit): Named[] => [
    [`${name} st,st1`, [0xd8, 0xc1 | digit << 3]],
    ...(digit === 2 || digit === 3 ? [] : [
      [`${name} st1,st`, [0xdc, 0xc1 | digit << 3]],
      [`${name}p st1,st`, [0xde, 0xc1 | digit << 3]],
    ] as Named[]),
    [`${name} m32`, at([0xd8], digit, A)],
    [`${name} m64`, at([0xdc], digit, A)],
    [`${name} i32`, at([0xda], digit, A)],
    [`${name} i16`, at([0xde], digit, A)],
  ]),
  ["fchs", [0xd9, 0xe0]],
  ["fabs", [0xd9, 0xe1]],
  ["ftst", [0xd9, 0xe4]],
  ["fxam", [0xd9, 0xe5]],
  ["fsqrt", [0xd9, 0xfa]],
  ["frndint", [0xd9, 0xfc]],
  ["fxch", [0xd9, 0xc9]],
  ["fld st1", [0xd9, 0xc1]],
  ["fst st1", [0xdd, 0xd1]],
  ["fstp st1", [0xdd, 0xd9]],
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
  ...["fld1", "fldl2t", "fldl2e", "fldpi", "fldlg2", "fldln2", "fldz"].map((name, i): Named => [
    name,
    [0xd9, 0xe8 + i],
  ]),
  ["fxtract", [0xd9, 0xf4]],
  ["fld i16", at([0xdf], 0, A)],
  ["fist m16", at([0xdf], 2, STORE)],
  ["fnstcw", at([0xd9], 7, STORE)],
  ["fnop", [0xd9, 0xd0]],
  ["fnclex", [0xdb, 0xe2]],
  ["fstp m32", at([0xd9], 3, STORE)],
  ["fst m32", at([0xd9], 2, STORE)],
  ["fstp m64", at([0xdd], 3, STORE)],
  ["fst m64", at([0xdd], 2, STORE)],
  ["fistp m16", at([0xdf], 3, STORE)],
  ["fistp m32", at([0xdb], 3, STORE)],
  ["fistp m64", at([0xdf], 7, STORE)],
  ["fist m32", at([0xdb], 2, STORE)],
  ["fnstsw ax", [0xdf, 0xe0]],
  ["fprem", [0xd9, 0xf8]],
  ["fprem1", [0xd9, 0xf5]],
  ["fscale", [0xd9, 0xfd]],
  ["fld m80", at([0xdb], 5, B)],
  ["fstp m80", at([0xdb], 7, STORE)],
];

/** Whose results processors need only approximate (SDM volume 1, 8.3.10), less than one unit off. */
export const TRANSCENDENTAL: ReadonlyMap<string, readonly number[]> = new Map([
  ["f2xm1", [0xd9, 0xf0]],
  ["fyl2x", [0xd9, 0xf1]],
  ["fptan", [0xd9, 0xf2]],
  ["fpatan", [0xd9, 0xf3]],
  ["fyl2xp1", [0xd9, 0xf9]],
  ["fsincos", [0xd9, 0xfb]],
  ["fsin", [0xd9, 0xfe]],
  ["fcos", [0xd9, 0xff]],
]);

/** What only a processor is asked. */
const HOST_ONLY: readonly Named[] = [
  ...TRANSCENDENTAL,
  ["fbld", at([0xdf], 4, A)],
  ["fbstp", at([0xdf], 6, STORE)],
  ["fisttp m16", at([0xdf], 1, STORE)],
  ["fisttp m32", at([0xdb], 1, STORE)],
  ["fisttp m64", at([0xdd], 1, STORE)],
  ["fdecstp", [0xd9, 0xf6]],
  ["fincstp", [0xd9, 0xf7]],
  ["ffree", [0xdd, 0xc1]],
  ["ffreep", [0xdf, 0xc1]],
  ["fneni", [0xdb, 0xe0]],
  ["fndisi", [0xdb, 0xe1]],
  ["fnsetpm", [0xdb, 0xe4]],
  ["fnstsw", at([0xdd], 7, STORE)],
  ["fnstenv", at([0xd9], 6, RESULT)],
  ["fldenv", at([0xd9], 4, A)],
  ["fldenv 16", at([0x66, 0xd9], 4, A)],
  ["frstor", at([0xdd], 4, RESULT)],
  // Encodings that repeat others.
  ["fstp1", [0xd9, 0xd9]],
  ["fcom2", [0xdc, 0xd1]],
  ["fcomp3", [0xdc, 0xd9]],
  ["fxch4", [0xdd, 0xc9]],
  ["fcomp5", [0xde, 0xd1]],
  ["fxch7", [0xdf, 0xc9]],
  ["fstp8", [0xdf, 0xd1]],
  ["fstp9", [0xdf, 0xd9]],
];

/** Loads: m64, m32, 32-bit and 64-bit integer, m80. */
const LOADS: readonly (readonly [number, number])[] = [
  [0xdd, 0],
  [0xdd, 0],
  [0xd9, 0],
  [0xdb, 0],
  [0xdf, 5],
  [0xdb, 5],
  [0xdb, 5],
];

const FNINIT = [0xdb, 0xe3], FNCLEX = [0xdb, 0xe2];
/** All registers zero and empty: FNINIT leaves what is in them. */
const CLEAR = [FNINIT, ...new Array<readonly number[]>(8).fill([0xd9, 0xee]), FNINIT];
/** Whose argument must be small, or nothing is promised. */
const SMALL = /^(f2xm1|fyl2xp1)$/;
const fldcw = at([0xd9], 5, CONTROL);
const fnstsw = (address: number) => at([0xdd], 7, address);

/** Makes a sequence: its name and its instructions. */
export function x87(r: Random, oracle: Oracle): { name: string; steps: (readonly number[])[] } {
  const host = oracle === "host";
  const load = (address: number) => {
    const [opcode, digit] = LOADS[r.below(host ? LOADS.length : 5)];
    return at([opcode], digit, address);
  };
  if (host) {
    const [name, bytes] = r.pick(r.oneIn(3) ? HOST_ONLY : COMMON);
    const depth = r.oneIn(8) ? (SMALL.test(name) ? 1 + r.below(7) : r.below(9)) : 2;
    const loads = Array.from({ length: depth }, (_, i) => load(i === depth - 1 ? B : A));
    if (SMALL.test(name)) loads[depth - 1] = at([0xdb], 5, B);
    // Exceptions may be unmasked: nothing that waits comes behind the operation.
    return { name, steps: [...CLEAR, ...loads, FNCLEX, fldcw, bytes, fnstsw(STATUS), ...saveState] };
  }
  const [name, bytes] = r.pick(COMMON);
  const steps = [FNINIT, fldcw, load(A), load(B), bytes, fnstsw(STATUS)];
  // What is on the stack now, not more: Unicorn does not model an empty register.
  const [operation] = name.split(" ");
  let depth = 2 + (/^(fld|fxtract)/.test(operation) ? 1 : 0) -
    (/pp$/.test(operation) ? 2 : /p$/.test(operation) ? 1 : 0);
  for (let n = 0; depth > 0; depth--, n++) steps.push(at([0xdd], 3, RESULT + 8 * n)); // fstp m64
  steps.push(fnstsw(STATUS + 4));
  return { name, steps };
}
