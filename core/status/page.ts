// SPDX-License-Identifier: Apache-2.0
/**
 * The status page for people: one HTML page without script, drawn on the server.
 *
 * @module
 */
import { html } from "hono/html";
import { card, type Html, number, shown, table } from "../html/parts.ts";
import type { EngineStatus } from "../ports.ts";
import type { DomainStatus, StatusSnapshot, VerdictStatus } from "./snapshot.ts";
import { STYLE } from "../html/style.ts";

/** Rates of a domain, a second, over the last minute. */
export interface DomainRates {
  readonly events: number;
  readonly pages: number;
}

/** Seconds between two refreshes of the page. */
const REFRESH = 5;

function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

function domainRow(domain: DomainStatus, rates: DomainRates | undefined): Html {
  const { pages, statistics } = domain;
  return html`
    <tr>
      <td>${domain.domain}</td>
      <td>${shown(domain.name, 60)}</td>
      <td>${domain.state}</td>
      <td class="n">${number.format(rates?.events ?? 0)}</td>
      <td class="n">${number.format(statistics.events)}</td>
      <td class="n">${number.format(pages.seen)}</td>
      <td class="n">${number.format(pages.stored)}</td>
      <td class="n">${number.format(pages.deduplicated)}</td>
      <td class="n${pages.lost > 0 ? " bad" : ""}">${number.format(pages.lost)}</td>
      <td class="n">${number.format(statistics.vcpuPauses)}</td>
    </tr>
  `;
}

function engineRow(engine: EngineStatus): Html {
  const unfinished = engine.scans.incomplete + engine.scans.error;
  const scanned = engine.scans.malicious + engine.scans.clean + unfinished;
  const state = engine.state === "ready"
    ? html`<span class="tag clean">ready</span>`
    : html`<span class="tag malicious">${engine.state}</span> ${shown(engine.detail, 120)}`;
  return html`
    <tr>
      <td>${shown(engine.name, 40)}</td>
      <td>${shown(engine.version, 40)}</td>
      <td>${shown(engine.knowledge, 120)}</td>
      <td>${state}</td>
      <td class="n">${number.format(scanned)}</td>
      <td class="n${unfinished > 0 ? " bad" : ""}">${number.format(unfinished)}</td>
    </tr>
  `;
}

function verdictRow(verdict: VerdictStatus, now: number): Html {
  const threats = verdict.threats.map(({ engine, threat }) => `${engine}: ${threat}`).join(", ");
  return html`
    <tr>
      <td>${duration(now - verdict.at)} ago</td>
      <td>${verdict.domain}</td>
      <td>${shown(verdict.name, 40)} <span class="quiet">${verdict.pid}</span></td>
      <td><span class="tag ${verdict.verdict}">${verdict.verdict}</span></td>
      <td>${shown(threats, 160)}</td>
      <td class="path">${shown(verdict.path, 160)}</td>
    </tr>
  `;
}

/** Draws the page. Every text of a guest, a sample or an engine is escaped and cut. */
export function statusPage(
  snapshot: StatusSnapshot,
  rates: ReadonlyMap<number, DomainRates>,
): Html {
  const sum = (value: (domain: DomainStatus) => number) =>
    snapshot.domains.reduce((total, domain) => total + value(domain), 0);
  const perSecond = [...rates.values()].reduce((total, rate) => total + rate.events, 0);
  const lost = sum((domain) => domain.pages.lost);
  const { verdictCounts: verdicts } = snapshot;
  const finished = Object.values(verdicts).reduce((total, count) => total + count, 0);
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta http-equiv="refresh" content="${REFRESH}">
        <meta name="viewport" content="width=device-width,initial-scale=1">
        <title>umbra</title>
        <style>${STYLE}</style>
      </head>
      <body>
    <header><h1>umbra</h1><span class="tag ${snapshot.ready ? "clean" : "malicious"}">${snapshot.ready
      ? "ready"
      : "not ready"}</span><span class="quiet">${snapshot.version} on ${shown(
        snapshot.hypervisor.name,
        60,
      )},
    up ${duration(snapshot.now - snapshot.startedAt)}</span></header>
    ${snapshot.problems.length === 0
      ? ""
      : html`<ul class="problems">${
        snapshot.problems.map((line) => html`<li>${shown(line, 300)}</li>`)
      }</ul>`}
    <main><section class="cards">
    ${card(
      "Events",
      number.format(sum((domain) => domain.statistics.events)),
      `${number.format(perSecond)} a second`,
    )}
    ${card(
      "Pages stored",
      number.format(sum((d) => d.pages.stored)),
      `${number.format(sum((d) => d.pages.seen))} seen`,
    )}
    ${card(
      "Pages lost",
      number.format(lost),
      lost > 0 ? "see the domains below" : "nothing was lost",
      lost > 0,
    )}
    ${card(
      "Malicious",
      number.format(verdicts.malicious),
      `of ${number.format(finished)} processes`,
      verdicts.malicious > 0,
    )}
    </section>
    <section><h2>Recent verdicts</h2>${table(
      ["When", "Domain", "Process", "Verdict", "Found", "Path"],
      snapshot.verdicts.map((verdict) => verdictRow(verdict, snapshot.now)),
      "No process has ended yet.",
    )}</section>
    <section><h2>Domains</h2>${table(
      [
        "Number",
        "Name",
        "State",
        "#Events a second",
        "#Events",
        "#Pages seen",
        "#Stored",
        "#Deduplicated",
        "#Lost",
        "#Pauses",
      ],
      snapshot.domains.map((domain) => domainRow(domain, rates.get(domain.domain))),
      "No domain is watched.",
    )}</section>
    <section><h2>Engines</h2>${table(
      ["Name", "Version", "Knows", "State", "#Units scanned", "#Unfinished"],
      snapshot.engines.map(engineRow),
      "No engine is in use.",
    )}</section></main>
    <footer class="quiet"><a href="/metrics">metrics</a> <a href="/api/v1/status">status as JSON</a>
    <a href="/openapi.json">API</a></footer></body>
    </html>
  `;
}
