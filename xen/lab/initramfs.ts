// SPDX-License-Identifier: Apache-2.0
/**
 * Makes the lab's dom0: a kernel and an initramfs of Debian packages (kernel, Xen's tools, busybox), files of the
 * suite, and nothing else.
 *
 * @module
 */
import { exists, KEPT, keyOf, run } from "./shell.ts";

const KERNEL_PACKAGE = "linux-image-amd64";
const TOOLS = [
  "xen-utils-4.17",
  "xen-utils-common",
  "xenstore-utils",
  "libxenmisc4.17",
  "libxentoolcore1",
  "libxentoollog1",
  "libxencall1",
  "libxendevicemodel1",
  "libxenevtchn1",
  "libxenforeignmemory1",
  "libxengnttab1",
  "libxenhypfs1",
  "libxenstore4",
  "libyajl2",
  "libnl-3-200",
  "libnl-route-3-200",
  "busybox-static",
];
const XEN_PROGRAMS = ["xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0", "libxl-save-helper"];
/** Kernel modules, in the order in which they are loaded. */
const MODULES = [
  "xen/xen-evtchn",
  "xen/xen-gntdev",
  "xen/xen-gntalloc",
  "xen/xen-privcmd",
  "xen/xenfs/xenfs",
  "virtio/virtio_ring",
  "virtio/virtio",
  "virtio/virtio_pci_modern_dev",
  "virtio/virtio_pci_legacy_dev",
  "virtio/virtio_pci",
  "block/virtio_blk",
];
const APPLETS =
  "sh mount ls cat sleep echo mkdir insmod dmesg grep date tail head poweroff ps kill cut stty wc " +
  "sed awk cp mv rm tr sync od free timeout tar base64 test printf seq dd mktemp chmod rmdir ln gzip";

/** A file of the dom0's root: where it goes, and where it comes from or what is in it. */
export interface RootFile {
  readonly to: string;
  readonly from?: string;
  readonly text?: string;
  readonly executable?: boolean;
}

/** Kernel and initramfs of a dom0. */
export interface Dom0 {
  readonly kernel: string;
  readonly initramfs: string;
}

/** Downloads and unpacks the packages; returns the folder they were unpacked to. */
async function packages(): Promise<string> {
  const folder = `${KEPT}/packages`, unpacked = `${KEPT}/unpacked`;
  if (exists(`${unpacked}/.done`)) return unpacked;
  await Deno.mkdir(folder, { recursive: true });
  const depends = new TextDecoder().decode(await run(["apt-cache", "depends", KERNEL_PACKAGE]));
  const kernel = /Depends: (linux-image-[\w.-]+)/.exec(depends)?.[1];
  if (!kernel) throw new Error(`Cannot find the kernel: ${KERNEL_PACKAGE} depends on none`);
  await run(["apt-get", "-o", "APT::Sandbox::User=root", "download", kernel, ...TOOLS], { cwd: folder });
  for (const { name } of Deno.readDirSync(folder)) {
    if (name.endsWith(".deb")) await run(["dpkg-deb", "-x", `${folder}/${name}`, unpacked]);
  }
  await Deno.writeTextFile(`${unpacked}/.done`, kernel);
  return unpacked;
}

/** Shared libraries a program needs, as paths. */
export async function libraries(program: string, unpacked: string): Promise<string[]> {
  const text = new TextDecoder().decode(
    await run(["ldd", program], {
      env: { LD_LIBRARY_PATH: `${unpacked}/usr/lib/x86_64-linux-gnu:${unpacked}/lib/x86_64-linux-gnu` },
    }),
  );
  const missing = /(\S+) => not found/.exec(text);
  if (missing) throw new Error(`Cannot put ${program} into dom0: ${missing[1]} is not there`);
  return [...text.matchAll(/=> (\/\S+)/g)].map(([, path]) => path);
}

/** Packs a folder as an archive of the kernel's kind. Not compressed: that would cost the emulated machine more. */
export async function pack(root: string, archive: string): Promise<void> {
  await run(["sh", "-c", `find . | LC_ALL=C sort | cpio -o -H newc --quiet > ${archive}.draft`], {
    cwd: root,
  });
  await Deno.rename(`${archive}.draft`, archive);
}

