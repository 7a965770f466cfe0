// SPDX-License-Identifier: Apache-2.0
/**
 * The time line of layers: when each layer of each process ran, what happened in it, which functions were called.
 *
 * @module
 */
import { html, raw } from "hono/html";
import type { TracedCall } from "../ports.ts";
import { hex8, processWords } from "../text.ts";
import type { ProcessMap } from "./collect.ts";
import { type Html, number } from "./parts.ts";

const WIDTH = 1100, LANE = 64, TOP = 8;
const BAR = 26;
/** Least pixels of a layer, so that a short one can be seen. */
const LEAST = 34;
/** Most marks drawn of one process. */
const MOST_MARKS = 3000;

interface Span {
  readonly process: ProcessMap;
  readonly layer: number;
  readonly from: number;
  readonly to: number;
}

/** When each layer of a process ran, by its events and calls. */
function spans(process: ProcessMap, calls: readonly TracedCall[], end: number): Span[] {
  const starts = new Map<number, number>();
  for (const { layer, tsc } of process.moments) if (!starts.has(layer)) starts.set(layer, tsc);
  const ordered = [...starts].sort(([a], [b]) => a - b);
  const own = calls.filter(({ pid }) => pid === process.pid);
  const last = Math.max(end, process.moments.at(-1)?.tsc ?? 0, own.at(-1)?.tsc ?? 0);
  return ordered.map(([layer, from], index) => ({
    process,
    layer,
    from,
    // What is captured at the very end is a layer that takes no time.
    to: Math.max(from + 1, ordered[index + 1]?.[1] ?? last),
  }));
}

/**
 * Maps time to pixels so that what is short stays visible: between two beginnings of layers (of any process) the
 * scale is even, and each such piece is as wide as the logarithm of its duration.
 */
export function timeScale(edges: readonly number[], width: number): (tsc: number) => number {
  const sorted = [...new Set(edges)].sort((a, b) => a - b);
  if (sorted.length < 2) return () => 0;
  const pieces = sorted.slice(1).map((to, index) => Math.log2(2 + to - sorted[index]));
  const spare = Math.max(0, width - LEAST * pieces.length);
  const total = pieces.reduce((sum, piece) => sum + piece, 0);
  const widths = pieces.map((piece) => Math.min(LEAST, width / pieces.length) + spare * piece / total);
  const places = widths.reduce((all, piece) => [...all, all[all.length - 1] + piece], [0]);
  return (tsc) => {
    let index = sorted.findLastIndex((edge) => edge <= tsc);
    index = Math.max(0, Math.min(index, pieces.length - 1));
    const part = (tsc - sorted[index]) / (sorted[index + 1] - sorted[index]);
    return places[index] + Math.max(0, Math.min(1, part)) * widths[index];
  };
}

function marks(process: ProcessMap, y: number, at: (tsc: number) => number): string {
  const drawn = new Set<string>();
  for (const { tsc, kind, va, hop } of process.moments) {
    if (va === 0 || drawn.size >= MOST_MARKS) continue;
    const x = at(tsc).toFixed(1);
    const name = hop
      ? "hop"
      : kind === "S2" || kind === "coalesced"
      ? "fresh"
      : kind === "S1"
      ? "run"
      : "written";
    drawn.add(`<path class="t-${name}" d="M${x} ${y}v${hop ? BAR + 6 : 8}"/>`);
  }
  return [...drawn].join("");
}

function callMarks(calls: readonly TracedCall[], y: number, at: (tsc: number) => number): string {
  const drawn = new Set<string>();
  for (const { tsc, from } of calls) {
    if (drawn.size >= MOST_MARKS) break;
    const x = at(tsc).toFixed(1);
    drawn.add(
      from === 0
        ? `<path class="t-exception" d="M${x} ${y + 4}l4 8h-8z"/>`
        : `<path class="t-call" d="M${x} ${y + 6}v6"/>`,
    );
  }
  return [...drawn].join("");
}

function bar({ process, layer, from, to }: Span, y: number, at: (tsc: number) => number): string {
  const x = at(from), width = Math.max(2, at(to) - x - 2);
  const hop = process.moments.find((moment) => moment.layer === layer && moment.hop);
  const title = `layer ${layer} of ${processWords(process)}: ${number.format(from)} to ${number.format(to)}${
    hop ? `, begins in page ${hex8(hop.va)}` : ""
  }`;
  const label = width > 14 ? `<text x="${(x + width / 2).toFixed(1)}" y="${y + 17}">${layer}</text>` : "";
  return `<g class="bar"><title>${title}</title><rect class="b${layer === 0 ? " first" : ""}" x="${
    x.toFixed(1)
  }" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3"/>${label}</g>`;
}

/** Draws the time line; `end` is the guest's time at the end of the run, or 0. */
export function timeline(processes: readonly ProcessMap[], calls: readonly TracedCall[], end: number): Html {
  const all = processes.map((process) => spans(process, calls, end));
  const edges = all.flat().flatMap(({ from, to }) => [from, to]);
  if (edges.length === 0) return html`<p class="quiet">Nothing happened.</p>`;
  const at = timeScale(edges, WIDTH);
  const lanes = processes.map((process, index) => {
    const y = TOP + index * LANE + 12;
    const own = calls.filter(({ pid }) => pid === process.pid);
    return `<text class="row" x="0" y="${y - 3}">${processWords(process)}</text>${
      all[index].map((span) => bar(span, y, at)).join("")
    }${marks(process, y, at)}${callMarks(own, y + BAR, at)}`;
  });
  const height = TOP + processes.length * LANE + 4;
  return html`
    <div class="wide">
      <svg class="time" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
      <title>Layers over time</title>${raw(lanes.join(""))}
      </svg>
    </div>
    <ul class="legend">
      <li><i class="s-hop"></i>jump into fresh code</li>
      <li><i class="s-fresh"></i>page turned from written to run</li>
      <li><i class="s-run"></i>page run</li>
      <li><i class="s-written"></i>page captured with the layer</li>
      <li><i class="s-call"></i>API call</li>
      <li><i class="s-exception"></i>exception</li>
      <li class="quiet">Time is the guest's; short layers are drawn wider than they were.</li>
    </ul>
  `;
}
