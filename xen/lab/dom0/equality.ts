// SPDX-License-Identifier: Apache-2.0
// The Windows-shaped guest under `umbra watch`: the same stream of events as recorded, which is the test bed's too.
import { firstDifference, streamIn, WATCH_OPTIONS } from "../stream.ts";
import { type Check, must } from "./checks.ts";
import { Guest, Running, until, xl } from "./guest.ts";

/** The recorded stream; what the watch leaves, and what of it goes out of dom0. */
const RECORDED = "/lab/processes.jsonl", OUT = "/tmp/equality", RESULT = "/result/equality";

function holdsShutdown(list: string): boolean {
  // Name, number, memory, vCPUs, state (r b p s c d), seconds.
  return /^\S+ +\d+ +\d+ +\d+ +\S*s\S* /m.test(list.split("\n").slice(1).join("\n"));
}

async function watchProcesses(): Promise<string> {
  await using guest = await Guest.create("processes");
  const umbra = new Running("umbra", "watch", String(guest.id), ...WATCH_OPTIONS, "--out", OUT);
  await umbra.hear("watching domain", 200);
  await guest.unpause();
  const began = performance.now();
  await until("end of the guest", 120, async () => holdsShutdown(await xl("list", String(guest.id))));
  const ran = performance.now() - began;
  umbra.kill("SIGINT");
  const { code, err } = await umbra.ended();
  // Nothing is scanned, and an interrupted watch is not whole.
  must(code === 3, `umbra ended with ${code}: ${err}`);
  await Deno.mkdir(RESULT, { recursive: true });
  for (const name of ["events.jsonl", "report.json"]) {
    await Deno.copyFile(`${OUT}/${name}`, `${RESULT}/${name}`);
  }
  const stream = await streamIn(OUT);
  const recorded = (await Deno.readTextFile(RECORDED)).trim().split("\n");
  const difference = firstDifference(recorded, stream, ["recorded", "this run"]);
  must(difference === undefined, difference ?? "");
  return `${stream.length} lines, all as recorded; the guest ran ${(ran / 1000).toFixed(1)} s`;
}

/** The equality of streams. */
export const equalityChecks: readonly Check[] = [{ name: "equality", limit: 400, run: watchProcesses }];
