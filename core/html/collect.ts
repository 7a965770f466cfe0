// SPDX-License-Identifier: Apache-2.0
/**
 * What the page for analysts is drawn from, collected while a run goes on: what happened to each page in each
 * layer, when, and the bytes around what engines found. All of it is bounded; what did not fit is counted.
 *
 * @module
 */
import { parsePeHeader } from "../capture/pe_header.ts";
import type { EventKind, Finding, MonitorEvent, Scanner, Unit } from "../ports.ts";
import type { RecordedEvent, Recorder } from "../service/service.ts";

/** One page of one process in one layer. */
export interface MapCell {
  readonly va: number;
  readonly layer: number;
  /** How often each kind of event named it. */
  readonly kinds: Map<EventKind, number>;
  /** Turns it stands for, coalesced ones included. */
  turns: number;
  /** True when the process jumped into it right after writing it. */
  hop: boolean;
  lost: boolean;
  /** Hash of the last content captured in this layer. */
  sha256: string | undefined;
}

/** A run of addresses that was allocated as one. */
export interface Allocation {
  readonly base: number;
  readonly size: number;
}

/** One moment for the time line. */
export interface Moment {
  /** Guest time-stamp counter. */
  readonly tsc: number;
  readonly layer: number;
  readonly kind: EventKind;
  readonly va: number;
  readonly hop: boolean;
}

/** What was seen of one process. */
export interface ProcessMap {
  readonly domain: number;
  readonly pid: number;
  /** CR3 of a process of which nothing else is known. */
  readonly addressSpace?: number;
  name: string;
  /** By layer and address. */
  readonly cells: Map<string, MapCell>;
  readonly allocations: Map<number, Allocation>;
  /** First layer in which a page was known to be written, by address. */
  readonly written: Map<number, number>;
  readonly moments: Moment[];
}

/** Bytes around the place an engine named in a unit. */
export interface Evidence {
  /** Offset of the first byte in the unit, and its virtual address (0 in a file). */
  readonly offset: number;
  readonly va: number;
  readonly bytes: Uint8Array;
}

const MOST_CELLS = 50_000;
const MOST_MOMENTS = 20_000;
const MOST_EVIDENCE = 256;
/** Bytes kept in front of what is found, and in all. */
const BEFORE = 16, LENGTH = 80;

const WRITTEN: ReadonlySet<EventKind> = new Set(["S2", "layer", "residue", "coalesced"]);

/** See the module's description. Give it to a service as its recorder. */
export class PageCollector implements Recorder {
  readonly processes = new Map<string, ProcessMap>();
  readonly evidence = new Map<string, Evidence>();
  /** Cells and moments that were left out. */
  omitted = 0;
  #cells = 0;
  #moments = 0;
  /** Bytes around matches by content and offset; `va` is the address of the content's first byte. */
  readonly #contents = new Map<string, Evidence>();

  /** @param next the recorder that is told as well. */
  constructor(private readonly next?: Recorder) {}

  record(batch: Parameters<Recorder["record"]>[0]): void {
    this.next?.record(batch);
    for (const recorded of batch.events) this.#event(recorded);
    for (const { key, name } of batch.processes) {
      const process = this.processes.get(`${batch.domain}:${key}`);
      if (process) process.name = name;
    }
  }

  findings(record: Parameters<Recorder["findings"]>[0]): void {
    this.next?.findings(record);
    // A content that several units hold is scanned once: the others have the same bytes at an address of their own.
    for (const { threats } of record.findings ?? []) {
      for (const { offset } of threats) {
        const found = this.#contents.get(`${record.sha256}@${offset}`);
        if (!found || this.evidence.size >= MOST_EVIDENCE) continue;
        const va = addressOf(record.id) ?? found.va;
        const start = found.offset;
        this.evidence.set(`${record.id}@${offset}`, { ...found, va: va === 0 ? 0 : va + start });
      }
    }
  }

  #event({ event, outcome, sha256 }: RecordedEvent): void {
    const process = this.#process(event);
    this.#moment(process, event);
    if (event.va === 0) return;
    const key = `${event.layer}:${event.va}`;
    let cell = process.cells.get(key);
    if (!cell) {
      if (this.#cells >= MOST_CELLS) {
        this.omitted++;
        return;
      }
      this.#cells++;
      const { va, layer } = event;
      cell = { va, layer, kinds: new Map(), turns: 0, hop: false, lost: false, sha256: undefined };
      process.cells.set(key, cell);
    }
    cell.kinds.set(event.kind, (cell.kinds.get(event.kind) ?? 0) + 1);
    cell.turns += event.turns;
    cell.hop ||= event.hop;
    cell.lost ||= outcome === "lost";
    cell.sha256 = sha256 ?? cell.sha256;
    if ((WRITTEN.has(event.kind) || event.hop) && !process.written.has(event.va)) {
      process.written.set(event.va, event.layer);
    }
    const { allocationBase: base, allocationSize: size } = event;
    if (size > 0) process.allocations.set(base, { base, size });
  }

  #process({ domain, process: key, pid, addressSpace }: MonitorEvent): ProcessMap {
    const id = `${domain}:${key}`;
    let process = this.processes.get(id);
    if (!process) {
      process = {
        domain,
        pid,
        ...addressSpace === undefined ? {} : { addressSpace },
        name: "",
        cells: new Map(),
        allocations: new Map(),
        written: new Map(),
        moments: [],
      };
      this.processes.set(id, process);
    }
    return process;
  }

  #moment(process: ProcessMap, { tsc, layer, kind, va, hop }: MonitorEvent): void {
    if (this.#moments >= MOST_MOMENTS) {
      this.omitted++;
      return;
    }
    this.#moments++;
    process.moments.push({ tsc: Number(tsc), layer, kind, va, hop });
  }

  /** A scanner that hands everything on and keeps the bytes around what is found. */
  watching(scanner: Scanner): Scanner {
    return {
      engines: () => scanner.engines(),
      sift: scanner.sift && ((units, signal) => scanner.sift!(units, signal)),
      close: () => scanner.close(),
      scan: async (unit, signal) => {
        const findings = await scanner.scan(unit, signal);
        this.#keep(unit, findings);
        return findings;
      },
    };
  }

  #keep(unit: Unit, findings: readonly Finding[]): void {
    for (const { threats } of findings) {
      for (const { offset } of threats) {
        if (offset === undefined || this.#contents.size >= MOST_EVIDENCE) continue;
        const start = Math.max(0, Math.min(offset, unit.bytes.length) - BEFORE) & ~15;
        this.#contents.set(`${unit.sha256}@${offset}`, {
          offset: start,
          va: unit.kind === "image" ? imageBase(unit.bytes) : unit.va,
          bytes: unit.bytes.slice(start, start + LENGTH),
        });
      }
    }
  }
}

/** Address of a page's or region's first byte, from its unit's name; undefined for images and files. */
function addressOf(unit: string): number | undefined {
  const match = /^(?:page|region):([0-9a-f]{8})-/.exec(unit);
  return match ? parseInt(match[1], 16) : undefined;
}

/** Where a rebuilt image's first byte belongs: in it, file offsets are those of memory. 0 when it is not known. */
function imageBase(bytes: Uint8Array): number {
  const header = parsePeHeader(bytes);
  return typeof header === "string" ? 0 : header.imageBase;
}
