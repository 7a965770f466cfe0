// SPDX-License-Identifier: Apache-2.0
/**
 * YARA-X: rules over pages, regions, images and files. Runs in a worker that is ended when it takes too long.
 *
 * @module
 */
import type { Engine, EngineFactory, EngineInfo, ScanResult, Unit } from "../core/ports.ts";
import { workerUrl } from "../core/assets.ts";
import { providedWasm } from "../core/npm_wasm.ts";
import { builtinRules } from "./builtin_rules.ts";
import type { YaraReply, YaraRequest, YaraSource } from "./yara_protocol.ts";
import { siftRules } from "./yara_sift.ts";
import { compileError, readYaraSources } from "./yara_sources.ts";

/** Version of the package that `deno.json` names. */
const VERSION = "1.20.0";
/** The package's module, as an artefact. */
const WASM = "yara_x_js_bg.wasm";
/** Bytes of the longest unit that is sifted, and hashes kept of those that were sifted out. */
const LONGEST_SIFTED = 256 * 1024;
const MOST_SIFTED = 65_536;
/** Milliseconds the rules may take to compile. */
const COMPILE_TIMEOUT = 120_000;

type Ending = YaraReply | { readonly kind: "timeout" | "aborted" | "closed" } | {
  readonly kind: "crashed";
  readonly message: string;
};

/** YARA-X behind the engine port. Scans are taken one after the other; the time limit counts from a scan's start. */
export class YaraEngine implements Engine {
  readonly name = "yara";
  readonly #paths: readonly string[];
  #sources: readonly YaraSource[] = [];
  #sift: readonly string[] | undefined;
  /** Hashes of units that were sifted out and not asked for yet. */
  readonly #clean = new Set<string>();
  #worker: Worker | undefined;
  #ready = false;
  #nextId = 1;
  #queue: Promise<unknown> = Promise.resolve();
  #state: "new" | "open" | "closed" = "new";
  #settle: ((ending: Ending) => void) | undefined;

  constructor(options: { readonly rules: readonly string[] }) {
    this.#paths = options.rules;
  }

  async start(): Promise<EngineInfo> {
    if (this.#state !== "new") throw new Error(`Cannot start engine "yara": it is ${this.#state}`);
    const own = readYaraSources(this.#paths);
    this.#sources = [{ name: "built-in rules", text: builtinRules() }, ...own];
    this.#sift = siftRules(this.#sources.map(({ text }) => text));
    const failed = await this.#prepare();
    if (failed) {
      this.#stop();
      if (failed.kind === "refused") throw compileError(failed.file, failed.message);
      throw new Error(`Cannot start engine "yara": ${describe(failed)}`);
    }
    this.#state = "open";
    const files = own.length === 1 ? "1 rule file" : `${own.length} rule files`;
    return { name: this.name, version: VERSION, knowledge: `2 built-in rules, ${files}` };
  }

  scan(
    unit: Unit,
    options: { readonly timeout: number; readonly signal?: AbortSignal },
  ): Promise<ScanResult> {
    const turn = this.#queue.then(() => this.#scanNow(unit, options));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  sift(
    units: readonly Unit[],
    options: { readonly timeout: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    const turn = this.#queue.then(() => this.#siftNow(units, options));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #siftNow(units: readonly Unit[], options: { timeout: number; signal?: AbortSignal }): Promise<void> {
    const small = units.filter(({ bytes }) => bytes.length <= LONGEST_SIFTED);
    if (!this.#sift || small.length < 2 || this.#state !== "open" || options.signal?.aborted) return;
    if (this.#clean.size + small.length > MOST_SIFTED) this.#clean.clear();
    if (await this.#prepare()) return this.#stop();
    const request = { id: this.#nextId++, kind: "sift", units: small.map(({ bytes }) => bytes) } as const;
    const ending = await this.#ask(request, options);
    if (ending.kind === "sifted") { for (const index of ending.clean) this.#clean.add(small[index].sha256); }
    else if (ending.kind !== "failed" || ending.broken) this.#stop();
  }

  async #scanNow(unit: Unit, options: { timeout: number; signal?: AbortSignal }): Promise<ScanResult> {
    if (this.#state !== "open") {
      return { status: "error", threats: [], detail: `the engine is ${this.#state}` };
    }
    if (options.signal?.aborted) return { status: "incomplete", threats: [], detail: "aborted" };
    if (this.#clean.delete(unit.sha256)) return { status: "clean", threats: [] };
    const failed = await this.#prepare();
    if (failed) {
      this.#stop();
      return { status: "error", threats: [], detail: `could not be restarted: ${describe(failed)}` };
    }
    const ending = await this.#ask({ id: this.#nextId++, kind: "scan", bytes: unit.bytes }, options);
    switch (ending.kind) {
      case "scanned":
        return {
          status: ending.rules.length > 0 ? "malicious" : "clean",
          threats: ending.rules.map(({ name, offset }) => offset === undefined ? { name } : { name, offset }),
        };
      case "failed":
        if (ending.broken) this.#stop();
        return { status: "error", threats: [], detail: ending.message };
      case "timeout":
      case "aborted":
      case "closed":
        this.#stop();
        return {
          status: "incomplete",
          threats: [],
          detail: ending.kind === "timeout" ? `no answer within ${options.timeout} ms` : ending.kind,
        };
      default:
        this.#stop();
        return { status: "error", threats: [], detail: describe(ending) };
    }
  }

  /** Makes sure that a worker with compiled rules stands; returns what went wrong, if anything. */
  async #prepare(): Promise<Ending | undefined> {
    if (this.#ready) return undefined;
    this.#stop();
    const worker = new Worker(workerUrl(new URL("./yara_worker.ts", import.meta.url)), {
      type: "module",
      name: "yara",
    });
    this.#worker = worker;
    worker.onmessage = (event: MessageEvent<YaraReply>) => this.#settle?.(event.data);
    worker.onmessageerror = () => this.#settle?.({ kind: "crashed", message: "unreadable answer" });
    worker.onerror = (event) => {
      // Not ours to end the process for: a worker that crashes is restarted.
      event.preventDefault();
      this.#ready = false;
      this.#settle?.({ kind: "crashed", message: event.message });
    };
    const request = {
      id: this.#nextId++,
      kind: "compile",
      wasm: providedWasm(WASM),
      sources: this.#sources,
      sift: this.#sift,
    } as const;
    const ending = await this.#ask(request, { timeout: COMPILE_TIMEOUT });
    if (ending.kind !== "compiled") return ending;
    this.#ready = true;
    return undefined;
  }

  /** Sends one request and waits for its end, whichever comes first. */
  #ask(request: YaraRequest, options: { timeout: number; signal?: AbortSignal }): Promise<Ending> {
    const worker = this.#worker!;
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle({ kind: "timeout" }), options.timeout);
      const abort = () => settle({ kind: "aborted" });
      const settle = (ending: Ending) => {
        if ("id" in ending && ending.id !== request.id) return;
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", abort);
        this.#settle = undefined;
        resolve(ending);
      };
      options.signal?.addEventListener("abort", abort);
      this.#settle = settle;
      worker.postMessage(request);
    });
  }

  #stop(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#ready = false;
  }

  async close(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#settle?.({ kind: "closed" });
    await this.#queue;
    this.#stop();
  }
}

function describe(ending: Ending): string {
  return "message" in ending ? ending.message : ending.kind;
}

/** How the YARA-X engine is made. */
export const yara: EngineFactory = {
  name: "yara",
  description: "YARA-X rules: a small built-in set and those of --rules",
  create: (options) => new YaraEngine(options),
};
