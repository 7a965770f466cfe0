// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError, type Unit } from "../core/ports.ts";
import { YaraEngine } from "./yara.ts";
import { readYaraSources } from "./yara_sources.ts";

async function withFiles(
  files: Record<string, string>,
  body: (folder: string) => void | Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(join(folder, name, ".."), { recursive: true });
      await Deno.writeTextFile(join(folder, name), text);
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const unit = (text: string): Unit => ({
  id: "page:x",
  kind: "page",
  sha256: "",
  bytes: new TextEncoder().encode(text),
  va: 0,
  layer: 0,
  processes: [],
});

const rule = (name: string, pattern: string) => `rule ${name} { strings: $a = "${pattern}" condition: $a }\n`;

Deno.test("rules of files and folders work beside the built-in ones; equal names do not clash", () =>
  withFiles({
    "a.yar": rule("one", "alpha"),
    "folder/b.yara": rule("one", "beta") + "private " + rule("hidden", "beta"),
    "folder/deep/c.YAR": rule("three", "beta"),
    "folder/readme.txt": "not a rule",
  }, async (folder) => {
    const engine = new YaraEngine({ rules: [join(folder, "a.yar"), join(folder, "folder")] });
    assert.match((await engine.start()).knowledge, /3 rule files/);
    assert.deepEqual(await engine.scan(unit("..alpha"), { timeout: 10_000 }), {
      status: "malicious",
      threats: [{ name: "one", offset: 2 }],
    });
    assert.deepEqual((await engine.scan(unit("beta"), { timeout: 10_000 })).threats, [
      { name: "one", offset: 0 },
      { name: "three", offset: 0 },
    ]);
    await engine.close();
  }));

Deno.test("the lowest offset is told, and none when the rule has no pattern", () =>
  withFiles({
    "a.yar":
      'rule two { strings: $b = "late" $a = "early" condition: any of them }\nrule size { condition: filesize == 10 }',
  }, async (folder) => {
    const engine = new YaraEngine({ rules: [folder] });
    await engine.start();
    assert.deepEqual((await engine.scan(unit("-early-late"), { timeout: 10_000 })).threats, [{
      name: "two",
      offset: 1,
    }]);
    assert.deepEqual((await engine.scan(unit("0123456789"), { timeout: 10_000 })).threats, [{
      name: "size",
    }]);
    await engine.close();
  }));

Deno.test("a rule that does not compile is said with file, line and column", () =>
  withFiles(
    { "good.yar": rule("ok", "x"), "bad.yar": 'rule a {\n  strings: $a = "x"\n  condition: $b\n}\n' },
    async (folder) => {
      const engine = new YaraEngine({ rules: [folder] });
      await assert.rejects(engine.start(), (error: Error) => {
        assert.ok(error instanceof InputError);
        assert.match(
          error.message,
          /^Cannot compile YARA rules .*bad\.yar:3:14: .*\$b|bad\.yar:3:14: unknown/,
        );
        assert.doesNotMatch(error.message, /\n/);
        return true;
      });
      await engine.close();
    },
  ));

Deno.test("rule paths that hold no rules are refused", () =>
  withFiles({ "empty/readme.txt": "" }, (folder) => {
    assert.throws(() => readYaraSources([join(folder, "empty")]), /no \.yar or \.yara file/);
    assert.throws(() => readYaraSources([join(folder, "missing")]), InputError);
  }));

Deno.test("a rule that takes for ever is ended in time, holds up no other unit, and does not delay close", () =>
  withFiles({
    "slow.yar": "rule slow { condition: filesize > 10 and for all i in (0..100000000000) : (i >= 0) }",
  }, async (folder) => {
    const engine = new YaraEngine({ rules: [folder] });
    await engine.start();
    const { status } = await engine.scan(unit("this unit is long"), { timeout: 300 });
    assert.equal(status, "incomplete");
    assert.equal((await engine.scan(unit("short"), { timeout: 20_000 })).status, "clean");
    const hanging = engine.scan(unit("this unit is long"), { timeout: 60_000 });
    setTimeout(() => engine.close(), 100);
    assert.deepEqual(await hanging, { status: "incomplete", threats: [], detail: "closed" });
  }));
