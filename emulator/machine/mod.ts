// SPDX-License-Identifier: Apache-2.0
/**
 * The machine: page frames and CPUs over them.
 *
 * @module
 */
import { asset } from "../../core/assets.ts";
import { InterpretedCpu } from "./cpu.ts";
import { HOT_ENTRIES } from "./jit.ts";
import { cpuArea, LinearMemory } from "./memory.ts";
import type { Machine, Tier } from "./types.ts";

export * from "./types.ts";
export { Flag, Rights } from "./core.ts";

let module: WebAssembly.Module | undefined;

/** Size of a machine. */
export interface MachineOptions {
  /** Page frames of 4096 bytes; taken from the host only when touched. */
  readonly frames: number;
  /** CPUs (default 1, at most 4). */
  readonly cpus?: number;
  /** Default: what {@link tierDefaults} says. */
  readonly tier?: Tier;
}

/** What machines are made with where nobody says otherwise; tests change it. */
export const tierDefaults: { tier: Tier; hotEntries: number } = { tier: "jit", hotEntries: HOT_ENTRIES };

/**
 * Makes a machine. Needs the artefact `cpu.wasm`. CPUs start in ring 0 with flat 32-bit segments, EIP 0 and
 * interrupts off; they need a host before they run. Throws RangeError for sizes that cannot be.
 */
export function createMachine(options: MachineOptions): Machine {
  module ??= new WebAssembly.Module(asset("cpu.wasm"));
  const memory = new LinearMemory(options.frames);
  const wasm = module;
  const tier = options.tier ?? tierDefaults.tier;
  const cpus = Array.from(
    { length: options.cpus ?? 1 },
    (_, i) => new InterpretedCpu(memory, cpuArea(i), wasm, tier === "jit" ? tierDefaults.hotEntries : 0),
  );
  InterpretedCpu.join(cpus);
  memory.onWrite = (frame, offset) => {
    cpus[0]?.frameWritten(frame, offset, 4);
  };
  return { memory, cpus };
}
