// SPDX-License-Identifier: Apache-2.0
/**
 * The command line's way to the outside: text out, progress, signals.
 *
 * @module
 */
import { escapeText } from "../text.ts";
import type { Wiring } from "./wiring.ts";

/** Columns of a progress line. */
const WIDTH = 78;
/** Milliseconds between two progress lines. */
const EVERY = 100;

/** What a command writes to, and hears of. */
export interface Io {
  /** Writes text as it is: a report, or lines made of escaped parts. */
  out(text: string): void;
  /** Tells people one line, whose parts from outside are escaped. */
  tell(line: string): void;
  /** Shows how far it is, on a terminal only; `undefined` clears the line. */
  progress(line: string | undefined): void;
  /** Aborted by SIGINT or SIGTERM. */
  readonly interrupt: AbortSignal;
  /** Aborted by the second of them: what still goes on shall not. */
  readonly insistence: AbortSignal;
  close(): void;
}

/** Opens the outside for one command. */
export function openIo(wiring: Wiring): Io {
  const encoder = new TextEncoder();
  const writer = (stream: { writeSync(bytes: Uint8Array): number }) => (text: string) => {
    const bytes = encoder.encode(text);
    for (let done = 0; done < bytes.length;) done += stream.writeSync(bytes.subarray(done));
  };
  const out = wiring.stdout ?? writer(Deno.stdout);
  const err = wiring.stderr ?? writer(Deno.stderr);
  const terminal = wiring.terminal ?? Deno.stderr.isTerminal();
  let shown = false;
  let last = 0;
  const clear = () => {
    if (shown) err(`\r${" ".repeat(WIDTH)}\r`);
    shown = false;
  };
  const signals = wiring.interrupt
    ? {
      interrupt: wiring.interrupt,
      insistence: wiring.insistence ?? new AbortController().signal,
      stop() {},
    }
    : listen();
  return {
    out: (text) => {
      clear();
      out(text);
    },
    tell: (line) => {
      clear();
      err(`${escapeText(line, 4000)}\n`);
    },
    progress: (line) => {
      if (!terminal) return;
      if (line === undefined) return clear();
      const now = performance.now();
      if (now - last < EVERY) return;
      last = now;
      shown = true;
      err(`\r${escapeText(line, WIDTH - 2).padEnd(WIDTH)}`);
    },
    interrupt: signals.interrupt,
    insistence: signals.insistence,
    close: () => {
      clear();
      signals.stop();
    },
  };
}

/** Abort signals from SIGINT and SIGTERM: the first and the second that come. */
function listen(): Pick<Io, "interrupt" | "insistence"> & { stop: () => void } {
  const first = new AbortController(), second = new AbortController();
  const heard = () => (first.signal.aborted ? second : first).abort();
  const names = ["SIGINT", "SIGTERM"] as const;
  for (const name of names) Deno.addSignalListener(name, heard);
  return {
    interrupt: first.signal,
    insistence: second.signal,
    stop: () => {
      for (const name of names) Deno.removeSignalListener(name, heard);
    },
  };
}

/** A bar of `width` characters for a fraction from 0 to 1. */
export function bar(fraction: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return `[${"#".repeat(full)}${"-".repeat(width - full)}]`;
}
