// SPDX-License-Identifier: Apache-2.0
/**
 * What the monitor costs on real Xen: one boot of the lab's suite `numbers` in QEMU. Emulation has no meaning in
 * absolute time: its rows are ratios, or to be read as such.
 *
 * @module
 */
import { runSuite } from "../../xen/lab/run.ts";
import { SUITES } from "../../xen/lab/suites.ts";
import type { BenchRow, Suite } from "./measure.ts";

/** The suite `xen`. The lab decides how often it runs what. */
export const suite: Suite = {
  name: "xen",
  peers: ["unwatched", "no process matches", "one page at a time"],
  run: async (_runs, say) => {
    say("boots Xen in QEMU, some minutes");
    const { code, checks, folder } = await runSuite(SUITES.find(({ name }) => name === "numbers")!);
    if (code !== 0) throw new Error(`Cannot measure: ${checks.map(({ detail }) => detail).join("; ")}`);
    return JSON.parse(await Deno.readTextFile(`${folder}/numbers.json`)) as BenchRow[];
  },
};
