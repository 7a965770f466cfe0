// SPDX-License-Identifier: Apache-2.0
/**
 * Many engines behind one face. An engine can hang, crash, lie or vanish: its time is limited here too, its
 * answers are checked, and after repeated failures it is cut off and shown as such.
 *
 * @module
 */
import {
  type Engine,
  type EngineInfo,
  type EngineStatus,
  type Finding,
  InputError,
  type Scanner,
  type ScannerOptions,
  type ScanResult,
  type ScanStatus,
  type Threat,
  type Unit,
} from "../core/ports.ts";
import { sayError } from "../core/text.ts";

/** Milliseconds an engine may be late with its own time limit before it is taken for hanging. */
const GRACE = 2000;
const MOST_THREATS = 64;
const LONGEST_TEXT = 200;
const STATUSES: ReadonlySet<string> = new Set<ScanStatus>(["malicious", "clean", "incomplete", "error"]);

/** One engine under supervision. */
class Post {
  readonly scans: Record<ScanStatus, number> = { malicious: 0, clean: 0, incomplete: 0, error: 0 };
  #failuresInRow = 0;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly engine: Engine,
    readonly info: EngineInfo,
    readonly options: Required<Pick<ScannerOptions, "timeout" | "concurrency" | "failures">>,
    public state: EngineStatus["state"],
    public detail: string,
  ) {}

  /** Scans when it is this unit's turn: at most `concurrency` units are with the engine at once. */
  async scan(unit: Unit, signal?: AbortSignal): Promise<Finding> {
    // A turn is handed over, not released and fought for: `#running` stays as it is meanwhile.
    if (this.#running >= this.options.concurrency) {
      await new Promise<void>((turn) => this.#waiting.push(turn));
    } else this.#running++;
    try {
      const result = await this.#supervised(unit, signal);
      this.scans[result.status]++;
      return { unit: unit.id, engine: this.info.name, ...result };
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }

  async #supervised(unit: Unit, signal?: AbortSignal): Promise<ScanResult> {
    if (this.state !== "ready") {
      return { status: "error", threats: [], detail: `${this.state}: ${this.detail}` };
    }
    if (signal?.aborted) return { status: "incomplete", threats: [], detail: "aborted" };
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hanging = new Promise<ScanResult>((resolve) => {
      const late = () => resolve({ status: "incomplete", threats: [], detail: "the engine hangs" });
      timer = setTimeout(late, this.options.timeout + GRACE);
    });
    let result: ScanResult;
    try {
      const answer = this.engine.scan(unit, { timeout: this.options.timeout, signal });
      result = checked(await Promise.race([answer, hanging]));
    } catch (error) {
      result = { status: "error", threats: [], detail: sayError(error) };
    } finally {
      clearTimeout(timer);
    }
    if (result.status === "clean" || result.status === "malicious") this.#failuresInRow = 0;
    else if (!signal?.aborted && ++this.#failuresInRow >= this.options.failures) {
      this.state = "cut off";
      this.detail = `${this.#failuresInRow} failures in a row, the last: ${result.detail ?? result.status}`;
    }
    return result;
  }

  /** Tells the engine of units to come, for no longer than one scan may take. What goes wrong shows in the scans. */
  async sift(units: readonly Unit[], signal?: AbortSignal): Promise<void> {
    if (this.state !== "ready" || !this.engine.sift || signal?.aborted) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, this.options.timeout + GRACE));
    try {
      await Promise.race([this.engine.sift(units, { timeout: this.options.timeout, signal }), late]);
    } catch {
      // Each is scanned on its own then.
    } finally {
      clearTimeout(timer);
    }
  }

  status(): EngineStatus {
    return { ...this.info, state: this.state, detail: this.detail, scans: { ...this.scans } };
  }
}

/** Takes an engine's answer for what it may be: a claim from outside. */
function checked(result: ScanResult): ScanResult {
  if (typeof result !== "object" || result === null || !STATUSES.has(result.status)) {
    return { status: "error", threats: [], detail: "the engine's answer has no known status" };
  }
  const threats: Threat[] = [];
  for (const threat of Array.isArray(result.threats) ? result.threats.slice(0, MOST_THREATS) : []) {
    const name = String(threat?.name ?? "").slice(0, LONGEST_TEXT) || "unnamed";
    const offset = Number.isSafeInteger(threat?.offset) && threat.offset! >= 0 ? threat.offset : undefined;
    threats.push(offset === undefined ? { name } : { name, offset });
  }
  if (result.status === "malicious" && threats.length === 0) threats.push({ name: "unnamed" });
  const detail = result.detail === undefined ? undefined : String(result.detail).slice(0, LONGEST_TEXT);
  return { status: result.status, threats, ...(detail === undefined ? {} : { detail }) };
}

/**
 * Starts engines and stands them behind one face. Rejects with {@link InputError} when an engine refuses what
 * the user gave it, or, with `strict`, when one cannot be started at all; what was started is closed then.
 */
export async function startScanner(engines: readonly Engine[], options: ScannerOptions): Promise<Scanner> {
  const limits = {
    timeout: options.timeout,
    concurrency: options.concurrency ?? 2,
    failures: options.failures ?? 3,
  };
  const posts: Post[] = [];
  for (const engine of engines) {
    try {
      const info = await engine.start();
      posts.push(new Post(engine, { ...info, name: engine.name }, limits, "ready", ""));
    } catch (error) {
      if (options.strict || error instanceof InputError) {
        await Promise.allSettled([...posts.map((post) => post.engine.close()), engine.close()]);
        if (error instanceof InputError) throw error;
        throw new InputError(`Cannot use engine "${engine.name}": ${sayError(error)}`);
      }
      const info = { name: engine.name, version: "", knowledge: "" };
      posts.push(new Post(engine, info, limits, "unavailable", sayError(error)));
    }
  }
  const asked = posts.filter((post) => post.state !== "unavailable");
  return {
    engines: () => posts.map((post) => post.status()),
    scan: (unit, signal) => Promise.all(asked.map((post) => post.scan(unit, signal))),
    sift: async (units, signal) => {
      await Promise.all(asked.map((post) => post.sift(units, signal)));
    },
    close: async () => {
      await Promise.allSettled(posts.map((post) => post.engine.close()));
    },
  };
}
