// SPDX-License-Identifier: Apache-2.0
// Whole programs in the guest: how they start, run beside others, and end.
import assert from "node:assert/strict";
import { need } from "../../tests/means.ts";
import { Eprocess } from "./structures.ts";
import { bootKernel, program, runProgram } from "./testing/guest.ts";

function detailOf(text: string): string {
  const { end } = runProgram(program(text));
  return `${end?.reason}: ${end?.detail}`;
}

Deno.test("a program starts with the registers and structures of Windows 7", () => {
  const detail = detailOf(`
%entry start
%section .text rx
start:
  cmp ebx, dword ptr fs:[0x30]
  jne bad
  mov ecx, start
  cmp edx, ecx
  jne bad
  test ecx, ecx
  mov eax, dword ptr fs:[0x18]
  cmp dword ptr [eax + 0x30], ebx
  jne bad
  cmp dword ptr [ebx + 8], 0x400000
  jne bad
  cmp dword ptr [ebx + 0xa4], 6
  jne bad
  movzx eax, word ptr [ebx + 0xac]
  cmp eax, 7601
  jne bad
  cmp byte ptr [ebx + 2], 0
  jne bad
  mov eax, dword ptr [ebx + 0x0c]
  mov esi, dword ptr [eax + 0x0c]
  cmp dword ptr [esi + 0x18], 0x400000
  jne bad
  mov esi, dword ptr [esi]
  mov eax, dword ptr [esi + 0x30]
  cmp dword ptr [eax], 0x0074006e
  jne bad
  mov esi, dword ptr [esi]
  mov eax, dword ptr [esi + 0x18]
  cmp word ptr [eax], 0x5a4d
  jne bad
  cmp dword ptr [0x7ffe026c], 6
  jne bad
  mov eax, 0x2a
  ret
bad:
  mov eax, 1
  ret
`);
  assert.equal(detail, "exited: exit code 42");
});

Deno.test("a program that waits for ever is a deadlock, not an endless run", () => {
  assert.match(
    detailOf(`
%import kernel32.dll Sleep
%entry start
%section .text rx
start:
  push -1
  call dword ptr [Sleep]
`),
    /^deadlock: /,
  );
});

Deno.test("sleeping passes time without instructions, up to a day", () => {
  const { end } = runProgram(program(`
%import kernel32.dll Sleep, GetTickCount, ExitProcess
%entry start
%section .text rx
start:
  call dword ptr [GetTickCount]
  mov esi, eax
  push 600000
  call dword ptr [Sleep]
  call dword ptr [GetTickCount]
  sub eax, esi
  push eax
  call dword ptr [ExitProcess]
`));
  assert.equal(end?.reason, "exited");
  const slept = Number(end!.detail.slice("exit code ".length));
  assert.ok(slept >= 600_000 && slept < 600_100, String(slept));
  assert.ok(end!.instructions < 10_000, `${end!.instructions} instructions`);
  assert.match(
    detailOf(`
%import kernel32.dll Sleep
%entry start
%section .text rx
start:
  push 3600000
  call dword ptr [Sleep]
  jmp start
`),
    /^budget: .*a day/,
  );
});

Deno.test("an unknown function ends the run by name, only when it is called", () => {
  const text = (call: boolean) => `
%import kernel32.dll NoSuchFunction, ExitProcess
%entry start
%section .text rx
start:
  ${call ? "call dword ptr [NoSuchFunction]" : ""}
  push 3
  call dword ptr [ExitProcess]
`;
  assert.equal(detailOf(text(false)), "exited: exit code 3");
  const { end, missing } = runProgram(program(text(true)));
  assert.equal(
    `${end?.reason}: ${end?.detail}`,
    "unsupported: call of kernel32.dll!NoSuchFunction, whose arguments are not known",
  );
  assert.deepEqual(missing, [{ dll: "kernel32.dll", name: "NoSuchFunction", calls: 1 }]);
});

Deno.test("threads take turns, and the process lives until its last thread ends", () => {
  const detail = detailOf(`
%import kernel32.dll CreateThread, ExitThread, WaitForSingleObject
%entry start
%section .text rx
start:
  push 0
  push 0
  push 0
  push worker
  push 0
  push 0
  call dword ptr [CreateThread]
spin:
  cmp dword ptr [flag], 0
  je spin
  push -1
  push eax
  call dword ptr [WaitForSingleObject]
  add eax, dword ptr [flag]
  ret
worker:
  mov ecx, 300000
work:
  dec ecx
  jnz work
  mov dword ptr [flag], 0x11
  xor eax, eax
  ret 4
%section .data rw
flag:
  .long 0
`);
  assert.equal(detail, "exited: exit code 17");
});

