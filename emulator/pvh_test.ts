// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { InputError } from "../core/ports.ts";
import { startPvhGuest } from "./pvh.ts";

/** An image of one segment at 1 MiB with the entry note before its code. */
function image(code: readonly number[], change: (view: DataView) => void = () => {}): Uint8Array {
  const note = [4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 0x58, 0x65, 0x6e, 0, 0x14, 0, 0x10, 0];
  const bytes = new Uint8Array(0x100), view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(18, 3, true);
  view.setUint32(28, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, 2, true);
  const header = (at: number, words: readonly number[]) =>
    words.forEach((word, i) => view.setUint32(at + i * 4, word, true));
  const size = note.length + code.length;
  header(52, [1, 0x80, 0x8010_0000, 0x10_0000, size, 0x2000, 7, 0]);
  header(84, [4, 0x80, 0, 0, note.length, note.length, 4, 0]);
  bytes.set([...note, ...code], 0x80);
  change(view);
  return bytes;
}

Deno.test("an image starts as Xen starts PVH guests, speaks on the console, and ends by halting", () => {
  // mov eax, [ebx]; then its four bytes to the console; hlt
  const code = [0x8b, 0x03, ...[0, 1, 2, 3].flatMap(() => [0xe6, 0xe9, 0xc1, 0xe8, 0x08]), 0xf4];
  const guest = startPvhGuest(image(code));
  assert.deepEqual(guest.run(3), undefined);
  assert.equal(guest.run(100)?.reason, "shutdown");
  // XEN_HVM_START_MAGIC_VALUE, little-endian
  assert.equal(guest.console, "\x78\xc5\x6e\x33");
  assert.equal(guest.instructions, 10);
  assert.equal(guest.run(100)?.reason, "shutdown");
});

Deno.test("a guest that faults without handlers has crashed, one that calls the hypervisor is told", () => {
  assert.match(startPvhGuest(image([0x0f, 0x0b])).run(100)!.detail, /EIP 0x100014/);
  assert.equal(startPvhGuest(image([0x0f, 0x0b])).run(100)!.reason, "crashed");
  assert.equal(startPvhGuest(image([0x0f, 0x01, 0xc1])).run(100)!.reason, "unsupported");
});

Deno.test("what is no PVH image is refused with the reason", () => {
  const rows: [Uint8Array, RegExp, number?][] = [
    [new Uint8Array(10), /not an ELF file/],
    [image([], (view) => view.setUint8(4, 2)), /32-bit/],
    [image([], (view) => view.setUint32(28, 0xffff_fff0, true)), /program headers are past its end/],
    [image([], (view) => view.setUint16(44, 9, true)), /program headers are past its end/],
    [image([], (view) => view.setUint32(56, 0xffff_ff00, true)), /segment at offset 0xffffff00/],
    [image([], (view) => view.setUint32(68, 0x1000, true)), /past the end of the file/],
    [image([], (view) => view.setUint32(64, 0xffff_f000, true)), /does not fit/],
    [image([], (view) => view.setUint32(72, 1, true)), /does not fit/],
    [image([], (view) => view.setUint32(84, 0, true)), /no note of Xen/],
    [image([], (view) => view.setUint32(0x80, 0xffff_ffff, true)), /no note of Xen/],
    [image([]), /0 MiB/, 0],
    [image([]), /2000 MiB/, 2000],
  ];
  for (const [bytes, reason, memory] of rows) {
    assert.throws(
      () => startPvhGuest(bytes, memory === undefined ? {} : { memory }),
      (error) => error instanceof InputError && reason.test(error.message),
      String(reason),
    );
  }
});
