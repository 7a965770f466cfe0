// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { sha256 } from "../../../core/hash.ts";
import { textPages } from "./elf.ts";

Deno.test("pages of code are told by address: from the page the segment begins in, the last one filled with zeroes", () => {
  const file = new Uint8Array(0x2800), view = new DataView(file.buffer);
  file.forEach((_, i) => file[i] = i % 251);
  view.setUint32(28, 52, true);
  view.setUint16(44, 2, true);
  // Type, offset, address, physical address, bytes in the file, bytes in memory, flags.
  const header = (at: number, ...words: number[]) =>
    words.forEach((word, i) => view.setUint32(at + i * 4, word, true));
  header(52, 1, 0, 0x804_8000, 0, 0x1000, 0x1000, 4);
  header(84, 1, 0x1400, 0x804_9400, 0, 0x1400, 0x1400, 5);
  const last = new Uint8Array(4096);
  last.set(file.subarray(0x2000));
  assert.deepEqual([...textPages(file)], [
    [0x804_9000, sha256(file.subarray(0x1000, 0x2000))],
    [0x804_a000, sha256(last)],
  ]);
});
