// SPDX-License-Identifier: Apache-2.0
/**
 * Where a program begins that its unpacker left in place: unpackers give a program the stack they were given, so
 * the first code that runs with the stack pointer of the entry point, after all that was rewritten, is the
 * program's own. No jump into fresh code tells of it when the code itself was never packed.
 *
 * @module
 */
import type { MonitorEvent } from "../ports.ts";

/** Allocations remembered of one process. */
const MOST_ALLOCATIONS = 1024;
/** First runs remembered of an allocation: the entry point's page is among the first. */
const MOST_FIRST = 64;
/** Runs remembered since the last turn. */
const MOST_SINCE = 256;

interface Runs {
  /** Stack pointers by the first address that ran in a page. */
  readonly first: Map<number, number>;
  /** Addresses that ran first in their page since the last turn from written to executed, in order. */
  since: { readonly eip: number; readonly esp: number }[];
  /** Whether there was such a turn. */
  turned: boolean;
}

/** The stack pointers of one process's first runs, by allocation. */
export class StackEntries {
  readonly #runs = new Map<number, Runs>();

  /** Takes in an event of a page of the allocation at `base`. */
  add(event: MonitorEvent, base: number): void {
    if (event.kind !== "S1" && event.kind !== "S2") return;
    let runs = this.#runs.get(base);
    if (!runs) {
      if (this.#runs.size >= MOST_ALLOCATIONS) return;
      runs = { first: new Map(), since: [], turned: false };
      this.#runs.set(base, runs);
    }
    const { eip, esp } = event;
    if (runs.first.size < MOST_FIRST && !runs.first.has(eip)) runs.first.set(eip, esp);
    if (event.kind === "S2" || event.hop) {
      runs.turned = true;
      runs.since = [];
    }
    if (runs.since.length < MOST_SINCE) runs.since.push({ eip, esp });
  }

  /**
   * Where code of the allocation ran first, since its last turn, with the stack pointer that its entry point had.
   * Undefined when it never turned, the entry point was not seen to run, or nothing did so since.
   */
  entry(base: number, entryPoint: number): number | undefined {
    const runs = this.#runs.get(base);
    const esp = runs?.first.get(entryPoint);
    if (!runs?.turned || esp === undefined) return undefined;
    return runs.since.find((run) => run.esp === esp && run.eip !== entryPoint)?.eip;
  }
}
