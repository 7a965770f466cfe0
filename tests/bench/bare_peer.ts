// SPDX-License-Identifier: Apache-2.0
/**
 * umbra's CPU alone, under a host that maps every page to the frame of the same number.
 *
 * @module
 */
import { createMachine } from "../../emulator/machine/mod.ts";
import { type Cpu, type FrameMemory, Segment, type Tier } from "../../emulator/machine/types.ts";
import { cpuTime } from "./measure.ts";
import { entryPoint, LOAD_ADDRESS, MEMORY_SIZE, SERIAL_PORT } from "./workloads.ts";

/** Where the descriptor table of {@link enterFlatMode} is put. */
export const GDT_ADDRESS = 0x7000;
const CODE = 0x08, DATA = 0x10;
const STACK = 0x90000;

/** What came of a program's run on umbra. */
export interface UmbraRun {
  /** Everything the program wrote to the serial port. */
  readonly serial: string;
  /** Milliseconds of processor time and of wall time between `S` and `E`. */
  readonly cpuMilliseconds: number;
  readonly milliseconds: number;
  /** Instructions from the OUT of `S` to the OUT of `E`, as the CPU counts them. */
  readonly instructions: number;
  /** Kind of the exit that ended the run. */
  readonly end: string;
  /** Physical memory at the end. */
  read(address: number, length: number): Uint8Array;
}

/** The flat descriptor table that a multiboot loader leaves behind: code at 8, data at 16. */
export const flatDescriptors = new Uint8Array(
  new Uint32Array([0, 0, 0x0000ffff, 0x00cf9b00, 0x0000ffff, 0x00cf9300]).buffer,
);

/** Puts a CPU into the state of the multiboot specification's section 3.2, with the table at `gdt`. */
export function enterFlatMode(cpu: Cpu, gdt: number, entry: number): void {
  cpu.cr0 = 0x11;
  cpu.gdtr = { base: gdt, limit: flatDescriptors.length - 1 };
  cpu.loadSegment(Segment.cs, CODE);
  for (const segment of [Segment.ss, Segment.ds, Segment.es, Segment.fs, Segment.gs]) {
    cpu.loadSegment(segment, DATA);
  }
  cpu.setRegister(0, 0x2badb002);
  cpu.setRegister(4, STACK);
  cpu.eflags = 2;
  cpu.eip = entry;
}

/** Stop watch and recorder for the serial port. */
export class SerialClock {
  serial = "";
  #milliseconds = 0;
  #cpuMilliseconds = 0;
  #instructions = 0;
  readonly #count: () => number;
  constructor(count: () => number) {
    this.#count = count;
  }
  /** Takes one byte that the program wrote. */
  write(port: number, value: number): void {
    if (port !== SERIAL_PORT) return;
    this.serial += String.fromCharCode(value & 0xff);
    const byte = value & 0xff;
    if (byte !== 0x53 && byte !== 0x45) return;
    const sign = byte === 0x53 ? -1 : 1;
    this.#milliseconds += sign * performance.now();
    this.#cpuMilliseconds += sign * cpuTime();
    this.#instructions += sign * this.#count();
  }
  /** What was recorded. */
  times(): Pick<UmbraRun, "serial" | "milliseconds" | "cpuMilliseconds" | "instructions"> {
    return {
      serial: this.serial,
      milliseconds: this.#milliseconds,
      cpuMilliseconds: this.#cpuMilliseconds,
      instructions: this.#instructions,
    };
  }
}

/** Runs a slice at a time until the CPU leaves for another reason than its budget. */
export function runToEnd(run: (limit: number) => { readonly kind: string }, most: number): string {
  for (let done = 0; done < most;) {
    const slice = Math.min(1_000_000, most - done);
    const exit = run(slice);
    if (exit.kind !== "budget") return exit.kind;
    done += slice;
  }
  return "budget";
}

function copyIn(memory: FrameMemory, address: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    const offset = (address + at) & 0xfff;
    const part = bytes.subarray(at, at + 0x1000 - offset);
    memory.frame((address + at) >>> 12).set(part, offset);
    at += part.length;
  }
}

/** A fresh machine with a multiboot image, ready to run. `written` is told of what goes to ports. */
export function bareCpu(
  image: Uint8Array,
  written: (port: number, value: number) => void,
  tier?: Tier,
): { readonly cpu: Cpu; readonly memory: FrameMemory } {
  const { cpus: [cpu], memory } = createMachine({ frames: MEMORY_SIZE >>> 12, ...(tier ? { tier } : {}) });
  cpu.host = {
    translate: (va) => va < MEMORY_SIZE ? (va >>> 12) * 8 + 7 : -1,
    controlRegisterWritten() {},
    invalidatePage() {},
    portRead: () => 0,
    portWrite: (port, _size, value) => written(port, value),
  };
  copyIn(memory, LOAD_ADDRESS, image);
  copyIn(memory, GDT_ADDRESS, flatDescriptors);
  enterFlatMode(cpu, GDT_ADDRESS, entryPoint(image));
  return { cpu, memory };
}

/** Runs a multiboot image on a fresh machine, at most `most` instructions. */
export function runOnBareCpu(image: Uint8Array, most: number, tier?: Tier): UmbraRun {
  const clock = new SerialClock(() => cpu.instructions);
  const { cpu, memory } = bareCpu(image, (port, value) => clock.write(port, value), tier);
  const end = runToEnd((limit) => cpu.run(limit), most);
  const read = (address: number, length: number) => {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 0x1000) {
      bytes.set(memory.frame((address + at) >>> 12).subarray(0, Math.min(0x1000, length - at)), at);
    }
    return bytes;
  };
  return { ...clock.times(), end, read };
}
