// SPDX-License-Identifier: Apache-2.0
/**
 * The picture as Prometheus reads it (text exposition format 0.0.4).
 *
 * @module
 */
import type { DomainStatus, StatusSnapshot } from "./snapshot.ts";

/** One metric of every domain: name, type, help, where its value comes from. */
const DOMAIN_METRICS: readonly (readonly [
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (domain: DomainStatus) => number,
])[] = [
  ["umbra_events_total", "counter", "Events of the monitor.", (d) => d.statistics.events],
  ["umbra_pages_seen_total", "counter", "Pages whose content was due.", (d) => d.pages.seen],
  ["umbra_pages_stored_total", "counter", "Pages stored.", (d) => d.pages.stored],
  ["umbra_pages_deduplicated_total", "counter", "Pages known already.", (d) => d.pages.deduplicated],
  ["umbra_pages_lost_total", "counter", "Pages lost.", (d) => d.pages.lost],
  [
    "umbra_turns_coalesced_total",
    "counter",
    "Turns counted, not copied.",
    (d) => d.statistics.turnsCoalesced,
  ],
  ["umbra_vcpu_pauses_total", "counter", "Times a vCPU was held.", (d) => d.statistics.vcpuPauses],
  ["umbra_shadow_faults_total", "counter", "Shadow faults the hook looked at.", (d) => d.statistics.faults],
];

/** A label value: backslash, quote and line feed are escaped. */
function label(value: string): string {
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

/** All metrics as text. */
export function metricsText(snapshot: StatusSnapshot): string {
  const lines: string[] = [];
  const metric = (name: string, type: string, help: string, rows: readonly (readonly [string, number])[]) => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of rows) lines.push(`${name}${labels} ${value}`);
  };
  metric("umbra_info", "gauge", "Version of umbra and of what it speaks to.", [[
    `{version=${label(snapshot.version)},hypervisor=${label(snapshot.hypervisor.name)}}`,
    1,
  ]]);
  metric("umbra_ready", "gauge", "1 when everything it needs stands.", [["", snapshot.ready ? 1 : 0]]);
  metric("umbra_uptime_seconds", "gauge", "Seconds since the start.", [
    ["", Math.round((snapshot.now - snapshot.startedAt) / 1000)],
  ]);
  for (const [name, type, help, value] of DOMAIN_METRICS) {
    metric(
      name,
      type,
      help,
      snapshot.domains.map((domain) => [`{domain="${domain.domain}"}`, value(domain)]),
    );
  }
  metric(
    "umbra_engine_ready",
    "gauge",
    "1 when the engine can scan.",
    snapshot.engines.map((
      engine,
    ) => [`{engine=${label(engine.name)}}`, engine.state === "ready" ? 1 : 0]),
  );
  metric(
    "umbra_engine_scans_total",
    "counter",
    "Scans by how they ended.",
    snapshot.engines.flatMap((engine) =>
      Object.entries(engine.scans).map(([status, count]) =>
        [`{engine=${label(engine.name)},status="${status}"}`, count] as const
      )
    ),
  );
  metric(
    "umbra_verdicts_total",
    "counter",
    "Verdicts on processes.",
    Object.entries(snapshot.verdictCounts).map(([verdict, count]) => [`{verdict="${verdict}"}`, count]),
  );
  return lines.join("\n") + "\n";
}
