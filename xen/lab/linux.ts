// SPDX-License-Identifier: Apache-2.0
/**
 * A Linux guest of 32 bits for the lab: Debian's kernel with PAE and a busybox, which works through a list and says
 * what came out.
 *
 * @module
 */
import { aptOptions } from "./apt.ts";
import { buildGuest } from "./guests.ts";
import { pack, type RootFile } from "./initramfs.ts";
import { exists, KEPT, run } from "./shell.ts";

const KERNEL_PACKAGE = "linux-image-686-pae";

/** The kernel's command line; a word `again=…` behind it has its program run again and again. */
const WORDS = "console=hvc0 rdinit=/init quiet";

/** Processes, pipes, files, memory, and a program that makes code; each line of it goes into one sum. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t tmpfs tmp /tmp
work() {
  for i in 1 2 3 4 5 6 7 8; do
    dd if=/bin/busybox bs=4096 count=$((i * 20)) 2>/dev/null | gzip -c | gunzip -c | sha256sum
    cp /bin/busybox /tmp/busybox && /tmp/busybox echo $i && rm /tmp/busybox
    seq $((i * 300)) | sort -r | awk '{ n += $1 * NR } END { print n }'
    (exec sh -c "echo $i | sed s/$i/done/")
    /bin/program
  done
}
echo "linux: starts at $(cut -d' ' -f1 /proc/uptime)"
work > /tmp/work
echo "linux: ends at $(cut -d' ' -f1 /proc/uptime)"
echo "linux: $(grep program: /tmp/work | uniq)"
echo "linux: sum $(sha256sum < /tmp/work)"
echo "linux: done"
while [ "$again" ]; do program > /tmp/work; sleep 1; done
exec sleep 100000
`;

/** Downloads what is not there; returns the folder where the packages are unpacked. */
async function packages(): Promise<string> {
  const folder = `${KEPT}/linux`, unpacked = `${folder}/root`;
  if (exists(`${folder}/done`)) return unpacked;
  await Deno.mkdir(folder, { recursive: true });
  const options = await aptOptions("linux-apt", "deb", "i386");
  await run(["apt-get", ...options, "update"]).catch(() => {
    // A list of another vendor may have nothing for this architecture.
  });
  const depends = new TextDecoder().decode(await run(["apt-cache", ...options, "depends", KERNEL_PACKAGE]));
  const kernel = /Depends: (linux-image-[\w.-]+)/.exec(depends)?.[1];
  if (!kernel) throw new Error(`Cannot find the guest's kernel: ${KERNEL_PACKAGE} depends on none`);
  await run(["apt-get", ...options, "download", kernel, "busybox-static"], { cwd: folder });
  for (const { name } of Deno.readDirSync(folder)) {
    if (name.endsWith(".deb")) await run(["dpkg-deb", "-x", `${folder}/${name}`, unpacked]);
  }
  await Deno.writeTextFile(`${folder}/done`, kernel);
  return unpacked;
}

/** The guest's kernel, its initramfs, and its configuration. */
export async function linuxGuest(): Promise<readonly RootFile[]> {
  const unpacked = await packages(),
    root = `${KEPT}/linux-guest.root`,
    initramfs = `${KEPT}/linux-guest.cpio`;
  if (exists(root)) await Deno.remove(root, { recursive: true });
  for (const folder of ["bin", "proc", "tmp", "dev"]) {
    await Deno.mkdir(`${root}/${folder}`, { recursive: true });
  }
  await Deno.copyFile(`${unpacked}/bin/busybox`, `${root}/bin/busybox`);
  await Deno.copyFile(await buildGuest("linux_program"), `${root}/bin/program`);
  await Deno.writeTextFile(`${root}/init`, INIT);
  await Deno.chmod(`${root}/init`, 0o755);
  await pack(root, initramfs);
  await Deno.remove(root, { recursive: true });
  const kernel =
    [...Deno.readDirSync(`${unpacked}/boot`)].find(({ name }) => name.startsWith("vmlinuz"))!.name;
  const settings = {
    name: '"linux"',
    type: '"pvh"',
    kernel: '"/lab/linux.kernel"',
    ramdisk: '"/lab/linux.cpio"',
    extra: `"${WORDS}"`,
    memory: 128,
    vcpus: 1,
    hap: 0,
    nestedhvm: 0,
    tsc_mode: '"native"',
    on_crash: '"preserve"',
    on_poweroff: '"preserve"',
  };
  return [
    { to: "/lab/linux.kernel", from: `${unpacked}/boot/${kernel}` },
    { to: "/lab/linux.cpio", from: initramfs },
    { to: "/lab/linux.busybox", from: `${unpacked}/bin/busybox` },
    {
      to: "/lab/linux.cfg",
      text: Object.entries(settings).map(([key, value]) => `${key}=${value}\n`).join(""),
    },
  ];
}
