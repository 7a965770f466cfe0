// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { SELFTEST_MARKER } from "../../scanners/builtin_rules.ts";
import { assembleProgram, loadAssembler } from "./assemble.ts";
import { build, sampleNames } from "./build_samples.ts";
import { MARKER } from "./marker.ts";
import { writePe } from "./pe_writer.ts";

const BUILT = new URL("../../build/samples/", import.meta.url);

Deno.test("the samples' marker is the one the built-in rule looks for", () => {
  assert.equal(MARKER, SELFTEST_MARKER);
});

Deno.test("no sample holds the marker in the clear; those with a payload hold it encrypted", async () => {
  await build();
  for (const name of sampleNames()) {
    const bytes = Buffer.from(Deno.readFileSync(new URL(`${name}.exe`, BUILT)));
    assert.equal(bytes.indexOf(MARKER), -1, name);
    const text = Deno.readTextFileSync(new URL(`./asm/${name}.asm`, import.meta.url));
    const keys = [...text.matchAll(/^%encrypt .* (0x[0-9a-f]+)$/gm)].map((match) => Number(match[1]));
    if (keys.length === 0) continue;
    // It stands under one key, or where payloads are nested under all of them.
    const candidates = [...keys, keys.reduce((all, one) => all ^ one, 0)];
    assert.ok(
      candidates.some((key) => bytes.indexOf(Buffer.from(MARKER).map((byte) => byte ^ key)) >= 0),
      name,
    );
  }
});

Deno.test("two builds give the same bytes", async () => {
  const assembler = await loadAssembler();
  for (const name of sampleNames()) {
    const text = Deno.readTextFileSync(new URL(`./asm/${name}.asm`, import.meta.url));
    assert.deepEqual(
      assembleProgram(name, text, assembler),
      Deno.readFileSync(new URL(`${name}.exe`, BUILT)),
    );
  }
});

Deno.test("a text that is not understood is refused with its line", async () => {
  const assembler = await loadAssembler();
  const refuse = (text: string, reason: RegExp) =>
    assert.throws(() => assembleProgram("bad.asm", text, assembler), reason);
  refuse("nop", /Cannot assemble bad.asm, line 1 \("nop"\): it stands before the first %section/);
  refuse("%section .text rx\n%frob", /line 2 \("%frob"\): there is no such directive/);
  refuse("%section .text rx\n%entry start\nstart:\n  frobnicate eax", /Cannot assemble bad.asm/);
});

Deno.test("the PE writer refuses sections that leave gaps", () => {
  const section = { name: ".text", rva: 0x2000, bytes: new Uint8Array(1), access: "rx" };
  assert.throws(
    () =>
      writePe({ imageBase: 0x400000, entryPoint: 0x2000, sections: [section], imports: { rva: 0, size: 0 } }),
    /Cannot write section ".text": it stands at 0x2000/,
  );
});
