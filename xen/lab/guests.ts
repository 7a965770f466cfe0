// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the lab's own guests from `guests/`, as ELF files that Xen starts in its PVH way.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { KEPT, run } from "./shell.ts";

const SOURCES = fileURLToPath(new URL("./guests", import.meta.url));
const FLAGS =
  "-m32 -O1 -ffreestanding -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-jump-tables " +
  "-mno-sse -mno-mmx -nostdlib -static -no-pie -Wall -Wextra -Werror " +
  "-Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments,-T,base.ld";

/** What each guest is built from, beside `base.c` and `base_start.S`. */
const GUESTS = {
  unpacker: ["unpacker.c", "unpacker_program.S"],
  exerciser: ["exerciser.c", "exerciser_program.c"],
} as const;

/** Builds one guest; returns the file's path. */
export async function buildGuest(name: keyof typeof GUESTS): Promise<string> {
  await Deno.mkdir(KEPT, { recursive: true });
  const output = `${KEPT}/${name}.elf`;
  const sources = ["base_start.S", "base.c", ...GUESTS[name]];
  await run(["gcc", ...FLAGS.split(" "), ...sources, "-o", output], { cwd: SOURCES });
  return output;
}

/** Settings of a guest's configuration that differ from one to the next. */
export interface GuestSettings {
  readonly vcpus?: number;
  /** Shadow paging is what the monitor stands in. */
  readonly hap?: boolean;
  /** A device model stands beside it, and it is started where hvmloader would be. */
  readonly deviceModel?: boolean;
}

/** Nothing of a PC but what a device model must have. */
const WITH_MODEL = {
  type: '"hvm"',
  device_model_version: '"qemu-xen"',
  vga: '"none"',
  serial: '"none"',
  nographic: 1,
  usb: 0,
  vnc: 0,
};

/** The configuration with which `xl create` starts it, from `file` in dom0. */
export function guestConfiguration(name: string, file: string, settings: GuestSettings = {}): string {
  const values = {
    name: `"${name}"`,
    ...settings.deviceModel
      ? { ...WITH_MODEL, firmware_override: `"${file}"` }
      : { type: '"pvh"', kernel: `"${file}"` },
    memory: 16,
    vcpus: settings.vcpus ?? 1,
    hap: settings.hap ? 1 : 0,
    nestedhvm: 0,
    on_crash: '"preserve"',
    on_poweroff: '"preserve"',
  };
  return Object.entries(values).map(([key, value]) => `${key}=${value}\n`).join("");
}
