// SPDX-License-Identifier: Apache-2.0
import { Command, InvalidArgumentError } from "commander";
import { FolderFiles, NoFiles } from "../capture/files.ts";
import { analysisPage } from "../html/page.ts";
import { type Hypervisor, InputError, type WatchRule } from "../ports.ts";
import { exitCode } from "../report.ts";
import { watch, type WatchProgress } from "../service/watch.ts";
import { escapeText } from "../text.ts";
import type { Io } from "./io.ts";
import {
  chosenEngines,
  ENGINE,
  type EngineChoice,
  HTML_OUTPUT,
  JSON_OUTPUT,
  openAnalysis,
  openScanner,
  RULES,
  seconds,
} from "./options.ts";
import { emulationSummary } from "./summary.ts";
import type { Wiring } from "./wiring.ts";

const KINDS = ["prefix", "exact", "glob", "pid"] as const;
/** Highest number of a domain that is a guest's. */
const LAST_DOMAIN = 0x7fef;
/** So that a window that begins late does not wrap around. */
const LONGEST_WINDOW = 2n ** 62n;

interface Options extends EngineChoice {
  readonly rule?: readonly WatchRule[];
  readonly for?: number;
  readonly coalesceWindow?: bigint;
  readonly out?: string;
  readonly html?: true;
  readonly json?: true;
  readonly scan: boolean;
}

/** `umbra watch DOMAIN`: watches a live Xen guest in the foreground, captures what it unpacks, and scans it. */
export function watchCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("watch")
    .description("watch a live Xen guest: capture what its programs unpack, and scan it")
    .argument("<domain>", "the domain's number (xl domid NAME)", domainNumber)
    .option(
      "--rule <rule...>",
      "watch these processes: NAME (begins with), exact:NAME, glob:PATTERN, pid:N or all (default: all)",
      oneMoreRule,
    )
    .option("--for <seconds>", "end after so much time (default: at an interruption)", seconds)
    .option(
      "--coalesce-window <ticks>",
      "ticks of the guest's time-stamp counter in which many turns of one page become one event (default: 50000000)",
      ticks,
    )
    .option("--out <folder>", "write report.json, events.jsonl, pages, regions and images here")
    .addOption(HTML_OUTPUT)
    .addOption(JSON_OUTPUT)
    .addOption(ENGINE)
    .addOption(RULES)
    .option("--no-scan", "capture only")
    .action(async (domain: number, options: Options) => done(await run(wiring, io, domain, options)));
}

function domainNumber(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value < 1 || value > LAST_DOMAIN) {
    throw new InvalidArgumentError(`It is not a guest's domain number (1 to ${LAST_DOMAIN}).`);
  }
  return value;
}

function oneMoreRule(text: string, before: readonly WatchRule[] | undefined): readonly WatchRule[] {
  return [...before ?? [], parseRule(text)];
}

function ticks(text: string): bigint {
  if (!/^\d{1,19}$/.test(text) || BigInt(text) < 1n || BigInt(text) > LONGEST_WINDOW) {
    throw new InvalidArgumentError(`It is not a number of ticks from 1 to ${LONGEST_WINDOW}.`);
  }
  return BigInt(text);
}

/** Reads one rule of the command line; for commander. */
export function parseRule(text: string): WatchRule {
  if (text === "all") return { kind: "all", pattern: "" };
  const colon = text.indexOf(":");
  const kind = colon < 0 ? "prefix" : KINDS.find((each) => each === text.slice(0, colon));
  const pattern = text.slice(colon + 1);
  if (!kind) {
    throw new InvalidArgumentError(`Rules are NAME, ${KINDS.map((each) => `${each}:…`).join(", ")} or all.`);
  }
  if (kind === "pid" ? !/^\d{1,9}$/.test(pattern) : pattern === "") {
    throw new InvalidArgumentError(
      kind === "pid" ? "It is not a process number." : "It says nothing to compare.",
    );
  }
  if (new TextEncoder().encode(pattern).length > 63) {
    throw new InvalidArgumentError("It is longer than 63 bytes.");
  }
  return { kind, pattern };
}

async function run(wiring: Wiring, io: Io, domain: number, options: Options): Promise<number> {
  chosenEngines(wiring, options.engine);
  const collected = openAnalysis(options);
  const hypervisor = connect(wiring);
  try {
    const scanner = options.scan ? await openScanner(wiring, options) : undefined;
    try {
      const files = options.out === undefined ? new NoFiles() : new FolderFiles(options.out);
      try {
        const report = await watch(hypervisor, domain, {
          umbra: wiring.version,
          rules: options.rule ?? [{ kind: "all", pattern: "" }],
          seconds: options.for,
          settings: { coalesceWindow: options.coalesceWindow },
          files,
          scanner: scanner && (collected?.watching(scanner) ?? scanner),
          recorder: collected,
          interrupt: io.interrupt,
          insistence: io.insistence,
          onStart: () => io.tell(`umbra: watching domain ${domain} on ${escapeText(hypervisor.info().name)}`),
          onProgress: (progress) => io.progress(progressLine(progress)),
        });
        if (collected) files.html(await analysisPage({ report, collected }));
        io.out(options.json ? JSON.stringify(report, null, 2) + "\n" : emulationSummary(report));
        return exitCode(report, options.scan);
      } finally {
        files.close();
      }
    } finally {
      await scanner?.close();
    }
  } catch (error) {
    // What the hypervisor refuses is the user's to mend: no such domain, no rights, another watch.
    if (error instanceof Error && error.name === "HypercallError") throw new InputError(error.message);
    throw error;
  } finally {
    hypervisor.close();
  }
}

function connect(wiring: Wiring): Hypervisor {
  if (!wiring.connectXen) throw new InputError("Cannot watch a domain: this umbra has no way to Xen");
  try {
    return wiring.connectXen();
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(error instanceof Error ? error.message : String(error));
  }
}

function progressLine({ seconds: passed, events, queued }: WatchProgress): string {
  return `${passed.toFixed(0)} s: ${events} events, ${queued} units wait to be scanned`;
}
