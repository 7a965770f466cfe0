// SPDX-License-Identifier: Apache-2.0
/**
 * What the suites of the benchmark share.
 *
 * @module
 */
import process from "node:process";

/** One line of a suite's result. Members besides the first four are medians of peers or variants. */
export interface BenchRow {
  readonly name: string;
  readonly unit: string;
  /** Runs that umbra's median is of. */
  readonly runs: number;
  readonly umbra: number;
  readonly [peer: string]: number | string;
}

/** A suite: measures, says what it is doing, and returns its rows. */
export interface Suite {
  readonly name: string;
  /** Members of a row that are medians in the row's unit: how many times better umbra is is printed. */
  readonly peers: readonly string[];
  run(runs: number, say: (message: string) => void): Promise<BenchRow[]>;
}

/** Processor time of this process so far, milliseconds, all threads. */
export function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** The middle value, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("Cannot take the median of no values");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Three significant digits. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** Processor, cores and versions, as one line. */
export function machineName(): string {
  let processor = "unknown processor";
  try {
    const line = Deno.readTextFileSync("/proc/cpuinfo").match(/^model name\s*:\s*(.+)$/m);
    processor = line?.[1] ?? processor;
  } catch {
    // Not Linux: the name is only for the reader.
  }
  return `${processor}, ${navigator.hardwareConcurrency} cores, ${Deno.build.os} ${Deno.build.arch}, ` +
    `Deno ${Deno.version.deno} (V8 ${Deno.version.v8})`;
}

const FIXED = new Set(["name", "unit", "runs", "umbra"]);

/** Prints rows with each peer's median and umbra's ratio to it. */
export function printTable(suite: Suite, machine: string, rows: readonly BenchRow[]): void {
  console.log(`${suite.name} on ${machine}\n`);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((key) => !FIXED.has(key));
  const lines = [["", "unit", "runs", "umbra", ...columns]];
  for (const row of rows) {
    const cell = (column: string) => {
      const value = row[column];
      if (typeof value !== "number" || !suite.peers.includes(column)) return String(value ?? "-");
      // Only rates are better when they are more.
      const ratio = row.unit.endsWith("/s") ? row.umbra / value : value / row.umbra;
      return `${value} (umbra ×${rounded(ratio)})`;
    };
    lines.push([row.name, row.unit, String(row.runs), String(row.umbra), ...columns.map(cell)]);
  }
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  for (const line of lines) console.log(line.map((text, i) => text.padEnd(widths[i])).join("  ").trimEnd());
}
