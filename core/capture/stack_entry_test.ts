// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import type { EventKind } from "../ports.ts";
import { ScriptedHypervisor } from "../testing/scripted.ts";
import { StackEntries } from "./stack_entry.ts";

const BASE = 0x40_0000, ENTRY = 0x40_5000, STACK = 0x11_ff8c;

type Step = readonly [kind: EventKind, eip: number, esp: number, hop?: true];

/** Where the program began, by what ran. */
function entry(steps: readonly Step[], entryPoint = ENTRY, base = BASE): number | undefined {
  const hypervisor = new ScriptedHypervisor();
  hypervisor.play(
    1,
    steps.map(([kind, eip, esp, hop = false]) => ({ kind, eip, esp, hop, va: eip - eip % 4096 })),
  );
  const stacks = new StackEntries();
  for (const event of hypervisor.fetch(1, 1000)) stacks.add(event, base);
  return stacks.entry(BASE, entryPoint);
}

const STUB: readonly Step[] = [["S1", ENTRY, STACK], ["S2", 0x40_50a4, STACK - 60]];

Deno.test("code that first runs with the entry point's stack, after the last turn, is where a program begins", () => {
  const program: Step = ["S1", 0x40_1020, STACK];
  assert.equal(entry([...STUB, program]), 0x40_1020);
  assert.equal(entry([...STUB, ["S1", 0x40_2000, STACK - 4], program, ["S1", 0x40_3000, STACK]]), 0x40_1020);
  assert.equal(
    entry([...STUB, program, ["S2", 0x40_5100, STACK - 8]]),
    undefined,
    "more was rewritten since",
  );
  assert.equal(entry([...STUB, program, ["S1", 0x40_2004, STACK, true]]), 0x40_2004, "a hop begins anew");
  assert.equal(entry([...STUB, ["S2", 0x40_1020, STACK, true]]), 0x40_1020);
});

Deno.test("a program that never rewrote itself, or whose first stack is not known, begins where its headers say", () => {
  assert.equal(entry([["S1", ENTRY, STACK], ["S1", 0x40_1020, STACK]]), undefined);
  assert.equal(entry([...STUB, ["S1", 0x40_1020, STACK]], 0x40_4000), undefined);
  assert.equal(entry([...STUB, ["S1", 0x40_1020, STACK - 4]]), undefined);
  assert.equal(entry([...STUB, ["S2", ENTRY, STACK]]), undefined, "its own entry point again");
  assert.equal(entry([...STUB, ["S1", 0x40_1020, STACK]], ENTRY, 0x50_0000), undefined, "another allocation");
  const context: Step = ["layer", 0x40_1020, STACK];
  assert.equal(entry([...STUB, context]), undefined, "captured, not run");
});
