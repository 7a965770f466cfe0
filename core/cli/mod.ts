// SPDX-License-Identifier: Apache-2.0
/**
 * The command line: one file a command, this one puts them together.
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { InputError } from "../ports.ts";
import { sayError } from "../text.ts";
import { emulateCommand } from "./emulate.ts";
import { enginesCommand } from "./engines.ts";
import { type Io, openIo } from "./io.ts";
import { scanCommand } from "./scan.ts";
import { selftestCommand } from "./selftest.ts";
import { serveCommand } from "./serve.ts";
import { versionCommand } from "./version.ts";
import { watchCommand } from "./watch.ts";
import type { Wiring } from "./wiring.ts";

export type { Program, SelftestRow, SelftestTools, Wiring } from "./wiring.ts";

const COMMANDS: readonly ((wiring: Wiring, io: Io, done: (code: number) => void) => Command)[] = [
  emulateCommand,
  watchCommand,
  scanCommand,
  serveCommand,
  selftestCommand,
  enginesCommand,
  versionCommand,
];

/**
 * Runs one command and returns its exit code: 0 done and nothing malicious, 1 malicious found, 2 wrong usage or
 * input, 3 incomplete, 4 internal error. Never ends the process and never throws.
 *
 * @param args the command line without the program's own name
 */
export async function runCommandLine(args: readonly string[], wiring: Wiring): Promise<number> {
  const io = openIo(wiring);
  let code = 0;
  const program = new Command("umbra")
    .description("Captures what packed programs unpack, and scans it.")
    .version(wiring.version, "--version", "say which umbra this is")
    .helpCommand(false);
  for (const make of COMMANDS) program.addCommand(make(wiring, io, (value) => code = value));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => io.out(text),
      // Usage errors are told once, below, in one line.
      writeErr: () => {},
      outputError: () => {},
    }).showSuggestionAfterError(true);
  }
  try {
    if (args.length === 0) {
      io.tell("umbra: no command given (see umbra --help)");
      return 2;
    }
    await program.parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      const [line, ...more] = error.message.replace(/^error: /, "").split("\n");
      io.tell(`umbra: ${[line, ...more].filter((text) => text !== "").join(" ")}`);
      return 2;
    }
    if (error instanceof InputError) {
      io.tell(`umbra: ${error.message}`);
      return 2;
    }
    io.tell(`umbra: internal error: ${sayError(error)}`);
    return 4;
  } finally {
    io.close();
  }
}
