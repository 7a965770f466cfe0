// SPDX-License-Identifier: Apache-2.0
// Guests whose kernel is not the profile's: under the rule "all" their address spaces are watched.
import assert from "node:assert/strict";
import type { MonitorEvent, WatchRule, WatchSettings } from "../core/ports.ts";
import { Bridge, type BridgeOptions } from "./bridge.ts";
import { type Process, TestGuest } from "./testing/guest.ts";
import { balanced, collect, PAGE, pages, RULE, scene } from "./testing/scene.ts";

const ALL: WatchRule = { kind: "all", pattern: "" };
const KERNEL_CODE = 0xc010_0000;
/** The monitor's table of processes. */
const MOST_PROCESSES = 256;

/** A watched guest without Windows' structures. */
function foreign(
  rules: readonly WatchRule[] = [ALL],
  { settings = {}, options = {}, frames = 4096 }: {
    settings?: WatchSettings;
    options?: BridgeOptions;
    frames?: number;
  } = {},
) {
  const guest = new TestGuest(frames, false), bridge = new Bridge(guest.transport, options);
  bridge.watch(1, rules, settings);
  return { guest, bridge, ...collect(bridge) };
}

/** A space with a page of code, and one of data that was written. */
function program(guest: TestGuest, byte = 1, va = 0x804_8000): Process {
  const space = guest.space();
  guest.map(space, va, { x: true });
  guest.map(space, 0xbfff_f000, { w: true });
  guest.switchTo(space);
  guest.run(va);
  guest.write(0xbfff_f000, [byte], va);
  return space;
}

const kinds = (events: readonly MonitorEvent[]) => events.map(({ kind, process }) => `${kind} ${process}`);
const lives = (events: readonly MonitorEvent[]) =>
  kinds(events.filter(({ kind }) => kind.startsWith("process")));

Deno.test("an address space of an unknown kernel is a process told by its CR3, and says that it is partial", () => {
  const { guest, bridge, events, bytes } = foreign();
  const space = guest.space();
  guest.switchTo(space);
  assert.deepEqual(events(), [], "nothing of a user's is in it yet");
  const code = guest.map(space, 0x804_8000, { x: true });
  guest.bytes(code).fill(0x90);
  guest.run(0x804_8123);
  const found = events();
  assert.deepEqual(kinds(found), ["process-start 1", "S1 1"]);
  for (const { pid, tid, addressSpace } of found) {
    assert.deepEqual({ pid, tid, addressSpace }, { pid: 0, tid: 0, addressSpace: space.cr3 });
  }
  assert.equal(bytes.get(found[1].sequence)![5], 0x90);
  assert.deepEqual(bridge.process(1, 1), {
    key: 1,
    pid: 0,
    parentPid: 0,
    cr3: space.cr3,
    name: "",
    path: "",
    commandLine: "",
    partial: true,
    anonymous: true,
  });
  balanced(bridge);
});

Deno.test("an address space's pages turn to code above 2 GiB, too: S1, S2, a hop, its layer", () => {
  const { guest, bridge, events } = foreign();
  const space = program(guest);
  events();
  for (let i = 0; i < 3; i++) guest.map(space, 0xb700_0000 + i * PAGE, { w: true, x: true });
  for (let i = 0; i < 3; i++) guest.write(0xb700_0000 + i * PAGE, [i + 1], 0x804_8010);
  guest.run(0xb700_1004);
  guest.write(0xb700_1000, [7], 0x804_8010);
  guest.run(0xb700_1000);
  const found = events();
  assert.deepEqual(pages(found), [
    "S1 b7001000 captured hop",
    "layer b7000000 captured",
    "layer b7002000 captured",
    "S2 b7001000 captured hop",
  ]);
  const [hop] = found;
  assert.deepEqual(
    [hop.hopFrom, hop.hopTo, hop.layer, hop.allocationBase, hop.allocationSize],
    [0x804_8010, 0xb700_1004, 1, 0xb700_0000, 3 * PAGE],
  );
  balanced(bridge);
});

