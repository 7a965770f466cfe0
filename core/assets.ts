// SPDX-License-Identifier: Apache-2.0
/**
 * Built artefacts that the program carries: WebAssembly modules, sample programs, built-in rules, workers.
 *
 * @module
 */

const bundled = new Map<string, Uint8Array>();

/** Makes an artefact known under its name; the packaged executable does this before anything runs. */
export function provideAsset(name: string, bytes: Uint8Array): void {
  bundled.set(name, bytes);
}

/**
 * Bytes of a built artefact, e.g. `monitor.wasm`. In the source tree it is read from `build/`; throws with
 * the command to run when it was not built.
 */
export function asset(name: string): Uint8Array<ArrayBuffer> {
  const known = bundled.get(name);
  if (known) return known as Uint8Array<ArrayBuffer>;
  try {
    return Deno.readFileSync(new URL(`../build/${name}`, import.meta.url));
  } catch (cause) {
    throw new Error(`Cannot load the built artefact "${name}": run "deno task build" first`, { cause });
  }
}

/**
 * What to start a worker from, given the URL of its module in the source tree: that URL, or in the packaged
 * executable a URL of the bundled script that was provided as `worker/<file name>.js`.
 */
export function workerUrl(module: URL): string {
  const name = module.pathname.split("/").at(-1)!.replace(/\.ts$/, ".js");
  const script = bundled.get(`worker/${name}`);
  if (!script) return module.href;
  return URL.createObjectURL(new Blob([script as BlobPart], { type: "application/javascript" }));
}
