// SPDX-License-Identifier: Apache-2.0
import { Command, Option } from "commander";
import { join } from "node:path";
import { FolderFiles } from "../capture/files.ts";
import { Journal, threatsOf } from "../journal/mod.ts";
import { type Emulation, type HypervisorInfo, InputError, type Scanner } from "../ports.ts";
import { emulate } from "../service/emulate.ts";
import type { Service } from "../service/service.ts";
import { type DomainStatus, parseListen, startStatusServer, type StatusSnapshot } from "../status/mod.ts";
import { escapeText, sayError } from "../text.ts";
import type { Io } from "./io.ts";
import { ENGINE, type EngineChoice, openScanner, RULES } from "./options.ts";
import type { Program, Wiring } from "./wiring.ts";

/** What one program of the emulator backend gets. */
const MAX_INSTRUCTIONS = 1_000_000_000;
const TIME_LIMIT = 300;
/** Guests of the emulator backend whose captures are kept: the last ones. */
const KEPT = 200;
/** Verdicts the status page shows, and problems it keeps. */
const SHOWN = 100;

interface Options extends EngineChoice {
  readonly backend: "xen" | "emulator";
  readonly data: string;
  readonly listen: string;
  readonly expose?: true;
}

/** `umbra serve`: the dom0 service with its status page. */
export function serveCommand(wiring: Wiring, io: Io, done: (code: number) => void): Command {
  return new Command("serve")
    .description("run the dom0 service with its status page")
    .addOption(new Option("--backend <kind>", "what to watch").choices(["xen", "emulator"]).default("xen"))
    .option("--data <folder>", "journal and captures", "umbra-data")
    .option("--listen <host:port>", "where the status page listens", "127.0.0.1:8421")
    .option("--expose", "let the status page be reached from other machines")
    .addOption(ENGINE)
    .addOption(RULES)
    .action(async (options: Options) => done(await serve(wiring, io, options)));
}

