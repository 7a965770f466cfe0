// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { need } from "../../tests/means.ts";
import { type ImageMemory, rebuildImage, type RebuiltImage } from "./image.ts";
import { parsePeHeader, peChecksum, type PeHeader, SECTION } from "./pe_header.ts";

const BASE = 0x400000;
const LIMIT = 16 * 1024 * 1024;

/** A section of {@link makeFile}. */
interface Made {
  readonly rva: number;
  readonly bytes: Uint8Array;
  readonly characteristics?: number;
}

/** A PE image as it lies in memory: headers, and sections at their RVAs. */
function makeImage(
  sections: readonly Made[],
  size: number,
  more: {
    readonly peOffset?: number;
    readonly optionalSize?: number;
    readonly directories?: readonly [number, number, number][];
  } = {},
): Uint8Array {
  const { peOffset = 0x80, optionalSize = 224 } = more;
  const image = new Uint8Array(size);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, peOffset, true);
  view.setUint32(peOffset, 0x4550, true);
  view.setUint16(peOffset + 4, 0x14c, true);
  view.setUint16(peOffset + 6, sections.length, true);
  view.setUint16(peOffset + 20, optionalSize, true);
  view.setUint16(peOffset + 22, 0x103, true);
  const optional = peOffset + 24;
  view.setUint16(optional, 0x10b, true);
  view.setUint32(optional + 16, 0x1000, true);
  view.setUint32(optional + 28, 0x10000000, true);
  view.setUint32(optional + 32, 0x1000, true);
  view.setUint32(optional + 36, 0x200, true);
  view.setUint32(optional + 56, size, true);
  view.setUint16(optional + 68, 2, true);
  [0x200000, 0x2000, 0x100000, 0x1000].forEach((value, index) =>
    view.setUint32(optional + 72 + index * 4, value, true)
  );
  view.setUint32(optional + 92, 16, true);
  for (const [index, rva, length] of more.directories ?? []) {
    view.setUint32(optional + 96 + index * 8, rva, true);
    view.setUint32(optional + 100 + index * 8, length, true);
  }
  sections.forEach(({ rva, bytes, characteristics = 0xe0000020 }, index) => {
    const at = optional + optionalSize + index * 40;
    image.set(new TextEncoder().encode(`.s${index}`), at);
    view.setUint32(at + 8, bytes.length, true);
    view.setUint32(at + 12, rva, true);
    view.setUint32(at + 16, 0x200, true);
    view.setUint32(at + 20, 0x200, true);
    view.setUint32(at + 36, characteristics, true);
    image.set(bytes, rva);
  });
  // A section header may stand where bytes of the DOS header do.
  view.setUint32(0x3c, peOffset, true);
  return image;
}

function memoryOf(
  image: Uint8Array,
  more: Partial<ImageMemory> & { readonly without?: readonly number[] } = {},
): ImageMemory {
  const pages = new Map<number, Uint8Array>();
  const base = more.base ?? BASE;
  for (let at = 0; at < image.length; at += 4096) {
    if (!more.without?.includes(at)) pages.set(base + at, image.slice(at, at + 4096));
  }
  return {
    base,
    size: image.length,
    pages,
    executed: new Set(),
    written: new Set(),
    entry: undefined,
    ...more,
  };
}

function rebuilt(memory: ImageMemory): RebuiltImage & { readonly parsed: PeHeader } {
  const image = rebuildImage(memory, LIMIT);
  assert.ok(typeof image !== "string", String(image));
  const parsed = parsePeHeader(image.bytes);
  assert.ok(typeof parsed !== "string", String(parsed));
  checkLoads(image.bytes, parsed);
  return { ...image, parsed };
}

