// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { cdecl, stdcall } from "./api.ts";
import type { DllDefinition } from "./api.ts";
import { get16, get32, textAt } from "./bytes.ts";
import { buildDllImage } from "./dll_image.ts";
import { imagePages, parsePe } from "./pe.ts";

const definition: DllDefinition = {
  name: "example.dll",
  base: 0x7000_0000,
  functions: [stdcall("Zeta", 3, () => 0), cdecl("alpha", 2, () => 0), {
    ...stdcall("Code", 0, () => 0),
    code: new Uint8Array([0x33, 0xc0, 0xc3]),
  }],
  variables: [{ name: "_value", initial: new Uint8Array([7]), size: 4 }],
  forwards: { Elsewhere: "NTDLL.Target" },
  known: { Known: 5 },
  ordinals: { Zeta: 17 },
};

/** What a program finds that walks the export directory, as packers do. */
function walkExports(bytes: Uint8Array): Map<string, { rva: number; ordinal: number }> {
  const optional = get32(bytes, 0x3c) + 0x18;
  const directory = get32(bytes, optional + 0x60);
  const base = get32(bytes, directory + 16);
  const found = new Map<string, { rva: number; ordinal: number }>();
  let before = "";
  for (let i = 0; i < get32(bytes, directory + 24); i++) {
    const name = textAt(bytes, get32(bytes, get32(bytes, directory + 32) + i * 4), 64);
    assert.ok(name > before, "names are sorted");
    before = name;
    const index = get16(bytes, get32(bytes, directory + 36) + i * 2);
    const rva = get32(bytes, get32(bytes, directory + 28) + index * 4);
    found.set(name, { rva, ordinal: index + base });
  }
  return found;
}

Deno.test("a DLL of the model is a PE file whose export directory leads to its functions", () => {
  const numbers = new Map<string, number>();
  const image = buildDllImage(definition, (name) => {
    numbers.set(name, 0x3000 + numbers.size);
    return numbers.get(name)!;
  });
  const { bytes } = image;
  const pe = parsePe(bytes, "example.dll", { allowDll: true });
  assert.equal(pe.sizeOfImage, bytes.length);
  assert.deepEqual(pe.sections.map((one) => one.name), [".text", ".data", ".rdata"]);
  assert.equal(imagePages(pe).length, bytes.length / 4096);

  const exports = walkExports(bytes);
  assert.deepEqual([...exports.keys()], ["Code", "Elsewhere", "Known", "Zeta", "_value", "alpha"]);
  assert.equal(exports.get("Zeta")!.ordinal, 17);
  assert.equal(image.byOrdinal.get(17), "Zeta");

  const stub = bytes.subarray(exports.get("Zeta")!.rva);
  assert.deepEqual([...stub.subarray(0, 6)], [0x8b, 0xff, 0x55, 0x8b, 0xec, 0x5d]);
  assert.equal(get32(stub, 7), numbers.get("Zeta"));
  assert.deepEqual([...stub.subarray(11, 16)], [0xcd, 0x2e, 0xc2, 12, 0]);
  assert.equal(bytes[exports.get("alpha")!.rva + 13], 0xc3);
  assert.deepEqual([...bytes.subarray(exports.get("Known")!.rva + 13, exports.get("Known")!.rva + 16)], [
    0xc2,
    20,
    0,
  ]);
  assert.deepEqual([...bytes.subarray(exports.get("Code")!.rva, exports.get("Code")!.rva + 3)], [
    0x33,
    0xc0,
    0xc3,
  ]);

  // A forward is text inside the export directory.
  const { rva, size } = pe.directory(0);
  const forward = exports.get("Elsewhere")!.rva;
  assert.ok(forward > rva && forward < rva + size);
  assert.equal(textAt(bytes, forward, 64), "NTDLL.Target");
});
