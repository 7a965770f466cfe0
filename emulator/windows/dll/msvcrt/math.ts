// SPDX-License-Identifier: Apache-2.0
/** math.h: doubles on the stack, results in st(0); and the compiler's intrinsics, which take st(0) and st(1). @module */
import type { DllFunction } from "../../api.ts";
import { machineCode, realFunction, stackFunction } from "../code.ts";

/** IEEE power as C has it: 1 to anything and anything to 0 is 1. */
const power = (x: number, y: number) => x === 1 || y === 0 ? 1 : x === -1 && !Number.isFinite(y) ? 1 : x ** y;

const ONE: Record<string, (x: number) => number> = {
  sin: (x) => Math.sin(x),
  cos: (x) => Math.cos(x),
  tan: (x) => Math.tan(x),
  asin: (x) => Math.asin(x),
  acos: (x) => Math.acos(x),
  atan: (x) => Math.atan(x),
  sinh: (x) => Math.sinh(x),
  cosh: (x) => Math.cosh(x),
  tanh: (x) => Math.tanh(x),
  exp: (x) => Math.exp(x),
  log: (x) => Math.log(x),
  log10: (x) => Math.log10(x),
  sqrt: (x) => Math.sqrt(x),
};
const TWO: Record<string, (x: number, y: number) => number> = {
  pow: power,
  fmod: (x, y) => x % y,
  atan2: (x, y) => Math.atan2(x, y),
};

const MORE: Record<string, ((x: number) => number) | ((x: number, y: number) => number)> = {
  floor: (x: number) => Math.floor(x),
  ceil: (x: number) => Math.ceil(x),
  fabs: (x: number) => Math.abs(x),
  _hypot: (x: number, y: number) => Math.hypot(x, y),
  _copysign: (x: number, y: number) => Object.is(Math.sign(y), -0) || y < 0 ? -Math.abs(x) : Math.abs(x),
  _chgsign: (x: number) => -x,
  _logb: (x: number) => x === 0 ? -Infinity : Math.floor(Math.log2(Math.abs(x))),
};

export const math: readonly DllFunction[] = [
  ...Object.entries({ ...ONE, ...TWO, ...MORE }).map(([name, compute]) => realFunction(name, compute)),
  ...Object.entries({ ...ONE, ...TWO }).map(([name, compute]) => stackFunction(`_CI${name}`, compute)),
  // mov eax, [esp+8]; and eax, 7ff00000h; xor ecx, ecx; cmp eax, 7ff00000h; setne cl; mov eax, ecx; ret
  machineCode("_finite", "cdecl", 2, "8b442408 250000f07f 31c9 3d0000f07f 0f95c1 89c8 c3"),
  // mov eax, [esp+8]; mov ecx, eax; and ecx, 7ff00000h; cmp ecx, 7ff00000h; jne no; and eax, fffffh;
  // or eax, [esp+4]; setne al; movzx eax, al; ret; no: xor eax, eax; ret
  machineCode(
    "_isnan",
    "cdecl",
    2,
    "8b442408 89c1 81e10000f07f 81f90000f07f 7510 25ffff0f00 0b442404 0f95c0 0fb6c0 c3 31c0 c3",
  ),
];
