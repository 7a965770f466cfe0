// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the hypervisor with the monitor in it, from Debian's source package of Xen: `build/xen/KEY/xen`, where
 * KEY is the hash of the package's name, the monitor, the glue and the insertions. Not run as part of other
 * builds: it takes minutes.
 *
 * @module
 */
import { apply, ownFiles } from "../hypervisor/apply.ts";
import { INSERTIONS } from "../hypervisor/places.ts";
import { exists, KEPT, keyOf, run } from "./shell.ts";

/** The version that is asked for first; without it, what the archive has. */
const VERSION = "4.17.5+72-g01140da4e8-1";
const LISTS = "/etc/apt";

/** The machine's own package sources, asked for source packages instead of binary ones. */
async function writeSourceLists(folder: string): Promise<void> {
  const parts = [...Deno.readDirSync(`${LISTS}/sources.list.d`)].map(({ name }) => `sources.list.d/${name}`);
  for (const list of ["sources.list", ...parts]) {
    if (!/\.(list|sources)$/.test(list) || !exists(`${LISTS}/${list}`)) continue;
    const text = await Deno.readTextFile(`${LISTS}/${list}`);
    const sources = list.endsWith(".sources")
      ? text.replace(/^Types:.*$/gm, "Types: deb-src")
      : text.replace(/^deb\s/gm, "deb-src ");
    await Deno.writeTextFile(`${folder}/${list.replace(/^.*\//, "")}`, sources);
  }
}

/** Options for apt that read source lists of our own and leave the machine's lists alone. */
async function aptOptions(): Promise<string[]> {
  const folder = `${KEPT}/apt`;
  await Deno.mkdir(`${folder}/lists/partial`, { recursive: true });
  await Deno.mkdir(`${folder}/parts`, { recursive: true });
  await writeSourceLists(`${folder}/parts`);
  return [
    "Dir::Etc::sourcelist=-",
    `Dir::Etc::sourceparts=${folder}/parts`,
    `Dir::State::lists=${folder}/lists`,
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
}

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
  const options = await aptOptions();
  await run(["apt-get", ...options, "update"]);
  const get = (what: string) =>
    run(["apt-get", ...options, "source", "--download-only", what], { cwd: folder });
  await get(`xen=${VERSION}`).catch(() => get("xen"));
  const got = tarball(folder);
  if (!got) throw new Error("Cannot build Xen: the source package has no xen_*.orig.tar.xz");
  return got;
}

/** Builds what is not built; returns the path of the hypervisor, an ELF file that a multiboot loader takes. */
export async function buildXen(): Promise<string> {
  const name = await source();
  const files = [...ownFiles()].flat();
  const key = keyOf([name, JSON.stringify(INSERTIONS), ...files]);
  const result = `${KEPT}/${key}/xen`;
  if (exists(result)) return result;
  const tree = `${KEPT}/tree`;
  if (!exists(`${tree}/xen/Makefile`)) {
    await Deno.mkdir(tree, { recursive: true });
    await run(["tar", "-xf", `${KEPT}/source/${name}`, "-C", tree, "--strip-components=1"]);
  }
  apply(tree);
  const make = (...goals: string[]) =>
    run(["nice", "-n", "10", "make", "-C", "xen", "-j2", "XEN_TARGET_ARCH=x86_64", ...goals], { cwd: tree });
  if (!exists(`${tree}/xen/.config`)) await make("defconfig");
  await make();
  await Deno.mkdir(`${KEPT}/${key}`, { recursive: true });
  await Deno.copyFile(`${tree}/xen/xen`, `${result}.draft`);
  await Deno.rename(`${result}.draft`, result);
  return result;
}

if (import.meta.main) console.log(await buildXen());
