// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import type { ProcessMemory } from "../ports.ts";
import { ExportTables, ProcessModules } from "./modules.ts";

const PEB = 0x7ffd_f000;
const LDR = 0x0020_0000;
const PAGE = 4096;

/** Memory of a process: pages that are there, counted reads. */
class Memory implements ProcessMemory {
  readonly peb = PEB;
  readonly pages = new Map<number, Uint8Array>();
  reads = 0;

  read(address: number, length: number): Uint8Array {
    this.reads++;
    const out = new Uint8Array(Math.min(length, 512 * PAGE));
    for (let done = 0; done < out.length; done++) {
      const at = address + done;
      const page = this.pages.get(at - at % PAGE);
      if (!page) return out.slice(0, done);
      out[done] = page[at % PAGE];
    }
    return out;
  }

  put(address: number, bytes: ArrayLike<number>): void {
    for (let index = 0; index < bytes.length; index++) {
      const at = address + index, page = at - at % PAGE;
      if (!this.pages.has(page)) this.pages.set(page, new Uint8Array(PAGE));
      this.pages.get(page)![at % PAGE] = bytes[index];
    }
  }

  u32(address: number, ...values: number[]): void {
    this.put(address, new Uint8Array(Uint32Array.from(values).buffer));
  }

  /** Puts a ring of list entries, one for each module. */
  list(modules: readonly { readonly base: number; readonly size: number; readonly name: string }[]): void {
    this.u32(PEB + 8, 0x0040_0000, LDR);
    const entry = (index: number) => index < modules.length ? LDR + 0x100 * (index + 1) : LDR + 0xc;
    this.u32(LDR + 0xc, entry(0));
    modules.forEach(({ base, size, name }, index) => {
      const at = entry(index);
      this.u32(at, entry(index + 1));
      this.u32(at + 0x18, base, 0, size);
      this.u32(at + 0x2c, name.length * 2, at + 0x80);
      this.put(at + 0x80, [...name].flatMap((letter) => [letter.charCodeAt(0), 0]));
    });
  }

  /** Puts headers and an export directory at base + 0x1000; a text in place of an RVA is a forward. */
  dll(
    base: number,
    exports: readonly (readonly [name: string | undefined, target: number | string])[],
  ): void {
    this.u32(base, 0x5a4d);
    this.u32(base + 0x3c, 0x80);
    this.u32(base + 0x80, 0x4550, 0x14c);
    this.u32(base + 0x98, 0x10b);
    this.u32(base + 0x98 + 92, 16, 0x1000, 0x1000);
    let text = 0x1800;
    const string = (value: string) => {
      const at = text;
      this.put(base + at, [...new TextEncoder().encode(value), 0]);
      text += value.length + 1;
      return at;
    };
    const named = exports.map(([name], index) => [name, index] as const).filter(([name]) =>
      name !== undefined
    );
    this.u32(base + 0x1010, 7, exports.length, named.length, 0x1100, 0x1300, 0x1500);
    exports.forEach(([, target], index) =>
      this.u32(base + 0x1100 + index * 4, typeof target === "string" ? string(target) : target)
    );
    named.forEach(([name, index], place) => {
      this.u32(base + 0x1300 + place * 4, string(name!));
      this.put(base + 0x1500 + place * 2, [index, 0]);
    });
  }
}

const KERNEL = 0x7680_0000, NT = 0x7720_0000;

function usual(): Memory {
  const memory = new Memory();
  memory.list([
    { base: 0x0040_0000, size: 0x2000, name: "program.exe" },
    { base: NT, size: 0x10_0000, name: "ntdll.dll" },
    { base: KERNEL, size: 0x8_0000, name: "kernel32.dll" },
  ]);
  memory.dll(0x0040_0000, [["Own", 0x1234]]);
  memory.dll(NT, [["RtlAllocateHeap", 0x3000], [undefined, 0x3010]]);
  memory.dll(KERNEL, [["ExitProcess", 0x2000], ["HeapAlloc", "NTDLL.RtlAllocateHeap"], [
    "Lost",
    "GONE.Nothing",
  ]]);
  return memory;
}

Deno.test("functions are known by the module list and its export directories, forwards under both names", () => {
  const modules = new ProcessModules();
  modules.look(usual());
  assert.deepEqual(modules.at(KERNEL + 0x2000), [{ dll: "kernel32.dll", name: "ExitProcess" }]);
  assert.deepEqual(modules.at(NT + 0x3000), [
    { dll: "ntdll.dll", name: "RtlAllocateHeap" },
    { dll: "kernel32.dll", name: "HeapAlloc" },
  ]);
  assert.deepEqual(modules.at(NT + 0x3010), [{ dll: "ntdll.dll", name: 8 }], "by ordinal");
  for (const address of [KERNEL, KERNEL + 0x2001, 0x0040_1234, 0, 0xffff_ffff]) {
    assert.deepEqual(modules.at(address), [], `nothing begins at ${address.toString(16)}`);
  }
});

Deno.test("export tables are read once for all processes; what was missing is completed later", () => {
  const tables = new ExportTables();
  const first = usual();
  new ProcessModules(tables).look(first);
  const second = usual();
  new ProcessModules(tables).look(second);
  assert.ok(second.reads < first.reads, `${second.reads} of ${first.reads} reads`);

  const memory = usual();
  const away = memory.pages.get(KERNEL + 0x1000)!;
  memory.pages.delete(KERNEL + 0x1000);
  const modules = new ProcessModules();
  modules.look(memory);
  assert.deepEqual(modules.at(KERNEL + 0x2000), []);
  memory.pages.set(KERNEL + 0x1000, away);
  modules.look(memory);
  assert.equal(modules.at(KERNEL + 0x2000).length, 1);
});