/** What Windows asks of an image (MiCreateImageFileMap's checks), and the checksum. */
function checkLoads(bytes: Uint8Array, header: PeHeader): void {
  const view = new DataView(bytes.buffer);
  const optional = header.peOffset + 24;
  assert.equal(header.sizeOfImage, bytes.length);
  assert.equal(header.imageBase % 0x10000, 0);
  assert.ok(header.entryPoint < header.sizeOfImage);
  assert.ok(header.sections.length >= 1 && header.sections.length <= 96);
  let next = view.getUint32(optional + 60, true);
  assert.ok(next >= header.peOffset + 248 + header.sections.length * 40, "the headers fit");
  assert.equal(next % 4096, 0);
  header.sections.forEach((section, index) => {
    const at = optional + 224 + index * 40;
    assert.equal(section.virtualAddress, next, "sections follow each other");
    assert.ok(section.virtualSize > 0 && section.virtualSize % 4096 === 0);
    next += section.virtualSize;
    const [rawSize, rawOffset] = [view.getUint32(at + 16, true), view.getUint32(at + 20, true)];
    if (rawSize > 0) assert.deepEqual([rawSize, rawOffset], [section.virtualSize, section.virtualAddress]);
  });
  assert.equal(next, header.sizeOfImage);
  for (const { rva, size } of header.directories) assert.ok(rva + size <= header.sizeOfImage);
  assert.equal(view.getUint32(optional + 64, true), slowChecksum(bytes, optional + 64));
}

/** The checksum as imagehlp describes it, in one 64-bit sum. */
function slowChecksum(bytes: Uint8Array, field: number): number {
  const copy = bytes.slice();
  copy.fill(0, field, field + 4);
  let sum = 0n;
  for (let at = 0; at < copy.length; at += 2) sum += BigInt(copy[at] | ((copy[at + 1] ?? 0) << 8));
  while (sum > 0xffffn) sum = (sum & 0xffffn) + (sum >> 16n);
  return Number(sum) + copy.length;
}

const filled = (size: number, value: number) => new Uint8Array(size).fill(value);

Deno.test("an image keeps its bytes, at raw = virtual, and starts where the layer did", () => {
  const image = makeImage([{ rva: 0x1000, bytes: filled(0x1800, 0x90) }, {
    rva: 0x3000,
    bytes: filled(0x1000, 7),
    characteristics: 0xc0000040,
  }], 0x4000);
  const { bytes, parsed, header, holes, notes } = rebuilt(
    memoryOf(image, { entry: BASE + 0x3010, executed: new Set([BASE + 0x3000]) }),
  );
  assert.deepEqual([header, holes, notes], ["kept", 0, []]);
  assert.equal(parsed.entryPoint, 0x3010);
  assert.equal(parsed.imageBase, BASE, "the base it had in memory");
  assert.deepEqual(bytes.subarray(0x1000), image.subarray(0x1000));
  assert.deepEqual(parsed.sections.map(({ virtualAddress, virtualSize }) => [virtualAddress, virtualSize]), [
    [0x1000, 0x2000],
    [0x3000, 0x1000],
  ]);
  assert.equal(parsed.sections[0].characteristics, 0xe0000020, "not seen to run: kept");
  assert.equal(
    parsed.sections[1].characteristics,
    (0xc0000040 | SECTION.code | SECTION.execute) >>> 0,
    "ran",
  );
  assert.deepEqual([parsed.subsystem, parsed.memorySizes], [2, [0x200000, 0x2000, 0x100000, 0x1000]]);
});

Deno.test("pages that were not captured are zero, and counted", () => {
  const image = makeImage([{ rva: 0x1000, bytes: filled(0x3000, 1) }], 0x4000);
  const { bytes, holes } = rebuilt(memoryOf(image, { without: [0x2000] }));
  assert.equal(holes, 1);
  assert.ok(bytes.subarray(0x2000, 0x3000).every((byte) => byte === 0));
  assert.ok(bytes.subarray(0x3000).every((byte) => byte === 1));
});

Deno.test("headers are built when their page was not captured, or is wiped", () => {
  const image = makeImage([{ rva: 0x1000, bytes: filled(0x2000, 1) }], 0x3000);
  for (
    const memory of [
      memoryOf(image, { without: [0], entry: BASE + 0x1004 }),
      memoryOf(image.fill(0, 0, 4096), { entry: BASE + 0x1004 }),
    ]
  ) {
    const { parsed, header, bytes } = rebuilt(memory);
    assert.equal(header, "built");
    assert.deepEqual([parsed.imageBase, parsed.entryPoint], [BASE, 0x1004]);
    assert.deepEqual(bytes.subarray(0x1000), image.subarray(0x1000));
  }
});

