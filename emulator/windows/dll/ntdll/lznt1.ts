// SPDX-License-Identifier: Apache-2.0
/** LZNT1 decompression (MS-XCA, section 2.5). @module */

const CHUNK = 4096;

/**
 * Expands LZNT1 data into at most `capacity` bytes; what does not fit is dropped, as RtlDecompressBuffer does.
 * Undefined for a damaged stream.
 */
export function decompressLznt1(input: Uint8Array, capacity: number): Uint8Array | undefined {
  let output = new Uint8Array(Math.min(capacity, Math.max(CHUNK, input.length * 4)));
  let size = 0;
  const room = (wanted: number) => {
    if (wanted <= output.length) return;
    const grown = new Uint8Array(Math.min(capacity, Math.max(wanted, output.length * 2)));
    grown.set(output);
    output = grown;
  };
  for (let at = 0; at + 2 <= input.length && size < capacity;) {
    const header = input[at] | (input[at + 1] << 8);
    if (header === 0) break;
    const end = at + 2 + (header & 0xfff) + 1;
    if (end > input.length) return undefined;
    at += 2;
    const start = size;
    if (!(header & 0x8000)) {
      const length = Math.min(end - at, capacity - size);
      room(size + length);
      output.set(input.subarray(at, at + length), size);
      size += length;
      at = end;
      continue;
    }
    while (at < end && size < capacity) {
      const flags = input[at++];
      for (let bit = 0; bit < 8 && at < end && size < capacity; bit++) {
        if (!(flags & (1 << bit))) {
          room(size + 1);
          output[size++] = input[at++];
          continue;
        }
        if (at + 2 > end) return undefined;
        const token = input[at] | (input[at + 1] << 8);
        at += 2;
        // The split between distance and length moves with the position in the chunk.
        let lengthBits = 12;
        for (let position = size - start - 1; position >= 0x10; position >>= 1) lengthBits--;
        const distance = (token >>> lengthBits) + 1;
        const length = Math.min((token & ((1 << lengthBits) - 1)) + 3, capacity - size);
        if (distance > size - start) return undefined;
        room(size + length);
        for (let i = 0; i < length; i++, size++) output[size] = output[size - distance];
      }
    }
    at = end;
  }
  return output.slice(0, size);
}
