// SPDX-License-Identifier: Apache-2.0
// A guest that is no Windows: the hypervisor with the monitor in it leaves it as it is, watched or not, and what its
// programs run is captured.
import { FolderFiles } from "../../../core/capture/files.ts";
import type { WatchRule } from "../../../core/ports.ts";
import type { Report } from "../../../core/report.ts";
import { Service } from "../../../core/service/service.ts";
import { hex8 } from "../../../core/text.ts";
import { Bridge } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { type Check, must } from "./checks.ts";
import { textPages } from "./elf.ts";
import { PAGES_ONLY } from "./exerciser.ts";
import { follow } from "./follow.ts";
import { Guest, Running, until } from "./guest.ts";

const CONSOLE = "/var/log/xen/guest-linux.log";
const BUSYBOX = "/lab/linux.busybox";
/** A rule that names no process of the guest, and the one that watches all. */
const NONE: WatchRule = { kind: "prefix", pattern: "nobody" };
const ALL: WatchRule = { kind: "all", pattern: "" };
/** Seconds that the guest has for its boot and its work. */
const LIMIT = 240;
const RUNS = 3;
/** End of user space as Windows has it: a Linux guest has user memory above it. */
const TWO_GIB = 0x8000_0000;

/** Processes that live when the guest's work is done, at most. */
const MOST_LEFT = 8;

/** What `guests/linux_program.c` prints, how often it runs, and where it makes code in which ways. */
const PROGRAM_SAYS = "03693e15", PROGRAMS = 8, REWRITES = 8;
const TURNED = 0x9000_0000, REWRITTEN = 0xa000_0000, SHARED = 0xb000_0000;
const PAYLOAD = new TextEncoder().encode("UMBRA-LAB-PAYLOAD");

/** What one run of the guest came to. */
interface Outcome {
  readonly sum: string;
  /** Of its work, by its own clock. */
  readonly seconds: number;
}

/** A line of `events.jsonl`, as far as it is looked at. */
interface Line {
  readonly kind: string;
  readonly process: number;
  readonly addressSpace?: number;
  readonly va: number;
  readonly hop: boolean;
  readonly sha256: string | null;
}

function consoleText(): string {
  try {
    return Deno.readTextFileSync(CONSOLE);
  } catch {
    // It has said nothing yet.
    return "";
  }
}

/** Creates the guest, with nothing of an earlier one on its console. */
async function create(...settings: readonly string[]): Promise<Guest> {
  await Deno.remove(CONSOLE).catch(() => {});
  return await Guest.create("linux", ...settings);
}

/** Lets the guest run to the end of its work, while `service` collects. */
async function work(guest: Guest, service?: Service): Promise<Outcome> {
  const what = "end of the Linux guest's work", done = () => consoleText().includes("linux: done");
  await guest.unpause();
  try {
    await (service ? follow(service, what, LIMIT, done) : until(what, LIMIT, done));
  } catch (error) {
    throw new Error(`${(error as Error).message}; its console ends with: ${consoleText().slice(-1500)}`);
  }
  const said = consoleText();
  const take = (pattern: RegExp) => {
    const found = pattern.exec(said)?.[1];
    must(found !== undefined, `it said nothing like ${pattern}: ${said.slice(-1500)}`);
    return found;
  };
  must(take(/linux: program: (\w+)/) === PROGRAM_SAYS, `its program said ${take(/linux: program: (\w+)/)}`);
  const seconds = Number(take(/ends at ([\d.]+)/)) - Number(take(/starts at ([\d.]+)/));
  return { sum: take(/linux: sum ([0-9a-f]{64})/), seconds: Math.round(seconds * 100) / 100 };
}

async function unwatched(...settings: readonly string[]): Promise<Outcome> {
  await using guest = await create(...settings);
  return await work(guest);
}

/** A run that is watched: what came of it, what the monitor counted, and the folder with what was captured. */
async function watched(rule: WatchRule, folder: string, ...settings: readonly string[]) {
  await using guest = await create(...settings);
  const bridge = new Bridge(new PrivcmdTransport()), files = new FolderFiles(folder);
  const service = new Service({ hypervisor: bridge, files, limits: PAGES_ONLY });
  try {
    service.watch(guest.id, [rule]);
    const outcome = await work(guest, service);
    service.unwatch(guest.id);
    await service.drain();
    const processes = [...service.domains.get(guest.id)!.processes.values()].map(({ identity }) => identity);
    return { outcome, processes, counts: bridge.statistics(guest.id) };
  } finally {
    service.close();
    files.close();
    bridge.close();
  }
}

