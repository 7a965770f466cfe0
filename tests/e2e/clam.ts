// SPDX-License-Identifier: Apache-2.0
/**
 * ClamAV's test files of Debian's `clamav-testfiles`: one host program, packed by eight packers, and in the clear.
 *
 * @module
 */
import assert from "node:assert/strict";

/** Path of the file of a packer; `fsg` is the host in the clear. */
export function clamPath(packer: string): string {
  return `/usr/share/clamav-testfiles/clam-${packer}.exe`;
}

/** Content of the file of a packer. */
export function clamFile(packer: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(clamPath(packer));
}

/**
 * clam-wwpack.exe unpacks in place and leaves 4 bytes too few between what it reads and what it writes: it
 * overwrites its own compressed bytes, then its own code (in Unicorn too). This is it with the distance it needs.
 */
export function repairedWwpack(): Uint8Array<ArrayBuffer> {
  const bytes = clamFile("wwpack");
  const view = new DataView(bytes.buffer);
  const field = 0xc00 + 0x2a5; // in .WWP32: where the last compressed word is moved to, from the section's start
  assert.equal(view.getUint32(field, true), 0xffc);
  view.setUint32(field, 0x1000, true);
  return bytes;
}

/** Where PESpin runs the host's first instructions: its image has to be given this entry point by hand. */
export const PESPIN_ENTRY = 0x4068fc;

/** Sets the entry point (virtual address) of a PE file, in place. */
export function setEntryPoint(file: Uint8Array, va: number): void {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const header = view.getUint32(0x3c, true);
  view.setUint32(header + 40, va - view.getUint32(header + 52, true), true);
}
