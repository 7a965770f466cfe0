// SPDX-License-Identifier: Apache-2.0
// `umbra watch` as a user runs it, over a guest that unpacks.
import { type Check, must } from "./checks.ts";
import { Guest, Running, until, xl } from "./guest.ts";

/** Text that the guest's program has nowhere but in what it unpacks. */
const PAYLOAD = "UMBRA-LAB-PAYLOAD: only what is unpacked has this";
const OUT = "/result/watch";

interface Report {
  readonly end: { readonly reason: string; readonly detail: string };
  readonly processes: readonly { readonly pid: number; readonly name: string; readonly verdict: string }[];
  readonly pages: { readonly seen: number; readonly stored: number; readonly lost: number };
  readonly layers: readonly unknown[];
  readonly findings: readonly { readonly status: string; readonly threat?: string }[];
  readonly verdict: string;
}

function holds(folder: string, text: string): number {
  const wanted = new TextEncoder().encode(text);
  let found = 0;
  for (const { name } of Deno.readDirSync(folder)) {
    const bytes = Deno.readFileSync(`${folder}/${name}`);
    for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
      if (wanted.every((byte, i) => bytes[at + i] === byte)) {
        found++;
        break;
      }
    }
  }
  return found;
}

async function watchUnpacker(): Promise<string> {
  await using guest = await Guest.create("unpacker");
  const started = performance.now();
  const umbra = new Running(
    "umbra",
    ...["watch", String(guest.id), "--rule", "virus", "--out", OUT, "--json", "--rules", "/lab/payload.yar"],
  );
  await umbra.hear("watching domain", 200);
  const began = performance.now();
  await guest.unpause();
  // The program's end is the last thing that happens; then the watch is interrupted as a user would.
  await until("end of the guest's program", 60, () => {
    try {
      return Deno.readTextFileSync(`${OUT}/events.jsonl`).includes('"process-end"');
    } catch {
      return false;
    }
  });
  const seen = performance.now();
  umbra.kill("SIGINT");
  const { code, out, err } = await umbra.ended();
  must(code === 1, `umbra ended with ${code}: ${err}`);
  const report = JSON.parse(out) as Report;
  must(report.verdict === "malicious", `the verdict is ${report.verdict}`);
  must(
    report.processes.some(({ pid, name, verdict }) =>
      pid === 77 && name === "virus.exe" && verdict === "malicious"
    ),
    `the processes are ${JSON.stringify(report.processes)}`,
  );
  must(report.pages.lost === 0, `${report.pages.lost} pages were lost`);
  const files = holds(`${OUT}/pages`, PAYLOAD);
  must(files > 0, "no captured page holds the payload's text");
  must(holds(`${OUT}/regions`, PAYLOAD) > 0, "no region holds the payload's text");
  await Deno.writeTextFile("/result/xl-list.txt", await xl("list"));
  const seconds = (from: number, to: number) => `${((to - from) / 1000).toFixed(1)} s`;
  return `malicious, exit code 1; ${report.pages.stored} pages of ${report.pages.seen} seen, ` +
    `${report.layers.length} layers, the payload in ${files} of them; umbra watched after ` +
    `${seconds(started, began)}, saw the end after ${seconds(began, seen)} more, reported after ` +
    `${seconds(seen, performance.now())} more`;
}

/** A user's watch. */
export const watchChecks: readonly Check[] = [{ name: "umbra watch", limit: 400, run: watchUnpacker }];
