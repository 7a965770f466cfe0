// SPDX-License-Identifier: Apache-2.0
/**
 * A report for people.
 *
 * @module
 */
import type { Report, ReportFinding } from "../report.ts";
import { escapeText, hex8, processWords } from "../text.ts";

/** Rows shown of each list; the rest is in the report. */
const MOST_ROWS = 20;

/** The summary of `umbra emulate`, all text from outside escaped. */
export function emulationSummary(report: Report): string {
  const { sample, end, pages } = report;
  const lines = [
    `sample     ${escapeText(sample.name)} (${sample.size} bytes, SHA-256 ${sample.sha256})`,
    `end        ${end.reason}: ${
      escapeText(end.detail)
    } (${end.instructions} instructions, ${end.seconds} s)`,
    `pages      ${pages.seen} seen = ${pages.stored} stored + ${pages.deduplicated} deduplicated + ${pages.lost} lost`,
  ];
  section(lines, "processes", report.processes, (process) => {
    const { pid, name, path, verdict } = process;
    if (process.addressSpace !== undefined) {
      return `${processWords(process)} (CR3; its name is not known) ${verdict}`;
    }
    return `${pid} ${escapeText(name || "?")} ${path ? `(${escapeText(path)}) ` : ""}${verdict}`;
  });
  section(lines, "layers", report.layers, (layer) => {
    const { index, hopFrom, hopTo, pages: count, entry } = layer;
    const hop = hopTo === 0 ? "" : `, hop ${hex8(hopFrom)} → ${hex8(hopTo)}`;
    const first = entry.length > 0 ? `: ${entry.slice(0, 3).map(({ text }) => text).join("; ")}` : "";
    return `${index} of ${processWords(layer)}: ${count} ${count === 1 ? "page" : "pages"}${hop}${
      escapeText(first)
    }`;
  });
  section(lines, "images", report.images, ({ id, entryPoint, size, header, holes }) => {
    const gaps = holes > 0 ? `, ${holes} pages not captured` : "";
    return `${id.slice("image:".length)}.exe: ${size} bytes, entry ${
      hex8(entryPoint)
    }, headers ${header}${gaps}`;
  });
  section(lines, "missing", report.missing, ({ dll, name, calls }) => {
    return `${escapeText(dll)}!${escapeText(name)}, called ${calls} ${calls === 1 ? "time" : "times"}`;
  });
  section(lines, "findings", report.findings, finding);
  lines.push(`units      ${report.units} given to ${report.engines.length} engines`);
  for (const { name, state, detail } of report.engines) {
    if (state !== "ready") lines.push(`engine     ${escapeText(name)} is ${state}: ${escapeText(detail)}`);
  }
  for (const { what, count } of report.skipped) lines.push(`left out   ${escapeText(what)} (${count})`);
  lines.push(`verdict    ${report.verdict}${because(report.reasons)}`);
  return lines.join("\n") + "\n";
}

/** One finding in one line. */
export function finding({ unit, engine, status, threat, detail }: ReportFinding): string {
  const why = detail === undefined ? "" : ` (${escapeText(detail)})`;
  return `${status}: ${escapeText(engine)}${
    threat === "" ? "" : ` says ${escapeText(threat)}`
  } in ${unit}${why}`;
}

/** Reasons in brackets. */
export function because(reasons: readonly string[]): string {
  return reasons.length === 0 ? "" : ` (${reasons.map((reason) => escapeText(reason)).join("; ")})`;
}

function section<T>(lines: string[], title: string, rows: readonly T[], say: (row: T) => string): void {
  rows.slice(0, MOST_ROWS).forEach((row, index) =>
    lines.push(`${(index ? "" : title).padEnd(11)}${say(row)}`)
  );
  if (rows.length > MOST_ROWS) lines.push(`${" ".repeat(11)}… and ${rows.length - MOST_ROWS} more`);
}
