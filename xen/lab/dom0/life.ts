// SPDX-License-Identifier: Apache-2.0
// Ends in the middle: the guest goes, the collector is killed, nobody fetches; and that the hypervisor's memory
// comes back.
import type { WatchSettings } from "../../../core/ports.ts";
import { FLAGS } from "../../abi.ts";
import { Bridge, type BridgeOptions } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { type Check, must } from "./checks.ts";
import { SMALL } from "./collect.ts";
import { exercise, EXERCISER, PID } from "./exerciser.ts";
import { command, Guest, Running, until, xl } from "./guest.ts";
import { compare, readCaptures, readStatus, readTruths } from "./truth.ts";

async function withBridge<T>(options: BridgeOptions, use: (bridge: Bridge) => Promise<T>): Promise<T> {
  const bridge = new Bridge(new PrivcmdTransport(), options);
  try {
    return await use(bridge);
  } finally {
    bridge.close();
  }
}

const waiting = (bridge: Bridge, id: number) => Number(bridge.monitorStatistics(id).waiting_pages);
const held = (bridge: Bridge, id: number) =>
  (Number(bridge.monitorStatistics(id).flags) & FLAGS.statistics_held) !== 0;

/** MiB that Xen has free. */
async function freeMemory(): Promise<number> {
  return Number(/^free_memory\s*:\s*(\d+)/m.exec(await xl("info"))![1]);
}

/** A guest that is watched and held, its captures not fetched. */
async function heldGuest(bridge: Bridge): Promise<Guest> {
  const guest = await Guest.create("exerciser");
  bridge.watch(guest.id, EXERCISER);
  await guest.unpause();
  await until("held processor", 60, () => held(bridge, guest.id));
  return guest;
}

function destroyedWhilePending(): Promise<string> {
  return withBridge(SMALL, async (bridge) => {
    const before = await freeMemory();
    let pending = 0;
    const rounds = 5;
    for (let i = 0; i < rounds; i++) {
      await using guest = await heldGuest(bridge);
      pending += waiting(bridge, guest.id);
      await guest.destroy();
      const list = (await xl("list")).trim().split("\n");
      must(list.length === 2, `the domain is still there: ${list.join(" / ")}`);
      try {
        bridge.fetch(guest.id, 10);
        must(false, "its events can still be fetched");
      } catch (error) {
        must(/there is no such domain/.test((error as Error).message), (error as Error).message);
      }
    }
    const after = await freeMemory();
    must(pending > 0, "nothing was pending");
    must(before - after <= 1, `${before} MiB were free, ${after} MiB are`);
    return `${rounds} guests destroyed, held, with ${pending} pages pending; ` +
      `Xen has ${after} MiB free, before ${before} MiB`;
  });
}

function unwatchedWhilePending(): Promise<string> {
  return withBridge(SMALL, async (bridge) => {
    await using guest = await heldGuest(bridge);
    bridge.unwatch(guest.id);
    must(waiting(bridge, guest.id) > 0, "nothing was pending");
    // It goes on, unseen, to its end.
    await until("end of the guest", 60, async () => {
      const log = (await xl("dmesg")).split("\n").filter((line) =>
        line.startsWith(`(d${guest.id}) guest: done`)
      );
      return log.length === 2;
    });
    let events = 0;
    for (let got = 1; got > 0; events += got) {
      const batch = bridge.fetch(guest.id, 100);
      got = batch.length;
      if (got) bridge.acknowledge(guest.id, batch[got - 1].sequence);
    }
    must(bridge.drained(guest.id), "the watch is not drained");
    return `the held guest went on to its end; ${events} events were still handed over`;
  });
}

async function killed(): Promise<string> {
  await using guest = await Guest.create("exerciser");
  const folders = ["/tmp/killed-1", "/tmp/killed-2"];
  const lines = (folder: string) => {
    try {
      return Deno.readTextFileSync(`${folder}/events.jsonl`).split("\n");
    } catch {
      return [];
    }
  };
  const first = new Running("lab", "collect", String(guest.id), folders[0]);
  await first.hear("watching", 60);
  await guest.unpause();
  await until("first events", 60, () => lines(folders[0]).length > 100);
  first.kill("SIGKILL");
  await first.ended();
  const before = lines(folders[0]).length;
  return await withBridge(SMALL, async (bridge) => {
    const handed = Number(bridge.monitorStatistics(guest.id).last_sequence);
    await until("held processor", 60, () => held(bridge, guest.id));
    const second = new Running("lab", "collect", String(guest.id), folders[1]);
    await second.hear("watching", 60);
    const process = lines(folders[0]).filter((line) => line !== "").map((line) => JSON.parse(line))
      .find(({ pid }) => pid === PID).process as number;
    const status = () => {
      const memory = bridge.memory(guest.id, process);
      return memory && readStatus(memory);
    };
    await until("end of the exerciser", 120, () => status()?.done.every((each) => each === 1) ?? false);
    const { errors, records } = status()!, memory = bridge.memory(guest.id, process)!;
    must(errors.every((each) => each === 0), `the guest's routines gave ${errors} wrong results`);
    const truths = records.flatMap((count, processor) => readTruths(memory, processor, count));
    second.kill("SIGTERM");
    const { code, err } = await second.ended();
    must(code === 0, `the second collector ended with ${code}: ${err}`);
    const { pagesLost, vcpuPauses } = bridge.statistics(guest.id);
    must(pagesLost === 0, `${pagesLost} pages were lost`);
    compare(truths, readCaptures(...folders));
    return `killed after ${before} events (the monitor had ${handed}), started again: ` +
      `${truths.length} pages ran, each is in the files of one or the other, none lost; ${vcpuPauses} pauses`;
  });
}

