// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { callTable, findCalls } from "./calls.ts";
import type { AddressSpace } from "./imports.ts";
import type { ImportName } from "./modules.ts";

const BASE = 0x40_0000, HEAP = 0x20_0000;
const EXIT = 0x7680_1000, BOX = 0x7700_3000;
const FUNCTIONS = new Map<number, ImportName[]>([
  [EXIT, [{ dll: "kernel32.dll", name: "ExitProcess" }]],
  [BOX, [{ dll: "user32.dll", name: 7 }]],
]);

const word = (value: number) => [...new Uint8Array(Uint32Array.of(value).buffer)];

/** A page of the heap: at 0 code that jumps to a function, at 16 the address of another. */
const heap = new Uint8Array(4096);
heap.set([0xe9, ...word(EXIT - (HEAP + 5))]);
heap.set(word(BOX), 16);

const space: AddressSpace = {
  names: { at: (address) => FUNCTIONS.get(address) ?? [] },
  page: (va) => va === HEAP ? heap : undefined,
};

/** An image with code at 0x1000. */
function image(code: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(0x3000);
  bytes.set(code, 0x1000);
  return bytes;
}

const to = (opcode: number, target: number, at: number) => [opcode, ...word(target - (BASE + at + 5))];
const CODE = [
  ...to(0xe8, BOX, 0x1000), // call
  ...to(0xe9, HEAP, 0x1005), // jmp to code of the heap
  ...[0xff, 0x15, ...word(HEAP + 16)], // call [heap]
  ...to(0xe8, BASE + 0x2000, 0x1010), // call of its own
  ...[0xff, 0x25, ...word(BASE + 0x2000)], // jmp [its own table]
  ...to(0xe8, BOX + 1, 0x101b), // beside a function
];

Deno.test("calls that leave the image for functions lead through one table afterwards", () => {
  const bytes = image(CODE);
  const calls = findCalls(bytes, [{ start: 0x1000, end: 0x2000 }], BASE, space);
  assert.deepEqual(calls.map(({ at, how, names }) => [at, how, names[0].name]), [
    [0x1001, "relative", 7],
    [0x1006, "relative", "ExitProcess"],
    [0x100c, "through", 7],
  ]);
  assert.deepEqual(
    findCalls(bytes, [{ start: 0x2000, end: 0x3000 }], BASE, space),
    [],
    "looks where it is told",
  );

  const table = callTable(calls, 0x3000, BASE);
  assert.deepEqual(table.slots.map(({ rva, names }) => [rva, names[0].name]), [
    [0x3000, "ExitProcess"],
    [0x3004, 7],
  ]);
  const view = new DataView(bytes.buffer);
  for (const [rva, value] of table.patches) view.setUint32(rva, value, true);
  // The first two go to a jump through the slot, the third through the slot itself.
  const stubs = new DataView(table.bytes.buffer);
  for (const [at, slot] of [[0x1001, 0x3004], [0x1006, 0x3000]]) {
    const stub = at + 4 + view.getInt32(at, true) - 0x3000;
    assert.equal(stubs.getUint16(stub, true), 0x25ff);
    assert.equal(stubs.getUint32(stub + 2, true), BASE + slot);
  }
  assert.equal(view.getUint32(0x100c, true), BASE + 0x3004);
  assert.deepEqual(callTable([], 0x3000, BASE), { bytes: new Uint8Array(0), slots: [], patches: [] });
});

Deno.test("any bytes as code: every patch lies in the image, every slot in the table", () => {
  const piece = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }).map((bytes) => [...bytes]),
    fc.constantFrom([0xe8], [0xe9], [0xff, 0x15], [0xff, 0x25], word(HEAP), word(HEAP + 0xffe), word(EXIT)),
    fc.nat({ max: CODE.length }).map((at) => CODE.slice(at)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.uint8Array({ maxLength: 64 }), (pieces, page) => {
      const bytes = image(pieces.flat());
      bytes.set([0xe8, 0xff, 0x15], bytes.length - 3);
      const hostile = new Uint8Array(4096);
      hostile.set(page);
      const wild = {
        ...space,
        page: (va: number) => va === HEAP ? heap : va % 8192 === 0 ? hostile : undefined,
      };
      const calls = findCalls(bytes, [{ start: 0x1000, end: bytes.length }], BASE, wild);
      const { slots, patches, bytes: table } = callTable(calls, bytes.length, BASE);
      assert.equal(patches.length, calls.length);
      for (const [rva] of patches) assert.ok(rva >= 0x1000 && rva + 4 <= bytes.length);
      for (const { rva } of slots) assert.ok(rva >= bytes.length && rva + 4 <= bytes.length + table.length);
    }),
    { numRuns: 300, seed: 4 },
  );
});