Deno.test("what the kernel writes for a program is no place that the program ran at", () => {
  for (const ran of [0x804_8010, 0xb700_0010]) {
    const { guest, events } = foreign();
    const space = guest.space();
    guest.map(space, 0xb700_0000, { w: true, x: true });
    guest.map(space, 0xb700_1000, { w: true });
    guest.switchTo(space);
    guest.read(0xb700_1000, ran);
    guest.write(0xb700_0000, [1], KERNEL_CODE);
    guest.run(0xb700_0000);
    const { hop, hopFrom } = events().find(({ kind }) => kind === "S1")!;
    assert.deepEqual([hop, hopFrom], [true, ran]);
  }
});

Deno.test("the kernel's own pages are passed over, and rules that name processes name no address space", () => {
  for (const rule of [RULE, { kind: "pid", pattern: "0" }, { kind: "glob", pattern: "*" }] as const) {
    const { guest, bridge, events } = foreign([rule]);
    program(guest);
    assert.deepEqual(events(), []);
    assert.equal(bridge.statistics(1).faults, bridge.statistics(1).faultsPassed);
  }
  const { guest, events } = foreign();
  const space = guest.space(), own = guest.kernel(PAGE);
  guest.switchTo(space);
  guest.write(own, [1], KERNEL_CODE);
  // As Linux has it when it boots: the kernel's own page, mapped as the user's.
  guest.map(space, KERNEL_CODE, { w: true, x: true });
  for (let i = 0; i < 3; i++) {
    guest.write(KERNEL_CODE, [i], KERNEL_CODE);
    guest.run(KERNEL_CODE);
  }
  assert.deepEqual(events(), []);
});

for (const atOnce of [false, true]) {
  const how = atOnce ? "all at once" : "one by one";
  Deno.test(`an address space ends with its last user page; what it wrote is residue (entries cleared ${how})`, () => {
    const { guest, bridge, events, bytes } = foreign();
    const space = program(guest, 0x5a), next = guest.space();
    events();
    guest.exit(space, atOnce);
    guest.switchTo(next);
    const found = events();
    assert.deepEqual(kinds(found), ["residue 1", "process-end 1"]);
    assert.equal(found[0].va, 0xbfff_f000);
    assert.equal(bytes.get(found[0].sequence)![0], 0x5a);
    balanced(bridge);
    // A kernel thread may keep the CR3 loaded: it touches no user page.
    guest.switchTo(space);
    guest.write(guest.kernel(PAGE), [1], KERNEL_CODE);
    assert.deepEqual(events(), []);
  });
}

Deno.test("an address space that is torn down while another is loaded ends as well", () => {
  const { guest, events, bytes } = foreign();
  const first = program(guest, 0x5a), second = program(guest, 0x5b);
  events();
  guest.exit(first);
  guest.switchTo(second);
  const found = events();
  assert.deepEqual(kinds(found), ["residue 1", "process-end 1"]);
  assert.equal(bytes.get(found[0].sequence)![0], 0x5a);
});

Deno.test("an address space ends when the guest says so, whatever is seen of its tables then; a program left in it begins anew", () => {
  const { guest, bridge, events, bytes } = foreign();
  const space = program(guest, 0x5a), other = program(guest, 0x5b);
  events();
  guest.dying(space);
  const found = events();
  assert.deepEqual(kinds(found), ["residue 1", "process-end 1"]);
  assert.equal(bytes.get(found[0].sequence)![0], 0x5a);
  guest.exit(space);
  guest.dying(space);
  guest.dying(guest.space());
  assert.deepEqual(events(), []);
  guest.dying(other);
  assert.deepEqual(lives(events()), ["process-end 2"]);
  guest.map(other, 0xb700_0000, { x: true });
  guest.run(0xb700_0000);
  assert.deepEqual(kinds(events()), ["process-start 3", "S1 3"]);
  balanced(bridge);
});

Deno.test("what a guest says of the end of a known process changes nothing", () => {
  const { guest, virus, events } = scene({}, {}, [ALL]);
  guest.switchTo(virus);
  guest.dying(virus);
  assert.deepEqual(lives(events()), ["process-start 1"]);
});

