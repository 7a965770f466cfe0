// SPDX-License-Identifier: Apache-2.0
/**
 * What umbra concludes from what the engines said. Never clean by default.
 *
 * @module
 */
import type { Finding } from "./ports.ts";

/** What is concluded of a process, a file or a run; `error`: umbra itself failed. */
export type Verdict = "malicious" | "clean" | "incomplete" | "error";

/** When findings make something malicious. */
export type Policy =
  /** One engine is enough. */
  | { readonly kind: "any" }
  /** At least `engines` different engines. */
  | { readonly kind: "quorum"; readonly engines: number }
  /** The weights of the engines that found something add up to `threshold`; engines not named weigh 0. */
  | {
    readonly kind: "weights";
    readonly weights: Readonly<Record<string, number>>;
    readonly threshold: number;
  };

/** What a verdict is made from. */
export interface Evidence {
  /** Every finding on every unit of the subject. */
  readonly findings: Iterable<Finding>;
  /** Units of the subject that no engine has answered for. */
  readonly unscanned: number;
  /** Why the subject was not seen whole, in words: pages lost, a budget that ended… */
  readonly troubles: readonly string[];
}

/** A verdict with its reasons, in words. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
}

/** Whether the engines that found something are enough for the policy. */
export function isMalicious(policy: Policy, engines: ReadonlySet<string>): boolean {
  switch (policy.kind) {
    case "any":
      return engines.size > 0;
    case "quorum":
      return engines.size >= Math.max(1, policy.engines);
    case "weights": {
      let sum = 0;
      for (const name of engines) sum += Object.hasOwn(policy.weights, name) ? policy.weights[name] : 0;
      return engines.size > 0 && sum >= policy.threshold;
    }
  }
}

/**
 * The verdict on one subject: malicious if the policy says so; else incomplete if anything was not seen, not
 * scanned or not finished, or if nothing was scanned at all; else clean.
 */
export function judge(policy: Policy, evidence: Evidence): Judgement {
  const found = new Set<string>();
  const unfinished = new Map<string, number>();
  let finished = 0;
  for (const finding of evidence.findings) {
    if (finding.status === "malicious") found.add(finding.engine);
    if (finding.status === "malicious" || finding.status === "clean") finished++;
    else unfinished.set(finding.engine, (unfinished.get(finding.engine) ?? 0) + 1);
  }
  const reasons = [...evidence.troubles];
  for (const [engine, count] of [...unfinished].sort(([a], [b]) => a < b ? -1 : 1)) {
    reasons.push(`engine ${engine} did not finish ${count} ${count === 1 ? "unit" : "units"}`);
  }
  if (evidence.unscanned > 0) reasons.push(`${evidence.unscanned} units were not scanned`);
  if (finished === 0 && reasons.length === 0) reasons.push("nothing was scanned");
  if (isMalicious(policy, found)) {
    return { verdict: "malicious", reasons: [`found by ${[...found].sort().join(", ")}`, ...reasons] };
  }
  return reasons.length > 0 ? { verdict: "incomplete", reasons } : { verdict: "clean", reasons: [] };
}
