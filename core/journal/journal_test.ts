// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { MemoryFiles } from "../capture/files.ts";
import { InputError } from "../ports.ts";
import { Service } from "../service/service.ts";
import { page, ScriptedHypervisor } from "../testing/scripted.ts";
import { Journal, SCHEMA_VERSION } from "./mod.ts";

async function withFile(body: (path: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(`${folder}/journal.db`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Plays a few events through a service into a journal. */
async function play(journal: Journal, id: number): Promise<void> {
  const hypervisor = new ScriptedHypervisor();
  hypervisor.identify(1, "evil'; DROP TABLE events;--");
  const service = new Service({ hypervisor, files: new MemoryFiles(), recorder: journal.recorder(id) });
  service.watch(1, []);
  hypervisor.play(1, [
    { kind: "process-start" },
    { kind: "S1", va: 0x401000, page: page("a") },
    { kind: "S1", va: 0x401000, page: page("a") },
    { kind: "S1", va: 0x402000, content: "lost" },
  ]);
  await service.drain();
}

Deno.test("the journal keeps domains, events and losses over a restart", () =>
  withFile(async (path) => {
    let time = 1000;
    const journal = new Journal(path, () => time);
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    const id = journal.openDomain(7, "win7", "test bed");
    journal.openDomain(8, "idle", "test bed");
    await play(journal, id);
    time = 11_000;
    assert.deepEqual(journal.rates(id, 20), { events: 4 / 20, pages: 2 / 20 });
    assert.deepEqual(journal.rates(id, 5), { events: 0, pages: 0 });
    journal.closeDomain(id);
    journal.close();

    const again = new Journal(path);
    const pages = { seen: 3, stored: 1, deduplicated: 1, lost: 1 };
    assert.deepEqual(again.domains(1).map(({ number }) => number), [8], "newest first, bounded");
    assert.deepEqual(again.losses(), [{
      id,
      number: 7,
      name: "win7",
      hypervisor: "test bed",
      started: 1000,
      ended: 11_000,
      pages,
    }]);
    again.close();
  }));

Deno.test("verdicts and what engines said are read back, newest first", () => {
  const journal = new Journal(":memory:", () => 5);
  const id = journal.openDomain(1, "d", "test bed");
  const base = {
    path: "C:\\a.exe",
    reasons: ["found by yara"],
    threats: [{ engine: "yara", threat: "<b>" }],
  };
  journal.verdict(id, { ...base, pid: 1, name: "a", verdict: "malicious" });
  journal.verdict(id, { ...base, pid: 2, name: "b", verdict: "clean", threats: [] });
  assert.deepEqual(journal.recentVerdicts(10).map(({ pid }) => pid), [2, 1]);
  assert.deepEqual(journal.recentVerdicts(10)[1], {
    ...base,
    domain: id,
    at: 5,
    pid: 1,
    name: "a",
    verdict: "malicious",
  });
  assert.deepEqual(journal.recentVerdicts(1).length, 1);
  assert.deepEqual(journal.recentVerdicts(-1), []);
  assert.deepEqual(journal.verdictCounts(), { malicious: 1, clean: 1, incomplete: 0, error: 0 });
  const unit = { id: "page:x", kind: "page", sha256: "0", size: 1, owners: new Set<string>() } as const;
  const finding = { unit: "page:x", engine: "yara" };
  journal.findings(id, {
    ...unit,
    findings: [{ ...finding, status: "malicious", threats: [{ name: "t", offset: 3 }, { name: "u" }] }, {
      ...finding,
      engine: "clam",
      status: "clean",
      threats: [],
    }],
  });
  assert.deepEqual(journal.engines(), [{ engine: "yara", status: "malicious", findings: 2 }]);
  journal.close();
});

Deno.test("a batch is written whole or not at all", async () => {
  const journal = new Journal(":memory:");
  const id = journal.openDomain(1, "d", "test bed");
  await play(journal, id);
  // A new event, and then one whose sequence number is taken.
  const hypervisor = new ScriptedHypervisor();
  hypervisor.play(1, Array.from({ length: 5 }, () => ({ kind: "S1", va: 0x1000, page: page("b") })));
  const events = hypervisor.fetch(1, 5).slice(3).reverse();
  const batch = events.map((event) => ({ event, outcome: "stored", sha256: "0" } as const));
  assert.throws(() => journal.record(id, batch, []), /Cannot write the journal/);
  assert.equal(journal.rates(id, 1000).events, 4 / 1000);
  assert.deepEqual(journal.domains()[0].pages, { seen: 3, stored: 1, deduplicated: 1, lost: 1 });
  journal.close();
});

Deno.test("what was recorded outlives a process that is killed", () =>
  withFile(async (path) => {
    const journal = new Journal(path);
    const id = journal.openDomain(1, "d", "test bed");
    await play(journal, id);
    // A second reader sees it while the first has neither closed nor checkpointed: it is in the file system.
    const reader = new DatabaseSync(path);
    assert.equal(reader.prepare("SELECT COUNT(*) AS n FROM events").get()!.n, 4);
    reader.close();
    journal.close();
  }));

Deno.test("a file that is no journal, or one of a later umbra, is refused with the reason", () =>
  withFile((path) => {
    Deno.writeTextFileSync(path, "not a database, but long enough to be looked at".repeat(50));
    assert.throws(() => new Journal(path), InputError);
    Deno.removeSync(path);
    new Journal(path).close();
    const database = new DatabaseSync(path);
    database.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
    database.close();
    assert.throws(
      () => new Journal(path),
      new RegExp(`version ${SCHEMA_VERSION + 1}.*up to ${SCHEMA_VERSION}`),
    );
  }));