Deno.test("an address space that gives pages back goes on; what was in them is captured when they go", () => {
  const { guest, events, bytes } = foreign();
  const space = program(guest);
  guest.map(space, 0xb700_0000, { w: true });
  guest.write(0xb700_0000, [3]);
  events();
  guest.unmap(space, 0xb700_0000);
  const [gone, ...rest] = events();
  assert.deepEqual([gone.kind, gone.va, rest.length], ["residue", 0xb700_0000, 0]);
  assert.equal(bytes.get(gone.sequence)![0], 3);
  guest.switchTo(space);
  guest.map(space, 0xb700_1000, { x: true });
  guest.run(0xb700_1000);
  assert.deepEqual(kinds(events()), ["S1 1"]);
});

Deno.test("a page that another space gives up is no residue of the one that wrote it and has it still", () => {
  const { guest, events } = foreign();
  const parent = program(guest), shared = guest.map(parent, 0xb700_0000, { w: true });
  guest.write(0xb700_0000, [3]);
  const child = guest.space();
  guest.map(child, 0xb700_0000, {}, shared);
  guest.map(child, 0xb700_1000, {});
  guest.switchTo(child);
  guest.read(0xb700_0000);
  events();
  // As when the child writes to it and gets a copy.
  guest.unmap(child, 0xb700_0000);
  guest.switchTo(parent);
  assert.deepEqual(events(), []);
});

Deno.test("a CR3 that leads to other tables is another address space", () => {
  const { guest, bridge, events } = foreign();
  const first = program(guest, 0x5a);
  events();
  const second = guest.space(first.cr3);
  guest.map(second, 0x804_8000, { x: true });
  guest.switchTo(second);
  guest.shadow.get(second.cr3)!.clear();
  guest.run(0x804_8000);
  const found = events();
  assert.deepEqual(kinds(found), ["residue 1", "process-end 1", "process-start 2", "S1 2"]);
  assert.equal(found[2].addressSpace, first.cr3);
  balanced(bridge);
});

Deno.test("a space whose tables begin at the first byte of memory is one of its own", () => {
  const { guest, events } = foreign();
  program(guest);
  const lowest = guest.space(0);
  guest.map(lowest, 0x804_8000, { x: true });
  guest.switchTo(lowest);
  guest.run(0x804_8000);
  assert.deepEqual(lives(events()), ["process-start 1", "process-start 2"]);
});

Deno.test("code that one space wrote and another runs from the same frame is a hop", () => {
  const { guest, events, bytes } = foreign();
  const writer = program(guest), shared = guest.map(writer, 0xb700_0000, { w: true });
  guest.write(0xb700_0000, [0xc3], 0x804_8010);
  const runner = program(guest, 2);
  guest.map(runner, 0xa000_0000, { x: true }, shared);
  events();
  guest.run(0xa000_0000);
  const found = events();
  assert.deepEqual(pages(found), ["S1 a0000000 captured hop"]);
  assert.equal(found[0].process, 2);
  assert.equal(bytes.get(found[0].sequence)![0], 0xc3);
});

Deno.test("more spaces than places: the longest unseen gives way, counted, with its residue, and may come back", () => {
  const { guest, bridge, events, bytes } = foreign();
  const first = program(guest, 0x5a), second = program(guest, 0x5b);
  for (let i = 2; i < MOST_PROCESSES; i++) program(guest);
  events();
  guest.switchTo(first);
  assert.equal(bridge.statistics(1).processesDisplaced, 0);
  program(guest);
  const found = events();
  assert.deepEqual(lives(found), ["process-end 2", `process-start ${MOST_PROCESSES + 1}`]);
  const residue = found.find(({ kind }) => kind === "residue")!;
  assert.deepEqual([residue.process, bytes.get(residue.sequence)![0]], [2, 0x5b]);
  guest.switchTo(second);
  guest.write(0xbfff_f000, [0x5c]);
  assert.deepEqual(lives(events()), ["process-end 3", `process-start ${MOST_PROCESSES + 2}`]);
  const { processesDisplaced, processesRefused, pagesLost } = bridge.statistics(1);
  assert.deepEqual([processesDisplaced, processesRefused, pagesLost], [2, 0, 0]);
  balanced(bridge);
});

