// SPDX-License-Identifier: Apache-2.0
/**
 * Code out of a static library: an `ar` archive (ar.h) of 32-bit ELF objects (System V ABI, chapter 4).
 *
 * @module
 */

/** Members of an archive. Throws when it is none. */
export function* archiveMembers(archive: Uint8Array): Generator<Uint8Array> {
  const text = (at: number, length: number) =>
    new TextDecoder("latin1").decode(archive.subarray(at, at + length));
  if (text(0, 8) !== "!<arch>\n") throw new Error(`Cannot read an archive: it begins with "${text(0, 8)}"`);
  for (let at = 8; at + 60 <= archive.length;) {
    const size = Number(text(at + 48, 10).trim());
    if (!(size >= 0)) throw new Error(`Cannot read an archive: member of size "${text(at + 48, 10)}"`);
    yield archive.subarray(at + 60, at + 60 + size);
    at += 60 + size + (size & 1);
  }
}

const PROGBITS = 1, EXECUTABLE = 4;

/** Contents of an object's executable sections; none when it is no 32-bit ELF object. */
export function* codeSections(object: Uint8Array): Generator<Uint8Array> {
  if (object.length < 52 || object[0] !== 0x7f || object[1] !== 0x45 || object[4] !== 1) return;
  const view = new DataView(object.buffer, object.byteOffset, object.length);
  const table = view.getUint32(32, true), size = view.getUint16(46, true);
  for (let i = 0; i < view.getUint16(48, true); i++) {
    const header = table + i * size;
    const field = (n: number) => view.getUint32(header + 4 * n, true);
    if (field(1) === PROGBITS && field(2) & EXECUTABLE) yield object.subarray(field(4), field(4) + field(5));
  }
}
