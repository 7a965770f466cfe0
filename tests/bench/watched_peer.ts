// SPDX-License-Identifier: Apache-2.0
/**
 * umbra's CPU as the guest sees it when umbra does its work: ring 3 of a guest with PAE and NX under shadow
 * page tables, in a process that the monitor watches; or the same process with nobody watching.
 *
 * @module
 */
import { NX, P, U, W } from "../../emulator/hypervisor/testing/test_guest.ts";
import { RunningGuest } from "../../emulator/hypervisor/testing/running_guest.ts";
import type { Bridge } from "../../xen/bridge.ts";
import { runToEnd, SerialClock, type UmbraRun } from "./bare_peer.ts";
import { entryPoint, LOAD_ADDRESS, MEMORY_SIZE } from "./workloads.ts";

const PAGE = 0x1000;
const FRAMES = MEMORY_SIZE / PAGE + 1024, SHADOW = 256;
/** Ring 3 may use ports. */
const EFLAGS = 0x3002;
/** Pages of a program's code, all writable; its data is not executable. */
const CODE_PAGES = 1;
/** Events taken at a time. */
const BATCH = 512;

/** Takes the monitor's events and pages as dom0 does. */
class Collector {
  events = 0;
  readonly #bridge: Bridge;
  readonly #domain: number;
  constructor(bridge: Bridge, domain: number) {
    this.#bridge = bridge;
    this.#domain = domain;
  }
  /** Turns from data to code so far. */
  turns(): number {
    return this.#bridge.statistics(this.#domain).turnsCoalesced + this.#turned;
  }
  #turned = 0;
  take(): void {
    for (;;) {
      const events = this.#bridge.fetch(this.#domain, BATCH);
      if (events.length === 0) return;
      this.events += events.length;
      this.#turned += events.filter((event) => event.kind === "S1" || event.kind === "S2").length;
      const snapshots = events.flatMap((event) => event.content === "captured" ? [event.snapshot] : []);
      this.#bridge.copy(this.#domain, snapshots, () => {});
      this.#bridge.acknowledge(this.#domain, events[events.length - 1].sequence);
    }
  }
}

/** What came of a run, with what the monitor said of it. */
export interface WatchedRun extends UmbraRun {
  /** Events of the monitor, and turns from data to code that it saw. */
  readonly events: number;
  readonly turns: number;
}

/** Runs a program as a process of a fresh guest, at most `most` instructions. */
export function runWatched(image: Uint8Array, most: number, watched = true): WatchedRun {
  const guest = new RunningGuest({
    guestFrames: FRAMES,
    shadowFrames: SHADOW,
    frames: FRAMES + SHADOW + 16,
  });
  const { domain, vcpu } = guest;
  for (let va = 0; va < MEMORY_SIZE; va += PAGE) {
    const code = va >= LOAD_ADDRESS && va < LOAD_ADDRESS + CODE_PAGES * PAGE;
    guest.map(va, P | W | U | (code ? 0n : NX));
  }
  for (let at = 0; at < image.length; at += PAGE) {
    guest.place(LOAD_ADDRESS + at, image.subarray(at, at + PAGE));
  }
  const collector = watched ? new Collector(guest.watch(), domain.id) : undefined;
  vcpu.loadCr3(guest.cr3);
  const clock = new SerialClock(() => vcpu.cpu.instructions);
  domain.onPort = { read: () => 0, write: (port, _size, value) => clock.write(port, value) };
  guest.start(entryPoint(image));
  vcpu.cpu.eflags = EFLAGS;
  const end = runToEnd((limit) => {
    let exit = vcpu.run(limit);
    while (exit.kind === "held" && collector) {
      collector.take();
      exit = vcpu.run(limit);
    }
    // dom0 looks when it is told to.
    if (collector && guest.model.virqPending) {
      guest.model.deliverVirq();
      collector.take();
    }
    return exit;
  }, most);
  collector?.take();
  return {
    ...clock.times(),
    end,
    read: (address, length) => vcpu.readVirtual(address, length).slice(),
    events: collector?.events ?? 0,
    turns: collector?.turns() ?? 0,
  };
}
