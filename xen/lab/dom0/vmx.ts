// SPDX-License-Identifier: Apache-2.0
// That it is an Intel processor's VMX by which guests run.
import { type Check, must } from "./checks.ts";
import { xl } from "./guest.ts";

/** What Xen found in the processor. */
export const vmxChecks: readonly Check[] = [
  {
    name: "processor",
    run: async () => {
      const said = await xl("dmesg");
      must(/\bVMX enabled/.test(said), "Xen does not say that it uses VMX");
      const features = said.match(/VMX: Supported advanced features:\n((?:.* - .*\n)+)/)?.[1] ?? "";
      const model = /^\(XEN\) CPU Vendor: .*$/m.exec(said)?.[0];
      return `${model?.replace("(XEN) ", "")}; VMX, ${features.trim().split("\n").length} advanced features`;
    },
  },
];
