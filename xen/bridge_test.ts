// SPDX-License-Identifier: Apache-2.0
// The bridge and the security module: who is answered, what is refused, and that nothing traps.
import assert from "node:assert/strict";
import fc from "fast-check";
import { ABI_VERSION, COMMANDS, encode, ERRORS, sizeOf, type Values } from "./abi.ts";
import { Bridge, HypercallError } from "./bridge.ts";
import { build } from "./build_monitor.ts";
import { TestGuest } from "./testing/guest.ts";
import type { HypercallTransport } from "./transport.ts";

await build();

const RULE = { kind: "prefix", pattern: "virus" } as const;

Deno.test("info: version, name of the transport, and sizes", () => {
  const bridge = new Bridge(new TestGuest().transport, { ringPages: 7 });
  assert.deepEqual(bridge.info(), {
    abi: ABI_VERSION,
    name: "test guest",
    copyPages: 512,
    ringEvents: 8192,
    ringPages: 7,
  });
});

Deno.test("a monitor of another version is refused with both versions named", () => {
  const { transport } = new TestGuest();
  let released = 0;
  const other: HypercallTransport = {
    ...transport,
    allocate: (size) => ({ ...transport.allocate(size), release: () => released++ }),
    call: (command, argument) => {
      const result = transport.call(command, argument);
      // What a later monitor would answer.
      if (command === COMMANDS.info) buffer.bytes[0] = ABI_VERSION + 1;
      return result;
    },
  };
  const allocate = other.allocate.bind(other);
  let buffer = transport.allocate(8);
  assert.throws(
    () => new Bridge({ ...other, allocate: (size) => buffer = allocate(size) }),
    new RegExp(`speaks ABI version ${ABI_VERSION + 1} .*umbra speaks version ${ABI_VERSION} `),
  );
  assert.equal(released, 1, "the argument buffer is given back");
});

Deno.test("the monitor refuses a caller of another version", () => {
  const guest = new TestGuest(), buffer = guest.transport.allocate(sizeOf("watch"));
  encode("watch", { abi: ABI_VERSION + 1, domain: 1 }, buffer.bytes);
  for (const command of Object.values(COMMANDS).filter((each) => each !== COMMANDS.info)) {
    assert.equal(guest.hypercall(command, buffer.address), -ERRORS.EOPNOTSUPP);
  }
  assert.equal(guest.hypercall(COMMANDS.info, buffer.address), 0, "info answers whoever asks");
});

Deno.test("only the allowed domain gets an answer", () => {
  const guest = new TestGuest(), buffer = guest.transport.allocate(4096);
  const before = buffer.bytes.slice();
  for (const caller of [1, 2, 0x7ff0, 0xffff_ffff]) {
    for (let command = 0; command < 12; command++) {
      assert.equal(guest.hypercall(command, buffer.address, caller), -ERRORS.EPERM);
    }
  }
  assert.deepEqual(buffer.bytes, before);
  guest.caller = 1;
  assert.throws(() => new Bridge(guest.transport), /Cannot talk to the monitor: this domain is not allowed/);
});

Deno.test("counts beyond the ABI's limits are refused", () => {
  const guest = new TestGuest(), bridge = new Bridge(guest.transport);
  bridge.watch(1, [RULE]);
  const buffer = guest.transport.allocate(4096), pages = guest.transport.allocate(600 * 4096);
  const ask = (command: "copy" | "fetch", values: Values) => {
    encode(command, { abi: ABI_VERSION, domain: 1, buffer: pages.address, ...values }, buffer.bytes);
    return guest.hypercall(COMMANDS[command], buffer.address);
  };
  assert.equal(ask("copy", { snapshots: pages.address, count: 512 }), 0);
  assert.equal(ask("copy", { snapshots: pages.address, count: 513 }), -ERRORS.EINVAL);
  assert.equal(ask("fetch", { capacity: 1024 }), 0);
  assert.equal(ask("fetch", { capacity: 1025 }), -ERRORS.EINVAL);
  assert.equal(ask("fetch", { capacity: 0 }), -ERRORS.EINVAL);
  assert.equal(ask("fetch", { capacity: 1, after: 1n }), -ERRORS.EINVAL);
});

