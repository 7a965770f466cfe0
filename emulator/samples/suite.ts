// SPDX-License-Identifier: Apache-2.0
/**
 * The self-test: which sample programs there are, what each hides and how, and what must be seen of it. Data
 * only; the run goes through the same service and engines as any emulation. What a sample hides stands beside
 * it as `samples/NAME.json` (see `build_samples.ts`): every piece must be captured byte for byte.
 *
 * @module
 */
import type { EndReason, EventKind } from "../../core/ports.ts";

/** What must be seen of one sample. */
export interface Expectation {
  /** How it ends; where it exits, with code 0. */
  readonly end: EndReason;
  /** The verdict of the emulation; a scan of the file must always be clean. */
  readonly verdict: "malicious" | "clean";
  /** Kinds of events that must occur in the sample's name. */
  readonly kinds: readonly EventKind[];
  /** Number of layers that ran, the program's own code being the first; what is left at the end is none. */
  readonly layers: number;
  /**
   * Where pages with the marker must be captured, and nowhere else: in the sample's own process or in the one
   * it starts, and in which layers. Absent: no captured page holds it.
   */
  readonly marker?: { readonly process: "sample" | "child"; readonly layers: readonly number[] };
  /** Names of all processes that events are seen of, in order of their start. */
  readonly processes: readonly string[];
}

/** One sample of the self-test. */
export interface SuiteSample {
  readonly name: string;
  /** What it hides and how, in a few words. */
  readonly shows: string;
  /** Artefact that is emulated. */
  readonly file: string;
  /** Artefacts that run beside it and are not watched. */
  readonly company: readonly string[];
  readonly expected: Expectation;
}

const HIDDEN = { end: "exited", verdict: "malicious" } as const;

/** All samples, in the order in which they run. */
export const suite: readonly SuiteSample[] = [
  {
    name: "plain",
    shows: "hides nothing: the control",
    file: "samples/plain.exe",
    company: [],
    expected: { end: "exited", verdict: "clean", kinds: ["S1"], layers: 1, processes: ["plain.exe"] },
  },
  {
    name: "alloc",
    shows: "S1: written to fresh memory, made executable by VirtualProtect",
    file: "samples/alloc.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["alloc.exe"],
    },
  },
  {
    name: "inplace",
    shows: "S2: decrypted in place in two goes, each of which runs",
    file: "samples/inplace.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1", "S2"],
      layers: 3,
      marker: { process: "sample", layers: [2] },
      processes: ["inplace.exe"],
    },
  },
  {
    name: "twolayers",
    shows: "a payload that unpacks another; only the second holds the marker",
    file: "samples/twolayers.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 3,
      marker: { process: "sample", layers: [2] },
      processes: ["twolayers.exe"],
    },
  },
  {
    name: "rewrite",
    shows: "runs, then overwrites itself with zeros at once",
    file: "samples/rewrite.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["rewrite.exe"],
    },
  },
  {
    name: "mapping",
    shows: "written through one view of a section, run through another",
    file: "samples/mapping.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["mapping.exe"],
    },
  },
  {
    name: "rc4heap",
    shows: "decrypted with RC4 into a heap block that DEP lets run",
    file: "samples/rc4heap.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["rc4heap.exe"],
    },
  },
  {
    name: "flip",
    shows: "a code section made writable, decrypted, made executable again",
    file: "samples/flip.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["flip.exe"],
    },
  },
  {
    name: "remap",
    shows: "written through one view of a section, run through a later one",
    file: "samples/remap.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["remap.exe"],
    },
  },
  {
    name: "seh",
    shows: "decrypted by an exception handler, a quarter at each exception",
    file: "samples/seh.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["seh.exe"],
    },
  },
  {
    name: "tls",
    shows: "decrypted by a TLS callback before the entry point",
    file: "samples/tls.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "sample", layers: [1] },
      processes: ["tls.exe"],
    },
  },
  {
    name: "guard",
    shows: "decrypted page by page by a handler of guard-page faults",
    file: "samples/guard.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 4,
      marker: { process: "sample", layers: [1, 2, 3] },
      processes: ["guard.exe"],
    },
  },
  {
    name: "reencrypt",
    shows: "decrypted before and encrypted after each run",
    file: "samples/reencrypt.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 3,
      marker: { process: "sample", layers: [1, 2] },
      processes: ["reencrypt.exe"],
    },
  },
  {
    name: "stolen",
    shows: "first instructions moved elsewhere, the rest decrypted in place",
    file: "samples/stolen.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 3,
      marker: { process: "sample", layers: [1, 2] },
      processes: ["stolen.exe"],
    },
  },
  {
    name: "threelayers",
    shows: "three payloads one inside the other; only the third holds the marker",
    file: "samples/threelayers.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 4,
      marker: { process: "sample", layers: [3] },
      processes: ["threelayers.exe"],
    },
  },
  {
    name: "inject",
    shows: "written into and run in another process",
    file: "samples/inject.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["inject.exe", "inject.exe"],
    },
  },
  {
    name: "remote",
    shows: "written into explorer.exe, which runs already, and run there by a thread",
    file: "samples/remote.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["remote.exe", "explorer.exe"],
    },
  },
  {
    name: "sections",
    shows: "a section written here is run in explorer.exe, which is never written into",
    file: "samples/sections.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["sections.exe", "explorer.exe"],
    },
  },
  {
    name: "selfhollow",
    shows: "its own image replaced in a second process of itself",
    file: "samples/selfhollow.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["selfhollow.exe", "selfhollow.exe"],
    },
  },
  {
    name: "hollow",
    shows: "the image of notepad.exe replaced by system calls",
    file: "samples/hollow.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["hollow.exe", "notepad.exe"],
    },
  },
  {
    name: "earlybird",
    shows: "an APC of notepad.exe before it has run",
    file: "samples/earlybird.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["earlybird.exe", "notepad.exe"],
    },
  },
  {
    name: "remoteapc",
    shows: "an APC of a thread of explorer.exe, which runs already",
    file: "samples/remoteapc.exe",
    company: [],
    expected: {
      ...HIDDEN,
      kinds: ["S1"],
      layers: 2,
      marker: { process: "child", layers: [1] },
      processes: ["remoteapc.exe", "explorer.exe"],
    },
  },
  {
    name: "unwatched",
    shows: "a program that unpacks itself beside a harmless one, of which only the latter is watched",
    file: "samples/idle.exe",
    company: ["samples/apart.exe"],
    expected: { end: "exited", verdict: "clean", kinds: ["S1"], layers: 1, processes: ["idle.exe"] },
  },
];
