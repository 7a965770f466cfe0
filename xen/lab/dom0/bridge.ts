// SPDX-License-Identifier: Apache-2.0
// The bridge over privcmd, as far as it needs no guest.
import { COMMANDS, ERRORS } from "../../abi.ts";
import { Bridge } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { type Check, must } from "./checks.ts";

/** What the hypercall says to whoever asks. */
export const bridgeChecks: readonly Check[] = [
  {
    name: "bridge",
    run: () => {
      const transport = new PrivcmdTransport();
      const bridge = new Bridge(transport);
      try {
        const { abi, copyPages, ringEvents, ringPages } = bridge.info();
        must(copyPages === 512, `a call copies ${copyPages} pages`);
        const stop = bridge.onVirq(() => {});
        stop();
        must(transport.call(99, 0n) === -ERRORS.ENOSYS, "an unknown command is not refused");
        must(
          transport.call(COMMANDS.watch, 0x1000n) === -ERRORS.EFAULT,
          "a pointer to nothing is not refused",
        );
        return `${transport.name}, ABI ${abi}, ${ringEvents} events and ${ringPages} pages a domain; VIRQ bound`;
      } finally {
        bridge.close();
      }
    },
  },
];
