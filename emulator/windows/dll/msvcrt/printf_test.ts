// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { realDigits } from "./printf.ts";
import { splitCommandLine } from "./startup.ts";
import { leadingInteger, leadingReal } from "./stdlib.ts";
import { formatTm } from "./time.ts";

Deno.test("doubles are written as the Microsoft runtime writes them", () => {
  assert.equal(realDigits(1234.5, "e", -1), "1.234500e+003");
  assert.equal(realDigits(0, "g", -1), "0");
  assert.equal(realDigits(1e15, "g", -1), "1e+015");
  assert.equal(realDigits(123456, "g", -1), "123456");
  assert.equal(realDigits(1e22, "f", 1), "10000000000000000000000.0");
  assert.equal(realDigits(100, "g", -1, true), "100.000");
  assert.equal(realDigits(0.5, "G", 3), "0.5");
  assert.equal(realDigits(NaN, "f", 6), "1.#QNAN0");
  assert.equal(realDigits(Infinity, "g", -1), "1.#INF");
});

Deno.test("what %.17g writes reads back as the same number", () => {
  fc.assert(fc.property(fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }), (value) => {
    assert.equal(leadingReal(realDigits(value, "g", 17)).value, value + 0);
  }));
});

Deno.test("command lines are split by the rules for quotes and backslashes", () => {
  const cases: Record<string, string[]> = {
    '"C:\\a b\\x.exe" one "two three"': ["C:\\a b\\x.exe", "one", "two three"],
    'x a\\\\"b c" d': ["x", "a\\b c", "d"],
    'x a\\"b \\\\c': ["x", 'a"b', "\\\\c"],
    'x "a""b"': ["x", 'a"b'],
    'x ""': ["x", ""],
  };
  for (const [line, expected] of Object.entries(cases)) {
    assert.deepEqual(splitCommandLine(line), expected, line);
  }
});

Deno.test("splitting ends and loses no plain word", () => {
  fc.assert(fc.property(fc.array(fc.stringMatching(/^[a-z\\]{1,8}$/), { maxLength: 8 }), (words) => {
    assert.deepEqual(splitCommandLine(["x", ...words].join(" ")), ["x", ...words]);
  }));
  fc.assert(fc.property(fc.string(), (line) => assert.ok(splitCommandLine(line).length >= 1)));
});

Deno.test("integers are read like strtol", () => {
  assert.deepEqual(leadingInteger("  -0x1Fg", 0), { value: -31n, used: 7 });
  assert.deepEqual(leadingInteger("0779", 0), { value: 0o77n, used: 3 });
  assert.deepEqual(leadingInteger("0x", 16), { value: 0n, used: 1 });
  assert.deepEqual(leadingInteger("zz", 36), { value: 1295n, used: 2 });
  assert.deepEqual(leadingInteger("-", 10), { value: 0n, used: 0 });
});

Deno.test("strftime knows weeks and days", () => {
  // Sunday 21 November 2010 03:24:00, day 324 of the year.
  const tm = [0, 24, 3, 21, 10, 110, 0, 324, 0];
  assert.equal(
    formatTm("%a %A %b %B %d %H %I %j %m %M %p %S %U %w %W %y %Y %%", tm),
    "Sun Sunday Nov November 21 03 03 325 11 24 AM 00 47 0 46 10 2010 %",
  );
});
