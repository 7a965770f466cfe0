// SPDX-License-Identifier: Apache-2.0
/** Bounds on what one service keeps and scans; what exceeds them is counted and shown, never silent. */
export interface Limits {
  /** Different pages stored. */
  readonly pages: number;
  /** Lines of `events.jsonl`. */
  readonly events: number;
  /** Units given to the engines, and their bytes in all. */
  readonly units: number;
  readonly unitBytes: number;
  /** Bytes of one region, and of one image. */
  readonly regionBytes: number;
  readonly imageBytes: number;
  /** Units and bytes that wait for the engines before the service stops collecting. */
  readonly queuedUnits: number;
  readonly queuedBytes: number;
  /** Processes remembered per domain. */
  readonly processes: number;
}

const MIB = 1024 * 1024;

/** The bounds when nothing else is said. */
export const DEFAULT_LIMITS: Limits = {
  pages: 262_144,
  events: 2_000_000,
  units: 200_000,
  unitBytes: 4096 * MIB,
  regionBytes: 64 * MIB,
  imageBytes: 64 * MIB,
  queuedUnits: 1024,
  queuedBytes: 128 * MIB,
  processes: 4096,
};
