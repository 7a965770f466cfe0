// SPDX-License-Identifier: Apache-2.0
/**
 * The status server: answers {@link routes} about the picture it is given, read-only.
 *
 * @module
 */
import { Hono } from "hono";
import { isLocalHost, type ListenAddress } from "./listen.ts";
import type { DomainRates } from "./page.ts";
import { RateMeter } from "./rates.ts";
import { routes } from "./routes.ts";
import type { StatusSnapshot } from "./snapshot.ts";
import { sha256Base64 } from "../hash.ts";
import { STYLE } from "../html/style.ts";

/** Milliseconds between two samples of the counters. */
const SAMPLE_EVERY = 2000;

const STYLE_HASH = sha256Base64(STYLE);

/** Headers of every answer: nothing is loaded, run, framed, cached or told to others. */
const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy":
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
};

/** Rates of all domains, from samples of their counters. */
class Rates {
  readonly #meters = new Map<number, { readonly events: RateMeter; readonly pages: RateMeter }>();

  sample({ domains, now }: StatusSnapshot): void {
    const present = new Set(domains.map(({ domain }) => domain));
    for (const domain of this.#meters.keys()) if (!present.has(domain)) this.#meters.delete(domain);
    for (const { domain, statistics, pages } of domains) {
      let meters = this.#meters.get(domain);
      if (!meters) this.#meters.set(domain, meters = { events: new RateMeter(), pages: new RateMeter() });
      meters.events.sample(now, statistics.events);
      meters.pages.sample(now, pages.seen);
    }
  }

  get current(): ReadonlyMap<number, DomainRates> {
    return new Map(
      [...this.#meters].map(([domain, { events, pages }]) => [
        domain,
        { events: events.perSecond, pages: pages.perSecond },
      ]),
    );
  }
}

/** Answers requests about the picture that `snapshot` gives. With `localOnly`, only to this machine's names. */
export function statusApp(
  snapshot: () => StatusSnapshot,
  options: { readonly localOnly: boolean; readonly rates?: () => ReadonlyMap<number, DomainRates> },
): Hono {
  const app = new Hono();
  app.use(async (context, next) => {
    await next();
    for (const [name, value] of Object.entries(HEADERS)) context.res.headers.set(name, value);
  });
  if (options.localOnly) {
    app.use(async (context, next) => {
      if (!isLocalHost(context.req.header("host"))) return context.text("Not a name of this machine\n", 403);
      await next();
    });
  }
  for (const route of routes) {
    app.get(route.path, async (context) => {
      const { status, body } = await route.answer({
        snapshot: snapshot(),
        rates: options.rates?.() ?? new Map(),
      });
      return context.body(body, status, { "content-type": route.type });
    });
    app.all(
      route.path,
      (context) => context.text("Only GET is answered here\n", 405, { allow: "GET, HEAD" }),
    );
  }
  app.notFound((context) => context.text("There is nothing here; see /openapi.json\n", 404));
  return app;
}

/** A running status server. */
export interface StatusServer {
  /** Where it really listens (the port when 0 was asked for). */
  readonly hostname: string;
  readonly port: number;
  /** Stops listening and ends open requests. */
  close(): Promise<void>;
}

/** Starts the server. Throws when the address cannot be had. */
export function startStatusServer(snapshot: () => StatusSnapshot, address: ListenAddress): StatusServer {
  const rates = new Rates();
  rates.sample(snapshot());
  const app = statusApp(snapshot, { localOnly: address.loopback, rates: () => rates.current });
  const stop = new AbortController();
  const server = Deno.serve(
    { hostname: address.hostname, port: address.port, signal: stop.signal, onListen: () => {} },
    (request) => app.fetch(request),
  );
  const timer = setInterval(() => rates.sample(snapshot()), SAMPLE_EVERY);
  return {
    hostname: server.addr.hostname,
    port: server.addr.port,
    close: async () => {
      clearInterval(timer);
      stop.abort();
      await server.finished;
    },
  };
}
