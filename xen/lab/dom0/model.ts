// SPDX-License-Identifier: Apache-2.0
// That the guests of the suite `hvm` are what they are to be: HVM, with a device model beside them.
import { type Check, must } from "./checks.ts";
import { command, Guest, xl } from "./guest.ts";

async function hasModel(name: string, vcpus: number): Promise<string> {
  await using guest = await Guest.create(name);
  const [{ config }] = JSON.parse(await xl("list", "-l", String(guest.id))) as {
    config: { c_info: { type: string }; b_info: { max_vcpus: number } };
  }[];
  must(config.c_info.type === "hvm", `it is a guest of type ${config.c_info.type}`);
  must(config.b_info.max_vcpus === vcpus, `it has ${config.b_info.max_vcpus} processors, not ${vcpus}`);
  const model = (await command("ps")).out.split("\n")
    .find((line) => line.includes("xen-qemu-system-i386") && line.includes(`-xen-domid ${guest.id} `));
  must(model !== undefined, "no device model runs for it");
  return `type hvm, processors: ${vcpus}, process ${model.trim().split(/ +/)[0]} is its device model`;
}

/** The guests with a device model. */
export const modelChecks: readonly Check[] = [
  { name: "HVM guest with a device model, two processors", run: () => hasModel("exerciser", 2) },
  { name: "HVM guest with a device model, one processor", run: () => hasModel("unpacker", 1) },
];
