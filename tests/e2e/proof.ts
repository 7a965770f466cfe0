// SPDX-License-Identifier: Apache-2.0
/**
 * Two measures of unpacking: how much of a program's code was captured, byte for byte; and the proof by use,
 * whether a rebuilt image, when it runs, calls what the program calls.
 *
 * @module
 */
import { runProgram } from "../../emulator/windows/testing/guest.ts";
import type { Pe } from "./pe.ts";

/** Bytes of a section that were compared, and how many of them were captured. */
export interface Recovered {
  readonly bytes: number;
  readonly right: number;
}

/**
 * How a section of an original stands in the captured pages: the number of its bytes (relocated words left out)
 * and how many of them are found at their address in one capture of their page.
 */
export function recovered(
  original: Pe,
  pagesAt: (va: number) => readonly Uint8Array[],
  name = ".text",
): Recovered {
  const section = original.sections.find((each) => each.name === name);
  if (!section) throw new Error(`Cannot compare section "${name}": the original has none`);
  const size = Math.min(section.virtualSize, section.bytes.length);
  const relocated = new Set(original.relocations.flatMap((rva) => [rva, rva + 1, rva + 2, rva + 3]));
  let [bytes, right] = [0, 0];
  for (let offset = 0; offset < size; offset += 0x1000) {
    const length = Math.min(0x1000, size - offset);
    const wanted = Array.from({ length }, (_, index) => index)
      .filter((index) => !relocated.has(section.rva + offset + index));
    const matches = pagesAt(original.imageBase + section.rva + offset)
      .map((page) => wanted.filter((index) => page[index] === section.bytes[offset + index]).length);
    bytes += wanted.length;
    right += Math.max(0, ...matches);
  }
  return { bytes, right };
}

/** What a program does, as far as its guest tells. */
export interface Behaviour {
  readonly reason: string | undefined;
  readonly detail: string | undefined;
  readonly output: string;
  readonly instructions: number;
  readonly missing: readonly { readonly dll: string; readonly name: string; readonly calls: number }[];
  /** Calls of functions by the program's own code, in order. */
  readonly calls: readonly Call[];
}

/** One call: the function, and its arguments and result, which are numbers, addresses or texts. */
interface Call {
  readonly name: string;
  readonly values: readonly (string | number)[];
}

/** Runs a program and tells what it did. */
export function behaviour(bytes: Uint8Array): Behaviour {
  const { end, output, missing, calls } = runProgram(bytes);
  return {
    reason: end?.reason,
    detail: end?.detail,
    output,
    instructions: end?.instructions ?? 0,
    missing,
    calls: calls.calls.map(({ dll, name, args, result }) => ({
      name: `${dll}!${name}`,
      values: [...args.map(({ value, text }) => text ?? value), result ?? "no result"],
    })),
  };
}

function said(call: Call | undefined): string {
  if (!call) return "none";
  const [result, ...args] = call.values.toReversed()
    .map((value) => typeof value === "number" ? `0x${value.toString(16)}` : JSON.stringify(value));
  return `${call.name}(${args.toReversed().join(", ")}) = ${result}`;
}

/**
 * Numbers below 64 KiB and in the upper half (flags, errors, -1) must be the same. Addresses may differ, since
 * an image may have its resources elsewhere; but one must always stand for the same other.
 */
class Addresses {
  readonly #there = new Map<number, number>();
  readonly #back = new Map<number, number>();

  same(wanted: Call, got: Call | undefined): boolean {
    return got !== undefined && wanted.name === got.name && wanted.values.length === got.values.length &&
      wanted.values.every((value, index) => this.#value(value, got.values[index]));
  }

  #value(wanted: string | number, got: string | number): boolean {
    if (typeof wanted !== "number" || typeof got !== "number") return wanted === got;
    const address = (value: number) => value >= 0x1_0000 && value < 0x8000_0000;
    if (!address(wanted) || !address(got)) return wanted === got;
    if (!this.#there.has(wanted) && !this.#back.has(got)) {
      this.#there.set(wanted, got);
      this.#back.set(got, wanted);
    }
    return this.#there.get(wanted) === got && this.#back.get(got) === wanted;
  }
}

/** What the proof by use says of an image. */
export type Proof =
  /** The same calls and the same end; `before`: calls of an unpacker's that is still in the image. */
  | { readonly outcome: "same"; readonly calls: number; readonly before: number }
  /** Another way: the first call that differs, or how it ended. */
  | { readonly outcome: "other"; readonly why: string };

/** Holds what an image does against what the original does. */
export function proofByUse(wanted: Behaviour, got: Behaviour): Proof {
  const other = (why: string): Proof => ({ outcome: "other", why });
  const ends = (of: Behaviour) => `${of.reason}: ${of.detail}`;
  if (ends(wanted) !== ends(got)) return other(`${ends(got)}, not ${ends(wanted)}`);
  if (wanted.output !== got.output) return other("it shows another text");
  const before = Math.max(0, got.calls.length - wanted.calls.length);
  const addresses = new Addresses();
  const at = wanted.calls.findIndex((call, index) => !addresses.same(call, got.calls[before + index]));
  if (at < 0) return { outcome: "same", calls: wanted.calls.length, before };
  return other(`call ${at + 1} is ${said(got.calls[before + at])}, not ${said(wanted.calls[at])}`);
}

/**
 * The first of some images, in order, that behaves as the original does and runs nothing of the unpacker; else
 * the one that runs least of it; else the last, and why it does not.
 */
export function provenImage<Image extends { readonly bytes: Uint8Array }>(
  wanted: Behaviour,
  images: readonly Image[],
): { readonly image: Image; readonly proof: Proof; readonly behaviour: Behaviour } | undefined {
  let best: { readonly image: Image; readonly proof: Proof; readonly behaviour: Behaviour } | undefined;
  const rank = (proof: Proof | undefined) => proof?.outcome === "same" ? proof.before : Infinity;
  for (const image of images) {
    const got = behaviour(image.bytes);
    const proof = proofByUse(wanted, got);
    if (rank(proof) < rank(best?.proof) || rank(best?.proof) === Infinity) {
      best = { image, proof, behaviour: got };
    }
    if (rank(proof) === 0) break;
  }
  return best;
}
