// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { keptDirectories } from "./directories.ts";
import { entryBehindCallbacks } from "./entry.ts";
import { type AddressSpace, findSlots, joinSlots, makeImports, readImports } from "./imports.ts";
import type { ImportName } from "./modules.ts";
import { DIRECTORY, parsePeHeader, type PeHeader } from "./pe_header.ts";
import { followTrampoline } from "./trampoline.ts";

const BASE = 0x0040_0000;
const EXIT = 0x7680_1000, ALLOCATE = 0x7720_2000, BOX = 0x7700_3000;

const FUNCTIONS = new Map<number, ImportName[]>([
  [EXIT, [{ dll: "kernel32.dll", name: "ExitProcess" }]],
  [ALLOCATE, [{ dll: "ntdll.dll", name: "RtlAllocateHeap" }, { dll: "kernel32.dll", name: "HeapAlloc" }]],
  [BOX, [{ dll: "user32.dll", name: 7 }]],
]);

const space = (pages: Record<number, Uint8Array> = {}): AddressSpace => ({
  names: { at: (address) => FUNCTIONS.get(address) ?? [] },
  page: (va) => pages[va],
});

function image(size: number, words: Readonly<Record<number, number>>): Uint8Array {
  const bytes = new Uint8Array(size);
  for (const [rva, word] of Object.entries(words)) {
    new DataView(bytes.buffer).setUint32(Number(rva), word, true);
  }
  return bytes;
}

Deno.test("runs of addresses become descriptors whose tables stay where they are", () => {
  const bytes = image(0x3000, {
    0x1100: EXIT,
    0x1104: ALLOCATE,
    0x110c: BOX,
    0x2000: ALLOCATE,
    0x2006: EXIT,
    0x2010: ALLOCATE,
    0x2014: EXIT,
  });
  const slots = joinSlots([], findSlots(bytes, 0x1000, BASE, space()))!;
  assert.deepEqual(
    slots.map(({ rva, dll, name }) => [rva, dll, name]),
    [
      [0x1100, "kernel32.dll", "ExitProcess"],
      [0x1104, "kernel32.dll", "HeapAlloc"], // forwarded: of the DLL whose table it stands in
      [0x110c, "user32.dll", 7],
      [0x2000, "ntdll.dll", "RtlAllocateHeap"],
      [0x2010, "kernel32.dll", "HeapAlloc"],
      [0x2014, "kernel32.dll", "ExitProcess"],
    ],
  );
  const made = makeImports(slots, bytes.length);
  assert.deepEqual([made.functions, made.dlls, made.tables, made.directorySize], [6, 3, 4, 100]);
  // Read back by the same rules as any file's.
  const whole = new Uint8Array(bytes.length + made.bytes.length);
  whole.set(bytes);
  whole.set(made.bytes, bytes.length);
  const again = readImports(whole, { rva: bytes.length, size: made.directorySize });
  assert.equal(again.outcome, "read");
  if (again.outcome === "read") assert.deepEqual(again.slots, slots);
});

Deno.test("the old directory stands when the addresses say nothing else, and gives way where they do", () => {
  const old = [{ rva: 0x1100, dll: "KERNEL32.dll", name: "ExitProcess" }];
  const found = (words: Record<number, number>) => findSlots(image(0x2000, words), 0x1000, BASE, space());
  assert.equal(joinSlots(old, found({ 0x1100: EXIT })), undefined);
  assert.equal(joinSlots(old, []), undefined);
  assert.deepEqual(joinSlots(old, found({ 0x1100: EXIT, 0x1104: ALLOCATE }))!.map(({ dll }) => dll), [
    "KERNEL32.dll",
    "kernel32.dll",
  ]);
  assert.deepEqual(joinSlots([{ ...old[0], name: "Sleep" }], found({ 0x1100: EXIT })), [
    { rva: 0x1100, dll: "kernel32.dll", name: "ExitProcess" },
  ]);
});

const word = (value: number) => [...new Uint8Array(Uint32Array.of(value).buffer)];

