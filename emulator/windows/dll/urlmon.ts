// SPDX-License-Identifier: Apache-2.0
/** urlmon.dll: downloads that fail. @module */
import type { DllDefinition } from "../api.ts";
import { both, constant, define } from "./define.ts";
import names from "./known/urlmon.json" with { type: "json" };
import { text } from "./shared/text.ts";

const INET_E_CONNECTION = 0x800c0005;

export const urlmon: DllDefinition = define({
  name: "urlmon.dll",
  base: 0x72d00000,
  known: names,
  handlers: [
    both({
      URLDownloadToFile: (wide) => (call, _caller, url) => {
        call.print(`[download] ${text(call, url, wide, 2048)}\n`);
        return INET_E_CONNECTION;
      },
      URLDownloadToCacheFile: (wide) => (call, _caller, url) => {
        call.print(`[download] ${text(call, url, wide, 2048)}\n`);
        return INET_E_CONNECTION;
      },
    }),
    constant(0, "UrlMkSetSessionOption"),
  ],
});
