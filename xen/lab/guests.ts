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
  "-m32 -O1 -ffreestanding -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -mno-sse " +
  "-mno-mmx -nostdlib -static -no-pie -Wall -Wextra -Werror -Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments";

/** Builds one guest of a name; returns the file's path. */
export async function buildGuest(name: string): Promise<string> {
  await Deno.mkdir(KEPT, { recursive: true });
  const output = `${KEPT}/${name}.elf`;
  const sources = [`${name}_start.S`, `${name}.c`];
  await run(["gcc", ...FLAGS.split(" "), "-T", `${name}.ld`, ...sources, "-o", output], { cwd: SOURCES });
  return output;
}

/** The configuration with which `xl create` starts it, from `file` in dom0. */
export function guestConfiguration(name: string, file: string): string {
  const settings = {
    name: `"${name}"`,
    type: '"pvh"',
    kernel: `"${file}"`,
    memory: 16,
    vcpus: 1,
    // Shadow paging: what the monitor stands in.
    hap: 0,
    nestedhvm: 0,
    on_crash: '"preserve"',
    on_poweroff: '"preserve"',
  };
  return Object.entries(settings).map(([key, value]) => `${key}=${value}\n`).join("");
}
