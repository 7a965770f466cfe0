// SPDX-License-Identifier: Apache-2.0
/**
 * The units of a run on their way through the engines: bounded, each content scanned once, every unit accounted
 * for.
 *
 * @module
 */
import type { Finding, Scanner, Unit } from "../ports.ts";
import type { Limits } from "./limits.ts";

/** A unit that was given to the engines, and what they said. */
export interface UnitRecord {
  readonly id: string;
  readonly kind: Unit["kind"];
  readonly sha256: string;
  readonly size: number;
  /** Who it belongs to: `domain:process key`. */
  readonly owners: Set<string>;
  /** Undefined until every engine has answered. */
  findings: readonly Finding[] | undefined;
}

/** Units in flight at the same time; the engines' own queues are bounded by it. */
const IN_FLIGHT = 8;
/** Units and bytes the engines are told of at once. */
const SIFTED_UNITS = 256;
const SIFTED_BYTES = 4 * 1024 * 1024;

/** Takes units in, gives them to a {@link Scanner}, and keeps the findings. */
export class Scans {
  readonly units = new Map<string, UnitRecord>();
  /** Units refused because of the limits. */
  refused = 0;
  #bytes = 0;
  /** Records that wait for the same content's scan, by hash. */
  readonly #waiting = new Map<string, UnitRecord[]>();
  readonly #known = new Map<string, readonly Finding[]>();
  readonly #queue: Unit[] = [];
  /** Units at the queue's head that the engines were told of. */
  #sifted = 0;
  #sifting = false;
  #queuedBytes = 0;
  #inFlight = 0;
  readonly #idle: (() => void)[] = [];
  readonly #room: (() => void)[] = [];

  /** @param scanner undefined: units are recorded and not scanned. */
  constructor(
    private readonly scanner: Scanner | undefined,
    private readonly limits: Limits,
    private readonly signal?: AbortSignal,
    private readonly onFindings?: (record: UnitRecord) => void,
  ) {}

  /** Units that wait or are being scanned. */
  get queued(): number {
    return this.#queue.length + this.#inFlight;
  }

  /** Units all engines have answered for. */
  get scanned(): number {
    let count = 0;
    for (const unit of this.units.values()) if (unit.findings) count++;
    return count;
  }

  /** Takes one unit in; a unit that is known already gets one more owner. */
  submit(unit: Unit, owner: string | undefined): void {
    const known = this.units.get(unit.id);
    if (known) {
      if (owner !== undefined) known.owners.add(owner);
      return;
    }
    if (this.units.size >= this.limits.units || this.#bytes + unit.bytes.length > this.limits.unitBytes) {
      this.refused++;
      return;
    }
    this.#bytes += unit.bytes.length;
    const { id, kind, sha256 } = unit;
    const owners = new Set(owner === undefined ? [] : [owner]);
    const record: UnitRecord = { id, kind, sha256, size: unit.bytes.length, owners, findings: undefined };
    this.units.set(id, record);
    if (!this.scanner) return;
    const findings = this.#known.get(sha256);
    if (findings) return this.#answer(record, findings);
    const waiting = this.#waiting.get(sha256);
    if (waiting) {
      waiting.push(record);
      return;
    }
    this.#waiting.set(sha256, [record]);
    this.#queue.push(unit);
    this.#queuedBytes += unit.bytes.length;
    this.#pump();
  }

  /** Tells the engines of what waits, when nothing that they know of does; true while they look. */
  #sift(): boolean {
    if (this.#sifting || this.#sifted > 0 || this.#queue.length < 2 || !this.scanner?.sift) {
      return this.#sifting;
    }
    let [count, bytes] = [0, 0];
    while (count < Math.min(this.#queue.length, SIFTED_UNITS) && bytes <= SIFTED_BYTES) {
      bytes += this.#queue[count++].bytes.length;
    }
    this.#sifting = true;
    this.scanner.sift(this.#queue.slice(0, count), this.signal).then(() => {
      this.#sifting = false;
      this.#sifted = count;
      this.#pump();
    });
    return true;
  }

  #pump(): void {
    while (this.#inFlight < IN_FLIGHT && this.#queue.length > 0 && !this.#sift()) {
      const unit = this.#queue.shift()!;
      this.#sifted = Math.max(0, this.#sifted - 1);
      this.#inFlight++;
      this.scanner!.scan(unit, this.signal).then((findings) => {
        this.#inFlight--;
        this.#queuedBytes -= unit.bytes.length;
        // A scan that did not finish is not a fact about the content: the next unit with it is scanned again.
        if (findings.every(({ status }) => status === "clean" || status === "malicious")) {
          this.#known.set(unit.sha256, findings);
        }
        const waiting = this.#waiting.get(unit.sha256) ?? [];
        this.#waiting.delete(unit.sha256);
        for (const record of waiting) this.#answer(record, findings);
        this.#pump();
        if (!this.#full) { for (const go of this.#room.splice(0)) go(); }
        if (this.queued === 0) { for (const go of this.#idle.splice(0)) go(); }
      });
    }
  }

  #answer(record: UnitRecord, findings: readonly Finding[]): void {
    record.findings = findings.map((finding) => ({ ...finding, unit: record.id }));
    this.onFindings?.(record);
  }

  get #full(): boolean {
    return this.queued > this.limits.queuedUnits || this.#queuedBytes > this.limits.queuedBytes;
  }

  /** Resolves when there is room for more units: the back-pressure of the service. */
  async room(): Promise<void> {
    while (this.#full) await new Promise<void>((go) => this.#room.push(go));
  }

  /** Resolves when every unit has been answered for. */
  async finish(): Promise<void> {
    while (this.queued > 0) await new Promise<void>((go) => this.#idle.push(go));
  }
}
