// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { Bridge } from "../../xen/bridge.ts";
import { build as buildCpu } from "../machine/build_cpu.ts";
import { build as buildMonitor } from "../../xen/build_monitor.ts";
import { createXenModel, machineFramesFor } from "./mod.ts";

await buildMonitor();
await buildCpu();

Deno.test("guest frames are not machine frames, and all of the guest's are there", () => {
  const model = createXenModel({ frames: machineFramesFor(64) });
  const domain = model.createDomain({ guestFrames: 64 });
  for (let gfn = 0; gfn < 64; gfn++) domain.writePhysical(gfn * 4096, Uint8Array.of(gfn, 1));
  for (let gfn = 0; gfn < 64; gfn++) {
    assert.deepEqual([...domain.readPhysical(gfn * 4096, 2)], [gfn, 1]);
  }
  // Across a page.
  domain.writePhysical(4094, Uint8Array.of(1, 2, 3, 4));
  assert.deepEqual([...domain.readPhysical(4094, 4)], [1, 2, 3, 4]);
  assert.deepEqual([...domain.readPhysical(8192, 1)], [2]);
  assert.throws(() => domain.readPhysical(64 * 4096 - 1, 2), RangeError);
  assert.throws(() => domain.writePhysical(-1, new Uint8Array(1)), RangeError);
  assert.throws(() => domain.readPhysical(0, 2 ** 40), RangeError);
  assert.throws(() => domain.writeEntry(4, 0, 0), RangeError);
});

Deno.test("a new domain finds nothing of the one before it", () => {
  const model = createXenModel({ frames: machineFramesFor(64), cpus: 2 });
  const first = model.createDomain({ guestFrames: 64 });
  for (let gfn = 0; gfn < 64; gfn++) first.writePhysical(gfn * 4096, new Uint8Array(4096).fill(0xaa));
  assert.throws(() => model.createDomain({ guestFrames: 64 }), /machine frames/);
  model.destroyDomain(first.id);
  assert.throws(() => model.destroyDomain(first.id), /none of that number/);
  const second = model.createDomain({ guestFrames: 64 });
  assert.notEqual(second.id, first.id);
  assert.deepEqual(second.readPhysical(0, 64 * 4096), new Uint8Array(64 * 4096));
  assert.throws(() => model.createDomain({ guestFrames: 1 }), /CPUs are free/);
});

Deno.test("the bridge speaks to the monitor in the model; domains that are not there are refused", () => {
  const model = createXenModel({ frames: machineFramesFor(64) });
  const domain = model.createDomain({ guestFrames: 64 });
  const bridge = new Bridge(model.transport);
  assert.equal(bridge.info().name, "test bed");
  bridge.watch(domain.id, [{ kind: "all", pattern: "" }]);
  assert.deepEqual(bridge.fetch(domain.id, 10), []);
  assert.throws(() => bridge.watch(domain.id + 1, [{ kind: "all", pattern: "" }]), /no such domain/);
  bridge.unwatch(domain.id);
  bridge.close();
});

Deno.test("sizes that cannot be are refused with the reason", () => {
  const model = createXenModel({ frames: machineFramesFor(64) });
  for (const guestFrames of [0, -1, 1.5, NaN, 2 ** 21]) {
    assert.throws(() => model.createDomain({ guestFrames }), RangeError);
  }
  assert.throws(() => createXenModel({ frames: 100, shadowFrames: 15 }), /at least 16/);
});