Deno.test("errors say action, value and reason", () => {
  const bridge = new Bridge(new TestGuest().transport);
  assert.throws(() => bridge.watch(9, [RULE]), {
    name: "HypercallError",
    message: "Cannot watch domain 9: there is no such domain (errno 3)",
  });
  assert.throws(() => bridge.fetch(1, 1), /Cannot fetch events of domain 1: it is not watched/);
  assert.throws(() => bridge.statistics(1), /Cannot read the statistics of domain 1/);
  assert.throws(() => bridge.watch(1, []), /0 rules given/);
  assert.throws(() => bridge.watch(1, Array(9).fill(RULE)), /9 rules given/);
  assert.throws(() => bridge.watch(1, [{ kind: "pid", pattern: "x" }]), /"x" is not a process number/);
  assert.throws(() => bridge.watch(1, [{ kind: "glob", pattern: "" }]), /empty pattern/);
  assert.throws(() => bridge.watch(1, [{ kind: "exact", pattern: "ä".repeat(40) }]), /umbra_rule\.pattern/);
  bridge.watch(1, [RULE]);
  assert.throws(() => bridge.acknowledge(1, 5), /Cannot acknowledge event 5 of domain 1/);
  assert.throws(
    () => new Bridge(new TestGuest().transport, { ringPages: 1 << 20 }).watch(1, [RULE]),
    /refuses a value/,
  );
});

Deno.test("512 pages and their events take a handful of hypercalls", () => {
  const guest = new TestGuest();
  let calls = 0;
  const bridge = new Bridge({
    ...guest.transport,
    call: (command, argument) => (calls++, guest.transport.call(command, argument)),
  });
  bridge.watch(1, [RULE]);
  const virus = guest.process(100, "virus.exe");
  guest.switchTo(virus);
  for (let i = 0; i < 600; i++) {
    const va = 0x40_0000 + i * 4096;
    guest.bytes(guest.map(virus, va, { x: true })).fill(i);
    guest.run(va);
  }
  calls = 0;
  const events = bridge.fetch(1, 1000).filter((event) => event.snapshot);
  const seen: number[] = [];
  bridge.copy(1, events.map((event) => event.snapshot), (snapshot, bytes) => {
    const event = events[seen.length];
    assert.equal(snapshot, event.snapshot);
    assert.deepEqual(bytes, new Uint8Array(4096).fill((event.va - 0x40_0000) / 4096));
    seen.push(snapshot);
  });
  bridge.acknowledge(1, events.at(-1)!.sequence);
  assert.equal(seen.length, 600);
  assert.equal(calls, 4);
});

Deno.test("snapshots that are gone are handed over as undefined", () => {
  const guest = new TestGuest(), bridge = new Bridge(guest.transport);
  bridge.watch(1, [RULE]);
  const virus = guest.process(100, "virus.exe");
  guest.switchTo(virus);
  guest.map(virus, 0x40_0000, { x: true });
  guest.run(0x40_0000);
  const [, event] = bridge.fetch(1, 10);
  const got: [number, boolean][] = [];
  const receive = (snapshot: number, bytes?: Uint8Array) => got.push([snapshot, bytes !== undefined]);
  bridge.copy(1, [7, event.snapshot, 0], receive);
  bridge.acknowledge(1, event.sequence);
  bridge.copy(1, [event.snapshot], receive);
  assert.deepEqual(got, [[7, false], [event.snapshot, true], [0, false], [event.snapshot, false]]);
});

