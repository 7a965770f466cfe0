// SPDX-License-Identifier: Apache-2.0
/**
 * What the lab runs in dom0: for each suite the files it needs and its script. A script leaves what it found in
 * `/result` and ends with 0 when it could be run.
 *
 * @module
 */
import type { RootFile } from "./initramfs.ts";
import { TREE } from "./shell.ts";

/** One suite. */
export interface Suite {
  readonly name: string;
  readonly description: string;
  /** Seconds the whole machine has. */
  readonly limit: number;
  readonly files: readonly RootFile[];
  /** Files among them whose libraries are needed. */
  readonly programs: readonly string[];
  readonly script: string;
}

const DENO: RootFile = { to: "/bin/deno", from: Deno.execPath(), executable: true };

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
    limit: 300,
    files: [DENO, ...BRIDGE],
    programs: ["/bin/deno"],
    script: "xl info > /result/xl-info.txt\n" +
      "cd /umbra && timeout 120 deno run -A --no-check --no-config xen/lab/dom0/bridge.ts\n",
  },
];