Deno.test("a guest that loads thousands of CR3s costs a bounded table and a bounded look, and is told of each", () => {
  const { guest, bridge, events } = foreign([ALL], { frames: 16_384 });
  const code = guest.frame();
  let starts = 0, ends = 0;
  const count = 3000, sizes: number[] = [];
  for (let i = 0; i < count; i++) {
    const space = guest.space(guest.frame() * PAGE);
    guest.map(space, 0x804_8000, { x: true }, code);
    guest.switchTo(space);
    guest.run(0x804_8000);
    for (const { kind } of events()) {
      if (kind === "process-start") starts++;
      if (kind === "process-end") ends++;
    }
    if (i === 300 || i === count - 1) sizes.push(guest.exports.memory.buffer.byteLength);
  }
  assert.deepEqual([starts, ends], [count, count - MOST_PROCESSES]);
  assert.equal(bridge.statistics(1).processesDisplaced, count - MOST_PROCESSES);
  assert.equal(bridge.monitorStatistics(1).processes, MOST_PROCESSES);
  assert.equal(sizes[0], sizes[1], "memory does not grow with the number of address spaces");
});

Deno.test("tables without end are looked through a part at a time, and the space lives while a page is mapped", () => {
  const { guest, events } = foreign();
  const space = program(guest), other = guest.space();
  // 200 tables with nothing in them, then one page.
  for (let i = 0; i < 200; i++) guest.map(space, 0x1000_0000 + i * 0x20_0000, {});
  for (let i = 0; i < 200; i++) guest.unmap(space, 0x1000_0000 + i * 0x20_0000);
  guest.map(space, 0xb000_0000, {});
  events();
  guest.unmap(space, 0x804_8000);
  guest.unmap(space, 0xbfff_f000);
  const reads = () => {
    const before = guest.frameReads;
    guest.switchTo(other);
    return guest.frameReads - before;
  };
  for (let i = 0; i < 8; i++) assert.ok(reads() < 100, "a look is bounded");
  assert.deepEqual(lives(events()), []);
  guest.switchTo(space);
  guest.read(0xb000_0000);
  guest.unmap(space, 0xb000_0000);
  for (let i = 0; i < 8; i++) assert.ok(reads() < 100, "a look is bounded");
  assert.deepEqual(lives(events()), ["process-end 1"]);
});

Deno.test("many spaces that end at once are found to have ended a few at a load", () => {
  const { guest, events } = foreign(), count = 40;
  const spaces = Array.from({ length: count }, () => program(guest));
  const other = guest.space();
  guest.switchTo(other);
  for (const space of spaces) guest.exit(space);
  events();
  let ended = 0;
  for (let load = 1; ended < count; load++) {
    guest.switchTo(other);
    const now = events().filter(({ kind }) => kind === "process-end").length;
    assert.ok(now <= 5, `${now} at once`);
    ended += now;
    assert.ok(load <= count, `${ended} of ${count} after ${load} loads`);
  }
});

Deno.test("a space that lost its pages unseen is found to have ended, in its turn", () => {
  const { guest, events } = foreign();
  const spaces = Array.from({ length: 3 }, () => program(guest));
  const other = guest.space();
  events();
  for (const { cr3 } of spaces) guest.memory.fill(0, cr3, cr3 + 32);
  for (let i = 0; i < MOST_PROCESSES; i++) guest.switchTo(other);
  assert.deepEqual(lives(events()).sort(), ["process-end 1", "process-end 2", "process-end 3"]);
});

Deno.test("a space on two vCPUs is one process, and one that ends under a vCPU begins anew with its next user page", () => {
  const { guest, events } = foreign();
  guest.vcpus = 2;
  const space = guest.space(), other = guest.space(), code = guest.map(space, 0x804_8000, { x: true });
  for (const vcpu of [1, 0]) {
    guest.vcpu = vcpu;
    guest.switchTo(space);
  }
  guest.run(0x804_8000);
  guest.vcpu = 1;
  guest.shadow.get(space.cr3)!.clear();
  guest.run(0x804_8000);
  assert.deepEqual(lives(events()), ["process-start 1"]);
  guest.unmap(space, 0x804_8000);
  guest.vcpu = 0;
  guest.switchTo(other);
  guest.vcpu = 1;
  guest.map(space, 0x804_9000, { x: true }, code);
  guest.run(0x804_9000);
  assert.deepEqual(kinds(events()), ["process-end 1", "process-start 2", "S1 2"]);
});

