// SPDX-License-Identifier: Apache-2.0
/**
 * Small file helpers of the tools.
 *
 * @module
 */

/** The root of the source tree, with a slash at the end. */
export const ROOT: string = new URL("../", import.meta.url).pathname;

/** True when something stands at this path of the source tree. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(ROOT + path);
    return true;
  } catch {
    return false;
  }
}

/** Paths of all files of the source tree whose name matches, relative to it, in order; generated folders left out. */
export function sourceFiles(name: RegExp, folder = ""): string[] {
  const found: string[] = [];
  for (const entry of Deno.readDirSync(ROOT + folder)) {
    const path = folder + entry.name;
    if (entry.isDirectory) {
      if (!/^(\.git|build|dist|node_modules|\.umbra)$/.test(entry.name)) {
        found.push(...sourceFiles(name, `${path}/`));
      }
    } else if (name.test(entry.name)) {
      found.push(path);
    }
  }
  return found.sort();
}
