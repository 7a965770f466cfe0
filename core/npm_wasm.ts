// SPDX-License-Identifier: Apache-2.0
import { asset } from "./assets.ts";

/**
 * Bytes of a WebAssembly module that an npm package carries, where one was provided as the artefact `name` (the
 * packaged executable does); undefined when the package's own file is to be read.
 */
export function providedWasm(name: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return asset(name);
  } catch {
    return undefined;
  }
}
