// SPDX-License-Identifier: Apache-2.0
/**
 * What the status page, the API and the metrics show: one picture of the service at one moment.
 *
 * @module
 */
import type { DomainStatistics, EngineStatus, HypervisorInfo } from "../ports.ts";

/** One watched domain. */
export interface DomainStatus {
  readonly domain: number;
  /** What it is, in words. */
  readonly name: string;
  readonly state: "watched" | "ended";
  /** The monitor's counters. */
  readonly statistics: DomainStatistics;
  /** Pages the service took: seen = stored + deduplicated + lost. */
  readonly pages: {
    readonly seen: number;
    readonly stored: number;
    readonly deduplicated: number;
    readonly lost: number;
  };
}

/** One verdict on a process. */
export interface VerdictStatus {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly domain: number;
  readonly pid: number;
  readonly name: string;
  readonly path: string;
  readonly verdict: "malicious" | "clean" | "incomplete" | "error";
  /** What was found, by engine. */
  readonly threats: readonly { readonly engine: string; readonly threat: string }[];
}

/** The whole picture. All text in it may come from a guest or an engine. */
export interface StatusSnapshot {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly now: number;
  /** True when everything it needs stands: it may be sent work. */
  readonly ready: boolean;
  /** What is wrong, one line each; empty when all is well. */
  readonly problems: readonly string[];
  readonly hypervisor: HypervisorInfo;
  readonly domains: readonly DomainStatus[];
  readonly engines: readonly EngineStatus[];
  /** Newest first, a bounded number. */
  readonly verdicts: readonly VerdictStatus[];
  /** Verdicts so far, by kind. */
  readonly verdictCounts: Readonly<Record<VerdictStatus["verdict"], number>>;
}
