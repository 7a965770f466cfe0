// SPDX-License-Identifier: Apache-2.0
/**
 * `report.json`, version 1: what one run saw and what is concluded. Fields are added, never renamed; everything
 * is in a fixed order, so that equal runs give equal bytes.
 *
 * @module
 */
import { disassemble, type Instruction } from "./disassemble.ts";
import type {
  EmulationEnd,
  EngineStatus,
  Finding,
  GuestSettings,
  MissingFunction,
  ProcessIdentity,
  ScanStatus,
} from "./ports.ts";
import type { DomainState, PageCounts, ProcessState } from "./service/domain.ts";
import type { ImageRecord, Service } from "./service/service.ts";
import type { UnitRecord } from "./service/scans.ts";
import { byText } from "./text.ts";
import { judge, type Judgement, type Policy, type Verdict } from "./verdict.ts";

/** What an engine found, or did not finish, in one unit. */
export interface ReportFinding {
  readonly unit: string;
  readonly engine: string;
  readonly status: ScanStatus;
  /** The engine's name for it; "" when it found nothing but did not finish. */
  readonly threat: string;
  /** Byte offset in the unit, when the engine said it. */
  readonly offset?: number;
  readonly detail?: string;
}

/** One watched process. */
export interface ReportProcess {
  readonly pid: number;
  readonly name: string;
  readonly path: string;
  readonly verdict: Verdict;
  readonly parentPid: number;
  readonly commandLine: string;
  /** True when not all of its structures could be read. */
  readonly partial: boolean;
  /** CR3, of a process of which nothing else is known because the guest's kernel is not one that umbra knows. */
  readonly addressSpace?: number;
  readonly pages: PageCounts;
  readonly reasons: readonly string[];
}

/** One layer of one process. */
export interface ReportLayer {
  readonly index: number;
  readonly pid: number;
  /** As {@link ReportProcess.addressSpace}. */
  readonly addressSpace?: number;
  readonly hopFrom: number;
  readonly hopTo: number;
  readonly pages: number;
  /** The first instructions at `hopTo`. */
  readonly entry: readonly Instruction[];
}

/** The report of `umbra emulate`. */
export interface Report {
  readonly version: 1;
  readonly umbra: string;
  readonly sample: { readonly name: string; readonly sha256: string; readonly size: number };
  readonly end: {
    readonly reason: EmulationEnd["reason"];
    readonly detail: string;
    readonly instructions: number;
    readonly seconds: number;
  };
  readonly processes: readonly ReportProcess[];
  readonly pages: PageCounts;
  readonly layers: readonly ReportLayer[];
  readonly units: number;
  readonly findings: readonly ReportFinding[];
  readonly verdict: Verdict;
  readonly missing: readonly MissingFunction[];
  /** Why the verdict is what it is. */
  readonly reasons: readonly string[];
  /** How the emulated guest was set up; absent for a guest that is only watched. */
  readonly guest?: GuestSettings;
  readonly images: readonly (Omit<ImageRecord, "process"> & { readonly pid: number })[];
  readonly engines: readonly EngineStatus[];
  readonly events: { readonly seen: number; readonly turnsCoalesced: number };
  /** What exceeded a limit and was left out: how often, in words. */
  readonly skipped: readonly { readonly what: string; readonly count: number }[];
}

/** What a report is made from, beside the service. */
export interface ReportInput {
  readonly umbra: string;
  readonly sample: Report["sample"];
  readonly end: Report["end"];
  readonly missing: readonly MissingFunction[];
  readonly guest?: GuestSettings;
  readonly policy: Policy;
  /** False when the user asked for no scan: nothing is clean then. */
  readonly scanned: boolean;
}

/** Instructions shown of each layer's entry. */
const ENTRY_INSTRUCTIONS = 12;

/** The findings that say something, one row a threat, ordered by unit, engine, threat and offset. */
export function reportFindings(units: Iterable<UnitRecord>): ReportFinding[] {
  const rows: ReportFinding[] = [];
  for (const unit of units) {
    for (const { engine, status, threats, detail } of unit.findings ?? []) {
      if (status === "clean") continue;
      const base = { unit: unit.id, engine, status };
      const rest = detail === undefined ? {} : { detail };
      if (threats.length === 0) rows.push({ ...base, threat: "", ...rest });
      for (const { name, offset } of threats) {
        rows.push({ ...base, threat: name, ...(offset === undefined ? {} : { offset }), ...rest });
      }
    }
  }
  return rows.sort((a, b) =>
    byText(a.unit, b.unit) || byText(a.engine, b.engine) || byText(a.threat, b.threat) ||
    (a.offset ?? -1) - (b.offset ?? -1)
  );
}

