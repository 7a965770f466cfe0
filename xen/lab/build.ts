// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the hypervisor with the monitor in it, from Debian's source package of Xen: `build/xen/KEY/xen`, where
 * KEY is the hash of the package's name, the monitor, the glue and the insertions. Not run as part of other
 * builds: it takes minutes.
 *
 * @module
 */
import { gunzipSync } from "node:zlib";
import { apply, ownFiles } from "../hypervisor/apply.ts";
import { INSERTIONS } from "../hypervisor/places.ts";
import { aptOptions } from "./apt.ts";
import { exists, KEPT, keyOf, run } from "./shell.ts";

const STOCK_PACKAGE = "xen-hypervisor-4.17-amd64";
/** The version that is asked for first; without it, what the archive has. */
const VERSION = "4.17.5+72-g01140da4e8-1";

function tarball(folder: string): string | undefined {
  return [...Deno.readDirSync(folder)].map(({ name }) => name)
    .find((name) => /^xen_.*\.orig\.tar\.xz$/.test(name));
}

/** Name of the source tarball in `build/xen/source`, downloaded when it is not there. */
async function source(): Promise<string> {
  const folder = `${KEPT}/source`;
  await Deno.mkdir(folder, { recursive: true });
  const known = tarball(folder);
  if (known) return known;
  const options = await aptOptions("apt", "deb-src");
  await run(["apt-get", ...options, "update"]);
  const get = (what: string) =>
    run(["apt-get", ...options, "source", "--download-only", what], { cwd: folder });
  await get(`xen=${VERSION}`).catch(() => get("xen"));
  const got = tarball(folder);
  if (!got) throw new Error("Cannot build Xen: the source package has no xen_*.orig.tar.xz");
  return got;
}

/** Makes a configuration with Xen's assertions, the order of its locks among them. */
const DEBUG_OPTIONS = ["CONFIG_DEBUG=y", "CONFIG_DEBUG_LOCKS=y", "CONFIG_DEBUG_INFO=n"];

async function configure(tree: string, make: (...goals: string[]) => Promise<unknown>, debug: boolean) {
  const config = `${tree}/xen/.config`;
  if (exists(config)) return;
  await make("defconfig");
  if (!debug) return;
  const names = DEBUG_OPTIONS.map((option) => option.replace(/=.*/, ""));
  const kept = (await Deno.readTextFile(config)).split("\n")
    .filter((line) =>
      !names.some((name) => line.includes(`${name}=`) || line.includes(`${name} is not set`))
    );
  await Deno.writeTextFile(config, [...kept, ...DEBUG_OPTIONS, ""].join("\n"));
  await make("olddefconfig");
  const made = await Deno.readTextFile(config);
  for (const option of DEBUG_OPTIONS.slice(0, 2)) {
    if (!made.includes(`${option}\n`)) throw new Error(`Cannot build Xen for debugging: no ${option}`);
  }
}

/**
 * Builds what is not built; returns the path of the hypervisor, an ELF file that a multiboot loader takes.
 *
 * @param debug With Xen's assertions.
 */
export async function buildXen(debug = false): Promise<string> {
  const name = await source(), kind = debug ? "debug" : "release";
  const files = [...ownFiles()].flat();
  const key = keyOf([name, kind, JSON.stringify(INSERTIONS), ...files]);
  const result = `${KEPT}/${key}/xen`;
  if (exists(result)) return result;
  const tree = `${KEPT}/tree${debug ? "-debug" : ""}`;
  if (!exists(`${tree}/xen/Makefile`)) {
    await Deno.mkdir(tree, { recursive: true });
    await run(["tar", "-xf", `${KEPT}/source/${name}`, "-C", tree, "--strip-components=1"]);
  }
  apply(tree);
  const make = (...goals: string[]) =>
    run(["nice", "-n", "10", "make", "-C", "xen", "-j2", "XEN_TARGET_ARCH=x86_64", ...goals], { cwd: tree });
  await configure(tree, make, debug);
  await make();
  await Deno.mkdir(`${KEPT}/${key}`, { recursive: true });
  await Deno.copyFile(`${tree}/xen/xen`, `${result}.draft`);
  await Deno.rename(`${result}.draft`, result);
  return result;
}

/** Debian's own hypervisor, which knows nothing of the monitor; downloaded when it is not there. */
export async function stockXen(): Promise<string> {
  const folder = `${KEPT}/stock`, result = `${folder}/xen`;
  if (exists(result)) return result;
  await Deno.mkdir(folder, { recursive: true });
  await run(["apt-get", "-o", "APT::Sandbox::User=root", "download", STOCK_PACKAGE], { cwd: folder });
  const archive = [...Deno.readDirSync(folder)].map(({ name }) => name).find((name) => name.endsWith(".deb"));
  if (!archive) throw new Error(`Cannot start a stock Xen: ${STOCK_PACKAGE} was not downloaded`);
  await run(["dpkg-deb", "-x", archive, "root"], { cwd: folder });
  const boot = `${folder}/root/boot`;
  const packed = [...Deno.readDirSync(boot)].map(({ name }) => name).find((name) => name.endsWith(".gz"));
  if (!packed) throw new Error(`Cannot start a stock Xen: ${STOCK_PACKAGE} has no hypervisor`);
  await Deno.writeFile(result, gunzipSync(await Deno.readFile(`${boot}/${packed}`)));
  return result;
}

if (import.meta.main) console.log(await buildXen());
