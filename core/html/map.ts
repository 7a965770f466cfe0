// SPDX-License-Identifier: Apache-2.0
/**
 * The map of pages: addresses across, layers down, one picture a process.
 *
 * @module
 */
import { html, raw } from "hono/html";
import { hex8, processWords } from "../text.ts";
import type { Allocation, MapCell, ProcessMap } from "./collect.ts";
import { type Html, shown } from "./parts.ts";
import { stateOf, STATES } from "./states.ts";

const PAGE = 0x1000;
const ROW = 24;
const LEFT = 64, TOP = 58;
/** Space between runs of addresses, and between allocations. */
const GAP = 5, BREAK = 22;
/** Most columns drawn of one process. */
const MOST_COLUMNS = 3000;

interface Column {
  readonly va: number;
  readonly x: number;
}
interface Group {
  readonly base: number;
  readonly size: number;
  readonly columns: number[];
}

/** Addresses by the allocation they lie in, in order; those of none stand alone. */
function groups(addresses: readonly number[], allocations: readonly Allocation[]): Group[] {
  const found = new Map<number, Group>();
  for (const va of addresses) {
    const home = allocations.find(({ base, size }) => va >= base && va < base + size);
    const base = home?.base ?? va;
    const group = found.get(base) ?? { base, size: home?.size ?? PAGE, columns: [] };
    group.columns.push(va);
    found.set(base, group);
  }
  return [...found.values()].sort((a, b) => a.base - b.base);
}

function describe(process: ProcessMap, cell: MapCell): string {
  const words = STATES.find(({ name }) => name === stateOf(process, cell))!.words;
  const kinds = [...cell.kinds].map(([kind, count]) => `${kind} × ${count}`).join(", ");
  const turns = cell.turns > 1 ? `, ${cell.turns} turns` : "";
  return `${hex8(cell.va)}, layer ${cell.layer}: ${words}\n${kinds}${turns}${
    cell.sha256 ? `\nSHA-256 ${cell.sha256}` : ""
  }`;
}

/** One cell as SVG; everything in it is numbers, hashes and words of our own. */
function drawCell(process: ProcessMap, cell: MapCell, x: number, y: number, width: number): string {
  const box = `<rect class="s-${stateOf(process, cell)}" x="${x}" y="${y}" width="${width - 1}" height="${
    ROW - 4
  }" rx="2"><title>${describe(process, cell)}</title></rect>`;
  return cell.sha256 ? `<a href="pages/${hex8(cell.va)}-${cell.sha256}.bin">${box}</a>` : box;
}

/** Draws the allocations of one process that `want` asks for; undefined when there are none. */
function draw(process: ProcessMap, want: (group: Group) => boolean): Html | undefined {
  const all = [...new Set([...process.cells.values()].map(({ va }) => va))].sort((a, b) => a - b);
  const wanted = groups(all, [...process.allocations.values()]).filter(want);
  const total = wanted.reduce((sum, { columns }) => sum + columns.length, 0);
  if (total === 0) return undefined;
  const width = Math.max(6, Math.min(26, Math.floor(900 / total)));
  const columns = new Map<number, Column>();
  const labels: string[] = [];
  let x = LEFT;
  for (const [index, group] of wanted.entries()) {
    if (index > 0) x += BREAK;
    const start = x;
    for (const [n, va] of group.columns.entries()) {
      if (columns.size >= MOST_COLUMNS) break;
      if (n > 0 && va !== group.columns[n - 1] + PAGE) x += GAP;
      columns.set(va, { va, x });
      x += width;
    }
    const size = `${Math.ceil(group.size / 1024)} KiB`;
    labels.push(
      `<g class="label"><title>${hex8(group.base)}, ${size}</title><path d="M${start} ${TOP - 6}H${
        x - 1
      }"/><text transform="translate(${start + 4} ${TOP - 12}) rotate(-24)">${hex8(group.base)}</text></g>`,
    );
  }
  const layers = [...new Set([...process.cells.values()].map(({ layer }) => layer))].sort((a, b) => a - b);
  const rows = new Map(layers.map((layer, index) => [layer, TOP + index * ROW]));
  const lines = layers.map((layer) =>
    `<text class="row" x="0" y="${
      rows.get(layer)! + 15
    }">layer ${layer}</text><path class="rule" d="M${LEFT} ${rows.get(layer)! + ROW - 3}H${x}"/>`
  );
  const cells = [...process.cells.values()].flatMap((cell) => {
    const column = columns.get(cell.va);
    return column ? [drawCell(process, cell, column.x, rows.get(cell.layer)!, width)] : [];
  });
  const height = TOP + layers.length * ROW + 6, breadth = x + 70;
  const rest = total - columns.size;
  return html`
    <div class="wide">
      <svg class="map" width="${breadth}" height="${height}" viewBox="0 0 ${breadth} ${height}" role="img">
        <title>Pages of ${processWords(process)} by address and layer</title>
        ${raw(lines.join(""))}${raw(labels.join(""))}${raw(cells.join(""))}
      </svg>
    </div>
    ${rest > 0 ? html`<p class="quiet">${rest} more pages are not drawn.</p>` : ""}
  `;
}

function title(process: ProcessMap): string {
  const words = processWords(process);
  return words[0].toUpperCase() + words.slice(1);
}

/** The maps of all processes: first where something was written, then, folded, where code only ran. */
export function pageMaps(processes: readonly ProcessMap[]): Html {
  const drawn = processes.map((process) => {
    const isWritten = ({ columns }: Group) => columns.some((va) => process.written.has(va));
    const written = draw(process, isWritten);
    const others = draw(process, (group) => !isWritten(group));
    return html`
      <h3>${title(process)} ${shown(process.name, 40)}</h3>
      ${written ?? html`<p class="quiet">Nothing it wrote was captured.</p>`}
      ${others
        ? html`<details><summary>Where code only ran (the program as it was loaded, DLLs)</summary>${others}</details>`
        : ""}
    `;
  });
  const legend = STATES.map(({ name, words }) => html`<li><i class="s-${name}"></i>${words}</li>`);
  return html`<ul class="legend">${legend}</ul>${drawn}`;
}
