// SPDX-License-Identifier: Apache-2.0
/** DLLs that are known by name only: their functions answer 0 and are listed as missing. @module */
import type { DllDefinition } from "../api.ts";
import { define, type KnownData } from "./define.ts";
import data from "./known/passive.json" with { type: "json" };

const FIRST_BASE = 0x68000000;
const STEP = 0x100000;

export const passive: readonly DllDefinition[] = Object.entries(data as Record<string, KnownData>).map(
  ([name, known], i) => define({ name: `${name}.dll`, base: FIRST_BASE + i * STEP, known }),
);
