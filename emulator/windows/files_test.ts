// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { absolutePath } from "./files.ts";
import { hostsOf, moduleKey } from "./modules.ts";
import { bootKernel } from "./testing/guest.ts";

Deno.test("paths are resolved as Windows does", () => {
  const from = "C:\\Users\\user";
  assert.equal(absolutePath("a.txt", from), "C:\\Users\\user\\a.txt");
  assert.equal(absolutePath("..\\..\\x\\.\\y", from), "C:\\x\\y");
  assert.equal(absolutePath("..\\..\\..\\..\\x", from), "C:\\x");
  assert.equal(absolutePath("\\Windows/system32", from), "C:\\Windows\\system32");
  assert.equal(absolutePath("D:x", from), "D:\\x");
  assert.equal(absolutePath("\\\\?\\C:\\a", from), "C:\\a");
});

Deno.test("modules are known by any way of writing their names", () => {
  for (const name of ["KERNEL32", "kernel32.DLL", "C:\\Windows\\system32\\Kernel32.dll", "x/kernel32"]) {
    assert.equal(moduleKey(name), "kernel32.dll");
  }
  assert.equal(moduleKey("plain."), "plain");
  assert.equal(hostsOf("api-ms-win-core-heap-l1-1-0.dll")[0], "kernel32.dll");
});

Deno.test("files are kept in bounds, and the system directory holds the DLLs", () => {
  const { files } = bootKernel().kernel;
  assert.ok(files.write("C:\\A\\b.txt", new Uint8Array(3)));
  assert.equal(files.read("c:\\a\\B.TXT")?.length, 3);
  assert.deepEqual(files.list("C:\\a\\"), ["b.txt"]);
  assert.equal(files.write("C:\\big", new Uint8Array(257 << 20)), false);
  assert.deepEqual(
    files.read("C:\\Windows\\System32\\KERNEL32.dll")?.subarray(0, 2),
    new Uint8Array([0x4d, 0x5a]),
  );
  assert.ok(files.remove("C:\\a\\b.txt"));
  assert.equal(files.exists("C:\\a\\b.txt"), false);
});
