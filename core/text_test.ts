// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { escapeText, hex8, sayError } from "./text.ts";

Deno.test("text from outside shows no control, no direction change and no line end", () => {
  assert.equal(escapeText("\x1b[2J\r\n\x07\x9b\x7f"), "\\x1b[2J\\x0d\\x0a\\x07\\x9b\\x7f");
  assert.equal(escapeText("evil\u202egpj.exe"), "evil\\u{202e}gpj.exe");
  assert.equal(escapeText("\ud800"), "\\u{d800}");
  assert.equal(escapeText("C:\\größe\\😀.exe"), "C:\\größe\\😀.exe");
  assert.equal(escapeText("abcdef", 3), "abc…");
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(escapeText(text), /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/);
  }));
});

Deno.test("addresses have eight digits, also above 2 GiB", () => {
  assert.equal(hex8(0x1000), "00001000");
  assert.equal(hex8(0xffff_f000), "fffff000");
});

Deno.test("an error is said in one line, whatever was thrown", () => {
  assert.equal(sayError(new Error("a\nb")), "a\\x0ab");
  assert.equal(sayError("text"), "text");
});
