// SPDX-License-Identifier: Apache-2.0
import { asset } from "./assets.ts";

/**
 * Bytes of a WebAssembly module that an npm package carries: the artefact `name` where one was provided (the
 * packaged executable), else the file `name` beside `entry`, the resolved URL of the package's entry module.
 */
export function npmWasm(name: string, entry: string): Uint8Array<ArrayBuffer> {
  try {
    return asset(name);
  } catch {
    return Deno.readFileSync(new URL(name, entry));
  }
}
