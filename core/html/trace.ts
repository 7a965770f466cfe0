// SPDX-License-Identifier: Apache-2.0
/**
 * The trace of API calls as a table: equal calls in a row are one row.
 *
 * @module
 */
import { html } from "hono/html";
import type { TracedCall } from "../ports.ts";
import { hex8 } from "../text.ts";
import type { ProcessMap } from "./collect.ts";
import { type Html, number, shown } from "./parts.ts";

/** Most rows drawn. */
const MOST_ROWS = 3000;

/** Names of exceptions ([MS-ERREF] 2.3.1, without their STATUS_). */
const EXCEPTIONS: Readonly<Record<number, string>> = {
  0x40010006: "DBG_PRINTEXCEPTION_C",
  0x80000001: "guard page",
  0x80000002: "datatype misalignment",
  0x80000003: "breakpoint",
  0x80000004: "single step",
  0xc0000005: "access violation",
  0xc0000006: "in-page error",
  0xc0000008: "invalid handle",
  0xc000001d: "illegal instruction",
  0xc0000025: "noncontinuable exception",
  0xc000008c: "array bounds exceeded",
  0xc0000094: "integer divide by zero",
  0xc0000095: "integer overflow",
  0xc0000096: "privileged instruction",
  0xc00000fd: "stack overflow",
  0xe06d7363: "C++ exception",
};

/** Calls that follow each other from one place to one function, with what the first was given. */
interface Row {
  readonly call: TracedCall;
  count: number;
}

/** Joins calls in a row that only differ in time and in results. */
export function foldCalls(calls: readonly TracedCall[]): Row[] {
  const rows: Row[] = [];
  for (const call of calls) {
    const last = rows[rows.length - 1];
    const same = last && last.call.from === call.from && last.call.name === call.name &&
      last.call.dll === call.dll && last.call.tid === call.tid &&
      last.call.args.length === call.args.length &&
      last.call.args.every(({ value, text }, i) =>
        value === call.args[i].value && text === call.args[i].text
      );
    if (same) last.count++;
    else rows.push({ call, count: 1 });
  }
  return rows;
}

/** The layer a process was in at a time. */
function layerAt(process: ProcessMap | undefined, tsc: number): number {
  let layer = 0;
  for (const moment of process?.moments ?? []) {
    if (moment.tsc > tsc) break;
    layer = Math.max(layer, moment.layer);
  }
  return layer;
}

function small(value: number): string {
  return value < 10 ? String(value) : `0x${value.toString(16)}`;
}

function argumentList({ args }: TracedCall): Html {
  return html`${
    args.map(({ value, text }, index) => {
      const comma = index > 0 ? ", " : "";
      return text === undefined
        ? html`${comma}${small(value)}`
        : html`${comma}<span class="text" title="${small(value)}">"${shown(text, 100)}"</span>`;
    })
  }`;
}

function row({ call, count }: Row, layer: number): Html {
  const times = count > 1
    ? html`
      <span class="quiet">× ${count}</span>
    `
    : "";
  if (call.from === 0) {
    const [code, address] = call.args.map(({ value }) => value);
    const name = EXCEPTIONS[code] ?? "exception";
    return html`
      <tr class="exception">
        <td class="n">${number.format(call.instructions)}</td>
        <td class="n">${call.pid}.${call.tid}</td>
        <td class="n">${layer}</td>
        <td class="code">${hex8(address ?? 0)}</td>
        <td class="code">${name} <span class="quiet">0x${hex8(code ?? 0)}</span>${times}</td>
        <td></td>
      </tr>
    `;
  }
  return html`
    <tr>
      <td class="n">${number.format(call.instructions)}</td>
      <td class="n">${call.pid}.${call.tid}</td>
      <td class="n">${layer}</td>
      <td class="code">${hex8(call.from)}</td>
      <td class="code"><span class="quiet">${shown(call.dll.replace(/\.dll$/i, ""), 40)}!</span>${shown(
        call.name,
        80,
      )}(${argumentList(call)})${times}</td>
      <td class="code n">${call.result === undefined ? "" : small(call.result)}</td>
    </tr>
  `;
}

/** The table, with a box to filter it; `made` is the number of all calls, kept or not. */
export function callTable(
  calls: readonly TracedCall[],
  made: number,
  processes: readonly ProcessMap[],
): Html {
  if (calls.length === 0) return html`<p class="quiet">No call was made.</p>`;
  const rows = foldCalls(calls);
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const drawn = rows.slice(0, MOST_ROWS);
  const left = made - drawn.reduce((sum, { count }) => sum + count, 0);
  return html`
    <p
      class="tools"><input id="filter" type="search" placeholder="filter: name, text, address" autocomplete="off">
      <span class="quiet">${number.format(made)} calls${left > 0
        ? `, the last ${number.format(left)} are not shown`
        : ""}</span></p>
    <div class="wide tall">
      <table id="calls">
        <thead>
          <tr>
            <th class="n">Instructions</th>
            <th class="n">Process.Thread</th>
            <th class="n">Layer</th>
            <th>Returns to</th>
            <th>Call</th>
            <th class="n">Result</th>
          </tr>
        </thead>
        <tbody>${drawn.map((each) => row(each, layerAt(byPid.get(each.call.pid), each.call.tsc)))}</tbody>
      </table>
    </div>
  `;
}
