// SPDX-License-Identifier: Apache-2.0
/** psapi.dll. @module */
import type { DllDefinition } from "../api.ts";
import { define } from "./define.ts";
import { processStatus } from "./kernel32/process_status.ts";
import names from "./known/psapi.json" with { type: "json" };

export const psapi: DllDefinition = define({
  name: "psapi.dll",
  base: 0x73c00000,
  known: names,
  handlers: [processStatus],
});
