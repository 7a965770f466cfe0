// SPDX-License-Identifier: Apache-2.0
/**
 * Pieces that umbra's pages are made of. Every text of a guest, a sample or an engine goes through {@link shown}.
 *
 * @module
 */
import { html } from "hono/html";
import { escapeText } from "../text.ts";

/** A piece of a page; texts put into it are escaped. */
export type Html = ReturnType<typeof html>;

/** Text from outside, fit to be shown and cut; a page need not tell two backslashes from one, and paths read better. */
export function shown(text: string, limit: number): string {
  return escapeText(text, limit).replaceAll("\\\\", "\\");
}

/** Writes a number for people. */
export const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** A number with a title and a note. */
export function card(title: string, value: string, note: string, bad = false): Html {
  return html`
    <div class="card${bad ? " bad" : ""}">
      <h3>${title}</h3>
      <p class="value">${value}</p>
      <p>${note}</p>
    </div>
  `;
}

/** A table; a title that begins with `#` is of a column of numbers. */
export function table(head: readonly string[], rows: readonly Html[], none: string): Html {
  if (rows.length === 0) return html`<p class="quiet">${none}</p>`;
  const numeric = (title: string) => title.startsWith("#");
  return html`
    <div class="wide">
      <table>
        <thead>
          <tr>${head.map((title) =>
            html`<th class="${numeric(title) ? "n" : ""}">${title.replace(/^#/, "")}</th>`
          )}</tr>
        </thead>
        <tbody>${rows}</tbody>
      </table>
    </div>
  `;
}
