// SPDX-License-Identifier: Apache-2.0
// Wires the rooms together and hands over to the command line.
import { runCommandLine } from "./core/cli/mod.ts";
import project from "./deno.json" with { type: "json" };
import { demonstration, selftest } from "./emulator/samples/selftest.ts";
import { testbed } from "./emulator/testbed.ts";
import { engineFactories, startScanner } from "./scanners/mod.ts";
import { Bridge } from "./xen/bridge.ts";
import { PrivcmdTransport } from "./xen/privcmd.ts";

Deno.exit(
  await runCommandLine(Deno.args, {
    version: project.version,
    emulator: testbed,
    engines: engineFactories,
    startScanner,
    selftest,
    demonstration,
    connectXen: () => new Bridge(new PrivcmdTransport()),
  }),
);
