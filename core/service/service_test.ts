// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { type CaptureFiles, MemoryFiles } from "../capture/files.ts";
import { sha256 } from "../hash.ts";
import type { EngineStatus, Finding, Scanner, Unit } from "../ports.ts";
import { page, type ScriptedEvent, ScriptedHypervisor } from "../testing/scripted.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { Service } from "./service.ts";

/** An engine room that calls malicious what holds a text. */
class Finder implements Scanner {
  readonly seen: Unit[] = [];
  most = 0;
  #running = 0;
  constructor(private readonly text: string, private readonly gate?: Promise<void>) {}
  engines(): EngineStatus[] {
    const scans = { malicious: 0, clean: this.seen.length, incomplete: 0, error: 0 };
    return [{ name: "finder", version: "1", knowledge: "", state: "ready", detail: "", scans }];
  }
  async scan(unit: Unit): Promise<readonly Finding[]> {
    this.most = Math.max(this.most, ++this.#running);
    await this.gate;
    this.#running--;
    this.seen.push(unit);
    const found = new TextDecoder("latin1").decode(unit.bytes).includes(this.text);
    return [{
      unit: unit.id,
      engine: "finder",
      status: found ? "malicious" : "clean",
      threats: found ? [{ name: "text" }] : [],
    }];
  }
  async close(): Promise<void> {}
}

function setUp(
  options: { scanner?: Scanner; files?: CaptureFiles; limits?: Partial<Limits>; domains?: number[] } = {},
) {
  const hypervisor = new ScriptedHypervisor();
  hypervisor.identify(1, "a.exe");
  hypervisor.identify(2, "b.exe");
  const files = options.files ?? new MemoryFiles();
  const service = new Service({ hypervisor, files, scanner: options.scanner, limits: options.limits });
  for (const domain of options.domains ?? [1]) service.watch(domain, [{ kind: "all", pattern: "" }]);
  return { hypervisor, service, files: files as MemoryFiles };
}

const allocation = { allocationBase: 0x400000, allocationSize: 0x10000 };

Deno.test("pages are copied, stored once and acknowledged, whatever the size of the burst", async () => {
  const { hypervisor, service, files } = setUp();
  const events: ScriptedEvent[] = Array.from({ length: 1500 }, (_, index) => ({
    kind: "S1",
    va: 0x400000 + index * 4096,
    page: page(String(index % 1000)),
  }));
  hypervisor.play(1, events);
  assert.equal(await service.drain(), 1500);
  assert.equal(hypervisor.acknowledged.get(1), 1500);
  assert.equal(hypervisor.copies, 3, "512 pages a call");
  assert.deepEqual(service.domains.get(1)!.pages, { seen: 1500, stored: 1500, deduplicated: 0, lost: 0 });
  for (let index = 0; index < 1500; index += 499) {
    const name = `pages/${(0x400000 + index * 4096).toString(16).padStart(8, "0")}-`;
    const [key] = [...files.files.keys()].filter((file) => file.startsWith(name));
    assert.deepEqual(files.files.get(key), page(String(index % 1000)));
    assert.equal(key, `${name}${sha256(page(String(index % 1000)))}.bin`);
  }
  hypervisor.play(1, events.slice(0, 10));
  assert.equal(await service.drain(), 10);
  assert.deepEqual(service.domains.get(1)!.pages, { seen: 1510, stored: 1500, deduplicated: 10, lost: 0 });
  assert.equal(files.lines.length, 1510);
});

Deno.test("seen = stored + deduplicated + lost, in every domain and process, for any stream of events", async () => {
  const event = fc.record({
    kind: fc.constantFrom(
      "S1",
      "S2",
      "layer",
      "residue",
      "context",
      "coalesced",
      "process-start",
      "process-end",
    ),
    content: fc.constantFrom("captured", "captured", "unchanged", "lost", "none"),
    va: fc.constantFrom(0x400000, 0x401000, 0x402000, 0x7ffdf000),
    process: fc.constantFrom(0, 1, 2, 3),
    layer: fc.nat(4),
    hop: fc.boolean(),
    there: fc.boolean(),
    text: fc.constantFrom("a", "b"),
    domain: fc.constantFrom(1, 2),
    turns: fc.constantFrom(1, 100),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 60 }),
      fc.constantFrom(1, 3, 1000),
      async (events, pages) => {
        const { hypervisor, service, files } = setUp({
          limits: { pages },
          domains: [1, 2],
          scanner: new Finder("a"),
        });
        const expected = new Map([1, 2].map((domain) => [domain, 0]));
        for (const { domain, there, text, ...rest } of events) {
          const bytes = rest.content === "captured" && there ? page(text) : undefined;
          hypervisor.play(domain, [
            { ...rest, page: bytes, hopTo: rest.hop ? rest.va + 4 : 0, ...allocation } as ScriptedEvent,
          ]);
          if (rest.content !== "none") expected.set(domain, expected.get(domain)! + 1);
        }
        await service.drain();
        await service.finish();
        for (const [domain, { pages: counts, processes, events: seen }] of service.domains) {
          assert.equal(counts.seen, counts.stored + counts.deduplicated + counts.lost);
          assert.equal(counts.seen, expected.get(domain));
          assert.equal(seen, events.filter((one) => one.domain === domain).length);
          let sum = 0;
          for (const { pages: own } of processes.values()) {
            assert.equal(own.seen, own.stored + own.deduplicated + own.lost);
            sum += own.seen;
          }
          assert.equal(sum, counts.seen);
        }
        const stored = [...service.domains.values()].reduce((sum, domain) => sum + domain.pages.stored, 0);
        assert.equal([...files.files.keys()].filter((name) => name.startsWith("pages/")).length, stored);
        assert.equal(files.lines.length, events.length);
        assert.equal(service.scans.scanned, service.scans.units.size);
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("a snapshot that is gone, and a page the store has no room for, are lost and said so", async () => {
  const { hypervisor, service, files } = setUp({ limits: { pages: 1 } });
  hypervisor.play(1, [
    { kind: "S1", va: 0x1000, page: page("a") },
    { kind: "S1", va: 0x2000, content: "captured" },
    { kind: "S1", va: 0x3000, page: page("b") },
    { kind: "S1", va: 0x1000, page: page("a") },
    { kind: "S1", va: 0x4000, content: "lost" },
  ]);
  await service.drain();
  const domain = service.domains.get(1)!;
  assert.deepEqual(domain.pages, { seen: 5, stored: 1, deduplicated: 1, lost: 3 });
  assert.equal(domain.refused, 1);
  assert.deepEqual(files.lines.map((line) => JSON.parse(line).outcome), [
    "stored",
    "lost",
    "lost",
    "deduplicated",
    "lost",
  ]);
});

Deno.test("what cannot be stored is not acknowledged, and is stored when there is room again", async () => {
  for (const failing of ["write", "events"] as const) {
    const memory = new MemoryFiles();
    let left = failing === "write" ? 2 : 0;
    const files: CaptureFiles = {
      write: (...args) => {
        if (failing === "write" && left-- === 0) throw new Error("no space left");
        memory.write(...args);
      },
      events: (lines) => {
        if (failing === "events" && left-- === 0) throw new Error("no space left");
        memory.events(lines);
      },
      report: () => {},
      html: () => {},
      close: () => {},
    };
    const { hypervisor, service } = setUp({ files });
    hypervisor.play(
      1,
      ["a", "b", "c", "d"].map((text, index) => ({ kind: "S1", va: 0x1000 * (index + 1), page: page(text) })),
    );
    await assert.rejects(service.drain(), /no space left/);
    assert.equal(hypervisor.acknowledged.get(1), undefined);
    assert.equal(service.domains.get(1)!.pages.seen, 0, "nothing is counted that may come again");
    await service.drain();
    assert.equal(hypervisor.acknowledged.get(1), 4);
    assert.deepEqual(service.domains.get(1)!.pages, { seen: 4, stored: 4, deduplicated: 0, lost: 0 });
    assert.equal(memory.lines.length, 4);
  }
});

Deno.test("a batch that the journal refused is written to the events once", async () => {
  const { hypervisor, files } = setUp();
  let refusals = 2;
  const recorder = {
    record: () => {
      if (refusals-- > 0) throw new Error("the journal is locked");
    },
    findings: () => {},
  };
  const service = new Service({ hypervisor, files, recorder });
  service.watch(1, []);
  hypervisor.play(1, [{ kind: "S1", va: 0x1000, page: page("a") }]);
  await assert.rejects(service.drain(), /locked/);
  await assert.rejects(service.drain(), /locked/);
  await service.drain();
  assert.equal(files.lines.length, 1);
  assert.deepEqual(service.domains.get(1)!.pages, { seen: 1, stored: 1, deduplicated: 0, lost: 0 });
});

Deno.test("everything is stored before it is acknowledged", async () => {
  const { hypervisor, service, files } = setUp();
  let storedAtAcknowledge = 0;
  hypervisor.acknowledge = () => storedAtAcknowledge = files.files.size + files.lines.length;
  hypervisor.play(1, [{ kind: "S1", va: 0x1000, page: page("a") }, {
    kind: "S1",
    va: 0x2000,
    page: page("b"),
  }]);
  await service.drain();
  assert.equal(storedAtAcknowledge, 4);
});

Deno.test("a signature that straddles pages of different layers is found in the region of the allocation", async () => {
  const scanner = new Finder("SIGNATURE");
  const { hypervisor, service, files } = setUp({ scanner });
  hypervisor.play(1, [
    {
      kind: "S1",
      va: 0x402000,
      page: page("TURE"),
      layer: 1,
      hop: true,
      hopFrom: 0x401000,
      hopTo: 0x402100,
      ...allocation,
    },
    {
      kind: "S1",
      va: 0x401000,
      page: page("SIGNA", 4091),
      layer: 2,
      hop: true,
      hopFrom: 0x402100,
      hopTo: 0x401000,
      ...allocation,
    },
    { kind: "process-end" },
  ]);
  await service.drain();
  await service.finish();
  const found = [...service.scans.units.values()].filter((unit) => unit.findings![0].status === "malicious");
  const joined = sha256(new Uint8Array([...page("SIGNA", 4091), ...page("TURE")]));
  assert.deepEqual(found.map((unit) => unit.id), [`region:00401000-2-${joined}`, "image:00400000-2"]);
  assert.ok(files.files.has(`regions/00401000-2-${joined}.bin`));
  assert.deepEqual([...found[0].owners], ["1:1"]);
});

Deno.test("a region is the layer's own content, not what a later layer made of it", async () => {
  const scanner = new Finder("SIGNATURE");
  const { hypervisor, service } = setUp({ scanner });
  const hop = (layer: number) => ({ layer, hop: true, hopFrom: 1, hopTo: 0x401000, ...allocation });
  hypervisor.play(1, [
    { kind: "S1", va: 0x401000, page: page("SIGNA", 4091), ...hop(1) },
    { kind: "layer", va: 0x402000, page: page("TURE"), layer: 1, ...allocation },
    { kind: "S1", va: 0x401000, page: page("wiped"), ...hop(2) },
    { kind: "layer", va: 0x402000, page: page("wiped too"), layer: 2, ...allocation },
  ]);
  await service.drain();
  await service.finish();
  const found = [...service.scans.units.values()].filter((unit) => unit.findings![0].status === "malicious");
  assert.deepEqual(found.map((unit) => unit.id.split("-")[1]), ["1", "1"], "region and image of layer 1");
});

Deno.test("two processes with the same address and layer get images of their own", async () => {
  const { hypervisor, service, files } = setUp();
  for (const process of [1, 2]) {
    hypervisor.play(1, [{
      kind: "S1",
      va: 0x401000,
      page: page(`process ${process}`),
      process,
      layer: 1,
      hop: true,
      hopTo: 0x401000,
      ...allocation,
    }]);
  }
  await service.drain();
  await service.finish();
  assert.deepEqual([...files.files.keys()].filter((name) => name.startsWith("images/")), [
    "images/00400000-1.exe",
    "images/00400000-1-2.exe",
  ]);
  assert.deepEqual(service.images.map(({ id, process }) => [id, process]), [
    ["image:00400000-1", "1:1"],
    ["image:00400000-1-2", "1:2"],
  ]);
});

Deno.test("each content is scanned once, every unit has its findings and all its owners", async () => {
  const scanner = new Finder("x");
  const { hypervisor, service } = setUp({ scanner });
  hypervisor.play(1, [
    { kind: "S1", va: 0x1000, page: page("x"), process: 1 },
    { kind: "S1", va: 0x1000, page: page("x"), process: 2 },
    { kind: "S1", va: 0x3000, page: page("x"), process: 2 },
  ]);
  await service.drain();
  await service.finish();
  assert.equal(scanner.seen.length, 1);
  const units = [...service.scans.units.values()];
  assert.ok(
    units.every((unit) => unit.findings?.[0].status === "malicious" && unit.findings[0].unit === unit.id),
  );
  assert.deepEqual(units.filter((unit) => unit.kind === "page").map((unit) => [...unit.owners]), [[
    "1:1",
    "1:2",
  ], ["1:2"]]);
});

Deno.test("slow engines hold the service back, and lose nothing", async () => {
  let open = () => {};
  const scanner = new Finder("x", new Promise<void>((resolve) => open = resolve));
  const { hypervisor, service } = setUp({ scanner, limits: { queuedUnits: 20 } });
  hypervisor.copyPages = 16;
  hypervisor.play(
    1,
    Array.from(
      { length: 200 },
      (_, index) => ({ kind: "S1", va: 4096 * (index + 1), page: page(String(index)) }),
    ),
  );
  let drained = false;
  const draining = service.drain().then(() => drained = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.ok(!drained);
  assert.ok(hypervisor.acknowledged.get(1)! <= 48, "only what fits was taken");
  assert.ok(scanner.most <= 8);
  const taken = hypervisor.acknowledged.get(1);
  const second = service.drain();
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(hypervisor.acknowledged.get(1), taken, "another call waits its turn");
  open();
  await second;
  await draining;
  await service.finish();
  assert.equal(service.domains.get(1)!.pages.stored, 200);
  assert.equal(service.scans.scanned, service.scans.units.size);
});

Deno.test("engines are told of what waits before it is scanned, and every unit is scanned all the same", async () => {
  const told: string[] = [];
  const unknown: string[] = [];
  class Told extends Finder {
    override scan(unit: Unit) {
      if (told.length > 0 && !told.includes(unit.id)) unknown.push(unit.id);
      return super.scan(unit);
    }
    async sift(units: readonly Unit[]) {
      assert.ok(units.length >= 2 && units.length <= 256, `${units.length} units`);
      await new Promise((resolve) => setTimeout(resolve, 1));
      told.push(...units.map(({ id }) => id));
    }
  }
  const scanner = new Told("x");
  const { hypervisor, service } = setUp({ scanner });
  hypervisor.play(
    1,
    Array.from(
      { length: 300 },
      (_, index) => ({ kind: "S1", va: 4096 * (2 * index + 1), page: page(`${index}`) }),
    ),
  );
  await service.drain();
  service.unwatch(1);
  await service.drain();
  await service.finish();
  assert.equal(service.scans.scanned, service.scans.units.size);
  assert.ok(service.scans.units.size >= 300);
  assert.equal(new Set(scanner.seen.map(({ sha256 }) => sha256)).size, scanner.seen.length);
  assert.deepEqual(unknown, []);
  assert.ok(told.length >= 290 && new Set(told).size === told.length, `${told.length}`);
});

Deno.test("units, regions and images over the limits are counted", async () => {
  const { hypervisor, service } = setUp({
    scanner: new Finder("x"),
    limits: { units: 3, regionBytes: 2 * 4096, imageBytes: 4096, events: 2 },
  });
  hypervisor.play(
    1,
    Array.from({ length: 4 }, (_, index) => ({
      kind: "S1",
      va: 0x400000 + 4096 * index,
      page: page(String(index)),
      layer: 1,
      hop: index === 0,
      hopTo: 0x400000,
      ...allocation,
    })),
  );
  await service.drain();
  await service.finish();
  assert.equal(service.scans.refused, 1);
  assert.deepEqual([...service.skipped].sort(), [
    ["a region of 16384 bytes, more than 8192", 2],
    ["an image: it has 81920 bytes, more than 4096", 1],
    ["events not written", 2],
  ]);
});

Deno.test("a flood of processes is bounded, and counted", async () => {
  const { hypervisor, service } = setUp({ limits: { processes: 5 } });
  hypervisor.play(
    1,
    Array.from(
      { length: 50 },
      (_, index) => ({ kind: "S1", va: 0x1000, page: page("a"), process: index + 1 }),
    ),
  );
  await service.drain();
  const domain = service.domains.get(1)!;
  assert.equal(domain.processes.size, 5);
  assert.equal(domain.crowded, 45);
  assert.equal(domain.pages.seen, 50);
});

Deno.test("a process's modules are looked at a few times in each layer, while it lives", async () => {
  const { hypervisor, service } = setUp();
  const looks: number[] = [];
  let broken = false;
  Object.assign(hypervisor, {
    memory: (_domain: number, key: number) => {
      looks.push(key);
      if (broken) throw new Error("no answer");
      return { peb: 0x7ffd_f000, read: () => new Uint8Array() };
    },
  });
  const turn = async (event: Partial<ScriptedEvent>) => {
    hypervisor.play(1, [{ kind: "S1", va: 0x1000, page: page("a"), ...event }, {
      kind: "S1",
      va: 0x2000,
      ...event,
    }]);
    await service.drain();
  };
  for (let index = 0; index < 40; index++) await turn({ layer: 0 });
  assert.equal(looks.length, 16, "once for each batch, to a bound");
  await turn({ layer: 1 });
  await turn({ process: 2, layer: 0 });
  assert.deepEqual(looks.slice(16), [1, 2]);
  broken = true;
  await turn({ process: 2, layer: 0 });
  assert.deepEqual([...service.skipped.keys()], ["module lists that could not be read: no answer"]);
  hypervisor.play(1, [{ kind: "process-end", process: 2 }]);
  await service.drain();
  const before = looks.length;
  await turn({ process: 2, layer: 3 });
  assert.equal(looks.length, before, "it has ended");
  const { seen, stored, deduplicated } = service.domains.get(1)!.pages;
  assert.deepEqual([seen, stored, deduplicated], [44, 1, 43], "no page is the worse for it");
});

Deno.test("calls of drain at the same time take turns", async () => {
  const { hypervisor, service } = setUp();
  hypervisor.play(1, [{ kind: "S1", va: 0x1000, page: page("a") }]);
  const counts = await Promise.all([service.drain(), service.drain(), service.drain()]);
  assert.deepEqual(counts, [1, 0, 0]);
});

Deno.test("the default limits are what an operator's machine has", () => {
  assert.ok(DEFAULT_LIMITS.pages * 4096 <= 1 << 30);
});
