// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { Rc4 } from "../advapi32/crypto.ts";
import { formatPicture } from "../kernel32/locale.ts";
import { dateOf, timeOf } from "../kernel32/time.ts";
import { parseAddress } from "../ws2_32.ts";
import { win32OfStatus } from "./errors.ts";
import { matches } from "./filesystem.ts";
import { fromAnsi, lower, toAnsi, upper } from "./text.ts";

Deno.test("Windows-1252 keeps every byte", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual(toAnsi(fromAnsi(all)), all);
  assert.equal(fromAnsi(Uint8Array.of(0x80)), "€");
  assert.deepEqual(toAnsi("Ω"), Uint8Array.of(0x3f));
});

Deno.test("changing case keeps the length", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (value) => {
    assert.equal(lower(value).length, value.length);
    assert.equal(upper(value).length, value.length);
  }));
  assert.equal(upper("straße é"), "STRAßE É");
});

Deno.test("wildcards match as FindFirstFile's do, in time", () => {
  assert.ok(matches("*.*", "noext") && matches("a?c*", "ABCdef") && matches("*.exe", "x.EXE"));
  assert.ok(!matches("a?c", "abbc") && !matches("*.exe", "x.exe.txt"));
  assert.ok(!matches("*a".repeat(200) + "b", "a".repeat(2000)));
});

Deno.test("file times and dates turn into each other", () => {
  fc.assert(fc.property(fc.bigInt({ min: 0n, max: 0x2000000000000000n }), (value) => {
    const time = value - value % 10000n;
    assert.equal(timeOf(dateOf(time)), time);
  }));
  assert.equal(
    timeOf({ year: 2011, month: 2, day: 29, hour: 0, minute: 0, second: 0, milliseconds: 0 }),
    undefined,
  );
});

Deno.test("date pictures follow GetDateFormat", () => {
  const time = dateOf(129347834400000000n);
  assert.equal(formatPicture("ddd, d MMM yy 'at' h:mm:ss tt", time), "Sun, 21 Nov 10 at 3:24:00 AM");
});

Deno.test("addresses are read like inet_addr", () => {
  assert.equal(parseAddress("127.0.0.1"), 0x0100007f);
  assert.equal(parseAddress("0x7f.1"), 0x0100007f);
  assert.equal(parseAddress("010.0.0.1"), 0x01000008);
  for (const bad of ["", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "a.b", "1..2"]) {
    assert.equal(parseAddress(bad), undefined);
  }
});

Deno.test("RC4 gives the published keystream", () => {
  const text = new TextEncoder();
  const out = new Rc4(text.encode("Key")).apply(text.encode("Plaintext"));
  assert.equal([...out].map((byte) => byte.toString(16).padStart(2, "0")).join(""), "bbf316e8d940af0ad3");
});

Deno.test("status values become Win32 errors", () => {
  assert.deepEqual([0, 0xc0000005, 0xc0000022, 0xc0000008, 0xcfffffff].map(win32OfStatus), [
    0,
    998,
    5,
    6,
    317,
  ]);
});
