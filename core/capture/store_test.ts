// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError } from "../ports.ts";
import { sha256 } from "../hash.ts";
import { page } from "../testing/scripted.ts";
import { FolderFiles, MemoryFiles } from "./files.ts";
import { PageStore } from "./store.ts";

function withFolder(body: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const mode = (path: string) => Deno.statSync(path).mode! & 0o777;

Deno.test("the page store keeps each content of each address once", () => {
  const files = new MemoryFiles();
  const store = new PageStore(files, 10);
  const a = page("a");
  const first = store.put(0x401000, a);
  assert.deepEqual(first, { sha256: sha256(a), fresh: true });
  assert.deepEqual(store.put(0x401000, page("a")), { ...first, fresh: false });
  assert.equal(store.put(0x402000, a)?.fresh, true);
  assert.equal(store.put(0x401000, page("b"))?.fresh, true);
  assert.equal(store.put(0x401000, a)?.fresh, false, "an earlier content comes back");
  assert.deepEqual(
    [...files.files.keys()].sort(),
    [
      `pages/00401000-${sha256(a)}.bin`,
      `pages/00401000-${sha256(page("b"))}.bin`,
      `pages/00402000-${sha256(a)}.bin`,
    ].sort(),
  );
  a.fill(1);
  assert.deepEqual(
    files.files.get(`pages/00402000-${sha256(page("a"))}.bin`),
    page("a"),
    "kept apart from the buffer",
  );
});

Deno.test("a full page store refuses what is new and knows what it has", () => {
  const store = new PageStore(new MemoryFiles(), 1);
  assert.equal(store.put(0x1000, page("a"))?.fresh, true);
  assert.equal(store.put(0x1000, page("b")), undefined);
  assert.equal(store.put(0x1000, page("a"))?.fresh, false);
  assert.equal(store.size, 1);
});

Deno.test("the page store takes pages only", () => {
  const store = new PageStore(new MemoryFiles(), 1);
  for (const size of [0, 1, 4095, 4097]) assert.throws(() => store.put(0, new Uint8Array(size)), /not 4096/);
});

Deno.test("a page that could not be written is not known", () => {
  const files = new MemoryFiles();
  let full = true;
  const store = new PageStore({
    write: (...args) => {
      if (full) throw new Error("no space left");
      files.write(...args);
    },
    events: () => {},
    report: () => {},
    html: () => {},
    close: () => {},
  }, 10);
  assert.throws(() => store.put(0x1000, page("a")), /no space/);
  full = false;
  assert.equal(store.put(0x1000, page("a"))?.fresh, true);
});

Deno.test("captures are written for their owner alone, whole, under their own names", () =>
  withFolder((folder) => {
    const path = join(folder, "out");
    const files = new FolderFiles(path);
    const name = `00401000-${sha256(page("a"))}`;
    files.write("pages", `${name}.bin`, page("a"));
    files.write("images", "00400000-3.exe", page("i"));
    files.write("images", "00400000-3-2.exe", page("i"));
    files.events(['{"a":1}', '{"b":2}']);
    files.events(['{"c":3}']);
    files.report("{}\n");
    files.close();
    for (const kind of ["", "pages", "regions", "images"]) assert.equal(mode(join(path, kind)), 0o700);
    for (const file of [`pages/${name}.bin`, "images/00400000-3.exe", "events.jsonl", "report.json"]) {
      assert.equal(mode(join(path, file)), 0o600, file);
    }
    assert.deepEqual(Deno.readFileSync(join(path, `pages/${name}.bin`)), page("a"));
    assert.equal(Deno.readTextFileSync(join(path, "events.jsonl")), '{"a":1}\n{"b":2}\n{"c":3}\n');
    assert.deepEqual([...Deno.readDirSync(join(path, "pages"))].length, 1, "no temporary file is left");
  }));

Deno.test("no name but an address, a layer and a hash reaches a path", () =>
  withFolder((folder) => {
    const files = new FolderFiles(folder);
    for (
      const bad of [
        "../x.bin",
        "a/b",
        "",
        ".bin",
        "00401000-1.exe/../../x",
        "0040100-1.exe",
        "00401000-1.exe\n",
      ]
    ) {
      for (const kind of ["pages", "regions", "images"] as const) {
        assert.throws(() => files.write(kind, bad, page("a")), /bad name/, bad);
      }
    }
    files.close();
  }));

Deno.test("a folder holds one run; what is not umbra's stays", () =>
  withFolder((folder) => {
    const old = new FolderFiles(folder);
    old.write("images", "00400000-1.exe", page("old"));
    old.events(["old"]);
    old.close();
    Deno.writeTextFileSync(join(folder, "images", "notes.txt"), "mine");
    Deno.writeTextFileSync(join(folder, "pages", ".7.tmp"), "left by a killed run");
    new FolderFiles(folder).close();
    assert.deepEqual([...Deno.readDirSync(join(folder, "images"))].map((entry) => entry.name), ["notes.txt"]);
    assert.deepEqual([...Deno.readDirSync(join(folder, "pages"))], []);
    assert.equal(Deno.readTextFileSync(join(folder, "events.jsonl")), "");
  }));

Deno.test("captures follow no link out of their folder", () =>
  withFolder((folder) => {
    const outside = join(folder, "outside");
    Deno.mkdirSync(outside);
    const out = join(folder, "out");
    Deno.mkdirSync(out);
    Deno.symlinkSync(outside, join(out, "pages"));
    assert.throws(() => new FolderFiles(out), InputError);
    Deno.removeSync(join(out, "pages"));
    Deno.writeTextFileSync(join(outside, "victim"), "v");
    Deno.symlinkSync(join(outside, "victim"), join(out, "events.jsonl"));
    assert.throws(() => new FolderFiles(out), InputError);
    assert.equal(Deno.readTextFileSync(join(outside, "victim")), "v");
  }));

Deno.test("a folder that cannot be used is the user's error", () =>
  withFolder((folder) => {
    Deno.writeTextFileSync(join(folder, "file"), "");
    assert.throws(() => new FolderFiles(join(folder, "file")), InputError);
    assert.throws(() => new FolderFiles(join(folder, "file", "below")), InputError);
  }));
