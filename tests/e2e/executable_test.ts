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
  name: "the executable says its version from an empty folder",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const { code, stdout, stderr } = await alone(["version"], folder);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /\d+\.\d+\.\d+/);
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

Deno.test({
  name: "the executable leaves nothing behind, not even when it is killed",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const [temporary, data] = [`${folder}/tmp`, `${folder}/data`];
      Deno.mkdirSync(temporary);
      const child = new Deno.Command(EXECUTABLE, {
        args: ["serve", "--backend", "emulator", "--data", data, "--listen", "127.0.0.1:0"],
        clearEnv: true,
        env: { TMPDIR: temporary },
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = child.stdout.getReader();
      // It serves: so it runs from what it carried.
      assert.match(new TextDecoder().decode((await reader.read()).value), /umbra serves/);
      assert.deepEqual([...Deno.readDirSync(temporary)], []);
      child.kill("SIGKILL");
      while (!(await reader.read()).done);
      assert.equal((await child.status).signal, "SIGKILL");
      assert.deepEqual([...Deno.readDirSync(temporary)], []);
    }),
});
