// SPDX-License-Identifier: Apache-2.0
/**
 * Puts the monitor into a source tree of Xen: `deno run -A xen/hypervisor/apply.ts SOURCE_TREE`. The tree is the
 * one whose `xen/` holds the hypervisor. Nothing is written unless everything fits; doing it again is harmless,
 * and brings a tree up to date.
 *
 * @module
 */
import { insert } from "./anchors.ts";
import { INSERTIONS } from "./places.ts";

const MONITOR = new URL("../monitor/", import.meta.url);
const GLUE = new URL("./source/", import.meta.url);
const HOME = "xen/arch/x86/umbra";

/** Files that make up the monitor in Xen, by name: its sources (but other homes') and the glue. */
export function ownFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const directory of [MONITOR, GLUE]) {
    for (const { name } of [...Deno.readDirSync(directory)].sort((a, b) => a.name < b.name ? -1 : 1)) {
      if (!/\.[ch]$/.test(name) || name.startsWith("home_")) continue;
      files.set(name, Deno.readTextFileSync(new URL(name, directory)));
    }
  }
  const objects = [...files.keys()].filter((name) => name.endsWith(".c"))
    .map((name) => `obj-$(CONFIG_HVM) += ${name.replace(/c$/, "o")}\n`);
  files.set("Makefile", `# SPDX-License-Identifier: GPL-2.0-only\n${objects.join("")}`);
  return files;
}

function read(tree: string, file: string): string {
  try {
    return Deno.readTextFileSync(`${tree}/${file}`);
  } catch (cause) {
    throw new Error(`Cannot put the monitor into ${tree}: there is no ${file} in it`, { cause });
  }
}

function writeIfChanged(path: string, text: string): boolean {
  try {
    if (Deno.readTextFileSync(path) === text) return false;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.writeTextFileSync(path, text);
  return true;
}

/**
 * Applies to the tree; returns the files that were written. Throws, with nothing written, when the tree lacks a
 * file or an anchor, naming it.
 */
export function apply(tree: string): string[] {
  const made = new Map<string, string>();
  for (const file of new Set(INSERTIONS.map((each) => each.file))) {
    made.set(file, insert(file, read(tree, file), INSERTIONS.filter((each) => each.file === file)));
  }
  for (const [name, text] of ownFiles()) made.set(`${HOME}/${name}`, text);
  Deno.mkdirSync(`${tree}/${HOME}`, { recursive: true });
  for (const { name } of Deno.readDirSync(`${tree}/${HOME}`)) {
    // A file of an earlier monitor.
    if (/\.[ch]$/.test(name) && !made.has(`${HOME}/${name}`)) Deno.removeSync(`${tree}/${HOME}/${name}`);
  }
  // What is not newer is not built again.
  return [...made].filter(([file, text]) => writeIfChanged(`${tree}/${file}`, text)).map(([file]) => file);
}

if (import.meta.main) {
  const [tree, ...rest] = Deno.args;
  if (!tree || rest.length) {
    console.error("Usage: apply.ts SOURCE_TREE");
    Deno.exit(2);
  }
  try {
    const written = apply(tree.replace(/\/$/, ""));
    console.log(written.length ? written.join("\n") : "nothing to do");
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(2);
  }
}
