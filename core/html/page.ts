// SPDX-License-Identifier: Apache-2.0
/**
 * The page for analysts: one self-contained HTML file about one run. It loads nothing, and its policy forbids it to;
 * only the links to captured pages lead out of it, to files beside it.
 *
 * @module
 */
import { html, raw } from "hono/html";
import type { Instruction } from "../disassemble.ts";
import { sha256Base64 } from "../hash.ts";
import type { TracedCall } from "../ports.ts";
import type { Report } from "../report.ts";
import { hex8, processWords } from "../text.ts";
import { ANALYSIS_STYLE } from "./analysis_style.ts";
import type { PageCollector } from "./collect.ts";
import { findingTable } from "./findings.ts";
import { pageMaps } from "./map.ts";
import { card, type Html, number, shown, table } from "./parts.ts";
import { SCRIPT } from "./script.ts";
import { STYLE } from "./style.ts";
import { timeline } from "./timeline.ts";
import { callTable } from "./trace.ts";

/** What the page shows beside the report. */
export interface AnalysisInput {
  readonly report: Report;
  readonly collected: PageCollector;
  /** Absent for a live guest, whose calls nobody sees. */
  readonly trace?: { readonly calls: readonly TracedCall[]; readonly made: number };
}

const plural = (count: number, one: string, many: string) =>
  `${number.format(count)} ${count === 1 ? one : many}`;

function listing(code: readonly Instruction[]): Html {
  const lines = code.map(({ address, bytes, text }) =>
    `${hex8(address)}  ${bytes.padEnd(16).slice(0, 16)}  ${shown(text, 120)}\n`
  );
  return html`<pre>${lines.join("")}</pre>`;
}

function cards({ end, pages, layers, images, findings, processes }: Report): Html {
  const threats = new Set(findings.filter(({ threat }) => threat !== "").map(({ threat }) => threat));
  return html`<div class="cards">
    ${card("Ended", end.reason, shown(end.detail, 90), end.reason !== "exited")}
    ${card("Instructions", number.format(end.instructions), `${end.seconds} s`)}
    ${card("Layers", number.format(layers.length), plural(processes.length, "process", "processes"))}
    ${
    card(
      "Pages stored",
      number.format(pages.stored),
      `${number.format(pages.seen)} seen, ${number.format(pages.deduplicated)} known, ${
        number.format(pages.lost)
      } lost`,
      pages.lost > 0,
    )
  }
    ${card("Images rebuilt", number.format(images.length), images.length > 0 ? "see below" : "none")}
    ${
    card(
      "Threats",
      number.format(threats.size),
      plural(findings.length, "finding", "findings"),
      threats.size > 0,
    )
  }
  </div>`;
}

function nameOf({ name, partial, addressSpace }: Report["processes"][number]): string {
  if (addressSpace !== undefined) return "address space (CR3), no name known";
  return `${shown(name || "?", 40)}${partial ? " (partly read)" : ""}`;
}

function processTable(report: Report): Html {
  return table(
    ["Process", "Name", "Verdict", "#Parent", "#Pages seen", "#Stored", "#Lost", "Path and command line"],
    report.processes.map((process) =>
      html`
        <tr>
          <td>${process.addressSpace === undefined ? process.pid : hex8(process.addressSpace)}</td>
          <td>${nameOf(process)}</td>
          <td><span class="tag ${process.verdict}">${process.verdict}</span></td>
          <td class="n">${process.parentPid}</td>
          <td class="n">${number.format(process.pages.seen)}</td>
          <td class="n">${number.format(process.pages.stored)}</td>
          <td class="n${process.pages.lost > 0 ? " bad" : ""}">${number.format(process.pages.lost)}</td>
          <td class="path">${shown(process.path, 200)}<br>${shown(process.commandLine, 300)}</td>
        </tr>
      `
    ),
    "No process was seen.",
  );
}

