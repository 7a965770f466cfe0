// SPDX-License-Identifier: Apache-2.0
/**
 * v86 (npm) as a peer of the CPU benchmark: boots a multiboot image without a BIOS and times it by what the
 * program writes to the serial port.
 *
 * @module
 */
import { V86 } from "v86";
import { cpuTime } from "./measure.ts";
import { MEMORY_SIZE } from "./workloads.ts";

/** What one run of a program on v86 gave. */
export interface V86Run {
  /** Milliseconds of processor time, all threads of the process, between `S` and `E` on the serial port. */
  readonly cpuMilliseconds: number;
  /** The bytes asked for, read when the program had ended. */
  readonly output: Uint8Array;
}

/** Bytes of v86's WebAssembly module, from the npm package. */
function v86Module(): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL("v86.wasm", import.meta.resolve("v86")));
}

/**
 * Runs `image` on a fresh v86 in this process.
 *
 * @param jit whether v86 may compile to WebAssembly
 * @param read physical address and length of what to read at the end
 * @param limit milliseconds after which the run is given up with an error
 */
export async function runOnV86(
  image: Uint8Array<ArrayBuffer>,
  jit: boolean,
  read: { address: number; length: number },
  limit = 120_000,
): Promise<V86Run> {
  const code = v86Module();
  const emulator = new V86({
    wasm_fn: async (imports: WebAssembly.Imports) =>
      (await WebAssembly.instantiate(code, imports)).instance.exports,
    memory_size: MEMORY_SIZE * 2,
    multiboot: { buffer: image.slice().buffer },
    disable_jit: !jit,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    autostart: true,
    log_level: 0,
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const cpuMilliseconds = await new Promise<number>((resolve, reject) => {
      let begun = 0;
      timer = setTimeout(() => reject(new Error(`Cannot time v86: no end within ${limit} ms`)), limit);
      emulator.add_listener("serial0-output-byte", (byte: number) => {
        if (byte === 0x53) begun = cpuTime();
        if (byte === 0x45) resolve(cpuTime() - begun);
      });
    });
    return { cpuMilliseconds, output: emulator.read_memory(read.address, read.length).slice() };
  } finally {
    clearTimeout(timer);
    await emulator.destroy();
  }
}
