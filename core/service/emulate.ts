// SPDX-License-Identifier: Apache-2.0
/**
 * One program, run in the test bed under the monitor's eyes, from its file to its report.
 *
 * @module
 */
import type { CaptureFiles } from "../capture/files.ts";
import { sha256 } from "../hash.ts";
import type {
  Emulation,
  EmulationEnd,
  EmulationOptions,
  Emulator,
  GuestSettings,
  Scanner,
  WatchSettings,
} from "../ports.ts";
import { buildReport, type Report } from "../report.ts";
import type { Policy } from "../verdict.ts";
import type { Limits } from "./limits.ts";
import { type Recorder, Service } from "./service.ts";

/** How a program is emulated. */
export interface EmulateOptions {
  readonly umbra: string;
  readonly maxInstructions: number;
  /** Seconds of wall time; 0 for no limit. */
  readonly timeLimit: number;
  readonly args: readonly string[];
  /** DEP at OptIn and no ASLR when absent. */
  readonly guest?: GuestSettings;
  /** Programs that run beside the sample and are not watched. */
  readonly company?: EmulationOptions["company"];
  readonly files: CaptureFiles;
  /** Undefined: captured, not scanned. */
  readonly scanner?: Scanner;
  readonly recorder?: Recorder;
  readonly policy?: Policy;
  readonly limits?: Partial<Limits>;
  readonly settings?: WatchSettings;
  /** Ends the run with what was captured so far, which is still scanned for a moment; reason `interrupted`. */
  readonly interrupt?: AbortSignal;
  /** Called when the guest stands and is watched, before it runs. */
  readonly onStart?: (service: Service, emulation: Emulation) => void;
  readonly onProgress?: (progress: Progress) => void;
  /** Called with the report while the emulation can still be asked. */
  readonly onReport?: (report: Report, emulation: Emulation) => Promise<void>;
}

/** How far a run is. */
export interface Progress {
  readonly phase: "running" | "scanning";
  readonly instructions: number;
  /** Units that wait to be scanned. */
  readonly queued: number;
}

/** Instructions of one step: short enough to hear a signal, long enough to cost nothing. */
const SLICE = 2_000_000;
/** Steps without an instruction or an event after which the run counts as stuck. */
const STUCK = 1000;
/** Milliseconds the engines have, after an interruption, for what was captured. */
const LAST_SCANS = 3000;
/** Milliseconds between two looks at timers and signals. */
const BREATH = 10;

/**
 * Emulates one program and makes its report. Throws `InputError` when it cannot be loaded, and what the files
 * throw when they cannot take a capture.
 */
export async function emulate(
  emulator: Emulator,
  sample: { readonly name: string; readonly bytes: Uint8Array },
  options: EmulateOptions,
): Promise<Report> {
  const started = performance.now();
  const { maxInstructions, args, company, guest = { dep: "optin", aslr: false } } = options;
  const emulation = emulator.load(sample, { maxInstructions, args, company, settings: guest });
  const scans = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const interrupted = () => timer ??= setTimeout(() => scans.abort(), LAST_SCANS);
  if (options.interrupt?.aborted) interrupted();
  options.interrupt?.addEventListener("abort", interrupted);
  const service = new Service({
    hypervisor: emulation.hypervisor,
    files: options.files,
    scanner: options.scanner,
    recorder: options.recorder,
    limits: options.limits,
    signal: scans.signal,
  });
  try {
    service.submitFile(sample.bytes);
    service.watch(emulation.domain, emulation.rules, options.settings);
    options.onStart?.(service, emulation);
    const end = await run(emulation, service, options, started);
    service.unwatch(emulation.domain);
    await service.drain();
    options.onProgress?.({ phase: "scanning", instructions: end.instructions, queued: service.scans.queued });
    await service.finish();
    const report = await buildReport(service, {
      umbra: options.umbra,
      sample: { name: sample.name, sha256: sha256(sample.bytes), size: sample.bytes.length },
      end: { ...end, seconds: Math.round(performance.now() - started) / 1000 },
      missing: emulation.missing(),
      guest,
      policy: options.policy ?? { kind: "any" },
      scanned: options.scanner !== undefined,
    });
    options.files.report(JSON.stringify(report, null, 2) + "\n");
    await options.onReport?.(report, emulation);
    return report;
  } finally {
    options.interrupt?.removeEventListener("abort", interrupted);
    clearTimeout(timer);
    service.close();
    emulation.close();
  }
}

/** Runs until the guest ends, a budget does, or the user interrupts. */
async function run(
  emulation: Emulation,
  service: Service,
  options: EmulateOptions,
  started: number,
): Promise<EmulationEnd> {
  let breath = performance.now();
  let stuck = 0;
  const endedBy = (reason: EmulationEnd["reason"], detail: string): EmulationEnd => ({
    reason,
    detail,
    instructions: emulation.instructions,
  });
  while (true) {
    const before = emulation.instructions;
    const end = emulation.step(SLICE);
    const events = await service.drain();
    if (end) return end;
    stuck = emulation.instructions === before && events === 0 ? stuck + 1 : 0;
    if (stuck >= STUCK) return endedBy("deadlock", "the guest neither runs nor is waited for");
    const now = performance.now();
    if (now - breath >= BREATH) {
      breath = now;
      options.onProgress?.({
        phase: "running",
        instructions: emulation.instructions,
        queued: service.scans.queued,
      });
      // Timers, signals and the engines' answers get their turn.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    if (options.interrupt?.aborted) return endedBy("interrupted", "by a signal");
    if (options.timeLimit > 0 && now - started >= options.timeLimit * 1000) {
      return endedBy("budget", `time limit of ${options.timeLimit} seconds`);
    }
  }
}
