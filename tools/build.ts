// SPDX-License-Identifier: Apache-2.0
/**
 * Makes every generated artefact under `build/`, each by its own script and only where its inputs changed.
 *
 * @module
 */

/** The build scripts, in order; each exports `build(): Promise<void>`. */
export const scripts: readonly string[] = [
  "xen/build_monitor.ts",
  "emulator/machine/build_cpu.ts",
  "emulator/samples/build_samples.ts",
];

/** Runs all build scripts; throws at the first that fails. */
export async function buildAll(): Promise<void> {
  for (const script of scripts) {
    const module = await import(new URL(`../${script}`, import.meta.url).href) as { build(): Promise<void> };
    await module.build();
  }
}

if (import.meta.main) await buildAll();
