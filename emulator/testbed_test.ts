// SPDX-License-Identifier: Apache-2.0
// The test bed through the ports of the core alone.
import assert from "node:assert/strict";
import { InputError } from "../core/ports.ts";
import type { Emulation, EmulationEnd, MonitorEvent } from "../core/ports.ts";
import { testbed } from "./testbed.ts";
import { program } from "./windows/testing/guest.ts";

const UNPACKER = program(`
%import kernel32.dll VirtualAlloc, ExitProcess, Sleep
%entry start
%section .text rx
start:
  push 3000
  call dword ptr [Sleep]
  push 0x40
  push 0x3000
  push 0x1000
  push 0
  call dword ptr [VirtualAlloc]
  mov dword ptr [eax], 0x00002ab8
  mov dword ptr [eax + 4], 0x0000c300
  call eax
  push eax
  call dword ptr [ExitProcess]
`);

function load(name: string, bytes: Uint8Array, maxInstructions = 1_000_000, memory?: number): Emulation {
  return testbed.load({ name, bytes }, { maxInstructions, args: ["one", "two words"], memory });
}

/** Runs to the end as the service does: fetch and acknowledge what there is after each step. */
function drain(emulation: Emulation, slice: number): { end: EmulationEnd; events: MonitorEvent[] } {
  const { hypervisor, domain } = emulation;
  const events: MonitorEvent[] = [];
  const fetch = () => {
    for (let some = hypervisor.fetch(domain, 64); some.length > 0; some = hypervisor.fetch(domain, 64)) {
      events.push(...some);
      hypervisor.acknowledge(domain, some[some.length - 1].sequence);
    }
  };
  hypervisor.watch(domain, emulation.rules);
  let end: EmulationEnd | undefined;
  for (let steps = 0; !end; steps++) {
    assert.ok(steps < 10_000, "the emulation ends");
    end = emulation.step(slice);
    fetch();
  }
  hypervisor.unwatch(domain);
  fetch();
  emulation.close();
  return { end, events };
}

Deno.test("what the sample writes and runs is captured, what its neighbour does is not", () => {
  const { end, events } = drain(load("sample.exe", UNPACKER), 100_000);
  assert.equal(`${end.reason}: ${end.detail}`, "exited: exit code 42");
  const pids = new Set(events.map((event) => event.pid));
  assert.equal(pids.size, 1);
  const [start] = events;
  assert.equal(start.kind, "process-start");
  assert.ok(events.some((event) => event.hop), "the jump into fresh code opens a layer");
  assert.ok(events.some((event) => event.kind === "residue"));
  assert.equal(events.at(-1)!.kind, "process-end");
});

Deno.test("two runs of a sample give the same events, whatever the steps", () => {
  const key = ({ events, end }: ReturnType<typeof drain>) => [
    end,
    events.map(({ kind, va, gfn, eip, tsc, layer }) => [kind, va, gfn, eip, tsc, layer]),
  ];
  const first = key(drain(load("sample.exe", UNPACKER), 100_000));
  assert.deepEqual(key(drain(load("sample.exe", UNPACKER), 100_000)), first);
  assert.deepEqual(key(drain(load("sample.exe", UNPACKER), 77)), first);
});

Deno.test("the instruction budget is exact", () => {
  const endless = program("%entry start\n%section .text rx\nstart:\n jmp start\n");
  const { end } = drain(load("endless.exe", endless, 123_456), 1000);
  assert.deepEqual(end, { reason: "budget", detail: "123456 instructions", instructions: 123_456 });
});

Deno.test("what cannot be loaded is refused before anything runs", () => {
  assert.throws(() => load("empty.exe", new Uint8Array(0)), InputError);
  assert.throws(() => load("text.exe", new TextEncoder().encode("no program")), InputError);
  assert.throws(() => load("sample.exe", UNPACKER, 1000, 8), /8 MiB of memory: 32 to 1024/);
});

Deno.test("a hostile file name becomes a plain one in the guest", () => {
  for (const name of ["../../etc/passwd", 'a"b|c<d>.exe', "x".repeat(300), "\u202egnp.exe", ""]) {
    const emulation = load(name, UNPACKER);
    emulation.hypervisor.watch(emulation.domain, emulation.rules);
    while (!emulation.step(100_000));
    const [event] = emulation.hypervisor.fetch(emulation.domain, 1);
    const { path } = emulation.hypervisor.process(emulation.domain, event.process)!;
    assert.match(path, /^C:\\Users\\user\\Desktop\\[^\\/:"|<>?*\u0080-\uffff]{1,64}\.exe$/);
    emulation.close();
  }
});
