// SPDX-License-Identifier: Apache-2.0
// The packaged executable, as it is carried to a machine that has nothing: no environment, an empty folder.
import assert from "node:assert/strict";
import { exists, ROOT } from "../../tools/files.ts";
import { Output, umbra, withFolder } from "./umbra.ts";

const EXECUTABLE = `${ROOT}dist/umbra`;
const ignore = !built();

/** True when the executable was made; a missing one is an error in CI. */
function built(): boolean {
  if (exists("dist/umbra")) return true;
  if (Deno.env.get("CI") === "true") {
    throw new Error("Cannot run a test: dist/umbra is missing (./compile.sh)");
  }
  console.error("skipped: dist/umbra not found (./compile.sh)");
  return false;
}

/** Runs it in an empty folder with an empty environment; both must be as before afterwards. */
async function alone(args: readonly string[], folder: string, seconds = 60) {
  const temporary = () =>
    [...Deno.readDirSync("/tmp")].map(({ name }) => name).filter((name) => /^umbra\./.test(name));
  const before = temporary();
  const ran = await umbra(args, { command: [EXECUTABLE], cwd: folder, emptyEnvironment: true, seconds });
  assert.deepEqual(temporary().filter((name) => !before.includes(name)), []);
  return ran;
}

Deno.test({
  name: "the executable says its version from an empty folder, at once",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const started = performance.now();
      const { code, stdout, stderr } = await alone(["version"], folder);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /\d+\.\d+\.\d+/);
      assert.ok(performance.now() - started < 5000);
      assert.deepEqual([...Deno.readDirSync(folder)], []);
    }),
});

Deno.test({
  name: "the executable passes its self-test from an empty folder",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const { code, stdout, stderr } = await alone(["selftest"], folder);
      assert.equal(code, 0, stdout + stderr);
      assert.deepEqual([...Deno.readDirSync(folder)], []);
    }),
});

Deno.test({
  name: "the executable emulates a packed program and its rules find the payload",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const sample = `${ROOT}build/samples/inplace.exe`;
      const { code, stderr } = await alone(["emulate", sample, "--out", "found"], folder);
      assert.equal(code, 1, stderr);
      assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["found"]);
      assert.equal(new Output(`${folder}/found`).report.verdict, "malicious");
    }),
});

Deno.test({
  name: "the executable refuses bad input like the program it carries",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const { code, stderr } = await alone(["emulate", "nothing.exe"], folder);
      assert.equal(code, 2);
      assert.match(stderr, /^[^\n]+\n$/);
    }),
});
