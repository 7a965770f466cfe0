// SPDX-License-Identifier: Apache-2.0
// Programs packed by real packers, from Debian's clamav-testfiles: one host program, whose .text is known.
import assert from "node:assert/strict";
import { need } from "../means.ts";
import { clamFile, clamPath, repairedWwpack } from "./clam.ts";
import { anyHolds, emulate, indexOf, umbra, withFolder, yaraRule } from "./umbra.ts";
import { readPe } from "./pe.ts";

const ignore = !need("clamav-testfiles");

/** The host's `.text`: 0xf7 bytes at RVA 0x1000 of the file that carries it in the clear. */
function hostText(): Uint8Array {
  const text = readPe(clamFile("fsg")).sections[0];
  assert.equal(text.rva, 0x1000);
  return text.bytes.subarray(0, 0xf7);
}

/** 32 bytes of it that hold no address. */
function hostSignature(): Uint8Array {
  return hostText().subarray(0x42, 0x62);
}

for (const packer of ["upx", "mew"]) {
  Deno.test({
    name: `clam-${packer}.exe: the host's code stands in pages, regions and rebuilt images`,
    ignore,
    fn: () =>
      withFolder(async (folder) => {
        const { output } = await emulate(clamPath(packer), folder, "--no-scan");
        const text = hostText();
        const pages = output.pagesAt(0x401000);
        assert.ok(
          pages.some((page) => indexOf(page, text) === 0),
          "no page at 00401000 begins with the host's .text",
        );
        assert.ok(anyHolds(output.files("regions"), text), "no region holds the host's .text");
        const code = output.files("images").some(({ bytes }) =>
          readPe(bytes).sections.some((section) =>
            section.access.execute && indexOf(section.bytes, text) >= 0
          )
        );
        assert.ok(code, "no rebuilt image holds the host's .text in an executable section");
        const { pages: counts } = output.report;
        assert.equal(counts.seen, counts.stored + counts.deduplicated + counts.lost);
        assert.equal(counts.lost, 0);
      }),
  });

  Deno.test({
    name: `clam-${packer}.exe: a rule on the host's code is blind to the file and sees the emulation`,
    ignore,
    fn: () =>
      withFolder(async (folder) => {
        const rules = `${folder}/host.yar`;
        Deno.writeTextFileSync(rules, yaraRule("host_code", hostSignature()));
        const file = clamPath(packer);
        const scanned = await umbra(["scan", file, "--engine", "yara", "--rules", rules]);
        assert.equal(scanned.code, 0, scanned.stdout + scanned.stderr);
        const { code, output } = await emulate(file, `${folder}/out`, "--engine", "yara", "--rules", rules);
        assert.equal(code, 1);
        const { report } = output;
        assert.equal(report.verdict, "malicious");
        const kinds = new Set(
          report.findings.filter(({ threat }) => threat?.includes("host_code")).map(({ unit }) =>
            unit.split(":")[0]
          ),
        );
        assert.deepEqual([...kinds].sort(), ["image", "page", "region"]);
      }),
  });
}

for (const packer of ["aspack", "petite", "upack", "yc", "pespin"]) {
  // PESpin changes the code it packs: the first 41 bytes run elsewhere, and calls go through its own tables.
  const least = packer === "pespin" ? 0.825 : 1;
  Deno.test({
    name: `clam-${packer}.exe: runs to its end, and the host's code stands in a page`,
    ignore,
    fn: () =>
      withFolder(async (folder) => {
        const { output } = await emulate(clamPath(packer), folder, "--no-scan");
        const { report } = output;
        assert.equal(report.end.reason, "exited", report.end.detail);
        assert.deepEqual(report.missing, []);
        const text = hostText();
        const same = output.pagesAt(0x401000)
          .map((page) => text.filter((byte, index) => page[index] === byte).length / text.length);
        assert.ok(Math.max(...same) >= least, `${same}`);
      }),
  });
}

Deno.test({
  name: "clam-wwpack.exe: overruns itself as it says, and runs to its end with 4 more bytes of distance",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const text = hostText();
      const asItIs = await emulate(clamPath("wwpack"), `${folder}/as-it-is`, "--no-scan");
      assert.equal(asItIs.output.report.end.reason, "crashed");
      assert.match(asItIs.output.report.end.detail, /exception 0xc0000005 at 0x4050b5/);
      assert.ok(asItIs.output.pagesAt(0x401000).some((page) => indexOf(page, text) === 0));

      Deno.writeFileSync(`${folder}/repaired.exe`, repairedWwpack());
      const { output } = await emulate(`${folder}/repaired.exe`, `${folder}/repaired`, "--no-scan");
      assert.equal(output.report.end.reason, "exited", output.report.end.detail);
      assert.deepEqual(output.report.missing, []);
      assert.ok(output.pagesAt(0x401000).some((page) => indexOf(page, text) === 0));
      // What it packs beside the program: the archive that ends its section.
      assert.ok(
        anyHolds(output.files("pages"), Uint8Array.of(0x50, 0x4b, 0x05, 0x06, 0, 0, 0, 0, 1, 0, 1, 0, 0x43)),
      );
    }),
});

Deno.test({
  name: "the host program in the clear runs to its end",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const { code, output } = await emulate(clamPath("fsg"), folder);
      assert.equal(code, 0);
      const { report } = output;
      assert.equal(report.end.reason, "exited");
      assert.equal(report.verdict, "clean");
      assert.deepEqual(report.missing, []);
    }),
});

for (const packer of ["upx", "mew", "petite"]) {
  Deno.test({
    name: `clam-${packer}.exe: two runs give the same bytes, order and counts`,
    ignore,
    fn: () =>
      withFolder(async (folder) => {
        const outputs = [];
        for (const name of ["first", "second"]) {
          const { output } = await emulate(clamPath(packer), `${folder}/${name}`);
          outputs.push({
            // The one field that may differ is the time it took.
            report: JSON.parse(JSON.stringify(output.report, (key, value) => key === "seconds" ? 0 : value)),
            events: Deno.readTextFileSync(`${output.folder}/events.jsonl`),
            names: ["pages", "regions", "images"].map((kind) => output.names(kind)),
          });
        }
        assert.deepEqual(outputs[0], outputs[1]);
        assert.ok(outputs[0].events.length > 0);
      }),
  });
}
