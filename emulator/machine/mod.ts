// SPDX-License-Identifier: Apache-2.0
/**
 * The machine: page frames and CPUs over them.
 *
 * @module
 */
import { asset } from "../../core/assets.ts";
import { InterpretedCpu } from "./cpu.ts";
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
  /** Default: `jit`, or what the environment variable UMBRA_TIER says when it may be read. */
  readonly tier?: Tier;
}

function defaultTier(): Tier {
  const allowed = Deno.permissions.querySync({ name: "env", variable: "UMBRA_TIER" }).state === "granted";
  return allowed && Deno.env.get("UMBRA_TIER") === "interpreter" ? "interpreter" : "jit";
}

/**
 * Makes a machine. Needs the artefact `cpu.wasm`. CPUs start in ring 0 with flat 32-bit segments, EIP 0 and
 * interrupts off; they need a host before they run. Throws RangeError for sizes that cannot be.
 */
export function createMachine(options: MachineOptions): Machine {
  module ??= new WebAssembly.Module(asset("cpu.wasm"));
  const memory = new LinearMemory(options.frames);
  const wasm = module;
  const tier = options.tier ?? defaultTier();
  const cpus = Array.from(
    { length: options.cpus ?? 1 },
    (_, i) => new InterpretedCpu(memory, cpuArea(i), wasm, tier),
  );
  InterpretedCpu.join(cpus);
  memory.onWrite = (frame, offset) => {
    cpus[0]?.frameWritten(frame, offset, 4);
  };
  return { memory, cpus };
}
