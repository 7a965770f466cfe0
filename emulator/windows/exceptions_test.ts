// SPDX-License-Identifier: Apache-2.0
// Programs that raise exceptions and look at what Windows shows them.
import assert from "node:assert/strict";
import { Status } from "./constants.ts";
import { program, runProgram, withoutNx } from "./testing/guest.ts";

const IMPORTS = `
%import kernel32.dll ExitProcess, VirtualAlloc, VirtualProtect, RtlUnwind, RaiseException, Sleep
%import kernel32.dll AddVectoredExceptionHandler, SetUnhandledExceptionFilter, GetTickCount
%entry start
%section .text rx
`;

/** Exit code of a program. */
function exitCode(text: string, change = (bytes: Uint8Array) => bytes): number {
  const { end } = runProgram(change(program(IMPORTS + text)));
  const match = /^exit code (\d+)$/.exec(end?.detail ?? "");
  assert.ok(match, JSON.stringify(end));
  return Number(match[1]);
}

const INSTALL = `
  push handler
  push dword ptr fs:[0]
  mov dword ptr fs:[0], esp
`;

/** Raises at \`fault\`; its handler leaves with the code, plus the address's distance from \`fault\`. */
function raised(body: string): { code: number; offset: number } {
  const exit = exitCode(`
start:
  ${INSTALL}
  ${body}
  push 0x77
  call dword ptr [ExitProcess]
handler:
  mov eax, dword ptr [esp + 4]
  mov ecx, dword ptr [eax + 12]
  mov edx, fault
  sub ecx, edx
  shl ecx, 16
  add ecx, dword ptr [eax]
  push ecx
  call dword ptr [ExitProcess]
`);
  // Codes have small low halves, so distances can be added above them.
  return { code: exit & 0xffff, offset: (((exit >>> 16) - 0xc000) << 16) >> 16 };
}

const low = (status: number) => status & 0xffff;

Deno.test("faults are reported with the codes and addresses of Windows", () => {
  const at = (body: string) => raised(body);
  const faults: readonly (readonly [string, number])[] = [
    ["xor eax, eax\nfault: mov dword ptr [eax], 1", Status.accessViolation],
    ["xor ecx, ecx\nfault: div ecx", Status.integerDivideByZero],
    ["fault: ud2", Status.illegalInstruction],
    ["fault: sti", Status.privilegedInstruction],
    ["fault: hlt", Status.privilegedInstruction],
    ["fault: in al, dx", Status.privilegedInstruction],
    ["fault: mov eax, cr0", Status.privilegedInstruction],
    ["fault: int 0x21", Status.accessViolation],
    ["mov eax, 0x90000000\nfault: mov eax, dword ptr [eax]", Status.accessViolation],
  ];
  for (const [body, status] of faults) {
    assert.deepEqual(at(body), { code: low(status), offset: 0 }, body);
  }
});

Deno.test("breakpoints, single steps and the debug service have their own addresses", () => {
  // Their codes begin with 0x8000: the distance comes out shifted by that.
  const at = (body: string) => {
    const { code, offset } = raised(body);
    return { code, offset: ((offset + 0xc000 - 0x8000) << 16) >> 16 };
  };
  assert.deepEqual(at("fault: int3"), { code: low(Status.breakpoint), offset: 0 });
  assert.deepEqual(at("fault: .byte 0xcd, 3"), { code: low(Status.breakpoint), offset: 1 });
  assert.deepEqual(at("fault: .byte 0xcd, 0x2d\nnop"), { code: low(Status.breakpoint), offset: 2 });
  const step = "pushfd\nor dword ptr [esp], 0x100\npopfd\nfault: nop\nnop";
  assert.deepEqual(at(step), { code: low(Status.singleStep), offset: 1 });
});

