// SPDX-License-Identifier: Apache-2.0
/**
 * Runs of the page-table exerciser under umbra's service, compared with its truth.
 *
 * @module
 */
import { FolderFiles } from "../../../core/capture/files.ts";
import type { Hypervisor, ProcessMemory, WatchRule, WatchSettings } from "../../../core/ports.ts";
import { Service } from "../../../core/service/service.ts";
import { must } from "./checks.ts";
import { follow } from "./follow.ts";
import { Guest } from "./guest.ts";
import { compare, readCaptures, readStatus, readTruths } from "./truth.ts";

/** Process number of the guest's program. */
export const PID = 77;

/** The rule that watches its program. */
export const EXERCISER: readonly WatchRule[] = [{ kind: "prefix", pattern: "exerciser" }];

/** Pages are what is compared: nothing is joined or rebuilt from them here. */
export const PAGES_ONLY = { regionBytes: 0, imageBytes: 0, units: 0 };

/** What a run came to. */
export interface Exercise {
  readonly truths: number;
  readonly events: number;
  readonly pages: number;
  readonly pauses: number;
  readonly seconds: number;
}

/** One run of the exerciser under `umbra`'s service, compared; throws at the first difference. */
export async function exercise(
  hypervisor: Hypervisor,
  folder: string,
  settings: WatchSettings = {},
): Promise<Exercise> {
  await using guest = await Guest.create("exerciser");
  const started = performance.now();
  const files = new FolderFiles(folder), service = new Service({ hypervisor, files, limits: PAGES_ONLY });
  try {
    service.watch(guest.id, EXERCISER, settings);
    await guest.unpause();
    let memory: ProcessMemory | undefined;
    await follow(service, "end of the exerciser", 200, () => {
      const process = [...service.domains.get(guest.id)!.processes.values()]
        .find(({ identity }) => identity.pid === PID);
      memory = process && hypervisor.memory!(guest.id, process.key);
      return memory ? readStatus(memory)?.done.every((each) => each === 1) ?? false : false;
    });
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    const { errors, records } = readStatus(memory!)!;
    must(errors.every((each) => each === 0), `the guest's routines gave ${errors} wrong results`);
    const truths = records.flatMap((count, processor) => readTruths(memory!, processor, count));
    service.unwatch(guest.id);
    await service.drain();
    const { events, pagesSeen, pagesCaptured, pagesUnchanged, pagesLost, turnsCoalesced, vcpuPauses } =
      hypervisor
        .statistics(guest.id);
    must(pagesLost === 0, `${pagesLost} pages were lost`);
    must(pagesSeen === pagesCaptured + pagesUnchanged, "seen is not captured and unchanged");
    must(turnsCoalesced === 0, `${turnsCoalesced} turns were coalesced`);
    compare(truths, readCaptures(folder));
    return { truths: truths.length, events, pages: pagesCaptured, pauses: vcpuPauses, seconds };
  } finally {
    service.close();
    files.close();
  }
}
