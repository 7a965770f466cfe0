// SPDX-License-Identifier: Apache-2.0
// umbra's CPU against the processor of this machine: integer instructions with register operands, and sequences
// of x87, MMX and SSE with their operands in memory.
import assert from "node:assert/strict";
import { undefinedAfter } from "./cases.ts";
import { closeEnough, setsFlagsInSpite } from "./host_bounds.ts";
import { HOST_CASES, makeSequences, makeVectors, record, type Recorded, type Vector } from "./host_cpu.ts";
import { SEED } from "./plans.ts";
import { UmbraSide } from "./umbra_side.ts";
import { BLOCK } from "./vector_layout.ts";
import { Windows } from "./unicorn_side.ts";

/** CF PF AF ZF SF DF OF: what the recorded instructions change. */
const FLAGS = 0xcd5;
const ESP = 4;

/** 32-bit programs run on x86 Linux whose kernel has IA-32 emulation. */
const ignore = Deno.build.os !== "linux" || Deno.build.arch !== "x86_64";

const hex = (words: Iterable<number>) => [...words].map((n) => n.toString(16)).join(" ");

/** What differs in a case, or undefined. */
function difference({ instruction, before }: Vector, host: Recorded, umbra: Recorded): string | undefined {
  const what: string[] = [];
  for (let n = 0; n < 8; n++) {
    const [a, b] = [host.state[n], umbra.state[n]];
    if (n !== ESP && a !== b) what.push(`register ${n} ${hex([a, b])}`);
  }
  const flags = (umbra.state[9] ^ host.state[9]) & FLAGS & ~undefinedAfter(instruction, before);
  if (flags !== 0 && !setsFlagsInSpite(instruction.name, host.block)) {
    what.push(`flags ${hex([host.state[9] & FLAGS, umbra.state[9] & FLAGS])}`);
  }
  if (!closeEnough(instruction.name, host.block, umbra.block)) {
    for (const [i, word] of host.block.entries()) {
      if (word !== umbra.block[i]) what.push(`[${hex([4 * i])}] ${hex([word, umbra.block[i]])}`);
    }
  }
  return what.length === 0 ? undefined : what.join(", ");
}

/** Runs the cases on umbra and compares with what was recorded. */
function check(what: string, vectors: readonly Vector[]): void {
  const recorded = record(vectors);
  const umbra = new UmbraSide();
  umbra.storeWindows(new Uint8Array(Windows.size));
  const wrong = new Map<string, string[]>();
  let undefinedDiffer = 0;
  for (const [i, vector] of vectors.entries()) {
    const { instruction, before, block } = vector;
    const { name, bytes } = instruction;
    umbra.place(instruction);
    umbra.pokeWords(BLOCK, block);
    const outcome = umbra.run(before);
    const found = { state: outcome.state, block: umbra.peekWords(BLOCK, block.length) };
    const text = outcome.vector >= 0
      ? `exception ${outcome.vector} in umbra`
      : difference(vector, recorded[i], found);
    if (text !== undefined) {
      const line = `${name} ${bytes.toHex()} from ${hex(before)} [${hex(block.subarray(0, 17))}]: ${text}`;
      wrong.set(name, [...wrong.get(name) ?? [], line]);
    } else if ((found.state[9] ^ recorded[i].state[9]) & FLAGS) {
      undefinedDiffer++;
    }
  }
  console.log(
    `host CPU, ${what}: seed ${SEED}, ${vectors.length} cases, ${undefinedDiffer} differ in undefined flags only`,
  );
  const counts = [...wrong].map(([name, texts]) => `${name} ${texts.length}`).join(", ");
  const first = [...wrong.values()].map((texts) => texts.slice(0, 2).join("\n")).slice(0, 10).join("\n");
  assert.equal(wrong.size, 0, `${counts}\n(address in the block, processor, umbra)\n${first}`);
}

Deno.test({
  name: "integer instructions with register operands do what the processor of this machine does",
  ignore,
  fn: () => check("integer", makeVectors(SEED, HOST_CASES.integer)),
});

for (const kind of ["x87", "mmx", "sse", "fxsave"] as const) {
  Deno.test({
    name: `${kind} instructions do what the processor of this machine does, status flags and all`,
    ignore,
    fn: () => check(kind, makeSequences(kind, SEED, HOST_CASES[kind])),
  });
}
