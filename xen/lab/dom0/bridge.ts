// SPDX-License-Identifier: Apache-2.0
// Run in the lab's dom0: the bridge over privcmd, as far as it needs no guest. Writes bridge.json.
import { Bridge, HypercallError } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";

const NO_SUCH_DOMAIN = 4000;

function refusal(action: () => unknown): string {
  try {
    action();
    return "it was not refused";
  } catch (error) {
    return error instanceof HypercallError ? error.message : `not a refusal of the monitor: ${error}`;
  }
}

const transport = new PrivcmdTransport();
const bridge = new Bridge(transport);
const virqs = bridge.onVirq(() => {});
const rules = [{ kind: "all", pattern: "" }] as const;
const result = {
  transport: transport.name,
  info: bridge.info(),
  noSuchDomain: refusal(() => bridge.watch(NO_SUCH_DOMAIN, rules)),
  itself: refusal(() => bridge.watch(0, rules)),
  unknownCommand: transport.call(99, 0n),
  unreachable: transport.call(1, 0x1000n),
};
virqs();
bridge.close();
Deno.writeTextFileSync("/result/bridge.json", JSON.stringify(result, null, 2) + "\n");
