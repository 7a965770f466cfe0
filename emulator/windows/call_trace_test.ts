// SPDX-License-Identifier: Apache-2.0
// The trace of a program's calls.
import assert from "node:assert/strict";
import { Status } from "./constants.ts";
import { program, runProgram } from "./testing/guest.ts";

/** The trace in words: what was called, with texts or numbers, and the result where it is a small number. */
function trace(text: string): string[] {
  const { calls } = runProgram(program(text)).calls;
  return calls.map(({ name, args, result }) => {
    const words = args.map(({ value, text }) => text === undefined ? value.toString(16) : `"${text}"`);
    return `${name}(${words.join(", ")})${result !== undefined && result < 0x1_0000 ? ` = ${result}` : ""}`;
  });
}

Deno.test("a program's calls are traced in order, with texts and results", () => {
  assert.deepEqual(
    trace(`
%import kernel32.dll lstrlenA, lstrlenW, ExitProcess
%entry start
%section .text rx
start:
  mov eax, narrow
  push eax
  call dword ptr [lstrlenA]
  mov eax, wide
  push eax
  call dword ptr [lstrlenW]
  push 7
  call dword ptr [ExitProcess]
%section .data rw
narrow:
  .asciz "a narrow text"
wide:
  .byte 0x77, 0, 0x69, 0, 0x64, 0, 0x65, 0, 0, 0
`),
    ['lstrlenA("a narrow text") = 13', 'lstrlenW("wide") = 4', "ExitProcess(7)"],
  );
});

Deno.test("an exception stands in the trace with its code and address, and the trace goes on behind it", () => {
  const run = runProgram(program(`
%import kernel32.dll SetUnhandledExceptionFilter, ExitProcess
%entry start
%section .text rx
start:
  mov eax, filter
  push eax
  call dword ptr [SetUnhandledExceptionFilter]
  xor eax, eax
  mov dword ptr [eax], 1
filter:
  push 3
  call dword ptr [ExitProcess]
`));
  const { calls, made } = run.calls;
  assert.deepEqual(calls.map(({ name }) => name), [
    "SetUnhandledExceptionFilter",
    "KiUserExceptionDispatcher",
    "ExitProcess",
  ]);
  assert.equal(made, 3);
  const [first, exception] = calls;
  assert.equal(exception.args[0].value, Status.accessViolation);
  assert.equal(exception.from, 0);
  // The write stands two bytes behind the place the first call returns to.
  assert.equal(exception.args[1].value, first.from + 2);
});
