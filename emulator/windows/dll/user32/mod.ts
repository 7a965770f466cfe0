// SPDX-License-Identifier: Apache-2.0
/** user32.dll: windows, messages, dialogs. @module */
import type { DllDefinition } from "../../api.ts";
import { define } from "../define.ts";
import known from "../known/user32.json" with { type: "json" };
import { desktopEnumerations } from "../shared/enumerations.ts";
import { dialogs } from "./dialogs.ts";
import { messages } from "./messages.ts";
import { misc } from "./misc.ts";
import { windows } from "./windows.ts";

/** user32.dll, with all its functions. */
export const user32: DllDefinition = define({
  name: "user32.dll",
  base: 0x76700000,
  known,
  handlers: [desktopEnumerations, dialogs, messages, misc, windows],
});
