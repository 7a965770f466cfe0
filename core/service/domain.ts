// SPDX-License-Identifier: Apache-2.0
import { ExportTables, ProcessModules } from "../capture/modules.ts";
import { type LayerLimits, ProcessCaptures } from "../capture/process.ts";
import type { MonitorEvent, ProcessIdentity } from "../ports.ts";

/** Page counters; always `seen = stored + deduplicated + lost`. */
export interface PageCounts {
  seen: number;
  stored: number;
  deduplicated: number;
  lost: number;
}

/** A watched process as the service knows it. */
export interface ProcessState {
  /** `domain:key`. */
  readonly id: string;
  readonly key: number;
  identity: ProcessIdentity;
  ended: boolean;
  readonly captures: ProcessCaptures;
  /** How often its modules were looked at in the layer it was in last. */
  looks: { readonly layer: number; readonly count: number };
  readonly pages: PageCounts;
}

/** What became of one event's page. */
export type Outcome = "stored" | "deduplicated" | "lost" | "none";

/** One watched domain. */
export class DomainState {
  readonly pages: PageCounts = { seen: 0, stored: 0, deduplicated: 0, lost: 0 };
  /** In the order in which they were first seen. */
  readonly processes = new Map<number, ProcessState>();
  events = 0;
  turnsCoalesced = 0;
  /** Pages lost because the store was full. */
  refused = 0;
  /** Processes whose pages were counted but not kept apart, because there were too many. */
  crowded = 0;
  readonly #exports = new ExportTables();

  constructor(
    readonly domain: number,
    private readonly layerLimits: LayerLimits,
    private readonly mostProcesses: number,
  ) {}

  /** The state of an event's process; undefined when the domain has too many. */
  process(event: MonitorEvent, identity: ProcessIdentity | undefined): ProcessState | undefined {
    let state = this.processes.get(event.process);
    if (!state) {
      if (this.processes.size >= this.mostProcesses) {
        this.crowded++;
        return undefined;
      }
      state = {
        id: `${this.domain}:${event.process}`,
        key: event.process,
        identity: identity ?? unknownProcess(event),
        ended: false,
        captures: new ProcessCaptures(this.layerLimits, new ProcessModules(this.#exports)),
        looks: { layer: -1, count: 0 },
        pages: { seen: 0, stored: 0, deduplicated: 0, lost: 0 },
      };
      this.processes.set(event.process, state);
    } else if (identity) state.identity = identity;
    return state;
  }

  /** Counts one event and its page. */
  count(event: MonitorEvent, outcome: Outcome, process: ProcessState | undefined): void {
    this.events++;
    if (event.kind === "coalesced") this.turnsCoalesced += event.turns;
    if (outcome === "none") return;
    for (const pages of process ? [this.pages, process.pages] : [this.pages]) {
      pages.seen++;
      pages[outcome]++;
    }
  }
}

function unknownProcess(event: MonitorEvent): ProcessIdentity {
  return {
    key: event.process,
    pid: event.pid,
    parentPid: 0,
    cr3: event.addressSpace ?? 0,
    name: "",
    path: "",
    commandLine: "",
    partial: true,
    ...event.addressSpace === undefined ? {} : { anonymous: true as const },
  };
}