/** Makes the report of a finished run. */
export async function buildReport(service: Service, input: ReportInput): Promise<Report> {
  const domains = [...service.domains.values()].sort((a, b) => a.domain - b.domain);
  const units = [...service.scans.units.values()];
  const pids = new Map<string, number>();
  const layers: ReportLayer[] = [];
  for (const domain of domains) {
    for (const process of domain.processes.values()) {
      const { pid } = process.identity;
      pids.set(process.id, pid);
      for (const { index, hopFrom, hopTo, pages, entry } of process.captures.layers) {
        const code = entry ? await disassemble(entry, hopTo, ENTRY_INSTRUCTIONS) : [];
        layers.push({ index, pid, ...addressSpace(process.identity), hopFrom, hopTo, pages, entry: code });
      }
    }
  }
  const skipped = [...service.skipped].map(([what, count]) => ({ what, count })).sort((a, b) =>
    byText(a.what, b.what)
  );
  if (service.scans.refused > 0) skipped.push({ what: "units over the limit", count: service.scans.refused });
  const overall = judgeRun(service, domains, units, input, skipped);
  return {
    version: 1,
    umbra: input.umbra,
    sample: input.sample,
    end: input.end,
    processes: domains.flatMap((domain) =>
      [...domain.processes.values()].map((process) => reportProcess(process, units, service, input))
    ),
    pages: total(domains.map((domain) => domain.pages)),
    layers,
    units: units.length,
    findings: reportFindings(units),
    verdict: overall.verdict,
    missing: [...input.missing].sort((a, b) => byText(a.dll, b.dll) || byText(a.name, b.name)),
    reasons: overall.reasons,
    ...(input.guest ? { guest: input.guest } : {}),
    images: service.images.map(({ process, ...image }) => ({ ...image, pid: pids.get(process) ?? 0 })),
    engines: service.engines(),
    events: {
      seen: domains.reduce((sum, domain) => sum + domain.events, 0),
      turnsCoalesced: domains.reduce((sum, domain) => sum + domain.turnsCoalesced, 0),
    },
    skipped,
  };
}

function total(counts: readonly PageCounts[]): PageCounts {
  const sum: PageCounts = { seen: 0, stored: 0, deduplicated: 0, lost: 0 };
  for (const count of counts) {
    sum.seen += count.seen;
    sum.stored += count.stored;
    sum.deduplicated += count.deduplicated;
    sum.lost += count.lost;
  }
  return sum;
}

/** How a run must end for its verdict not to be `incomplete`: by the program's own will. */
function endTrouble(end: Report["end"]): string[] {
  return end.reason === "exited" ? [] : [`the run ended early (${end.reason}): ${end.detail}`];
}

function engineTroubles(service: Service, input: ReportInput): string[] {
  if (!input.scanned) return ["nothing was scanned: scanning was turned off"];
  const engines = service.engines();
  const troubles = engines
    .filter(({ state }) => state !== "ready")
    .map(({ name, state, detail }) => `engine ${name} is ${state}: ${detail}`);
  return engines.length === 0 ? ["there is no engine"] : troubles;
}

function lostTrouble({ lost }: PageCounts): string[] {
  return lost > 0 ? [`${lost} pages were lost`] : [];
}

function evidence(units: readonly UnitRecord[], troubles: readonly string[]) {
  const findings: Finding[] = units.flatMap((unit) => unit.findings ?? []);
  return { findings, unscanned: units.filter((unit) => !unit.findings).length, troubles };
}

function judgeRun(
  service: Service,
  domains: readonly DomainState[],
  units: readonly UnitRecord[],
  input: ReportInput,
  skipped: Report["skipped"],
): Judgement {
  const troubles = [
    ...endTrouble(input.end),
    ...engineTroubles(service, input),
    ...lostTrouble(total(domains.map((domain) => domain.pages))),
    ...skipped.map(({ what, count }) => `left out: ${what} (${count})`),
  ];
  const crowded = domains.reduce((sum, domain) => sum + domain.crowded, 0);
  if (crowded > 0) troubles.push(`${crowded} events of processes over the limit`);
  return judge(
    input.policy,
    input.scanned ? evidence(units, troubles) : { findings: [], unscanned: 0, troubles },
  );
}

function addressSpace({ anonymous, cr3 }: ProcessIdentity): { readonly addressSpace?: number } {
  return anonymous ? { addressSpace: cr3 } : {};
}

function reportProcess(
  process: ProcessState,
  units: readonly UnitRecord[],
  service: Service,
  input: ReportInput,
): ReportProcess {
  let own = units.filter((unit) => unit.owners.has(process.id));
  // A process of which nothing was seen is as good as the file it was made from.
  if (process.pages.seen === 0) own = units.filter((unit) => unit.kind === "file");
  const troubles = [
    ...endTrouble(input.end),
    ...engineTroubles(service, input),
    ...lostTrouble(process.pages),
  ];
  const judgement = judge(
    input.policy,
    input.scanned ? evidence(own, troubles) : { findings: [], unscanned: 0, troubles },
  );
  const { pid, name, path, parentPid, commandLine, partial } = process.identity;
  return {
    pid,
    name,
    path,
    verdict: judgement.verdict,
    parentPid,
    commandLine,
    partial,
    ...addressSpace(process.identity),
    pages: { ...process.pages },
    reasons: judgement.reasons,
  };
}

/** The exit code that a verdict asks for (design, section 5). */
export function exitCode(
  report: Pick<Report, "verdict" | "end" | "pages" | "skipped">,
  scanned: boolean,
): number {
  if (report.verdict === "malicious") return 1;
  if (report.verdict === "error") return 4;
  if (report.verdict === "clean") return 0;
  // Asked not to scan, and nothing else is missing: done.
  const whole = report.end.reason === "exited" && report.pages.lost === 0 && report.skipped.length === 0;
  return !scanned && whole ? 0 : 3;
}
