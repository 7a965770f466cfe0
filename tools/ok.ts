// SPDX-License-Identifier: Apache-2.0
/**
 * The one gate a developer runs: format, lint, types, docs of public names, and all tests (the direction of
 * imports is one of them). Stops at the first step that fails.
 *
 * @module
 */
import { exists } from "./files.ts";

/** Modules whose public names must all be documented. */
const PUBLIC = [
  "core/ports.ts",
  "core/assets.ts",
  "xen/abi.ts",
  "xen/bridge.ts",
  "xen/transport.ts",
  "scanners/mod.ts",
  "emulator/machine/types.ts",
  "emulator/machine/mod.ts",
  "emulator/hypervisor/types.ts",
  "emulator/hypervisor/mod.ts",
  "emulator/windows/api.ts",
  "emulator/windows/mod.ts",
  "emulator/testbed.ts",
  "emulator/samples/suite.ts",
];

const present = PUBLIC.filter((path) => exists(path));
const steps: readonly (readonly string[])[] = [
  ["fmt", "--check", "--quiet"],
  ["lint", "--quiet"],
  ["check", "--quiet", "."],
  ["doc", "--lint", "--quiet", ...present],
  ["task", "test"],
];

for (const args of steps) {
  const shown = `deno ${args.slice(0, 3).join(" ")}${args.length > 3 ? " …" : ""}`;
  console.log(`== ${shown}`);
  // The listing of `deno doc` is of no use here, its complaints are.
  const quiet = args[0] === "doc";
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    stdout: quiet ? "null" : "inherit",
    stderr: "inherit",
  }).spawn().status;
  if (code !== 0) {
    console.error(`${shown} failed`);
    Deno.exit(1);
  }
}