Deno.test("a section that was written or ran is said to be, whatever the headers say by then", () => {
  const readOnly = 0x4000_0040;
  const made = (rva: number) => ({ rva, bytes: new Uint8Array(16), characteristics: readOnly });
  const image = makeImage([made(0x1000), made(0x2000), made(0x3000)], 0x5000);
  const { parsed } = rebuilt(
    memoryOf(image, { written: new Set([BASE + 0x2000, BASE + 0x4000]), executed: new Set([BASE + 0x4000]) }),
  );
  assert.deepEqual(parsed.sections.map(({ characteristics }) => characteristics), [
    readOnly,
    (readOnly | SECTION.write) >>> 0,
    (readOnly | SECTION.write | SECTION.execute | SECTION.code) >>> 0,
  ]);
});

Deno.test("code that ran among the headers stays, and new headers go where nothing is", () => {
  const image = makeImage([{ rva: 0x1000, bytes: new Uint8Array(16) }], 0x2000);
  const code = [0xe9, 0x3b, 0x0e, 0x00, 0x00, 0x68, 0xff, 0xff];
  image.set(code, 0x178); // the first section's name
  image.fill(0xcc, 0x400, 0x800);
  const run = rebuilt(memoryOf(image, { executed: new Set([BASE]) }));
  assert.deepEqual([...run.bytes.subarray(0x178, 0x180)], code);
  assert.deepEqual(run.bytes.subarray(0x400, 0x800), image.subarray(0x400, 0x800));
  const header = parsePeHeader(run.bytes) as PeHeader;
  assert.ok(header.peOffset >= 0x800 || header.peOffset + 24 + 224 + 80 <= 0x400, `${header.peOffset}`);
  assert.deepEqual(header.sections.map(({ virtualAddress }) => virtualAddress), [0x1000]);
  assert.ok(header.peOffset > 0x180);

  const still = rebuilt(memoryOf(image));
  assert.equal((parsePeHeader(still.bytes) as PeHeader).peOffset, 0x80);
  image.fill(0xcc, 0x1a0, 0x1000);
  const full = rebuilt(memoryOf(image, { executed: new Set([BASE]) }));
  assert.match(full.notes.join(), /code that ran in the first page was overwritten by the headers/);
});

Deno.test("code at the very start of an allocation stays at its address: the image starts below it", () => {
  const code = filled(0x2000, 0xc3);
  const { parsed, bytes, header, holes } = rebuilt(memoryOf(code, { entry: BASE + 8 }));
  assert.deepEqual([header, holes], ["built", 0]);
  assert.equal(parsed.imageBase + parsed.entryPoint, BASE + 8);
  assert.deepEqual(bytes.subarray(BASE - parsed.imageBase), code);
});

Deno.test("overlapping headers (e_lfanew 0x10, long optional header) are read", () => {
  const image = makeImage([{ rva: 0x1000, bytes: filled(0x1000, 1) }], 0x2000, {
    peOffset: 0x10,
    optionalSize: 328,
  });
  const { header, parsed } = rebuilt(memoryOf(image, { entry: BASE + 0x1000 }));
  assert.equal(header, "kept");
  assert.deepEqual(parsed.sections.map(({ name }) => new TextDecoder().decode(name)), [".s0\0\0\0\0\0"]);
});

