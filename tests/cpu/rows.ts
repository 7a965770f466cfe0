// SPDX-License-Identifier: Apache-2.0
/**
 * The integer instructions that generated tests try, with what SDM volume 2 leaves undefined in each.
 *
 * A row is `name opcode operands`. Operands are written as in the SDM's opcode map (appendix A.2): `E` ModRM
 * register or memory, `G` ModRM register, `M` ModRM memory only, `R` register in the opcode's low three bits,
 * `I` immediate, `J` branch displacement, `O` absolute address; sizes `b` 1 byte, `w` 2, `v`/`z` operand size;
 * `/n` the ModRM opcode extension. `lock`: LOCK is allowed with a memory destination.
 *
 * @module
 */

/** Flag bits of EFLAGS. */
export const Flag = { cf: 1, pf: 4, af: 0x10, zf: 0x40, sf: 0x80, df: 0x400, of: 0x800 } as const;
const { cf, pf, af, zf, sf, of } = Flag;

/** One row of the table, parsed. */
export interface Row {
  readonly name: string;
  readonly opcode: readonly number[];
  readonly operands: readonly string[];
  /** ModRM opcode extension, -1 if ModRM.reg is a register or there is no ModRM. */
  readonly extension: number;
  readonly lock: boolean;
}

/** Flags that the SDM leaves undefined whatever the operands. */
export const undefinedFlags: Readonly<Record<string, number>> = {
  and: af,
  or: af,
  xor: af,
  test: af,
  mul: sf | zf | af | pf,
  imul: sf | zf | af | pf,
  div: cf | of | sf | zf | af | pf,
  idiv: cf | of | sf | zf | af | pf,
  bt: of | sf | af | pf,
  bts: of | sf | af | pf,
  btr: of | sf | af | pf,
  btc: of | sf | af | pf,
  bsf: cf | of | sf | af | pf,
  bsr: cf | of | sf | af | pf,
  daa: of,
  das: of,
  aaa: of | sf | zf | pf,
  aas: of | sf | zf | pf,
  aam: of | af | cf,
  aad: of | af | cf,
};

/** Shifts and rotates, whose undefined flags depend on the count. */
export const shiftNames = ["rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"];

/** Flags undefined after a shift by `count` (already masked to five bits) of an operand of `bits` bits. */
export function undefinedAfterShift(name: string, count: number, bits: number): number {
  if (count === 0) return 0;
  let mask = count === 1 ? 0 : of;
  if (!name.startsWith("r")) mask |= af;
  if (count >= bits && name !== "sar" && !name.startsWith("r")) mask |= cf;
  return mask;
}

const conditions = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"];

