// SPDX-License-Identifier: Apache-2.0
/**
 * A live guest of a real hypervisor, watched in the foreground from now until the time is over, the guest is gone
 * or somebody interrupts.
 *
 * @module
 */
import type { CaptureFiles } from "../capture/files.ts";
import { sha256 } from "../hash.ts";
import type { Hypervisor, Scanner, WatchRule, WatchSettings } from "../ports.ts";
import { buildReport, type Report } from "../report.ts";
import type { Policy } from "../verdict.ts";
import type { Limits } from "./limits.ts";
import { type Recorder, Service } from "./service.ts";

/** How a guest is watched. */
export interface WatchOptions {
  readonly umbra: string;
  readonly rules: readonly WatchRule[];
  /** Seconds; undefined: until interrupted. */
  readonly seconds?: number;
  readonly files: CaptureFiles;
  /** Undefined: captured, not scanned. */
  readonly scanner?: Scanner;
  readonly recorder?: Recorder;
  readonly policy?: Policy;
  readonly limits?: Partial<Limits>;
  readonly settings?: WatchSettings;
  /** Ends the watch; what was captured is still scanned. */
  readonly interrupt: AbortSignal;
  /** Ends the scans. */
  readonly insistence?: AbortSignal;
  readonly onStart?: () => void;
  readonly onProgress?: (progress: WatchProgress) => void;
}

/** How far a watch is. */
export interface WatchProgress {
  readonly seconds: number;
  readonly events: number;
  /** Units that wait to be scanned. */
  readonly queued: number;
}

type End = Pick<Report["end"], "reason" | "detail">;

/** Milliseconds after which the monitor is asked even without a VIRQ. */
const LOOK = 500;
/**
 * Milliseconds the engines have, after an interruption, for what was captured: an interruption is how a watch without
 * a time to end at is meant to end, and its verdict is what the user waits for.
 */
const LAST_SCANS = 60_000;
/** The error number with which a hypervisor says that there is no such domain (ESRCH). */
const NO_DOMAIN = 3;

const isGone = (error: unknown) => error instanceof Error && "errno" in error && error.errno === NO_DOMAIN;

/**
 * Watches a domain to its end and makes the report. Throws what the hypervisor throws when it refuses, and what
 * the files throw when they cannot take a capture; the watch has ended then, too.
 */
export async function watch(hypervisor: Hypervisor, domain: number, options: WatchOptions): Promise<Report> {
  const started = performance.now();
  const { interrupt, insistence } = options;
  const scans = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const interrupted = () => timer ??= setTimeout(() => scans.abort(), LAST_SCANS);
  if (interrupt.aborted) interrupted();
  interrupt.addEventListener("abort", interrupted);
  const insisted = () => scans.abort();
  if (insistence?.aborted) insisted();
  insistence?.addEventListener("abort", insisted);
  const { files, scanner, recorder, limits } = options;
  const service = new Service({ hypervisor, files, scanner, recorder, limits, signal: scans.signal });
  let watched = false;
  try {
    service.watch(domain, options.rules, options.settings);
    watched = true;
    options.onStart?.();
    const end = await follow(service, options, started);
    watched = false;
    await last(hypervisor, service, domain);
    await service.finish();
    const report = await buildReport(service, {
      umbra: options.umbra,
      sample: { name: `domain ${domain}`, sha256: sha256(new Uint8Array()), size: 0 },
      end: { ...end, instructions: 0, seconds: Math.round(performance.now() - started) / 1000 },
      missing: [],
      policy: options.policy ?? { kind: "any" },
      scanned: scanner !== undefined,
    });
    files.report(JSON.stringify(report, null, 2) + "\n");
    return report;
  } finally {
    interrupt.removeEventListener("abort", interrupted);
    insistence?.removeEventListener("abort", insisted);
    clearTimeout(timer);
    // A guest must not wait for somebody who has left.
    if (watched) release(service, domain);
    service.close();
  }
}

/** Ends the watch after a failure, whose reason is what is told. */
function release(service: Service, domain: number): void {
  try {
    service.unwatch(domain);
  } catch {
    // It is gone, or refuses: the first failure says more.
  }
}

/** Ends the watch and collects what it leaves; a domain that is gone leaves nothing. */
async function last(hypervisor: Hypervisor, service: Service, domain: number): Promise<void> {
  try {
    service.unwatch(domain);
    await service.drain();
    const { processesRefused } = hypervisor.statistics(domain);
    if (processesRefused > 0) {
      service.skipped.set("processes not watched: the monitor's table was full", processesRefused);
    }
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** Collects until the watch is to end. */
async function follow(service: Service, options: WatchOptions, started: number): Promise<End> {
  const { seconds, interrupt } = options;
  const spent = () => (performance.now() - started) / 1000;
  let events = 0;
  let wake = () => {};
  let heard = false;
  const hear = () => {
    heard = true;
    wake();
  };
  service.onVirq(hear);
  interrupt.addEventListener("abort", hear);
  try {
    while (true) {
      heard = false;
      events += await service.drain(() => interrupt.aborted || spent() >= (seconds ?? Infinity));
      const passed = spent();
      options.onProgress?.({ seconds: passed, events, queued: service.scans.queued });
      if (interrupt.aborted) return { reason: "interrupted", detail: "by a signal" };
      const left = seconds === undefined ? Infinity : seconds - passed;
      if (left <= 0) return { reason: "exited", detail: `watched for ${seconds} seconds, as asked` };
      if (heard) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(LOOK, left * 1000));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  } catch (error) {
    if (isGone(error)) return { reason: "exited", detail: "the domain is gone" };
    throw error;
  } finally {
    interrupt.removeEventListener("abort", hear);
  }
}
