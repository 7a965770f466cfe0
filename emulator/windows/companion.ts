// SPDX-License-Identifier: Apache-2.0
/**
 * The program that runs beside the sample: a small stand-in for explorer.exe. It writes code into fresh
 * memory and runs it a few times, as an unwatched process does that the monitor must pass over, then sleeps.
 *
 * @module
 */
import { code } from "./assembler.ts";
import { latin1, put16, put32, words } from "./bytes.ts";

const BASE = 0x0100_0000;
const ROUNDS = 4;
const TEXT = 0x1000;
const IMPORTS = 0x2000;
const FUNCTIONS = ["VirtualAlloc", "VirtualFree", "Sleep"] as const;
/** Import address table: behind the descriptors and the name table. */
const TABLE = IMPORTS + 0x80;

function call(name: typeof FUNCTIONS[number]): Uint8Array {
  return code(0xff, 0x15, words([BASE + TABLE + FUNCTIONS.indexOf(name) * 4]));
}

const push = (value: number) => code(0x68, words([value]));

/** The program's code. */
function text(): Uint8Array {
  // What is written and run: mov eax, 600dc0deh; ret; padded to 8 bytes.
  const [low, high] = [0x0dc0_deb8, 0x9090_c360];
  const body = code(
    ...[push(0x40), push(0x3000), push(0x1000), push(0), call("VirtualAlloc")],
    // mov edi, eax; mov dword [edi], low; mov dword [edi+4], high; call edi
    ...[0x8b, 0xf8, 0xc7, 0x07, words([low]), 0xc7, 0x47, 4, words([high]), 0xff, 0xd7],
    ...[push(0x8000), push(0), 0x57, call("VirtualFree")],
    ...[push(700), call("Sleep")],
    // dec ebx; jnz (the start of this body)
    ...[0x4b, 0x0f, 0x85],
  );
  const start = code(0xbb, words([ROUNDS]), body, words([-(body.length + 4)]));
  const sleep = code(push(0xffffffff), call("Sleep"));
  return code(start, sleep, 0xeb, -(sleep.length + 2) & 0xff);
}

/** The bytes of the program's PE file. */
export function companionProgram(): Uint8Array {
  const bytes = new Uint8Array(0x3000);
  const at = 0x80;
  const optional = at + 0x18;
  put16(bytes, 0, 0x5a4d);
  put32(bytes, 0x3c, at);
  put32(bytes, at, 0x4550);
  put16(bytes, at + 4, 0x14c);
  put16(bytes, at + 6, 2);
  put16(bytes, at + 0x14, 0xe0);
  put16(bytes, at + 0x16, 0x103);
  put16(bytes, optional, 0x10b);
  put32(bytes, optional + 0x10, TEXT);
  put32(bytes, optional + 0x1c, BASE);
  put32(bytes, optional + 0x20, 0x1000);
  put32(bytes, optional + 0x24, 0x1000);
  for (const version of [0x28, 0x30]) put32(bytes, optional + version, 0x0001_0006);
  put32(bytes, optional + 0x38, 0x3000);
  put32(bytes, optional + 0x3c, 0x1000);
  put16(bytes, optional + 0x44, 2);
  put32(bytes, optional + 0x48, 0x10_0000);
  put32(bytes, optional + 0x4c, 0x1000);
  put32(bytes, optional + 0x5c, 16);
  put32(bytes, optional + 0x68, IMPORTS);
  put32(bytes, optional + 0x6c, 40);
  const section = (index: number, name: string, rva: number, characteristics: number) => {
    const entry = optional + 0xe0 + index * 40;
    bytes.set(latin1(name), entry);
    [0x1000, rva, 0x1000, rva].forEach((value, i) => put32(bytes, entry + 8 + i * 4, value));
    put32(bytes, entry + 36, characteristics);
  };
  section(0, ".text", TEXT, 0x6000_0020);
  section(1, ".idata", IMPORTS, 0xc000_0040);
  bytes.set(text(), TEXT);
  // One descriptor, names table behind it, then the address table, then the strings.
  const strings = IMPORTS + 0x100;
  bytes.set(words([IMPORTS + 0x40, 0, 0, strings, TABLE]), IMPORTS);
  bytes.set(latin1("KERNEL32.dll"), strings);
  FUNCTIONS.forEach((name, i) => {
    const hint = strings + 0x20 + i * 0x20;
    bytes.set(latin1(name), hint + 2);
    put32(bytes, IMPORTS + 0x40 + i * 4, hint);
    put32(bytes, TABLE + i * 4, hint);
  });
  return bytes;
}
