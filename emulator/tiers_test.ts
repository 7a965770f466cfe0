// SPDX-License-Identifier: Apache-2.0
// The self-test samples in both tiers of the CPU: the same events at the same instruction counts.
import assert from "node:assert/strict";
import { asset } from "../core/assets.ts";
import type { MonitorEvent } from "../core/ports.ts";
import { tierDefaults } from "./machine/mod.ts";
import type { Tier } from "./machine/types.ts";
import { build as buildSamples } from "./samples/build_samples.ts";
import { suite } from "./samples/suite.ts";
import { testbed } from "./testbed.ts";

await buildSamples();

function run(sample: typeof suite[number], tier: Tier) {
  const before = { ...tierDefaults };
  Object.assign(tierDefaults, { tier, hotEntries: 20 });
  try {
    const emulation = testbed.load({ name: `${sample.name}.exe`, bytes: asset(sample.file) }, {
      maxInstructions: 3_000_000,
      args: [],
      company: sample.company.map((name) => ({ name, bytes: asset(name) })),
    });
    const { hypervisor, domain } = emulation;
    const events: MonitorEvent[] = [];
    const fetch = () => {
      for (let some = hypervisor.fetch(domain, 64); some.length > 0; some = hypervisor.fetch(domain, 64)) {
        events.push(...some);
        hypervisor.acknowledge(domain, some[some.length - 1].sequence);
      }
    };
    hypervisor.watch(domain, emulation.rules);
    let end;
    while (!end) {
      end = emulation.step(100_000);
      fetch();
    }
    hypervisor.unwatch(domain);
    fetch();
    emulation.close();
    return { end, events };
  } finally {
    Object.assign(tierDefaults, before);
  }
}

for (const sample of suite) {
  Deno.test(`${sample.name} gives the same events in both tiers`, () => {
    const first = run(sample, "interpreter"), second = run(sample, "jit");
    assert.deepEqual(second.end, first.end);
    assert.deepEqual(second.events, first.events);
    assert.ok(first.events.length > 0);
  });
}
