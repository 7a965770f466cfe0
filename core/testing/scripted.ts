// SPDX-License-Identifier: Apache-2.0
/**
 * A hypervisor and an emulator that play a script, for tests of the service alone: the other side of the port,
 * in memory.
 *
 * @module
 */
import type {
  DomainStatistics,
  Emulation,
  EmulationEnd,
  Emulator,
  EventKind,
  Hypervisor,
  HypervisorInfo,
  MissingFunction,
  MonitorEvent,
  ProcessIdentity,
} from "../ports.ts";

/** What a script says of one event; the rest is filled in. */
export interface ScriptedEvent extends Partial<Omit<MonitorEvent, "sequence" | "snapshot">> {
  readonly kind: EventKind;
  /** Content of the page; undefined with `content: "captured"` means that the snapshot is gone. */
  readonly page?: Uint8Array;
}

/** Plays events; counts what was copied and acknowledged. */
export class ScriptedHypervisor implements Hypervisor {
  readonly acknowledged = new Map<number, number>();
  readonly unwatched: number[] = [];
  /** Calls of {@link copy}. */
  copies = 0;
  copyPages = 512;
  /** Events that come when the watch ends. */
  atUnwatch: ScriptedEvent[] = [];
  readonly #events = new Map<number, MonitorEvent[]>();
  readonly #pages = new Map<number, Uint8Array>();
  readonly #processes = new Map<number, ProcessIdentity>();
  readonly #sequences = new Map<number, number>();
  #snapshot = 0;
  #listener: (() => void) | undefined;

  info(): HypervisorInfo {
    return { abi: 1, name: "script", copyPages: this.copyPages, ringEvents: 4096, ringPages: 4096 };
  }

  /** Makes a process known. */
  identify(key: number, name: string, more: Partial<ProcessIdentity> = {}): void {
    this.#processes.set(key, {
      key,
      pid: 1000 + key,
      parentPid: 4,
      cr3: 0x1000,
      name,
      path: `C:\\${name}`,
      commandLine: name,
      partial: false,
      ...more,
    });
  }

  /** Puts events into the data centre and raises the VIRQ. */
  play(domain: number, events: readonly ScriptedEvent[]): void {
    for (const { page, ...event } of events) {
      const sequence = (this.#sequences.get(domain) ?? 0) + 1;
      this.#sequences.set(domain, sequence);
      const content = event.content ?? (page ? "captured" : "none");
      const snapshot = content === "captured" ? ++this.#snapshot : 0;
      if (page) this.#pages.set(snapshot, page);
      const list = this.#events.get(domain) ?? [];
      this.#events.set(domain, list);
      list.push({
        domain,
        vcpu: 0,
        process: 1,
        pid: 1000 + (event.process ?? 1),
        tid: 7,
        va: 0,
        gfn: 0x100,
        guestEntry: 0x8000_0000_0010_0067n,
        oldShadowEntry: 0n,
        newShadowEntry: 0x10_0025n,
        errorCode: 0x15,
        layer: 0,
        hop: false,
        hopFrom: 0,
        hopTo: 0,
        turns: 1,
        allocationBase: 0,
        allocationSize: 0,
        eip: 0x401000,
        esp: 0x12ff00,
        tsc: BigInt(sequence),
        ...event,
        sequence,
        content,
        snapshot,
      });
    }
    this.#listener?.();
  }

  watch(): void {}
  unwatch(domain: number): void {
    this.unwatched.push(domain);
    this.play(domain, this.atUnwatch);
  }
  fetch(domain: number, max: number): MonitorEvent[] {
    return this.#events.get(domain)?.splice(0, max) ?? [];
  }
  process(_domain: number, key: number): ProcessIdentity | undefined {
    return this.#processes.get(key);
  }
  copy(
    _domain: number,
    snapshots: readonly number[],
    receive: (snapshot: number, bytes: Uint8Array | undefined) => void,
  ): void {
    this.copies++;
    // One buffer for all, as the bridge has it: who keeps the bytes without copying them sees the next page.
    const buffer = new Uint8Array(4096);
    for (const snapshot of snapshots) {
      const page = this.#pages.get(snapshot);
      if (page) buffer.set(page);
      receive(snapshot, page && buffer);
    }
    buffer.fill(0xee);
  }
  acknowledge(domain: number, sequence: number): void {
    this.acknowledged.set(domain, sequence);
  }
  statistics(domain: number): DomainStatistics {
    return {
      domain,
      events: this.#sequences.get(domain) ?? 0,
      pagesSeen: 0,
      pagesCaptured: 0,
      pagesUnchanged: 0,
      pagesLost: 0,
      turnsCoalesced: 0,
      vcpuPauses: 0,
      faults: 0,
      faultsPassed: 0,
      processesRefused: 0,
      processesDisplaced: 0,
    };
  }
  onVirq(listener: () => void): () => void {
    this.#listener = listener;
    return () => this.#listener = undefined;
  }
  close(): void {}
}

/** What a scripted guest does in one step. */
export interface ScriptedStep {
  readonly events?: readonly ScriptedEvent[];
  readonly end?: Omit<EmulationEnd, "instructions">;
  /** Instructions of the step; 1000 when not given. */
  readonly instructions?: number;
}

/** An emulator whose guests play steps; after the last it idles (or ends, when the last says so). */
export class ScriptedEmulator implements Emulator {
  hypervisor = new ScriptedHypervisor();
  closed = 0;
  missing: MissingFunction[] = [];

  constructor(
    private readonly steps: readonly ScriptedStep[],
    private readonly prepare?: (h: ScriptedHypervisor) => void,
  ) {}

  load(): Emulation {
    const hypervisor = this.hypervisor = new ScriptedHypervisor();
    hypervisor.identify(1, "sample.exe");
    this.prepare?.(hypervisor);
    let next = 0;
    let instructions = 0;
    return {
      domain: 1,
      hypervisor,
      rules: [{ kind: "exact", pattern: "sample.exe" }],
      step: () => {
        const step: ScriptedStep = this.steps[next++] ?? {};
        instructions += step.instructions ?? 1000;
        hypervisor.play(1, step.events ?? []);
        return step.end && { ...step.end, instructions };
      },
      get instructions() {
        return instructions;
      },
      missing: () => this.missing,
      close: () => {
        this.closed++;
      },
    };
  }
}

/** A page filled by a pattern: `text` at `offset`, zeros around it. */
export function page(text: string | Uint8Array, offset = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4096);
  bytes.set(typeof text === "string" ? new TextEncoder().encode(text) : text, offset);
  return bytes;
}
