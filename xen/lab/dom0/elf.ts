// SPDX-License-Identifier: Apache-2.0
/**
 * What an ELF file of 32 bits has as code, by pages as a kernel maps them (ELF specification, "Program Header").
 *
 * @module
 */
import { sha256 } from "../../../core/hash.ts";

const PAGE = 4096, PROGRAM_HEADERS = 28, COUNT = 44, HEADER_BYTES = 32, LOAD = 1, EXECUTABLE = 1;

/**
 * Hashes of the pages of code, by the addresses at which they are mapped. The last page ends, beyond the file, with
 * zeroes.
 */
export function textPages(file: Uint8Array): Map<number, string> {
  const view = new DataView(file.buffer, file.byteOffset, file.length), pages = new Map<number, string>();
  const table = view.getUint32(PROGRAM_HEADERS, true), count = view.getUint16(COUNT, true);
  for (let at = table; at < table + count * HEADER_BYTES; at += HEADER_BYTES) {
    const [type, offset, va, , bytes, , flags] = [0, 4, 8, 12, 16, 20, 24].map((i) =>
      view.getUint32(at + i, true)
    );
    if (type !== LOAD || !(flags & EXECUTABLE)) continue;
    for (let from = offset - offset % PAGE; from < offset + bytes; from += PAGE) {
      const page = new Uint8Array(PAGE);
      page.set(file.subarray(from, from + PAGE));
      pages.set(va - offset + from, sha256(page));
    }
  }
  return pages;
}
