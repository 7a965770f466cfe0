// SPDX-License-Identifier: Apache-2.0
// The benchmark programs compute the right thing on umbra, so that their speed means something.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { assemble, programNames } from "./make_workloads.ts";
import { workloadCode } from "./workloads/code.ts";
import { runOnBareCpu } from "./bare_peer.ts";
import { runWatched } from "./watched_peer.ts";
import { runInDomain } from "./xen_peer.ts";
import { OUT_ADDRESS, SERIAL_INSTRUCTIONS, TURNS, workload } from "./workloads.ts";

Deno.test({
  name: "the committed machine code is what nasm makes of the sources",
  ignore: !need("nasm"),
  fn() {
    for (const name of programNames) assert.equal(assemble(name).toHex(), workloadCode[name], name);
  },
});

function same(actual: Uint8Array, expected: Uint8Array): void {
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  assert.equal(at, -1, `byte ${at} of ${expected.length} differs: ${actual[at]} for ${expected[at]}`);
}

const homes = {
  "bare CPU": runOnBareCpu,
  "vCPU with shadow page tables": runInDomain,
  "watched process": (image: Uint8Array, most: number) => runWatched(image, most),
};

for (const [home, run] of Object.entries(homes)) {
  for (const name of ["w1", "w2", "w3", "w4"]) {
    Deno.test(`${name} computes the right bytes on the ${home} in the known number of instructions`, () => {
      const program = workload(name);
      const result = run(program.image, program.instructions! + 100);
      // In ring 3 CLI is a fault, which ends the run.
      assert.equal(result.end, home === "watched process" ? "vmcall" : "halt");
      assert.equal(result.serial, "SE");
      same(result.read(OUT_ADDRESS, program.expected.length), program.expected);
      assert.equal(result.instructions - SERIAL_INSTRUCTIONS, program.instructions);
    });
  }
}

Deno.test("turns: the monitor sees each of 100,000 turns of the page, and the program computes the right sum", () => {
  const program = workload("turns");
  const result = runWatched(program.image, 10 * TURNS);
  same(result.read(OUT_ADDRESS, program.expected.length), program.expected);
  // The first time that the page runs, and after each store.
  assert.equal(result.turns, TURNS + 1);
  assert.ok(result.events < 1000, `${result.events} events`);
});

// The error code of a fetch has I/D (bit 4) with CR4.PAE and EFER.NXE set, P (bit 0) only where the page is
// present, U and W not: 0x11 and 0x10 (SDM volume 3, 4.7), which the programs print as letters from A.
for (const [name, letter] of [["nx", "R"], ["np", "Q"]]) {
  Deno.test(`${name}: a call to a page that ${name === "nx" ? "must not execute" : "is not there"} faults`, () => {
    const result = runInDomain(workload(name).image, 1_000_000);
    assert.equal(result.serial, `Sc1w1PF${letter}E`);
    assert.equal(result.end, "halt");
  });
}