async function serve(wiring: Wiring, io: Io, options: Options): Promise<number> {
  const address = parseListen(options.listen, options.expose ?? false);
  if (options.backend === "xen") {
    throw new InputError("Cannot serve --backend xen: this umbra has no way to Xen");
  }
  try {
    Deno.mkdirSync(options.data, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new InputError(`Cannot use --data "${escapeText(options.data)}": ${sayError(error)}`);
  }
  const journal = new Journal(join(options.data, "journal.db"));
  let scanner: Scanner | undefined;
  try {
    scanner = await openScanner(wiring, options);
    const guests = new Guests(wiring, options.data, journal, scanner);
    let server;
    try {
      server = startStatusServer(() => guests.snapshot(), address);
    } catch (error) {
      throw new InputError(`Cannot listen on ${escapeText(options.listen)}: ${sayError(error)}`);
    }
    const host = server.hostname.includes(":") ? `[${server.hostname}]` : server.hostname;
    io.out(`umbra serves http://${host}:${server.port}/\n`);
    try {
      for await (const program of wiring.demonstration(io.interrupt)) {
        if (io.interrupt.aborted) break;
        await guests.run(program, io.interrupt);
      }
      await aborted(io.interrupt);
      return 0;
    } finally {
      await server.close();
    }
  } finally {
    await scanner?.close();
    journal.close();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** The guests of the emulator backend, one after the other, and what the status page says of them. */
class Guests {
  readonly #startedAt = Date.now();
  readonly #domains = new Map<number, DomainStatus>();
  /** What the guests before this one came to, by domain: its number is given again, its counters go on. */
  readonly #before = new Map<number, DomainStatus>();
  readonly #problems: string[] = [];
  #hypervisor: HypervisorInfo = { abi: 0, name: "test bed", copyPages: 0, ringEvents: 0, ringPages: 0 };
  #live: { service: Service; emulation: Emulation; name: string } | undefined;

  constructor(
    private readonly wiring: Wiring,
    private readonly data: string,
    private readonly journal: Journal,
    private readonly scanner: Scanner,
  ) {}

  /** Runs one program in a guest of its own, to its verdict. A program that cannot be run is a problem, no end. */
  async run(program: Program, interrupt: AbortSignal): Promise<void> {
    let id = 0;
    let files: FolderFiles | undefined;
    try {
      id = this.journal.openDomain(0, program.name, "test bed");
      files = new FolderFiles(join(this.data, "captures", String(id)));
      let service: Service | undefined;
      const report = await emulate(this.wiring.emulator, program, {
        umbra: this.wiring.version,
        maxInstructions: MAX_INSTRUCTIONS,
        timeLimit: TIME_LIMIT,
        args: [],
        files,
        scanner: this.scanner,
        recorder: this.journal.recorder(id),
        interrupt,
        onStart: (started, emulation) => {
          service = started;
          this.journal.numberDomain(id, emulation.domain);
          this.#hypervisor = emulation.hypervisor.info();
          this.#live = { service, emulation, name: program.name };
          this.#picture("watched");
        },
        onProgress: () => this.#picture("watched"),
      });
      const processes = [...service!.domains.values()].flatMap((domain) => [...domain.processes.values()]);
      report.processes.forEach(({ pid, name, path, verdict, reasons }, index) => {
        const threats = threatsOf(service!.scans.units.values(), processes[index].id);
        this.journal.verdict(id, { pid, name, path, verdict, reasons, threats });
      });
    } catch (error) {
      this.#problems.push(`${escapeText(program.name)}: ${sayError(error)}`);
      if (this.#problems.length > SHOWN) this.#problems.shift();
    } finally {
      this.#picture("ended");
      this.#live = undefined;
      for (const [domain, status] of this.#domains) this.#before.set(domain, status);
      files?.close();
      if (id > 0) this.journal.closeDomain(id);
      this.#forget(id - KEPT);
    }
  }

  /** Removes the captures of a guest that ended long ago, so that programs run again and again fill no disk. */
  #forget(id: number): void {
    try {
      if (id > 0) Deno.removeSync(join(this.data, "captures", String(id)), { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Takes the counters of the running guest. */
  #picture(state: DomainStatus["state"]): void {
    if (!this.#live) return;
    const { service, emulation, name } = this.#live;
    const { domain } = emulation;
    const known = this.#domains.get(domain);
    const before = this.#before.get(domain);
    // At the end the guest may be gone already: its last numbers stay.
    const statistics = state === "ended" && known
      ? known.statistics
      : sum(emulation.hypervisor.statistics(domain), before?.statistics);
    const { pages } = service.domains.get(domain)!;
    this.#domains.set(domain, {
      domain,
      name,
      state,
      statistics: { ...statistics, domain },
      pages: sum({ ...pages }, before?.pages),
    });
  }

  /** The picture the status page shows. */
  snapshot(): StatusSnapshot {
    const engines = this.scanner.engines();
    const problems = [
      ...engines.filter(({ state }) => state !== "ready").map(({ name, state, detail }) =>
        `engine ${name} is ${state}: ${detail}`
      ),
      ...this.#problems,
    ];
    const numbers = new Map(this.journal.domains(1000).map(({ id, number }) => [id, number]));
    return {
      version: this.wiring.version,
      startedAt: this.#startedAt,
      now: Date.now(),
      ready: problems.length === 0,
      problems,
      hypervisor: this.#hypervisor,
      domains: [...this.#domains.values()].sort((a, b) => a.domain - b.domain),
      engines,
      verdicts: this.journal.recentVerdicts(SHOWN).map(({ domain, ...verdict }) => ({
        ...verdict,
        domain: numbers.get(domain) ?? 0,
      })),
      verdictCounts: this.journal.verdictCounts(),
    };
  }
}

/** Adds counters of the same names. */
function sum<T extends Readonly<Record<keyof T, number>>>(counts: T, more: T | undefined): T {
  if (!more) return counts;
  const keys = Object.keys(counts) as (keyof T)[];
  return Object.fromEntries(keys.map((key) => [key, counts[key] + more[key]])) as T;
}
