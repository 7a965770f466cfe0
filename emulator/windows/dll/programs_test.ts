// SPDX-License-Identifier: Apache-2.0
// C programs that check what functions do, compiled here and run in the test bed.
import assert from "node:assert/strict";
import type { GuestSettings } from "../../../core/ports.ts";
import { need } from "../../../tests/means.ts";
import { createXenModel, machineFramesFor } from "../../hypervisor/mod.ts";
import { WindowsGuest } from "../mod.ts";
import { dlls } from "./mod.ts";

const SOURCES = new URL("testdata/", import.meta.url);
const LIBRARIES = [
  "-lole32",
  "-loleaut32",
  "-lshell32",
  "-lshlwapi",
  "-lws2_32",
  "-lwininet",
  "-lgdi32",
  "-lntdll",
  "-lpsapi",
  "-lwinmm",
  "-liphlpapi",
  "-lcrypt32",
  "-ldbghelp",
  "-limm32",
  "-lpowrprof",
  "-lrpcrt4",
];
const FRAMES = 32 * 256;
const MAX_INSTRUCTIONS = 20_000_000;
const hasCompiler = need("mingw");

async function execute(program: string, args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args: [...args], cwd: SOURCES }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

async function compile(folder: string, name: string): Promise<Uint8Array> {
  const target = `${folder}/${name}.exe`;
  const objects: string[] = [];
  if (name === "desktop" || name === "loader") {
    objects.push(`${folder}/resources.o`);
    const library = `${folder}/library.dll`;
    await execute("i686-w64-mingw32-gcc", ["-shared", "-o", library, "library.c"]);
    await execute("i686-w64-mingw32-windres", ["-I", folder, `${name}.rc`, objects[0]]);
  }
  // What is C++ brings its runtime library along.
  const isPlusPlus = name === "cplusplus";
  await execute(`i686-w64-mingw32-${isPlusPlus ? "g++" : "gcc"}`, [
    "-O1",
    "-w",
    "-fno-builtin",
    "-static",
    "-o",
    target,
    `${name}.${isPlusPlus ? "cpp" : "c"}`,
    ...objects,
    ...LIBRARIES,
  ]);
  const overlay = name === "loader" ? "overlay" : "";
  return new Uint8Array([...await Deno.readFile(target), ...new TextEncoder().encode(overlay)]);
}

function run(
  name: string,
  bytes: Uint8Array,
  args: readonly string[],
  settings?: GuestSettings,
): WindowsGuest {
  const xen = createXenModel({ frames: machineFramesFor(FRAMES) });
  const guest = new WindowsGuest(xen.createDomain({ guestFrames: FRAMES }), { dlls, settings });
  guest.addProcess({ name: `${name}.exe`, bytes, args });
  const { end } = guest.run(MAX_INSTRUCTIONS, () => false);
  const how = `${end?.reason}: ${end?.detail}`;
  assert.ok(how === "exited: exit code 0", `${how}\n${guest.output}`);
  return guest;
}

const PROGRAMS: Record<string, readonly string[]> = {
  kernel: [],
  native: [],
  desktop: [],
  threads: [],
  processes: [],
  memory: [],
  debugger: [],
  timing: [],
  machine: [],
  integrity: [],
  bounds: [],
  callbacks: [],
  exceptions: [],
  loader: [],
  cplusplus: [],
  runtime: ["two words", 'a"b'],
};

/** Programs that are run a second time, with DEP for all and everything at another address. */
const MOVED = ["memory", "exceptions", "loader"];
const STRICT: GuestSettings = { dep: "alwayson", aslr: true };

/** What a program calls though the model refuses it. */
const MISSING: Record<string, readonly string[]> = { processes: ["CreateProcess with DEBUG_PROCESS"] };

for (const [name, args] of Object.entries(PROGRAMS)) {
  Deno.test({
    name: `programs run as on Windows 7: ${name}`,
    ignore: !hasCompiler,
    fn: async () => {
      const folder = await Deno.makeTempDir();
      try {
        const bytes = await compile(folder, name);
        for (const settings of MOVED.includes(name) ? [undefined, STRICT] : [undefined]) {
          const guest = run(name, bytes, args, settings);
          assert.match(guest.output, /\d{2,} checks, 0 failures\n$/);
          assert.deepEqual(guest.missing().map((one) => one.name), MISSING[name] ?? []);
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
