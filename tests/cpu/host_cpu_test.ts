// SPDX-License-Identifier: Apache-2.0
// umbra's CPU against the processor of this machine, on instructions with register operands.
import assert from "node:assert/strict";
import { undefinedAfter } from "./cases.ts";
import { makeVectors, record } from "./host_cpu.ts";
import { UmbraSide } from "./umbra_side.ts";

const COUNT = 20_000;
const seed = Number(Deno.env.get("UMBRA_SEED") ?? 1);
/** CF PF AF ZF SF DF OF: what the recorded instructions change. */
const FLAGS = 0xcd5;

/** 32-bit programs run on x86 Linux whose kernel has IA-32 emulation. */
const ignore = Deno.build.os !== "linux" || Deno.build.arch !== "x86_64";

Deno.test({
  name: "instructions with register operands do what the processor of this machine does",
  ignore,
  fn() {
    const vectors = makeVectors(seed, COUNT);
    record(vectors);
    const umbra = new UmbraSide();
    const wrong: string[] = [];
    let undefinedDiffer = 0;
    for (const { instruction, before, after } of vectors) {
      umbra.place(instruction);
      const { state, vector } = umbra.run(before);
      const registers = [0, 1, 2, 3, 4, 5, 6, 7].filter((i) => state[i] !== after[i]);
      const flags = (state[9] ^ after[9]) & FLAGS;
      const defined = flags & ~undefinedAfter(instruction, before);
      if (vector >= 0 || registers.length > 0 || defined !== 0) {
        const hex = (s: Uint32Array) => [...s].map((n) => n.toString(16)).join(" ");
        wrong.push(
          `${instruction.name} ${instruction.bytes.toHex()} from ${hex(before)}: ${hex(after)} here, ` +
            `${hex(state)} in umbra${vector < 0 ? "" : `, exception ${vector}`}`,
        );
      } else if (flags !== 0) {
        undefinedDiffer++;
      }
    }
    console.log(`host CPU: seed ${seed}, ${COUNT} cases, ${undefinedDiffer} differ in undefined flags only`);
    assert.equal(wrong.length, 0, `${wrong.length} differ\n${wrong.slice(0, 20).join("\n")}`);
  },
});
