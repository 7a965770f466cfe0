// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { InputError } from "../core/ports.ts";
import { PrivcmdTransport } from "./privcmd.ts";

const DEVICES = { privcmd: "/dev/null", hypercall: "/dev/zero", evtchn: "/dev/null" };

function refused(paths: typeof DEVICES, reason: RegExp): void {
  assert.throws(() => new PrivcmdTransport(paths), (error: Error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, reason);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
}

Deno.test("without Xen the missing device is named, with what to do", async () => {
  const folder = await Deno.makeTempDir();
  try {
    refused(
      { ...DEVICES, privcmd: `${folder}/privcmd` },
      /^Cannot talk to Xen: there is no \S+\/privcmd: this is not dom0 .* module xen-privcmd is not loaded$/,
    );
    refused({ ...DEVICES, hypercall: `${folder}/hypercall` }, /there is no \S+\/hypercall/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a device that is not Xen's is refused", () => {
  // Not a hypercall device: ioctl fails with ENOTTY.
  refused(DEVICES, /asking for its version failed \(errno 25\)/);
});
