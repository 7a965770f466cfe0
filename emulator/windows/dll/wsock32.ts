// SPDX-License-Identifier: Apache-2.0
/** wsock32.dll: version 1.1 of sockets. @module */
import type { DllDefinition } from "../api.ts";
import { define } from "./define.ts";
import names from "./known/wsock32.json" with { type: "json" };
import { wsockOrdinals } from "./ordinals.ts";
import { sockets } from "./ws2_32.ts";

export const wsock: DllDefinition = define({
  name: "wsock32.dll",
  base: 0x72f00000,
  known: names,
  handlers: [sockets],
  ordinals: wsockOrdinals,
});
