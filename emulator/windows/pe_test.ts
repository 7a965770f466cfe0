// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../../core/ports.ts";
import { need } from "../../tests/means.ts";
import { put16, put32 } from "./bytes.ts";
import { explorerProgram } from "./system_programs.ts";
import { Protect } from "./constants.ts";
import { imagePages, parsePe, rebasedPages } from "./pe.ts";
import { program } from "./testing/guest.ts";

const OPTIONAL = 0x98;

function refusal(change: (bytes: Uint8Array) => Uint8Array | void): string {
  const bytes = explorerProgram();
  const changed = change(bytes) ?? bytes;
  try {
    parsePe(changed, "x.exe");
  } catch (error) {
    assert.ok(error instanceof InputError, String(error));
    assert.ok(!error.message.includes("\n"));
    return error.message;
  }
  return "";
}

Deno.test("a plain program is read", () => {
  const pe = parsePe(explorerProgram(), "x.exe");
  assert.equal(pe.imageBase, 0x0100_0000);
  assert.deepEqual(pe.sections.map((one) => [one.name, one.rva, one.fileSize]), [
    [".text", 0x1000, 0x1000],
    [".idata", 0x2000, 0x1000],
  ]);
  assert.equal(pe.nxCompatible, false);
  const pages = imagePages(pe);
  assert.deepEqual(pages.map((page) => page.protect), [
    Protect.readOnly,
    Protect.executeRead,
    Protect.writeCopy,
  ]);
});

Deno.test("what is no 32-bit program is refused in one line with the reason", () => {
  assert.match(refusal(() => new Uint8Array(0)), /"x.exe": the file is empty/);
  assert.match(refusal(() => new Uint8Array(100)), /no MZ/);
  assert.match(refusal((b) => b.subarray(0, 0x30)), /DOS header is cut short/);
  assert.match(refusal((b) => put32(b, 0x3c, 0xffff_fff0)), /not a PE file/);
  assert.match(refusal((b) => put32(b, 0x80, 0x454e)), /not a PE file/);
  assert.match(refusal((b) => put16(b, 0x84, 0x8664)), /64-bit program/);
  assert.match(refusal((b) => put16(b, 0x84, 0x1c4)), /machine 0x1c4/);
  assert.match(refusal((b) => put16(b, 0x96, 0x2102)), /a DLL; only programs/);
  assert.match(refusal((b) => put32(b, OPTIONAL + 0x60 + 14 * 8, 0x2000)), /\.NET/);
  assert.match(refusal((b) => put32(b, OPTIONAL + 0x38, 0xffff_ffff)), /image size 0xffffffff/);
  assert.match(refusal((b) => put32(b, OPTIONAL + 0x20, 0x1234)), /no power of two/);
  assert.match(refusal((b) => put16(b, 0x86, 0xffff)), /65535 sections/);
  assert.match(refusal((b) => put32(b, OPTIONAL + 0xe0 + 8, 0x7fff_ffff)), /".text".* past the image/);
  assert.match(refusal((b) => put32(b, OPTIONAL + 0x1c, 0x40_1000)), /multiple of 64 KiB/);
});

Deno.test("a section that runs past the end of the file is cut, its rest is zeros", () => {
  const bytes = explorerProgram().subarray(0, 0x1800);
  const pages = imagePages(parsePe(bytes, "x.exe"));
  assert.equal(pages[1].bytes?.length, 0x800);
  assert.equal(pages[2].bytes, undefined);
});

Deno.test("odd raw pointers and sizes are taken by whole sectors", () => {
  const bytes = explorerProgram();
  put32(bytes, OPTIONAL + 0xe0 + 16, 0x1f0);
  put32(bytes, OPTIONAL + 0xe0 + 20, 0x1010);
  const [text] = parsePe(bytes, "x.exe").sections;
  assert.deepEqual([text.fileOffset, text.fileSize], [0x1000, 0x200]);
});

