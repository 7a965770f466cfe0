// SPDX-License-Identifier: Apache-2.0
// The benchmark programs compute the right thing on umbra, so that their speed means something.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { assemble, programNames } from "./make_workloads.ts";
import { workloadCode } from "./workloads/code.ts";
import { runOnBareCpu } from "./bare_peer.ts";
import { OUT_ADDRESS, SERIAL_INSTRUCTIONS, workload } from "./workloads.ts";

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

for (const name of ["w1", "w2", "w3", "w4"]) {
  Deno.test(`${name} computes the right bytes on the bare CPU in the known number of instructions`, async () => {
    const program = workload(name);
    const run = await runOnBareCpu(program.image, program.instructions! + 100);
    assert.equal(run.end, "halt");
    assert.equal(run.serial, "SE");
    same(run.read(OUT_ADDRESS, program.expected.length), program.expected);
    assert.equal(run.instructions - SERIAL_INSTRUCTIONS, program.instructions);
  });
}
