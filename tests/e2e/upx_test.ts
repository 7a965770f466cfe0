// SPDX-License-Identifier: Apache-2.0
// Programs of our own, built by mingw and packed by UPX in each of its ways: their code comes back byte for byte,
// and the rebuilt image, when it runs, calls what the program calls.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { readPe } from "./pe.ts";
import { buildProgram, packByUpx, PROGRAMS, WAYS } from "./programs.ts";
import { behaviour, proofByUse, provenImage, recovered } from "./proof.ts";
import { withFolder } from "./umbra.ts";
import { unpack } from "./unpack.ts";

/** Ways tried here: all with the first program, one each with the others; the evaluation tries all with all. */
const OTHERS = ["", "-1", "lzma", "no filter", "--best"];
const chosen = (index: number) => WAYS.filter(([way]) => index === 0 || way === OTHERS[index]);

PROGRAMS.forEach((program, index) =>
  Deno.test({
    name: `${program.what}, packed by UPX: its code comes back whole, and its image runs as the program does`,
    ignore: !need(...program.needs),
    fn: () =>
      withFolder(async (folder) => {
        const { file, linked } = await buildProgram(program, folder);
        const original = readPe(Deno.readFileSync(linked));
        const wanted = behaviour(Deno.readFileSync(file));
        assert.match(wanted.output, program.shows);
        assert.ok(wanted.calls.length > 40, `${wanted.calls.length} calls`);
        for (const [way, options] of chosen(index)) {
          const packed = `${folder}/${way}.exe`;
          await packByUpx(file, packed, options);
          const unpacked = await unpack({ name: "packed.exe", bytes: Deno.readFileSync(packed) });
          const { end, missing } = unpacked.report;
          assert.deepEqual(
            [end.reason, end.detail, missing],
            [wanted.reason, wanted.detail, wanted.missing],
            way,
          );
          for (const name of [".text", ...program.secret ? [program.secret] : []]) {
            const { bytes, right } = recovered(original, unpacked.pagesAt, name);
            assert.ok(
              bytes > (name === ".text" ? 4096 : 100),
              `${way}: only ${bytes} bytes of ${name} to compare`,
            );
            assert.equal(right, bytes, `${way}: ${right} of ${bytes} bytes of ${name}`);
          }
          const found = provenImage(wanted, unpacked.imagesAt(original.imageBase));
          assert.deepEqual(found?.proof, { outcome: "same", calls: wanted.calls.length, before: 0 }, way);
          // The same program, instruction by instruction, but for what the loader does with its resources.
          assert.equal(readPe(found!.image.bytes).entryPoint, original.entryPoint, way);
        }
      }),
  })
);

Deno.test({
  name: "the proof by use tells another program, another argument, and addresses that change places",
  ignore: !need("mingw"),
  fn: () =>
    withFolder(async (folder) => {
      const [words, , window] = PROGRAMS;
      const bytes = Deno.readFileSync((await buildProgram(words, folder)).file);
      const wanted = behaviour(bytes);
      const other = behaviour(Deno.readFileSync((await buildProgram(window, folder)).file));
      assert.equal(provenImage(wanted, [{ bytes }])?.proof.outcome, "same");
      assert.equal(proofByUse(wanted, other).outcome, "other");
      // One argument of one call.
      const calls = wanted.calls.map((call, index) =>
        index === 100
          ? { ...call, values: call.values.map((value) => value === 0x20 ? 0x21 : `${value}x`) }
          : call
      );
      const proof = proofByUse(wanted, { ...wanted, calls });
      assert.equal(proof.outcome, "other");
      assert.match(proof.outcome === "other" ? proof.why : "", /^call 101 is msvcrt\.dll!/);
      // Addresses may differ, but not change places.
      const moved = (value: string | number) =>
        typeof value === "number" && value >= 0x10000 && value < 0x70000000 ? value + 0x1000 : value;
      const shifted = wanted.calls.map((call) => ({ ...call, values: call.values.map(moved) }));
      assert.equal(proofByUse(wanted, { ...wanted, calls: shifted }).outcome, "same");
      const again = wanted.calls.findIndex((call, index) =>
        call.values.some((value) =>
          moved(value) !== value && wanted.calls.slice(index + 1).some(({ values }) => values.includes(value))
        )
      );
      assert.ok(again >= 0);
      const mixed = wanted.calls.map((call, index) => index === again ? shifted[index] : call);
      assert.equal(proofByUse(wanted, { ...wanted, calls: mixed }).outcome, "other");
    }),
});
