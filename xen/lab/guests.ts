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
  "-Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments";

const BASE = ["base_start.S", "console.c", "base.c"];

const EXERCISER = [...BASE, "exerciser.c", "exerciser_program.c"];

/** What each guest is built from, and the linker's script; without one, a program for a guest's own kernel. */
const GUESTS = {
  unpacker: { script: "base.ld", sources: [...BASE, "unpacker.c", "unpacker_program.S"] },
  exerciser: { script: "base.ld", sources: EXERCISER },
  /** With as much ordinary work as can be timed. */
  measured: { script: "base.ld", sources: ["-DORDINARY=400u", ...EXERCISER] },
  processes: {
    script: "processes.ld",
    sources: ["processes_start.S", "console.c", "processes.c", "processes_memory.c", "processes_programs.S"],
  },
  linux_program: { script: undefined, sources: ["linux_program.c"] },
} as const;

/** Builds one guest into a folder; returns the file's path. */
export async function buildGuest(name: keyof typeof GUESTS, folder = KEPT): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const output = `${folder}/${name}.elf`;
  const { script, sources } = GUESTS[name];
  const layout = script === undefined ? [] : ["-T", script];
  await run(["gcc", ...FLAGS.split(" "), ...layout, ...sources, "-o", output], { cwd: SOURCES });
  return output;
}

/** Settings of a guest's configuration that differ from one to the next. */
export interface GuestSettings {
  readonly vcpus?: number;
  /** MiB; 16 when not said. */
  readonly memory?: number;
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
    memory: settings.memory ?? 16,
    vcpus: settings.vcpus ?? 1,
    hap: settings.hap ? 1 : 0,
    nestedhvm: 0,
    on_crash: '"preserve"',
    on_poweroff: '"preserve"',
  };
  return Object.entries(values).map(([key, value]) => `${key}=${value}\n`).join("");
}
