// SPDX-License-Identifier: Apache-2.0
/** The scanf family. @module */
import type { ApiCall } from "../../api.ts";
import { writeF64, writeU64 } from "../code.ts";
import type { Handlers } from "../define.ts";
import { encode, text } from "../shared/text.ts";
import { type Arguments, variadic } from "./printf.ts";

const isSpace = (char: string | undefined) => char !== undefined && /[\s]/.test(char);

/** Members of a `[…]` set; the position behind it. */
function readSet(picture: string, from: number): { has: (char: string) => boolean; next: number } {
  let at = from;
  const isInverse = picture[at] === "^";
  if (isInverse) at++;
  const members = new Set<string>();
  for (let first = true; at < picture.length && (first || picture[at] !== "]"); first = false) {
    const start = picture.charCodeAt(at);
    if (picture[at + 1] === "-" && at + 2 < picture.length && picture[at + 2] !== "]") {
      for (let code = start; code <= picture.charCodeAt(at + 2); code++) {
        members.add(String.fromCharCode(code));
      }
      at += 3;
    } else members.add(picture[at++]);
  }
  return { has: (char) => members.has(char) !== isInverse, next: at + 1 };
}

const INTEGERS: Record<string, RegExp> = {
  d: /^[+-]?\d+/,
  u: /^[+-]?\d+/,
  i: /^[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|\d+)/,
  x: /^[+-]?(0[xX])?[0-9a-fA-F]+/,
  o: /^[+-]?[0-7]+/,
};
const REAL = /^[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?/;

function toInteger(found: string, kind: string): bigint {
  const digits = found.replace(/^[+-]/, "");
  const value = kind === "x"
    ? BigInt("0x" + digits.replace(/^0x/i, ""))
    : kind === "o" || (kind === "i" && /^0[0-7]+$/.test(digits))
    ? BigInt("0o" + digits.replace(/^0+(?=.)/, ""))
    : BigInt(digits);
  return found.startsWith("-") ? -value : value;
}

/** Reads fields of `input` into the arguments' pointers; how many were stored, -1 when the input was empty. */
export function scan(
  call: ApiCall,
  input: string,
  picture: string,
  args: Arguments,
  wide: boolean,
  used = { at: 0 },
): number {
  let at = 0;
  const stored = walk();
  used.at = at;
  return stored;

  function walk(): number {
    let stored = 0;
    for (let i = 0; i < picture.length;) {
      const char = picture[i];
      if (isSpace(char)) {
        while (isSpace(input[at])) at++;
        i++;
        continue;
      }
      if (char !== "%") {
        if (input[at] !== char) return at >= input.length && stored === 0 ? -1 : stored;
        at++, i++;
        continue;
      }
      const head = /^%(\*?)(\d*)(I64|I32|ll|hh|[hlLw])?(.)/s.exec(picture.slice(i));
      if (!head) return stored;
      const [whole, skip, widthText, size = ""] = head;
      let kind = head[4];
      i += whole.length;
      if (kind === "%") {
        if (input[at++] !== "%") return stored;
        continue;
      }
      const width = widthText ? Math.min(Number(widthText), 0x10000) : 0x100000;
      if (!/[c[n]/i.test(kind)) { while (isSpace(input[at])) at++; }
      const rest = input.slice(at, at + width);
      let found = "";
      if (kind === "n") {
        if (!skip) call.memory.setU32(args.word(), at);
        continue;
      }
      if (rest === "") return stored === 0 ? -1 : stored;
      if (kind === "[") {
        const set = readSet(picture, i);
        i = set.next;
        while (found.length < rest.length && set.has(rest[found.length])) found += rest[found.length];
        kind = "s";
      } else if (kind === "c" || kind === "C") found = rest.slice(0, widthText ? width : 1);
      else if (kind === "s" || kind === "S") found = /^\S+/.exec(rest)?.[0] ?? "";
      else if (kind === "p" || kind === "X") kind = "x", found = INTEGERS.x.exec(rest)?.[0] ?? "";
      else if (kind in INTEGERS) found = INTEGERS[kind].exec(rest)?.[0] ?? "";
      else found = REAL.exec(rest)?.[0] ?? "";
      if (found === "") return stored;
      at += found.length;
      if (skip) continue;
      const target = args.word();
      stored++;
      if (kind === "s" || kind === "S" || kind === "c" || kind === "C") {
        const isWide = size === "l" || size === "w" ||
          (size !== "h" && (kind === "s" || kind === "c" ? wide : !wide));
        call.memory.setBytes(target, encode(found, isWide, kind === "s" || kind === "S"));
      } else if (kind in INTEGERS) {
        const value = BigInt.asUintN(64, toInteger(found, kind));
        if (size === "I64" || size === "ll") writeU64(call, target, value);
        else if (size === "h") call.memory.setU16(target, Number(value & 0xffffn));
        else if (size === "hh") call.memory.setU8(target, Number(value & 0xffn));
        else call.memory.setU32(target, Number(value & 0xffffffffn));
      } else {
        const value = Number(found.replace(/d/i, "e"));
        if (size === "l" || size === "L") writeF64(call, target, value);
        else call.memory.setU32(target, new Uint32Array(Float32Array.of(value).buffer)[0]);
      }
    }
    return stored;
  }
}

export const scanning: Handlers = {
  sscanf: (call, source, picture) =>
    scan(call, text(call, source, false), text(call, picture, false), variadic(call, 2), false),
  swscanf: (call, source, picture) =>
    scan(call, text(call, source, true), text(call, picture, true), variadic(call, 2), true),
};
