// SPDX-License-Identifier: Apache-2.0
/**
 * x87 (SDM volume 1, chapter 8; opcode map in volume 2, A.5). Helpers read opcode and ModRM where one function
 * serves several rows. Every processor also runs some encodings that the map leaves out and that repeat others.
 *
 * @module
 */
import type { RowSource } from "../row.ts";

const ARITHMETIC = ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"];
const CONSTANTS = ["fld1", "fldl2t", "fldl2e", "fldpi", "fldlg2", "fldln2", "fldz"];
const MOVES = ["b", "e", "be", "u"];

/** Every ST(i) is an operand of the register forms; the helper takes it from ModRM. */
export const floatRows: RowSource[] = [
  ...ARITHMETIC.flatMap((name, digit): RowSource[] => {
    const compares = digit === 2 || digit === 3;
    const helper = compares ? "fcom" : "farith";
    // With ST(i) as destination the encodings of the reversed forms are exchanged.
    const other = ARITHMETIC[digit < 4 ? digit : digit ^ 1];
    const popping: RowSource[] = compares ? [] : [[`de /${digit}r`, `${other}p`, "", helper]];
    return [
      [`d8 /${digit}r`, name, "", helper],
      [`d8 /${digit}`, name, "Md", helper],
      [`dc /${digit}r`, other, "", helper],
      [`dc /${digit}`, name, "Mq", helper],
      [`da /${digit}`, `fi${name.slice(1)}`, "Md", helper],
      [`de /${digit}`, `fi${name.slice(1)}`, "Mw", helper],
      ...popping,
    ];
  }),
  ["de d9", "fcompp", "", "fcompp"],
  ["da e9", "fucompp", "", "fcompp"],
  ["d9 /0r", "fld", "", "fld"],
  ["d9 /0", "fld", "Md", "fld"],
  ["dd /0", "fld", "Mq", "fld"],
  ["db /5", "fld", "M", "fld"],
  ["db /0", "fild", "Md", "fild"],
  ["df /0", "fild", "Mw", "fild"],
  ["df /5", "fild", "Mq", "fild"],
  ["d9 /2", "fst", "Md", "fst"],
  ["d9 /3", "fstp", "Md", "fst"],
  ["dd /2", "fst", "Mq", "fst"],
  ["dd /3", "fstp", "Mq", "fst"],
  ["db /7", "fstp", "M", "fst"],
  ["dd /2r", "fst", "", "fst"],
  ["dd /3r", "fstp", "", "fst"],
  ["db /2", "fist", "Md", "fist"],
  ["db /3", "fistp", "Md", "fist"],
  ["df /2", "fist", "Mw", "fist"],
  ["df /3", "fistp", "Mw", "fist"],
  ["df /7", "fistp", "Mq", "fist"],
  ["d9 /1r", "fxch", "", "fxch"],
  ...CONSTANTS.map((name, i): RowSource => [`d9 ${(0xe8 + i).toString(16)}`, name, "", "fconst"]),
  ["d9 e0", "fchs", "", "fsign"],
  ["d9 e1", "fabs", "", "fsign"],
  ["d9 f0", "f2xm1", "", "f2xm1"],
  ["d9 f1", "fyl2x", "", "fyl2x"],
  ["d9 f2", "fptan", "", "fptan"],
  ["d9 f3", "fpatan", "", "fpatan"],
  ["d9 f9", "fyl2xp1", "", "fyl2xp1"],
  ["d9 fb", "fsincos", "", "fsincos"],
  ["d9 fe", "fsin", "", "fsin"],
  ["d9 ff", "fcos", "", "fcos"],
  ["df /4", "fbld", "M", "fbld"],
  ["df /6", "fbstp", "M", "fbstp"],
  ["df /1", "fisttp", "Mw", "fist"],
  ["db /1", "fisttp", "Md", "fist"],
  ["dd /1", "fisttp", "Mq", "fist"],
  ["d9 /3r", "fstpnce", "", "fstpnce"],
  ["dd /1r", "fxch", "", "fxch"],
  ["de /2r", "fcomp", "", "fcom"],
  ["df /0r", "ffreep", "", "ffree"],
  ["df /1r", "fxch", "", "fxch"],
  ["df /2r", "fstp", "", "fst"],
  ["df /3r", "fstp", "", "fst"],
  ["d9 e4", "ftst", "", "ftst"],
  ["d9 e5", "fxam", "", "fxam"],
  ["d9 f4", "fxtract", "", "fxtract"],
  ["d9 f5", "fprem1", "", "fprem"],
  ["d9 f6", "fdecstp", "", "fturn"],
  ["d9 f7", "fincstp", "", "fturn"],
  ["d9 f8", "fprem", "", "fprem"],
  ["d9 fa", "fsqrt", "", "fsqrt"],
  ["d9 fc", "frndint", "", "frndint"],
  ["d9 fd", "fscale", "", "fscale"],
  ...MOVES.flatMap((name, digit): RowSource[] => [
    [`da /${digit}r`, `fcmov${name}`, "", "fcmov"],
    [`db /${digit}r`, `fcmovn${name}`, "", "fcmov"],
  ]),
  ["db /5r", "fucomi", "", "fcomi"],
  ["db /6r", "fcomi", "", "fcomi"],
  ["df /5r", "fucomip", "", "fcomi"],
  ["df /6r", "fcomip", "", "fcomi"],
  ["dd /4r", "fucom", "", "fcom"],
  ["dd /5r", "fucomp", "", "fcom"],
  ["dd /0r", "ffree", "", "ffree"],
  ["d9 /4", "fldenv", "M", "fldenv"],
  ["d9 /5", "fldcw", "Mw", "fldcw"],
  ["d9 /6", "fnstenv", "M", "fnstenv"],
  ["d9 /7", "fnstcw", "Mw", "fnstcw"],
  ["dd /4", "frstor", "M", "frstor"],
  ["dd /6", "fnsave", "M", "fnsave"],
  ["dd /7", "fnstsw", "Mw", "fnstsw"],
  ["df e0", "fnstsw", "", "fnstsw"],
  ["d9 d0", "fnop", "", "fnop"],
  ["db e0", "fneni", "", "fignore"],
  ["db e1", "fndisi", "", "fignore"],
  ["db e2", "fnclex", "", "fnclex"],
  ["db e3", "fninit", "", "fninit"],
  ["db e4", "fnsetpm", "", "fignore"],
];
