// SPDX-License-Identifier: Apache-2.0
// umbra's decoder against capstone: random byte strings, and code that compilers made.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { ROOT } from "../../tools/files.ts";
import { readPe } from "../e2e/pe.ts";
import { DecoderCheck, type DecoderComparison, openCapstone } from "./capstone.ts";
import { archiveMembers, codeSections } from "./elf.ts";
import { Random } from "./random.ts";

const SEED = Number(Deno.env.get("UMBRA_SEED") ?? 1);
const STRINGS = 1_000_000;
const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/** Fills 24 bytes: often prefixes, often an opcode behind 0F, 0F 38 or 0F 3A. */
function fillRandom(r: Random, bytes: Uint32Array<ArrayBuffer>): Uint8Array {
  for (let i = 0; i < bytes.length; i++) bytes[i] = r.word();
  const string = new Uint8Array(bytes.buffer);
  let at = 0;
  while (r.oneIn(4) && at < 4) string[at++] = r.pick(PREFIXES);
  if (r.oneIn(4)) string[at] = 0x0f;
  if (r.oneIn(32)) string.set([0x0f, r.oneIn(2) ? 0x38 : 0x3a], at);
  return string;
}

function report(what: string, result: DecoderComparison): void {
  const explained = [...result.explained].map(([reason, count]) => `\n  ${count} explained: ${reason}`);
  console.log(
    `decoder, ${what}: ${result.compared} strings, ` +
      `${result.undefined} undefined for both${explained.join("")}`,
  );
  assert.deepEqual(result.differences, []);
}

Deno.test("random byte strings decode as capstone decodes them", async () => {
  const check = new DecoderCheck(await openCapstone());
  const r = new Random(SEED);
  const words = new Uint32Array(6);
  for (let n = 0; n < STRINGS; n++) check.first(fillRandom(r, words));
  report(`random from seed ${SEED}`, check.result);
});

Deno.test({
  name: "code made by mingw decodes as capstone decodes it",
  ignore: !need("mingw"),
  async fn() {
    const path = Deno.makeTempFileSync({ suffix: ".exe" });
    try {
      const { success, stderr } = new Deno.Command("i686-w64-mingw32-gcc", {
        args: ["-O2", "-s", "-o", path, `${ROOT}tests/e2e/programs/words.c`],
      }).outputSync();
      assert.ok(success, new TextDecoder().decode(stderr));
      const text = readPe(Deno.readFileSync(path)).sections.find(({ name }) => name === ".text")!.bytes;
      const check = new DecoderCheck(await openCapstone());
      check.all(text);
      report("mingw", check.result);
      assert.ok(check.result.compared > 3000);
    } finally {
      Deno.removeSync(path);
    }
  },
});

for (const library of ["libc", "libm"]) {
  Deno.test({
    name: `the code of 32-bit ${library} decodes as capstone decodes it`,
    ignore: !need("gcc-m32"),
    async fn() {
      const check = new DecoderCheck(await openCapstone());
      for (const object of archiveMembers(Deno.readFileSync(`/usr/lib32/${library}.a`))) {
        for (const code of codeSections(object)) check.all(code);
      }
      report(library, check.result);
      assert.ok(check.result.compared > 50_000);
    },
  });
}
