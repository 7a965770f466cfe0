// SPDX-License-Identifier: Apache-2.0
/**
 * What the lab's parts share: where things are kept, and running other programs.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";

/** The source tree, and where the lab keeps what it downloads and builds; without final slash. */
export const TREE = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
export const KEPT = `${TREE}/build/xen`;

/** Debian packages whose programs the lab runs. */
export const PROGRAMS: Readonly<Record<string, string>> = {
  "qemu-system-x86_64": "qemu-system-x86",
  "bochs-bin": "bochs",
  "grub-mkrescue": "grub-common, with grub-pc-bin and xorriso",
  make: "make",
  gcc: "gcc",
  flex: "flex",
  bison: "bison",
  bc: "bc",
  python3: "python3",
  cpio: "cpio",
  xz: "xz-utils",
  "dpkg-deb": "dpkg",
};

/** Runs a program to its end; throws with the end of what it said when it fails. */
export async function run(
  command: readonly string[],
  options: { readonly cwd?: string; readonly env?: Record<string, string>; readonly input?: Uint8Array } = {},
): Promise<Uint8Array> {
  const [program, ...args] = command;
  let child;
  try {
    child = new Deno.Command(program, {
      args,
      cwd: options.cwd,
      env: options.env,
      stdin: options.input ? "piped" : "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (cause) {
    const from = PROGRAMS[program] ? ` (Debian package ${PROGRAMS[program]})` : "";
    throw new Error(`Cannot run ${program}: it is not installed${from}`, { cause });
  }
  const ended = child.output();
  if (options.input) {
    const writer = child.stdin.getWriter();
    await writer.write(options.input);
    await writer.close();
  }
  const { success, code, stdout, stderr } = await ended;
  if (success) return stdout;
  // What was to be run by another program, such as timeout.
  const missing = code === 127 && command.find((word) => Object.hasOwn(PROGRAMS, word));
  if (missing) {
    throw new Error(`Cannot run ${missing}: it is not installed (Debian package ${PROGRAMS[missing]})`);
  }
  const said = new TextDecoder().decode(new Uint8Array([...stdout.slice(-2000), ...stderr.slice(-4000)]));
  throw new Error(`Cannot go on: ${command.slice(0, 3).join(" ")} ended with ${code}\n${said.trim()}`);
}

/** True when there is such a file or folder. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Hash of texts, for the name of what is made from them. */
export function keyOf(parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex").slice(0, 16);
}