function imageTable(report: Report): Html {
  return table(
    ["Image", "#Process", "#Layer", "Entry point", "#Bytes", "Headers", "SHA-256", "Notes"],
    report.images.map((image) => {
      const file = image.id.replace(/^image:/, "") + ".exe";
      const found = report.findings.filter(({ unit, threat }) => unit === image.id && threat !== "");
      const notes = [
        ...found.map(({ threat }) => threat),
        ...image.holes > 0 ? [`${image.holes} pages not captured`] : [],
        ...image.notes,
      ];
      return html`
        <tr>
          <td class="code"><a href="images/${file}">${file}</a></td>
          <td class="n">${image.pid}</td>
          <td class="n">${image.layer}</td>
          <td class="code">${hex8(image.entryPoint)}</td>
          <td class="n">${number.format(image.size)}</td>
          <td>${image.header}</td>
          <td class="code hash">${image.sha256}</td>
          <td>${shown(notes.join("; "), 300)}</td>
        </tr>
      `;
    }),
    "No image was rebuilt.",
  );
}

function entries(report: Report): Html {
  const shownLayers = report.layers.filter(({ entry }) => entry.length > 0);
  if (shownLayers.length === 0) return html`<p class="quiet">No layer was jumped into.</p>`;
  return html`<div class="entries">${
    shownLayers.slice(0, 200).map(({ index, pid, addressSpace, hopFrom, hopTo, entry }) =>
      html`<div><h3>Layer ${index} of ${processWords({ pid, addressSpace })}: ${hex8(hopFrom)} → ${
        hex8(hopTo)
      }</h3>${listing(entry)}</div>`
    )
  }</div>`;
}

function leftOut(report: Report, omitted: number): Html {
  const lines = report.skipped.map(({ what, count }) => `${shown(what, 200)} (${count})`);
  if (omitted > 0) lines.push(`events not drawn on this page (${omitted})`);
  return html`
    ${table(
      ["Function without a model", "#Calls"],
      report.missing.map(({ dll, name, calls }) =>
        html`
          <tr>
            <td class="code">${shown(dll, 60)}!${shown(name, 100)}</td>
            <td class="n">${number.format(calls)}</td>
          </tr>
        `
      ),
      "Every function that was called has a model.",
    )}
    ${lines.length === 0 ? "" : html`
      <p>Left out:</p>
      <ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>
    `}
  `;
}

/** Draws the page. Every text of a guest, a sample or an engine is escaped and cut. */
export async function analysisPage({ report, collected, trace }: AnalysisInput): Promise<string> {
  const style = STYLE + ANALYSIS_STYLE;
  const policy = `default-src 'none'; style-src 'sha256-${sha256Base64(style)}'; script-src 'sha256-${
    sha256Base64(SCRIPT)
  }'; base-uri 'none'; form-action 'none'`;
  const processes = [...collected.processes.values()];
  const calls = trace?.calls ?? [];
  const sections: readonly (readonly [id: string, title: string, content: Html])[] = [
    ["findings", "Findings", findingTable(report.findings, collected.evidence)],
    ["time", "Time line", timeline(processes, calls, calls.at(-1)?.tsc ?? 0)],
    ["map", "Map of pages", pageMaps(processes)],
    ["entries", "Entry points", entries(report)],
    ["images", "Rebuilt images", imageTable(report)],
    ...(trace ? [["calls", "API calls", callTable(calls, trace.made, processes)] as const] : []),
    ["processes", "Processes", processTable(report)],
    ["limits", "What is not here", leftOut(report, collected.omitted)],
  ];
  const { sample } = report;
  const page = html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy" content="${raw(policy)}">
        <meta name="viewport" content="width=device-width,initial-scale=1">
        <title>${shown(sample.name, 100)} · umbra</title>
        <style>${raw(style)}</style>
      </head>
      <body>
    <header><h1>${shown(sample.name, 100)}</h1><span class="tag ${report.verdict}">${report.verdict}</span>
    <span class="quiet">${number.format(sample.size)} bytes · umbra ${report.umbra}</span></header>
    <p class="code quiet hash">SHA-256 ${sample.sha256}</p>
    ${report.reasons.length === 0
      ? ""
      : html`<p class="quiet">${shown(report.reasons.slice(0, 4).join("; "), 400)}</p>`}
    <nav>${sections.map(([id, title]) => html`<a href="#${id}">${title}</a>`)}</nav>
    <main>
    ${cards(report)}
    ${sections.map(([id, title, content]) => html`<section id="${id}"><h2>${title}</h2>${content}</section>`)}
    </main>
    <script>${raw(SCRIPT)}</script>
      </body>
    </html>
  `;
  return String(await page);
}
