// SPDX-License-Identifier: Apache-2.0
/** comdlg32.dll: dialogs that the user cancels. @module */
import type { DllDefinition } from "../api.ts";
import { constant, define } from "./define.ts";
import names from "./known/comdlg32.json" with { type: "json" };

export const comdlg32: DllDefinition = define({
  name: "comdlg32.dll",
  base: 0x73f00000,
  known: names,
  handlers: [
    // The user presses Cancel; that is no error.
    constant(
      0,
      "GetOpenFileNameA GetOpenFileNameW GetSaveFileNameA GetSaveFileNameW ChooseColorA ChooseColorW",
    ),
    constant(0, "ChooseFontA ChooseFontW PrintDlgA PrintDlgW CommDlgExtendedError"),
  ],
});
