// SPDX-License-Identifier: Apache-2.0
/**
 * Small stand-ins for programs that every Windows has: they can be started, looked at and written into, and do
 * no more than wait. explorer.exe runs beside the sample; it also writes code into fresh memory and runs it a
 * few times, as an unwatched process does that the monitor must pass over.
 *
 * @module
 */
import { code } from "./assembler.ts";
import { latin1, put16, put32, words } from "./bytes.ts";

const BASE = 0x0100_0000;
const TEXT = 0x1000;
const IMPORTS = 0x2000;
/** Bytes of the import section for each DLL's tables, and for each name. */
const TABLES = 0x40;
const NAME = 0x20;
const ROUNDS = 4;
const INFINITE = 0xffffffff;

/** Imports of a program by DLL. */
type Imports = Readonly<Record<string, readonly string[]>>;
/** Code of a call through the import address table. */
type Caller = (name: string) => Uint8Array;

const push = (value: number) => code(0x68, words([value]));
/** `jmp` back over these bytes and itself. */
const loop = (body: Uint8Array) => code(body, 0xeb, -(body.length + 2) & 0xff);

/** The import section: descriptors, then for each DLL name table and address table, then the strings. */
function importSection(imports: Imports): { bytes: Uint8Array; slots: ReadonlyMap<string, number> } {
  const bytes = new Uint8Array(0x1000);
  const slots = new Map<string, number>();
  let tables = 0x100;
  let strings = 0x400;
  const text = (value: string) => {
    bytes.set(latin1(value), strings);
    strings += NAME;
    return IMPORTS + strings - NAME;
  };
  Object.entries(imports).forEach(([dll, names], index) => {
    const [lookUp, addresses] = [tables, tables + TABLES];
    tables += 2 * TABLES;
    bytes.set(words([IMPORTS + lookUp, 0, 0, text(dll), IMPORTS + addresses]), index * 20);
    names.forEach((name, i) => {
      const hint = words([text(`\0\0${name}`)]);
      bytes.set(hint, lookUp + i * 4);
      bytes.set(hint, addresses + i * 4);
      slots.set(name, BASE + IMPORTS + addresses + i * 4);
    });
  });
  return { bytes, slots };
}

/** The PE file of a program: headers, code, imports. */
function program(imports: Imports, text: (call: Caller) => Uint8Array): Uint8Array {
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
  put32(bytes, optional + 0x38, bytes.length);
  put32(bytes, optional + 0x3c, 0x1000);
  put16(bytes, optional + 0x44, 2);
  put32(bytes, optional + 0x48, 0x10_0000);
  put32(bytes, optional + 0x4c, 0x1000);
  put32(bytes, optional + 0x5c, 16);
  put32(bytes, optional + 0x68, IMPORTS);
  put32(bytes, optional + 0x6c, 20 * (Object.keys(imports).length + 1));
  const section = (index: number, name: string, rva: number, characteristics: number) => {
    const entry = optional + 0xe0 + index * 40;
    bytes.set(latin1(name), entry);
    [0x1000, rva, 0x1000, rva].forEach((value, i) => put32(bytes, entry + 8 + i * 4, value));
    put32(bytes, entry + 36, characteristics);
  };
  section(0, ".text", TEXT, 0x6000_0020);
  section(1, ".idata", IMPORTS, 0xc000_0040);
  const { bytes: table, slots } = importSection(imports);
  bytes.set(table, IMPORTS);
  bytes.set(text((name) => code(0xff, 0x15, words([slots.get(name)!]))), TEXT);
  return bytes;
}

/** Waits for APCs without end. */
const waits = (call: Caller) => loop(code(push(1), push(INFINITE), call("SleepEx")));

/** The stand-in for explorer.exe. */
export function explorerProgram(): Uint8Array {
  return program({ "KERNEL32.dll": ["VirtualAlloc", "VirtualFree", "Sleep", "SleepEx"] }, (call) => {
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
    return code(0xbb, words([ROUNDS]), body, words([-(body.length + 4)]), waits(call));
  });
}

/** A program with a window's message loop and no window: notepad.exe, calc.exe. */
function windowProgram(): Uint8Array {
  const imports = { "KERNEL32.dll": ["ExitProcess"], "USER32.dll": ["GetMessageA", "DispatchMessageA"] };
  return program(imports, (call) => {
    // sub esp, 20h; then: mov eax, esp; push 0, 0, 0, eax; call GetMessageA; test eax, eax; jz over the rest
    const dispatch = code(0x8b, 0xc4, 0x50, call("DispatchMessageA"));
    const get = code(0x8b, 0xc4, 0x6a, 0, 0x6a, 0, 0x6a, 0, 0x50, call("GetMessageA"), 0x85, 0xc0);
    const body = code(get, 0x74, dispatch.length + 2, dispatch);
    return code(0x83, 0xec, 0x20, loop(body), push(0), call("ExitProcess"));
  });
}

const serviceProgram = () => program({ "KERNEL32.dll": ["SleepEx"] }, waits);

/** A program that ends at once: what its command line asks for is not done. */
const shellProgram = () =>
  program({ "KERNEL32.dll": ["ExitProcess"] }, (call) => code(push(0), call("ExitProcess")));

/** The stand-ins, by path. */
export const SYSTEM_PROGRAMS: Readonly<Record<string, () => Uint8Array>> = {
  "C:\\Windows\\explorer.exe": explorerProgram,
  "C:\\Windows\\notepad.exe": windowProgram,
  "C:\\Windows\\System32\\notepad.exe": windowProgram,
  "C:\\Windows\\System32\\calc.exe": windowProgram,
  "C:\\Windows\\System32\\svchost.exe": serviceProgram,
  "C:\\Windows\\System32\\dllhost.exe": serviceProgram,
  "C:\\Windows\\System32\\rundll32.exe": shellProgram,
  "C:\\Windows\\System32\\regsvr32.exe": shellProgram,
  "C:\\Windows\\System32\\cmd.exe": shellProgram,
};
