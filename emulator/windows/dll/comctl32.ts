// SPDX-License-Identifier: Apache-2.0
/** comctl32.dll: common controls are windows of user32's; image lists hold nothing. @module */
import type { ApiCall, DllDefinition } from "../api.ts";
import { define } from "./define.ts";
import names from "./known/comctl32.json" with { type: "json" };
import { comctlOrdinals } from "./ordinals.ts";

const handle = (kind: string) => (call: ApiCall) => call.handles.open({ kind });

export const comctl32: DllDefinition = define({
  name: "comctl32.dll",
  base: 0x74000000,
  known: names,
  handlers: [
    {
      InitCommonControls: () => 0,
      InitCommonControlsEx: () => 1,
      ImageList_Create: handle("images"),
      ImageList_Add: () => 0,
      ImageList_ReplaceIcon: () => 0,
      ImageList_Destroy: (call, list) => call.handles.close(list) ? 1 : 0,
      ImageList_GetImageCount: () => 0,
    },
  ],
  ordinals: comctlOrdinals,
});
