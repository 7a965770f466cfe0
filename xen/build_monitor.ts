// SPDX-License-Identifier: Apache-2.0
/**
 * Builds `build/monitor.wasm` from `monitor/*.c` with the C compiler that npm carries, so that no toolchain
 * needs to be installed. Skipped when sources, flags and compiler are those of the last build.
 *
 * @module
 */
const SOURCES = new URL("./monitor/", import.meta.url);
const OUTPUT = new URL("../build/monitor.wasm", import.meta.url);
const STAMP = new URL("../build/monitor.wasm.stamp", import.meta.url);

const COMPILER = "@yowasp/clang";
const COMPILE = [
  "--target=wasm32",
  "-std=gnu11",
  "-ffreestanding",
  "-nostdlib",
  "-O2",
  "-mbulk-memory",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-c",
];
// A stack of 64 KiB below the data, so that an overflow traps instead of overwriting.
const LINK = ["--no-entry", "--stack-first", "-z", "stack-size=65536", "--max-memory=1073741824"];

/** Names of the C files, in order. Those called `home_*` belong to one home each. */
export function sources(): string[] {
  return [...Deno.readDirSync(SOURCES)].map((entry) => entry.name)
    .filter((name) => /\.[ch]$/.test(name)).sort();
}

async function stampOf(files: Readonly<Record<string, string>>): Promise<string> {
  const text = JSON.stringify([COMPILER, COMPILE, LINK, files]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}

async function current(stamp: string): Promise<boolean> {
  try {
    await Deno.stat(OUTPUT);
    return await Deno.readTextFile(STAMP) === stamp;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Compiles the monitor when it is not current. Throws with the compiler's output when it refuses. */
export async function build(): Promise<void> {
  const files = Object.fromEntries(
    sources().map((name) => [name, Deno.readTextFileSync(new URL(name, SOURCES))]),
  );
  const stamp = await stampOf(files);
  if (await current(stamp)) return;
  const { runLLVM } = await import("@yowasp/clang");
  let output = "";
  const decoder = new TextDecoder();
  const collect = (bytes: Uint8Array | null) => {
    if (bytes) output += decoder.decode(bytes, { stream: true });
  };
  const run = async (action: string, args: string[], tree: Record<string, string | Uint8Array>) => {
    output = "";
    try {
      return await runLLVM(args, tree, {
        stdout: collect,
        stderr: collect,
        // It would draw a progress bar of reading its own files.
        fetchProgress: () => {},
      }) as Record<
        string,
        string | Uint8Array
      >;
    } catch (cause) {
      throw new Error(`Cannot ${action} the monitor: ${output.trim() || cause}`, { cause });
    }
  };
  const objects: Record<string, Uint8Array> = {};
  for (const name of Object.keys(files).filter((each) => each.endsWith(".c"))) {
    const object = name.replace(/c$/, "o");
    const made = await run(`compile ${name} of`, ["clang", ...COMPILE, name, "-o", object], files);
    objects[object] = made[object] as Uint8Array;
  }
  const linked = await run(
    "link",
    ["wasm-ld", ...LINK, ...Object.keys(objects), "-o", "monitor.wasm"],
    objects,
  );
  await Deno.mkdir(new URL("./", OUTPUT), { recursive: true });
  // Renamed into place: another process may be loading the old one, or building too.
  const draft = new URL(`./monitor.${Deno.pid}.draft`, OUTPUT);
  await Deno.writeFile(draft, linked["monitor.wasm"] as Uint8Array);
  await Deno.rename(draft, OUTPUT);
  await Deno.writeTextFile(STAMP, stamp);
}

if (import.meta.main) await build();
