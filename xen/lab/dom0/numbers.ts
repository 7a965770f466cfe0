// SPDX-License-Identifier: Apache-2.0
/**
 * What the monitor costs, measured in one boot: medians in ticks of the guest's own counter, to be read as ratios.
 * `/result/numbers.json` holds the rows.
 *
 * @module
 */
import { FolderFiles, NoFiles } from "../../../core/capture/files.ts";
import { Service } from "../../../core/service/service.ts";
import { Bridge, type BridgeOptions } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import type { HypercallTransport } from "../../transport.ts";
import { type Check, must } from "./checks.ts";
import { EXERCISER, PAGES_ONLY } from "./exerciser.ts";
import { follow } from "./follow.ts";
import { Guest, until, xl } from "./guest.ts";

const RUNS = 5;

/** A transport that counts its calls. */
class Counting implements HypercallTransport {
  readonly #inner = new PrivcmdTransport();
  readonly name = this.#inner.name;
  calls = 0;
  allocate(size: number) {
    return this.#inner.allocate(size);
  }
  call(command: number, argument: bigint): number {
    this.calls++;
    return this.#inner.call(command, argument);
  }
  onVirq(listener: () => void) {
    return this.#inner.onVirq(listener);
  }
  close(): void {
    this.#inner.close();
  }
}

interface Sample {
  /** Ticks of the slower of the guest's processors. */
  readonly ordinary: number;
  readonly exercises: number;
  readonly pages: number;
  readonly calls: number;
  readonly pauses: number;
}

/** The guest's last words: its ticks, once both processors are through; else undefined. */
async function lastWords(id: number): Promise<{ ordinary: number; exercises: number } | undefined> {
  const pattern = new RegExp(`^\\(d${id}\\) guest: done \\w+ ordinary (\\w+) exercises (\\w+)$`, "gm");
  const said = [...(await xl("dmesg")).matchAll(pattern)];
  if (said.length < 2) return undefined;
  const most = (group: number) => Math.max(...said.map((each) => parseInt(each[group], 16)));
  return { ordinary: most(1), exercises: most(2) };
}

type Way = { readonly rule?: string; readonly options?: BridgeOptions };

/** How the guest is watched, by the name that the table gives it. */
const WAYS: Readonly<Record<string, Way>> = {
  unwatched: {},
  "no process matches": { rule: "nobody.exe" },
  umbra: { rule: "exerciser" },
  // What notifying dom0 and waiting for its copy would cost: the next capture waits until the last was taken.
  "one page at a time": { rule: "exerciser", options: { ringPages: 1, ringEvents: 2 } },
};

