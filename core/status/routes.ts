// SPDX-License-Identifier: Apache-2.0
/**
 * The routes of the status server, said once: the server answers by this table and describes itself by it.
 *
 * @module
 */
import { metricsText } from "./metrics.ts";
import { type DomainRates, statusPage } from "./page.ts";
import type { StatusSnapshot } from "./snapshot.ts";

/** What a route answers. */
export interface Answer {
  readonly status: 200 | 503;
  readonly body: string;
}

/** What a route may look at. */
export interface RouteContext {
  readonly snapshot: StatusSnapshot;
  readonly rates: ReadonlyMap<number, DomainRates>;
}

/** One route; all are GET and change nothing. */
export interface Route {
  readonly path: string;
  readonly summary: string;
  readonly type: string;
  /** Statuses it may answer besides 200, with their meaning. */
  readonly others?: Readonly<Record<string, string>>;
  readonly answer: (context: RouteContext) => Answer | Promise<Answer>;
}

const JSON_TYPE = "application/json";

function json(value: unknown, status: Answer["status"] = 200): Answer {
  // Entries and counters of the monitor may be 64 bits wide.
  const body = JSON.stringify(value, (_, entry) => typeof entry === "bigint" ? entry.toString() : entry);
  return { status, body };
}

/** All routes, in the order in which they are described. */
export const routes: readonly Route[] = [
  {
    path: "/",
    summary: "Status page for people",
    type: "text/html; charset=utf-8",
    answer: async ({ snapshot, rates }) => ({ status: 200, body: String(await statusPage(snapshot, rates)) }),
  },
  {
    path: "/healthz",
    summary: "Answers while the process lives",
    type: JSON_TYPE,
    answer: () => json({ status: "ok" }),
  },
  {
    path: "/readyz",
    summary: "Whether everything the service needs stands",
    type: JSON_TYPE,
    others: { 503: "Something is missing; problems says what" },
    answer: ({ snapshot: { ready, problems } }) =>
      json({ status: ready ? "ready" : "not ready", problems }, ready ? 200 : 503),
  },
  {
    path: "/metrics",
    summary: "Counters and gauges in Prometheus' text format",
    type: "text/plain; version=0.0.4; charset=utf-8",
    answer: ({ snapshot }) => ({ status: 200, body: metricsText(snapshot) }),
  },
  {
    path: "/api/v1/status",
    summary: "The whole picture: domains, rates, losses, engines, recent verdicts",
    type: JSON_TYPE,
    answer: ({ snapshot, rates }) =>
      json({
        ...snapshot,
        domains: snapshot.domains.map((domain) => ({
          ...domain,
          rates: rates.get(domain.domain) ?? { events: 0, pages: 0 },
        })),
      }),
  },
  {
    path: "/openapi.json",
    summary: "This description (OpenAPI 3.1)",
    type: JSON_TYPE,
    answer: ({ snapshot }) => json(openApi(snapshot.version)),
  },
];

/** The description of the API, made from {@link routes}. */
export function openApi(version: string): Record<string, unknown> {
  const paths = routes.map(({ path, summary, type, others = {} }) => {
    const media = type.split(";")[0];
    const described = Object.entries(others).map(([status, description]) => [
      status,
      { description, content: { [media]: {} } },
    ]);
    return [path, {
      get: {
        summary,
        responses: {
          200: { description: "Done", content: { [media]: {} } },
          ...Object.fromEntries(described),
        },
      },
    }];
  });
  return {
    openapi: "3.1.0",
    info: { title: "umbra", version, license: { name: "Apache-2.0", identifier: "Apache-2.0" } },
    paths: Object.fromEntries(paths),
  };
}
