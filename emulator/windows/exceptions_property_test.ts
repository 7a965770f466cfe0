// SPDX-License-Identifier: Apache-2.0
// Records, contexts and chains are the guest's word: whatever they hold, a run comes to an end that has a name.
import assert from "node:assert/strict";
import fc from "fast-check";
import { program, runProgram } from "./testing/guest.ts";

/** Functions that take records, contexts and frames, with their argument words. */
const FUNCTIONS = {
  RtlUnwind: 4,
  NtContinue: 2,
  NtRaiseException: 3,
  RtlRaiseException: 1,
  KiUserExceptionDispatcher: 0,
  RtlAddVectoredExceptionHandler: 2,
  RtlAddVectoredContinueHandler: 2,
} as const;

/** A word: a number, or a place in the program's data, its code or its stack. */
const word = fc.oneof(
  { weight: 4, arbitrary: fc.nat(0x3ff).map((at) => `data + ${at & ~3}`) },
  {
    weight: 2,
    arbitrary: fc.constantFrom("handler", "solves", "start", "-1", "0", "1", "esp", "0x7ffdf000"),
  },
  { weight: 2, arbitrary: fc.constantFrom(0x1_003f, 0x80000003, 0xc0000005, 0x1b, 0x23, 0x202).map(String) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }).map((value) => `0x${value.toString(16)}`),
  },
);
const call = fc.record({
  name: fc.constantFrom(...Object.keys(FUNCTIONS) as (keyof typeof FUNCTIONS)[]),
  args: fc.array(word, { minLength: 4, maxLength: 4 }),
  chain: word,
  fault: fc.constantFrom("int3", "ud2", "mov dword ptr [0], eax", "nop"),
});

/** Puts a word into EAX. */
const load = (value: string) => value === "esp" ? "  lea eax, [esp + 4]" : `  mov eax, ${value}`;

function wild(calls: readonly (typeof call extends fc.Arbitrary<infer T> ? T : never)[], data: string[]) {
  const text = calls.map(({ name, args, chain, fault }, index) => `
  mov dword ptr [next], after_${index}
${load(chain)}
  mov dword ptr fs:[0], eax
${args.slice(0, FUNCTIONS[name]).map((arg) => `${load(arg)}\n  push eax`).join("\n")}
  call dword ptr [${name}]
  ${fault}
after_${index}:`).join("\n");
  return program(`
%import ntdll.dll ${Object.keys(FUNCTIONS).join(", ")}
%import kernel32.dll ExitProcess
%entry start
%section .text rx
start:
  push rescue
  push 1
  call dword ptr [RtlAddVectoredExceptionHandler]
  mov dword ptr [stack], esp
${text}
  push 0
  call dword ptr [ExitProcess]
; Goes on with the next call, whatever happened.
rescue:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax + 4]
  mov ecx, dword ptr [next]
  mov dword ptr [eax + 0xb8], ecx
  mov ecx, dword ptr [stack]
  mov dword ptr [eax + 0xc4], ecx
  or eax, -1
  ret 4
handler:
  mov eax, 1
  ret
solves:
  or eax, -1
  ret 4
%section .data rw
next:
  .long 0
stack:
  .long 0
data:
${data.map((value) => `  .long ${value === "esp" ? "data" : value}`).join("\n")}
  .zero 0x800
`);
}

Deno.test("wild records, contexts and chains end a program, never the model", () => {
  const ends = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.array(call, { minLength: 1, maxLength: 5 }),
      fc.array(word, { minLength: 1, maxLength: 200 }),
      (calls, data) => {
        const { end } = runProgram(wild(calls, data), 200_000);
        const reason = end?.reason ?? "budget";
        assert.ok(["exited", "crashed", "budget", "deadlock"].includes(reason), `${reason}: ${end?.detail}`);
        ends.set(reason, (ends.get(reason) ?? 0) + 1);
      },
    ),
    { numRuns: 20, seed: 20261127 },
  );
  assert.ok(ends.size > 1, `all end alike: ${[...ends.keys()]}`);
});
