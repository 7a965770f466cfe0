// SPDX-License-Identifier: Apache-2.0
/**
 * The model of Xen: domains with shadow paging, the monitor inside, dom0's transport.
 *
 * @module
 */
import { createMachine } from "../machine/mod.ts";
import { PAGE_SIZE, Register } from "../machine/types.ts";
import { CR0_PE } from "./entries.ts";
import { Model, shadowFramesFor } from "./model.ts";
import type { Domain, PortHandler, Vcpu, XenModel } from "./types.ts";

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

/** A flat 32-bit image in a domain of its own. */
export interface BareGuest {
  /** The model it is alone in. */
  readonly model: XenModel;
  /** Its domain. */
  readonly domain: Domain;
  /** Its only vCPU, ready to run. */
  readonly vcpu: Vcpu;
}

/**
 * Puts raw 32-bit code into guest-physical memory, as a boot loader would start it: flat ring-0 segments, paging
 * off, EIP at its first byte, ESP at it too (the stack grows down from there).
 */
export function createBareGuest(options: {
  readonly image: Uint8Array;
  /** Where it is loaded and started; default 1 MiB. */
  readonly address?: number;
  /** Bytes of guest memory, whole pages; default 32 MiB. */
  readonly memory?: number;
  readonly onPort?: PortHandler;
}): BareGuest {
  const { image, address = 0x10_0000, memory = 32 * 1024 * 1024 } = options;
  const guestFrames = Math.ceil(memory / PAGE_SIZE);
  const model = createXenModel({ frames: machineFramesFor(guestFrames) });
  const domain = model.createDomain({ guestFrames });
  domain.onPort = options.onPort;
  domain.writePhysical(address, image);
  const [vcpu] = domain.vcpus;
  vcpu.cpu.cr0 = CR0_PE;
  vcpu.cpu.eip = address;
  vcpu.cpu.setRegister(Register.esp, address);
  return { model, domain, vcpu };
}
