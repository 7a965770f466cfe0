// SPDX-License-Identifier: Apache-2.0
// `umbra watch` over a hypervisor that plays a script, with the real engine.
import assert from "node:assert/strict";
import { join } from "node:path";
import { engineFactories, SELFTEST_MARKER, startScanner } from "../../scanners/mod.ts";
import { InputError, type Scanner, type StartScanner, type WatchRule } from "../ports.ts";
import { page, ScriptedEmulator, type ScriptedEvent, ScriptedHypervisor } from "../testing/scripted.ts";
import { runCommandLine, type Wiring } from "./mod.ts";
import { parseRule } from "./watch.ts";

const payload: ScriptedEvent = { kind: "S1", va: 0x402000, page: page(SELFTEST_MARKER, 50) };

/** A live guest: plays when it is watched, as long as somebody listens. */
class LiveHypervisor extends ScriptedHypervisor {
  rules: readonly WatchRule[] = [];
  closed = false;
  constructor(private readonly events: readonly ScriptedEvent[]) {
    super();
    this.identify(1, "virus.exe");
  }
  override watch(domain = 0, rules: readonly WatchRule[] = []): void {
    this.rules = rules;
    setTimeout(() => this.play(domain, this.events), 1);
  }
  override close(): void {
    this.closed = true;
  }
}

async function umbra(args: readonly string[], hypervisor?: LiveHypervisor, more: Partial<Wiring> = {}) {
  let out = "", err = "";
  const code = await runCommandLine(["watch", ...args], {
    version: "1.2.3",
    emulator: new ScriptedEmulator([]),
    engines: engineFactories,
    startScanner,
    selftest: async function* () {},
    demonstration: () => [],
    stdout: (text) => out += text,
    stderr: (text) => err += text,
    terminal: false,
    interrupt: new AbortController().signal,
    ...hypervisor && { connectXen: () => hypervisor },
    ...more,
  });
  return { code, out, err };
}

