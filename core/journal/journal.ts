// SPDX-License-Identifier: Apache-2.0
/**
 * The journal: what was seen, stored, found and concluded, in SQLite. What a call wrote is there after `kill -9`.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { InputError, type ProcessIdentity } from "../ports.ts";
import { reportFindings } from "../report.ts";
import type { Outcome, PageCounts } from "../service/domain.ts";
import type { UnitRecord } from "../service/scans.ts";
import type { RecordedEvent, Recorder } from "../service/service.ts";
import { byText, escapeText, sayError } from "../text.ts";
import type { Verdict } from "../verdict.ts";
import { migrate } from "./schema.ts";

/** Most rows any query gives. */
const MOST_ROWS = 1000;

/** A watched domain, from {@link Journal.openDomain} to {@link Journal.closeDomain}. */
export interface JournalDomain {
  readonly id: number;
  readonly number: number;
  readonly name: string;
  readonly hypervisor: string;
  /** Milliseconds since 1970. */
  readonly started: number;
  readonly ended: number | undefined;
  readonly pages: PageCounts;
}

/** What was found in a process, by engine. */
export interface JournalThreat {
  readonly engine: string;
  readonly threat: string;
}

/** A verdict on a process. */
export interface JournalVerdict {
  /** {@link JournalDomain.id}. */
  readonly domain: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly pid: number;
  readonly name: string;
  readonly path: string;
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
  readonly threats: readonly JournalThreat[];
}

/** What the engines said, summed up. */
export interface JournalEngine {
  readonly engine: string;
  readonly status: string;
  readonly findings: number;
}

const CHANGE = {
  domain: "INSERT INTO domains (number, name, hypervisor, started) VALUES (?, ?, ?, ?)",
  number: "UPDATE domains SET number = ? WHERE id = ?",
  end: "UPDATE domains SET ended = ? WHERE id = ? AND ended IS NULL",
  count: `UPDATE domains SET seen = seen + ?, stored = stored + ?, deduplicated = deduplicated + ?,
    lost = lost + ? WHERE id = ?`,
  process: "INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  event: "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
  capture: "INSERT OR IGNORE INTO captures VALUES (?, ?, ?, ?)",
  finding: `INSERT INTO findings (domain, at, unit, engine, status, threat, offset, detail)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  verdict: `INSERT INTO verdicts (domain, at, pid, name, path, verdict, reasons, threats)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
} as const;

const SELECT = {
  domains: "SELECT * FROM domains ORDER BY id DESC LIMIT ?",
  losses: "SELECT * FROM domains WHERE lost > 0 ORDER BY id DESC LIMIT ?",
  verdicts: "SELECT * FROM verdicts ORDER BY id DESC LIMIT ?",
  verdictCounts: "SELECT verdict, COUNT(*) AS count FROM verdicts GROUP BY verdict",
  engines: `SELECT engine, status, COUNT(*) AS count FROM findings GROUP BY engine, status
    ORDER BY engine, status LIMIT ?`,
  rate: "SELECT COUNT(*) AS events, COUNT(sha256) AS pages FROM events WHERE domain = ? AND at > ?",
} as const;

type Row = Record<string, unknown>;

/** The journal of one service. */
export class Journal {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #now: () => number;

  /**
   * Opens or makes a journal; `:memory:` for one that is forgotten. Throws {@link InputError} when the file is
   * not a journal, is from a later umbra, or cannot be written.
   */
  constructor(path: string, now: () => number = Date.now) {
    this.#now = now;
    let database: DatabaseSync | undefined;
    try {
      if (path !== ":memory:") Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
      database = new DatabaseSync(path);
      database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON");
      migrate(database);
      this.#database = database;
    } catch (error) {
      database?.close();
      throw new InputError(`Cannot open the journal "${escapeText(path)}": ${sayError(error)}`);
    }
  }

