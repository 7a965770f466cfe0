// SPDX-License-Identifier: Apache-2.0
import type { RecordedEvent } from "./service.ts";

/**
 * One event as a line of `events.jsonl`: the fields of the monitor's event (64-bit ones as hexadecimal text),
 * `outcome` (stored, deduplicated, lost, none) and `sha256` (of the page's content, or null).
 */
export function eventLine({ event, outcome, sha256 }: RecordedEvent): string {
  return JSON.stringify(
    { ...event, outcome, sha256: sha256 ?? null },
    (_key, value) => typeof value === "bigint" ? `0x${value.toString(16)}` : value,
  );
}
