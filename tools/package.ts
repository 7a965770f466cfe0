// SPDX-License-Identifier: Apache-2.0
/**
 * Makes `dist/umbra`, one executable: by `deno compile` where its runtime can be had, else one file that
 * carries Deno's own program, ours as one script, and a shell's head that starts it. With `--parts` only
 * the script and the artefacts are made, in `build/package/`.
 *
 * @module
 */
import { exists, ROOT } from "./files.ts";
import { packArtefacts } from "./artefacts.ts";
import { buildAll } from "./build.ts";

/** Modules that run as workers; each is bundled on its own. */
const WORKERS = ["scanners/yara_worker.ts"];
/** Artefacts under `build/` that the program loads at run time. */
const BUILT = ["monitor.wasm", "cpu.wasm"];
/** WebAssembly modules of npm packages that the program loads, each beside its package's entry. */
const PACKAGED_WASM = { "yara_x_js_bg.wasm": "@virustotal/yara-x", "capstone.wasm": "capstone-wasm" };
/** Unit in which the executable's head copies. */
const BLOCK = 65536;

/** Runs Deno in the source tree; returns what it said when it failed, else undefined. */
async function deno(...args: readonly string[]): Promise<string | undefined> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args], cwd: ROOT }).output();
  return code === 0 ? undefined : new TextDecoder().decode(stderr).trim();
}

/** Bundles a module with all it imports into one script and returns its text. */
async function bundle(module: string, out: string): Promise<Uint8Array<ArrayBuffer>> {
  const failure = await deno(
    "bundle",
    "--quiet",
    "--lock=deno.lock",
    "--platform",
    "deno",
    "-o",
    out,
    module,
  );
  if (failure !== undefined) throw new Error(`Cannot bundle ${module}: ${failure}`);
  return Deno.readFileSync(ROOT + out);
}

/** Everything the program loads at run time, under the names by which `core/assets.ts` knows it. */
async function collect(): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const name of BUILT) found.set(name, Deno.readFileSync(`${ROOT}build/${name}`));
  for (const { name } of Deno.readDirSync(`${ROOT}build/samples`)) {
    if (/\.(exe|json)$/.test(name)) {
      found.set(`samples/${name}`, Deno.readFileSync(`${ROOT}build/samples/${name}`));
    }
  }
  for (const [name, module] of Object.entries(PACKAGED_WASM)) {
    await import(module); // fetches the package where it is not cached yet
    found.set(name, Deno.readFileSync(new URL(name, import.meta.resolve(module))));
  }
  for (const module of WORKERS) {
    const name = module.split("/").at(-1)!.replace(/\.ts$/, ".js");
    found.set(`worker/${name}`, await bundle(module, `build/package/${name}`));
  }
  return new Map([...found].sort(([left], [right]) => left < right ? -1 : 1));
}

function padded(bytes: Uint8Array, filler: number): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / BLOCK) * BLOCK).fill(filler);
  whole.set(bytes);
  return whole;
}

/** The file that carries Deno: head, Deno, script, artefacts. */
function carried(main: Uint8Array, artefacts: ReadonlyMap<string, Uint8Array>): Uint8Array[] {
  const program = padded(Deno.readFileSync(Deno.execPath()), 0);
  const script = padded(main, 0x0a);
  const [programBlocks, scriptBlocks] = [program.length / BLOCK, script.length / BLOCK];
  const text = Deno.readTextFileSync(`${ROOT}tools/launcher.sh`)
    .replaceAll("@DENO_BLOCKS@", String(programBlocks))
    .replaceAll("@MAIN_SKIP@", String(1 + programBlocks))
    .replaceAll("@MAIN_BLOCKS@", String(scriptBlocks));
  const head = padded(new TextEncoder().encode(text), 0x0a);
  const before = head.length + program.length + script.length;
  return [head, program, script, packArtefacts(artefacts, before)];
}

if (import.meta.main) {
  await buildAll();
  Deno.mkdirSync(`${ROOT}build/package`, { recursive: true });
  Deno.mkdirSync(`${ROOT}dist`, { recursive: true });
  const artefacts = await collect();
  const main = await bundle("tools/packaged.ts", "build/package/main.js");
  Deno.writeFileSync(`${ROOT}build/package/artefacts.bin`, packArtefacts(artefacts, 0));
  // The lab has Deno beside them.
  if (Deno.args[0] === "--parts") Deno.exit(0);
  const part = "dist/umbra.part";
  const flags = [
    "--quiet",
    "--allow-all",
    "--no-config",
    "--no-lock",
    "--include",
    "build/package/artefacts.bin",
  ];
  const failure = await deno("compile", ...flags, "-o", part, "build/package/main.js");
  if (failure !== undefined) {
    // It wants a runtime of its own, which is not on npm.
    console.error("deno compile cannot be used here: the executable carries Deno itself instead");
    if (exists(part)) Deno.removeSync(ROOT + part);
    using file = Deno.openSync(ROOT + part, { write: true, create: true, truncate: true, mode: 0o755 });
    for (const piece of carried(main, artefacts)) {
      for (let done = 0; done < piece.length;) done += file.writeSync(piece.subarray(done));
    }
  }
  Deno.renameSync(ROOT + part, `${ROOT}dist/umbra`);
  console.log(`dist/umbra: ${Math.round(Deno.statSync(`${ROOT}dist/umbra`).size / 1e6)} MB`);
}
