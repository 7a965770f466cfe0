// SPDX-License-Identifier: Apache-2.0
/**
 * The one gate a developer runs: format, lint, types, docs of public names, and all tests (the direction of
 * imports is one of them). Stops at the first step that fails.
 *
 * @module
 */
import { ROOT, sourceFiles } from "./files.ts";

/** Files whose exported names must all be documented: the ports, and the face of each room. */
const PUBLIC =
  /(^|\/)mod\.ts$|^core\/(ports|assets|report|verdict)\.ts$|^xen\/(abi|bridge|transport)\.ts$|(^|\/)(types|api|suite|testbed)\.ts$/;

async function deno(...args: readonly string[]): Promise<boolean> {
  const { code } = await new Deno.Command(Deno.execPath(), { args: [...args], cwd: ROOT }).spawn().status;
  return code === 0;
}

/**
 * The exported names without documentation, as `path:line: text`. `deno doc --lint` also asks for every field
 * and for types of other rooms; only declarations count here.
 */
async function undocumented(): Promise<string[]> {
  const paths = sourceFiles(/\.ts$/).filter((path) => PUBLIC.test(path) && !/_test\.ts$/.test(path));
  const { stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--lint", ...paths],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const found: string[] = [];
  const complaints = new TextDecoder().decode(stderr).matchAll(
    /^error\[missing-jsdoc\].*\n\s*--> (.+?):(\d+):\d+/gm,
  );
  for (const [, path, line] of complaints) {
    const text = Deno.readTextFileSync(path).split("\n")[Number(line) - 1];
    if (/^export /.test(text)) found.push(`${path.replace(ROOT, "")}:${line}: ${text}`);
  }
  return [...new Set(found)];
}

const steps: readonly (readonly [name: string, run: () => Promise<boolean>])[] = [
  ["format", () => deno("fmt", "--check", "--quiet")],
  ["lint", () => deno("lint", "--quiet")],
  ["types", () => deno("check", "--quiet", ".")],
  ["documentation", async () => {
    const bare = await undocumented();
    for (const line of bare) console.error(`not documented: ${line}`);
    return bare.length === 0;
  }],
  ["tests", () => deno("task", "test")],
];

for (const [name, run] of steps) {
  console.log(`== ${name}`);
  if (await run()) continue;
  console.error(`${name}: not ok`);
  Deno.exit(1);
}
