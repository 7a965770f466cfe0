// SPDX-License-Identifier: Apache-2.0
/**
 * Makes `build/cpu.wasm` from the instruction table. Skips when the module is the same as the one that stands.
 *
 * @module
 */
import { generate } from "./generate.ts";

const TARGET = new URL("../../build/cpu.wasm", import.meta.url);

/** Writes the interpreter module; does nothing when it is current. */
export async function build(): Promise<void> {
  const bytes = generate();
  try {
    const old = await Deno.readFile(TARGET);
    if (old.length === bytes.length && old.every((b, i) => b === bytes[i])) return;
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
  }
  await Deno.mkdir(new URL(".", TARGET), { recursive: true });
  // A reader never sees half a module.
  const temporary = new URL(`${TARGET.href}.${Deno.pid}.new`);
  await Deno.writeFile(temporary, bytes);
  await Deno.rename(temporary, TARGET);
}

if (import.meta.main) await build();
