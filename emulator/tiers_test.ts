// SPDX-License-Identifier: Apache-2.0
// The self-test samples and packed programs in both tiers of the CPU: the same events at the same instruction
// counts.
import assert from "node:assert/strict";
import { asset } from "../core/assets.ts";
import type { MonitorEvent } from "../core/ports.ts";
import { tierDefaults } from "./machine/mod.ts";
import type { Tier } from "./machine/types.ts";
import { build as buildSamples } from "./samples/build_samples.ts";
import { suite } from "./samples/suite.ts";
import { testbed } from "./testbed.ts";
import { need } from "../tests/means.ts";

await buildSamples();

interface Program {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly company?: readonly string[];
}

function run(program: Program, tier: Tier, hotEntries: number) {
  const before = { ...tierDefaults };
  Object.assign(tierDefaults, { tier, hotEntries });
  try {
    const emulation = testbed.load(program, {
      maxInstructions: 3_000_000,
      args: [],
      company: (program.company ?? []).map((name) => ({ name, bytes: asset(name) })),
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

function sameInBoth(program: Program, hotEntries: number): void {
  const first = run(program, "interpreter", hotEntries), second = run(program, "jit", hotEntries);
  assert.deepEqual(second.end, first.end);
  assert.deepEqual(second.events, first.events);
  assert.ok(first.events.length > 0);
}

for (const { name, file, company } of suite) {
  Deno.test(`${name} gives the same events in both tiers`, () => {
    sameInBoth({ name: `${name}.exe`, bytes: asset(file), company }, 20);
  });
}

const TEST_FILES = "/usr/share/clamav-testfiles";
const packers = ["aspack", "fsg", "mew", "nsis", "pespin", "petite", "upack", "upx", "wwpack", "yc"];
const installed = need("clamav-testfiles");
for (const packer of packers) {
  Deno.test({
    name: `a program packed by ${packer} gives the same events in both tiers`,
    ignore: !installed,
    fn() {
      const name = `clam-${packer}.exe`;
      sameInBoth({ name, bytes: Deno.readFileSync(`${TEST_FILES}/${name}`) }, 200);
    },
  });
}
