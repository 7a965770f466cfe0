// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { AnchorError, insert, type Insertion, withoutInsertions } from "./anchors.ts";
import { apply, ownFiles } from "./apply.ts";
import { INSERTIONS } from "./places.ts";

const TEXT = "int a;\n\nvoid f(void)\n{\n    go();\n}\n\nvoid g(void)\n{\n    go();\n    stop();\n}\n";

function one(insertion: Partial<Insertion>): Insertion {
  return { file: "f.c", anchor: "stop();", place: "before", lines: ["    wait();"], ...insertion };
}

Deno.test("lines go before and behind the line of their anchor, marked", () => {
  assert.equal(
    insert("f.c", TEXT, [one({}), one({ place: "after", lines: ["    one();", "    two();"] })]),
    TEXT.replace(
      "    stop();\n",
      "    wait(); /* umbra */\n    stop();\n    one(); /* umbra */\n    two(); /* umbra */\n",
    ),
  );
  assert.match(insert("Makefile", "obj-y += mm/\n", [one({ anchor: "mm/", place: "after" })]), / # umbra\n$/);
});

Deno.test("an anchor behind another string is the first one behind it", () => {
  const made = insert("f.c", TEXT, [one({ anchor: "go();", within: "void g(" })]);
  assert.equal(made, TEXT.replace("    go();\n    stop", "    wait(); /* umbra */\n    go();\n    stop"));
});

Deno.test("inserting again changes nothing, and takes out what is no longer inserted", () => {
  const once = insert("f.c", TEXT, [one({})]);
  assert.equal(insert("f.c", once, [one({})]), once);
  assert.equal(insert("f.c", once, []), TEXT);
  assert.equal(withoutInsertions("f.c", once), TEXT);
});

Deno.test("a file without an end of line gets one before our lines", () => {
  assert.equal(
    insert("f.c", "end", [one({ anchor: "end", place: "after" })]),
    "end\n    wait(); /* umbra */\n",
  );
});

Deno.test("a missing or doubtful anchor is named", () => {
  const refused = (insertion: Partial<Insertion>, reason: RegExp) =>
    assert.throws(() => insert("f.c", TEXT, [one(insertion)]), (error: Error) => {
      assert.ok(error instanceof AnchorError);
      assert.match(error.message, reason);
      return true;
    });
  refused({ anchor: "halt();" }, /f\.c: it has no "halt\(\);"/);
  refused({ anchor: "go();" }, /"go\(\);" stands there more than once/);
  refused({ within: "void h(" }, /it has no "void h\("/);
});

/** A tree that has nothing but the anchors. */
function tinyTree(): string {
  const tree = Deno.makeTempDirSync();
  const texts = new Map<string, string>();
  for (const { file, anchor, within } of INSERTIONS) {
    texts.set(file, `${texts.get(file) ?? ""}${within === undefined ? "" : `${within}\n`}`);
    if (within !== undefined || !texts.get(file)!.includes(anchor)) {
      texts.set(file, `${texts.get(file)}${anchor}\n`);
    }
  }
  for (const [file, text] of texts) {
    Deno.mkdirSync(`${tree}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeTextFileSync(`${tree}/${file}`, text);
  }
  return tree;
}

Deno.test("a tree gets hooks, monitor and glue; doing it again writes nothing", () => {
  const tree = tinyTree();
  try {
    const written = apply(tree);
    assert.ok(written.includes("xen/arch/x86/umbra/umbra_ops.c"));
    assert.ok(written.includes("xen/arch/x86/mm/shadow/multi.c"));
    assert.deepEqual(apply(tree), []);
    for (const { file, lines } of INSERTIONS) {
      const text = Deno.readTextFileSync(`${tree}/${file}`);
      for (const line of lines) assert.ok(text.includes(line), `${file}: ${line}`);
    }
  } finally {
    Deno.removeSync(tree, { recursive: true });
  }
});

Deno.test("a tree that does not fit is left as it was", () => {
  const tree = tinyTree();
  try {
    const hvm = `${tree}/xen/arch/x86/hvm/hvm.c`;
    Deno.writeTextFileSync(hvm, "#include <asm/shadow.h>\n");
    assert.throws(() => apply(tree), /xen\/arch\/x86\/hvm\/hvm\.c: it has no " {4}paging_update_cr3/);
    assert.throws(() => Deno.statSync(`${tree}/xen/arch/x86/umbra`), Deno.errors.NotFound);
    Deno.removeSync(hvm);
    assert.throws(() => apply(tree), /there is no xen\/arch\/x86\/hvm\/hvm\.c in it/);
  } finally {
    Deno.removeSync(tree, { recursive: true });
  }
});

Deno.test("the monitor goes without its other home, and all of it is built", () => {
  const files = ownFiles();
  assert.ok(!files.has("home_wasm.c"));
  const makefile = files.get("Makefile")!;
  for (const name of files.keys()) {
    if (name.endsWith(".c")) assert.ok(makefile.includes(name.replace(/c$/, "o")), name);
  }
});

Deno.test("each hook that an inserted line calls is declared for Xen's files and made in one file of the glue", () => {
  const files = ownFiles(), face = files.get("umbra_glue.h")!;
  const called = new Set(
    INSERTIONS.flatMap(({ lines }) => lines).flatMap((line) => line.match(/\bumbra_\w+(?=\()/g) ?? []),
  );
  called.delete("umbra_op"); // Xen makes its declaration from the table of hypercalls.
  called.delete("umbra_watches"); // A macro.
  assert.ok(called.size >= 10, [...called].join());
  for (const name of called) {
    assert.match(face, new RegExp(`^(?!#).*\\b${name}\\(`, "m"), name);
    const made = [...files].filter(([file, text]) =>
      file.endsWith(".c") && new RegExp(`^\\w.*\\b${name}\\([^;{]*\\)\\n\\{`, "m").test(text)
    );
    assert.equal(made.length, 1, `${name}: ${made.map(([file]) => file)}`);
  }
});