Deno.test("a payload in a live guest is malicious: report, files, exit code 1", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const hypervisor = new LiveHypervisor([{ kind: "process-start" }, payload]);
    const ran = await umbra(["3", "--for", "0.2", "--json", "--out", join(folder, "out")], hypervisor);
    assert.equal(ran.code, 1, ran.err);
    const report = JSON.parse(ran.out);
    assert.deepEqual([report.verdict, report.end.reason, report.sample.name], [
      "malicious",
      "exited",
      "domain 3",
    ]);
    assert.equal(await Deno.readTextFile(join(folder, "out", "report.json")), ran.out);
    assert.deepEqual(hypervisor.rules, [{ kind: "all", pattern: "" }]);
    assert.deepEqual([hypervisor.unwatched, hypervisor.closed], [[3], true]);
    assert.equal(ran.err, "umbra: watching domain 3 on script\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what was captured and is not malicious is clean, and nothing captured is not clean", async () => {
  const harmless: ScriptedEvent = { kind: "S1", va: 0x401000, page: page("harmless") };
  const ran = await umbra(["3", "--for", "0.05"], new LiveHypervisor([harmless]));
  assert.deepEqual([ran.code, /^verdict +clean$/m.test(ran.out)], [0, true]);
  const nothing = await umbra(["3", "--for", "0.05"], new LiveHypervisor([{ kind: "process-start" }]));
  assert.deepEqual([nothing.code, /^verdict +incomplete .*nothing was scanned/m.test(nothing.out)], [
    3,
    true,
  ]);
});

Deno.test("a process of which only the address space is known is told by its CR3, everywhere", async () => {
  const folder = await Deno.makeTempDir(), out = join(folder, "out");
  try {
    const of = { process: 7, pid: 0, addressSpace: 0x123_4560 };
    const script: ScriptedEvent[] = [
      { kind: "process-start", ...of },
      { ...payload, ...of, layer: 1, hop: true, hopFrom: 0x40_1000, hopTo: 0x40_2000 },
    ];
    const ran = await umbra(["3", "--for", "0.2", "--out", out, "--html"], new LiveHypervisor(script));
    assert.equal(ran.code, 1, ran.err);
    assert.match(ran.out, /^processes +address space 01234560 \(CR3; its name is not known\) malicious$/m);
    assert.match(ran.out, /^layers .*1 of address space 01234560: 1 page, hop 00401000 → 00402000/m);
    const report = JSON.parse(await Deno.readTextFile(join(out, "report.json")));
    const [{ pid, name, partial, addressSpace }] = report.processes;
    assert.deepEqual([pid, name, partial, addressSpace], [0, "", true, 0x123_4560]);
    assert.ok((await Deno.readTextFile(join(out, "events.jsonl"))).includes('"addressSpace":19088736'));
    const html = await Deno.readTextFile(join(out, "report.html"));
    for (
      const words of [
        "Address space 01234560",
        "of address space 01234560",
        "address space (CR3), no name known",
      ]
    ) {
      assert.ok(html.includes(words), words);
    }
    assert.ok(!/process 0\b/i.test(html));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("processes for which the monitor had no place are told of, and make the verdict incomplete", async () => {
  const harmless: ScriptedEvent = { kind: "S1", va: 0x401000, page: page("harmless") };
  const hypervisor = new LiveHypervisor([harmless]);
  const statistics = hypervisor.statistics.bind(hypervisor);
  hypervisor.statistics = (domain) => ({ ...statistics(domain), processesRefused: 4 });
  const ran = await umbra(["3", "--for", "0.1"], hypervisor);
  assert.equal(ran.code, 3);
  assert.match(ran.out, /^left out +processes not watched: the monitor's table was full \(4\)$/m);
});

Deno.test("an interruption ends the watch, and what it left is still scanned", async () => {
  const hypervisor = new LiveHypervisor([]);
  hypervisor.atUnwatch = [{ ...payload, kind: "residue" }];
  const ran = await umbra(["3", "--json"], hypervisor, { interrupt: AbortSignal.abort() });
  assert.deepEqual([ran.code, JSON.parse(ran.out).end.reason], [1, "interrupted"]);
});

Deno.test("who insists does not wait for an engine that hangs", async () => {
  const insistence = new AbortController();
  const hang: StartScanner = async (engines, options) => {
    const scanner = await startScanner(engines, options);
    const scan: Scanner["scan"] = async (unit, signal) => {
      assert.ok(signal);
      setTimeout(() => insistence.abort());
      if (!signal.aborted) await new Promise((go) => signal.addEventListener("abort", go));
      return await scanner.scan(unit, signal);
    };
    return { engines: () => scanner.engines(), close: () => scanner.close(), scan };
  };
  const hypervisor = new LiveHypervisor([]);
  hypervisor.atUnwatch = [{ ...payload, kind: "residue" }];
  const running = umbra(["3", "--json"], hypervisor, {
    startScanner: hang,
    interrupt: AbortSignal.abort(),
    insistence: insistence.signal,
  });
  // The engines have a minute when nobody insists.
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it waits for the engine")), 30_000);
  });
  const ran = await Promise.race([running, late]).finally(() => clearTimeout(timer));
  const { end, verdict, findings } = JSON.parse(ran.out);
  assert.deepEqual([ran.code, end.reason, verdict], [3, "interrupted", "incomplete"]);
  assert.ok(
    findings.length > 0 && findings.every(({ status }: { status: string }) => status === "incomplete"),
  );
});

for (const end of ["the time asked for", "an interruption"]) {
  Deno.test(`${end} ends the watch of a guest that makes events as fast as they are collected`, async () => {
    const hypervisor = new LiveHypervisor([]);
    const fetch = hypervisor.fetch.bind(hypervisor);
    hypervisor.fetch = (domain, max) => {
      if (hypervisor.unwatched.length === 0) hypervisor.play(domain, [{ kind: "process-start" }]);
      return fetch(domain, max);
    };
    const interrupt = new AbortController();
    if (end === "an interruption") setTimeout(() => interrupt.abort(), 50);
    const args = ["3", "--json", ...end === "an interruption" ? [] : ["--for", "0.05"]];
    const ran = await umbra(args, hypervisor, { interrupt: interrupt.signal });
    const report = JSON.parse(ran.out);
    assert.equal(report.end.reason, end === "an interruption" ? "interrupted" : "exited");
    assert.ok(report.events.seen > 0);
  });
}

Deno.test("a domain that goes away ends the watch with what was captured", async () => {
  const hypervisor = new LiveHypervisor([payload]);
  const fetch = hypervisor.fetch.bind(hypervisor);
  let fetched = 0;
  hypervisor.fetch = (domain, max) => {
    const events = fetch(domain, max);
    fetched += events.length;
    if (fetched && !events.length) throw Object.assign(new Error("gone"), { errno: 3 });
    return events;
  };
  const ran = await umbra(["3", "--json"], hypervisor);
  assert.deepEqual([ran.code, JSON.parse(ran.out).end.detail], [1, "the domain is gone"]);
});

Deno.test("what cannot be watched is one line and exit code 2", async () => {
  const none = () => {
    throw new InputError("Cannot talk to Xen: there is no /dev/xen/privcmd");
  };
  const refusing = new LiveHypervisor([]);
  refusing.watch = () => {
    throw Object.assign(new Error("Cannot watch domain 3: there is no such domain"), {
      name: "HypercallError",
    });
  };
  const rows: [string[], LiveHypervisor | undefined, Partial<Wiring>, RegExp][] = [
    [["3"], undefined, {}, /this umbra has no way to Xen/],
    [["3"], undefined, { connectXen: none }, /no \/dev\/xen\/privcmd/],
    [["3"], refusing, {}, /Cannot watch domain 3: there is no such domain/],
    [["0"], undefined, {}, /not a guest's domain number/],
    [["win7"], undefined, {}, /not a guest's domain number/],
    [["3", "--rule", "name:x"], undefined, {}, /Rules are NAME/],
    [["3", "--rule", "pid:x"], undefined, {}, /not a process number/],
    [["3", "--rule", "exact:"], undefined, {}, /nothing to compare/],
    [["3", "--coalesce-window", "0"], undefined, {}, /not a number of ticks from 1 to/],
    [["3", "--coalesce-window", "4611686018427387905"], undefined, {}, /not a number of ticks from 1 to/],
    [["3", "--engine", "nobody"], new LiveHypervisor([]), {}, /Cannot use engine "nobody"/],
  ];
  for (const [args, hypervisor, more, reason] of rows) {
    const ran = await umbra(args, hypervisor, more);
    assert.equal(ran.code, 2, args.join(" "));
    assert.match(ran.err, /^[^\n]+\n$/);
    assert.match(ran.err, reason);
  }
  assert.ok(refusing.closed);
});

Deno.test("rules are read", () => {
  assert.deepEqual(parseRule("virus"), { kind: "prefix", pattern: "virus" });
  assert.deepEqual(parseRule("exact:a.exe"), { kind: "exact", pattern: "a.exe" });
  assert.deepEqual(parseRule("glob:*.exe"), { kind: "glob", pattern: "*.exe" });
  assert.deepEqual(parseRule("pid:12"), { kind: "pid", pattern: "12" });
  assert.deepEqual(parseRule("all"), { kind: "all", pattern: "" });
});
