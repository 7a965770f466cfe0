// SPDX-License-Identifier: Apache-2.0
/**
 * Inserts lines of our own into files of another project, found by strings of that project (never by line
 * numbers), so that they fit every version that still has the strings. Each inserted line ends with a mark: what
 * stands from an earlier time is taken out first, so that inserting twice is inserting once.
 *
 * @module
 */

/** One insertion. */
export interface Insertion {
  /** File, relative to the tree. */
  readonly file: string;
  /** A string of the file. Alone, or behind {@link within}, it must occur exactly once. */
  readonly anchor: string;
  /** The first occurrence of the anchor behind this string, which itself must occur exactly once. */
  readonly within?: string;
  /** Where the lines go: before the line the anchor begins in, or behind the line it ends in. */
  readonly place: "before" | "after";
  readonly lines: readonly string[];
}

/** A tree that is not as expected: which file, which string, and what is wrong with it. */
export class AnchorError extends Error {
  override name = "AnchorError";
}

/** How a language marks a line as ours. */
const MARK = "umbra";

function markFor(file: string): string {
  return /\.[ch]$/.test(file) ? `/* ${MARK} */` : `# ${MARK}`;
}

/** The text without the lines inserted earlier. */
export function withoutInsertions(file: string, text: string): string {
  const mark = markFor(file);
  return text.split("\n").filter((line) => !line.endsWith(mark)).join("\n");
}

function only(file: string, text: string, anchor: string, from: number, alone: boolean): number {
  const at = text.indexOf(anchor, from);
  const shown = JSON.stringify(anchor);
  if (at < 0) {
    throw new AnchorError(`Cannot insert into ${file}: it has no ${shown}; this tree is not one umbra knows`);
  }
  if (alone && text.indexOf(anchor, at + 1) >= 0) {
    throw new AnchorError(`Cannot insert into ${file}: ${shown} stands there more than once`);
  }
  return at;
}

/** One file's text with its insertions made. Throws {@link AnchorError}. */
export function insert(file: string, text: string, insertions: readonly Insertion[]): string {
  let result = withoutInsertions(file, text);
  const mark = markFor(file);
  for (const { anchor, within, place, lines } of insertions) {
    const from = within === undefined ? 0 : only(file, result, within, 0, true);
    const at = only(file, result, anchor, from, within === undefined);
    const cut = place === "before"
      ? result.lastIndexOf("\n", at) + 1
      : (result.indexOf("\n", at + anchor.length) + 1) || result.length;
    const block = lines.map((line) => `${line} ${mark}\n`).join("");
    const gap = cut === result.length && !result.endsWith("\n") ? "\n" : "";
    result = result.slice(0, cut) + gap + block + result.slice(cut);
  }
  return result;
}