Deno.test("code that leads to a function is followed, by each way protectors go", () => {
  const at = 0x0020_0000;
  const table = 0x0030_0000;
  const ways: Record<string, number[]> = {
    "jmp": [0xe9, ...word(EXIT - (at + 5))],
    "jmp short, jmp": [0xeb, 0x02, 0xcc, 0xcc, 0xe9, ...word(EXIT - (at + 9))],
    "jmp [memory]": [0xff, 0x25, ...word(table)],
    "push, ret": [0x68, ...word(EXIT), 0xc3],
    "mov edx, jmp edx": [0xba, ...word(EXIT), 0xff, 0xe2],
    "mov eax, [memory], jmp eax": [0xa1, ...word(table), 0xff, 0xe0],
    "nop, push, ret": [0x90, 0x68, ...word(EXIT), 0xc3],
    "first bytes copied": [0x8b, 0xff, 0x55, 0x8b, 0xec, 0xe9, ...word(EXIT + 5 - (at + 10))],
    "first bytes copied between jumps": [
      ...[0xeb, 0x01, 0xd9, 0x8b, 0xff, 0x55, 0x8b, 0xec], // jmp +1, junk, the copy
      ...[0xeb, 0x07, 0xff, 0xe9, ...word(EXIT + 5 - (at + 16)), 0xea, 0xeb, 0xf8], // over and back to the jmp
    ],
  };
  for (const [name, code] of Object.entries(ways)) {
    const page = new Uint8Array(4096);
    page.set(code);
    const pages: Record<number, Uint8Array> = { [at]: page, [table]: image(4096, { 0: EXIT }) };
    const found = followTrampoline({ names: space().names, page: (va) => pages[va] }, at);
    assert.deepEqual(found, FUNCTIONS.get(EXIT), name);
    const slots = findSlots(image(0x2000, { 0x1000: at }), 0x1000, BASE, space(pages));
    assert.deepEqual(slots, [{ rva: 0x1000, names: FUNCTIONS.get(EXIT) }], name);
  }
  const round = new Uint8Array(4096);
  round.set([0xeb, 0xfe]);
  assert.deepEqual(followTrampoline({ names: space().names, page: () => round }, at), []);
});

Deno.test("a jump inside the image to one of its own tables is no table", () => {
  const bytes = image(0x3000, { 0x1000: BASE + 0x2000, 0x1104: EXIT });
  bytes.set([0xff, 0x25, ...word(BASE + 0x1104)], 0x2000);
  assert.deepEqual(findSlots(bytes, 0x1000, BASE, space()).map(({ rva }) => rva), [0x1104]);
});

Deno.test("words that are not aligned are places where code goes through them, and no others", () => {
  const bytes = image(0x3000, {});
  const view = new DataView(bytes.buffer);
  for (const rva of [0x2001, 0x2006, 0x200b]) view.setUint32(rva, EXIT, true);
  view.setUint32(0x2010, BOX, true);
  const other = 0x7680_1077; // its first byte is the last one of the aligned word before it
  view.setUint32(0x2013, other, true);
  bytes.set([0xff, 0x15, ...word(BASE + 0x2001), 0xff, 0x25, ...word(BASE + 0x200b)], 0x1003);
  bytes.set([0xff, 0x15, ...word(BASE + 0x2013), 0xff, 0x15, ...word(BASE + 0x2fff)], 0x1010);
  bytes.set([0xff, 0x35, ...word(BASE + 0x2006)], 0x1020); // push [word]: data
  const sleep = [{ dll: "kernel32.dll", name: "Sleep" }];
  const names = { at: (address: number) => address === other ? sleep : FUNCTIONS.get(address) ?? [] };
  const found = findSlots(bytes, 0x1000, BASE, { names, page: () => undefined });
  assert.deepEqual(found.map(({ rva, names }) => [rva, names[0].name]), [
    [0x2001, "ExitProcess"],
    [0x200b, "ExitProcess"],
    [0x2010, 7],
  ]);
});

Deno.test("hostile code, tables and directories: bounded, and nothing thrown", () => {
  const words = fc.array(
    fc.oneof(
      fc.constantFrom(
        EXIT,
        ALLOCATE,
        BOX,
        0,
        0x1000,
        0x1010,
        0x1ffc,
        0xffff_ffff,
        0x8000_0001,
        BASE + 0x1000,
      ),
      fc.nat({ max: 0xffff_ffff }),
    ),
    { minLength: 8, maxLength: 200 },
  );
  fc.assert(
    fc.property(words, fc.uint8Array({ maxLength: 64 }), fc.nat({ max: 0x2100 }), (values, code, rva) => {
      const bytes = image(
        0x2000,
        Object.fromEntries(values.map((value, index) => [0x1000 + index * 4, value])),
      );
      const heap = new Uint8Array(4096);
      heap.set(code);
      const pages = Object.fromEntries(values.map((value) => [value - value % 4096, heap]));
      const found = findSlots(bytes, 0x1000, BASE, space(pages));
      assert.ok(found.every((slot) => slot.rva >= 0x1000 && slot.rva + 4 <= bytes.length));
      const old = readImports(bytes, { rva, size: 0xffff_ffff });
      const slots = joinSlots(old.outcome === "read" ? old.slots : [], found);
      if (!slots) return;
      const made = makeImports(slots, bytes.length);
      assert.equal(made.bytes.length % 4096, 0);
      assert.ok(made.thunks.every(([place]) => place + 4 <= bytes.length));
    }),
    { numRuns: 500, seed: 5 },
  );
});

