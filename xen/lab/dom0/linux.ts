// SPDX-License-Identifier: Apache-2.0
// A guest that is no Windows: the hypervisor with the monitor in it leaves it as it is, watched or not.
import { NoFiles } from "../../../core/capture/files.ts";
import { Service } from "../../../core/service/service.ts";
import { Bridge } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { type Check, must } from "./checks.ts";
import { PAGES_ONLY } from "./exerciser.ts";
import { Guest, until } from "./guest.ts";

const CONSOLE = "/var/log/xen/guest-linux.log";

interface Outcome {
  readonly sum: string;
  readonly seconds: number;
  readonly watched: string;
}

async function run(watched: boolean): Promise<Outcome> {
  try {
    await Deno.remove(CONSOLE);
  } catch {
    // The first run.
  }
  await using guest = await Guest.create("linux");
  const bridge = new Bridge(new PrivcmdTransport());
  const service = new Service({ hypervisor: bridge, files: new NoFiles(), limits: PAGES_ONLY });
  try {
    if (watched) service.watch(guest.id, [{ kind: "all", pattern: "" }]);
    const started = performance.now();
    await guest.unpause();
    let said = "";
    await until("end of the Linux guest", 600, async () => {
      if (watched) await service.drain();
      try {
        said = Deno.readTextFileSync(CONSOLE);
      } catch {
        return false;
      }
      return said.includes("linux: done");
    });
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    const sum = /linux: sum ([0-9a-f]{64})/.exec(said)?.[1];
    must(sum !== undefined, `it said: ${said}`);
    if (!watched) return { sum, seconds, watched: "" };
    const { pagesCaptured, pagesLost, faults, vcpuPauses } = bridge.statistics(guest.id);
    return {
      sum,
      seconds,
      watched: `${faults} faults, ${pagesCaptured} pages captured, ${pagesLost} lost, ${vcpuPauses} pauses`,
    };
  } finally {
    service.close();
    bridge.close();
  }
}

/** Linux comes to the same. */
export const linuxChecks: readonly Check[] = [
  {
    name: "Linux guest, unwatched and watched",
    limit: 1200,
    run: async () => {
      const free = await run(false), seen = await run(true);
      must(free.sum === seen.sum, `its work came to ${free.sum} unwatched and to ${seen.sum} watched`);
      return `the same sum ${free.sum.slice(0, 12)}…; unwatched ${free.seconds} s, all processes watched ` +
        `${seen.seconds} s: ${seen.watched}`;
    },
  },
];
