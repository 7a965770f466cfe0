// SPDX-License-Identifier: Apache-2.0
// umbra's decoder against capstone: random byte strings, and code a compiler made.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { ROOT } from "../../tools/files.ts";
import { readPe } from "../e2e/pe.ts";
import { compareDecoders, openCapstone } from "./capstone.ts";
import { Random } from "./random.ts";

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

function* randomStrings(seed: number, count: number): Generator<Uint8Array> {
  const r = new Random(seed);
  for (let n = 0; n < count; n++) {
    const bytes = new Uint8Array(24);
    for (let i = 0; i < bytes.length; i++) bytes[i] = r.word() >>> 24;
    let at = 0;
    while (r.oneIn(4) && at < 4) bytes[at++] = r.pick(PREFIXES);
    if (r.oneIn(4)) bytes[at] = 0x0f;
    yield bytes;
  }
}

Deno.test("random byte strings decode as capstone decodes them", async () => {
  const capstone = await openCapstone();
  const seed = Number(Deno.env.get("UMBRA_SEED") ?? 1);
  const result = compareDecoders(capstone, randomStrings(seed, 100_000));
  console.log(
    `decoder: seed ${seed}, ${result.compared} strings, ${result.unsupported} not modelled, ` +
      `${result.undefined} undefined for both`,
  );
  assert.deepEqual(result.differences, []);
});

Deno.test({
  name: "code made by a compiler decodes as capstone decodes it",
  ignore: !need("mingw"),
  async fn() {
    const path = Deno.makeTempFileSync({ suffix: ".exe" });
    let text: Uint8Array;
    try {
      const { success, stderr } = new Deno.Command("i686-w64-mingw32-gcc", {
        args: ["-O2", "-s", "-o", path, `${ROOT}tests/e2e/programs/words.c`],
      }).outputSync();
      assert.ok(success, new TextDecoder().decode(stderr));
      text = readPe(Deno.readFileSync(path)).sections.find(({ name }) => name === ".text")!.bytes;
    } finally {
      Deno.removeSync(path);
    }
    const capstone = await openCapstone();
    const starts: Uint8Array[] = [];
    for (let at = 0; at + 24 <= text.length;) {
      starts.push(text.subarray(at, at + 24));
      let size = 1;
      try {
        size = capstone.disasm(text.subarray(at, at + 24), { address: 0, count: 1 })[0]?.size ?? 1;
      } catch {
        // A byte of data between functions.
      }
      at += size;
    }
    const result = compareDecoders(capstone, starts);
    console.log(`decoder: ${result.compared} instructions of a compiler, ${result.unsupported} not modelled`);
    assert.ok(result.compared > 3000);
    assert.deepEqual(result.differences, []);
  },
});
