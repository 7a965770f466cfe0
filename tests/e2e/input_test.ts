// SPDX-License-Identifier: Apache-2.0
// What a user may get wrong: one line on stderr, exit code 2, no stack trace, nothing left behind.
import assert from "node:assert/strict";
import { ROOT } from "../../tools/files.ts";
import { umbra, withFolder } from "./umbra.ts";

const SAMPLE = `${ROOT}build/samples/plain.exe`;

/** Bad command lines: name, what to write into a file first (if anything), arguments (`FILE` is its path). */
const CASES: readonly (readonly [name: string, content: Uint8Array | undefined, args: readonly string[]])[] =
  [
    ["a file that is not there", undefined, ["emulate", "FILE"]],
    ["a folder", undefined, ["emulate", ROOT]],
    ["an empty file", new Uint8Array(0), ["emulate", "FILE"]],
    ["a text", new TextEncoder().encode("not a program\n".repeat(100)), ["emulate", "FILE"]],
    ["a truncated header", new TextEncoder().encode("MZ"), ["emulate", "FILE"]],
    ["a 64-bit program", machine(0x8664, 0x20b), ["emulate", "FILE"]],
    ["an ARM program", machine(0x1c0, 0x10b), ["emulate", "FILE"]],
    ["an image larger than the address space", hugeImage(), ["emulate", "FILE"]],
    ["no file", undefined, ["emulate"]],
    ["an unknown command", undefined, ["emulat", SAMPLE]],
    ["an unknown option", undefined, ["emulate", SAMPLE, "--frob"]],
    ["an unknown engine", undefined, ["emulate", SAMPLE, "--engine", "nosuch"]],
    ["a number that is none", undefined, ["emulate", SAMPLE, "--max-instructions", "many"]],
    ["a negative number", undefined, ["emulate", SAMPLE, "--max-instructions", "-1"]],
    ["rules that are not there", undefined, ["emulate", SAMPLE, "--rules", "FILE"]],
    ["rules that do not compile", new TextEncoder().encode("rule {"), ["emulate", SAMPLE, "--rules", "FILE"]],
    ["a file to scan that is not there", undefined, ["scan", "FILE"]],
  ];

/** A sample with other machine and optional-header words. */
function machine(kind: number, magic: number): Uint8Array {
  const bytes = sample();
  const view = new DataView(bytes.buffer);
  const header = view.getUint32(0x3c, true);
  view.setUint16(header + 4, kind, true);
  view.setUint16(header + 24, magic, true);
  return bytes;
}

/** A sample that claims an image of 4 GiB. */
function hugeImage(): Uint8Array {
  const bytes = sample();
  const view = new DataView(bytes.buffer);
  view.setUint32(view.getUint32(0x3c, true) + 24 + 56, 0xffff_f000, true);
  return bytes;
}

function sample(): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(SAMPLE);
}

for (const [name, content, args] of CASES) {
  Deno.test(`bad input: ${name}`, () =>
    withFolder(async (folder) => {
      const file = `${folder}/file`;
      if (content) Deno.writeFileSync(file, content);
      const { code, stdout, stderr } = await umbra(args.map((arg) => arg === "FILE" ? file : arg), {
        cwd: folder,
        seconds: 30,
      });
      assert.equal(code, 2, `stdout: ${stdout}\nstderr: ${stderr}`);
      assert.equal(stdout, "");
      assert.match(stderr, /^[^\n]+\n$/, "one line on stderr");
      assert.doesNotMatch(stderr, /\n\s+at /);
      const left = [...Deno.readDirSync(folder)].map((entry) => entry.name).filter((entry) =>
        entry !== "file"
      );
      assert.deepEqual(left, [], "nothing is left behind");
    }));
}
