// SPDX-License-Identifier: Apache-2.0
/**
 * Processors that are not ours, for the ring-0 kernels: QEMU's (TCG) and Bochs'. Both give back what the
 * kernel wrote to the serial port.
 *
 * @module
 */
import { assemble } from "./kernels.ts";

const TIME_LIMIT = 60_000;
const MEGABYTES = 64;

/**
 * Runs a program in a folder of its own with the kernel's image in it; reads the log it left there. Kernels end
 * the emulator; one that only halts is ended once its log ends with `last`.
 */
async function withImage(
  image: Uint8Array,
  last: string | undefined,
  run: (folder: string, signal: AbortSignal) => Deno.Command,
): Promise<string> {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeFileSync(`${folder}/image`, image);
    const child = run(folder, AbortSignal.timeout(TIME_LIMIT)).spawn();
    const watch = last === undefined ? undefined : setInterval(() => {
      try {
        if (Deno.readTextFileSync(`${folder}/log`).endsWith(last)) child.kill();
      } catch {
        // There is no log yet, or no child any more.
      }
    }, 50);
    const output = await child.output();
    clearInterval(watch);
    const said = new TextDecoder().decode(output.stderr).trim();
    let log: string;
    try {
      log = Deno.readTextFileSync(`${folder}/log`);
    } catch {
      throw new Error(`Cannot read the log of the emulator: it left none (status ${output.code}): ${said}`);
    }
    return log;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Boots a multiboot image in QEMU without acceleration; the processor has PAE, NX, SYSENTER and SSE2. */
export function runInQemu(image: Uint8Array, last?: string): Promise<string> {
  return withImage(image, last, (folder, signal) =>
    new Deno.Command("qemu-system-i386", {
      args: [
        ...["-accel", "tcg", "-cpu", "n270", "-m", `${MEGABYTES}`],
        ...["-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"],
        ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", `file:${folder}/log`],
        ...["-kernel", `${folder}/image`],
      ],
      stdout: "null",
      stderr: "piped",
      signal,
    }));
}

/** Starts a multiboot image in Bochs, from a firmware ROM that holds it. */
export function runInBochs(image: Uint8Array): Promise<string> {
  return withImage(image, undefined, (folder, signal) => {
    Deno.writeFileSync(`${folder}/rom`, assemble("rom.asm", [`IMAGE="${folder}/image"`]));
    // Bochs wants a video ROM: an empty one.
    Deno.writeFileSync(`${folder}/vga`, new Uint8Array(0x8000));
    // Where Debian builds Bochs with its debugger, that must be told to go on, and to end at the end.
    Deno.writeTextFileSync(`${folder}/commands`, "c\nq\n");
    const configuration = [
      `display_library: rfb, options="timeout=0"`,
      `romimage: file=${folder}/rom, address=0xfffe0000`,
      `vgaromimage: file=${folder}/vga`,
      `megs: ${MEGABYTES}`,
      `cpu: model=core_duo_t2400_yonah, ips=1000000, reset_on_triple_fault=0, ignore_bad_msrs=0`,
      `clock: sync=none`,
      `com1: enabled=1, mode=file, dev=${folder}/log`,
      `log: ${folder}/bochs.out`,
      `panic: action=fatal`,
      `error: action=ignore`,
      `info: action=ignore`,
      `debug: action=ignore`,
    ];
    Deno.writeTextFileSync(`${folder}/configuration`, configuration.join("\n") + "\n");
    return new Deno.Command("bochs-bin", {
      args: ["-q", "-f", `${folder}/configuration`, "-rc", `${folder}/commands`],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal,
    });
  });
}
