// SPDX-License-Identifier: Apache-2.0
/**
 * What the lab runs in dom0: for each suite the files it needs, the machine it wants, and its script. A script
 * leaves what it found in `/result` and ends with 0 when it could be run; the checks of `dom0/main.ts` are told
 * on the console, too.
 *
 * @module
 */
import { buildGuest, guestConfiguration } from "./guests.ts";
import type { RootFile } from "./initramfs.ts";
import { hvmGuest } from "./hvm.ts";
import { linuxGuest } from "./linux.ts";
import { KEPT, run, TREE } from "./shell.ts";
import { GUEST_MEMORY } from "./stream.ts";

/** One suite. */
export interface Suite {
  readonly name: string;
  readonly description: string;
  /** Seconds the whole machine has. */
  readonly limit: number;
  /** A hypervisor built with assertions, or Debian's own; ours when not said. */
  readonly hypervisor?: "debug" | "stock";
  /** What it is booted in; QEMU when not said. */
  readonly machine?: "bochs";
  /** Processors of the machine; 2 when not said. */
  readonly cpus?: number;
  /** More words for the hypervisor's command line. */
  readonly xenOptions?: string;
  files(): Promise<readonly RootFile[]>;
  readonly script: string;
}

/** Text that the unpacker's program has nowhere but in what it unpacks. */
const PAYLOAD_RULE = `rule lab_payload { strings: $text = "UMBRA-LAB-PAYLOAD" condition: $text }\n`;

/** Starts a script with dom0's Deno; nothing is fetched and nothing is kept. */
const START =
  "DENO_DIR=/dev/null/none DENO_NO_UPDATE_CHECK=1 exec deno run --quiet --allow-all --ext=js --no-config " +
  "--no-lock --no-npm --no-remote --no-code-cache";

/** umbra as its executable starts it, without the copies that one file needs: Deno stands beside it. */
async function umbra(): Promise<RootFile[]> {
  const deno = [Deno.execPath(), "run", "--lock=deno.lock", "--frozen", "-A"];
  await run([...deno, "tools/package.ts", "--parts"], { cwd: TREE });
  return [
    { to: "/umbra/main.js", from: `${TREE}/build/package/main.js` },
    { to: "/umbra/artefacts.bin", from: `${TREE}/build/package/artefacts.bin` },
    {
      to: "/bin/umbra",
      text: `#!/bin/sh\nexec 9</umbra/artefacts.bin\n${START} /umbra/main.js "$@"\n`,
      executable: true,
    },
  ];
}

/** The checks, the guests and umbra: what every suite of ours has. */
async function ours(): Promise<readonly RootFile[]> {
  const script = `${KEPT}/lab.js`;
  const bundle = ["bundle", "--quiet", "--platform", "deno", "-o", script, "xen/lab/dom0/main.ts"];
  await run([Deno.execPath(), ...bundle], { cwd: TREE });
  const exerciser = guestConfiguration("exerciser", "/lab/exerciser.elf", { vcpus: 2 });
  const processes = guestConfiguration("processes", "/lab/processes.elf", { memory: GUEST_MEMORY });
  return [
    ...await umbra(),
    { to: "/lab/lab.js", from: script },
    { to: "/bin/lab", text: `#!/bin/sh\n${START} /lab/lab.js "$@"\n`, executable: true },
    { to: "/lab/unpacker.elf", from: await buildGuest("unpacker") },
    { to: "/lab/unpacker.cfg", text: guestConfiguration("unpacker", "/lab/unpacker.elf") },
    { to: "/lab/payload.yar", text: PAYLOAD_RULE },
    { to: "/lab/exerciser.elf", from: await buildGuest("exerciser") },
    { to: "/lab/exerciser.cfg", text: exerciser },
    { to: "/lab/measured.elf", from: await buildGuest("measured") },
    { to: "/lab/measured.cfg", text: guestConfiguration("measured", "/lab/measured.elf", { vcpus: 2 }) },
    { to: "/lab/processes.elf", from: await buildGuest("processes") },
    { to: "/lab/processes.cfg", text: processes },
    { to: "/lab/processes.jsonl", from: `${TREE}/xen/lab/streams/processes.jsonl` },
  ];
}

/** Runs the checks of a name, or of several with + between. */
const checks = (name: string) =>
  `xl info > /result/xl-info.txt
lab ${name}
code=$?
xl dmesg > /result/xl-dmesg.txt
exit $code
`;

/** A suite of checks of ours; `of`: which, when it is not its name. */
function suite(
  name: string,
  description: string,
  more:
    & { readonly of?: string }
    & Partial<Pick<Suite, "hypervisor" | "machine" | "cpus" | "limit" | "files">> = {},
): Suite {
  return { name, description, limit: 1500, files: ours, script: checks(more.of ?? name), ...more };
}

/** All suites. */
export const SUITES: readonly Suite[] = [
  suite(
    "core",
    "one boot: the hypercall, the exerciser against its truth, umbra watch, equal streams, refusals, hypercall fuzz",
  ),
  suite("exerciser", "what the page-table exerciser ran against what was captured"),
  suite("watch", "umbra watch over a guest that unpacks: a malicious verdict for what only memory has"),
  suite("equality", "the Windows-shaped guest: its stream of events, which must be the test bed's"),
  suite("refusals", "everything that umbra watch refuses"),
  suite("stock", "umbra watch on a hypervisor without the monitor, which is refused", {
    hypervisor: "stock",
  }),
  suite("fuzz", "the hypercall with random operations, sizes and pointers"),
  suite(
    "life",
    "ends in the middle: domain destroyed, collector killed, data centre full, a guest held beside another",
  ),
  suite("numbers", "what it costs, as ratios"),
  suite("debug", "core and life on a hypervisor with assertions (order of locks among them)", {
    of: "core+life",
    hypervisor: "debug",
    limit: 2400,
  }),
  suite("linux", "a Linux guest of 32 bits, unwatched and watched: it comes to the same", {
    files: async () => [...await ours(), ...await linuxGuest()],
    limit: 1200,
  }),
  suite("hvm", "exerciser and watch with guests that have a device model", {
    of: "model+watch+exerciser",
    files: async () => [...await ours(), ...await hvmGuest()],
  }),
  suite("vmx", "the bridge, the exerciser and equal streams on an Intel processor, in Bochs", {
    machine: "bochs",
    cpus: 1,
    limit: 1800,
  }),
  suite("onecpu", "exerciser and life on a machine of one processor", { of: "exerciser+life", cpus: 1 }),
];
