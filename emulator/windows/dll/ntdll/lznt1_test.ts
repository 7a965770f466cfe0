// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { decompressLznt1 } from "./lznt1.ts";

/** One chunk of literals. */
function literal(data: Uint8Array): Uint8Array {
  return Uint8Array.of((data.length - 1) & 255, 0x30 | ((data.length - 1) >>> 8), ...data);
}

Deno.test("chunks that are not compressed come out as they are", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 4096 }), (data) => {
    assert.deepEqual(decompressLznt1(literal(data), 8192), data);
    assert.deepEqual(decompressLznt1(literal(data), 10), data.slice(0, 10));
  }));
});

Deno.test("a match may overlap its own output", () => {
  // "a", then distance 1, length 7.
  assert.deepEqual(
    decompressLznt1(Uint8Array.of(3, 0xb0, 2, 0x61, 4, 0), 64),
    new TextEncoder().encode("aaaaaaaa"),
  );
});

Deno.test("damaged streams are refused and never overrun", () => {
  assert.equal(decompressLznt1(Uint8Array.of(0xff, 0xbf, 1), 64), undefined);
  assert.equal(decompressLznt1(Uint8Array.of(2, 0xb0, 1, 0, 0), 64), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 500 }), (data, capacity) => {
      assert.ok((decompressLznt1(data, capacity)?.length ?? 0) <= capacity);
    }),
  );
});
