// SPDX-License-Identifier: Apache-2.0
/** ntdll: network addresses and GUIDs as texts. @module */
import type { ApiCall } from "../../api.ts";
import { both, type Handlers } from "../define.ts";
import { Status } from "../shared/errors.ts";
import { encode, store, text } from "../shared/text.ts";
import { countedString } from "./unicode.ts";

const MAX_TEXT = 64;

/** Four parts of an IPv4 address and how many characters they took; undefined when it is none. */
function parseIpv4(value: string, strict: boolean): { bytes: number[]; length: number } | undefined {
  const found = /^(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}/i.exec(value)?.[0];
  if (!found) return undefined;
  const parts = found.split(".").map((part) =>
    /^0\d/.test(part) ? (strict ? NaN : parseInt(part, 8)) : Number(part)
  );
  if (strict && parts.length !== 4) return undefined;
  const last = parts.pop()!;
  const room = 4 - parts.length;
  if (!(last < 2 ** (8 * room)) || parts.some((part) => !(part <= 255))) return undefined;
  const tail = Array.from({ length: room }, (_, i) => Math.floor(last / 2 ** (8 * (room - 1 - i))) & 255);
  return { bytes: [...parts, ...tail], length: found.length };
}

/** Sixteen bytes of an IPv6 address at the beginning of a text. */
function parseIpv6(value: string): { bytes: number[]; length: number } | undefined {
  const found = /^[0-9a-f:]+(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})?/i.exec(value)?.[0];
  if (!found) return undefined;
  const halves = found.split("::");
  if (halves.length > 2) return undefined;
  const words = (half: string): number[] | undefined => {
    if (half === "") return [];
    const list: number[] = [];
    for (const part of half.split(":")) {
      if (part.includes(".")) {
        const four = parseIpv4(part, true);
        if (!four) return undefined;
        list.push((four.bytes[0] << 8) | four.bytes[1], (four.bytes[2] << 8) | four.bytes[3]);
      } else if (/^[0-9a-f]{1,4}$/i.test(part)) list.push(parseInt(part, 16));
      else return undefined;
    }
    return list;
  };
  const [first, second] = [words(halves[0]), words(halves[1] ?? "")];
  if (!first || !second) return undefined;
  const missing = 8 - first.length - second.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...first, ...new Array<number>(missing).fill(0), ...second];
  return { bytes: all.flatMap((word) => [word >>> 8, word & 255]), length: found.length };
}

function parseEthernet(value: string): { bytes: number[]; length: number } | undefined {
  const found = /^[0-9a-f]{2}([-:][0-9a-f]{2}){5}/i.exec(value)?.[0];
  return found && { bytes: found.split(/[-:]/).map((part) => parseInt(part, 16)), length: found.length } ||
    undefined;
}

/** Writes an address that was read and where its text ended. */
function give(
  call: ApiCall,
  at: number,
  wide: boolean,
  parsed: { bytes: number[]; length: number } | undefined,
  terminator: number,
  target: number,
): number {
  if (terminator) call.memory.setU32(terminator, at + (parsed?.length ?? 0) * (wide ? 2 : 1));
  if (!parsed) return Status.invalidParameter;
  call.memory.setBytes(target, Uint8Array.from(parsed.bytes));
  return 0;
}

/** Writes a text; the address of its zero. */
function show(call: ApiCall, target: number, wide: boolean, value: string): number {
  store(call, target, value, wide);
  return target + value.length * (wide ? 2 : 1);
}

const pair = (byte: number) => byte.toString(16).padStart(2, "0").toUpperCase();

const GUID = /^\{([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\}/i;

/** Bytes of a GUID's text: three numbers, least byte first, then the rest as it stands. */
export function guidBytes(value: string): number[] | undefined {
  const parts = GUID.exec(value)?.slice(1);
  if (!parts) return undefined;
  const bytes = (hex: string) => hex.match(/../g)!.map((two) => parseInt(two, 16));
  return parts.flatMap((part, i) => i < 3 ? bytes(part).reverse() : bytes(part));
}

export const addresses: Handlers = {
  ...both({
    RtlIpv4StringToAddress: (wide) => (call, at, strict, terminator, target) =>
      give(
        call,
        at,
        wide,
        parseIpv4(text(call, at, wide, MAX_TEXT), (strict & 255) !== 0),
        terminator,
        target,
      ),
    RtlIpv6StringToAddress: (wide) => (call, at, terminator, target) =>
      give(call, at, wide, parseIpv6(text(call, at, wide, MAX_TEXT)), terminator, target),
    RtlEthernetStringToAddress: (wide) => (call, at, terminator, target) =>
      give(call, at, wide, parseEthernet(text(call, at, wide, MAX_TEXT)), terminator, target),
    RtlIpv4AddressToString: (wide) => (call, at, target) =>
      show(call, target, wide, [...call.memory.bytes(at, 4)].join(".")),
    RtlEthernetAddressToString: (wide) => (call, at, target) =>
      show(call, target, wide, [...call.memory.bytes(at, 6)].map(pair).join("-")),
  }),
  RtlGUIDFromString: (call, string, target) => {
    const bytes = guidBytes(countedString(call, string, true));
    if (!bytes) return Status.invalidParameter;
    call.memory.setBytes(target, Uint8Array.from(bytes));
    return 0;
  },
  RtlStringFromGUID: (call, at, string) => {
    const bytes = [...call.memory.bytes(at, 16)];
    const order = [3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15];
    const value = `{${order.map((i) => i < 0 ? "-" : pair(bytes[i])).join("")}}`;
    const block = call.heaps.allocate(call.heaps.processHeap, 2 * value.length + 2, false);
    if (block === 0) return Status.noMemory;
    call.memory.setBytes(block, encode(value, true, true));
    call.memory.setU16(string, 2 * value.length);
    call.memory.setU16(string + 2, 2 * value.length + 2);
    call.memory.setU32(string + 4, block);
    return 0;
  },
};
