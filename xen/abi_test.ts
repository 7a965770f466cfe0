// SPDX-License-Identifier: Apache-2.0
// The ABI table: layouts, codec, and the header made from it.
import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, encode, LAYOUTS, sizeOf, type StructName, STRUCTS, type Value, type Values } from "./abi.ts";
import { HEADER, header } from "./abi_header.ts";
import { sources } from "./build_monitor.ts";
import { need } from "../tests/means.ts";

Deno.test("the C header is what the table says", async () => {
  assert.equal(
    await Deno.readTextFile(HEADER),
    header(),
    "umbra_abi.h is not current: run `deno run -A xen/abi_header.ts`",
  );
});

Deno.test("structs keep their sizes: another size is another ABI version", () => {
  const sizes = Object.fromEntries(
    (Object.keys(STRUCTS) as StructName[]).map((name) => [name, sizeOf(name)]),
  );
  assert.deepEqual(sizes, {
    event: 192,
    rule: 72,
    info: 56,
    watch: 632,
    unwatch: 8,
    fetch: 32,
    process: 1616,
    copy: 96,
    acknowledge: 16,
    statistics: 160,
    read: 32,
  });
});

/** Any values of one struct. */
function valuesOf(name: StructName): fc.Arbitrary<Values> {
  return fc.record(
    Object.fromEntries(
      LAYOUTS[name].fields.map((field): [string, fc.Arbitrary<Value>] => {
        const { type, count, text } = field;
        if (type === "rule") {
          return [field.name, fc.array(valuesOf("rule"), { minLength: count, maxLength: count })];
        }
        if (text) {
          const fits = (value: string) =>
            !value.includes("\0") && value.isWellFormed() && new TextEncoder().encode(value).length < count!;
          return [field.name, fc.string({ unit: "grapheme", maxLength: count! - 1 }).filter(fits)];
        }
        const bits = Number(type.slice(1));
        if (bits === 64) return [field.name, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })];
        const integer = fc.integer({ min: 0, max: 2 ** bits - 1 });
        return [field.name, count ? fc.array(integer, { minLength: count, maxLength: count }) : integer];
      }),
    ),
    { noNullPrototype: true },
  );
}

for (const name of Object.keys(STRUCTS) as StructName[]) {
  Deno.test(`umbra_${name} comes back from its bytes`, () => {
    fc.assert(
      fc.property(valuesOf(name), (values) => {
        const bytes = new Uint8Array(sizeOf(name) + 8).fill(0xa5);
        encode(name, values, bytes);
        assert.deepEqual(decode(name, bytes), values);
        assert.ok(bytes.subarray(sizeOf(name)).every((byte) => byte === 0xa5));
      }),
      { numRuns: 50 },
    );
  });
}

Deno.test("what does not fit is refused, with the field named", () => {
  const bytes = new Uint8Array(4096);
  assert.throws(() => encode("rule", { pattern: "x".repeat(64) }, bytes), /umbra_rule\.pattern/);
  assert.throws(() => encode("rule", { pattern: "a\0b" }, bytes), /umbra_rule\.pattern/);
  assert.throws(() => encode("rule", { nothing: 1 }, bytes), /"nothing"/);
  assert.throws(
    () => encode("copy", { missing: Array(65).fill(0) }, bytes),
    /umbra_copy\.missing: 65 elements/,
  );
  assert.throws(() => encode("event", {}, new Uint8Array(191)), /191 bytes are fewer than 192/);
  assert.throws(() => decode("event", new Uint8Array(3)), /3 bytes are fewer than 192/);
});

Deno.test("the same C is free of warnings as GNU C99 for x86-64, with small stack frames", async () => {
  if (!need("gcc", "gcc")) return;
  const directory = await Deno.makeTempDir();
  try {
    // The WebAssembly home is the only file that a hypervisor does not take.
    for (const name of sources().filter((each) => each.endsWith(".c") && each !== "home_wasm.c")) {
      const { code, stderr } = await new Deno.Command("gcc", {
        args: [
          "-std=gnu99",
          "-O2",
          "-ffreestanding",
          "-Wall",
          "-Wextra",
          "-Werror",
          "-Wdeclaration-after-statement",
          "-Wvla",
          "-Wstack-usage=1024",
          "-mno-sse",
          "-c",
          new URL(`./monitor/${name}`, import.meta.url).pathname,
          "-o",
          `${directory}/${name}.o`,
        ],
      }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
