// SPDX-License-Identifier: Apache-2.0
/**
 * The dom0 service: VIRQ → fetch → copy → hash → store → acknowledge → layers → regions → images → scans.
 *
 * @module
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CaptureFiles } from "../capture/files.ts";
import type { LayerImage, LayerResult, Page } from "../capture/process.ts";
import { PageStore } from "../capture/store.ts";
import { sha256 } from "../hash.ts";
import type {
  EngineStatus,
  Hypervisor,
  MonitorEvent,
  ProcessIdentity,
  Scanner,
  Unit,
  WatchRule,
  WatchSettings,
} from "../ports.ts";
import { hex8, sayError } from "../text.ts";
import { DomainState, type Outcome, type ProcessState } from "./domain.ts";
import { eventLine } from "./event_line.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { Scans, type UnitRecord } from "./scans.ts";

/** What is kept of a batch of events before it is acknowledged: returns only when it is safe. */
export interface Recorder {
  record(batch: {
    readonly domain: number;
    readonly events: readonly RecordedEvent[];
    readonly processes: readonly ProcessIdentity[];
  }): void;
  /** Called when all engines have answered for a unit. */
  findings(record: UnitRecord): void;
}

/** An event with what became of its page. */
export interface RecordedEvent {
  readonly event: MonitorEvent;
  readonly outcome: Outcome;
  /** Hash of the page's content, when it is known. */
  readonly sha256: string | undefined;
}

/** What a service is made of. */
export interface ServiceOptions {
  readonly hypervisor: Hypervisor;
  readonly files: CaptureFiles;
  /** Undefined: nothing is scanned. */
  readonly scanner?: Scanner;
  readonly recorder?: Recorder;
  readonly limits?: Partial<Limits>;
  /** Aborts the scans, not the storing. */
  readonly signal?: AbortSignal;
}

/** An image that was rebuilt, for the report. */
export interface ImageRecord {
  readonly id: string;
  readonly process: string;
  readonly layer: number;
  readonly va: number;
  readonly sha256: string;
  readonly size: number;
  readonly entryPoint: number;
  readonly header: "kept" | "built";
  readonly holes: number;
  readonly notes: readonly string[];
}

/** A fetched batch that is not acknowledged yet. Each step is done once, also when a later one fails. */
interface Batch {
  readonly domain: DomainState;
  readonly events: readonly MonitorEvent[];
  /** By snapshot; undefined: gone, or refused by a full store. */
  readonly pages: Map<number, (Page & { readonly fresh: boolean }) | undefined>;
  readonly identities: Map<number, ProcessIdentity>;
  refused: number;
  written: boolean;
  recorded: boolean;
}

/** How often the modules of a process are looked at in one layer. */
const LOOKS_A_LAYER = 16;

/** Collects what the monitor saw of any number of domains and has it scanned. */
export class Service {
  readonly scans: Scans;
  readonly domains = new Map<number, DomainState>();
  readonly images: ImageRecord[] = [];
  /** What was not made because of a limit: how often, in words. */
  readonly skipped = new Map<string, number>();
  readonly #hypervisor: Hypervisor;
  readonly #files: CaptureFiles;
  readonly #scanner: Scanner | undefined;
  readonly #recorder: Recorder | undefined;
  readonly #limits: Limits;
  readonly #store: PageStore;
  readonly #imageHashes = new Map<string, string>();
  readonly #batches = new Map<number, Batch>();
  readonly #stopVirq: () => void;
  #lines = 0;
  #draining: Promise<void> = Promise.resolve();
  #virqListener: (() => void) | undefined;

  constructor(options: ServiceOptions) {
    this.#hypervisor = options.hypervisor;
    this.#files = options.files;
    this.#scanner = options.scanner;
    this.#recorder = options.recorder;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#store = new PageStore(options.files, this.#limits.pages);
    this.scans = new Scans(
      options.scanner,
      this.#limits,
      options.signal,
      (unit) => this.#recorder?.findings(unit),
    );
    this.#stopVirq = options.hypervisor.onVirq(() => this.#virqListener?.());
  }

