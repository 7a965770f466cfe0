// SPDX-License-Identifier: Apache-2.0
/**
 * What engines found, with the bytes at the place they named.
 *
 * @module
 */
import { html, raw } from "hono/html";
import type { ReportFinding } from "../report.ts";
import { hex8 } from "../text.ts";
import type { Evidence } from "./collect.ts";
import { type Html, shown } from "./parts.ts";

/** Most findings drawn. */
const MOST_FINDINGS = 300;
/** Most units named of one finding. */
const MOST_UNITS = 100;

/** Lines of 16 bytes: address, hexadecimal, printable characters; the byte at `mark` stands out. */
function hexdump({ offset, va, bytes }: Evidence, mark: number): Html {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = [...bytes.subarray(at, at + 16)];
    const cells = part.map((byte, index) => {
      const text = byte.toString(16).padStart(2, "0");
      return offset + at + index === mark ? `<b>${text}</b>` : text;
    });
    const printable = part.map((byte) => byte >= 0x20 && byte < 0x7f ? `&#${byte};` : "·");
    const pad = "   ".repeat(16 - part.length);
    lines.push(`${hex8((va === 0 ? offset : va) + at)}  ${cells.join(" ")}${pad}  ${printable.join("")}\n`);
  }
  // Numbers and character references only: nothing of it can be markup.
  return html`<pre>${raw(lines.join(""))}</pre>`;
}

/** Findings that say the same of the same bytes, which several units hold. */
interface Group {
  readonly first: ReportFinding;
  /** Virtual address of the match, or its offset in a file; undefined when the engine did not say. */
  readonly place: string;
  readonly evidence: Evidence | undefined;
  readonly units: string[];
}

function group(findings: readonly ReportFinding[], evidence: ReadonlyMap<string, Evidence>): Group[] {
  const groups = new Map<string, Group>();
  for (const finding of findings) {
    const { unit, engine, status, threat, offset, detail = "" } = finding;
    const bytes = evidence.get(`${unit}@${offset}`);
    const place = offset === undefined
      ? ""
      : bytes && bytes.va !== 0
      ? hex8(bytes.va + offset - bytes.offset)
      : `offset 0x${offset.toString(16)}`;
    const key = JSON.stringify([engine, status, threat, place, threat === "" ? detail : ""]);
    const known = groups.get(key);
    if (known) known.units.push(unit);
    else groups.set(key, { first: finding, place, evidence: bytes, units: [unit] });
  }
  return [...groups.values()];
}

function units({ units }: Group): Html {
  const kinds = new Map<string, number>();
  for (const unit of units) {
    const kind = unit.split(":")[0];
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const words = [...kinds].map(([kind, count]) => count === 1 ? `1 ${kind}` : `${count} ${kind}s`).join(", ");
  const list = units.slice(0, MOST_UNITS);
  if (units.length > list.length) list.push(`… and ${units.length - list.length} more`);
  return html`
    <details>
      <summary>${words}</summary>
      <pre>${list.join("\n")}</pre>
    </details>
  `;
}

/** One row for each threat and place. */
export function findingTable(
  findings: readonly ReportFinding[],
  evidence: ReadonlyMap<string, Evidence>,
): Html {
  if (findings.length === 0) return html`<p class="quiet">No engine found anything.</p>`;
  const groups = group(findings, evidence);
  const rows = groups.slice(0, MOST_FINDINGS).map((each) => {
    const { first, place, evidence: bytes } = each;
    return html`
      <tr>
        <td><span class="tag ${first.status}">${first.status}</span></td>
        <td>${shown(first.engine, 40)}</td>
        <td>${shown(first.threat || first.detail || "", 160)}</td>
        <td class="code">${place}</td>
        <td>${units(each)}</td>
      </tr>
            ${bytes
              ? html`
                <tr class="evidence">
                  <td></td>
                  <td colspan="4">${hexdump(bytes, first.offset!)}</td>
                </tr>
              `
              : ""}
    `;
  });
  const rest = groups.length - rows.length;
  return html`
    <div class="wide">
      <table>
        <thead>
          <tr>
            <th>Status</th>
            <th>Engine</th>
            <th>Threat</th>
            <th>At</th>
            <th>In</th>
          </tr>
        </thead>
        <tbody>${rows}</tbody>
      </table>
    </div>
        ${rest > 0 ? html`<p class="quiet">${rest} more are in report.json.</p>` : ""}
  `;
}
