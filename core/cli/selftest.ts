// SPDX-License-Identifier: Apache-2.0
import { Command } from "commander";
import { MemoryFiles } from "../capture/files.ts";
import type { Scanner } from "../ports.ts";
import { emulate } from "../service/emulate.ts";
import { escapeText } from "../text.ts";
import type { Io } from "./io.ts";
import { JSON_OUTPUT, openScanner } from "./options.ts";
import { scanFile } from "./scan.ts";
import type { SelftestRow, SelftestTools, Wiring } from "./wiring.ts";

/** Instructions and seconds a sample of the self-test gets; each needs a small part of it. */
const MAX_INSTRUCTIONS = 100_000_000;
const TIME_LIMIT = 60;

/** `umbra selftest`: runs the samples umbra carries and checks what is seen of them. */
export function selftestCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("selftest")
    .description("run the samples umbra carries and check that their payloads are found")
    .addOption(JSON_OUTPUT)
    .action(async (options: { json?: true }) => {
      const scanner = await openScanner(wiring, {});
      const rows: SelftestRow[] = [];
      try {
        for await (const row of wiring.selftest(tools(wiring, io, scanner))) {
          rows.push(row);
          if (!options.json) {
            io.out(
              `${row.ok ? "passed" : "FAILED"}  ${`${escapeText(row.name)}:`.padEnd(11)} ${
                escapeText(row.detail, 2000)
              }\n`,
            );
          }
          if (io.interrupt.aborted) break;
        }
      } finally {
        await scanner.close();
      }
      const ok = rows.length > 0 && rows.every((row) => row.ok) && !io.interrupt.aborted;
      if (options.json) {
        io.out(JSON.stringify({ version: 1, umbra: wiring.version, ok, samples: rows }, null, 2) + "\n");
      } else io.out(ok ? "the self-test passed\n" : "the self-test FAILED\n");
      done(ok ? 0 : 3);
    });
}

function tools(wiring: Wiring, io: Io, scanner: Scanner): SelftestTools {
  return {
    emulate: async (sample, company) => {
      const files = new MemoryFiles();
      const report = await emulate(wiring.emulator, sample, {
        umbra: wiring.version,
        maxInstructions: MAX_INSTRUCTIONS,
        timeLimit: TIME_LIMIT,
        args: [],
        company,
        files,
        scanner,
        interrupt: io.interrupt,
        onProgress: ({ instructions }) => io.progress(`${sample.name}: ${instructions} instructions`),
      });
      return { report, files };
    },
    scan: async (bytes) => (await scanFile(scanner, bytes, io.interrupt)).verdict,
  };
}
