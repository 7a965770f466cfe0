// SPDX-License-Identifier: Apache-2.0
/**
 * Start-up: a fresh process up to its first guest instruction. Run as a program it is that process; it writes
 * one line when the instruction has run.
 *
 * @module
 */
import { cpuTime } from "./measure.ts";

/** What a fresh process starts: the model of Xen with a flat image, the test bed with a Windows program, v86, or nothing. */
export const STARTS = ["xen", "windows", "v86", "nothing"] as const;
/** One of {@link STARTS}. */
export type Start = (typeof STARTS)[number];

async function start(what: Start): Promise<void> {
  switch (what) {
    case "xen": {
      const { createBareGuest } = await import("../../emulator/hypervisor/mod.ts");
      const { vcpu } = createBareGuest({ image: Uint8Array.from([0x40, 0xeb, 0xfd]) });
      vcpu.run(1);
      if (vcpu.cpu.instructions !== 1) {
        throw new Error(`Cannot start: ${vcpu.cpu.instructions} instructions ran`);
      }
      return;
    }
    case "windows": {
      const [{ testbed }, { asset }, { suite }] = await Promise.all([
        import("../../emulator/testbed.ts"),
        import("../../core/assets.ts"),
        import("../../emulator/samples/suite.ts"),
      ]);
      const [{ name, file }] = suite;
      const emulation = testbed.load({ name: `${name}.exe`, bytes: asset(file) }, {
        maxInstructions: 1000,
        args: [],
        company: [],
      });
      emulation.hypervisor.watch(emulation.domain, emulation.rules);
      emulation.step(1);
      return;
    }
    case "v86": {
      const { runOnV86 } = await import("./v86_peer.ts");
      const { workload } = await import("./workloads.ts");
      await runOnV86(workload("np").image, true, { address: 0, length: 1 });
      return;
    }
    case "nothing":
  }
}

/** Milliseconds of processor time that a fresh process takes up to its first guest instruction. */
export async function timeStart(what: Start): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "--quiet",
      `--config=${new URL("../../deno.json", import.meta.url).pathname}`,
      `--lock=${new URL("../../deno.lock", import.meta.url).pathname}`,
      import.meta.filename!,
      what,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  });
  const { code, stdout } = await child.output();
  const time = Number(new TextDecoder().decode(stdout));
  if (code !== 0 || !(time > 0)) throw new Error(`Cannot time the start of ${what}: exit code ${code}`);
  return time;
}

if (import.meta.main) {
  await start(Deno.args[0] as Start);
  console.log(cpuTime());
  Deno.exit(0);
}
