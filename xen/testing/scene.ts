// SPDX-License-Identifier: Apache-2.0
/**
 * What the monitor's tests share: a guest that is watched, and the events that come of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { MonitorEvent, WatchRule, WatchSettings } from "../../core/ports.ts";
import { Bridge, type BridgeOptions } from "../bridge.ts";
import { build } from "../build_monitor.ts";
import { type Process, TestGuest } from "./guest.ts";

await build();

export const PAGE = 4096;
export const RULE: WatchRule = { kind: "prefix", pattern: "virus" };

/** A watched guest with two processes, one of which the rule names. */
export interface Scene {
  readonly guest: TestGuest;
  readonly bridge: Bridge;
  readonly virus: Process;
  readonly other: Process;
  /** Everything fetched and not asked for yet; acknowledges it. Snapshots' bytes go to `bytes`. */
  events(): MonitorEvent[];
  /** First byte(s) of captured pages, by sequence. */
  readonly bytes: Map<number, Uint8Array>;
}

/** A guest's events, as {@link Scene} has them. */
export type Collected = Pick<Scene, "events" | "bytes">;

/** Makes a scene; options as for the bridge. */
export function scene(
  settings: WatchSettings = {},
  options: BridgeOptions = {},
  rules: readonly WatchRule[] = [RULE],
): Scene {
  const guest = new TestGuest();
  const virus = guest.process(100, "virus.exe"), other = guest.process(200, "calm.exe");
  const bridge = new Bridge(guest.transport, options);
  bridge.watch(1, rules, settings);
  return { guest, bridge, virus, other, ...collect(bridge) };
}

/** Collects the events of domain 1. */
export function collect(bridge: Bridge): Collected {
  const bytes = new Map<number, Uint8Array>();
  return {
    bytes,
    events() {
      const all: MonitorEvent[] = [];
      for (;;) {
        const some = bridge.fetch(1, 100);
        if (some.length === 0) return all;
        all.push(...some);
        const carrying = some.filter((event) => event.snapshot !== 0);
        bridge.copy(1, carrying.map((event) => event.snapshot), (snapshot, page) => {
          const event = carrying.find((each) => each.snapshot === snapshot)!;
          if (page) bytes.set(event.sequence, page.slice());
        });
        bridge.acknowledge(1, some.at(-1)!.sequence);
      }
    },
  };
}

/** Page events in short: kind, address, content, and whether it opened a layer. */
export const pages = (events: readonly MonitorEvent[]) =>
  events.filter((event) => event.va !== 0).map((event) =>
    `${event.kind} ${event.va.toString(16)} ${event.content}${event.hop ? " hop" : ""}`
  );

/** Checks that every page seen was captured, unchanged or lost. */
export function balanced(bridge: Bridge): void {
  const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost } = bridge.statistics(1);
  assert.equal(pagesSeen, pagesCaptured + pagesUnchanged + pagesLost);
}

/** A stub at 0x410000 that writes `count` pages from 0x401000 on and jumps to the third of them. */
export function unpack(guest: TestGuest, process: Process, count = 4): void {
  guest.map(process, 0x41_0000, { x: true });
  guest.map(process, 0x40_0000, {});
  for (let i = 1; i <= count; i++) guest.map(process, 0x40_0000 + i * PAGE, { w: true, x: true });
  guest.run(0x41_0020);
  for (let i = 1; i <= count; i++) guest.write(0x40_0000 + i * PAGE, [i], 0x41_0040);
  guest.run(0x40_3004);
}
