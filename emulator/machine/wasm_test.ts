// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { Code, signed, unsigned, ValueType, wide } from "./wasm.ts";
import { ModuleWriter } from "./wasm_module.ts";

const { i32, i64 } = ValueType;

Deno.test("LEB128 numbers are read back by a plain reader", () => {
  fc.assert(fc.property(fc.integer(), (v) => {
    const s: number[] = [], u: number[] = [];
    signed(s, v);
    unsigned(u, v);
    let value = 0, shift = 0;
    for (const byte of s) {
      value |= (byte & 0x7f) << shift;
      shift += 7;
    }
    if (shift < 32 && s[s.length - 1] & 0x40) value |= -1 << shift;
    assert.equal(value, v);
    assert.equal(u.reduce((sum, byte, i) => sum + (byte & 0x7f) * 2 ** (7 * i), 0), v >>> 0);
  }));
});

Deno.test("a module with locals of both widths, memory and a table runs", () => {
  const m = new ModuleWriter();
  const handler = m.type([i32, i32], [i32]);
  const note = m.import("note", m.type([i32], []));
  const last = m.declare(handler);
  const first = m.declare(handler);
  {
    const c = new Code(2);
    const product = c.local(i64), low = c.local();
    c.get(0).op("extend_u").get(1).op("extend_u").op64("mul").tee(product).op("wrap").set(low);
    c.const(8).get(low).store(32).get(low).call(note).get(product).const64(32).op64("shr_u").op("wrap");
    m.define(last, c);
  }
  {
    const c = new Code(2);
    c.get(0).const(1).op("add").get(1).const(0).returnCallIndirect(handler);
    m.define(first, c);
  }
  m.table(handler, [last, first]);
  m.export("first", first);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const noted: number[] = [];
  const instance = new WebAssembly.Instance(new WebAssembly.Module(m.finish(1)), {
    env: { memory, note: (v: number) => noted.push(v) },
  });
  const run = instance.exports.first as (a: number, b: number) => number;
  assert.equal(run(0x7fffffff, 6), 3);
  assert.deepEqual(noted, [0]);
  assert.equal(new Int32Array(memory.buffer)[2], 0);
  assert.equal(run(4, 5), 0);
  assert.equal(new Int32Array(memory.buffer)[2], 25);
});

Deno.test("64-bit opcodes stand where the specification has them", () => {
  assert.deepEqual([wide("eqz"), wide("eq"), wide("ge_u"), wide("clz"), wide("add"), wide("rotr")], [
    0x50,
    0x51,
    0x5a,
    0x79,
    0x7c,
    0x8a, // deno-fmt-ignore
  ]);
});
