// SPDX-License-Identifier: Apache-2.0
// Every exported function, called by a program with any arguments: it gives the stack back as its convention says,
// or raises an exception the program can handle, or ends the program in a way that is said. Nothing else.
import assert from "node:assert/strict";
import { createXenModel, machineFramesFor } from "../../hypervisor/mod.ts";
import type { ApiCall, DllDefinition } from "../api.ts";
import { WindowsGuest } from "../mod.ts";
import { program } from "../testing/guest.ts";
import { dlls } from "./mod.ts";

const FRAMES = 32 * 256;
/** Instructions after which a call that does not come back is given up. */
const PATIENCE = 400_000;
const SLICE = 200_000;
/** Guests that may be used up by functions that end or block their program. */
const MAX_GUESTS = 200;
/** Calls of one program: what they leave behind makes the next ones fail early. */
const MAX_CALLS = 400;
/** Most argument words of any function; a cdecl function is given this many. */
const CDECL_WORDS = 12;
const MAX_WORDS = 64;

// The program asks again and again what to call (GetVersion, spied on), pushes the arguments and calls it. After an
// exception it goes on where it asks, with the stack it had there. Other threads end at their first exception.
const CALLER = program(`
%import kernel32.dll GetVersion, AddVectoredExceptionHandler, ExitThread
%entry start
%section .text rwx
start:
  push handler
  push 1
  call dword ptr [AddVectoredExceptionHandler]
  mov dword ptr [thread], 0
  mov eax, dword ptr fs:[0x24]
  mov dword ptr [thread], eax
  sub esp, 0x400
  mov dword ptr [stack], esp
again:
  cld
  call dword ptr [GetVersion]
  mov ecx, dword ptr [count]
next:
  test ecx, ecx
  jz go
  push dword ptr [arguments + 4 * ecx - 4]
  dec ecx
  jmp next
go:
  call eax
  add esp, dword ptr [clean]
  jmp again
die:
  push 0
  call dword ptr [ExitThread]
handler:
  mov edx, dword ptr [esp + 4]
  mov edx, dword ptr [edx + 4]
  mov eax, dword ptr fs:[0x24]
  cmp eax, dword ptr [thread]
  jne other
  mov dword ptr [edx + 0xb8], again
  mov eax, dword ptr [stack]
  mov dword ptr [edx + 0xc4], eax
  mov dword ptr [edx + 0xc0], 0x202
  mov dword ptr [faulted], 1
  or eax, -1
  ret 4
other:
  mov dword ptr [edx + 0xb8], die
  or eax, -1
  ret 4

%section .data rw
table:
count:
  .long 0
clean:
  .long 0
faulted:
  .long 0
stack:
  .long 0
thread:
  .long 0
arguments:
  .zero ${4 * MAX_WORDS}
buffer:
  .zero 0x4000
`);
const TABLE = 0x402000;
const Offset = { count: 0, clean: 4, faulted: 8, stack: 12, arguments: 20, buffer: 20 + 4 * MAX_WORDS };
const BUFFER_SIZE = 0x4000;

interface Target {
  readonly dll: string;
  readonly name: string;
  /** Words on the stack, and how many of them the caller takes away. */
  readonly words: number;
  readonly cleaned: number;
  readonly modelled: boolean;
}

/** What ends its program is tried in msvcrt; the later runtimes have the same. */
const LATER_RUNTIME = /^(crtdll|msvcr\d+|ucrtbase)\.dll$/;
const ENDING =
  /^(_?exit|_Exit|quick_exit|abort|_amsg_exit|_purecall|.*terminate.*|raise|_endthread(ex)?|_sleep|_wassert|_invoke_watson|.*_noreturn|longjmp)$/;

/** Everything that is exported as code, functions that are only known by name among it. */
function targets(): Target[] {
  const all: Target[] = [];
  for (const { name: dll, functions, known = {} } of dlls) {
    for (const { name, convention, args } of functions) {
      if (name === "GetVersion" || (LATER_RUNTIME.test(dll) && ENDING.test(name))) continue;
      const words = convention === "cdecl" ? CDECL_WORDS : args;
      all.push({ dll, name, words, cleaned: convention === "cdecl" ? words : 0, modelled: true });
    }
    for (const [name, words] of Object.entries(known)) {
      all.push({ dll, name, words, cleaned: 0, modelled: false });
    }
  }
  return all;
}

