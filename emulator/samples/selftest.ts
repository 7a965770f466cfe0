// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the self-test: each sample of the suite is scanned as a file and emulated, and what was seen is compared
 * with what must be seen.
 *
 * @module
 */
import { asset } from "../../core/assets.ts";
import type { EventKind } from "../../core/ports.ts";
import type { Program, SelftestRow, SelftestTools } from "../../core/cli/wiring.ts";
import { MARKER } from "./marker.ts";
import { type Expectation, suite, type SuiteSample } from "./suite.ts";

/** The fields of a line of `events.jsonl` that are looked at. */
interface SeenEvent {
  readonly kind: EventKind;
  readonly process: number;
  readonly pid: number;
  readonly layer: number;
  readonly sha256: string | null;
}

/** What was seen of one sample. */
interface Observation {
  readonly staticVerdict: string;
  readonly verdict: string;
  readonly end: string;
  readonly endDetail: string;
  readonly processes: readonly { readonly pid: number; readonly name: string }[];
  readonly events: readonly SeenEvent[];
  /** Hashes of the captured pages that hold the marker. */
  readonly marked: ReadonlySet<string>;
  /** For each piece of what the sample hides: hashes of the captured pages that hold it, byte for byte. */
  readonly payloads: readonly ReadonlySet<string>[];
  /** Pieces of it that stand in a file in the clear. */
  readonly inTheClear: number;
  /** Pages captured and pages lost. */
  readonly pages: { readonly stored: number; readonly lost: number };
}

/** A program out of an artefact's name. */
function program(file: string): Program {
  return { name: file.split("/").at(-1)!, bytes: asset(file) };
}

/** What a sample hides, piece by piece. */
function payloadsOf(sample: SuiteSample): Uint8Array[] {
  const text = new TextDecoder().decode(asset(sample.file.replace(/\.exe$/, ".json")));
  return (JSON.parse(text) as { payloads: string[] }).payloads.map((hex) => Uint8Array.fromHex(hex));
}

function holds(bytes: Uint8Array, needle: Uint8Array): boolean {
  for (let at = bytes.indexOf(needle[0]); at >= 0; at = bytes.indexOf(needle[0], at + 1)) {
    if (needle.every((byte, index) => bytes[at + index] === byte)) return true;
  }
  return false;
}

async function observe(sample: SuiteSample, tools: SelftestTools): Promise<Observation> {
  const own = program(sample.file);
  const staticVerdicts = [await tools.scan(own.bytes)];
  for (const file of sample.company) staticVerdicts.push(await tools.scan(asset(file)));
  const { report, files } = await tools.emulate(own, sample.company.map(program));
  const marked = new Set<string>();
  const marker = new TextEncoder().encode(MARKER);
  const hidden = payloadsOf(sample);
  const payloads = hidden.map(() => new Set<string>());
  for (const [path, bytes] of files.files) {
    const name = /^pages\/[0-9a-f]{8}-([0-9a-f]{64})\.bin$/.exec(path);
    if (!name) continue;
    if (holds(bytes, marker)) marked.add(name[1]);
    hidden.forEach((payload, index) => holds(bytes, payload) && payloads[index].add(name[1]));
  }
  return {
    staticVerdict: staticVerdicts.find((verdict) => verdict !== "clean") ?? "clean",
    verdict: report.verdict,
    end: report.end.reason,
    endDetail: report.end.detail,
    processes: report.processes,
    events: files.lines.map((line) => JSON.parse(line) as SeenEvent),
    marked,
    payloads,
    inTheClear: hidden.filter((payload) => holds(own.bytes, payload)).length,
    pages: report.pages,
  };
}

/** What was not as expected, in words; empty when all was. */
export function compare(expected: Expectation, seen: Observation): string[] {
  const wrong: string[] = [];
  const want = (what: string, wanted: string, found: string) => {
    if (wanted !== found) wrong.push(`${what}: ${found || "none"} instead of ${wanted || "none"}`);
  };
  want("static scan", "clean", seen.staticVerdict);
  const end = expected.end === "exited" ? "exited (exit code 0)" : expected.end;
  const wholly = seen.end === expected.end && expected.end !== "exited";
  want("end", end, wholly ? seen.end : `${seen.end} (${seen.endDetail})`);
  want("emulation", expected.verdict, seen.verdict);
  want("processes", expected.processes.join(", "), seen.processes.map(({ name }) => name).join(", "));
  want("lost pages", "0", String(seen.pages.lost));
  const kinds = new Set(seen.events.map(({ kind }) => kind));
  const absent = expected.kinds.filter((kind) => !kinds.has(kind));
  if (absent.length > 0) wrong.push(`no ${absent.join(" and no ")} event was seen`);
  want("layers", String(expected.layers), String(layersRun(seen)));

  // The sample is the process that was seen first, the child the other one.
  const [sample, child] = seen.processes.map(({ pid }) => pid);
  const home = expected.marker?.process === "child" ? child : sample;
  const hits = seen.events.filter(({ sha256 }) => sha256 !== null && seen.marked.has(sha256));
  const stray = hits.filter(({ pid }) => pid !== home);
  if (stray.length > 0) wrong.push(`the marker was captured in process ${stray[0].pid}, not only in ${home}`);
  const markedLayers = [...new Set(hits.map(({ layer }) => layer))].sort((a, b) => a - b);
  want("layers with the marker", (expected.marker?.layers ?? []).join(", "), markedLayers.join(", "));

  const wanted = new Set(expected.marker?.layers);
  const caught = seen.payloads.filter((hashes) =>
    seen.events.some(({ sha256, pid, layer }) =>
      sha256 !== null && pid === home && wanted.has(layer) && hashes.has(sha256)
    )
  );
  want("whole payloads captured", String(seen.payloads.length), String(caught.length));
  want("payloads in the file in the clear", "0", String(seen.inTheClear));
  return wrong;
}

/** Number of layers that pages were captured of because they ran or were written with what ran. */
function layersRun({ events }: Observation): number {
  const left = ["residue", "context"];
  const captured = events.filter(({ kind, sha256 }) => sha256 !== null && !left.includes(kind));
  return new Set(captured.map(({ layer }) => layer)).size;
}

/** One line on what was seen of a sample. */
function say(sample: SuiteSample, seen: Observation): string {
  const layers = layersRun(seen);
  const counts = `${seen.pages.stored} pages, ${layers} ${layers === 1 ? "layer" : "layers"}`;
  return `static ${seen.staticVerdict}, emulated ${seen.verdict.padEnd(9)} ${
    counts.padEnd(20)
  } ${sample.shows}`;
}

/** Runs the samples one after the other; yields a row as soon as one is done. */
export async function* selftest(tools: SelftestTools): AsyncIterable<SelftestRow> {
  for (const sample of suite) {
    const seen = await observe(sample, tools);
    const wrong = compare(sample.expected, seen);
    const detail = wrong.length === 0 ? say(sample, seen) : wrong.join("; ");
    yield { name: sample.name, ok: wrong.length === 0, detail };
  }
}

/** Milliseconds between two programs of {@link demonstration}. */
const PACE = 5000;

/** The samples as programs for a service that shows itself: one after the other, again and again, without haste. */
export async function* demonstration(stop: AbortSignal): AsyncIterable<Program> {
  const alone = suite.filter(({ company }) => company.length === 0);
  for (let turn = 0; !stop.aborted; turn++) {
    yield program(alone[turn % alone.length].file);
    await pause(stop);
  }
}

/** Waits for {@link PACE}, or until it is stopped. */
function pause(stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stop.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, PACE);
    stop.addEventListener("abort", done);
    if (stop.aborted) done();
  });
}
