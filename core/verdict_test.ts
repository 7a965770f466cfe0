// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import type { Finding, ScanStatus } from "./ports.ts";
import { judge, type Policy, type Verdict } from "./verdict.ts";

const finding = (engine: string, status: ScanStatus): Finding => ({
  unit: "u",
  engine,
  status,
  threats: status === "malicious" ? [{ name: "x" }] : [],
});

const any: Policy = { kind: "any" };
const two: Policy = { kind: "quorum", engines: 2 };
const weights: Policy = { kind: "weights", weights: { a: 1, b: 3 }, threshold: 3 };

/** name; policy; findings as `engine:status`; units not scanned; troubles; verdict. */
const CASES: readonly (readonly [string, Policy, string, number, readonly string[], Verdict])[] = [
  ["nothing was scanned", any, "", 0, [], "incomplete"],
  ["all clean", any, "a:clean b:clean", 0, [], "clean"],
  ["one says malicious", any, "a:clean b:malicious", 0, [], "malicious"],
  ["one did not finish", any, "a:clean b:incomplete", 0, [], "incomplete"],
  ["one failed", any, "a:clean b:error", 0, [], "incomplete"],
  ["all failed", any, "a:error", 0, [], "incomplete"],
  ["malicious outweighs failures", any, "a:malicious b:error", 3, ["lost"], "malicious"],
  ["a unit was not scanned", any, "a:clean", 1, [], "incomplete"],
  ["pages were lost", any, "a:clean", 0, ["1 pages were lost"], "incomplete"],
  ["quorum not reached", two, "a:malicious b:clean", 0, [], "clean"],
  ["quorum counts engines, not units", two, "a:malicious a:malicious b:clean", 0, [], "clean"],
  ["quorum reached on different units", two, "a:malicious b:clean b:malicious", 0, [], "malicious"],
  ["quorum not reached, unfinished", two, "a:malicious b:error", 0, [], "incomplete"],
  ["quorum of nobody is one", { kind: "quorum", engines: 0 }, "a:clean", 0, [], "clean"],
  ["weights not reached", weights, "a:malicious b:clean", 0, [], "clean"],
  ["weights reached", weights, "a:clean b:malicious", 0, [], "malicious"],
  ["an engine without a weight weighs nothing", weights, "c:malicious toString:malicious", 0, [], "clean"],
  ["no weight needed still needs a finding", { ...weights, threshold: 0 }, "a:clean", 0, [], "clean"],
];

for (const [name, policy, said, unscanned, troubles, verdict] of CASES) {
  Deno.test(`verdict: ${name}`, () => {
    const findings = said.split(" ").filter(Boolean).map((text) => {
      const [engine, status] = text.split(":");
      return finding(engine, status as ScanStatus);
    });
    const judgement = judge(policy, { findings, unscanned, troubles });
    assert.equal(judgement.verdict, verdict);
    assert.equal(judgement.reasons.length > 0, verdict !== "clean", "a verdict has its reasons");
  });
}
