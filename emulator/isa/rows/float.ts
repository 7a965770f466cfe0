// SPDX-License-Identifier: Apache-2.0
/** x87: the control instructions that start-up code uses (SDM volume 1, 8.3.11). @module */
import type { RowSource } from "../row.ts";

export const floatRows: RowSource[] = [
  ["d9 /5", "fldcw", "Mw", "fldcw"],
  ["d9 /6", "fnstenv", "M", "fnstenv"],
  ["d9 /7", "fnstcw", "Mw", "fnstcw"],
  ["d9 d0", "fnop", "", "fnop"],
  ["db e2", "fnclex", "", "fnclex"],
  ["db e3", "fninit", "", "fninit"],
  ["dd /7", "fnstsw", "Mw", "fnstsw"],
  ["df e0", "fnstsw", "AX", "fnstsw"],
];
