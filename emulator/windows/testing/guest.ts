// SPDX-License-Identifier: Apache-2.0
/**
 * Guests for tests: a kernel with one process, and programs written as text run to their end.
 *
 * @module
 */
import type { EmulationEnd, GuestSettings } from "../../../core/ports.ts";
import { createXenModel, machineFramesFor } from "../../hypervisor/mod.ts";
import { assembleProgram, loadAssembler } from "../../samples/assemble.ts";
import { dlls } from "../dll/mod.ts";
import { explorerProgram } from "../system_programs.ts";
import { WindowsGuest } from "../guest.ts";
import { Kernel } from "../kernel.ts";
import type { Process } from "../process.ts";
import { createProcess } from "../process_life.ts";

const FRAMES = 32 * 256;

function newDomain(guestFrames = FRAMES) {
  return createXenModel({ frames: machineFramesFor(guestFrames) }).createDomain({ guestFrames });
}

/** A kernel with one process that has not run yet; act in its address space by `kernel.attach`. */
export function bootKernel(guestFrames = FRAMES): { kernel: Kernel; process: Process } {
  const kernel = new Kernel(newDomain(guestFrames), dlls);
  const thread = createProcess(kernel, {
    bytes: explorerProgram(),
    name: "test.exe",
    path: "C:\\test.exe",
    commandLine: "test.exe",
    parentPid: 4,
    ofSample: true,
    environment: new Map([["windir", "C:\\Windows"]]),
  });
  return { kernel, process: thread!.process };
}

/** How a program ran. */
export interface Run {
  readonly end: EmulationEnd | undefined;
  readonly output: string;
  readonly missing: ReturnType<WindowsGuest["missing"]>;
  readonly calls: ReturnType<WindowsGuest["calls"]>;
}

/** Runs a program for at most `limit` instructions. */
export function runProgram(
  bytes: Uint8Array,
  limit = 20_000_000,
  slice = limit,
  settings?: GuestSettings,
): Run {
  const guest = new WindowsGuest(newDomain(), { dlls, settings });
  guest.addProcess({ name: "test.exe", bytes, args: [] });
  let end: EmulationEnd | undefined;
  while (!end && guest.instructions < limit) ({ end } = guest.run(slice));
  return { end, output: guest.output, missing: guest.missing(), calls: guest.calls() };
}

const assembler = await loadAssembler();

/** The PE file of a program in the assembler's language of the samples. */
export function program(text: string): Uint8Array {
  return assembleProgram("test", text, assembler).file;
}

/** Clears NX_COMPAT in a PE file, so that DEP is off for it. */
export function withoutNx(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const field = view.getUint32(0x3c, true) + 0x18 + 0x46;
  view.setUint16(field, view.getUint16(field, true) & ~0x100, true);
  return copy;
}
