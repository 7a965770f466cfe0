// SPDX-License-Identifier: Apache-2.0
// The differential runs try every row of the CPU's table and every variant of it, but for those listed here. Their
// plans are gone through without running them; the runs fail when a case is left out.
import assert from "node:assert/strict";
import {
  decode,
  Instruction,
  MAX_LENGTH,
  type Row,
  rows as table,
  type Variant,
} from "../../emulator/isa/mod.ts";
import { variantOf } from "../../emulator/machine/blocks.ts";
import { codeOf } from "./cases.ts";
import { instructionsOf } from "./differential.ts";
import { HOST_CASES, makeSequences, makeVectors } from "./host_cpu.ts";
import { DEFAULT_CASES, plans } from "./plans.ts";

/** Cases that each row and each variant has at least. */
const LEAST_ROW = 150, LEAST_VARIANT = 32;
const SEED = 1;

/** Rows that no case has, by reason: opcode and ModRM digit as in the table. */
const NOT_TRIED: Readonly<Record<string, string>> = {
  "no instruction": "(undefined)|0f ff",
  "the two engines have other descriptor tables (the machine's own tests and the ring-0 suite have them)":
    "06|0e|16|1e|0f a0|0f a8|07|17|1f|0f a1|0f a9|8c|8e|c4|c5|0f b2|0f b4|0f b5|9a|ea|ff /3|ff /5|ca|cb|cf|63|" +
    "0f 00 /0|0f 00 /1|0f 00 /4|0f 00 /5|0f 01 /0|0f 01 /1|0f 01 /4|0f 02|0f 03",
  "only for ring 0, or by its leave (the machine's own tests and the ring-0 suite have them)":
    "6c|6d|6e|6f|e4|e5|ec|ed|e6|e7|ee|ef|fa|fb|f4|0f 00 /2|0f 00 /3|0f 01 /2|0f 01 /3|0f 01 /6|0f 01 /7|0f 01 c1|" +
    "0f 06|0f 08|0f 09|0f 20 /0|0f 20 /2|0f 20 /3|0f 20 /4|0f 21|0f 22 /0|0f 22 /2|0f 22 /3|0f 22 /4|0f 23|0f 30|0f 32|0f 33|0f 35",
  "the answer is the processor's own (the machine's own tests have them)": "0f 31|0f 01 f9|0f a2|0f 34",
  "they end in another handler (the machine's own tests have them)": "cd|f1",
  "nothing to see": "0f ae /7",
};

/** Why a variant cannot occur, or has no defined result; undefined when it must be tried. */
function notTried(row: Row, variant: Variant): string | undefined {
  const { place, general } = variant;
  if (row.implicit && (place === "flat" || place === "indexed") && general) {
    return "the place is general then";
  }
  if (row.implicit && place === "general" && !general) return "what is in a general place is general";
  if (/^a[0-3]$/.test(row.opcode) && place === "indexed") return "an absolute address has no index";
  if (row.mnemonic === "bswap" && variant.size === 16) return "the result is undefined (SDM volume 2, BSWAP)";
  if (/^0f (18|0d)$/.test(row.opcode) && place === "register") return "a NOP, but #UD in Unicorn";
  return undefined;
}

/** Counts cases by row and variant. */
class Tally {
  readonly rows = table.map(() => 0);
  readonly variants = table.map(({ variants }) => variants.map(() => 0));
  readonly #out = new Instruction();

  see(bytes: Uint8Array, times: number, flat: boolean): void {
    const padded = new Uint8Array(bytes.length + MAX_LENGTH);
    padded.set(bytes);
    for (let at = 0; at < bytes.length;) {
      const length = decode(padded, at, padded.length, true, this.#out);
      if (length <= 0) return;
      at += length;
      const { id } = this.#out.row;
      this.rows[id] += times;
      const variant = variantOf(this.#out, flat);
      if (variant >= 0) this.variants[id][variant] += times;
    }
  }
}

Deno.test("every row and variant of the table is tried often enough, or listed as not", () => {
  const tally = new Tally();
  for (const plan of plans(SEED, DEFAULT_CASES)) {
    for (const instruction of instructionsOf(plan)) {
      tally.see(codeOf(instruction), plan.states, !plan.umbra?.limited);
    }
  }
  for (const { instruction } of makeVectors(SEED, HOST_CASES.integer)) tally.see(instruction.bytes, 1, true);
  for (const kind of ["x87", "mmx", "sse", "fxsave"] as const) {
    for (const { instruction } of makeSequences(kind, SEED, HOST_CASES[kind])) {
      tally.see(instruction.bytes, 1, true);
    }
  }
  const excused = new Set(Object.values(NOT_TRIED).flatMap((names) => names.split("|")));
  const name = (row: Row) => row.opcode || row.mnemonic;
  const tried = table.filter((row) => !excused.has(name(row)));
  const few: string[] = [];
  let variants = 0, impossible = 0;
  for (const row of tried) {
    if (tally.rows[row.id] < LEAST_ROW) few.push(`${name(row)} ${row.mnemonic}: ${tally.rows[row.id]}`);
    for (const [i, variant] of row.variants.entries()) {
      if (notTried(row, variant) !== undefined) {
        impossible++;
        continue;
      }
      variants++;
      const count = tally.variants[row.id][i];
      if (count >= LEAST_VARIANT) continue;
      const { size, place, general, repeat } = variant;
      few.push(
        `${name(row)} ${row.mnemonic} ${size} ${place} ${general ? "general" : ""} ${repeat}: ${count}`,
      );
    }
  }
  console.log(
    `coverage: ${tried.length} of ${table.length} rows have at least ${LEAST_ROW} cases, ${variants} variants at ` +
      `least ${LEAST_VARIANT} (${impossible} more are named with a reason)`,
  );
  assert.deepEqual(few, []);
  // The list names nothing that is tried after all, or is not there.
  const names = new Set(table.map(name));
  const wrong = [...excused].filter((n) =>
    !names.has(n) || table.some((r) => name(r) === n && tally.rows[r.id] > 0)
  );
  assert.deepEqual(wrong, []);
});
