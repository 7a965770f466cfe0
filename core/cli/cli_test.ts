// SPDX-License-Identifier: Apache-2.0
// The command line with the real engine and a guest that plays a script.
import assert from "node:assert/strict";
import { join } from "node:path";
import { EICAR, engineFactories, SELFTEST_MARKER, startScanner } from "../../scanners/mod.ts";
import { type Emulator, InputError } from "../ports.ts";
import { page, ScriptedEmulator, type ScriptedEvent, type ScriptedStep } from "../testing/scripted.ts";
import { runCommandLine, type SelftestRow, type Wiring } from "./mod.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const EXITED: ScriptedStep = { end: { reason: "exited", detail: "exit code 0" } };
const allocation = { allocationBase: 0x400000, allocationSize: 0x10000 };
const hop: ScriptedEvent = {
  kind: "S1",
  va: 0x401000,
  page: page(new Uint8Array([0x55, 0x8b, 0xec, 0x33, 0xc0, 0xc9, 0xc3])),
  layer: 1,
  hop: true,
  hopFrom: 0x408000,
  hopTo: 0x401000,
  ...allocation,
};
const payload: ScriptedEvent = {
  kind: "layer",
  va: 0x402000,
  page: page(SELFTEST_MARKER, 50),
  layer: 1,
  ...allocation,
};
const harmless: ScriptedStep[] = [{ events: [{ kind: "process-start" }, hop] }, EXITED];
const malicious: ScriptedStep[] = [{ events: [{ kind: "process-start" }, hop, payload] }, EXITED];

async function umbra(
  args: readonly string[],
  more: Partial<Wiring> & { readonly steps?: readonly ScriptedStep[] } = {},
): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await runCommandLine(args, {
    version: "1.2.3",
    emulator: new ScriptedEmulator(more.steps ?? harmless),
    engines: engineFactories,
    startScanner,
    selftest: async function* () {},
    demonstration: () => [],
    stdout: (text) => out += text,
    stderr: (text) => err += text,
    terminal: false,
    interrupt: new AbortController().signal,
    ...more,
  });
  return { code, out, err };
}

/** The smallest file that passes for a 32-bit program. */
function program(): Uint8Array {
  const bytes = new Uint8Array(0x200);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, 0x40, true);
  view.setUint32(0x40, 0x4550, true);
  view.setUint16(0x44, 0x14c, true);
  view.setUint16(0x58, 0x10b, true);
  return bytes;
}

