// SPDX-License-Identifier: Apache-2.0
/**
 * Suite `cpu`: W1 to W4 on umbra and its peers, in million guest instructions a second of processor time
 * (all threads of the process, so a JIT's compile threads count); what a turn of a page from data to code
 * costs; start-up; machine code.
 *
 * @module
 */
import { type BenchRow, cpuTime, median, rounded, type Suite } from "./measure.ts";
import {
  LOAD_ADDRESS,
  MEMORY_SIZE,
  OUT_ADDRESS,
  SERIAL_INSTRUCTIONS,
  TURNS,
  type Workload,
  workload,
} from "./workloads.ts";
import { runOnBareCpu, type UmbraRun } from "./bare_peer.ts";
import { runManyLoops } from "./many_loops.ts";
import { type Start, STARTS, timeStart } from "./start_peer.ts";
import { runWatched } from "./watched_peer.ts";
import { runOnV86 } from "./v86_peer.ts";
import { Unicorn, unicornInstalled } from "../cpu/unicorn.ts";
import { machineCodeBytes } from "../../emulator/machine/code_memory.ts";

/** Loops of the program that has more hot code than is kept. */
const MANY_LOOPS = 2500;

/** One engine. */
interface Peer {
  readonly name: string;
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

/** W1 to W4. The runs of the peers alternate, so that all of them meet the same moods of the machine. */
async function speedRows(runs: number, say: (message: string) => void): Promise<BenchRow[]> {
  // umbra: ring 3 of a guest with PAE and NX, shadow page tables, the monitor watching the process;
  // umbra_unwatched: the same without a watch; umbra_bare: the CPU under a host that maps one to one;
  // umbra_interpreter: the same without its second tier.
  const peers = [
    umbra("umbra", (image, most) => runWatched(image, most)),
    umbra("umbra_unwatched", (image, most) => runWatched(image, most, false)),
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
    const speeds = new Map<string, number[]>(peers.map((peer) => [peer.name, []]));
    for (let i = 0; i < runs; i++) {
      say(`${name}, run ${i + 1} of ${runs}`);
      // Back and forth, so that nobody always pays for what the same one left to the garbage collector.
      for (const peer of i % 2 === 0 ? peers : peers.toReversed()) {
        speeds.get(peer.name)!.push(program.instructions! / 1000 / await peer.run(program));
      }
    }
    rows.push(rowOf(name, "million instructions/s", runs, speeds));
  }
  return rows;
}

/** What the monitor's hooks cost on W1 to W4: watched and unwatched runs in turns, three times as many. */
function hookRows(runs: number, say: (message: string) => void): BenchRow[] {
  return ["w1", "w2", "w3", "w4"].map((name) => {
    say(`hooks on ${name}`);
    const program = workload(name);
    const times = { watched: [] as number[], unwatched: [] as number[] };
    for (let i = 0; i < 3 * runs; i++) {
      for (const watched of i % 2 === 0 ? [true, false] : [false, true]) {
        const run = runWatched(program.image, program.instructions! + 100, watched);
        check("umbra", program, run.read(OUT_ADDRESS, program.expected.length));
        times[watched ? "watched" : "unwatched"].push(run.cpuMilliseconds);
      }
    }
    const [watched, unwatched] = [median(times.watched), median(times.unwatched)];
    return {
      name: `hooks on ${name}`,
      unit: "% more time",
      runs: 3 * runs,
      umbra: rounded(100 * (watched / unwatched - 1)),
      watched_ms: rounded(watched),
      unwatched_ms: rounded(unwatched),
    };
  });
}

/** A row of medians; of umbra also the least and the most. */
function rowOf(
  name: string,
  unit: string,
  runs: number,
  values: ReadonlyMap<string, readonly number[]>,
  facts: Record<string, number> = {},
): BenchRow {
  const own = values.get("umbra")!;
  const row: Record<string, number | string> = { name, unit, runs };
  for (const [peer, all] of values) row[peer] = rounded(median(all));
  row.umbra_least = rounded(Math.min(...own));
  row.umbra_most = rounded(Math.max(...own));
  return { ...row, ...facts } as unknown as BenchRow;
}

/** A page that rewrites and runs itself: processor time for each turn. */
async function turnRow(runs: number, say: (message: string) => void): Promise<BenchRow> {
  const program = workload("turns");
  const times = new Map<string, number[]>([["umbra", []], ["umbra_unwatched", []], ["v86", []]]);
  let turns = 0;
  for (let i = 0; i < runs; i++) {
    say(`turns, run ${i + 1} of ${runs}`);
    for (const watched of [true, false]) {
      const run = runWatched(program.image, 10 * TURNS, watched);
      check("umbra", program, run.read(OUT_ADDRESS, program.expected.length));
      times.get(watched ? "umbra" : "umbra_unwatched")!.push(run.cpuMilliseconds * 1000 / TURNS);
      if (watched) turns = run.turns;
    }
    times.get("v86")!.push(await v86(true).run(program) * 1000 / TURNS);
  }
  return rowOf("turns", "µs a turn", runs, times, { turns_seen: turns });
}

/** From the start of a process to its first guest instruction: processor time of the whole process. */
async function startRows(runs: number, say: (message: string) => void): Promise<BenchRow[]> {
  const times = new Map<Start, number[]>(STARTS.map((start) => [start, []]));
  for (let i = 0; i < runs; i++) {
    say(`start-up, run ${i + 1} of ${runs}`);
    for (const start of STARTS) times.get(start)!.push(await timeStart(start));
  }
  const row = (name: string, start: Start) =>
    rowOf(
      name,
      "ms",
      runs,
      new Map([["umbra", times.get(start)!], ["v86", times.get("v86")!], [
        "deno_alone",
        times.get("nothing")!,
      ]]),
    );
  return [row("start-up of a vCPU", "xen"), row("start-up of a Windows guest", "windows")];
}

/** Machine code in the process while a program of more hot code runs than is kept. */
function codeRow(say: (message: string) => void): BenchRow[] {
  if (machineCodeBytes() === undefined) {
    say("machine code is left out (it is read from /proc)");
    return [];
  }
  say("machine code");
  const run = runManyLoops(MANY_LOOPS);
  return [{
    name: "machine code",
    unit: "MiB at most",
    runs: 1,
    umbra: rounded(run.mostCode / 2 ** 20),
    regions: run.compiled,
    dropped: run.dropped,
  }];
}

/** The suite. */
export const suite: Suite = {
  name: "cpu",
  peers: ["umbra_unwatched", "umbra_bare", "umbra_interpreter", "v86", "v86_no_jit", "unicorn"],
  async run(runs, say) {
    return [
      ...await speedRows(runs, say),
      ...hookRows(runs, say),
      await turnRow(runs, say),
      ...await startRows(runs, say),
      ...codeRow(say),
    ];
  },
};
