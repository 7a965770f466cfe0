// SPDX-License-Identifier: Apache-2.0
/**
 * Text from guests, samples and engines, made fit to be shown.
 *
 * @module
 */

/**
 * Escapes what a terminal or a log reader could take for a command: C0 and C1 controls, DEL, line and
 * paragraph separators, bidirectional overrides, zero-width characters and lone surrogates become `\xNN` or
 * `\u{N}`. A text longer than `limit` UTF-16 units is cut, with `…` at the end.
 */
export function escapeText(text: string, limit = 300): string {
  let out = "";
  for (const character of text.length > limit ? text.slice(0, limit) : text) {
    const code = character.codePointAt(0)!;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (isUnsafe(code)) out += `\\u{${code.toString(16)}}`;
    else out += character;
  }
  return text.length > limit ? `${out}…` : out;
}

function isUnsafe(code: number): boolean {
  return code === 0xad || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
    (code >= 0x2060 && code <= 0x206f) || (code >= 0xd800 && code <= 0xdfff) || code === 0x61c ||
    code === 0xfeff || (code >= 0xfff9 && code <= 0xfffd) || (code >= 0xe0000 && code <= 0xe007f);
}

/** An address or entry as eight lower-case hexadecimal digits. */
export function hex8(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}

/** A process in words: by its number, or by its CR3 when the guest's kernel is not one that umbra knows. */
export function processWords(process: { readonly pid: number; readonly addressSpace?: number }): string {
  return process.addressSpace === undefined
    ? `process ${process.pid}`
    : `address space ${hex8(process.addressSpace)}`;
}

/** Says a thrown value in one line, without a stack. */
export function sayError(error: unknown): string {
  return escapeText(error instanceof Error ? error.message : String(error), 2000);
}

/** Orders strings by code units: the same everywhere, whatever the locale. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