/** Headers with one directory. */
function header(index: number, rva: number, size: number): PeHeader {
  const bytes = image(0x1000, {
    0: 0x5a4d,
    0x3c: 0x80,
    0x80: 0x4550,
    0x84: 0x14c,
    0x98: 0x10b,
    [0x98 + 92]: 16,
  });
  const view = new DataView(bytes.buffer);
  view.setUint32(0x98 + 96 + index * 8, rva, true);
  view.setUint32(0x98 + 100 + index * 8, size, true);
  const parsed = parsePeHeader(bytes);
  assert.ok(typeof parsed !== "string");
  return parsed;
}

Deno.test("directories stay when their content is there and makes sense", () => {
  const kept = (index: number, size: number, words: Record<number, number>) =>
    keptDirectories(image(0x3000, words), header(index, 0x1000, size), BASE).directories[index].size > 0;
  const { resource, relocation, tls, security } = DIRECTORY;
  assert.ok(kept(resource, 0x100, { 0x100c: 0x1_0000 }));
  assert.ok(!kept(resource, 0x100, {}), "its page was not captured");
  assert.ok(!kept(resource, 0x10, { 0x100c: 0xffff_ffff }));
  assert.ok(kept(relocation, 12, { 0x1000: 0x2000, 0x1004: 12, 0x1008: 0x3004 }));
  assert.ok(!kept(relocation, 12, {}));
  assert.ok(!kept(relocation, 12, { 0x1000: 0x2000, 0x1004: 0xffff_fff0 }));
  assert.ok(!kept(relocation, 12, { 0x1000: 0x9000_0000, 0x1004: 12 }));
  assert.ok(kept(tls, 24, { 0x1000: BASE + 0x2000, 0x1004: BASE + 0x2010, 0x1008: BASE + 0x2020 }));
  assert.ok(!kept(tls, 24, { 0x1008: 0x7000_0000 }));
  assert.ok(!kept(security, 8, {}));
  fc.assert(
    fc.property(
      fc.nat({ max: 15 }),
      fc.nat({ max: 0x3100 }),
      fc.nat(),
      fc.uint8Array({ maxLength: 256 }),
      (i, rva, size, content) => {
        const bytes = new Uint8Array(0x3000);
        bytes.set(content, 0x1000);
        for (const each of keptDirectories(bytes, header(i, rva, size), BASE).directories) {
          assert.ok(each.rva + each.size <= bytes.length);
        }
      },
    ),
    { numRuns: 300, seed: 3 },
  );
});

Deno.test("behind TLS callbacks, the entry point is where the code that hopped jumps to, if that is one place", () => {
  const callbacks = { 0x100c: BASE + 0x1100, 0x1100: BASE + 0x2800 };
  const tls = header(DIRECTORY.tls, 0x1000, 24);
  const hop = { from: BASE + 0x3010, to: BASE + 0x2800, written: new Set([BASE + 0x2000]) };
  const ran = new Set([BASE + 0x2000, BASE + 0x3000]);
  const entry = (
    jumps: readonly number[],
    words: Record<number, number> = callbacks,
    head = tls,
    origin = hop,
  ) => {
    const bytes = image(0x4000, words);
    jumps.forEach((target, index) => {
      const at = 0x3100 + index * 16;
      bytes.set([0xe9, ...word(target - at - 5)], at);
    });
    return entryBehindCallbacks(bytes, BASE, head, origin, ran);
  };
  assert.equal(entry([0x2440]), BASE + 0x2440);
  assert.equal(entry([0x2440, 0x2440, 0x1000, 0x9999_0000]), BASE + 0x2440, "others lead elsewhere");
  assert.equal(entry([0x2440, 0x2444]), undefined, "two places");
  const close = { ...hop, from: BASE + 0x3108 };
  assert.equal(
    entry([0x2440, 0x2444, 0x2448], callbacks, tls, close),
    BASE + 0x2444,
    "the first one behind it",
  );
  assert.equal(entry([0x2440, 0x2800], callbacks, tls, close), undefined, "the hop's own is none");
  assert.equal(entry([0x2800]), undefined, "the hop's own");
  assert.equal(entry([]), undefined);
  assert.equal(entry([0x2440], {}), undefined, "no callbacks");
  const another = { 0x100c: BASE + 0x1100, 0x1100: BASE + 0x2804 };
  assert.equal(entry([0x2440], another), undefined, "the hop leads to no callback");
  assert.equal(entry([0x2440], callbacks, header(DIRECTORY.resource, 0x1000, 24)), undefined, "no directory");
});
