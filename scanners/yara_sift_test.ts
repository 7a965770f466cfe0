// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { sha256 } from "../core/hash.ts";
import type { Unit } from "../core/ports.ts";
import { builtinRules } from "./builtin_rules.ts";
import { YaraEngine } from "./yara.ts";
import { siftRules } from "./yara_sift.ts";

const TIMEOUT = 60_000;

const rule = (condition: string, strings = '$a = "alpha" $b = { 01 ( 02 | 03 ) [1-4] 05 }') =>
  `rule r : tag other { meta: what = "a } b" n = -1 f = true strings: ${strings} condition: ${condition} }`;

Deno.test("rules whose matches need a pattern are sifted by", () => {
  for (
    const condition of [
      "$a",
      "$a or $b",
      "any of them",
      "all of ($a*)",
      "2 of ($a, $b)",
      "filesize < 10KB and $a",
      "uint16(0) == 0x5a4d and (any of them or $a at 0)",
      "$b in (0..filesize) /* or true */ // or true\n",
      "(not $a) and (#a > 2 or filesize > 4) and $b",
      "for any of them : ( $ at 0 ) and $a",
    ]
  ) {
    const texts = siftRules([rule(condition)]);
    assert.ok(texts, condition);
    assert.match(texts[0], /^rule r \{ strings: [^]*\$a = "alpha"[^]* condition: any of them \}$/);
  }
  assert.ok(siftRules([builtinRules()]));
  assert.ok(siftRules(['import "pe"\nprivate rule p { condition: true }\n' + rule("p and $a and pe.is_pe")]));
  assert.deepEqual(siftRules(["// nothing\n"]), [""]);
});

Deno.test("rules that could match without a pattern, or that are not understood, are not", () => {
  for (
    const condition of [
      "true",
      "not $a",
      "$a or filesize < 100",
      "#a == 0",
      "#a > 0",
      "none of them",
      "0 of them",
      "50% of them",
      "any of (r*)",
      "for any i in (1, 2) : ( i == 1 )",
      "$a or not any of them",
      "($a or true) and ($b or filesize > 0)",
      '"x" matches /x or $a/',
      "@a[1] < 10",
    ]
  ) assert.equal(siftRules([rule(condition)]), undefined, condition);
  for (
    const strings of [
      "$a = /alpha/ $b = { 01 }",
      '$a = "x" private $b = { 02 }',
      '$a = "alpha" base64 $b = "x"',
      '$a = "alpha" base64wide("abc") $b = "x"',
      '$a = "alpha" xor(1-255) fullword $b = "x"',
      '$a = { 01 [4-] 02 } $b = "x"',
      '$a = { 01 [200] 02 } $b = "x"',
    ]
  ) assert.equal(siftRules([rule("any of them", strings)]), undefined, strings);
  assert.equal(siftRules(['include "other.yar"\n' + rule("$a")]), undefined);
  assert.equal(siftRules([rule("$a"), "rule bare { condition: true }"]), undefined, "one of many");
  for (const cut of [10, 40, 80, 120]) assert.equal(siftRules([rule("$a").slice(0, cut)]), undefined);
});

function unit(bytes: Uint8Array): Unit {
  const hash = sha256(bytes);
  return { id: `page:${hash}`, kind: "page", sha256: hash, bytes, va: 0x401000, layer: 1, processes: [1] };
}

async function withEngine(
  rules: string | undefined,
  body: (engine: YaraEngine) => Promise<void>,
): Promise<void> {
  const file = await Deno.makeTempFile({ suffix: ".yar" });
  if (rules !== undefined) await Deno.writeTextFile(file, rules);
  const engine = new YaraEngine({ rules: rules === undefined ? [] : [file] });
  try {
    await engine.start();
    await body(engine);
  } finally {
    await engine.close();
    await Deno.remove(file);
  }
}

const units = Array.from({ length: 50 }, (_, index) => {
  const bytes = new Uint8Array(4096).fill(0x90);
  bytes[0] = index;
  if (index % 10 === 3) bytes.set(new TextEncoder().encode("alpha"), index * 8);
  return unit(bytes);
});

