// SPDX-License-Identifier: Apache-2.0
/**
 * Suite `cpu`: W1 to W4 on umbra and its peers, in million guest instructions a second of processor time
 * (all threads of the process, so a JIT's compile threads count).
 *
 * @module
 */
import { type BenchRow, cpuTime, median, rounded, type Suite } from "./measure.ts";
import {
  LOAD_ADDRESS,
  MEMORY_SIZE,
  OUT_ADDRESS,
  SERIAL_INSTRUCTIONS,
  type Workload,
  workload,
} from "./workloads.ts";
import { runOnBareCpu, type UmbraRun } from "./bare_peer.ts";
import { runInDomain } from "./xen_peer.ts";
import { runOnV86 } from "./v86_peer.ts";
import { Unicorn, unicornInstalled } from "../cpu/unicorn.ts";

/** One engine. */
interface Peer {
  readonly name: string;
  /** Runs of each program; slow peers get fewer. */
  readonly runs: (asked: number) => number;
  /** Milliseconds of processor time for the timed part. Throws when the result is wrong. */
  run(program: Workload): Promise<number>;
}

function check(peer: string, program: Workload, output: Uint8Array): void {
  const at = program.expected.findIndex((byte, i) => byte !== output[i]);
  if (at >= 0) throw new Error(`Cannot count ${program.name} on ${peer}: byte ${at} of the output is wrong`);
}

function umbra(name: string, runOn: (image: Uint8Array, most: number) => UmbraRun): Peer {
  return {
    name,
    runs: (asked) => asked,
    run(program) {
      const run = runOn(program.image, program.instructions! + 100);
      check(name, program, run.read(OUT_ADDRESS, program.expected.length));
      if (run.instructions !== program.instructions! + SERIAL_INSTRUCTIONS) {
        throw new Error(`Cannot count ${program.name} on ${name}: ${run.instructions} instructions`);
      }
      return Promise.resolve(run.cpuMilliseconds);
    },
  };
}

function v86(jit: boolean): Peer {
  const name = jit ? "v86" : "v86_no_jit";
  return {
    name,
    runs: (asked) => jit ? asked : Math.min(asked, 3),
    async run(program) {
      const length = program.expected.length;
      const run = await runOnV86(program.image, jit, { address: OUT_ADDRESS, length });
      check(name, program, run.output);
      return run.cpuMilliseconds;
    },
  };
}

const unicorn: Peer = {
  name: "unicorn",
  runs: (asked) => Math.min(asked, 3),
  run(program) {
    const engine = new Unicorn();
    try {
      const memory = new Uint8Array(new WebAssembly.Memory({ initial: MEMORY_SIZE >>> 16 }).buffer);
      memory.set(program.image, LOAD_ADDRESS);
      engine.map(0, memory);
      engine.state.fill(0);
      engine.state[4] = 0x90000;
      engine.state[8] = program.start;
      engine.state[9] = 2;
      const begin = cpuTime();
      const end = engine.run(program.done);
      const time = cpuTime() - begin;
      if (end.error !== 0) throw new Error(`Cannot run ${program.name} on Unicorn: error ${end.error}`);
      check("Unicorn", program, memory.subarray(OUT_ADDRESS));
      return Promise.resolve(time);
    } finally {
      engine.close();
    }
  },
};

/** The suite. */
export const suite: Suite = {
  name: "cpu",
  peers: ["umbra_bare", "umbra_interpreter", "v86", "v86_no_jit", "unicorn"],
  async run(runs, say) {
    // umbra: shadow page tables and the monitor; umbra_bare: the CPU under a host that
    // maps one to one; umbra_interpreter: the same without its second tier.
    const peers = [
      umbra("umbra", runInDomain),
      umbra("umbra_bare", runOnBareCpu),
      umbra("umbra_interpreter", (image, most) => runOnBareCpu(image, most, "interpreter")),
      v86(true),
      v86(false),
      ...unicornInstalled() ? [unicorn] : [],
    ];
    if (!unicornInstalled()) say("native Unicorn is left out (apt-get install libunicorn2)");
    const rows: BenchRow[] = [];
    for (const name of ["w1", "w2", "w3", "w4"]) {
      const program = workload(name);
      const row: Record<string, number | string> = {
        name: `${name}`,
        unit: "million instructions/s",
        runs,
      };
      for (const peer of peers) {
        say(`${name} on ${peer.name}`);
        const speeds: number[] = [];
        for (let i = peer.runs(runs); i > 0; i--) {
          speeds.push(program.instructions! / 1000 / await peer.run(program));
        }
        row[peer.name] = rounded(median(speeds));
      }
      rows.push(row as unknown as BenchRow);
    }
    return rows;
  },
};