Deno.test("the last page of all belongs to a program as any other does", () => {
  const { guest, events } = foreign();
  const space = program(guest);
  for (const va of [0xffff_e000, 0xffff_f000]) guest.map(space, va, { w: true, x: true });
  for (const va of [0xffff_e000, 0xffff_f000]) guest.write(va, [1], 0x804_8010);
  events();
  guest.run(0xffff_f000);
  const found = events();
  assert.deepEqual(pages(found), ["S1 fffff000 captured hop", "layer ffffe000 captured"]);
  assert.deepEqual([found[0].allocationBase, found[0].allocationSize], [0xffff_e000, 2 * PAGE]);
});

Deno.test("a space whose last look was answered by one page is looked through whole when that page goes", () => {
  const { guest, events } = foreign();
  const space = program(guest), other = guest.space();
  const look = (gone: number) => {
    guest.switchTo(space);
    guest.unmap(space, gone);
    guest.switchTo(other);
  };
  look(0x804_8000);
  guest.map(space, 0x804_8000, { x: true });
  look(0xbfff_f000);
  assert.deepEqual(lives(events()), ["process-start 1"]);
  look(0x804_8000);
  assert.deepEqual(lives(events()), ["process-end 1"]);
});

Deno.test("what a program puts where a process object would lie says nothing of it", () => {
  const { guest, bridge, events } = foreign();
  const space = guest.space(), code = guest.map(space, 0, { w: true, x: true });
  guest.bytes(code).fill(0x7f);
  guest.map(space, 0xb700_0000, { w: true });
  guest.switchTo(space);
  guest.run(0);
  guest.write(0xb700_0000, [1]);
  guest.unmap(space, 0xb700_0000);
  assert.deepEqual(lives(events()), ["process-start 1"]);
  const { pid, name } = bridge.process(1, 1)!;
  assert.deepEqual([pid, name], [0, ""]);
});

Deno.test("dirty pages given back faster than they are fetched hold the vCPU: nothing is lost", () => {
  const { guest, bridge, events } = foreign([ALL], { options: { ringPages: 4, spillCap: 16 } });
  const space = program(guest);
  for (let i = 0; i < 40; i++) {
    guest.map(space, 0xb700_0000 + i * PAGE, { w: true });
    assert.ok(guest.write(0xb700_0000 + i * PAGE, [i]));
  }
  let residue = 0;
  const count = () => residue += events().filter(({ kind }) => kind === "residue").length;
  for (let i = 0; i < 40; i++) {
    guest.unmap(space, 0xb700_0000 + i * PAGE);
    if (guest.held) count();
    assert.equal(guest.held, false);
  }
  count();
  assert.equal(residue, 40);
  assert.equal(bridge.statistics(1).pagesLost, 0);
  assert.ok(bridge.statistics(1).vcpuPauses > 0);
  balanced(bridge);
});

Deno.test("the end of the watch captures what every space has written, as there is room for it", () => {
  const { guest, bridge, events } = foreign([ALL], { options: { ringPages: 4 } });
  for (let i = 0; i < 6; i++) program(guest, i);
  events();
  for (let i = 0; i < 6; i++) guest.write(0xbfff_f000, [9]);
  bridge.unwatch(1);
  const found = events();
  assert.deepEqual(found.map(({ kind, process }) => `${kind} ${process}`).sort(), [
    ...[1, 2, 3, 4, 5, 6].map((key) => `residue ${key}`),
  ]);
  assert.ok(bridge.drained(1));
  balanced(bridge);
});