  /** Watches a domain from now on. Throws what the hypervisor throws. */
  watch(domain: number, rules: readonly WatchRule[], settings?: WatchSettings): void {
    this.#hypervisor.watch(domain, rules, settings);
    if (!this.domains.has(domain)) {
      this.domains.set(domain, new DomainState(domain, this.#limits, this.#limits.processes));
    }
  }

  /** Ends the watch of a domain; {@link drain} afterwards collects what the monitor captured at the end. */
  unwatch(domain: number): void {
    this.#hypervisor.unwatch(domain);
  }

  /** The engines and what came of them. */
  engines(): EngineStatus[] {
    return this.#scanner?.engines() ?? [];
  }

  /** Calls back at each VIRQ, so that the caller can {@link drain}. */
  onVirq(listener: () => void): void {
    this.#virqListener = listener;
  }

  /**
   * Collects everything that is pending, of all domains. Resolves when it is stored and acknowledged and the
   * engines have room for more; with the number of events. Rejects when something cannot be stored: then it is
   * not acknowledged, and the next call tries it again.
   *
   * @param enough asked after each batch of every domain: true ends the call, with more pending. For guests that make
   * events as fast as they are collected, of which there is no end.
   */
  drain(enough: () => boolean = () => false): Promise<number> {
    const turn = this.#draining.then(() => this.#drainNow(enough));
    this.#draining = turn.then(() => {}, () => {});
    return turn;
  }

  async #drainNow(enough: () => boolean): Promise<number> {
    let collected = 0;
    const domains = [...this.domains.values()].sort((a, b) => a.domain - b.domain);
    // A batch of each domain in turn, so that one that floods does not starve the others.
    for (let more = true; more;) {
      more = false;
      for (const domain of domains) {
        const batch = this.#batches.get(domain.domain) ?? this.#fetch(domain);
        if (!batch) continue;
        this.#keep(batch);
        this.#batches.delete(domain.domain);
        this.#apply(batch);
        collected += batch.events.length;
        more = true;
        await this.scans.room();
      }
      if (!more) break;
      // Signals and timers have their turn, too.
      await nextTurn();
      if (enough()) break;
    }
    return collected;
  }

  #fetch(domain: DomainState): Batch | undefined {
    const events = this.#hypervisor.fetch(domain.domain, this.#hypervisor.info().copyPages);
    if (events.length === 0) return undefined;
    const batch: Batch = {
      domain,
      events,
      pages: new Map(),
      identities: new Map(),
      refused: 0,
      written: false,
      recorded: false,
    };
    this.#batches.set(domain.domain, batch);
    return batch;
  }

