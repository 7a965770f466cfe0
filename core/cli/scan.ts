// SPDX-License-Identifier: Apache-2.0
import { Command } from "commander";
import { sha256 } from "../hash.ts";
import type { Finding, Scanner } from "../ports.ts";
import { reportFindings } from "../report.ts";
import { escapeText } from "../text.ts";
import { judge, type Judgement, type Verdict } from "../verdict.ts";
import { bar, type Io } from "./io.ts";
import { ENGINE, type EngineChoice, JSON_OUTPUT, openScanner, readInput, RULES } from "./options.ts";
import { because, finding } from "./summary.ts";
import type { Wiring } from "./wiring.ts";

interface Options extends EngineChoice {
  readonly json?: true;
}

/** `umbra scan FILE…`: asks all engines about files as they are. */
export function scanCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("scan")
    .description("scan files as they are, with all engines")
    .argument("<file...>", "files")
    .addOption(JSON_OUTPUT)
    .addOption(ENGINE)
    .addOption(RULES)
    .action(async (files: string[], options: Options) => done(await run(wiring, io, files, options)));
}

async function run(wiring: Wiring, io: Io, paths: readonly string[], options: Options): Promise<number> {
  // Every name is looked at before the first scan: a wrong one among many is said at once.
  for (const path of paths) readInput(path);
  const scanner = await openScanner(wiring, options);
  try {
    const files = [];
    for (const [index, path] of paths.entries()) {
      io.progress(`${bar(index / paths.length, 30)} ${index} of ${paths.length} files`);
      const bytes = readInput(path);
      const { findings, verdict, reasons } = await scanFile(scanner, bytes, io.interrupt);
      const hash = sha256(bytes);
      const unit = {
        id: `file:${hash}`,
        kind: "file",
        sha256: hash,
        size: bytes.length,
        owners: new Set<string>(),
      } as const;
      const rows = reportFindings([{ ...unit, findings }]);
      files.push({ name: path, sha256: hash, size: bytes.length, verdict, reasons, findings: rows });
      if (!options.json) {
        const said = rows.map((row) => `  ${finding(row)}\n`).join("");
        io.out(`${escapeText(path)}: ${verdict}${because(reasons)}\n${said}`);
      }
    }
    const verdict = worst(files.map((file) => file.verdict));
    if (options.json) {
      const report = { version: 1, umbra: wiring.version, files, engines: scanner.engines(), verdict };
      io.out(JSON.stringify(report, null, 2) + "\n");
    }
    return { malicious: 1, clean: 0, incomplete: 3, error: 4 }[verdict];
  } finally {
    await scanner.close();
  }
}

/** Scans one file and judges it by the policy "any". */
export async function scanFile(
  scanner: Scanner,
  bytes: Uint8Array,
  interrupt?: AbortSignal,
): Promise<Judgement & { readonly findings: readonly Finding[] }> {
  const hash = sha256(bytes);
  const unit = {
    id: `file:${hash}`,
    kind: "file",
    sha256: hash,
    bytes,
    va: 0,
    layer: 0,
    processes: [],
  } as const;
  const findings = await scanner.scan(unit, interrupt);
  const troubles = scanner.engines()
    .filter(({ state }) => state === "unavailable")
    .map(({ name, detail }) => `engine ${name} is unavailable: ${detail}`);
  return { ...judge({ kind: "any" }, { findings, unscanned: 0, troubles }), findings };
}

/** The verdict on several: malicious if one is, else incomplete if one is, else clean. */
function worst(verdicts: readonly Verdict[]): Verdict {
  const order: readonly Verdict[] = ["malicious", "error", "incomplete", "clean"];
  return order.find((verdict) => verdicts.includes(verdict)) ?? "incomplete";
}
