// SPDX-License-Identifier: Apache-2.0
/**
 * What the command line is given by `main.ts`: the other rooms, behind ports.
 *
 * @module
 */
import type { MemoryFiles } from "../capture/files.ts";
import type { EmulationOptions, Emulator, EngineFactory, Hypervisor, StartScanner } from "../ports.ts";
import type { Report } from "../report.ts";
import type { Verdict } from "../verdict.ts";

/** A program with the name it has in its guest. */
export interface Program {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What the self-test may use: the same service and engines as any run. */
export interface SelftestTools {
  /** Emulates a program with the built-in rules; its captures stay in memory. */
  emulate(
    sample: Program,
    company?: EmulationOptions["company"],
  ): Promise<{ readonly report: Report; readonly files: MemoryFiles }>;
  /** Scans a file with the built-in rules. */
  scan(bytes: Uint8Array): Promise<Verdict>;
}

/** How one sample of the self-test came out. */
export interface SelftestRow {
  readonly name: string;
  readonly ok: boolean;
  /** What it shows, or what was not as expected. */
  readonly detail: string;
}

/** The rooms and the outside world, as the command line sees them. */
export interface Wiring {
  readonly version: string;
  readonly emulator: Emulator;
  /** In the order in which they stand in reports. */
  readonly engines: readonly EngineFactory[];
  readonly startScanner: StartScanner;
  /** Runs the self-test; a row for each sample, as soon as it is done. */
  readonly selftest: (tools: SelftestTools) => AsyncIterable<SelftestRow>;
  /**
   * The programs that the guests of `serve --backend emulator` run, one after the other, at their own pace;
   * there are no more once `stop` is aborted.
   */
  readonly demonstration: (stop: AbortSignal) => Iterable<Program> | AsyncIterable<Program>;
  /** The hypervisor of this host (`watch`); throws when there is none, with the reason. */
  readonly connectXen?: () => Hypervisor;
  /** Where reports go, and what people are told; the process's own when not given. */
  readonly stdout?: (text: string) => void;
  readonly stderr?: (text: string) => void;
  /** Whether stderr is a terminal, so that progress can be shown. */
  readonly terminal?: boolean;
  /** Interrupts the command; SIGINT and SIGTERM when not given. */
  readonly interrupt?: AbortSignal;
  /** With {@link interrupt}: the second of the signals. */
  readonly insistence?: AbortSignal;
}
