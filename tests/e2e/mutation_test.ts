// SPDX-License-Identifier: Apache-2.0
// Whatever a file says, the test bed refuses it with a reason or runs it to an end that it names.
import assert from "node:assert/strict";
import fc from "fast-check";
import { ROOT } from "../../tools/files.ts";
import { InputError } from "../../core/ports.ts";
import { testbed } from "../../emulator/testbed.ts";

const ENDS = ["exited", "crashed", "budget", "deadlock", "unsupported", "interrupted"];
const BUDGET = 200_000;

/** Loads and runs bytes as a program; returns how it ended. */
function outcome(bytes: Uint8Array): string {
  let emulation;
  try {
    emulation = testbed.load({ name: "mutant.exe", bytes }, {
      maxInstructions: BUDGET,
      settings: { dep: "optout", aslr: true },
      args: [],
      memory: 32,
    });
  } catch (error) {
    if (error instanceof InputError) {
      assert.match(error.message, /^[^\n]+$/);
      return "refused";
    }
    throw error;
  }
  try {
    // One slice takes at least one instruction unless a VIRQ waits, so this bounds the turns as well.
    for (let turn = 0; turn < 1000; turn++) {
      const end = emulation.step(50_000);
      // Nothing is fetched here, so a full data centre may hold the guest: that ends the test, too.
      if (end) {
        assert.ok(ENDS.includes(end.reason), end.reason);
        assert.ok(emulation.instructions <= BUDGET, `${emulation.instructions} instructions`);
        return end.reason;
      }
    }
    return "held";
  } finally {
    emulation.close();
  }
}

for (const name of ["inplace", "alloc", "tls"]) {
  const original = Deno.readFileSync(`${ROOT}build/samples/${name}.exe`);

  Deno.test(`a mutated program (${name}) is refused or run, never more`, () => {
    // Half of the changes go into the headers, where the loader reads.
    const offset = fc.oneof(fc.nat(0x1ff), fc.nat(original.length - 1));
    const change = fc.tuple(offset, fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)));
    const ends = new Map<string, number>();
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const bytes = original.slice();
        for (const [at, value] of changes) bytes[at] = value;
        const end = outcome(bytes);
        ends.set(end, (ends.get(end) ?? 0) + 1);
      }),
      { numRuns: 40, seed: 20260101 },
    );
    assert.ok(ends.size > 1, `all mutants end alike: ${[...ends.keys()]}`);
  });

  Deno.test(`a truncated program (${name}) is refused or run, never more`, () => {
    fc.assert(
      fc.property(fc.nat(original.length), (length) => {
        outcome(original.slice(0, length));
      }),
      { numRuns: 25, seed: 20260102 },
    );
  });
}
