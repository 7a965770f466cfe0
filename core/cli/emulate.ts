// SPDX-License-Identifier: Apache-2.0
import { Command, Option } from "commander";
import { basename } from "node:path";
import { FolderFiles, NoFiles } from "../capture/files.ts";
import { parsePeHeader } from "../capture/pe_header.ts";
import { analysisPage } from "../html/page.ts";
import { type DepPolicy, InputError } from "../ports.ts";
import { exitCode } from "../report.ts";
import { emulate, type Progress } from "../service/emulate.ts";
import { escapeText } from "../text.ts";
import { bar, type Io } from "./io.ts";
import {
  chosenEngines,
  ENGINE,
  type EngineChoice,
  HTML_OUTPUT,
  JSON_OUTPUT,
  openAnalysis,
  openScanner,
  readInput,
  RULES,
  seconds,
  wholeNumber,
} from "./options.ts";
import { emulationSummary } from "./summary.ts";
import type { Wiring } from "./wiring.ts";

/** Instructions and seconds a program gets when nothing is said. */
const MAX_INSTRUCTIONS = 1_000_000_000;
const TIME_LIMIT = 300;

const DEP = new Option("--dep <policy>", "which programs' data must not run")
  .choices(["optin", "optout", "alwayson"]).default("optin");

interface Options extends EngineChoice {
  readonly out?: string;
  readonly html?: true;
  readonly json?: true;
  readonly maxInstructions: number;
  readonly timeLimit: number;
  readonly scan: boolean;
  readonly dep: DepPolicy;
  readonly aslr?: true;
  readonly arg?: readonly string[];
}

/** `umbra emulate FILE`: runs a program in the test bed, captures what it unpacks, and scans it. */
export function emulateCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("emulate")
    .description("run a 32-bit Windows program in the emulator, capture what it unpacks, and scan it")
    .argument("<file>", "the program")
    .option("--out <folder>", "write report.json, events.jsonl, pages, regions and images here")
    .addOption(HTML_OUTPUT)
    .addOption(JSON_OUTPUT)
    .option("--max-instructions <n>", "end after so many instructions", wholeNumber(1), MAX_INSTRUCTIONS)
    .option("--time-limit <seconds>", "end after so much time", seconds, TIME_LIMIT)
    .addOption(ENGINE)
    .addOption(RULES)
    .option("--no-scan", "capture only")
    .addOption(DEP)
    .option("--aslr", "move the program, DLLs, stacks and heaps to other addresses, the same in every run")
    .option("--arg <argument...>", "arguments of the program's own command line")
    .action(async (file: string, options: Options) => done(await run(wiring, io, file, options)));
}

async function run(wiring: Wiring, io: Io, file: string, options: Options): Promise<number> {
  const bytes = readInput(file);
  const header = parsePeHeader(bytes);
  if (typeof header === "string") {
    throw new InputError(`Cannot emulate "${escapeText(file)}": ${header}`);
  }
  chosenEngines(wiring, options.engine);
  const collected = openAnalysis(options);
  const scanner = options.scan ? await openScanner(wiring, options) : undefined;
  try {
    const files = options.out === undefined ? new NoFiles() : new FolderFiles(options.out);
    try {
      const report = await emulate(wiring.emulator, { name: basename(file), bytes }, {
        umbra: wiring.version,
        maxInstructions: options.maxInstructions,
        timeLimit: options.timeLimit,
        args: options.arg ?? [],
        guest: { dep: options.dep, aslr: options.aslr ?? false },
        files,
        scanner: scanner && (collected?.watching(scanner) ?? scanner),
        recorder: collected,
        onReport: async (report, emulation) => {
          if (!collected) return;
          files.html(await analysisPage({ report, collected, trace: emulation.calls?.() }));
        },
        interrupt: io.interrupt,
        onProgress: (progress) => io.progress(progressLine(progress, options.maxInstructions)),
      });
      io.out(options.json ? JSON.stringify(report, null, 2) + "\n" : emulationSummary(report));
      return exitCode(report, options.scan);
    } finally {
      files.close();
    }
  } finally {
    await scanner?.close();
  }
}

function progressLine({ phase, instructions, queued }: Progress, most: number): string {
  if (phase === "scanning") return `scanning: ${queued} units left`;
  return `${bar(instructions / most, 30)} ${(instructions / 1e6).toFixed(0)} million instructions`;
}