Deno.test("what was sifted out is clean without a scan, and the rest is scanned", async () => {
  await withEngine(rule("any of them"), async (engine) => {
    await engine.sift(units, { timeout: TIMEOUT });
    const marked = units.filter((_, index) => index % 10 === 3);
    for (const one of units.filter((each) => !marked.includes(each))) {
      // No scan ends in no time: this one was not begun.
      assert.deepEqual(await engine.scan(one, { timeout: 0 }), { status: "clean", threats: [] });
    }
    for (const one of marked) {
      const { status, threats } = await engine.scan(one, { timeout: TIMEOUT });
      assert.deepEqual([status, threats.map(({ name }) => name)], ["malicious", ["r"]]);
    }
    // Asked again, it is scanned: what was sifted out counts once.
    assert.equal((await engine.scan(units[0], { timeout: 0 })).status, "incomplete");
  });
});

Deno.test("with rules that cannot be sifted by, and with too many matches, every unit is scanned", async () => {
  const many = units.map(({ bytes }) => unit(bytes.slice().fill(0x61, 100)));
  for (
    const [rules, told] of [[rule("not any of them"), units], [
      rule("any of them", '$a = "aaa"'),
      many,
    ]] as const
  ) {
    await withEngine(rules, async (engine) => {
      await engine.sift(told, { timeout: TIMEOUT });
      assert.equal((await engine.scan(told[0], { timeout: 0 })).status, "incomplete");
    });
  }
});

/** Pieces that units are made of: patterns whole, cut, and next to letters. */
const PIECES = [
  "alpha",
  "beta",
  "alp",
  "ha",
  "bet",
  "a",
  "x",
  " ",
  "\0",
  "a\0l\0p\0h\0a\0",
  "\x01\x02\x07\x05",
  "\x01",
  "\x03",
  "YmV0YQ",
];
const STRINGS = [
  '"alpha"',
  '"beta" nocase',
  '"alpha" wide ascii',
  '"alpha" fullword',
  '"beta" wide fullword',
  '"beta" xor(1-3)',
  '"alpha" wide xor',
  "{ 01 ( 02 | 03 ) [1-4] 05 }",
  "{ 61 ?? 70 ~68 }",
];
const CONDITIONS = [
  "$a",
  "$a and $b",
  "$a or ($b and filesize < 40)",
  "any of them and not ($a at 0)",
  "all of them",
  "$b at 0 or $a in (3..9)",
  "#a > 1 and $a and $b",
  "uint8(0) == 0x61 and any of them",
];

Deno.test("sifted or not, every unit gets the same answer", async () => {
  const drawn = fc.sample(
    fc.array(
      fc.tuple(fc.constantFrom(...STRINGS), fc.constantFrom(...STRINGS), fc.constantFrom(...CONDITIONS)),
      {
        minLength: 1,
        maxLength: 4,
      },
    ),
    { numRuns: 4, seed: 11 },
  );
  const content = fc.array(fc.constantFrom(...PIECES), { maxLength: 8 })
    .map((pieces) => Uint8Array.from(pieces.join(""), (letter) => letter.charCodeAt(0)));
  let clean = 0;
  for (const rules of drawn) {
    const text = rules.map(([a, b, condition], index) =>
      // The compiler wants every string used.
      `rule r${index} { strings: $a = ${a} $b = ${b} condition: (${condition}) or (false and ($a or $b)) }`
    ).join("\n");
    assert.ok(siftRules([text]), text);
    await withEngine(text, (engine) =>
      fc.assert(
        fc.asyncProperty(fc.array(content, { minLength: 2, maxLength: 12 }), async (contents) => {
          const told = contents.map(unit);
          const wanted = [];
          for (const one of told) wanted.push(await engine.scan(one, { timeout: TIMEOUT }));
          await engine.sift(told, { timeout: TIMEOUT });
          for (const [index, one] of told.entries()) {
            assert.deepEqual(await engine.scan(one, { timeout: TIMEOUT }), wanted[index]);
          }
          clean += wanted.filter(({ status }) => status === "clean").length;
        }),
        { numRuns: 8, seed: 12 },
      ));
  }
  assert.ok(clean > 50, `${clean} clean units`);
});