Deno.test("during a handler the chain begins with a nested record that leads to the program's frame", () => {
  const exit = exitCode(`
start:
  ${INSTALL}
  mov esi, esp
  xor eax, eax
fault:
  mov dword ptr [eax], eax
after:
  push ebx
  call dword ptr [ExitProcess]
handler:
  mov ecx, dword ptr fs:[0]
  xor edx, edx
  cmp ecx, dword ptr [esp + 8]
  je bad
  mov ecx, dword ptr [ecx]
  cmp ecx, dword ptr [esp + 8]
  jne bad
  mov edx, 0x2a
bad:
  mov ecx, dword ptr [esp + 12]
  mov dword ptr [ecx + 0xa4], edx
  mov eax, after
  mov dword ptr [ecx + 0xb8], eax
  xor eax, eax
  ret
`);
  assert.equal(exit, 0x2a);
});

Deno.test("a handler's exception reaches the next frame; its own frame is passed over as nested", () => {
  const exit = exitCode(`
start:
  push outer
  push dword ptr fs:[0]
  mov dword ptr fs:[0], esp
  ${INSTALL}
  xor eax, eax
fault:
  mov dword ptr [eax], eax
handler:
  inc dword ptr [count]
  cmp dword ptr [count], 1
  jne pass
  ud2
pass:
  mov eax, 1
  ret
outer:
  mov eax, dword ptr [esp + 4]
  mov ecx, dword ptr [eax]
  and ecx, 0xff
  shl ecx, 8
  mov edx, dword ptr [count]
  or ecx, edx
  push ecx
  call dword ptr [ExitProcess]
%section .data rw
count:
  .long 0
`);
  // The illegal instruction in the handler, seen by the same handler once more and then by the outer one.
  assert.equal(exit, 0x1d02);
});

Deno.test("RtlUnwind calls the handlers above its target with the unwinding flag and takes them off", () => {
  const exit = exitCode(`
start:
  push outer
  push dword ptr fs:[0]
  mov dword ptr fs:[0], esp
  ${INSTALL}
  xor eax, eax
fault:
  mov dword ptr [eax], eax
handler:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax + 4]
  and eax, 2
  add dword ptr [unwound], eax
  mov eax, 1
  ret
outer:
  mov ebx, dword ptr [esp + 8]
  push 0x55
  push 0
  push back
  push ebx
  call dword ptr [RtlUnwind]
back:
  cmp eax, 0x55
  jne bad
  cmp dword ptr fs:[0], ebx
  jne bad
  mov eax, dword ptr [unwound]
  push eax
  call dword ptr [ExitProcess]
bad:
  push 0x99
  call dword ptr [ExitProcess]
%section .data rw
unwound:
  .long 0
`);
  assert.equal(exit, 2);
});

Deno.test("vectored handlers come first, and RaiseException continues behind the call", () => {
  const exit = exitCode(`
start:
  push veh
  push 1
  call dword ptr [AddVectoredExceptionHandler]
  push 0
  push 0
  push 0
  push 0x1234
  call dword ptr [RaiseException]
  mov eax, dword ptr [seen]
  push eax
  call dword ptr [ExitProcess]
veh:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax]
  mov eax, dword ptr [eax]
  mov dword ptr [seen], eax
  or eax, -1
  ret 4
%section .data rw
seen:
  .long 0
`);
  assert.equal(exit, 0x1234);
});

Deno.test("the unhandled filter is asked last, and may let the program go on", () => {
  const exit = exitCode(`
start:
  push filter
  call dword ptr [SetUnhandledExceptionFilter]
fault:
  int3
  nop
  push 0x31
  call dword ptr [ExitProcess]
filter:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax + 4]
  inc dword ptr [eax + 0xb8]
  or eax, -1
  ret 4
`);
  assert.equal(exit, 0x31);
});

Deno.test("an exception that nobody handles ends the program, with what and where", () => {
  const { end } = runProgram(program(`${IMPORTS}
start:
  mov eax, 0x12345678
  mov byte ptr [eax], 1
`));
  assert.equal(end?.reason, "crashed");
  assert.equal(end?.detail, "exception 0xc0000005 at 0x401005 (write of 0x12345678)");
});

Deno.test("a stack grows through its guard page and overflows at its end", () => {
  const touch = (bytes: number) => `
start:
  ${INSTALL}
  mov ecx, ${bytes / 4096}
  mov eax, esp
again:
  sub eax, 0x1000
fault:
  mov dword ptr [eax], 1
  dec ecx
  jnz again
  mov ecx, dword ptr fs:[8]
  sub eax, ecx
  shr eax, 12
  push eax
  call dword ptr [ExitProcess]
handler:
  mov eax, dword ptr [esp + 4]
  push dword ptr [eax]
  call dword ptr [ExitProcess]
`;
  assert.equal(exitCode(touch(0x8_0000)), 0);
  assert.equal(exitCode(touch(0x20_0000)), Status.stackOverflow);
});

