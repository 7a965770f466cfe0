// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import * as f80 from "./float80.ts";

const env = (precision = 53): f80.Environment => ({
  rounding: 0,
  precision,
  flags: 0,
  least: -1022,
  most: 1023,
});
const view = new DataView(new ArrayBuffer(8));
function bitsOf(v: number): bigint {
  view.setFloat64(0, v);
  return view.getBigUint64(0);
}
const of = (v: number) => f80.fromBits(bitsOf(v), 64, env());
function back(v: f80.Float80): number {
  view.setBigUint64(0, f80.toBits(v, 64, env()));
  return view.getFloat64(0);
}

Deno.test("with the range and precision of doubles the results are those of the host", () => {
  const double = fc.double({ noNaN: true });
  fc.assert(
    fc.property(double, double, (a, b) => {
      const x = of(a), y = of(b);
      for (
        const [mine, theirs] of [
          [f80.add(x, y, env()), a + b],
          [f80.add(x, y, env(), true), a - b],
          [f80.multiply(x, y, env()), a * b],
          [f80.divide(x, y, env()), a / b],
          [f80.squareRoot(x, env()), Math.sqrt(a)],
          [
            f80.remainder(x, y, false, env()).complete ? f80.remainder(x, y, false, env()).value : of(a % b),
            a % b,
          ],
        ] as const
      ) assert.ok(Object.is(back(mine), theirs), `${a} ${b}: ${back(mine)} is not ${theirs}`);
      const order = f80.compare(x, y, false, env());
      assert.equal(order, a < b ? "less" : a > b ? "greater" : "equal");
    }),
    { numRuns: 2000 },
  );
});

Deno.test("doubles and integers survive the way through 80 bits", () => {
  fc.assert(fc.property(fc.double(), (v) => assert.ok(Object.is(back(of(v)), v))));
  fc.assert(fc.property(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }), (v) => {
    const e = env(64);
    assert.equal(f80.toInteger(f80.fromInteger(v), 64, e), v);
    assert.equal(e.flags, 0);
  }));
});

Deno.test("an inexact result says so, in the four roundings", () => {
  const third = [0, 1, 2, 3].map((rounding) => {
    const e: f80.Environment = { rounding, precision: 64, flags: 0 };
    const r = f80.divide(f80.ONE, f80.fromInteger(3n), e);
    assert.equal(e.flags & f80.FloatFlag.precision, f80.FloatFlag.precision);
    assert.equal((e.flags & f80.ROUNDED_UP) !== 0, rounding === 0 || rounding === 2);
    return r.significand & 0xfn;
  });
  assert.deepEqual(third, [0xbn, 0xan, 0xbn, 0xan]);
});