Deno.test("a list that cannot be followed yields what came before, one that goes round ends", () => {
  const cut = usual();
  cut.u32(LDR + 0x200, 0x0666_0000);
  const some = new ProcessModules();
  some.look(cut);
  assert.deepEqual([some.at(NT + 0x3000).length, some.at(KERNEL + 0x2000).length], [1, 0]);
  const round = usual();
  round.u32(LDR + 0x300, LDR + 0x200);
  new ProcessModules().look(round);
  assert.ok(round.reads < 50);
  new ProcessModules().look({ peb: 0, read: () => new Uint8Array() });
});

Deno.test("names that are no file names are left out", () => {
  for (const name of ["a\\b.dll", "../x.dll", "a\0b", "x y.dll", "\u00e4.dll", "a".repeat(65), "", "con:"]) {
    const memory = usual();
    memory.list([{ base: KERNEL, size: 0x8_0000, name }]);
    const modules = new ProcessModules();
    modules.look(memory);
    assert.deepEqual(modules.at(KERNEL + 0x2000), [], JSON.stringify(name));
  }
});

Deno.test("hostile lists, headers and export tables: bounded, and nothing thrown", () => {
  const word = fc.oneof(
    fc.constantFrom(
      0,
      1,
      0x1000,
      0x1100,
      0x7fff_ffff,
      0x8000_0000,
      0xffff_ffff,
      LDR + 0xc,
      LDR + 0x100,
      NT,
      KERNEL,
    ),
    fc.nat({ max: 0xffff_ffff }),
  );
  const place = fc.oneof(
    fc.constantFrom(PEB, LDR, NT, NT + 0x1000, KERNEL, KERNEL + 0x1000).chain((base) =>
      fc.nat({ max: 1023 }).map((index) => base + index * 4)
    ),
    // Where the fields are that lead somewhere.
    fc.constantFrom(
      ...[LDR + 0xc, LDR + 0x100, LDR + 0x218, LDR + 0x220, LDR + 0x22c, KERNEL + 0x3c, KERNEL + 0xf8],
      ...[KERNEL + 0xfc, ...[16, 20, 24, 28, 32, 36].map((at) => KERNEL + 0x1000 + at)],
    ),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(place, word), { maxLength: 12 }),
      fc.array(place, { maxLength: 2 }),
      (pokes, holes) => {
        const memory = usual();
        for (const [at, value] of pokes) memory.u32(at, value);
        for (const at of holes) memory.pages.delete(at - at % PAGE);
        const modules = new ProcessModules();
        for (let look = 0; look < 3; look++) {
          memory.reads = 0;
          modules.look(memory);
          assert.ok(memory.reads <= 4096 + 1, `${memory.reads} reads`);
        }
        for (const [, value] of pokes) {
          const names = modules.at(value);
          assert.ok(names.length <= 32);
          for (const { dll, name } of names) {
            assert.match(dll, /^[!-~]{1,64}$/);
            assert.ok(typeof name === "number" ? name <= 0xffff : /^[!-~]{1,255}$/.test(name));
          }
        }
      },
    ),
    { numRuns: 300, seed: 11 },
  );
});

Deno.test("tables that claim more than can be kept are not kept", () => {
  const memory = new Memory();
  const modules = Array.from({ length: 300 }, (_, index) => ({
    base: 0x1000_0000 + index * 0x2_0000,
    size: 0x2_0000,
    name: `m${index}.dll`,
  }));
  memory.list(modules);
  // Every export table: all of its extent is functions.
  for (const { base } of modules) {
    memory.dll(base, []);
    memory.u32(base + 0x98 + 96, 0x1000, 0xffff);
    memory.u32(base + 0x1010, 1, 0xffff_ffff, 0xffff_ffff, 0x1000, 0x1000, 0x1000);
    for (let page = 1; page < 16; page++) memory.u32(base + page * PAGE, ...Array(64).fill(0x100 + page));
  }
  const known = new ProcessModules();
  known.look(memory);
  assert.ok(memory.reads < 4200);
});

Deno.test("memory without end: lists and export tables of any length are walked to a bound", () => {
  // Every page is there; every word of a list entry leads to the next one, every module to the same DLL.
  const dll = usual();
  let reads = 0, bytes = 0, next = 0x1000_0000;
  const endless = (missing: boolean): ProcessMemory => ({
    peb: PEB,
    read: (address, length) => {
      reads++;
      if (length > 0x60) {
        if (length > PAGE && missing) return new Uint8Array();
        bytes += length;
        // Headers with an export directory of the greatest length.
        const head = dll.read(KERNEL, PAGE);
        if (length === PAGE) new DataView(head.buffer).setUint32(0x98 + 100, 0x10_0000, true);
        return length === PAGE ? head : new Uint8Array(length);
      }
      const view = new DataView(new ArrayBuffer(length));
      for (let at = 0; at + 4 <= length; at += 4) view.setUint32(at, address + 0x40, true);
      if (length === 0x34) {
        view.setUint32(0x18, next += 0x20_0000, true);
        view.setUint32(0x20, 0x20_0000, true);
        view.setUint16(0x2c, 2, true);
      }
      if (length === 2) view.setUint16(0, 0x61, true);
      return new Uint8Array(view.buffer);
    },
  });
  new ProcessModules().look(endless(false));
  assert.ok(reads < 256 * 5, `${reads} reads`);
  assert.ok(bytes < 256 * 0x11_0000, `${bytes} bytes`);
  reads = 0;
  next = 0x1000_0000;
  new ProcessModules().look(endless(true));
  assert.ok(reads > 4000 && reads <= 4096, `${reads} reads of what is missing`);
});