  /** Copies, stores, records and acknowledges a batch: everything that may fail. */
  #keep(batch: Batch): void {
    const { domain } = batch.domain;
    const address = new Map<number, number>();
    for (const event of batch.events) if (event.snapshot !== 0) address.set(event.snapshot, event.va);
    const wanted = [...address.keys()].filter((snapshot) => !batch.pages.has(snapshot));
    if (wanted.length > 0) {
      this.#hypervisor.copy(domain, wanted, (snapshot, bytes) => {
        const stored = bytes && this.#store.put(address.get(snapshot)!, bytes);
        if (bytes && !stored) batch.refused++;
        batch.pages.set(snapshot, stored && { ...stored, bytes: bytes!.slice() });
      });
    }
    for (const event of batch.events) {
      if (event.process === 0 || batch.identities.has(event.process)) continue;
      const known = batch.domain.processes.get(event.process);
      if (known && (!known.identity.partial || known.identity.anonymous)) continue;
      const identity = this.#hypervisor.process(domain, event.process);
      if (identity) batch.identities.set(event.process, identity);
    }
    const recorded = batch.events.map((event) => this.#outcome(event, batch));
    if (!batch.written) {
      const lines = recorded.slice(0, Math.max(0, this.#limits.events - this.#lines)).map(eventLine);
      this.#files.events(lines);
      this.#lines += lines.length;
      if (lines.length < recorded.length) this.#skip("events not written", recorded.length - lines.length);
      batch.written = true;
    }
    if (!batch.recorded) {
      this.#recorder?.record({ domain, events: recorded, processes: [...batch.identities.values()] });
      batch.recorded = true;
    }
    this.#hypervisor.acknowledge(domain, batch.events[batch.events.length - 1].sequence);
  }

  #outcome(event: MonitorEvent, batch: Batch): RecordedEvent {
    if (event.content === "none") return { event, outcome: "none", sha256: undefined };
    if (event.content === "unchanged") return { event, outcome: "deduplicated", sha256: undefined };
    const page = event.content === "captured" ? batch.pages.get(event.snapshot) : undefined;
    if (!page) return { event, outcome: "lost", sha256: undefined };
    return { event, outcome: page.fresh ? "stored" : "deduplicated", sha256: page.sha256 };
  }

  /** Counts a batch, and makes units of it. */
  #apply(batch: Batch): void {
    const { domain } = batch;
    domain.refused += batch.refused;
    const looked = new Set<ProcessState>();
    for (const event of batch.events) {
      const process = domain.process(event, batch.identities.get(event.process));
      domain.count(event, this.#outcome(event, batch).outcome, process);
      if (!process) continue;
      if (!looked.has(process)) {
        looked.add(process);
        this.#lookAtModules(domain.domain, process, event.layer);
      }
      if (event.kind === "process-end") {
        process.ended = true;
        this.#layer(process, process.captures.close());
      }
      if (event.va === 0) continue;
      this.#layer(process, process.captures.advance(event));
      const page = event.content === "captured" ? batch.pages.get(event.snapshot) : undefined;
      process.captures.add(event, page);
      if (page) {
        this.#submit("page", `${hex8(event.va)}-${page.sha256}`, event.va, event.layer, page, process);
      }
    }
  }

  /**
   * Looks at a process's modules while it lives: what its imports lead to is needed when its images are made. A
   * few times in each layer, so that a guest that floods costs no more than others.
   */
  #lookAtModules(domain: number, process: ProcessState, layer: number): void {
    const looks = process.looks.layer === layer ? process.looks.count : 0;
    if (process.ended || process.identity.anonymous || looks >= LOOKS_A_LAYER) return;
    process.looks = { layer, count: looks + 1 };
    try {
      const memory = this.#hypervisor.memory?.(domain, process.key);
      if (memory) process.captures.modules.look(memory);
    } catch (error) {
      this.#skip(`module lists that could not be read: ${sayError(error)}`, 1);
    }
  }

  /** Keeps and submits what a layer yielded. */
  #layer(process: ProcessState, result: LayerResult | undefined): void {
    if (!result) return;
    for (const region of result.regions) {
      const name = `${hex8(region.va)}-${result.layer}-${region.sha256}`;
      if (!this.scans.units.has(`region:${name}`)) this.#writeDerived("regions", `${name}.bin`, region.bytes);
      this.#submit("region", name, region.va, result.layer, region, process);
    }
    for (const image of result.images) this.#image(process, result.layer, image);
    for (const reason of result.skipped) this.#skip(reason, 1);
  }

  #image(process: ProcessState, layer: number, { va, image }: LayerImage): void {
    const hash = sha256(image.bytes);
    // The plain name belongs to the first; another content at the same address and layer gets a number.
    const plain = `${hex8(va)}-${layer}`;
    let name = plain;
    for (let n = 2; (this.#imageHashes.get(name) ?? hash) !== hash; n++) name = `${plain}-${n}`;
    if (!this.#imageHashes.has(name)) {
      this.#writeDerived("images", `${name}.exe`, image.bytes);
      this.#imageHashes.set(name, hash);
      const { entryPoint, header, holes, notes } = image;
      this.images.push({
        id: `image:${name}`,
        process: process.id,
        layer,
        va,
        sha256: hash,
        size: image.bytes.length,
        entryPoint: image.imageBase + entryPoint,
        header,
        holes,
        notes,
      });
    }
    this.#submit("image", name, va, layer, { bytes: image.bytes, sha256: hash }, process);
  }

  /** What is made from pages can be made again: that it cannot be written is said, and ends nothing. */
  #writeDerived(kind: "regions" | "images", name: string, bytes: Uint8Array): void {
    try {
      this.#files.write(kind, name, bytes);
    } catch {
      this.#skip(`${kind} that could not be written`, 1);
    }
  }

  #submit(
    kind: Unit["kind"],
    name: string,
    va: number,
    layer: number,
    content: Page,
    process: ProcessState,
  ): void {
    const { bytes, sha256: hash } = content;
    this.scans.submit({
      id: `${kind}:${name}`,
      kind,
      sha256: hash,
      bytes,
      va,
      layer,
      processes: [process.key],
    }, process.id);
  }

  /** Submits a file as a unit; returns the unit's id. */
  submitFile(bytes: Uint8Array): string {
    const hash = sha256(bytes);
    const id = `file:${hash}`;
    this.scans.submit({ id, kind: "file", sha256: hash, bytes, va: 0, layer: 0, processes: [] }, undefined);
    return id;
  }

  #skip(reason: string, count: number): void {
    this.skipped.set(reason, (this.skipped.get(reason) ?? 0) + count);
  }

  /** Ends every open layer and waits for all scans. */
  async finish(): Promise<void> {
    await this.#draining;
    for (const domain of [...this.domains.values()].sort((a, b) => a.domain - b.domain)) {
      for (const process of domain.processes.values()) {
        this.#layer(process, process.captures.close());
        await this.scans.room();
      }
    }
    await this.scans.finish();
  }

  /** Hears no more VIRQs. The hypervisor and the scanner stay their owners' to close. */
  close(): void {
    this.#stopVirq();
    this.#virqListener = undefined;
  }
}
