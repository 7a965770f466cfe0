// SPDX-License-Identifier: Apache-2.0
/** All instructions in TypeScript, by the name that rows give. @module */
import { bcdHelpers } from "./bcd.ts";
import { controlHelpers } from "./control.ts";
import { dataHelpers } from "./data.ts";
import { floatHelpers } from "./float.ts";
import { floatFunctionHelpers } from "./float_functions.ts";
import type { Helper } from "./helper.ts";
import { portHelpers } from "./ports.ts";
import { simdFloatHelpers } from "./simd_float.ts";
import { simdExtendedHelpers } from "./simd_extended.ts";
import { simdIntegerHelpers } from "./simd_integer.ts";
import { systemHelpers } from "./system.ts";

/** All helpers, by the name that the table gives them. */
export const helpers: Readonly<Record<string, Helper>> = {
  ...bcdHelpers,
  ...controlHelpers,
  ...dataHelpers,
  ...floatHelpers,
  ...floatFunctionHelpers,
  ...portHelpers,
  ...simdExtendedHelpers,
  ...simdFloatHelpers,
  ...simdIntegerHelpers,
  ...systemHelpers,
};
