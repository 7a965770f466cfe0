// SPDX-License-Identifier: Apache-2.0
/**
 * Bochs as the lab's machine: software emulation of an Intel processor with VMX, many times slower than QEMU. It boots a
 * CD with GRUB, and dom0's results leave by the second serial port.
 *
 * @module
 */
import { type Boot, DOM0_LINE, limited, xenLine } from "./machine.ts";
import { exists, KEPT, run } from "./shell.ts";

const CPU = "broadwell_ult";
const MEMORY = 2048, DOM0_MEMORY = 1536;
/** Instructions that make a second of the machine's own time. */
const INSTRUCTIONS = 60_000_000;
const FIRMWARE = "/usr/share/bochs/BIOS-bochs-latest";
const VIDEO_FIRMWARE = "/usr/share/vgabios/vgabios.bin";

/**
 * The kernel that a bzImage holds compressed (boot protocol, `Documentation/x86/boot.rst` of Linux): Xen would take
 * four thousand million instructions to unpack it. As it is when it is not compressed by xz.
 */
async function unpackedKernel(path: string): Promise<Uint8Array> {
  const image = await Deno.readFile(path), view = new DataView(image.buffer);
  const at = (image[0x1f1] + 1) * 512 + view.getUint32(0x248, true);
  const payload = image.subarray(at, at + view.getUint32(0x24c, true));
  const magic = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0];
  if (!magic.every((byte, i) => payload[i] === byte)) return image;
  return await run(["xz", "-dc", "--single-stream"], { input: payload });
}

/** Makes the CD; returns its path. */
async function makeCd(boot: Boot): Promise<string> {
  const root = `${KEPT}/${boot.name}.cd`, image = `${root}.iso`;
  if (exists(root)) await Deno.remove(root, { recursive: true });
  await Deno.mkdir(`${root}/boot/grub`, { recursive: true });
  await Deno.copyFile(boot.xen, `${root}/boot/xen`);
  await Deno.writeFile(`${root}/boot/kernel`, await unpackedKernel(boot.dom0.kernel));
  await Deno.rename(boot.dom0.initramfs, `${root}/boot/initramfs`);
  const lines = [
    `multiboot /boot/xen ${xenLine(DOM0_MEMORY, boot.xenOptions)}`,
    `module /boot/kernel ${DOM0_LINE}`,
    "module /boot/initramfs",
    "boot",
  ];
  await Deno.writeTextFile(`${root}/boot/grub/grub.cfg`, lines.join("\n") + "\n");
  const modules = "--install-modules=biosdisk iso9660 normal multiboot boot";
  const few = [modules, "--modules=", "--locales=", "--fonts=", "--themes="];
  await run(["grub-mkrescue", "--directory=/usr/lib/grub/i386-pc", ...few, "-o", image, root]);
  await Deno.remove(root, { recursive: true });
  return image;
}

/** Boots in Bochs. */
export async function bootBochs(boot: Boot): Promise<void> {
  const cd = await makeCd(boot), own = `${KEPT}/${boot.name}.bochs`;
  // All of it lies where Bochs is run: a path could hold what its configuration cannot.
  const local = (path: string) => path.replace(/.*\//, "");
  const configuration = [
    `display_library: rfb, options="timeout=0"`,
    `romimage: file=${FIRMWARE}`,
    `vgaromimage: file=${VIDEO_FIRMWARE}`,
    `memory: guest=${MEMORY}, host=${MEMORY}`,
    `cpu: model=${CPU}, count=${boot.cpus}, ips=${INSTRUCTIONS}, reset_on_triple_fault=0, ignore_bad_msrs=1`,
    "clock: sync=none",
    `ata0-master: type=cdrom, path=${local(cd)}, status=inserted`,
    "boot: cdrom",
    `com1: enabled=1, mode=file, dev=${local(boot.log)}`,
    `com2: enabled=1, mode=file, dev=${local(boot.results)}`,
    `log: ${local(own)}.log`,
    "panic: action=fatal",
    "error: action=report",
    "info: action=ignore",
    "debug: action=ignore",
  ];
  await Deno.writeTextFile(own, configuration.join("\n") + "\n");
  // Where Debian builds Bochs with its debugger, that must be told to go on, and to end at the end.
  await Deno.writeTextFile(`${own}.commands`, "c\nq\n");
  const bochs = ["bochs-bin", "-q", "-f", local(own), "-rc", `${local(own)}.commands`];
  try {
    await run([...limited(boot.limit), ...bochs], { cwd: KEPT });
  } catch (error) {
    // A machine that turns itself off is an error to it, too.
    if (!(error as Error).message.includes("soft power off")) throw error;
  } finally {
    await Deno.remove(cd);
  }
}
