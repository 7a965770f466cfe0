// SPDX-License-Identifier: Apache-2.0
/**
 * Calls that go to a function without a table of the image: protectors write a function's address, or that of a
 * piece of code outside the image, into the instruction itself. They are led through a table that the loader fills.
 *
 * @module
 */
import { type AddressSpace, FunctionFinder } from "./imports.ts";
import type { ImportName } from "./modules.ts";

/** Calls of one image that are led back. */
const MOST_CALLS = 65_536;
const SLOT = 4;
/** `jmp [slot]`, aligned. */
const STUB = 8;

/** One instruction that leaves the image for a function. */
export interface DirectCall {
  /** RVA of its 32 bits that say where. */
  readonly at: number;
  /** `relative`: a displacement; `through`: the address of a word outside the image. */
  readonly how: "relative" | "through";
  readonly names: readonly ImportName[];
}

/**
 * Finds `call` and `jmp` (with a displacement, or through a word outside the image) in parts of an image (raw =
 * virtual) that lead to a function of a known module, or to code outside the image that does.
 */
export function findCalls(
  image: Uint8Array,
  parts: readonly { readonly start: number; readonly end: number }[],
  imageBase: number,
  space: AddressSpace,
): DirectCall[] {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const finder = new FunctionFinder(image, imageBase, space);
  const found: DirectCall[] = [];
  for (const { start, end } of parts) {
    for (let at = start; at + 5 <= end && found.length < MOST_CALLS; at++) {
      const first = image[at];
      if (first === 0xe8 || first === 0xe9) {
        const names = finder.at((imageBase + at + 5 + view.getInt32(at + 1, true)) >>> 0);
        if (names.length > 0) found.push({ at: at + 1, how: "relative", names });
      } else if (first === 0xff && (image[at + 1] === 0x15 || image[at + 1] === 0x25) && at + 6 <= end) {
        const names = finder.through(view.getUint32(at + 2, true));
        if (names.length > 0) found.push({ at: at + 2, how: "through", names });
      }
    }
  }
  return found;
}

/** A table for calls, and what has to be written into the image so that they use it. */
export interface CallTable {
  /** Places for the loader to fill, then code that jumps through them. */
  readonly bytes: Uint8Array;
  readonly slots: readonly { readonly rva: number; readonly names: readonly ImportName[] }[];
  /** RVAs and values of 32-bit words in the image. */
  readonly patches: readonly (readonly [number, number])[];
}

/** Makes a table at an RVA. */
export function callTable(calls: readonly DirectCall[], rva: number, imageBase: number): CallTable {
  const key = ([{ dll, name }]: readonly ImportName[]) => `${dll.toLowerCase()}!${name}`;
  const functions = new Map(calls.map(({ names }) => [key(names), names]));
  // Those of one DLL stand together: one import table for each.
  const sorted = [...functions.keys()].sort();
  const stubs = Math.ceil(sorted.length * SLOT / STUB) * STUB;
  const bytes = new Uint8Array(stubs + sorted.length * STUB);
  const view = new DataView(bytes.buffer);
  const places = new Map(
    sorted.map((each, index) => [each, { slot: rva + index * SLOT, stub: stubs + index * STUB }]),
  );
  for (const { slot, stub } of places.values()) {
    bytes.set([0xff, 0x25], stub);
    view.setUint32(stub + 2, imageBase + slot, true);
  }
  return {
    bytes,
    slots: sorted.map((each) => ({ rva: places.get(each)!.slot, names: functions.get(each)! })),
    patches: calls.map(({ at, how, names }) => {
      const { slot, stub } = places.get(key(names))!;
      return [at, how === "through" ? imageBase + slot : (rva + stub - (at + 4)) >>> 0];
    }),
  };
}
