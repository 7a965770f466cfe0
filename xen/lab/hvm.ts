// SPDX-License-Identifier: Apache-2.0
/**
 * What dom0 needs for guests with a device model: Debian's QEMU for Xen with its libraries and its firmware files. Our
 * guests stand where hvmloader would, and are entered as it is: 32-bit protected mode, no paging.
 *
 * @module
 */
import { guestConfiguration } from "./guests.ts";
import { libraries, type RootFile } from "./initramfs.ts";
import { exists, KEPT, run } from "./shell.ts";

const PACKAGE = "qemu-system-xen";
const MODEL = "/usr/libexec/xen-qemu-system-i386";
/** Read by it at its start; Debian packages seabios and qemu-system-data, which QEMU for PCs needs as well. */
const FIRMWARE: Readonly<Record<string, readonly string[]>> = {
  "/usr/share/seabios": ["bios-256k.bin", "vgabios-stdvga.bin"],
  "/usr/share/qemu": ["kvmvapic.bin", "linuxboot_dma.bin", "keymaps/en-us"],
};

/** The device model, and the exerciser (two processors) and the unpacker (one) as guests that have one. */
export async function hvmGuest(): Promise<readonly RootFile[]> {
  const folder = `${KEPT}/hvm`, unpacked = `${folder}/root`;
  if (!exists(`${folder}/done`)) {
    await Deno.mkdir(folder, { recursive: true });
    await run(["apt-get", "-o", "APT::Sandbox::User=root", "download", PACKAGE], { cwd: folder });
    for (const { name } of Deno.readDirSync(folder)) {
      if (name.endsWith(".deb")) await run(["dpkg-deb", "-x", `${folder}/${name}`, unpacked]);
    }
    await Deno.writeTextFile(`${folder}/done`, "");
  }
  const files: RootFile[] = [{ to: MODEL, from: `${unpacked}${MODEL}`, executable: true }];
  for (const path of await libraries(`${unpacked}${MODEL}`, `${KEPT}/unpacked`)) {
    files.push({ to: `/lib/${path.replace(/.*\//, "")}`, from: path });
  }
  for (const [place, names] of Object.entries(FIRMWARE)) {
    for (const name of names) {
      if (exists(`${place}/${name}`)) files.push({ to: `${place}/${name}`, from: `${place}/${name}` });
    }
  }
  for (const [name, vcpus] of [["exerciser", 2], ["unpacker", 1]] as const) {
    const text = guestConfiguration(name, `/lab/${name}.elf`, { vcpus, deviceModel: true });
    files.push({ to: `/lab/${name}.cfg`, text });
  }
  return files;
}
