// SPDX-License-Identifier: Apache-2.0
/**
 * Built artefacts that the program carries: WebAssembly modules, sample programs, built-in rules.
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
