// SPDX-License-Identifier: Apache-2.0
/**
 * A program of many different hot loops, to see how much machine code a compiler keeps.
 *
 * @module
 */
import type { InterpretedCpu } from "../../emulator/machine/cpu.ts";
import { machineCodeBytes } from "../../emulator/machine/code_memory.ts";
import { bareCpu } from "./bare_peer.ts";
import { xorshift32 } from "./encoders.ts";
import { LOAD_ADDRESS, OUT_ADDRESS } from "./workloads.ts";

/** Rounds of each loop: enough to be hot in any tier. */
const ROUNDS = 4000;
/** Offset of the code behind the multiboot header, and of the entry point in it. */
const CODE = 0x40, ENTRY = 0x1c;

const le32 = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];

/** A multiboot image of `count` loops of about `length` instructions each, one after the other, then HLT. */
export function manyLoops(count: number, length = 40): Uint8Array<ArrayBuffer> {
  const next = xorshift32(0x600d_10ad);
  for (let i = 0; i < 8; i++) next();
  const below = (n: number) => Math.floor(next() / 0x1_0000_0000 * n);
  const bytes: number[] = new Array(CODE).fill(0);
  bytes.push(0xbe, ...le32(OUT_ADDRESS)); // mov esi,OUT
  for (let i = 0; i < count; i++) {
    bytes.push(0xb9, ...le32(ROUNDS)); // mov ecx,ROUNDS
    const start = bytes.length;
    for (let k = 0; k < length; k++) {
      // EAX, EDX, EBX are worked with.
      const a = [0, 2, 3][below(3)], b = [0, 2, 3][below(3)];
      switch (below(5)) {
        case 0:
          bytes.push([0x01, 0x29, 0x31, 0x21, 0x09][below(5)], 0xc0 | (b << 3) | a);
          break;
        case 1:
          bytes.push(0x8b, 0x46 | (a << 3), below(128)); // mov a,[esi+n]
          break;
        case 2:
          bytes.push(0x89, 0x46 | (a << 3), below(128)); // mov [esi+n],a
          break;
        case 3:
          bytes.push(0xc1, 0xc0 | a, 1 + below(30)); // rol a,n
          break;
        default:
          bytes.push(0x39, 0xc0 | (b << 3) | a, 0x72, 0x01, 0x40 + a); // cmp a,b; jb +1; inc a
      }
    }
    bytes.push(0x49, 0x0f, 0x85, ...le32(start - bytes.length - 7)); // dec ecx; jnz start
  }
  bytes.push(0xf4);
  const image = Uint8Array.from(bytes);
  new DataView(image.buffer).setUint32(ENTRY, LOAD_ADDRESS + CODE, true);
  return image;
}

/** What a run of such a program left and needed. */
export interface ManyLoopsRun {
  /** Most bytes of machine code there were in the process, as far as can be told. */
  readonly mostCode: number;
  readonly compiled: number;
  readonly dropped: number;
  readonly instructions: number;
  readonly eax: number;
}

/** Runs the program to its end on a bare CPU and looks at the machine code every now and then. */
export function runManyLoops(count: number): ManyLoopsRun {
  const { cpu } = bareCpu(manyLoops(count), () => {});
  let mostCode = 0;
  for (let exit = cpu.run(1); exit.kind === "budget"; exit = cpu.run(20_000_000)) {
    mostCode = Math.max(mostCode, machineCodeBytes() ?? 0);
  }
  const { compiled, dropped } = (cpu as InterpretedCpu).jitStatistics!;
  return { mostCode, compiled, dropped, instructions: cpu.instructions, eax: cpu.getRegister(0) };
}
