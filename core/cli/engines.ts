// SPDX-License-Identifier: Apache-2.0
import { Command } from "commander";
import { escapeText } from "../text.ts";
import type { Io } from "./io.ts";
import { JSON_OUTPUT, openScanner, RULES } from "./options.ts";
import type { Wiring } from "./wiring.ts";

/** `umbra engines`: which engines there are, whether they start, and what they know. */
export function enginesCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("engines")
    .description("list the engines, start each, and say what it knows")
    .addOption(JSON_OUTPUT)
    .addOption(RULES)
    .action(async (options: { json?: true; rules?: readonly string[] }) => {
      const scanner = await openScanner(wiring, { rules: options.rules });
      const rows = scanner.engines().map(({ name, version, knowledge, state, detail }) => {
        const description = wiring.engines.find((engine) => engine.name === name)?.description ?? "";
        return { name, description, state, version, knowledge, detail };
      });
      await scanner.close();
      if (options.json) io.out(JSON.stringify({ version: 1, engines: rows }, null, 2) + "\n");
      else {
        for (const { name, description, state, version, knowledge, detail } of rows) {
          const more = state === "ready" ? `version ${version}, ${knowledge}` : detail;
          io.out(`${name}: ${state}, ${escapeText(more)}\n  ${description}\n`);
        }
      }
      done(rows.every(({ state }) => state === "ready") ? 0 : 3);
    });
}
