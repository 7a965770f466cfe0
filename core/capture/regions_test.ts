// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { page } from "../testing/scripted.ts";
import { joinPages, runs } from "./regions.ts";

Deno.test("pages are joined where they touch, in order of address", () => {
  const regions = joinPages(
    new Map([[0x3000, page("c")], [0x1000, page("a")], [0x2000, page("b")], [0x5000, page("e")]]),
  );
  assert.deepEqual(regions.map(({ va, bytes }) => [va, bytes.length]), [[0x1000, 0x3000], [0x5000, 0x1000]]);
  assert.deepEqual([0, 0x1000, 0x2000].map((at) => String.fromCharCode(regions[0].bytes[at])), [
    "a",
    "b",
    "c",
  ]);
});

Deno.test("regions cover every page once, and no two touch", () => {
  fc.assert(fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 60 })), (numbers) => {
    const found = runs(numbers.map((number) => number * 4096));
    const covered = found.flatMap(({ va, count }) => Array.from({ length: count }, (_, i) => va / 4096 + i));
    assert.deepEqual(covered, [...numbers].sort((a, b) => a - b));
    found.slice(1).forEach(({ va }, i) => assert.ok(va > found[i].va + found[i].count * 4096));
  }));
});