Deno.test("instructions that ring 3 may not run leave no trace in the kernel's memory", () => {
  const text = `
%import kernel32.dll ExitProcess
%entry start
%section .text rx
start:
  push handler
  push dword ptr fs:[0]
  mov dword ptr fs:[0], esp
  mov dword ptr [0x82800000], 0x41414141
  push 1
  call dword ptr [ExitProcess]
handler:
  push 2
  call dword ptr [ExitProcess]
`;
  assert.equal(detailOf(text), "exited: exit code 2");
});

Deno.test("the same program runs the same way, whatever the size of the steps", () => {
  const bytes = program(`
%import kernel32.dll CreateThread, Sleep, GetTickCount
%entry start
%section .text rx
start:
  push 0
  push 0
  push 0
  push worker
  push 0
  push 0
  call dword ptr [CreateThread]
  mov ecx, 250000
more:
  dec ecx
  jnz more
  push 100
  call dword ptr [Sleep]
  rdtsc
  and eax, 0xffffff
  ret
worker:
  mov ecx, 333333
work:
  dec ecx
  jnz work
  call dword ptr [GetTickCount]
  ret 4
`);
  const first = runProgram(bytes);
  assert.equal(first.end?.reason, "exited");
  assert.deepEqual(runProgram(bytes), first);
  assert.deepEqual(runProgram(bytes, 20_000_000, 7919), first);
});

Deno.test("the structures in guest memory say which process is which", () => {
  const { kernel, process } = bootKernel();
  const { memory } = kernel;
  const names: string[] = [];
  const head = kernel.processList;
  for (let link = memory.get32(head); link !== head; link = memory.get32(link)) {
    const eprocess = link - Eprocess.activeProcessLinks;
    const name = memory.read(eprocess + Eprocess.imageFileName, 15);
    names.push(`${memory.get32(eprocess + Eprocess.uniqueProcessId)} ${new TextDecoder().decode(name)}`);
  }
  assert.deepEqual(names.map((name) => name.replaceAll("\0", "")), ["4 System", `${process.pid} test.exe`]);
  assert.equal(memory.get32(process.eprocess + Eprocess.peb), process.user!.peb);
  assert.equal(memory.get32(process.eprocess + 0x18), process.user!.space.cr3);
});

const FILES = "/usr/share/clamav-testfiles";
for (const name of ["fsg", "upx", "mew", "petite", "pespin", "aspack", "upack"]) {
  Deno.test({
    name: `clam-${name}.exe unpacks itself and runs to its end`,
    ignore: !need("clamav-testfiles"),
    fn() {
      const { end, output, missing } = runProgram(Deno.readFileSync(`${FILES}/clam-${name}.exe`));
      assert.equal(`${end?.reason}: ${end?.detail}`, "exited: exit code 0");
      assert.match(output, /This is a ClamAV test file/);
      assert.deepEqual(missing, []);
    },
  });
}

Deno.test("an APC runs in an alertable sleep, which it ends", () => {
  const detail = detailOf(`
%import kernel32.dll QueueUserAPC, SleepEx, ExitProcess
%entry start
%section .text rx
start:
  push 0x21
  push -2
  push routine
  call dword ptr [QueueUserAPC]
  push 1
  push -1
  call dword ptr [SleepEx]
  add eax, dword ptr [seen]
  push eax
  call dword ptr [ExitProcess]
routine:
  mov eax, dword ptr [esp + 4]
  mov dword ptr [seen], eax
  ret 4
%section .data rw
seen:
  .long 0
`);
  assert.equal(detail, `exited: exit code ${0xc0 + 0x21}`);
});

Deno.test("time in the shared page goes on while a program watches it", () => {
  const detail = detailOf(`
%entry start
%section .text rx
start:
  mov esi, dword ptr [0x7ffe0008]
wait:
  mov eax, dword ptr [0x7ffe0008]
  sub eax, esi
  cmp eax, 2500
  jb wait
  mov eax, 9
  ret
`);
  assert.equal(detail, "exited: exit code 9");
});
