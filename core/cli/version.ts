// SPDX-License-Identifier: Apache-2.0
import { Command } from "commander";
import type { Io } from "./io.ts";
import { JSON_OUTPUT } from "./options.ts";
import type { Wiring } from "./wiring.ts";

/** `umbra version`. */
export function versionCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("version")
    .description("say which umbra this is")
    .addOption(JSON_OUTPUT)
    .action((options: { json?: true }) => {
      const { version } = wiring;
      io.out(options.json ? JSON.stringify({ umbra: version }) + "\n" : `umbra ${version}\n`);
      done(0);
    });
}
