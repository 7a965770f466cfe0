// SPDX-License-Identifier: Apache-2.0
// umbra's CPU against the processor of this machine, on instructions with register operands.
import assert from "node:assert/strict";
import { undefinedAfter } from "./cases.ts";
import { makeSequences, makeVectors, record, RESULT_WORDS, type Vector } from "./host_cpu.ts";
import { UmbraSide } from "./umbra_side.ts";
import { Windows } from "./unicorn_side.ts";

const COUNT = 20_000;
const SEQUENCES = 5_000;
const seed = Number(Deno.env.get("UMBRA_SEED") ?? 1);
/** CF PF AF ZF SF DF OF: what the recorded instructions change. */
const FLAGS = 0xcd5;

/** 32-bit programs run on x86 Linux whose kernel has IA-32 emulation. */
const ignore = Deno.build.os !== "linux" || Deno.build.arch !== "x86_64";

const hex = (words: Iterable<number>) => [...words].map((n) => n.toString(16)).join(" ");

/** Runs the recorded cases on umbra and compares. */
function check(what: string, vectors: readonly Vector[]): void {
  const umbra = new UmbraSide();
  umbra.storeWindows(new Uint8Array(Windows.size));
  const wrong = new Map<string, string[]>();
  let undefinedDiffer = 0;
  for (const { instruction, before, pokes, after, results } of vectors) {
    const { name, bytes } = instruction;
    umbra.place(instruction);
    for (const [address, value] of pokes) umbra.poke(address, value);
    const { state, vector } = umbra.run(before);
    const found = pokes.length === 0 ? [] : RESULT_WORDS.map((address) => umbra.peek(address));
    const flags = (state[9] ^ after[9]) & FLAGS;
    const defined = flags & ~undefinedAfter(instruction, before);
    const different = [0, 1, 2, 3, 4, 5, 6, 7].some((i) => state[i] !== after[i]) ||
      found.some((word, i) => word !== results[i]);
    if (vector >= 0 || different || defined !== 0) {
      const operands = pokes.slice(RESULT_WORDS.length).map(([, value]) => value);
      const text =
        `${name} ${bytes.toHex()} from ${hex(before)}${operands.length ? ` [${hex(operands)}]` : ""}: ` +
        `${hex(after)} [${hex(results)}] here, ${hex(state)} [${hex(found)}] in umbra` +
        (vector < 0 ? "" : `, exception ${vector}`);
      wrong.set(name, [...wrong.get(name) ?? [], text]);
    } else if (flags !== 0) {
      undefinedDiffer++;
    }
  }
  console.log(
    `host CPU, ${what}: seed ${seed}, ${vectors.length} cases, ${undefinedDiffer} differ in undefined flags only`,
  );
  const counts = [...wrong].map(([name, texts]) => `${name} ${texts.length}`).join(", ");
  assert.equal(
    wrong.size,
    0,
    `${counts}\n${[...wrong.values()].map(([first]) => first).slice(0, 20).join("\n")}`,
  );
}

Deno.test({
  name: "instructions with register operands do what the processor of this machine does",
  ignore,
  fn() {
    const vectors = makeVectors(seed, COUNT);
    record(vectors);
    check("integer", vectors);
  },
});

for (const kind of ["x87", "mmx", "sse"] as const) {
  Deno.test({
    name: `${kind} instructions do what the processor of this machine does, status flags and all`,
    ignore,
    fn() {
      const vectors = makeSequences(kind, seed, SEQUENCES);
      record(vectors);
      check(kind, vectors);
    },
  });
}