Deno.test("data runs as code only in a program that does not ask for DEP", () => {
  const text = `
start:
  ${INSTALL}
  mov eax, data
  call eax
  push eax
  call dword ptr [ExitProcess]
handler:
  mov eax, dword ptr [esp + 4]
  push dword ptr [eax + 20]
  call dword ptr [ExitProcess]
%section .data rw
data:
  mov eax, 0x42
  ret
`;
  assert.equal(exitCode(text), 8, "exception parameter 0: an attempt to execute");
  assert.equal(exitCode(text, withoutNx), 0x42);
});

Deno.test("a bad pointer given to a function faults inside it, and the call can be repeated", () => {
  const exit = exitCode(`
%import kernel32.dll GetSystemTimeAsFileTime
start:
  ${INSTALL}
  push 0xdead0000
  call dword ptr [GetSystemTimeAsFileTime]
  mov eax, dword ptr [time + 4]
  shr eax, 24
  push eax
  call dword ptr [ExitProcess]
handler:
  mov eax, dword ptr [esp + 4]
  cmp dword ptr [eax], 0xc0000005
  jne bad
  mov ecx, dword ptr [esp + 12]
  mov ecx, dword ptr [ecx + 0xc4]
  mov eax, time
  mov dword ptr [ecx + 4], eax
  xor eax, eax
  ret
bad:
  push 0x99
  call dword ptr [ExitProcess]
%section .data rw
time:
  .long 0, 0
`);
  assert.equal(exit, 1, "the high half of a time in this century begins with 0x01");
});

Deno.test("a single step clears the trap flag: going on runs without another", () => {
  const exit = exitCode(`
start:
  ${INSTALL}
  pushfd
  or dword ptr [esp], 0x100
  popfd
  nop
  nop
  nop
  mov eax, dword ptr [count]
  push eax
  call dword ptr [ExitProcess]
handler:
  inc dword ptr [count]
  xor eax, eax
  ret
%section .data rw
count:
  .long 0
`);
  assert.equal(exit, 1);
});

Deno.test("frames below the one whose handler failed see a nested call, the others do not", () => {
  const exit = exitCode(`
start:
  push outer
  push dword ptr fs:[0]
  mov dword ptr fs:[0], esp
  ${INSTALL}
  ud2
handler:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax + 4]
  or dword ptr [seen], eax
  cmp dword ptr [count], 0
  jne pass
  inc dword ptr [count]
  ud2
pass:
  mov eax, 1
  ret
outer:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax + 4]
  shl eax, 8
  or eax, dword ptr [seen]
  push eax
  call dword ptr [ExitProcess]
%section .data rw
seen:
  .long 0
count:
  .long 0
`);
  assert.equal(exit, 0x10);
});

Deno.test("going on after a noncontinuable exception is an exception itself", () => {
  const { end } = runProgram(program(`${IMPORTS}
start:
  ${INSTALL}
  push 0
  push 0
  push 1
  push 0x1234
  call dword ptr [RaiseException]
handler:
  mov eax, dword ptr [esp + 4]
  cmp dword ptr [eax], 0x1234
  jne pass
  xor eax, eax
  ret
pass:
  mov eax, 1
  ret
`));
  assert.match(end?.detail ?? "", /^exception 0xc0000025 /);
});

Deno.test("a stack grows even when the program has barred its own TEB", () => {
  const exit = exitCode(`
start:
  mov ecx, dword ptr fs:[0x18]
  push old
  push 2
  push 0x1000
  push ecx
  call dword ptr [VirtualProtect]
  mov ecx, 8
  mov eax, esp
again:
  sub eax, 0x1000
  mov dword ptr [eax], 1
  dec ecx
  jnz again
  push 5
  call dword ptr [ExitProcess]
%section .data rw
old:
  .long 0
`);
  assert.equal(exit, 5);
});