Deno.test("a file with sections below a page is mapped as it lies", () => {
  const bytes = explorerProgram();
  put32(bytes, OPTIONAL + 0x20, 0x200);
  put32(bytes, OPTIONAL + 0x24, 0x200);
  const pages = imagePages(parsePe(bytes, "x.exe"));
  assert.ok(pages.every((page) => page.protect === Protect.executeWriteCopy));
  assert.deepEqual(pages[2].bytes, bytes.subarray(0x2000));
});

Deno.test("any damage to a program gives pages or a refusal, never more", () => {
  const damage = fc.array(fc.tuple(fc.nat(0x1ff), fc.nat(255)), { minLength: 1, maxLength: 12 });
  fc.assert(fc.property(damage, fc.nat(0x3000), (changes, length) => {
    const bytes = explorerProgram().subarray(0, 0x3000 - length % 0x2f00);
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
    try {
      const pe = parsePe(bytes, "x.exe");
      const pages = imagePages(pe);
      assert.equal(pages.length, Math.ceil(pe.sizeOfImage / 4096));
      for (const page of pages) assert.ok((page.bytes?.length ?? 0) <= 4096);
    } catch (error) {
      assert.ok(error instanceof InputError, String(error));
    }
  }));
});

Deno.test({
  name: "Upack's overlapping headers are read",
  ignore: !need("clamav-testfiles"),
  fn() {
    const pe = parsePe(Deno.readFileSync("/usr/share/clamav-testfiles/clam-upack.exe"), "upack");
    assert.equal(pe.entryPoint, 0x1018);
    assert.deepEqual(pe.sections.map((one) => [one.rva, one.fileOffset, one.fileSize]), [
      [0x1000, 0, 0x200],
      [0x6000, 0x200, 0x53c],
      [0xe000, 0, 0x200],
    ]);
  },
});

Deno.test("an image is moved by its relocations, or not at all; wild ones touch nothing outside", () => {
  const file = program(`
%entry start
%section .text rx
start:
  mov eax, target
  ret
target:
  .long start
%section .reloc r
table:
  .long 0x1000, 12
  .short 0x3001, 0x3006
`);
  const view = new DataView(file.buffer);
  const optional = view.getUint32(0x3c, true) + 0x18;
  const put = (bytes: Uint8Array, rva: number, size: number) => {
    const at = new DataView(bytes.buffer);
    at.setUint32(optional + 0x60 + 5 * 8, rva, true);
    at.setUint32(optional + 0x64 + 5 * 8, size, true);
  };
  const word = (page: Uint8Array | undefined, at: number) => new DataView(page!.buffer).getUint32(at, true);
  put(file, 0x2000, 12);
  const before = imagePages(parsePe(file, "test"));
  const moved = rebasedPages(parsePe(file, "test"), 0x55_0000)!;
  assert.equal(word(moved[1].bytes, 1), 0x55_1006);
  assert.equal(word(moved[1].bytes, 6), 0x55_1000);
  assert.equal(word(moved[0].bytes, optional + 0x1c), 0x55_0000);
  assert.equal(word(before[1].bytes!.slice(), 1), 0x40_1006, "the file itself stays");
  fc.assert(
    fc.property(
      fc.nat(0x4000),
      fc.oneof(fc.nat(0x100), fc.nat(0xffff_ffff)),
      fc.uint8Array({ minLength: 8, maxLength: 64 }),
      (rva, size, table) => {
        const mutant = file.slice();
        mutant.set(table, mutant.length - 0x600);
        put(mutant, rva, size);
        const pages = rebasedPages(parsePe(mutant, "test"), 0x7000_0000);
        if (!pages) return;
        assert.equal(pages.length, before.length);
        for (const page of pages) assert.ok((page.bytes?.length ?? 0) <= 0x1000);
      },
    ),
    { numRuns: 300, seed: 20261128 },
  );
});