/** What does not come back by its nature, with the stack as it was. */
const ELSEWHERE =
  /^(RtlUnwind|(Nt|Zw)(Continue|CallbackReturn)|RtlUserThreadStart|LdrInitializeThunk|KiUserExceptionDispatcher)$/;

Deno.test("every exported function gives the stack back, whatever its arguments", () => {
  let seed = 20101121;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(seed / 2 ** 32 * below);
  };
  const all = targets();
  assert.deepEqual(all.filter(({ words }) => words > MAX_WORDS), []);
  let position = 0;
  let returned = 0;
  let faults = 0;
  let home = 0;
  let first = 0;
  const wrong: string[] = [];

  const value = (call: ApiCall) => {
    const buffer = TABLE + Offset.buffer;
    const known = [0, 1, 2, 8, 0xffffffff, 0xfffffffe, buffer, 0x400000, 0x7ffe0000, call.teb, call.peb];
    switch (random(5)) {
      case 0:
        return known[random(known.length)];
      case 1:
        return buffer + random(BUFFER_SIZE - 64);
      case 2:
        return random(0x100);
      case 3:
        return random(2 ** 32);
      default:
        return 4 * random(64);
    }
  };
  /** The program is back: was the stack as it should be? Then the next function. */
  const ask = (call: ApiCall): number => {
    const { memory } = call;
    if (home === 0) home = call.stack;
    else {
      const before = all[position - 1];
      if (memory.u32(TABLE + Offset.faulted) !== 0) faults++;
      else returned++;
      if (call.stack !== home && !ELSEWHERE.test(before.name)) {
        wrong.push(`${before.dll}!${before.name}: ${call.stack - home} bytes off`);
      }
      // The same place again, so that one wrong function does not make all others wrong.
      home = call.stack;
    }
    while (position < all.length && position - first < MAX_CALLS) {
      const { dll, name, words, cleaned, modelled } = all[position++];
      const module = call.modules.load(dll);
      const address = module ? call.modules.export(module, name) : 0;
      if (address === 0) {
        // What was called before may have spoiled the process; a new one must find it.
        if (position - 1 > first) {
          position--;
          break;
        }
        wrong.push(`${dll}!${name}: not found`);
        continue;
      }
      // Whoever has no model does not look at memory either.
      for (let i = 0; modelled && i < 24; i++) {
        memory.setU32(TABLE + Offset.buffer + 4 * random(0x400), value(call));
      }
      for (let i = 0; modelled && i < 32; i++) {
        memory.setU8(TABLE + Offset.buffer + random(0x1000), 0x20 + random(95));
      }
      for (let i = 0; i < words; i++) memory.setU32(TABLE + Offset.arguments + 4 * i, value(call));
      memory.setU32(TABLE + Offset.count, words);
      memory.setU32(TABLE + Offset.clean, 4 * cleaned);
      memory.setU32(TABLE + Offset.faulted, 0);
      return address;
    }
    call.exitProcess(99);
    return 0;
  };
  const spied = dlls.map((dll): DllDefinition =>
    dll.name !== "kernel32.dll" ? dll : {
      ...dll,
      functions: dll.functions.map((one) => one.name !== "GetVersion" ? one : { ...one, handler: ask }),
    }
  );

  let guests = 0;
  while (position < all.length) {
    assert.ok(guests++ < MAX_GUESTS, `${guests} guests were used up, the last by ${all[position - 1]?.name}`);
    const xen = createXenModel({ frames: machineFramesFor(FRAMES) });
    const guest = new WindowsGuest(xen.createDomain({ guestFrames: FRAMES }), { dlls: spied });
    guest.addProcess({ name: "caller.exe", bytes: CALLER, args: [] });
    home = 0;
    first = position;
    let [last, since] = [position, guest.instructions];
    for (;;) {
      const label = () => `${all[position - 1]?.dll}!${all[position - 1]?.name}`;
      let end;
      try {
        ({ end } = guest.run(SLICE, () => false));
      } catch (error) {
        throw new Error(`${label()}: ${error}`, { cause: error });
      }
      if (end) {
        assert.notEqual(end.reason, "unsupported", `${label()}: ${end.detail}`);
        break;
      }
      if (position !== last) [last, since] = [position, guest.instructions];
      else if (guest.instructions - since > PATIENCE) break;
    }
    assert.ok(position > first, "the program asked for a function");
  }
  assert.deepEqual(wrong, []);
  assert.ok(returned > 0.9 * all.length, `${returned} of ${all.length} came back, ${faults} by an exception`);
});
