// SPDX-License-Identifier: Apache-2.0
/**
 * The model of Xen: domains with shadow paging, the monitor inside, dom0's transport.
 *
 * @module
 */
import { createMachine } from "../machine/mod.ts";
import { Model, shadowFramesFor } from "./model.ts";
import type { XenModel } from "./types.ts";

export type { Domain, PortHandler, Vcpu, XenModel } from "./types.ts";
export { GuestPageFault } from "./types.ts";

/** How big the machine is. */
export interface XenModelOptions {
  /**
   * Machine frames of 4 KiB: for every domain its guest frames, its shadow pool, and one for each vCPU and one
   * more; see {@link machineFramesFor}.
   */
  readonly frames: number;
  /** CPUs; each vCPU takes one. Default 1. */
  readonly cpus?: number;
  /** Shadow tables of each domain, 16 or more; by default a sixteenth of its frames, 64 to 1024. */
  readonly shadowFrames?: number;
}

/** Machine frames a domain takes with the default pool. */
export function machineFramesFor(guestFrames: number, vcpus = 1): number {
  return guestFrames + shadowFramesFor(guestFrames) + vcpus + 1;
}

/** Makes a machine with the monitor in it and no domain yet. */
export function createXenModel(options: XenModelOptions): XenModel {
  return new Model(createMachine({ frames: options.frames, cpus: options.cpus ?? 1 }), options.shadowFrames);
}
