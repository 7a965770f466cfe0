// SPDX-License-Identifier: Apache-2.0
// The Windows-shaped guest gives in the test bed the stream of events that it gave on real Xen.
import assert from "node:assert/strict";
import { runCommandLine } from "../core/cli/mod.ts";
import type { ProcessMemory } from "../core/ports.ts";
import { startPvhGuest } from "../emulator/pvh.ts";
import { testbed } from "../emulator/testbed.ts";
import { engineFactories, startScanner } from "../scanners/mod.ts";
import { buildGuest } from "../xen/lab/guests.ts";
import { firstDifference, GUEST_MEMORY, streamIn, WATCH_OPTIONS } from "../xen/lab/stream.ts";
import { need } from "./means.ts";

/** Instructions between two looks at what waits. */
const SLICE = 300_000;
const RECORDED = new URL("../xen/lab/streams/processes.jsonl", import.meta.url);
const PAYLOAD = "UMBRA-LAB-PAYLOAD";

/** `umbra watch` over the image in the test bed, from its first instruction to its end; the console's text. */
async function watchInTestbed(image: Uint8Array, out: string): Promise<string> {
  const guest = startPvhGuest(image, { memory: GUEST_MEMORY });
  const interrupt = new AbortController();
  let ended: Promise<void> | undefined;
  const run = async () => {
    while (!guest.run(SLICE)) await new Promise((resolve) => setTimeout(resolve, 0));
    interrupt.abort();
  };
  await runCommandLine(["watch", String(guest.domain), ...WATCH_OPTIONS, "--out", out], {
    version: "0.0.0",
    emulator: testbed,
    engines: engineFactories,
    startScanner,
    selftest: async function* () {},
    demonstration: () => [],
    connectXen: () => guest.hypervisor,
    stdout: () => {},
    stderr: (text) => {
      assert.match(text, /^umbra: watching domain/);
      ended = run();
    },
    terminal: false,
    interrupt: interrupt.signal,
  });
  await ended;
  assert.deepEqual(guest.run(0)?.reason, "shutdown");
  return guest.console;
}

Deno.test({
  name: "a guest of several unpacking processes: the same events in the test bed as on real Xen",
  ignore: !need("gcc-m32"),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const image = await Deno.readFile(await buildGuest("processes", folder));
      const console = await watchInTestbed(image, `${folder}/out`);
      assert.equal(console, "guest: programs start\nguest: all programs ended\n");
      const stream = await streamIn(`${folder}/out`),
        recorded = (await Deno.readTextFile(RECORDED)).trim().split("\n");
      const difference = firstDifference(recorded, stream, ["real Xen, recorded", "test bed"]);
      assert.equal(difference, undefined, difference);
      assert.ok(stream.length > 1000, `${stream.length} lines`);
      const payloads = [...Deno.readDirSync(`${folder}/out/pages`)].filter(({ name }) =>
        new TextDecoder("latin1").decode(Deno.readFileSync(`${folder}/out/pages/${name}`)).includes(PAYLOAD)
      );
      assert.ok(payloads.length > 300, `${payloads.length} pages hold a payload`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "the guest's kernel objects say who a process is, and its memory can be read while it lives",
  ignore: !need("gcc-m32"),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const guest = startPvhGuest(await Deno.readFile(await buildGuest("processes", folder)));
      const { hypervisor, domain } = guest;
      hypervisor.watch(domain, [{ kind: "exact", pattern: "virus2.exe" }]);
      let memory: ProcessMemory | undefined, key = 0;
      while (!memory) {
        assert.equal(guest.run(50_000), undefined, "it ended before a process was seen");
        key = hypervisor.fetch(domain, 1)[0]?.process ?? 0;
        memory = key ? hypervisor.memory?.(domain, key) : undefined;
      }
      const { pid, parentPid, name, path, commandLine, partial } = hypervisor.process(domain, key)!;
      assert.deepEqual([pid, parentPid, name, path, commandLine, partial], [
        1024,
        4,
        "virus2.exe",
        "C:\\lab\\virus2.exe",
        "virus2.exe -x",
        false,
      ]);
      assert.deepEqual([memory.peb, new TextDecoder().decode(memory.read(0x400000, 2))], [0x7ffdf000, "MZ"]);
      hypervisor.close();
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