Deno.test("names come back into the import addresses from the lookup table; without it the directory goes", () => {
  const section = new Uint8Array(0x1000);
  const view = new DataView(section.buffer);
  // One descriptor: lookup table at 0x1100, DLL name at 0x1200, addresses at 0x1300.
  view.setUint32(0, 0x1100, true);
  view.setUint32(12, 0x1200, true);
  view.setUint32(16, 0x1300, true);
  view.setUint32(0x100, 0x1210, true);
  view.setUint32(0x104, 0x80000011, true);
  section.set(new TextEncoder().encode("KERNEL32.dll"), 0x200);
  section.set(new TextEncoder().encode("ExitProcess"), 0x212);
  view.setUint32(0x300, 0x77001234, true);
  view.setUint32(0x304, 0x77005678, true);
  const make = () =>
    makeImage([{ rva: 0x1000, bytes: section }], 0x2000, {
      directories: [[1, 0x1000, 40], [4, 0x1000, 8], [11, 0x200, 8]],
    });
  const kept = rebuilt(memoryOf(make()));
  const out = new DataView(kept.bytes.buffer);
  assert.deepEqual([out.getUint32(0x1300, true), out.getUint32(0x1304, true), out.getUint32(0x1308, true)], [
    0x1210,
    0x80000011,
    0,
  ]);
  assert.deepEqual(kept.parsed.directories[1], { rva: 0x1000, size: 40 });
  assert.deepEqual(kept.parsed.directories[4], { rva: 0, size: 0 }, "a signature does not outlive a change");
  assert.deepEqual(kept.parsed.directories[11], { rva: 0, size: 0 }, "bindings are stale");

  view.setUint32(0, 0, true);
  const lost = rebuilt(memoryOf(make()));
  assert.deepEqual(lost.parsed.directories[1], { rva: 0, size: 0 });
  assert.deepEqual(
    lost.bytes.subarray(0x1300, 0x1308),
    section.subarray(0x300, 0x308),
    "addresses stay as they were",
  );
  assert.match(lost.notes.join(), /imports not restored: the names of descriptor 0 are gone/);
});

Deno.test("a section table out of order, or with more sections than fit, still gives one that loads", () => {
  const swapped = makeImage([{ rva: 0x2000, bytes: filled(0x1000, 2) }, {
    rva: 0x1000,
    bytes: filled(0x1000, 1),
  }], 0x3000);
  const { parsed, notes } = rebuilt(memoryOf(swapped));
  assert.deepEqual(parsed.sections.map(({ virtualAddress }) => virtualAddress), [0x1000, 0x2000]);
  assert.deepEqual(notes, []);
  const many = Array.from(
    { length: 96 },
    (_, index) => ({ rva: 0x1000 * (index + 1), bytes: filled(16, index) }),
  );
  const crowd = rebuilt(memoryOf(makeImage(many, 0x61000, { peOffset: 0x400 })));
  assert.equal(crowd.parsed.sections.length, 1);
  assert.match(crowd.notes.join(), /one section stands for the whole image/);
});

