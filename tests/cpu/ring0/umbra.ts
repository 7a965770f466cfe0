// SPDX-License-Identifier: Apache-2.0
/**
 * The ring-0 kernels on umbra: a virtual CPU of the model of Xen, all translations from shadow page tables.
 *
 * @module
 */
import { createXenModel, machineFramesFor } from "../../../emulator/hypervisor/mod.ts";
import { tierDefaults } from "../../../emulator/machine/mod.ts";
import type { CpuExit, Tier } from "../../../emulator/machine/types.ts";
import { enterFlatMode, flatDescriptors, GDT_ADDRESS } from "../../bench/bare_peer.ts";
import { entryPoint, LOAD_ADDRESS, SERIAL_PORT } from "../../bench/workloads.ts";

const MEMORY = 64 << 20;
/** Instructions no kernel needs. */
const MOST = 400_000_000;
/** Entries after which a block is hot in these runs: soon. */
const HOT = 2;

/** What a run left. */
export interface KernelRun {
  readonly log: string;
  readonly end: CpuExit;
  readonly instructions: number;
}

/** Runs a kernel in a tier. */
export function runInUmbra(image: Uint8Array, tier: Tier): KernelRun {
  const before = { ...tierDefaults };
  Object.assign(tierDefaults, { tier, hotEntries: HOT });
  try {
    const guestFrames = MEMORY >>> 12;
    const model = createXenModel({ frames: machineFramesFor(guestFrames) });
    const domain = model.createDomain({ guestFrames });
    const [vcpu] = domain.vcpus;
    let log = "", divisor = false;
    domain.onPort = {
      // The line status register: the transmitter is always ready.
      read: (port, size) =>
        port === SERIAL_PORT + 5 ? 0x60 : size === 4 ? 0xffff_ffff : (1 << (8 * size)) - 1,
      write: (port, _size, value) => {
        // With bit 7 of the line control register the port is the divisor.
        if (port === SERIAL_PORT + 3) divisor = (value & 0x80) !== 0;
        if (port === SERIAL_PORT && !divisor) log += String.fromCharCode(value & 0xff);
      },
    };
    domain.writePhysical(LOAD_ADDRESS, image);
    domain.writePhysical(GDT_ADDRESS, flatDescriptors);
    enterFlatMode(vcpu.cpu, GDT_ADDRESS, entryPoint(image));
    let end: CpuExit;
    do end = vcpu.run(10_000_000); while (end.kind === "budget" && vcpu.cpu.instructions < MOST);
    return { log, end, instructions: vcpu.cpu.instructions };
  } finally {
    Object.assign(tierDefaults, before);
  }
}