function* text(): Generator<string> {
  for (const [i, name] of ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"].entries()) {
    const op = (n: number) => (i * 8 + n).toString(16).padStart(2, "0");
    const lock = name === "cmp" ? "" : " lock";
    yield `${name} ${op(0)} Eb Gb${lock}`;
    yield `${name} ${op(1)} Ev Gv${lock}`;
    yield `${name} ${op(2)} Gb Eb`;
    yield `${name} ${op(3)} Gv Ev`;
    yield `${name} ${op(4)} Ib`;
    yield `${name} ${op(5)} Iz`;
    yield `${name} 80 Eb Ib /${i}${lock}`;
    yield `${name} 81 Ev Iz /${i}${lock}`;
    yield `${name} 82 Eb Ib /${i}`;
    yield `${name} 83 Ev Ib /${i}${lock}`;
  }
  for (const [i, name] of shiftNames.entries()) {
    yield `${name} c0 Eb Ib /${i}`;
    yield `${name} c1 Ev Ib /${i}`;
    yield `${name} d0 Eb /${i}`;
    yield `${name} d1 Ev /${i}`;
    yield `${name} d2 Eb /${i}`;
    yield `${name} d3 Ev /${i}`;
  }
  for (const [i, cc] of conditions.entries()) {
    const digit = i.toString(16);
    yield `j${cc} 7${digit} Jb`;
    yield `j${cc} 0f8${digit} Jz`;
    yield `set${cc} 0f9${digit} Eb`;
    yield `cmov${cc} 0f4${digit} Gv Ev`;
  }
  for (const [i, name] of ["bt", "bts", "btr", "btc"].entries()) {
    const lock = i === 0 ? "" : " lock";
    yield `${name} 0f${(0xa3 + i * 8).toString(16)} Ev Gv${lock}`;
    yield `${name} 0fba Ev Ib /${i + 4}${lock}`;
  }
  yield* `
    test 84 Eb Gb|test 85 Ev Gv|test a8 Ib|test a9 Iz|test f6 Eb Ib /0|test f7 Ev Iz /0|test f6 Eb Ib /1
    test f7 Ev Iz /1
    inc 40 Rv|dec 48 Rv|inc fe Eb /0 lock|dec fe Eb /1 lock|inc ff Ev /0 lock|dec ff Ev /1 lock
    not f6 Eb /2 lock|not f7 Ev /2 lock|neg f6 Eb /3 lock|neg f7 Ev /3 lock
    mul f6 Eb /4|mul f7 Ev /4|imul f6 Eb /5|imul f7 Ev /5|imul 0faf Gv Ev|imul 69 Gv Ev Iz|imul 6b Gv Ev Ib
    div f6 Eb /6|div f7 Ev /6|idiv f6 Eb /7|idiv f7 Ev /7
    shld 0fa4 Ev Gv Ib|shld 0fa5 Ev Gv|shrd 0fac Ev Gv Ib|shrd 0fad Ev Gv
    bsf 0fbc Gv Ev|bsr 0fbd Gv Ev|bswap 0fc8 Rd
    mov 88 Eb Gb|mov 89 Ev Gv|mov 8a Gb Eb|mov 8b Gv Ev|mov c6 Eb Ib /0|mov c7 Ev Iz /0
    mov b0 Rb Ib|mov b8 Rv Iz|mov a0 Ob|mov a1 Ov|mov a2 Ob|mov a3 Ov
    movzx 0fb6 Gv Eb|movzx 0fb7 Gv Ew|movsx 0fbe Gv Eb|movsx 0fbf Gv Ew
    lea 8d Gv M|xchg 86 Eb Gb lock|xchg 87 Ev Gv lock|xchg 90 Rv
    xadd 0fc0 Eb Gb lock|xadd 0fc1 Ev Gv lock|cmpxchg 0fb0 Eb Gb lock|cmpxchg 0fb1 Ev Gv lock
    cmpxchg8b 0fc7 M /1 lock
    jecxz e3 Jb|loopne e0 Jb|loope e1 Jb|loop e2 Jb|jmp eb Jb|jmp e9 Jz|call e8 Jz
    ret c3|ret c2 Iw|jmp ff Ev /4|call ff Ev /2
    push 50 Rv|pop 58 Rv|push 68 Iz|push 6a Ib|push ff Ev /6|pop 8f Ev /0|pusha 60|popa 61|pushf 9c|popf 9d
    enter c8 Iw Ib|leave c9|lahf 9f|sahf 9e|cbw 98|cwd 99
    daa 27|das 2f|aaa 37|aas 3f|aam d4 Ib|aad d5 Ib|xlat d7|salc d6
    clc f8|stc f9|cmc f5|cld fc|std fd|nop 90|nop 0f1f Ev /0|nop 0f0d Mv /1|nop 0f18 Mv /1|nop 0f19 Ev /0|nop 0f1a Ev /0
    nop 0f1b Ev /0|nop 0f1c Ev /0|nop 0f1d Ev /0|nop 0f1e Ev /0|int3 cc|into ce|ud2 0f0b|ud1 0fb9 Gv Ev|bound 62 Gv M|fwait 9b
    movs a4|movs a5|cmps a6|cmps a7|stos aa|stos ab|lods ac|lods ad|scas ae|scas af
  `.split(/[\n|]/).map((line) => line.trim()).filter((line) => line !== "");
}

function parse(line: string): Row {
  const [name, opcode, ...rest] = line.split(" ");
  const extension = rest.find((word) => word.startsWith("/"));
  return {
    name,
    opcode: [...Uint8Array.fromHex(opcode)],
    operands: rest.filter((word) => word !== "lock" && !word.startsWith("/")),
    extension: extension === undefined ? -1 : Number(extension.slice(1)),
    lock: rest.includes("lock"),
  };
}

/** Every row; those that stand for eight, one a register, as often as four. */
export const rows: readonly Row[] = [...text()].map(parse).flatMap((row) =>
  row.operands[0]?.startsWith("R") ? new Array<Row>(4).fill(row) : [row]
);