Deno.test("memory of a watched process: read up to the first page that is not there, while it lives", () => {
  const guest = new TestGuest(), bridge = new Bridge(guest.transport);
  bridge.watch(1, [RULE]);
  const virus = guest.process(100, "virus.exe"), other = guest.process(200, "other.exe");
  for (const each of [virus, other]) {
    guest.switchTo(each);
    guest.map(each, 0x40_0000, { w: true });
    guest.map(each, 0x40_1000, { w: true });
    guest.write(0x40_0ffc, [1, 2, 3, 4]);
    guest.write(0x40_1000, [each.pid, 6]);
  }
  const key = bridge.fetch(1, 10).find(({ kind }) => kind === "process-start")!.process;
  const memory = bridge.memory(1, key)!;
  assert.equal(memory.peb, guest.peek(virus.cr3, virus.object + 0x1a8));
  assert.deepEqual(
    [...memory.read(0x40_0ffe, 5)],
    [3, 4, 100, 6, 0],
    "of the process meant, not of the one that runs",
  );
  assert.equal(memory.read(0x40_0ffe, 0x10000).length, 0x1002, "up to the first page that is not there");
  assert.equal(memory.read(0x40_0000, 0xffff_ffff).length, 0x2000, "bounded, whatever is asked for");
  for (const [address, length] of [[0x7fff_fffc, 8], [0x8000_0000, 4], [virus.object, 4], [0xffff_fffc, 8]]) {
    assert.equal(memory.read(address, length).length, 0, "the kernel's memory is not handed out");
  }
  assert.equal(bridge.memory(1, key + 1), undefined);
  bridge.unwatch(1);
  assert.equal(bridge.memory(1, key), undefined, "not after the watch");
  assert.equal(memory.read(0x40_0000, 4).length, 0);
});

Deno.test("no hypercall traps: any command, caller, pointer and argument", () => {
  const edges = [0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, 0x1_0000_0ff8n, 0x1_0080_0000n, (1n << 64n) - 1n];
  const word = fc.oneof(
    fc.constantFrom(0, 1, 2, 8, 9, 512, 513, 1024, 4096, 0x7fff_ffff, 0xffff_ffff),
    fc.nat({ max: 0xffff_ffff }),
  );
  const call = fc.record({
    command: fc.oneof({ weight: 9, arbitrary: fc.nat({ max: 9 }) }, { weight: 1, arbitrary: word }),
    caller: fc.constantFrom(0, 0, 0, 0, 0, 1, 0xffff_ffff),
    argument: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0x1_0000_0000n) },
      { weight: 1, arbitrary: fc.constantFrom(...edges) },
      { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) },
    ),
    // Mostly a good head, so that the checks behind it are reached.
    abi: fc.oneof({ weight: 9, arbitrary: fc.constant(ABI_VERSION) }, { weight: 1, arbitrary: word }),
    domain: fc.constantFrom(1, 1, 1, 1, 2, 0xffff_ffff),
    words: fc.array(word, { maxLength: 40 }),
    access: fc.array(word, { minLength: 32, maxLength: 32 }),
    entry: fc.nat({ max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 30 }), (calls) => {
      const guest = new TestGuest(256), bridge = new Bridge(guest.transport, { ringPages: 4, ringEvents: 8 });
      bridge.watch(1, [RULE]);
      const virus = guest.process(100, "virus.exe");
      guest.switchTo(virus);
      guest.map(virus, 0x40_0000, { w: true, x: true });
      guest.write(0x40_0000, [1]);
      const view = new DataView(guest.dom0.buffer);
      for (const { command, caller, argument, abi, domain, words, access, entry } of calls) {
        [abi, domain, ...words].forEach((each, i) => view.setUint32(i * 4, each, true));
        const result = guest.hypercall(command, argument, caller);
        if (caller !== 0) assert.equal(result, -ERRORS.EPERM);
        const most = command === COMMANDS.read ? 512 * 4096 : 1024;
        assert.ok(result >= -133 && result <= most, `result ${result}`);
        // The fault path as well, with whatever a broken hypervisor would hand it.
        const exchange = new DataView(guest.exports.memory.buffer, guest.exchangeAddress, 128);
        access.forEach((each, i) => exchange.setUint32(i * 4, each, true));
        exchange.setUint32(0, 1, true);
        const enter = [
          () => guest.exports.umbra_fault(guest.exchangeAddress),
          () => guest.exports.umbra_filter(guest.exchangeAddress),
          () => guest.exports.umbra_entry_removed(guest.exchangeAddress),
          () => guest.exports.umbra_cr3_loaded(1, access[1]),
        ];
        enter[entry]();
      }
      try {
        const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = bridge.statistics(1);
        assert.equal(pagesSeen, pagesCaptured + pagesUnchanged + pagesLost);
      } catch (error) {
        assert.ok(error instanceof HypercallError, String(error));
      }
    }),
    { numRuns: 150, seed: 7 },
  );
});
