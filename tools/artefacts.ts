// SPDX-License-Identifier: Apache-2.0
/**
 * Named artefacts at the end of a file: their bytes one after the other, an index in JSON, and a trailer of
 * 16 bytes (the index's length as a 64-bit little-endian number, then {@link MAGIC}).
 *
 * @module
 */

const MAGIC = "umbra\0\0\x01";
const TRAILER = 16;

/** The bytes to append to a file of `offset` bytes so that {@link readArtefacts} finds the artefacts in it. */
export function packArtefacts(
  artefacts: ReadonlyMap<string, Uint8Array>,
  offset: number,
): Uint8Array<ArrayBuffer> {
  const index: Record<string, readonly [offset: number, length: number]> = {};
  let at = offset;
  for (const [name, bytes] of artefacts) {
    index[name] = [at, bytes.length];
    at += bytes.length;
  }
  const text = new TextEncoder().encode(JSON.stringify(index));
  const packed = new Uint8Array(at - offset + text.length + TRAILER);
  let write = 0;
  for (const part of [...artefacts.values(), text]) {
    packed.set(part, write);
    write += part.length;
  }
  new DataView(packed.buffer).setBigUint64(write, BigInt(text.length), true);
  packed.set(new TextEncoder().encode(MAGIC), write + 8);
  return packed;
}

/** Reads the artefacts at the end of a file. Throws when it carries none. */
export function readArtefacts(path: string | URL): Map<string, Uint8Array<ArrayBuffer>> {
  using file = Deno.openSync(path);
  const size = file.seekSync(0, Deno.SeekMode.End);
  const trailer = readAt(file, size - TRAILER, TRAILER);
  if (new TextDecoder().decode(trailer.subarray(8)) !== MAGIC) {
    throw new Error("Cannot start: the executable does not carry its artefacts, it is damaged");
  }
  const length = Number(new DataView(trailer.buffer).getBigUint64(0, true));
  const text = new TextDecoder().decode(readAt(file, size - TRAILER - length, length));
  const index = JSON.parse(text) as Record<string, readonly [number, number]>;
  return new Map(Object.entries(index).map(([name, [at, count]]) => [name, readAt(file, at, count)]));
}

function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let done = 0; done < length;) {
    const count = file.readSync(bytes.subarray(done));
    if (count === null) throw new Error("Cannot start: the executable is cut off");
    done += count;
  }
  return bytes;
}
