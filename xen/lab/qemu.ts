// SPDX-License-Identifier: Apache-2.0
/**
 * QEMU as the lab's machine: software emulation of an AMD processor with SVM. dom0's results leave by a disk.
 *
 * @module
 */
import { type Boot, DOM0_LINE, limited, xenLine } from "./machine.ts";
import { KEPT, run } from "./shell.ts";

/**
 * Without the features that QEMU's emulation lacks or gets wrong for a dom0. (With AVX, programs of dom0 crashed now and
 * then while a guest ran beside them.)
 */
const CPU = "EPYC,smap=off,smep=off,monitor=off,rdtscp=off,avx=off,avx2=off,fma=off,f16c=off,xsave=off";
const MEMORY = 3072, DOM0_MEMORY = 2048;
/** Bytes of the disk. */
const RESULT_BYTES = 512 << 20;

/** Boots in QEMU. */
export async function bootQemu(boot: Boot): Promise<void> {
  await Deno.writeFile(boot.results, new Uint8Array());
  await Deno.truncate(boot.results, RESULT_BYTES);
  await run([
    ...limited(boot.limit),
    "qemu-system-x86_64",
    ...["-accel", "tcg,thread=multi", "-cpu", CPU, "-m", String(MEMORY), "-smp", String(boot.cpus)],
    ...["-display", "none", "-no-reboot", "-nodefaults"],
    ...["-monitor", `unix:${boot.name}.monitor,server=on,wait=off`],
    ...["-serial", `file:${boot.log}`],
    ...["-drive", `file=${boot.results},if=virtio,format=raw,cache=unsafe`],
    ...["-kernel", boot.xen, "-append", xenLine(DOM0_MEMORY, boot.xenOptions)],
    ...["-initrd", `${boot.dom0.kernel} ${DOM0_LINE},${boot.dom0.initramfs}`],
  ], { cwd: KEPT });
}
