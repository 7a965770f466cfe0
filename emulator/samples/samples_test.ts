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

Deno.test("no sample holds its payload or the marker in the clear, all that hide one say what", async () => {
  await build();
  for (const name of sampleNames()) {
    const bytes = Buffer.from(Deno.readFileSync(new URL(`${name}.exe`, BUILT)));
    assert.equal(bytes.indexOf(MARKER), -1, name);
    const { payloads } = JSON.parse(Deno.readTextFileSync(new URL(`${name}.json`, BUILT)));
    for (const payload of payloads) assert.equal(bytes.indexOf(Buffer.from(payload, "hex")), -1, name);
    const text = Deno.readTextFileSync(new URL(`./asm/${name}.asm`, import.meta.url));
    const marked = payloads.some((payload: string) => Buffer.from(payload, "hex").includes(MARKER));
    assert.equal(marked, text.includes("%marker"), name);
  }
});

Deno.test("what is encrypted comes back by the same cipher", async () => {
  const text = (cipher: string) =>
    `%import kernel32.dll ExitProcess\n%entry a\n%payload a b\n${cipher}\n%section .text rx\na:\n.ascii "hidden"\nb:`;
  const assembler = await loadAssembler();
  const plain = assembleProgram("plain", text(""), assembler);
  const at = Buffer.from(plain.file).indexOf("hidden");
  assert.deepEqual(plain.payloads, [new TextEncoder().encode("hidden")]);
  const stored = (cipher: string) => {
    const { file, payloads } = assembleProgram("hides", text(cipher), assembler);
    assert.deepEqual(payloads, plain.payloads);
    return file.subarray(at, at + 6);
  };
  assert.deepEqual(stored("%encrypt a b 0x21"), plain.payloads[0].map((byte) => byte ^ 0x21));
  // RC4's keystream for "Key" begins eb 9f 77 81 b7 34 (RFC 6229 has no such key; it is the usual example).
  const stream = Uint8Array.of(0xeb, 0x9f, 0x77, 0x81, 0xb7, 0x34);
  assert.deepEqual(stored("%rc4 a b Key"), plain.payloads[0].map((byte, i) => byte ^ stream[i]));
});

Deno.test("two builds give the same bytes", async () => {
  const assembler = await loadAssembler();
  for (const name of sampleNames()) {
    const text = Deno.readTextFileSync(new URL(`./asm/${name}.asm`, import.meta.url));
    assert.deepEqual(
      assembleProgram(name, text, assembler).file,
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
  const rest = { imageBase: 0x400000, entryPoint: 0x2000, imports: { rva: 0, size: 0 }, nx: true };
  assert.throws(
    () => writePe({ ...rest, sections: [section] }),
    /Cannot write section ".text": it stands at 0x2000/,
  );
});
