// SPDX-License-Identifier: Apache-2.0
/**
 * How pages look on the map: one table for colours, words and the legend.
 *
 * @module
 */
import type { EventKind } from "../ports.ts";
import type { MapCell, ProcessMap } from "./collect.ts";

/** States of a page in a layer; the first that holds is the one. */
export const STATES = [
  { name: "lost", words: "content lost" },
  { name: "hop", words: "jumped into, fresh: a layer begins" },
  { name: "fresh", words: "written, then executed" },
  { name: "run", words: "executed, as loaded" },
  { name: "written", words: "written, not executed" },
  { name: "context", words: "kept to complete an image" },
] as const;

/** Name of a state. */
export type StateName = typeof STATES[number]["name"];

/** Kinds of event that tell of execution. */
const EXECUTED: ReadonlySet<EventKind> = new Set(["S1", "S2", "coalesced"]);

/** The state of a page in a layer. */
export function stateOf(process: ProcessMap, cell: MapCell): StateName {
  if (cell.lost) return "lost";
  if (cell.hop) return "hop";
  const kinds = [...cell.kinds.keys()];
  if (kinds.some((kind) => EXECUTED.has(kind))) {
    const written = process.written.get(cell.va);
    return written !== undefined && written <= cell.layer ? "fresh" : "run";
  }
  return kinds.includes("context") && !kinds.some((kind) => kind === "layer" || kind === "residue")
    ? "context"
    : "written";
}
