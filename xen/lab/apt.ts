// SPDX-License-Identifier: Apache-2.0
/**
 * Packages that the machine does not have: by the machine's own package sources, with lists of our own, so that the
 * machine's lists stay as they are.
 *
 * @module
 */
import { exists, KEPT } from "./shell.ts";

const LISTS = "/etc/apt";

/** The machine's own package sources, asked for `kind` of packages. */
async function writeSourceLists(folder: string, kind: "deb" | "deb-src"): Promise<void> {
  const parts = [...Deno.readDirSync(`${LISTS}/sources.list.d`)].map(({ name }) => `sources.list.d/${name}`);
  for (const list of ["sources.list", ...parts]) {
    if (!/\.(list|sources)$/.test(list) || !exists(`${LISTS}/${list}`)) continue;
    const text = await Deno.readTextFile(`${LISTS}/${list}`);
    const sources = list.endsWith(".sources")
      ? text.replace(/^Types:.*$/gm, `Types: ${kind}`)
      : text.replace(/^deb\s/gm, `${kind} `);
    await Deno.writeTextFile(`${folder}/${list.replace(/^.*\//, "")}`, sources);
  }
}

/**
 * Options for apt that read lists in `build/xen/NAME`.
 *
 * @param architecture another one than the machine's.
 */
export async function aptOptions(
  name: string,
  kind: "deb" | "deb-src",
  architecture?: string,
): Promise<string[]> {
  const folder = `${KEPT}/${name}`;
  await Deno.mkdir(`${folder}/lists/partial`, { recursive: true });
  await Deno.mkdir(`${folder}/parts`, { recursive: true });
  await writeSourceLists(`${folder}/parts`, kind);
  return [
    "Dir::Etc::sourcelist=-",
    `Dir::Etc::sourceparts=${folder}/parts`,
    `Dir::State::lists=${folder}/lists`,
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    "APT::Sandbox::User=root",
    ...architecture ? [`APT::Architecture=${architecture}`, `APT::Architectures::=${architecture}`] : [],
  ].flatMap((option) => ["-o", option]);
}
