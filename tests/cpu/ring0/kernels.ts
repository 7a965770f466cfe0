// SPDX-License-Identifier: Apache-2.0
/**
 * The ring-0 kernels: small programs that try a part of the processor's system level and log over the serial
 * port what came of it. Each runs on umbra, in both tiers, and on processors that are not ours.
 *
 * @module
 */
const FOLDER = new URL("./", import.meta.url).pathname;

/** Runs nasm over a source of this folder; returns the bytes. Throws with what nasm says. */
export function assemble(source: string, defines: readonly string[] = []): Uint8Array<ArrayBuffer> {
  const output = Deno.makeTempFileSync({ suffix: ".bin" });
  try {
    const run = new Deno.Command("nasm", {
      args: ["-f", "bin", "-I", FOLDER, ...defines.map((d) => `-D${d}`), "-o", output, FOLDER + source],
      stderr: "piped",
    }).outputSync();
    if (!run.success) {
      const said = new TextDecoder().decode(run.stderr).split("\n").slice(0, 5).join("\n");
      throw new Error(`Cannot assemble ${source}: ${said}`);
    }
    return Deno.readFileSync(output);
  } finally {
    Deno.removeSync(output);
  }
}

/** Lines of a log; the last is END when the kernel came to its end. */
export function linesOf(log: string): string[] {
  return log.split("\n").filter((line) => line !== "");
}
