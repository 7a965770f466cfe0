// SPDX-License-Identifier: Apache-2.0
/**
 * What is the same for the emulated machines in which the lab boots Xen: `qemu.ts`, `bochs.ts`.
 *
 * @module
 */
import type { Dom0 } from "./initramfs.ts";

/** What a machine boots, and where what it says and what it leaves go. */
export interface Boot {
  /** The suite's, for files of the machine's own. */
  readonly name: string;
  /** Path of the hypervisor. */
  readonly xen: string;
  readonly dom0: Dom0;
  /** Processors of the machine. */
  readonly cpus: number;
  /** More words for the hypervisor's command line. */
  readonly xenOptions: string;
  /** Seconds after which the machine is stopped. */
  readonly limit: number;
  /** File for the console. */
  readonly log: string;
  /** File for the archive that dom0 leaves by a device of the machine, the last thing before it ends (`init.sh`). */
  readonly results: string;
}

/** Boots, and returns when the machine is off; throws when it had to be stopped. */
export type Machine = (boot: Boot) => Promise<void>;

/** The hypervisor's command line; memory in MiB. */
export function xenLine(dom0Memory: number, options: string): string {
  return "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all conring_size=1M " +
    `dom0_mem=${dom0Memory}M,max:${dom0Memory}M dom0_max_vcpus=1 ${options}`;
}

/** The command line of dom0's kernel. */
export const DOM0_LINE = "console=hvc0 earlyprintk=xen rdinit=/init";

/** What ends a machine that takes longer than its limit, and lets others go first. */
export function limited(seconds: number): readonly string[] {
  return ["timeout", "-s", "KILL", String(seconds), "nice", "-n", "3"];
}
