// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, DecodeFailure, Instruction, MAX_LENGTH, undefinedRow } from "./mod.ts";

const hexBytes = (hex: string) =>
  Uint8Array.from(hex.replace(/\s+/g, "").match(/../g) ?? [], (h) => parseInt(h, 16));
function one(hex: string, code32 = true): Instruction {
  const ins = new Instruction();
  const bytes = hexBytes(hex);
  assert.equal(decode(bytes, 0, bytes.length, code32, ins), bytes.length, hex);
  return ins;
}

Deno.test("any bytes decode to a length of 1 to 15, or are too short or too long", () => {
  const ins = new Instruction();
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 24 }), fc.boolean(), (bytes, code32) => {
      const length = decode(bytes, 0, bytes.length, code32, ins);
      assert.ok(length <= MAX_LENGTH);
      if (length > 0) assert.ok(length <= bytes.length && ins.length === length);
      if (length === DecodeFailure.truncated) assert.ok(bytes.length < MAX_LENGTH);
      // More bytes behind an instruction change nothing.
      if (length > 0) {
        const row = ins.row;
        const longer = new Uint8Array(40).fill(0xff);
        longer.set(bytes);
        assert.equal(decode(longer, 0, longer.length, code32, ins), length);
        assert.equal(ins.row, row);
      }
    }),
    { numRuns: 5000 },
  );
});

Deno.test("addresses: SIB, displacements, defaults of the segment, 16-bit forms", () => {
  const sib = one("8b 44 8d 10"); // mov eax, [ebp+ecx*4+0x10]
  assert.deepEqual([sib.base, sib.index, sib.scale, sib.displacement, sib.segment], [5, 1, 2, 0x10, 2]);
  const absolute = one("8b 05 78563412");
  assert.deepEqual([absolute.base, absolute.index, absolute.displacement, absolute.segment], [
    -1,
    -1,
    0x12345678,
    3,
  ]);
  const noBase = one("8b 04 c5 00000080");
  assert.deepEqual([noBase.base, noBase.index, noBase.scale, noBase.displacement], [-1, 0, 3, -0x80000000]);
  const short = one("67 8b 42 fe"); // [bp+si-2]
  assert.deepEqual([short.base, short.index, short.displacement, short.segment, short.address16], [
    5,
    6,
    -2,
    2,
    true,
  ]);
  const fs = one("64 a1 18000000");
  assert.deepEqual([fs.segment, fs.displacement, fs.memory, fs.row.mnemonic], [4, 0x18, true, "mov"]);
});

Deno.test("immediates are sign-extended by their encoding, far pointers have two parts", () => {
  assert.equal(one("83 c0 ff").immediate, -1);
  assert.equal(one("66 05 00 80").immediate, -0x8000);
  assert.equal(one("c2 00 80").immediate, 0x8000);
  const enter = one("c8 34 12 05");
  assert.deepEqual([enter.immediate, enter.second], [0x1234, 5]);
  const far = one("ea 78563412 3300");
  assert.deepEqual([far.immediate, far.second], [0x12345678, 0x33]);
});

Deno.test("LOCK is only for what it can lock, memory operands only where they may be", () => {
  assert.equal(one("f0 01 00").row.mnemonic, "add");
  assert.equal(one("f0 01 c0").row, undefinedRow);
  assert.equal(one("f0 8b 00").row, undefinedRow);
  assert.equal(one("8d c0").row, undefinedRow);
  assert.equal(one("0f c7 08").row.mnemonic, "cmpxchg8b");
});

Deno.test("fifteen bytes are the most, and too few bytes are told from too many", () => {
  const ins = new Instruction();
  const prefixes = new Uint8Array(32).fill(0x66);
  assert.equal(decode(prefixes, 0, 32, true, ins), DecodeFailure.tooLong);
  assert.equal(decode(prefixes, 0, 10, true, ins), DecodeFailure.truncated);
  assert.equal(decode(hexBytes("b8 00 00"), 0, 3, true, ins), DecodeFailure.truncated);
});
