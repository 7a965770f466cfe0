// SPDX-License-Identifier: Apache-2.0
import { Bridge, type BridgeOptions } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { type Check, must } from "./checks.ts";
import { type Exercise, exercise } from "./exerciser.ts";

/** Runs it several times in a row; `what` was seen in all. */
async function runs(count: number, options: BridgeOptions): Promise<string> {
  const bridge = new Bridge(new PrivcmdTransport(), options);
  try {
    const done: Exercise[] = [];
    for (let i = 0; i < count; i++) done.push(await exercise(bridge, "/tmp/exerciser"));
    const sum = (of: (one: Exercise) => number) => done.reduce((total, one) => total + of(one), 0);
    const pauses = sum(({ pauses }) => pauses);
    if (options.ringPages) must(pauses > 0, "a small data centre never held the guest");
    return `${count} runs, ${
      sum(({ truths }) => truths)
    } pages ran, each was captured as it ran, none lost; ` +
      `${sum(({ pages }) => pages)} snapshots, ${pauses} pauses, ${
        sum(({ seconds }) => seconds).toFixed(1)
      } s`;
  } finally {
    bridge.close();
  }
}

/** What ran is what was captured. */
export function exerciserChecks(count: number): readonly Check[] {
  return [
    { name: `exerciser, ${count} runs`, limit: 900, run: () => runs(count, {}) },
    {
      name: `exerciser, ${count} runs, data centre full`,
      limit: 900,
      run: () => runs(count, { ringPages: 8, ringEvents: 16 }),
    },
  ];
}
