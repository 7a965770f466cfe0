// SPDX-License-Identifier: Apache-2.0
/**
 * What the lab runs in dom0: for each suite the files it needs and its script. A script leaves what it found in
 * `/result` and ends with 0 when it could be run.
 *
 * @module
 */
import { buildGuest, guestConfiguration } from "./guests.ts";
import type { RootFile } from "./initramfs.ts";
import { exists, TREE } from "./shell.ts";

/** One suite. */
export interface Suite {
  readonly name: string;
  readonly description: string;
  /** Seconds the whole machine has. */
  readonly limit: number;
  files(): Promise<readonly RootFile[]>;
  readonly script: string;
}

const DENO: RootFile = { to: "/bin/deno", from: Deno.execPath(), executable: true };

/** Text that the guest's program has nowhere but in what it unpacks. */
const PAYLOAD_RULE = `rule lab_payload { strings: $text = "UMBRA-LAB-PAYLOAD" condition: $text }\n`;

/** The packaged umbra, and a guest for it to watch. */
async function watchFiles(): Promise<readonly RootFile[]> {
  const umbra = `${TREE}/dist/umbra`;
  if (!exists(umbra)) throw new Error(`Cannot run the suite: there is no ${umbra} (make it with compile.sh)`);
  return [
    { to: "/bin/umbra", from: umbra, executable: true },
    { to: "/lab/unpacker.elf", from: await buildGuest("unpacker") },
    { to: "/lab/unpacker.cfg", text: guestConfiguration("unpacker", "/lab/unpacker.elf") },
    { to: "/lab/payload.yar", text: PAYLOAD_RULE },
  ];
}

/** The part of the source tree that speaks to Xen. */
const BRIDGE: readonly RootFile[] = [
  "core/ports.ts",
  "xen/abi.ts",
  "xen/bridge.ts",
  "xen/transport.ts",
  "xen/privcmd.ts",
  "xen/lab/dom0/bridge.ts",
].map((path) => ({ to: `/umbra/${path}`, from: `${TREE}/${path}` }));

/** All suites. */
export const SUITES: readonly Suite[] = [
  {
    name: "bridge",
    description: "the hypercall, the VIRQ and the refusals, from TypeScript in dom0",
    limit: 600,
    files: () => Promise.resolve([DENO, ...BRIDGE]),
    script: "xl info > /result/xl-info.txt\n" +
      "cd /umbra && timeout 120 deno run -A --no-check --no-config xen/lab/dom0/bridge.ts\n",
  },
  {
    name: "watch",
    description: "umbra watch over a guest that unpacks: a malicious verdict for what only memory has",
    limit: 900,
    files: watchFiles,
    script: `
xl create -p /lab/unpacker.cfg || exit 10
id=$(xl domid unpacker)
umbra watch $id --rule virus --for 20 --out /result/watch --json --rules /lab/payload.yar \\
  > /result/report.json 2> /result/watch.err &
watch=$!
for second in $(seq 300); do
  grep -q watching /result/watch.err && break
  sleep 1
done
grep -q watching /result/watch.err || exit 11
xl unpause unpacker
wait $watch
echo $? > /result/watch.code
xl list > /result/xl-list.txt
xl dmesg > /result/xl-dmesg.txt
xl destroy unpacker
# Malicious, and nothing else.
[ "$(cat /result/watch.code)" = 1 ]
`,
  },
];
