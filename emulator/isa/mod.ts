// SPDX-License-Identifier: Apache-2.0
/**
 * x86-32: decoding, and the table of instruction semantics.
 *
 * @module
 */
export { decode, DecodeFailure, Instruction, MAX_LENGTH } from "./decode.ts";
export {
  FIXED_HANDLERS,
  handlerCount,
  jumpCondition,
  rows,
  tableFingerprint,
  undefinedRow,
} from "./table.ts";
export { type OperandSpec, type Row, variantNumber } from "./row.ts";
export {
  Builder,
  type Expr,
  type FlagKind,
  type Place,
  type Size,
  type Stmt,
  type Variant,
  type Width,
  widthOf,
} from "./ir.ts";