async function sample({ rule, options = {} }: Way): Promise<Sample> {
  await using guest = await Guest.create("measured");
  const transport = new Counting(), bridge = new Bridge(transport, options);
  const files = new NoFiles(), service = new Service({ hypervisor: bridge, files, limits: PAGES_ONLY });
  try {
    if (rule !== undefined) service.watch(guest.id, [{ kind: "prefix", pattern: rule }]);
    let words: Awaited<ReturnType<typeof lastWords>>;
    const done = async () => (words = await lastWords(guest.id)) !== undefined;
    const from = transport.calls;
    await guest.unpause();
    await (rule === undefined
      ? until("end of the guest", 200, done)
      : follow(service, "end of the guest", 200, done));
    if (rule === undefined) return { ...words!, pages: 0, calls: 0, pauses: 0 };
    await service.drain();
    const { pagesCaptured, pagesLost, vcpuPauses } = bridge.statistics(guest.id);
    must(pagesLost === 0, `${pagesLost} pages were lost`);
    return { ...words!, pages: pagesCaptured, calls: transport.calls - from, pauses: vcpuPauses };
  } finally {
    service.close();
    bridge.close();
  }
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** A row of the table: a value for umbra, and for each variant. */
interface Row {
  readonly name: string;
  readonly unit: string;
  readonly runs: number;
  readonly [variant: string]: string | number;
}

const hundredths = (value: number) => Math.round(100 * value) / 100;
const thousandths = (value: number) => Math.round(1000 * value) / 1000;

async function guestTime(): Promise<string> {
  const samples = new Map<string, Sample[]>(Object.keys(WAYS).map((name) => [name, []]));
  // In turns, so that what the machine does otherwise meets all alike.
  for (let i = 0; i < RUNS; i++) {
    for (const [name, way] of Object.entries(WAYS)) samples.get(name)!.push(await sample(way));
  }
  const of = (name: string, what: keyof Sample) => median(samples.get(name)!.map((each) => each[what]));
  const rows: Row[] = (["ordinary", "exercises"] as const).map((what) => ({
    name: what === "ordinary"
      ? "guest, nothing made executable"
      : "guest, making pages executable all the time",
    unit: "times its time unwatched",
    runs: RUNS,
    ...Object.fromEntries(
      Object.keys(WAYS).map((name) => [name, hundredths(of(name, what) / of("unwatched", what))]),
    ),
  }));
  const both = ["umbra", "one page at a time"] as const;
  const each = (value: (name: string) => number) =>
    Object.fromEntries(both.map((name) => [name, value(name)]));
  rows.push(
    { name: "pages captured", unit: "a run", runs: RUNS, ...each((name) => of(name, "pages")) },
    {
      name: "hypercalls while the guest runs",
      unit: "a page",
      runs: RUNS,
      ...each((name) => thousandths(of(name, "calls") / of(name, "pages"))),
    },
    { name: "the guest was held", unit: "times a run", runs: RUNS, ...each((name) => of(name, "pauses")) },
  );
  rows.push(...await collecting());
  await Deno.writeTextFile("/result/numbers.json", JSON.stringify(rows, null, 2) + "\n");
  return rows.map(({ name, unit, runs: _, ...values }) =>
    `${name} (${unit}): ${Object.entries(values).map(([variant, value]) => `${variant} ${value}`).join(", ")}`
  ).join("; ");
}

/** What waits in a full data centre, taken by batches and page by page. */
async function collecting(): Promise<Row[]> {
  await using guest = await Guest.create("exerciser");
  const transport = new Counting(), bridge = new Bridge(transport);
  try {
    bridge.watch(guest.id, EXERCISER);
    await guest.unpause();
    await until("end of the guest", 100, async () => await lastWords(guest.id) !== undefined);
    const events = bridge.fetch(guest.id, 8192);
    const snapshots = events.map(({ snapshot }) => snapshot).filter((snapshot) => snapshot !== 0);
    const timed = (use: () => void) => {
      const started = performance.now();
      use();
      return performance.now() - started;
    };
    const batch = snapshots.slice(0, bridge.info().copyPages);
    must(batch.length > 100, `only ${batch.length} pages wait`);
    let copied = 0;
    const take = (_: number, bytes: Uint8Array | undefined) => copied += bytes?.length ?? 0;
    const together = [0, 1, 2, 3, 4].map(() => timed(() => bridge.copy(guest.id, batch, take)));
    const single = [0, 1, 2, 3, 4].map(() =>
      timed(() => batch.forEach((snapshot) => bridge.copy(guest.id, [snapshot], take)))
    );
    must(copied === 10 * batch.length * 4096, "pages were missing");
    // The whole way of a page: fetch, copy, hash, store, acknowledge.
    const files = new FolderFiles("/tmp/numbers");
    const again = new Counting(),
      fresh = new Bridge(again),
      whole = new Service({ hypervisor: fresh, files, limits: PAGES_ONLY });
    whole.watch(guest.id, EXERCISER);
    const from = again.calls, started = performance.now();
    const count = await whole.drain();
    const passed = performance.now() - started, calls = again.calls - from;
    whole.close();
    fresh.close();
    files.close();
    const rate = (pages: number, milliseconds: number) => Math.round(1000 * pages / milliseconds);
    return [
      {
        name: `copy of ${batch.length} pages to dom0`,
        unit: "pages a second",
        runs: 5,
        umbra: rate(batch.length, median(together)),
        "one page at a time": rate(batch.length, median(single)),
      },
      {
        name: `${count} waiting events fetched, copied, hashed, stored, acknowledged`,
        unit: "pages a second",
        runs: 1,
        umbra: rate(snapshots.length, passed),
      },
      {
        name: "hypercalls for these",
        unit: "a page",
        runs: 1,
        umbra: thousandths(calls / snapshots.length),
      },
    ];
  } finally {
    bridge.close();
  }
}

/** What it costs. */
export const numbersChecks: readonly Check[] = [{ name: "numbers", limit: 900, run: guestTime }];