  #statement(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (!statement) this.#statements.set(text, statement = this.#database.prepare(text));
    return statement;
  }

  /** Runs `body` as one transaction: all of it is in the journal, or none. */
  #transaction(body: () => void): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      body();
      this.#database.exec("COMMIT");
    } catch (error) {
      // A full disk ends the transaction by itself.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw new Error(`Cannot write the journal: ${sayError(error)}`, { cause: error });
    }
  }

  /** Notes that a domain is watched from now on; returns its id in the journal. */
  openDomain(number: number, name: string, hypervisor: string): number {
    return Number(this.#statement(CHANGE.domain).run(number, name, hypervisor, this.#now()).lastInsertRowid);
  }

  /** Notes the number of a domain that was opened before it had one. */
  numberDomain(id: number, number: number): void {
    this.#statement(CHANGE.number).run(number, id);
  }

  /** Notes that the watch of a domain ended. */
  closeDomain(id: number): void {
    this.#statement(CHANGE.end).run(this.#now(), id);
  }

  /** Writes a batch of events with what became of their pages, whole or not at all. */
  record(id: number, events: readonly RecordedEvent[], processes: readonly ProcessIdentity[]): void {
    const at = this.#now();
    const counts: Record<Outcome, number> = { stored: 0, deduplicated: 0, lost: 0, none: 0 };
    this.#transaction(() => {
      for (const { key, pid, parentPid, name, path, commandLine, partial } of processes) {
        this.#statement(CHANGE.process).run(
          id,
          key,
          pid,
          parentPid,
          name,
          path,
          commandLine,
          partial ? 1 : 0,
        );
      }
      for (const { event, outcome, sha256 } of events) {
        const { sequence, kind, process, tid, va, layer, hopFrom, hopTo, turns } = event;
        this.#statement(CHANGE.event).run(
          id,
          sequence,
          at,
          kind,
          process,
          tid,
          va,
          layer,
          hopFrom,
          hopTo,
          turns,
          outcome,
          sha256 ?? null,
        );
        if (outcome === "stored") this.#statement(CHANGE.capture).run(id, va, sha256!, sequence);
        counts[outcome]++;
      }
      const { stored, deduplicated, lost } = counts;
      this.#statement(CHANGE.count).run(stored + deduplicated + lost, stored, deduplicated, lost, id);
    });
  }

  /** Writes what the engines said of a unit, but that it is clean. */
  findings(id: number, unit: UnitRecord): void {
    const rows = reportFindings([unit]);
    if (rows.length === 0) return;
    const at = this.#now();
    this.#transaction(() => {
      for (const { engine, status, threat, offset, detail } of rows) {
        this.#statement(CHANGE.finding).run(
          id,
          at,
          unit.id,
          engine,
          status,
          threat,
          offset ?? null,
          detail ?? "",
        );
      }
    });
  }

  /** Writes the verdict on a process. */
  verdict(id: number, verdict: Omit<JournalVerdict, "domain" | "at">): void {
    const { pid, name, path, reasons, threats } = verdict;
    this.#statement(CHANGE.verdict).run(
      id,
      this.#now(),
      pid,
      name,
      path,
      verdict.verdict,
      JSON.stringify(reasons),
      JSON.stringify(threats),
    );
  }

  /** A {@link Recorder} for the service that watches one domain. */
  recorder(id: number): Recorder {
    return {
      record: ({ events, processes }) => this.record(id, events, processes),
      findings: (unit) => this.findings(id, unit),
    };
  }

  /** Domains, newest first. */
  domains(limit = 100): JournalDomain[] {
    return this.#rows(SELECT.domains, limit).map(toDomain);
  }

  /** Domains that lost pages, newest first. */
  losses(limit = 100): JournalDomain[] {
    return this.#rows(SELECT.losses, limit).map(toDomain);
  }

  /** Verdicts, newest first. */
  recentVerdicts(limit: number): JournalVerdict[] {
    return this.#rows(SELECT.verdicts, limit).map((row) => ({
      domain: Number(row.domain),
      at: Number(row.at),
      pid: Number(row.pid),
      name: String(row.name),
      path: String(row.path),
      verdict: row.verdict as Verdict,
      reasons: JSON.parse(String(row.reasons)),
      threats: JSON.parse(String(row.threats)),
    }));
  }

  /** Verdicts so far, by kind. */
  verdictCounts(): Record<Verdict, number> {
    const counts: Record<Verdict, number> = { malicious: 0, clean: 0, incomplete: 0, error: 0 };
    for (const row of this.#statement(SELECT.verdictCounts).all() as Row[]) {
      counts[row.verdict as Verdict] = Number(row.count);
    }
    return counts;
  }

  /** How often each engine said what, clean scans left out. */
  engines(limit = 100): JournalEngine[] {
    return this.#rows(SELECT.engines, limit).map((row) => ({
      engine: String(row.engine),
      status: String(row.status),
      findings: Number(row.count),
    }));
  }

  /** Events and pages with content a second, of one domain over the last `seconds`. */
  rates(id: number, seconds: number): { readonly events: number; readonly pages: number } {
    const row = this.#statement(SELECT.rate).get(id, this.#now() - seconds * 1000) as Row;
    return { events: Number(row.events) / seconds, pages: Number(row.pages) / seconds };
  }

  #rows(query: string, limit: number): Row[] {
    return this.#statement(query).all(Math.max(0, Math.min(limit, MOST_ROWS))) as Row[];
  }

  close(): void {
    this.#database.close();
  }
}

function toDomain(row: Row): JournalDomain {
  return {
    id: Number(row.id),
    number: Number(row.number),
    name: String(row.name),
    hypervisor: String(row.hypervisor),
    started: Number(row.started),
    ended: row.ended === null ? undefined : Number(row.ended),
    pages: {
      seen: Number(row.seen),
      stored: Number(row.stored),
      deduplicated: Number(row.deduplicated),
      lost: Number(row.lost),
    },
  };
}

/** What was found in one process, by engine and threat, each once. */
export function threatsOf(units: Iterable<UnitRecord>, owner: string): JournalThreat[] {
  const found = new Map<string, JournalThreat>();
  for (const unit of units) {
    if (!unit.owners.has(owner)) continue;
    for (const { engine, status, threats } of unit.findings ?? []) {
      if (status !== "malicious") continue;
      for (const { name } of threats) found.set(`${engine} ${name}`, { engine, threat: name });
    }
  }
  return [...found.values()].sort((a, b) => byText(a.engine, b.engine) || byText(a.threat, b.threat));
}
