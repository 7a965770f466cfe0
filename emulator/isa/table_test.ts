// SPDX-License-Identifier: Apache-2.0
// What must hold for every row: faults before commits, one handler for each variant.
import assert from "node:assert/strict";
import { Builder, handlerCount, rows, type Stmt, variantNumber } from "./mod.ts";

/** Walks statements in order; `seen` tells whether something was committed before. */
function check(name: string, statements: readonly Stmt[], memory: (operand: number) => boolean): void {
  const prepared = new Set<number>();
  const walk = (list: readonly Stmt[], committedBefore: boolean): boolean => {
    let committed = committedBefore;
    for (const s of list) {
      switch (s.do) {
        case "read":
        case "prepare":
          if (!memory(s.operand)) break;
          if (!prepared.has(s.operand)) assert.ok(!committed, `${name}: operand ${s.operand} can fault late`);
          if (s.do === "prepare" || s.modify) prepared.add(s.operand);
          break;
        case "write":
          if (memory(s.operand) && !prepared.has(s.operand)) {
            assert.ok(!committed, `${name}: write to ${s.operand} can fault late`);
            prepared.add(s.operand);
          }
          committed = true;
          break;
        case "resolve":
          assert.ok(!committed, `${name}: an access can fault late`);
          break;
        case "raise":
          assert.ok(!committed, `${name}: an exception comes late`);
          break;
        case "if": {
          const a = walk(s.then, committed), b = walk(s.else, committed);
          committed = a || b;
          break;
        }
        case "setRegister":
        case "store":
        case "flags":
        case "flagsFrom":
        case "carry":
        case "zero":
        case "setState":
          committed = true;
      }
    }
    return committed;
  };
  walk(statements, false);
}

Deno.test("in every variant of every row all that can fault comes before all that is committed", () => {
  for (const row of rows) {
    for (const variant of row.variants) {
      const b = new Builder(variant);
      row.build!(b);
      const inMemory = ["flat", "indexed", "general"].includes(variant.place);
      const memory = (i: number) => inMemory && "EMO".includes(row.operands[i][0]);
      check(`${row.mnemonic} (${row.opcode})`, b.statements, memory);
    }
  }
});

Deno.test("variants are numbered without gaps, and each is found by its properties", () => {
  let next = rows[0].firstHandler;
  for (const row of rows) {
    assert.equal(row.firstHandler, next);
    row.variants.forEach((v, i) => {
      assert.equal(variantNumber(row, v.size, v.place, v.general, v.repeat), i, `${row.opcode} variant ${i}`);
    });
    next += row.variants.length;
  }
  for (const row of rows) {
    if (!row.fuses) continue;
    assert.equal(row.firstFused, next);
    next += 16 * row.variants.length;
  }
  assert.equal(next, handlerCount);
});

Deno.test("every row has semantics or a helper, and an encoding of its own", () => {
  const seen = new Set<string>();
  for (const row of rows.slice(2)) {
    assert.ok(row.build !== undefined || row.helper !== undefined, row.opcode);
    assert.ok(!seen.has(row.opcode), `${row.opcode} stands twice`);
    seen.add(row.opcode);
  }
});
