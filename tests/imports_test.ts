// SPDX-License-Identifier: Apache-2.0
// The direction of imports between the rooms of the house.
import assert from "node:assert/strict";
import { ROOT, sourceFiles } from "../tools/files.ts";

/**
 * Each room (longest matching path prefix) and the path prefixes it may import from besides itself. Tests
 * may import anything. Nothing but `main.ts`, the tools, the bench and tests reaches across the house.
 */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  "core/": [],
  "scanners/": ["core/"],
  "xen/": ["core/"],
  "emulator/isa/": [],
  "emulator/machine/": ["emulator/isa/", "core/"],
  "emulator/hypervisor/": [
    "emulator/machine/",
    "emulator/isa/",
    "core/",
    "xen/abi.ts",
    "xen/bridge.ts",
    "xen/transport.ts",
  ],
  "emulator/windows/": ["emulator/hypervisor/", "emulator/machine/", "emulator/isa/", "core/"],
  "emulator/samples/": ["core/"],
  "emulator/testbed": [
    "emulator/windows/",
    "emulator/hypervisor/",
    "emulator/machine/",
    "core/",
    "xen/abi.ts",
    "xen/bridge.ts",
    "xen/transport.ts",
  ],
  "emulator/pvh": [
    "emulator/hypervisor/",
    "emulator/machine/",
    "core/",
    "xen/bridge.ts",
  ],
  "main.ts": ["core/", "scanners/", "xen/", "emulator/", "deno.json"],
  "bench.ts": [""],
  "tools/": [""],
  "tests/": [""],
};

/** Module specifiers that a source text imports, statically, dynamically, or as a worker's or asset's URL. */
function imports(text: string): string[] {
  // Comments go first, so that an example in a docstring is no import.
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const patterns = [
    /\b(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/g,
    /\bimport\s*\(?\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["'](\.{1,2}\/[^"']+\.ts)["']/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]));
}

function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).filter((room) => path.startsWith(room)).sort((a, b) => b.length - a.length)[0];
}

/** What is wrong with one file's imports, in words. */
function faults(path: string, text: string): string[] {
  if (/_test\.ts$|(^|\/)testing\//.test(path)) return [];
  const room = roomOf(path);
  if (room === undefined) return [`${path} stands in no room`];
  const found: string[] = [];
  for (const specifier of imports(text)) {
    if (!specifier.startsWith(".")) continue;
    const target = new URL(specifier, `file:///${path}`).pathname.slice(1);
    if (roomOf(target) === room || ROOMS[room].some((allowed) => target.startsWith(allowed))) continue;
    found.push(`${path} imports ${target}`);
  }
  return found;
}

Deno.test("imports run one way through the house", () => {
  const wrong = sourceFiles(/\.ts$/).flatMap((path) => faults(path, Deno.readTextFileSync(ROOT + path)));
  assert.deepEqual(wrong, []);
});

Deno.test("an import against the direction is seen in each of its forms", () => {
  const forms = [
    `import { a } from "../scanners/mod.ts";`,
    `import "../scanners/mod.ts";`,
    `export * from "../scanners/mod.ts";`,
    `const a = await import("../scanners/mod.ts");`,
    `new Worker(new URL("../scanners/mod.ts", import.meta.url));`,
    `import {\n  a,\n  b,\n} from "../scanners/mod.ts";`,
    `import type { A } from "../scanners/mod.ts";`,
  ];
  for (const form of forms) {
    assert.deepEqual(faults("core/x.ts", form), ["core/x.ts imports scanners/mod.ts"]);
  }
  assert.deepEqual(faults("core/x.ts", `// import "../scanners/mod.ts";`), []);
  assert.deepEqual(faults("scanners/x.ts", `import { a } from "../core/ports.ts";`), []);
  assert.deepEqual(faults("emulator/machine/x.ts", `import "../windows/api.ts";`), [
    "emulator/machine/x.ts imports emulator/windows/api.ts",
  ]);
});

Deno.test("every source file carries its licence line", () => {
  const bare = sourceFiles(/\.(ts|c|h|sh|asm|inc)$/).filter((path) =>
    !Deno.readTextFileSync(ROOT + path).slice(0, 400).includes("SPDX-License-Identifier: ")
  );
  assert.deepEqual(bare, []);
});
