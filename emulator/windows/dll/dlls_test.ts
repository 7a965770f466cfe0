// SPDX-License-Identifier: Apache-2.0
// The tables of all DLLs: argument words, places in memory, forwards, machine code.
import assert from "node:assert/strict";
import { need } from "../../../tests/means.ts";
import { buildDllImage } from "../dll_image.ts";
import { knownNames } from "./define.ts";
import { readImportLibrary } from "./import_library.ts";
import { dlls } from "./mod.ts";

const byName = new Map(dlls.map((dll) => [dll.name, dll]));

const data = (file: string) =>
  JSON.parse(Deno.readTextFileSync(new URL(`known/${file}.json`, import.meta.url))) as Record<string, string>;

const DATA_FILES = [...Deno.readDirSync(new URL("known/", import.meta.url))]
  .map((entry) => entry.name.replace(/\.json$/, "")).filter((name) =>
    name !== "passive" && name !== "runtimes"
  ).sort();

Deno.test("every stdcall function removes what the import libraries say", () => {
  let compared = 0;
  for (const file of DATA_FILES) {
    const dll = byName.get(`${file}.dll`);
    assert.ok(dll, file);
    const names = knownNames(data(file));
    for (const one of dll.functions) {
      const fact = names.get(one.name);
      if (!fact || fact.convention === "data") continue;
      compared++;
      assert.equal(one.convention, fact.convention, `${dll.name}!${one.name}`);
      if (one.convention === "stdcall") assert.equal(one.args, fact.words, `${dll.name}!${one.name}`);
    }
  }
  assert.ok(compared > 2000, `${compared} compared`);
});

Deno.test("well-known functions take the words that their documentation lists", () => {
  const facts: Record<string, Record<string, number>> = {
    "kernel32.dll": {
      CreateFileA: 7,
      CreateProcessW: 10,
      VirtualProtect: 4,
      GetProcAddress: 2,
      InterlockedCompareExchange: 3,
      Sleep: 1,
      GetTickCount64: 0,
    },
    "user32.dll": { CreateWindowExA: 12, MessageBoxW: 4, DialogBoxParamA: 5, GetMessageA: 4 },
    "ntdll.dll": { NtMapViewOfSection: 10, NtProtectVirtualMemory: 5, LdrLoadDll: 4, RtlUnwind: 4 },
    "advapi32.dll": { RegCreateKeyExA: 9, CryptEncrypt: 7 },
    "ws2_32.dll": { connect: 3, WSASend: 7 },
    "oleaut32.dll": { SysAllocString: 1 },
    "gdi32.dll": { BitBlt: 9 },
  };
  for (const [name, functions] of Object.entries(facts)) {
    const dll = byName.get(name)!;
    for (const [one, words] of Object.entries(functions)) {
      const found = dll.functions.find((other) => other.name === one)?.args ?? dll.known?.[one];
      assert.equal(found, words, `${name}!${one}`);
    }
  }
});

Deno.test({
  name: "the committed names are those of the installed import libraries",
  ignore: !need("mingw"),
  fn: () => {
    for (const file of DATA_FILES) {
      const names = knownNames(data(file));
      const library = readImportLibrary(Deno.readFileSync(`/usr/i686-w64-mingw32/lib/lib${file}.a`));
      const words = new Set(library.map((item) => `${item.name} ${item.words}`));
      for (const [name, fact] of names) assert.ok(words.has(`${name} ${fact.words}`), `${file}!${name}`);
    }
  },
});

Deno.test("DLLs lie apart, below the shared user data and above programs", () => {
  const places = dlls.map((dll) => {
    const { sizeOfImage } = buildDllImage(dll, () => 0x3000);
    return { name: dll.name, start: dll.base, end: dll.base + sizeOfImage };
  }).sort((a, b) => a.start - b.start);
  for (const [i, place] of places.entries()) {
    assert.equal(place.start % 0x10000, 0, place.name);
    assert.ok(place.start >= 0x68000000 && place.end <= 0x77ff0000, place.name);
    if (i > 0) {
      assert.ok(places[i - 1].end <= place.start, `${places[i - 1].name} reaches into ${place.name}`);
    }
  }
  assert.equal(new Set(dlls.map((dll) => dll.name)).size, dlls.length);
});

Deno.test("every forward leads to a function", () => {
  for (const dll of dlls) {
    for (const [name, target] of Object.entries(dll.forwards ?? {})) {
      const [host, symbol] = target.split(".");
      let at = byName.get(`${host.toLowerCase()}.dll`);
      const next = at?.forwards?.[symbol];
      // One more step: kernelbase leads to kernel32, which leads to ntdll.
      if (next) at = byName.get(`${next.split(".")[0].toLowerCase()}.dll`);
      const last = next ? next.split(".")[1] : symbol;
      const isThere = at?.functions.some((one) => one.name === last) || Object.hasOwn(at?.known ?? {}, last);
      assert.ok(isThere, `${dll.name}!${name} → ${target}`);
    }
  }
});

Deno.test("machine code ends by removing its arguments", () => {
  let seen = 0;
  for (const dll of dlls) {
    for (const one of dll.functions) {
      if (!one.code) continue;
      seen++;
      const tail = [...one.code.subarray(-3)];
      const endsInJump = one.code.at(-3) === 0xff;
      const words = one.convention === "stdcall" ? one.args : 0;
      if (endsInJump) continue;
      if (words === 0) assert.equal(tail[2], 0xc3, `${dll.name}!${one.name}`);
      else assert.deepEqual(tail, [0xc2, words * 4, 0], `${dll.name}!${one.name}`);
    }
  }
  assert.ok(seen > 20);
});

Deno.test("kernel32 has more than 250 functions with behaviour, and knows nothing of Windows 8", () => {
  const kernel32 = byName.get("kernel32.dll")!;
  assert.ok(kernel32.functions.length > 250);
  for (
    const name of ["GetSystemTimePreciseAsFileTime", "CreateFile2", "WaitOnAddress", "GetCurrentPackageId"]
  ) {
    assert.ok(
      !Object.hasOwn(kernel32.known!, name) && !kernel32.functions.some((one) => one.name === name),
      name,
    );
  }
});
