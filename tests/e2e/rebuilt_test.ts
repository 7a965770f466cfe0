// SPDX-License-Identifier: Apache-2.0
// Rebuilt images used as what they are said to be: programs that load and run. Each calls what the program that was
// packed calls.
import assert from "node:assert/strict";
import { disassemble } from "../../core/disassemble.ts";
import { need } from "../means.ts";
import { clamFile, PESPIN_ENTRY, repairedWwpack, setEntryPoint } from "./clam.ts";
import { readPe } from "./pe.ts";
import { buildProgram, run } from "./programs.ts";
import { type Behaviour, behaviour, provenImage } from "./proof.ts";
import { withFolder } from "./umbra.ts";
import { unpack, type Unpacked } from "./unpack.ts";

const ignore = !need("clamav-testfiles");

function unpackFile(packer: string): Promise<Unpacked> {
  return unpack({ name: `clam-${packer}.exe`, bytes: clamFile(packer) });
}

/** What the program does that all test files pack: one carries it in the clear. */
function host(): Behaviour {
  const wanted = behaviour(clamFile("fsg"));
  assert.equal(wanted.reason, "exited");
  assert.match(wanted.output, /ClamAV/);
  assert.deepEqual(wanted.calls.map(({ name }) => name.split("!")[1]), [
    "GetCommandLineA",
    "GetStartupInfoA",
    "GetModuleHandleA",
    "MessageBoxA",
    "ExitProcess",
  ]);
  return wanted;
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

/** Packer, layer of the image that behaves as the program, and instructions of the packer's own that come before. */
const PACKED: readonly (readonly [packer: string, layer: number, before: number])[] = [
  ["upx", 1, 0],
  ["mew", 1, 0],
  ["upack", 2, 0],
  ["petite", 4, 2],
  ["aspack", 1, 0],
];

for (const [packer, layer, before] of PACKED) {
  Deno.test({
    name: `clam-${packer}.exe: its rebuilt image calls what the host program calls`,
    ignore,
    fn: async () => {
      const wanted = host();
      const unpacked = await unpackFile(packer);
      const found = provenImage(wanted, unpacked.imagesAt(0x400000));
      assert.deepEqual(found?.proof, { outcome: "same", calls: wanted.calls.length, before: 0 });
      const { image } = found!;
      assert.equal(image.layer, layer);
      // Instruction by instruction the same program, behind what is left of the stub.
      assert.equal(found!.behaviour.instructions, wanted.instructions + before);
      const names = imports(image.bytes).join(" ");
      for (const one of imports(clamFile("fsg"))) {
        assert.ok(names.includes(one), `${one} is not among ${names}`);
      }
    },
  });
}

Deno.test({
  name: "every rebuilt image is one to objdump, and to a disassembler at its entry point",
  ignore: ignore || !need("mingw"),
  fn: () =>
    withFolder(async (folder) => {
      for (const [packer] of PACKED) {
        const unpacked = await unpackFile(packer);
        for (const { id, bytes } of unpacked.imagesAt(0x400000)) {
          const file = `${folder}/${packer}-${id.slice("image:".length)}.exe`;
          Deno.writeFileSync(file, bytes);
          const said = await run("i686-w64-mingw32-objdump", ["-x", file]);
          const { entryPoint, sections } = readPe(bytes);
          assert.match(
            said,
            new RegExp(`^start address 0x${(0x400000 + entryPoint).toString(16).padStart(8, "0")}$`, "m"),
          );
          assert.match(said, /^\tDLL Name: kernel32\.dll$/mi);
          const listed = said.slice(said.indexOf("Sections:")).match(
            /^ +\d+ .*[0-9a-f]{8} {2}[0-9a-f]{8} {2}[0-9a-f]{8} {2}[0-9a-f]{8}/gm,
          );
          assert.equal(listed?.length, sections.length);
          const home = sections.find(({ rva, bytes }) =>
            entryPoint >= rva && entryPoint < rva + bytes.length
          );
          assert.ok(home?.access.execute, `${id}: the entry point is in no section of code`);
          const code = home.bytes.subarray(entryPoint - home.rva, entryPoint - home.rva + 64);
          assert.ok((await disassemble(code, 0x400000 + entryPoint, 4)).length === 4, id);
        }
      }
    }),
});

Deno.test({
  name: "clam-yc.exe leaves before it runs what it restored: the image of the end runs all the same",
  ignore,
  fn: async () => {
    const unpacked = await unpackFile("yc");
    const last = unpacked.report.images.findLast(({ va }) => va === 0x400000)!;
    assert.match(last.notes.join(), /nothing ran there after it was written: the entry point is/);
    assert.match(last.notes.join(), /imports rebuilt/);
    const image = unpacked.imagesAt(0x400000).find(({ id }) => id === last.id)!;
    assert.equal(behaviour(image.bytes).reason, "exited");
  },
});

Deno.test({
  name: "clam-pespin.exe: its rebuilt image calls what the host program calls, once its entry point is set",
  ignore,
  fn: async () => {
    const wanted = host();
    const { bytes } = (await unpackFile("pespin")).imagesAt(0x400000).pop()!;
    // PESpin runs the program's first instructions in its own section, with nothing that tells them apart.
    setEntryPoint(bytes, PESPIN_ENTRY);
    const found = provenImage(wanted, [{ bytes }]);
    assert.deepEqual(found?.proof, { outcome: "same", calls: wanted.calls.length, before: 0 });
  },
});

Deno.test({
  name:
    "a program left in place, its data unpacked: the image begins where the stack was as at the first entry point",
  ignore,
  fn: async () => {
    const wanted = host();
    const unpacked = await unpack({ name: "wwpack.exe", bytes: repairedWwpack() });
    const found = provenImage(wanted, unpacked.imagesAt(0x400000));
    assert.deepEqual(found?.proof, { outcome: "same", calls: wanted.calls.length, before: 0 });
    assert.equal(found!.behaviour.instructions, wanted.instructions);
    const { notes } = unpacked.report.images.find(({ id }) => id === found!.image.id)!;
    assert.match(notes.join(), /the entry point is where the stack was as at the first entry point/);
  },
});

Deno.test({
  name: "calls straight to functions, through code of the heap and through a word of it come back as imports",
  ignore: !need("mingw"),
  fn: () =>
    withFolder(async (folder) => {
      const { file } = await buildProgram({
        name: "direct",
        what: "",
        source: "direct.c",
        compiler: "gcc",
        options: ["-O1"],
        needs: ["mingw"],
        shows: /./,
      }, folder);
      const bytes = Deno.readFileSync(file);
      const wanted = behaviour(bytes);
      // What the C library does by TLS callbacks comes before and after them.
      const work = ({ calls }: Behaviour) => {
        const end = calls.findIndex(({ name }) => name === "kernel32.dll!ExitProcess");
        return calls.slice(Math.max(0, end - 2), end + 1);
      };
      const last = work(wanted);
      assert.deepEqual(last.map(({ name }) => name), [
        "user32.dll!MessageBoxA",
        "kernel32.dll!GetTickCount",
        "kernel32.dll!ExitProcess",
      ]);
      const unpacked = await unpack({ name: "direct.exe", bytes });
      const hop = unpacked.report.layers.find(({ hopTo }) => hopTo >= 0x400000 && hopTo < 0x500000)!;
      // The heap was captured when it ran, which is after that: the image of the end knows where it leads.
      const image = unpacked.imagesAt(0x400000).pop()!;
      assert.equal(readPe(image.bytes).entryPoint + 0x400000, hop.hopTo);
      const { notes } = unpacked.report.images.find(({ id }) => id === image.id)!;
      assert.match(notes.join(), /direct calls 3/);
      const got = behaviour(image.bytes);
      assert.deepEqual([got.reason, got.detail, got.output], [wanted.reason, wanted.detail, wanted.output]);
      // The time it tells is not the same: it runs sooner.
      const told = (calls: readonly (typeof last)[number][]) =>
        calls.map(({ name, values }) => [name, values.slice(0, -1)]);
      assert.deepEqual(told(work(got)), told(last));
    }),
});