const FOLDERS =
  "bin etc/xen proc sys dev run tmp lab result mod lib lib64 usr/bin usr/lib/xen-4.17/bin var/log/xen " +
  "var/lib/xen var/lock var/run";

/** What is in every dom0: Xen's tools, Deno, busybox, and the libraries they need. */
async function base(unpacked: string, release: string): Promise<string> {
  const init = new URL("./init.sh", import.meta.url);
  const facts = [release, Deno.version.deno, APPLETS, FOLDERS, ...MODULES, ...XEN_PROGRAMS];
  const archive = `${KEPT}/base-${keyOf([...facts, await Deno.readTextFile(init)])}.cpio`;
  if (exists(archive)) return archive;
  const root = `${KEPT}/base.root`;
  if (exists(root)) await Deno.remove(root, { recursive: true });
  for (const folder of FOLDERS.split(" ")) await Deno.mkdir(`${root}/${folder}`, { recursive: true });
  const busybox = [`${unpacked}/bin/busybox`, `${unpacked}/usr/bin/busybox`].find(exists)!;
  await Deno.copyFile(busybox, `${root}/bin/busybox`);
  for (const applet of APPLETS.split(" ")) await Deno.symlink("busybox", `${root}/bin/${applet}`);
  await Deno.copyFile(Deno.execPath(), `${root}/bin/deno`);
  const needed = new Set(await libraries(Deno.execPath(), unpacked));
  const bins = `usr/lib/xen-4.17/bin`;
  for (const program of XEN_PROGRAMS) {
    await Deno.copyFile(`${unpacked}/${bins}/${program}`, `${root}/${bins}/${program}`);
    for (const path of await libraries(`${unpacked}/${bins}/${program}`, unpacked)) needed.add(path);
  }
  await Deno.copyFile(`${unpacked}/etc/xen/xl.conf`, `${root}/etc/xen/xl.conf`);
  const order: string[] = [];
  for (const module of MODULES) {
    const from = `${unpacked}/lib/modules/${release}/kernel/drivers/${module}.ko`,
      name = module.replace(/.*\//, "");
    // What is not a module is in the kernel.
    if (!exists(from)) continue;
    await Deno.copyFile(from, `${root}/mod/${name}.ko`);
    order.push(name);
  }
  await Deno.writeTextFile(`${root}/mod/order`, order.join("\n") + "\n");
  for (const path of [...needed, "/lib/x86_64-linux-gnu/libgcc_s.so.1"]) {
    await Deno.copyFile(path, `${root}/lib/${path.replace(/.*\//, "")}`);
  }
  await Deno.copyFile("/lib64/ld-linux-x86-64.so.2", `${root}/lib64/ld-linux-x86-64.so.2`);
  await Deno.copyFile(init, `${root}/init`);
  await Deno.chmod(`${root}/init`, 0o755);
  await pack(root, archive);
  await Deno.remove(root, { recursive: true });
  return archive;
}

/** Makes kernel and initramfs of a suite's dom0: what every dom0 has, and the suite's files. */
export async function makeDom0(name: string, files: readonly RootFile[]): Promise<Dom0> {
  const unpacked = await packages();
  const release = (await Deno.readTextFile(`${unpacked}/.done`)).replace("linux-image-", "");
  const common = await base(unpacked, release), root = `${KEPT}/${name}.root`;
  if (exists(root)) await Deno.remove(root, { recursive: true });
  for (const { to, from, text, executable } of files) {
    const path = `${root}${to}`;
    await Deno.mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
    if (from !== undefined) await Deno.copyFile(from, path);
    else await Deno.writeTextFile(path, text ?? "");
    if (executable) await Deno.chmod(path, 0o755);
  }
  const own = `${KEPT}/${name}.cpio`, initramfs = `${KEPT}/${name}.initramfs`;
  await pack(root, own);
  // The kernel unpacks one archive after the other.
  await run(["sh", "-c", `cat ${common} ${own} > ${initramfs}`]);
  await Deno.remove(own);
  await Deno.remove(root, { recursive: true });
  return { kernel: `${unpacked}/boot/vmlinuz-${release}`, initramfs };
}
