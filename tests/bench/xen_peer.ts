// SPDX-License-Identifier: Apache-2.0
/**
 * umbra's CPU as a virtual CPU of the model of Xen: every translation comes from shadow page tables, the
 * monitor is there (and watches nobody, as while an unwatched process runs).
 *
 * @module
 */
import { createXenModel, machineFramesFor } from "../../emulator/hypervisor/mod.ts";
import {
  enterFlatMode,
  flatDescriptors,
  GDT_ADDRESS,
  runToEnd,
  SerialClock,
  type UmbraRun,
} from "./bare_peer.ts";
import { entryPoint, LOAD_ADDRESS, MEMORY_SIZE } from "./workloads.ts";

/** Runs a multiboot image in a fresh domain, at most `most` instructions. */
export function runInDomain(image: Uint8Array, most: number): UmbraRun {
  const guestFrames = MEMORY_SIZE >>> 12;
  const model = createXenModel({ frames: machineFramesFor(guestFrames) });
  const domain = model.createDomain({ guestFrames });
  const [vcpu] = domain.vcpus;
  const clock = new SerialClock(() => vcpu.cpu.instructions);
  domain.onPort = { read: () => 0, write: (port, _size, value) => clock.write(port, value) };
  domain.writePhysical(LOAD_ADDRESS, image);
  domain.writePhysical(GDT_ADDRESS, flatDescriptors);
  enterFlatMode(vcpu.cpu, GDT_ADDRESS, entryPoint(image));
  const end = runToEnd((limit) => vcpu.run(limit), most);
  return { ...clock.times(), end, read: (address, length) => domain.readPhysical(address, length) };
}
