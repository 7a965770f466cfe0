// SPDX-License-Identifier: Apache-2.0
// Data execution prevention by policy, program and request; addresses with and without ASLR.
import assert from "node:assert/strict";
import type { DepPolicy, GuestSettings } from "../../core/ports.ts";
import { program, runProgram, withoutNx } from "./testing/guest.ts";

/** Ends with 7 when data runs; asks for what stands in `%ask` first, with the answer in EBX. */
function runsData(ask = ""): Uint8Array {
  return program(`
%import kernel32.dll SetProcessDEPPolicy, GetSystemDEPPolicy, GetProcessDEPPolicy, ExitProcess
%import ntdll.dll NtQueryInformationProcess
%entry start
%section .text rx
start:
${ask}
  mov eax, data
  call eax
  push eax
  call dword ptr [ExitProcess]
%section .data rw
data:
  mov eax, 7
  ret
answer:
  .long 0, 0
`);
}

/** The same with a section that Windows knows not to live with DEP. */
function protectedByAspack(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const name = new TextEncoder().encode(".aspack\0");
  const at = copy.findIndex((_, i) => new TextDecoder().decode(copy.subarray(i, i + 6)) === ".data\0");
  copy.set(name, at);
  return copy;
}

function end(bytes: Uint8Array, settings: GuestSettings): string {
  const { end } = runProgram(bytes, undefined, undefined, settings);
  return `${end?.reason}: ${end?.detail}`.replace(/ at .*/, "");
}

const BARRED = "crashed: exception 0xc0000005";
const RAN = "exited: exit code 7";

Deno.test("data runs as the policy and the program have it", () => {
  const nx = runsData();
  const old = withoutNx(nx);
  const packed = protectedByAspack(old);
  const expected: Record<DepPolicy, string[]> = {
    optin: [BARRED, RAN, RAN],
    optout: [BARRED, BARRED, RAN],
    alwayson: [BARRED, BARRED, BARRED],
  };
  for (const [dep, wanted] of Object.entries(expected)) {
    const settings = { dep: dep as DepPolicy, aslr: false };
    assert.deepEqual([nx, old, packed].map((bytes) => end(bytes, settings)), wanted, dep);
  }
});

Deno.test("a program may ask for DEP, once; what ran before does no more", () => {
  const ask = (flags: number) => `
  push ${flags}
  call dword ptr [SetProcessDEPPolicy]
  test eax, eax
  jz refused
`;
  const once = withoutNx(runsData(`  mov eax, data\n  call eax\n${ask(1)}refused:`));
  assert.equal(end(once, { dep: "optin", aslr: false }), BARRED);
  // It is permanent: taking it back fails.
  const twice = withoutNx(
    runsData(`${ask(1)}${ask(0)}  push 1\n  call dword ptr [ExitProcess]\nrefused:
  push 9
  call dword ptr [ExitProcess]`),
  );
  assert.equal(end(twice, { dep: "optin", aslr: false }), "exited: exit code 9");
  const off = withoutNx(runsData(`${ask(0)}refused:`));
  assert.equal(end(off, { dep: "optout", aslr: false }), RAN);
  assert.equal(end(off, { dep: "alwayson", aslr: false }), BARRED);
});

Deno.test("the policy can be asked for", () => {
  const asks = (what: string) => withoutNx(runsData(`${what}\n  push eax\n  call dword ptr [ExitProcess]`));
  const system = asks("  call dword ptr [GetSystemDEPPolicy]");
  const own = asks(`
  push 0
  push 4
  push answer
  push 0x22
  push -1
  call dword ptr [NtQueryInformationProcess]
  mov eax, dword ptr [answer]`);
  const shared = asks("  movzx eax, byte ptr [0x7ffe02d5]");
  const codes = (bytes: Uint8Array) =>
    (["optin", "optout", "alwayson"] as const).map((dep) =>
      Number(end(bytes, { dep, aslr: false }).split(" ").at(-1))
    );
  assert.deepEqual(codes(system), [2, 3, 1]);
  assert.deepEqual(codes(shared), [2, 3, 1]);
  assert.deepEqual(codes(own), [0x32, 1, 0xd]);
});

Deno.test("ASLR moves DLLs, stacks and heaps, the same way in every run", () => {
  const address = (what: string) =>
    program(`
%import kernel32.dll GetProcessHeap, ExitProcess
%entry start
%section .text rx
start:
${what}
  push eax
  call dword ptr [ExitProcess]
`);
  const places = [
    "  mov eax, dword ptr [ExitProcess]",
    "  mov eax, esp",
    "  call dword ptr [GetProcessHeap]",
    "  mov eax, dword ptr fs:[0x30]",
  ].map(address);
  const all = (aslr: boolean) => places.map((bytes) => end(bytes, { dep: "optin", aslr }));
  const [fixed, moved] = [all(false), all(true)];
  fixed.forEach((place, i) => assert.notEqual(moved[i], place));
  assert.deepEqual(all(true), moved);
});
