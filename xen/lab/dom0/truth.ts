// SPDX-License-Identifier: Apache-2.0
/**
 * The truth that the page-table exerciser keeps, and what umbra captured of it, compared byte for byte (by two
 * hashes of each page) and in order. Layouts and numbers: `xen/lab/guests/exerciser.h`.
 *
 * @module
 */
import type { ProcessMemory } from "../../../core/ports.ts";
import { hex8 } from "../../../core/text.ts";
import { must } from "./checks.ts";

const STATUS = 0x1000000, LOGS = 0x20000, LOG_PAGES = 16, PAGE = 4096;
const MAGIC = 0x65786572, PROCESSORS = 2, TRUTH_BYTES = 16;
const AREA = 0x2000000, AREA_STEP = 0x200000;
/** The part of the area whose pages change while they run: they may be captured in between, too. */
const SHARED = 100;

/** One page as it ran, by the guest's word. */
export interface Truth {
  readonly va: number;
  readonly hash: string;
  readonly part: number;
}

/** The guest's hash of a page; `record` of exerciser_program.c. */
export function truthHash(page: Uint8Array): string {
  const words = new DataView(page.buffer, page.byteOffset, PAGE);
  let first = 0x811c9dc5 | 0, second = 0;
  for (let at = 0; at < PAGE; at += 4) {
    const word = words.getInt32(at, true);
    first = Math.imul(first ^ word, 0x01000193);
    second = Math.imul((second << 5 | second >>> 27) ^ word, 0x9e3779b1);
  }
  return hex8(first >>> 0) + hex8(second >>> 0);
}

/** The words of the guest's `struct status`: who is done, wrong results, pages written down. */
export function readStatus(memory: ProcessMemory) {
  const bytes = memory.read(STATUS, 4 * 13);
  if (bytes.length < 4 * 13) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const pair = (at: number) => [view.getUint32(at * 4, true), view.getUint32(at * 4 + 4, true)];
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  return { done: pair(1), errors: pair(3), records: pair(5) };
}

/** The log that the guest's program kept on one processor. */
export function readTruths(memory: ProcessMemory, processor: number, count: number): Truth[] {
  const bytes = memory.read(STATUS + LOGS + processor * LOG_PAGES * PAGE, count * TRUTH_BYTES);
  must(bytes.length === count * TRUTH_BYTES, `of the guest's log ${bytes.length} bytes could be read`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: count }, (_, i) => {
    const word = (n: number) => view.getUint32(i * TRUTH_BYTES + n * 4, true);
    return { va: word(0), hash: hex8(word(1)) + hex8(word(2)), part: word(3) };
  });
}

interface Line {
  readonly sequence: number;
  readonly kind: string;
  readonly va: number;
  readonly gfn: number;
  readonly sha256: string | null;
  readonly content: string;
}

/**
 * What the files of a watch hold of the exercised pages: hashes of what turned to code, in order, by address.
 *
 * @param folders those of one watch, that one collector after the other wrote; an event may stand in two of them.
 */
export function readCaptures(...folders: readonly string[]): Map<number, string[]> {
  const captured = new Map<number, string[]>();
  /** What each frame of the guest held when it was captured last. */
  const frames = new Map<number, string>();
  let last = 0;
  for (const folder of folders) {
    for (const text of Deno.readTextFileSync(`${folder}/events.jsonl`).split("\n")) {
      if (text === "") continue;
      const line = JSON.parse(text) as Line;
      if (line.sequence <= last) continue;
      must(line.sequence === last + 1, `event ${line.sequence} comes behind ${last}`);
      last = line.sequence;
      if (line.va < AREA || line.va >= AREA + PROCESSORS * AREA_STEP) continue;
      must(line.content === "captured" || line.content === "unchanged", `an event without content: ${text}`);
      if (line.content === "captured") {
        const page = Deno.readFileSync(`${folder}/pages/${hex8(line.va)}-${line.sha256}.bin`);
        must(page.length === PAGE, `a page of ${page.length} bytes at ${hex8(line.va)}`);
        frames.set(line.gfn, truthHash(page));
      }
      if (line.kind !== "S1" && line.kind !== "S2") continue;
      const hash = frames.get(line.gfn), list = captured.get(line.va);
      must(hash !== undefined, `unchanged, and never captured: ${text}`);
      // It may come back unchanged, when its shadow went meanwhile: that is the same run.
      if (!list) captured.set(line.va, [hash]);
      else if (line.content === "captured" || list.at(-1) !== hash) list.push(hash);
    }
  }
  return captured;
}

/** Throws at the first difference between what ran and what was captured. */
export function compare(truths: readonly Truth[], captured: ReadonlyMap<number, readonly string[]>): void {
  const ran = new Map<number, Truth[]>();
  for (const truth of truths) {
    const list = ran.get(truth.va);
    if (list) list.push(truth);
    else ran.set(truth.va, [truth]);
  }
  must(ran.size > 0, "the guest ran nothing");
  for (const [va, list] of ran) {
    let seen = captured.get(va) ?? [];
    if (list[0].part === SHARED) seen = seen.filter((hash) => list.some((truth) => truth.hash === hash));
    const at = list.findIndex(({ hash }, i) => hash !== seen[i]);
    must(
      at < 0 && seen.length === list.length,
      `page ${hex8(va)} ran ${list.length} times and was captured ${seen.length} times, ` +
        `the first difference is at time ${at}: ran as ${list.map(({ hash }) => hash)}, captured as ${seen}`,
    );
  }
  for (const va of captured.keys()) must(ran.has(va), `page ${hex8(va)} was captured and never ran`);
}
