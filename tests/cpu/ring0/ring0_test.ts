// SPDX-License-Identifier: Apache-2.0
// The ring-0 kernels: paging, faults, gates, tasks, breakpoints, ports, SYSENTER. Both tiers log the same, and
// what QEMU and Bochs log, but for the differences that are listed with their reasons.
import assert from "node:assert/strict";
import { build } from "../../../emulator/machine/build_cpu.ts";
import { build as buildMonitor } from "../../../xen/build_monitor.ts";
import { workload } from "../../bench/workloads.ts";
import { need } from "../../means.ts";
import { assemble, linesOf } from "./kernels.ts";
import { knownDifferences, type PeerName } from "./known_differences.ts";
import { runInBochs, runInQemu } from "./peers.ts";
import { type KernelRun, runInUmbra } from "./umbra.ts";

await build();
await buildMonitor();

/** The kernels; TCG checks no limits of segments, so it has nothing to say of one of them. */
const KERNELS: Readonly<Record<string, readonly PeerName[]>> = {
  faults: ["QEMU", "Bochs"],
  segments: ["QEMU", "Bochs"],
  gates: ["QEMU", "Bochs"],
  tasks: ["QEMU", "Bochs"],
  paging: ["QEMU", "Bochs"],
  pae: ["QEMU", "Bochs"],
  debug: ["QEMU", "Bochs"],
  system: ["QEMU", "Bochs"],
  limits: ["Bochs"],
};
const PEERS = { QEMU: runInQemu, Bochs: runInBochs } as const;
const MEANS = { QEMU: "qemu-system-i386", Bochs: "bochs" } as const;
const haveNasm = need("nasm");

const images = new Map<string, Uint8Array>();
function imageOf(kernel: string): Uint8Array {
  let image = images.get(kernel);
  if (image === undefined) images.set(kernel, image = assemble(`${kernel}.asm`));
  return image;
}
const runs = new Map<string, KernelRun>();
function interpreted(kernel: string): KernelRun {
  let run = runs.get(kernel);
  if (run === undefined) runs.set(kernel, run = runInUmbra(imageOf(kernel), "interpreter"));
  return run;
}

/** Name of a line: what stands before the outcome. */
function nameOf(line: string): string {
  return line.replace(/ ([0-9a-f]{4}-[0-9a-f]{4} .*|#.*|none|[0-9a-f]{8})$/, "");
}

/** Fails with the first line that differs and the ones around it. */
function assertSameLines(actual: readonly string[], expected: readonly string[], whose: string): void {
  const at = Math.max(
    actual.findIndex((line, i) => line !== expected[i]),
    actual.length < expected.length && actual.every((line, i) => line === expected[i]) ? actual.length : -1,
  );
  const context = (lines: readonly string[]) => lines.slice(Math.max(0, at - 2), at + 3).join("\n");
  assert.equal(at, -1, `line ${at}: umbra\n${context(actual)}\n${whose}\n${context(expected)}`);
}

for (const [kernel, peers] of Object.entries(KERNELS)) {
  Deno.test({
    name: `${kernel}: both tiers log the same in the same number of instructions`,
    ignore: !haveNasm,
    fn() {
      const first = interpreted(kernel), second = runInUmbra(imageOf(kernel), "jit");
      assert.deepEqual(first.end, { kind: "halt" });
      assert.equal(linesOf(first.log).at(-1), "END");
      assertSameLines(linesOf(second.log), linesOf(first.log), "the interpreter");
      assert.deepEqual(second.end, first.end);
      assert.equal(second.instructions, first.instructions);
    },
  });
  for (const peer of peers) {
    Deno.test({
      name: `${kernel}: umbra logs what ${peer} logs`,
      ignore: !haveNasm || !need(MEANS[peer]),
      async fn() {
        const theirs = linesOf(await PEERS[peer](imageOf(kernel)));
        const ours = linesOf(interpreted(kernel).log);
        assert.equal(theirs.at(-1), "END");
        const known = knownDifferences.filter(([who, which]) => who === peer && which === kernel);
        const listed = (line: string) => known.some(([, , lines]) => lines.test(nameOf(line)));
        const rest = (lines: readonly string[]) => lines.filter((line) => !listed(line));
        assertSameLines(rest(ours), rest(theirs), peer);
        for (const [, , lines, reason] of known) {
          const those = (all: readonly string[]) => all.filter((line) => lines.test(nameOf(line)));
          assert.notDeepEqual(those(ours), those(theirs), `no longer different: ${lines} (${reason})`);
        }
        console.log(`${kernel}: ${rest(ours).length} of ${ours.length} lines equal to ${peer}'s`);
      },
    });
  }
}

// The two programs that show whether a processor knows XD; the benchmark has them too. (They do not wait for the
// serial port, so that Bochs loses half of what they write.)
for (const name of ["nx", "np"]) {
  Deno.test({
    name: `${name}: both tiers write what QEMU writes`,
    ignore: !need("qemu-system-i386"),
    async fn() {
      const { image } = workload(name);
      const theirs = await runInQemu(image, "E");
      assert.deepEqual((["interpreter", "jit"] as const).map((tier) => runInUmbra(image, tier).log), [
        theirs,
        theirs,
      ]);
    },
  });
}