Deno.test("a watch that begins in the middle of spaces sees what their entries allowed before", () => {
  const guest = new TestGuest(4096, false);
  const running = program(guest), waiting = program(guest);
  guest.switchTo(running);
  const bridge = new Bridge(guest.transport), { events } = collect(bridge);
  bridge.watch(1, [ALL]);
  guest.run(0x804_8000);
  guest.switchTo(waiting);
  guest.run(0x804_8000);
  assert.deepEqual(kinds(events()), ["process-start 1", "S1 1", "process-start 2", "S1 2"]);
});

Deno.test("a space's memory is read up to its end, wherever that is", () => {
  const { guest, bridge } = foreign();
  program(guest, 0x77);
  const memory = bridge.memory(1, 1)!;
  assert.equal(memory.peb, 0);
  assert.deepEqual([...memory.read(0xbfff_f000, 2)], [0x77, 0]);
  assert.equal(memory.read(0xffff_f000, PAGE).length, 0);
});

Deno.test("a guest that was recognised has no address spaces without a name, whatever can be read later", () => {
  const { guest, virus, other, events } = scene({}, {}, [ALL]);
  guest.switchTo(virus);
  guest.structures(false);
  for (const process of [other, virus, other]) {
    guest.switchTo(process);
    guest.map(process, 0x40_1000, { w: true, x: true });
    guest.write(0x40_1000, [1]);
    guest.run(0x40_1000);
  }
  assert.ok(events().every(({ addressSpace }) => addressSpace === undefined));
});

Deno.test("spaces watched before a guest is recognised end then, and its processes have their names", () => {
  const guest = new TestGuest(),
    virus = guest.process(100, "virus.exe"),
    other = guest.process(200, "calm.exe");
  guest.structures(false);
  const bridge = new Bridge(guest.transport), { events } = collect(bridge);
  bridge.watch(1, [ALL]);
  for (const process of [virus, other]) {
    guest.map(process, 0x40_1000, { w: true });
    guest.switchTo(process);
    guest.write(0x40_1000, [1]);
  }
  assert.deepEqual(lives(events()), ["process-start 1", "process-start 2"]);
  guest.structures(true);
  guest.switchTo(virus);
  const found = events();
  assert.deepEqual(lives(found), ["process-end 1", "process-end 2", "process-start 3"]);
  assert.equal(found.filter(({ kind }) => kind === "residue").length, 2);
  assert.equal(found.at(-1)!.pid, 100);
  guest.switchTo(other);
  assert.deepEqual(lives(events()), ["process-start 4"]);
});

Deno.test("what can be read by the first user page is read: no space comes between", () => {
  const guest = new TestGuest(), virus = guest.process(100, "virus.exe");
  guest.structures(false);
  const bridge = new Bridge(guest.transport), { events } = collect(bridge);
  bridge.watch(1, [ALL]);
  guest.map(virus, 0x40_1000, { w: true });
  guest.switchTo(virus);
  guest.structures(true);
  guest.write(0x40_1000, [1]);
  assert.deepEqual(events().map(({ kind, pid }) => `${kind} ${pid}`), ["process-start 100"]);
});

for (const forged of ["all of them", "the first of them", "the last of them"]) {
  Deno.test(`a program cannot forge the structures: they count only where the user cannot reach (${forged})`, () => {
    const { guest, events } = foreign();
    const space = program(guest), mine = 0xb700_0000;
    guest.map(space, mine, { w: true });
    // GDT entry 6 is a program's own in a 32-bit Linux, and the kernel may hold what a program wrote.
    const kernels = guest.kernel(PAGE);
    const first = forged === "the last of them" ? kernels : mine;
    const thread = (forged === "all of them" ? mine : kernels) + 0x400;
    const object = (forged === "the first of them" ? kernels : mine) + 0x800;
    guest.descriptor(6, first);
    guest.poke(space.cr3, first + 0x124, thread);
    guest.poke(space.cr3, thread + 0x50, object);
    guest.poke(space.cr3, thread + 0x150, object);
    guest.poke(space.cr3, object + 0x18, space.cr3);
    guest.poke(space.cr3, object + 0xb4, 4);
    events();
    guest.switchTo(space);
    program(guest);
    assert.deepEqual(lives(events()), ["process-start 2"]);
  });
}