type Watched = Awaited<ReturnType<typeof watched>>;

const short = (
  { faults, faultsPassed, events, pagesCaptured, vcpuPauses, processesDisplaced }: Watched["counts"],
) =>
  `${faults} faults (${faultsPassed} passed over), ${events} events, ${pagesCaptured} pages captured, ` +
  `${vcpuPauses} pauses, ${processesDisplaced} spaces displaced`;

/** What was captured is what the guest ran, as far as that is known; says what was seen. */
function plausible({ processes, counts }: Watched, folder: string): string {
  const { pagesSeen, pagesCaptured, pagesUnchanged, pagesLost, processesRefused } = counts;
  must(pagesCaptured > 0, "nothing was captured");
  must(
    pagesLost === 0 && processesRefused === 0,
    `${pagesLost} pages and ${processesRefused} processes were lost`,
  );
  must(pagesSeen === pagesCaptured + pagesUnchanged + pagesLost, "seen is not captured, unchanged and lost");
  must(
    processes.length > 0 &&
      processes.every(({ partial, anonymous, pid, cr3 }) => partial && anonymous && !pid && cr3),
    `not all processes are said to be address spaces: ${JSON.stringify(processes.slice(0, 3))}`,
  );
  const lines = Deno.readTextFileSync(`${folder}/events.jsonl`).trim().split("\n").map((line): Line =>
    JSON.parse(line)
  );
  const ran = lines.filter(({ kind, sha256 }) => sha256 !== null && (kind === "S1" || kind === "S2"));
  // Busybox's own code, as it stands in its file.
  const text = textPages(Deno.readFileSync(BUSYBOX)), equal = new Set<number>();
  for (const { va, sha256 } of ran) if (text.get(va) === sha256) equal.add(va);
  must(
    equal.size * 4 > text.size,
    `only ${equal.size} of ${text.size} pages of busybox's code were captured as they are`,
  );
  // What the program made.
  const made = (va: number) =>
    ran.filter((line) => {
      if (line.va !== va) return false;
      const bytes = Deno.readFileSync(`${folder}/pages/${hex8(va)}-${line.sha256}.bin`);
      return PAYLOAD.every((byte, i) => bytes[16 + i] === byte);
    });
  const turned = made(TURNED), rewritten = made(REWRITTEN), shared = made(SHARED);
  must(turned.length === PROGRAMS, `${turned.length} pages were made executable, not ${PROGRAMS}`);
  must(
    rewritten.length === PROGRAMS * REWRITES &&
      rewritten.filter(({ kind }) => kind === "S2").length === PROGRAMS * (REWRITES - 1),
    `${rewritten.length} rewritten pages ran`,
  );
  must(shared.length === PROGRAMS, `${shared.length} pages ran that another process had written`);
  must([...turned, ...shared].every(({ hop }) => hop), "not all fresh code was entered by a hop");
  const high = ran.filter(({ va }) => va >= TWO_GIB).length,
    count = (kind: string) => lines.filter((line) => line.kind === kind).length;
  const ends = count("process-end");
  must(processes.length - ends <= MOST_LEFT, `of ${processes.length} spaces ${ends} ended`);
  return `${processes.length} spaces, ${ends} ended; ${equal.size} of ${text.size} pages of busybox's code as they are in its ` +
    `file; ${turned.length} turned, ${rewritten.length} rewritten and ${shared.length} shared pages of made code; ${high} turns above ` +
    `2 GiB; ${count("layer")} pages of layers, ${count("residue")} of residue`;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function same(): Promise<string> {
  const free: Outcome[] = [], passed: Watched[] = [], seen: Watched[] = [];
  let says = "";
  for (let run = 0; run < RUNS; run++) {
    free.push(await unwatched());
    passed.push(await watched(NONE, `/tmp/linux-none-${run}`));
    const folder = `/tmp/linux-all-${run}`;
    seen.push(await watched(ALL, folder));
    says = plausible(seen[run], folder);
    console.log(
      `linux run ${run}: ${free[run].seconds} s, ${passed[run].outcome.seconds} s, ${
        seen[run].outcome.seconds
      } s: ${short(seen[run].counts)}; ${says}`,
    );
    await Deno.remove(folder, { recursive: true });
    const sums = [free[run], passed[run].outcome, seen[run].outcome].map(({ sum }) => sum);
    must(sums.every((sum) => sum === free[0].sum), `its work came to ${sums}`);
    must(
      passed[run].processes.length === 0 && passed[run].counts.events === 0,
      "a rule that names nothing watched something",
    );
  }
  const rows = {
    unwatched: free.map(({ seconds }) => seconds),
    "no process matches": passed.map(({ outcome }) => outcome.seconds),
    umbra: seen.map(({ outcome }) => outcome.seconds),
  };
  await Deno.writeTextFile(
    "/result/linux.json",
    JSON.stringify({ name: "Linux guest's work", unit: "s", ...rows }, null, 2) + "\n",
  );
  const base = median(rows.unwatched),
    ratio = (values: readonly number[]) => (median(values) / base).toFixed(2);
  return `the same sum ${free[0].sum.slice(0, 12)}… in ${
    RUNS * 3
  } runs; its work took ${base} s unwatched, ` +
    `${ratio(rows["no process matches"])} times that when no process matches, ${
      ratio(rows.umbra)
    } times that when all are ` +
    `watched (${short(seen[0].counts)}); ${says}`;
}

/** Processes that run, and end, on two processors at once. */
async function twoProcessors(): Promise<string> {
  const folder = "/tmp/linux-two", free = await unwatched("vcpus=2");
  const seen = await watched(ALL, folder, "vcpus=2");
  must(free.sum === seen.outcome.sum, `its work came to ${free.sum} unwatched, ${seen.outcome.sum} watched`);
  const says = plausible(seen, folder);
  await Deno.remove(folder, { recursive: true });
  return `the same sum; ${free.seconds} s unwatched, ${seen.outcome.seconds} s watched (${
    short(seen.counts)
  }); ${says}`;
}

/** `umbra watch`, begun while the guest's program runs again and again, until it is interrupted. */
async function watchCommand(): Promise<string> {
  const out = "/result/linux-watch";
  const words = /^extra="(.*)"$/m.exec(Deno.readTextFileSync("/lab/linux.cfg"))![1];
  await using guest = await create(`extra="${words} again=yes"`);
  await guest.unpause();
  await until("end of the guest's first work", LIMIT, () => consoleText().includes("linux: done"));
  const umbra = new Running(
    "umbra",
    ...["watch", String(guest.id), "--rule", "all", "--out", out, "--rules", "/lab/payload.yar"],
  );
  await umbra.hear("watching domain", LIMIT);
  await until("page that the guest's program made", LIMIT, () => {
    try {
      return Deno.readTextFileSync(`${out}/events.jsonl`).includes(`"va":${SHARED},`);
    } catch {
      return false;
    }
  });
  umbra.kill("SIGINT");
  const { code, out: said, err } = await umbra.ended();
  must(code === 1, `umbra ended with ${code}: ${said} ${err}`);
  must(
    /^processes +address space [0-9a-f]{8} \(CR3; its name is not known\)/m.test(said),
    `it says ${said}`,
  );
  const report: Report = JSON.parse(Deno.readTextFileSync(`${out}/report.json`));
  const { verdict, pages, processes, findings } = report;
  must(
    verdict === "malicious" && pages.lost === 0,
    `the verdict is ${verdict}, ${pages.lost} pages were lost`,
  );
  return `malicious, exit code 1; ${processes.length} address spaces, ${pages.stored} pages stored of ` +
    `${pages.seen} seen, ${findings.length} findings`;
}

/** Linux comes to the same. */
export const linuxChecks: readonly Check[] = [
  { name: "Linux guest, unwatched and watched", limit: 800, run: same },
  { name: "Linux guest of two vCPUs", limit: 500, run: twoProcessors },
  { name: "umbra watch over a Linux guest", limit: 400, run: watchCommand },
];