function full(settings: WatchSettings): Promise<string> {
  return withBridge({ ringPages: 16 }, async (bridge) => {
    await using guest = await Guest.create("exerciser");
    bridge.watch(guest.id, EXERCISER, settings);
    await guest.unpause();
    const done = async () =>
      (await xl("dmesg")).split("\n").filter((line) => line.startsWith(`(d${guest.id}) guest: done`))
        .length === 2;
    // Nobody fetches anything until the guest is through.
    await until("end of the guest", 90, done);
    const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost, vcpuPauses, events } = bridge.statistics(
      guest.id,
    );
    must(vcpuPauses === 0, `it was held ${vcpuPauses} times`);
    must(pagesCaptured === 16, `${pagesCaptured} pages were captured, there is room for 16`);
    must(
      pagesLost > 0 && pagesSeen === pagesCaptured + pagesUnchanged + pagesLost,
      "what was lost is not counted",
    );
    const told = bridge.fetch(guest.id, 4096);
    const lost = told.filter(({ content }) => content === "lost").length;
    must(told.length === events && lost === pagesLost, `${told.length} events tell of ${lost} lost pages`);
    return `${pagesSeen} pages seen = ${pagesCaptured} captured + ${pagesUnchanged} unchanged + ${pagesLost} lost, ` +
      `each lost one told by its event; the guest was never held`;
  });
}

async function twice(): Promise<string> {
  const before = await freeMemory();
  await withBridge({}, async (bridge) => {
    await using guest = await Guest.create("unpacker");
    for (let i = 0; i < 50; i++) {
      bridge.watch(guest.id, EXERCISER);
      bridge.unwatch(guest.id);
      for (let more = true; more;) {
        const batch = bridge.fetch(guest.id, 100);
        more = batch.length > 0;
        if (more) bridge.acknowledge(guest.id, batch.at(-1)!.sequence);
      }
    }
  });
  const after = await freeMemory(), { code } = await command("xl", "list");
  must(code === 0 && before - after <= 1, `${before} MiB were free, ${after} MiB are`);
  return `50 watches of one domain; Xen has ${after} MiB free, before ${before} MiB`;
}

/** Nobody fetches from one guest, which is held; another one is watched to its end meanwhile. */
function neighbours(): Promise<string> {
  return withBridge(SMALL, async (bridge) => {
    await using still = await heldGuest(bridge);
    const pending = waiting(bridge, still.id);
    await using guest = await Guest.create("unpacker");
    bridge.watch(guest.id, [{ kind: "prefix", pattern: "virus" }]);
    await guest.unpause();
    const kinds: string[] = [];
    await until("end of the other guest's program", 60, () => {
      const events = bridge.fetch(guest.id, 100);
      if (events.length > 0) bridge.acknowledge(guest.id, events.at(-1)!.sequence);
      kinds.push(...events.map(({ kind }) => kind));
      return kinds.includes("process-end");
    });
    const { pagesLost, pagesCaptured } = bridge.statistics(guest.id);
    must(pagesLost === 0, `${pagesLost} pages of the other guest were lost`);
    must(held(bridge, still.id), "the first guest is not held any more");
    must(waiting(bridge, still.id) === pending, "what the first guest had pending has changed");
    return `one guest held with ${pending} pages pending; of the other ${kinds.length} events and ` +
      `${pagesCaptured} pages were handed over, to the end of its program`;
  });
}

/** Each birth and death of a domain changes the monitor's table, in which the hooks of a watched one look all the time. */
function comeAndGo(): Promise<string> {
  return withBridge({}, async (bridge) => {
    let others = 0, pages = 0, running = true;
    const watched = async () => {
      try {
        while (others < 3) pages += (await exercise(bridge, "/tmp/come-and-go")).truths;
      } finally {
        running = false;
      }
    };
    const comingAndGoing = async () => {
      for (; running; others++) {
        await using guest = await Guest.create("unpacker");
        await guest.unpause();
      }
    };
    await Promise.all([watched(), comingAndGoing()]);
    return `${others} other guests came and went; ${pages} pages ran meanwhile, each was captured as it ran`;
  });
}

/** Ends in the middle. */
export const lifeChecks: readonly Check[] = [
  { name: "domain destroyed with captures pending", limit: 200, run: destroyedWhilePending },
  { name: "watch ended with captures pending", limit: 150, run: unwatchedWhilePending },
  { name: "collector killed and started again", limit: 300, run: killed },
  { name: "data centre full, drop", limit: 150, run: () => full({ whenFull: "drop" }) },
  { name: "one guest held, another goes on", limit: 100, run: neighbours },
  { name: "others come and go beside a watched guest", limit: 250, run: comeAndGo },
  { name: "watched again and again", limit: 100, run: twice },
];
