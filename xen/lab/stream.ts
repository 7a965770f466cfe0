// SPDX-License-Identifier: Apache-2.0
/**
 * Streams of events of the same guest in two worlds: brought to what both must say alike, and compared.
 *
 * Left out is what must differ: sequence within the world's log, domain number, snapshot number, time stamp, and
 * of entries the machine frames and the bits that are Xen's own (their rights are compared). Guest frames are
 * compared: the guest decides over them.
 *
 * `deno run -A xen/lab/stream.ts FOLDER` prints the stream of a watch's files, `deno run -A xen/lab/stream.ts FOLDER
 * RECORDED` compares it with a recorded one. `streams/processes.jsonl` was recorded by
 * `deno task lab equality; deno run -A xen/lab/stream.ts build/xen/equality.result/equality > xen/lab/streams/processes.jsonl`.
 *
 * @module
 */

/** The memory of the guest that both worlds run, in MiB. */
export const GUEST_MEMORY = 32;

/** Options of `umbra watch` with which both watch it: nothing in them depends on time. */
export const WATCH_OPTIONS: readonly string[] = [
  ...["--rule", "virus", "--no-scan"],
  ...["--coalesce-window", String(2n ** 62n)],
];

/** What is kept of one event: only what is not zero or empty. */
export type StreamEvent = Readonly<Record<string, string | number>>;

/** What of a process both worlds must say alike. */
interface Name {
  readonly pid: number;
  readonly name: string;
  readonly path: string;
}

/** Hexadecimal digits of a page's hash that are kept. */
const HASH_DIGITS = 16;
const PRESENT = 1n, WRITE = 2n, USER = 4n, NX = 1n << 63n;

function rights(entry: string): string {
  const value = BigInt(entry);
  if (!(value & PRESENT)) return "-";
  return `r${value & WRITE ? "w" : ""}${value & NX ? "" : "x"}${value & USER ? "u" : ""}`;
}

/** One event of `events.jsonl`. */
function normalised(line: string): StreamEvent {
  const event = JSON.parse(line) as Record<string, string | number | boolean | null>;
  const number = (key: string) => Number(event[key] ?? 0), hex = (key: string) => number(key).toString(16);
  const pair = (one: string, other: string) => one === other && /^[0-]$/.test(one) ? "" : `${one} ${other}`;
  const all: StreamEvent = {
    kind: String(event.kind),
    pid: number("pid"),
    tid: number("tid"),
    process: number("process"),
    va: hex("va"),
    gfn: hex("gfn"),
    content: event.content === "none" ? "" : String(event.content),
    page: String(event.sha256 ?? "").slice(0, HASH_DIGITS),
    layer: number("layer"),
    hop: event.hop === true ? `${hex("hopFrom")} ${hex("hopTo")}` : "",
    turns: number("turns") === 1 ? 0 : number("turns"),
    allocation: pair(hex("allocationBase"), hex("allocationSize")),
    code: pair(hex("eip"), hex("esp")),
    error: number("errorCode"),
    guest: rights(String(event.guestEntry)).replace(/^-$/, ""),
    shadow: pair(rights(String(event.oldShadowEntry)), rights(String(event.newShadowEntry))),
    vcpu: number("vcpu"),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value && value !== "0"));
}

/**
 * The stream of a run, a line of JSON for each event and, before them, one for each process in the report.
 *
 * @param events text of `events.jsonl`
 * @param report text of `report.json`
 */
export function streamOf(events: string, report: string): string[] {
  const { processes } = JSON.parse(report) as { processes: readonly Name[] };
  return [
    ...processes.map(({ pid, name, path }) => JSON.stringify({ pid, name, path })),
    ...events.trim().split("\n").map((line) => JSON.stringify(normalised(line))),
  ];
}

/** The stream of a run whose files are in `folder`. */
export async function streamIn(folder: string): Promise<string[]> {
  return streamOf(
    await Deno.readTextFile(`${folder}/events.jsonl`),
    await Deno.readTextFile(`${folder}/report.json`),
  );
}

/** How many lines are shown before a difference, and behind it. */
const BEFORE = 3, BEHIND = 3;

/**
 * The first difference of two streams with what is around it on both sides, in words; undefined when they are
 * equal. `names` says which is which.
 */
export function firstDifference(
  one: readonly string[],
  other: readonly string[],
  names: readonly [string, string],
): string | undefined {
  const at = Array.from({ length: Math.max(one.length, other.length) }).findIndex((_, i) =>
    one[i] !== other[i]
  );
  if (at < 0) return undefined;
  const part = (lines: readonly string[], name: string) => [
    `${name} (${lines.length} lines):`,
    ...lines.slice(Math.max(at - BEFORE, 0), at).map((line) => `    ${line}`),
    `  > ${lines[at] ?? "(its end)"}`,
    ...lines.slice(at + 1, at + 1 + BEHIND).map((line) => `    ${line}`),
  ];
  return [
    `The streams differ at line ${at + 1}${differing(one[at], other[at])}:`,
    ...part(one, names[0]),
    ...part(other, names[1]),
  ].join("\n");
}

/** Which fields of two lines differ. */
function differing(one: string | undefined, other: string | undefined): string {
  if (one === undefined || other === undefined) return "";
  const [a, b] = [one, other].map((line) => JSON.parse(line) as StreamEvent);
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((key) => a[key] !== b[key]);
  return ` in ${keys.map((key) => `${key} (${a[key] ?? "none"}, ${b[key] ?? "none"})`).join(", ")}`;
}

if (import.meta.main) {
  const [folder, recorded, ...rest] = Deno.args;
  if (!folder || rest.length) {
    console.error("Usage: stream.ts FOLDER [RECORDED]");
    Deno.exit(2);
  }
  const stream = await streamIn(folder);
  if (!recorded) console.log(stream.join("\n"));
  else {
    const lines = (await Deno.readTextFile(recorded)).trim().split("\n");
    const difference = firstDifference(lines, stream, [recorded, folder]);
    console.log(difference ?? `${stream.length} lines, all equal`);
    Deno.exit(difference ? 1 : 0);
  }
}