function test(name: string, body: (folder: string, sample: string) => Promise<void>): void {
  Deno.test(name, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const sample = join(folder, "sample.exe");
      await Deno.writeFile(sample, program());
      await body(folder, sample);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

function wrongUse({ code, out, err }: Ran, reason: RegExp): void {
  assert.equal(code, 2, err);
  assert.equal(out, "");
  assert.match(err, /^[^\n]+\n$/, "one line");
  assert.match(err, reason);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(err, /[\x00-\x09\x0b-\x1f]|\.ts:\d/);
}

test("a payload that is only in memory is malicious: report, files, exit code 1", async (folder, sample) => {
  const out = join(folder, "out");
  const ran = await umbra(["emulate", sample, "--out", out], { steps: malicious });
  assert.equal(ran.code, 1);
  assert.match(ran.out, /^verdict +malicious \(found by yara\)$/m);
  assert.match(ran.out, /hop 00408000 → 00401000: push ebp; mov ebp, esp; xor eax, eax$/m);
  assert.equal(ran.err, "");
  const report = JSON.parse(await Deno.readTextFile(join(out, "report.json")));
  assert.deepEqual(Object.keys(report).slice(0, 11), [
    "version",
    "umbra",
    "sample",
    "end",
    "processes",
    "pages",
    "layers",
    "units",
    "findings",
    "verdict",
    "missing",
  ]);
  assert.deepEqual([report.version, report.umbra, report.verdict], [1, "1.2.3", "malicious"]);
  assert.deepEqual(report.pages, { seen: 2, stored: 2, deduplicated: 0, lost: 0 });
  assert.deepEqual(report.processes.map((one: { pid: number; verdict: string }) => [one.pid, one.verdict]), [[
    1001,
    "malicious",
  ]]);
  assert.deepEqual(report.layers[0].entry[1], { address: 0x401001, bytes: "8bec", text: "mov ebp, esp" });
  const kinds = report.findings.map((one: { unit: string }) => one.unit.split(":")[0]);
  assert.deepEqual(kinds, ["image", "page", "region"]);
  assert.deepEqual(report.findings[1], {
    unit: report.findings[1].unit,
    engine: "yara",
    status: "malicious",
    threat: "UMBRA_selftest_payload",
    offset: 50,
  });
  for (const { unit } of report.findings) {
    const [kind, name] = unit.split(":");
    assert.ok((await Deno.stat(join(out, `${kind}s`, `${name}.${kind === "image" ? "exe" : "bin"}`))).isFile);
  }
  assert.equal((await Deno.readTextFile(join(out, "events.jsonl"))).trim().split("\n").length, 3);
});

test("the report says how the guest was set up", async (_folder, sample) => {
  const guest = async (...options: string[]) =>
    JSON.parse((await umbra(["emulate", sample, "--json", ...options])).out).guest;
  assert.deepEqual(await guest(), { dep: "optin", aslr: false });
  assert.deepEqual(await guest("--dep", "alwayson", "--aslr"), { dep: "alwayson", aslr: true });
  wrongUse(await umbra(["emulate", sample, "--dep", "off"]), /Allowed choices are optin, optout, alwayson/);
});

test("two runs give the same report, times aside", async (folder, sample) => {
  const run = async () => JSON.parse((await umbra(["emulate", sample, "--json"], { steps: malicious })).out);
  const [first, second] = [await run(), await run()];
  delete first.end.seconds;
  delete second.end.seconds;
  assert.equal(JSON.stringify(first), JSON.stringify(second));
  assert.ok(folder);
});

test("--json prints the report alone, and the same as report.json", async (folder, sample) => {
  const ran = await umbra(["emulate", sample, "--json", "--out", join(folder, "out")], { terminal: false });
  assert.equal(ran.out, await Deno.readTextFile(join(folder, "out", "report.json")));
  assert.equal(ran.err, "");
});

test("a sample that is malicious as it lies on the disk is, whatever it does", async (folder) => {
  const file = join(folder, "s.exe");
  await Deno.writeFile(file, new Uint8Array([...program(), ...new TextEncoder().encode(EICAR)]));
  const ran = await umbra(["emulate", file, "--json"], { steps: [EXITED] });
  assert.equal(ran.code, 1);
  const report = JSON.parse(ran.out);
  assert.match(report.findings[0].unit, /^file:[0-9a-f]{64}$/);
  assert.equal(report.units, 1);
});

test("a process of which nothing was captured is as clean as its file", async (_folder, sample) => {
  const ran = await umbra(["emulate", sample, "--json"], {
    steps: [{ events: [{ kind: "process-start" }] }, EXITED],
  });
  assert.deepEqual(JSON.parse(ran.out).processes.map((one: { verdict: string }) => one.verdict), ["clean"]);
});

test("what is captured at an interruption is still scanned", async (_folder, sample) => {
  const emulator = new ScriptedEmulator([], (hypervisor) => {
    hypervisor.atUnwatch = [{ ...payload, kind: "residue" }];
  });
  const ran = await umbra(["emulate", sample, "--json"], { emulator, interrupt: AbortSignal.abort() });
  assert.deepEqual([ran.code, JSON.parse(ran.out).end.reason], [1, "interrupted"]);
});

/** name, steps, options, exit code, verdict, reason. */
const ENDS: readonly (readonly [
  string,
  readonly ScriptedStep[],
  readonly string[],
  number,
  string,
  RegExp | undefined,
])[] = [
  ["clean and ended by itself", harmless, [], 0, "clean", undefined],
  ["nothing was seen, and the file is clean", [EXITED], [], 0, "clean", undefined],
  [
    "a crash",
    [{ end: { reason: "crashed", detail: "access violation at 0" } }],
    [],
    3,
    "incomplete",
    /crashed/,
  ],
  [
    "the instructions ran out",
    [{ end: { reason: "budget", detail: "instructions" } }],
    [],
    3,
    "incomplete",
    /budget/,
  ],
  [
    "something unsupported",
    [{ end: { reason: "unsupported", detail: "opcode 0f 0b" } }],
    [],
    3,
    "incomplete",
    /unsupported/,
  ],
  ["a guest that is stuck", [{ instructions: 0 }], [], 3, "incomplete", /deadlock/],
  [
    "a lost page",
    [{ events: [{ kind: "S1", va: 0x1000, content: "lost" }] }, EXITED],
    [],
    3,
    "incomplete",
    /1 pages were lost/,
  ],
  [
    "a lost page beside a payload",
    [{ events: [{ kind: "S1", va: 0x1000, content: "lost" }, payload] }, EXITED],
    [],
    1,
    "malicious",
    /lost/,
  ],
  [
    "a crash after a payload",
    [{ events: [payload] }, { end: { reason: "crashed", detail: "" } }],
    [],
    1,
    "malicious",
    /yara/,
  ],
  ["no scan asked for", malicious, ["--no-scan"], 0, "incomplete", /turned off/],
  [
    "no scan asked for, and a page lost",
    [{ events: [{ kind: "S1", va: 1, content: "lost" }] }, EXITED],
    ["--no-scan"],
    3,
    "incomplete",
    /lost/,
  ],
];
for (const [name, steps, options, code, verdict, reason] of ENDS) {
  test(`the end of a run: ${name}`, async (_folder, sample) => {
    const stuck = steps[0].instructions === 0 ? Array.from({ length: 1100 }, () => steps[0]) : steps;
    const ran = await umbra(["emulate", sample, "--json", ...options], { steps: stuck });
    const report = JSON.parse(ran.out);
    assert.deepEqual([ran.code, report.verdict], [code, verdict], ran.out);
    if (reason) assert.match(report.reasons.join("\n"), reason);
    else assert.deepEqual(report.reasons, []);
  });
}

test("the time limit ends a run that does not, with what was captured", async (folder, sample) => {
  const ran = await umbra(
    ["emulate", sample, "--json", "--time-limit", "0.2", "--out", join(folder, "out")],
    {
      steps: [{ events: [hop] }],
    },
  );
  const report = JSON.parse(ran.out);
  assert.equal(ran.code, 3);
  assert.deepEqual([report.end.reason, report.end.detail], ["budget", "time limit of 0.2 seconds"]);
  assert.equal(report.pages.stored, 1);
  assert.equal([...Deno.readDirSync(join(folder, "out", "images"))].length, 1);
});

test(
  "an interruption ends a run with what was captured: exit code 3, or 1 when something was found",
  async (folder, sample) => {
    for (const [events, code] of [[[hop], 3], [[hop, payload], 1]] as const) {
      const out = join(folder, `out${code}`);
      const controller = new AbortController();
      let found = false;
      const running = umbra(["emulate", sample, "--out", out], {
        steps: [{ events }],
        interrupt: controller.signal,
        startScanner: async (...given) => {
          const scanner = await startScanner(...given);
          const scan = async (...unit: Parameters<typeof scanner.scan>) => {
            const findings = await scanner.scan(...unit);
            found ||= unit[0].kind === "page" && findings[0].status === (code === 1 ? "malicious" : "clean");
            return findings;
          };
          return { ...scanner, scan };
        },
      });
      // Once the engine has said what there is to say.
      for (const deadline = performance.now() + 10_000; !found && performance.now() < deadline;) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      controller.abort();
      const ran = await running;
      const report = JSON.parse(await Deno.readTextFile(join(out, "report.json")));
      assert.equal(report.end.reason, "interrupted");
      assert.equal(ran.code, code, ran.out);
      assert.equal(report.pages.stored, events.length);
    }
  },
);

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

test("what is residue at the end of the watch is captured and scanned", async (_folder, sample) => {
  const emulator = new ScriptedEmulator([{ events: [hop] }, EXITED], (hypervisor) => {
    hypervisor.atUnwatch = [{ ...payload, kind: "residue" }];
  });
  const ran = await umbra(["emulate", sample], { emulator });
  assert.equal(ran.code, 1);
  assert.equal(emulator.closed, 1);
});

test("bad programs are refused in one line", async (folder, sample) => {
  const file = join(folder, "bad.exe");
  const cases: [string, Uint8Array, RegExp][] = [
    ["empty", new Uint8Array(0), /is empty/],
    ["text", new TextEncoder().encode("#!/bin/sh\n"), /does not start with "MZ"/],
    ["truncated", program().subarray(0, 0x30), /ends inside the DOS header/],
    ["cut in the header", program().subarray(0, 0x50), /ends inside the PE header/],
    ["header far away", patch(0x3c, 0xffffffff), /past the end/],
    ["no PE header", patch(0x40, 0), /no PE header/],
    ["64-bit", patch(0x44, 0x8664), /64-bit \(x86-64\)/],
    ["ARM", patch(0x44, 0x1c0), /not x86/],
    ["PE32+ optional header", patch(0x58, 0x20b), /0x20b/],
  ];
  for (const [, bytes, reason] of cases) {
    await Deno.writeFile(file, bytes);
    wrongUse(await umbra(["emulate", file]), reason);
  }
  wrongUse(await umbra(["emulate", join(folder, "missing")]), /it is not there/);
  wrongUse(await umbra(["emulate", folder]), /it is a folder/);
  wrongUse(await umbra(["emulate", "/dev/zero"]), /not a regular file/);
  const refusing: Emulator = {
    load: () => {
      throw new InputError('Cannot map section ".text": raw size 0xffffffff is past the end');
    },
  };
  wrongUse(await umbra(["emulate", sample], { emulator: refusing }), /Cannot map section/);
});

function patch(at: number, value: number): Uint8Array {
  const bytes = program();
  new DataView(bytes.buffer).setUint32(at, value, true);
  return bytes;
}

test("wrong use is said in one line", async (folder, sample) => {
  await Deno.writeTextFile(join(folder, "bad.yar"), "rule a {\n condition: nonsense }\n");
  const cases: [string[], RegExp][] = [
    [[], /no command given/],
    [["emulat", sample], /unknown command 'emulat'/],
    [["emulate"], /missing required argument 'file'/],
    [["emulate", sample, "--frob"], /unknown option '--frob'/],
    [["emulate", sample, "extra"], /too many arguments/],
    [["emulate", sample, "--max-instructions", "0"], /not a whole number/],
    [["emulate", sample, "--max-instructions", "1e9"], /not a whole number/],
    [["emulate", sample, "--max-instructions", "-1"], /not a whole number/],
    [["emulate", sample, "--time-limit", "0"], /not a number of seconds/],
    [["emulate", sample, "--engine", "nosuch"], /engine "nosuch": it is not known \(known: yara\)/],
    [["emulate", sample, "--engine", "nosuch", "--no-scan"], /not known/],
    [["emulate", sample, "--rules", join(folder, "none")], /Cannot read rules/],
    [["emulate", sample, "--rules", join(folder, "bad.yar")], /bad\.yar:2:\d+/],
    [["emulate", sample, "--out", sample], /Cannot write captures/],
    [["scan"], /missing required argument/],
    [["scan", sample, join(folder, "none")], /it is not there/],
    [["serve", "--backend", "cloud"], /Allowed choices/],
    [["serve", "--backend", "emulator", "--listen", "nowhere"], /HOST:PORT/],
    [["serve", "--data", sample, "--backend", "emulator"], /Cannot use --data/],
  ];
  for (const [args, reason] of cases) wrongUse(await umbra(args), reason);
});

test("what a guest or a file is called reaches the terminal escaped", async (folder) => {
  const file = join(folder, "\x1b[2Jevil\r\u202e.exe");
  await Deno.writeFile(file, program());
  const emulator = new ScriptedEmulator(
    [{ events: [{ kind: "process-start" }, hop] }, { end: { reason: "crashed", detail: "\x07bell" } }],
    (hypervisor) => hypervisor.identify(1, "\x1b]0;owned\x07", { path: "C:\\\x9b31m\n" }),
  );
  emulator.missing = [{ dll: "a\x1b.dll", name: "f\r\n", calls: 1 }];
  const emulated = await umbra(["emulate", file], { emulator });
  const scanned = await umbra(["scan", file]);
  const missing = await umbra(["scan", file + "\x1b[31m"]);
  for (const text of [emulated.out, scanned.out, missing.err]) {
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
    assert.match(text, /\\x1b\[2Jevil\\x0d/);
  }
  assert.equal(emulated.out.split("\n").filter((line) => line.includes("owned")).length, 1);
});

test(
  "progress is shown on a terminal and nowhere else, and leaves the line empty",
  async (_folder, sample) => {
    const steps = Array.from({ length: 200 }, () => ({ events: [] })) as ScriptedStep[];
    const slow = { load: () => slowed(new ScriptedEmulator([...steps, EXITED]).load()) };
    const ran = await umbra(["emulate", sample, "--json"], { emulator: slow, terminal: true });
    assert.match(ran.err, /\r\[#*-+\] \d+ million instructions/);
    assert.match(ran.err, /\r +\r$/);
    JSON.parse(ran.out);
    const piped = await umbra(["emulate", sample, "--json"], { emulator: slow, terminal: false });
    assert.equal(piped.err, "");
  },
);

/** A guest whose steps take a little time. */
function slowed(emulation: ReturnType<Emulator["load"]>): ReturnType<Emulator["load"]> {
  const step = emulation.step;
  return Object.assign(Object.create(emulation), {
    step: (slice: number) => {
      for (const until = performance.now() + 2; performance.now() < until;);
      return step(slice);
    },
  });
}

test("a failure of umbra itself is exit code 4, in one line without a stack", async (_folder, sample) => {
  const emulator: Emulator = {
    load: () => {
      throw new TypeError("undefined is not\n a function");
    },
  };
  const ran = await umbra(["emulate", sample], { emulator });
  assert.equal(ran.code, 4);
  assert.equal(ran.err, "umbra: internal error: undefined is not\\x0a a function\n");
});

test("scan: exit codes and verdicts of files as they are", async (folder, sample) => {
  const bad = join(folder, "eicar.com");
  await Deno.writeTextFile(bad, EICAR);
  assert.equal((await umbra(["scan", sample])).code, 0);
  const both = await umbra(["scan", sample, bad]);
  assert.equal(both.code, 1);
  assert.match(
    both.out,
    /sample\.exe: clean\n.*eicar\.com: malicious.*\n {2}malicious: yara says UMBRA_EICAR_test_string in file:/,
  );
  const report = JSON.parse((await umbra(["scan", bad, "--json"])).out);
  assert.deepEqual([report.version, report.verdict, report.files[0].findings[0].threat], [
    1,
    "malicious",
    "UMBRA_EICAR_test_string",
  ]);
  const interrupted = await umbra(["scan", sample], { interrupt: AbortSignal.abort() });
  assert.equal(interrupted.code, 3);
});

test(
  "an engine that cannot start makes a verdict incomplete; named by the user, it is wrong use",
  async (_folder, sample) => {
    const engines = [...engineFactories, {
      name: "absent",
      description: "an engine that is not installed",
      create: () => ({
        name: "absent",
        start: () => Promise.reject(new Error("not installed")),
        scan: () => Promise.reject(new Error("never asked")),
        close: () => Promise.resolve(),
      }),
    }];
    const ran = await umbra(["emulate", sample], { engines });
    assert.equal(ran.code, 3);
    assert.match(ran.out, /engine absent is unavailable: not installed/);
    wrongUse(
      await umbra(["emulate", sample, "--engine", "absent"], { engines }),
      /Cannot use engine "absent": not installed/,
    );
    assert.equal((await umbra(["emulate", sample, "--engine", "yara"], { engines })).code, 0);
    const listed = await umbra(["engines"], { engines });
    assert.equal(listed.code, 3);
    assert.match(listed.out, /^yara: ready, version 1\.20\.0, 2 built-in rules/m);
    assert.match(listed.out, /^absent: unavailable, not installed$/m);
  },
);

test("version and help", async () => {
  assert.deepEqual(await umbra(["version"]), { code: 0, out: "umbra 1.2.3\n", err: "" });
  assert.deepEqual(await umbra(["--version"]), { code: 0, out: "1.2.3\n", err: "" });
  assert.deepEqual(await umbra(["version", "--json"]), { code: 0, out: '{"umbra":"1.2.3"}\n', err: "" });
  const help = await umbra(["--help"]);
  assert.equal(help.code, 0);
  for (const command of ["emulate", "scan", "serve", "selftest", "engines", "version"]) {
    assert.match(help.out, new RegExp(`^  ${command}\\b`, "m"));
    const own = await umbra([command, "--help"]);
    assert.deepEqual([own.code, own.err], [0, ""]);
    assert.match(own.out, new RegExp(`^Usage: umbra ${command}`));
  }
});

test("selftest: passes when every sample does, and when there are samples", async () => {
  const selftest = (rows: SelftestRow[]): Wiring["selftest"] =>
    async function* () {
      yield* rows;
    };
  const good = { name: "plain", ok: true, detail: "the control" };
  assert.equal((await umbra(["selftest"], { selftest: selftest([good]) })).code, 0);
  const bad = await umbra(["selftest"], {
    selftest: selftest([good, { name: "alloc", ok: false, detail: "no layer\x1b" }]),
  });
  assert.equal(bad.code, 3);
  assert.match(bad.out, /^FAILED +alloc: +no layer\\x1b$/m);
  assert.equal((await umbra(["selftest"], { selftest: selftest([]) })).code, 3);
});

test("serve: the emulator's guests run to their verdicts, the page says so, a signal ends it", async (folder) => {
  const controller = new AbortController();
  let out = "";
  const running = umbra([
    "serve",
    "--backend",
    "emulator",
    "--data",
    join(folder, "data"),
    "--listen",
    "127.0.0.1:0",
  ], {
    steps: malicious,
    demonstration: () => [{ name: "a.exe", bytes: program() }, { name: "b.exe", bytes: program() }],
    interrupt: controller.signal,
    stdout: (text) => out += text,
  });
  while (!out) await new Promise((resolve) => setTimeout(resolve, 10));
  const address = /http:\/\/127\.0\.0\.1:\d+\//.exec(out)![0];
  let status;
  do {
    status = await (await fetch(`${address}api/v1/status`)).json();
  } while (status.verdictCounts.malicious < 2);
  assert.deepEqual(status.domains.map(({ pages }: { pages: unknown }) => pages), [{
    seen: 4,
    stored: 4,
    deduplicated: 0,
    lost: 0,
  }]);
  assert.deepEqual(status.verdicts[0].threats, [{ engine: "yara", threat: "UMBRA_selftest_payload" }]);
  assert.deepEqual(status.problems, []);
  controller.abort();
  assert.equal((await running).code, 0);
  assert.ok(exists(join(folder, "data", "captures", "2", "report.json")));
});