Deno.test("hostile header values give an image that loads, or words", () => {
  const base = makeImage(
    [{ rva: 0x1000, bytes: filled(0x1000, 1) }, { rva: 0x2000, bytes: filled(0x1000, 2) }],
    0x4000,
    {
      directories: [[1, 0x1000, 40]],
    },
  );
  const hostile = fc.constantFrom(
    0,
    1,
    0xfff,
    0x1000,
    0x1001,
    0x3fff,
    0x4000,
    0x7fffffff,
    0x80000000,
    0xfffff000,
    0xffffffff,
  );
  const patch = fc.record({
    at: fc.integer({ min: 0x80 + 4, max: 0x80 + 24 + 224 + 80 - 4 }),
    value: fc.oneof(hostile, fc.nat(0xffffffff)),
  });
  fc.assert(
    fc.property(
      fc.array(patch, { maxLength: 6 }),
      fc.uniqueArray(fc.constantFrom(0, 0x1000, 0x2000, 0x3000), { maxLength: 3 }),
      fc.constantFrom(undefined, BASE, BASE + 0x1800, 0, 0xffffffff),
      fc.constantFrom(0, 0x4000, 0x10000),
      (patches, without, entry, size) => {
        const image = base.slice();
        for (const { at, value } of patches) new DataView(image.buffer).setUint32(at, value, true);
        rebuilt(memoryOf(image, { without, entry, size, executed: new Set([BASE + 0x1000]) }));
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("any bytes as an allocation give an image that loads, or words", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.uint8Array({ maxLength: 300 })), {
        maxLength: 8,
      }),
      fc.constantFrom(0x10000, 0x20000, BASE, 0x7ffe0000),
      (contents, at) => {
        const pages = new Map(contents.map(([index, bytes]) => {
          const content = new Uint8Array(4096);
          content.set(bytes);
          return [at + index * 4096, content] as const;
        }));
        const image = rebuildImage(
          { base: at, size: 0, pages, executed: new Set(), written: new Set(), entry: undefined },
          LIMIT,
        );
        if (typeof image === "string") return assert.match(image, /no page/);
        const parsed = parsePeHeader(image.bytes);
        assert.ok(typeof parsed !== "string");
        checkLoads(image.bytes, parsed);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("an image is not longer than the limit", () => {
  const pages = new Map([[BASE, filled(4096, 1)], [BASE + LIMIT, filled(4096, 1)]]);
  assert.match(
    String(
      rebuildImage({
        base: BASE,
        size: LIMIT * 2,
        pages,
        executed: new Set(),
        written: new Set(),
        entry: undefined,
      }, LIMIT),
    ),
    /more than/,
  );
  const reserve = memoryOf(makeImage([{ rva: 0x1000, bytes: filled(0x1000, 1) }], 0x2000), {
    size: 0x7000_0000,
  });
  assert.equal(rebuilt(reserve).bytes.length, 0x2000, "memory reserved and never used is cut off");
});

Deno.test({
  name:
    "a program from a linker: its checksum is the linker's, and its rebuilt image reads the same in objdump",
  ignore: !need("mingw"),
  fn: () => {
    const folder = Deno.makeTempDirSync();
    try {
      Deno.writeTextFileSync(
        `${folder}/a.c`,
        "#include <windows.h>\nint main(void) { return GetTickCount() & 1; }\n",
      );
      run("i686-w64-mingw32-gcc", "-O1", "-s", "-o", `${folder}/a.exe`, `${folder}/a.c`);
      const file = Deno.readFileSync(`${folder}/a.exe`);
      const header = parsePeHeader(file) as PeHeader;
      const field = header.peOffset + 24 + 64;
      assert.equal(peChecksum(file, field), new DataView(file.buffer).getUint32(field, true));

      const view = new DataView(file.buffer);
      const memory = new Uint8Array(header.sizeOfImage);
      memory.set(file.subarray(0, 0x400));
      header.sections.forEach(({ virtualAddress }, index) => {
        const at = header.peOffset + 24 + view.getUint16(header.peOffset + 20, true) + index * 40;
        const [size, offset] = [view.getUint32(at + 16, true), view.getUint32(at + 20, true)];
        memory.set(file.subarray(offset, offset + size), virtualAddress);
      });
      const { bytes, notes } = rebuilt(
        memoryOf(memory, { base: header.imageBase, entry: header.imageBase + header.entryPoint }),
      );
      assert.deepEqual(notes, []);
      Deno.writeFileSync(`${folder}/b.exe`, bytes);
      const [before, after] = ["a", "b"].map((name) =>
        run("i686-w64-mingw32-objdump", "-p", `${folder}/${name}.exe`)
      );
      for (
        const line of [
          /^AddressOfEntryPoint.*$/m,
          /^ImageBase.*$/m,
          /^SizeOfImage.*$/m,
          /^Entry 1 .*$/m,
          /^Entry 5 .*$/m,
          /^Subsystem.*$/m,
        ]
      ) {
        assert.equal(line.exec(after)?.[0], line.exec(before)?.[0]);
      }
      const names = (text: string) =>
        [...text.matchAll(/^\s+[0-9a-f]+\s+(?:<none>\s+)?[0-9a-f]+\s+(\w+)\s*$/gm)].map((match) => match[1]);
      const imports = (text: string) =>
        text.slice(text.indexOf("The Import Tables"), text.indexOf("The Function Table"));
      assert.match(imports(after), /GetTickCount/);
      assert.deepEqual(names(imports(after)), names(imports(before)));
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

function run(program: string, ...args: string[]): string {
  const { success, stdout, stderr } = new Deno.Command(program, { args, stdout: "piped", stderr: "piped" })
    .outputSync();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
