// SPDX-License-Identifier: Apache-2.0
/**
 * Runs one sample of the evaluation and takes its figures.
 *
 * @module
 */
import type { Scanner } from "../../core/ports.ts";
import type { Report } from "../../core/report.ts";
import { cpuTime } from "../bench/measure.ts";
import { setEntryPoint } from "../e2e/clam.ts";
import { provenImage, type Recovered, recovered } from "../e2e/proof.ts";
import { unpack, type Unpacked } from "../e2e/unpack.ts";
import type { Hidden, Sample } from "./samples.ts";

/** What one run showed. */
export interface Row {
  readonly sample: Sample;
  readonly end: Report["end"];
  /** Processor time of the run, engines included, seconds. */
  readonly seconds: number;
  readonly layers: number;
  readonly pages: Report["pages"];
  /** Bytes of the hidden code, and those of them that stand in captured pages, at their address. */
  readonly recovered: Recovered;
  /** The proof by use, in words; undefined where there is no program to hold an image against. */
  readonly proof: string | undefined;
  /** Functions the model lacks that it called. */
  readonly missing: readonly string[];
}

/** Unpacks a sample, scans what came out, and holds it against what was hidden. */
export async function measure(sample: Sample, scanner: Scanner): Promise<Row> {
  const before = cpuTime();
  const unpacked = await unpack(sample.file, { scanner, company: sample.company });
  const seconds = (cpuTime() - before) / 1000;
  const { report } = unpacked;
  return {
    sample,
    end: report.end,
    seconds,
    layers: report.layers.length,
    pages: report.pages,
    recovered: recovery(sample.hidden, unpacked),
    proof: sample.hidden.kind === "program" ? proofOf(sample, sample.hidden, unpacked) : undefined,
    missing: report.missing.map(({ dll, name }) => `${dll}!${name}`),
  };
}

function recovery(hidden: Hidden, unpacked: Unpacked): Recovered {
  if (hidden.kind === "program") {
    const parts = hidden.sections.map((name) => recovered(hidden.original, unpacked.pagesAt, name));
    return parts.reduce((sum, part) => ({ bytes: sum.bytes + part.bytes, right: sum.right + part.right }));
  }
  // The sample is the process that was seen first, the child the other one; whole pieces count, and nowhere else.
  const [sample, child] = unpacked.report.processes.map(({ pid }) => pid);
  const home = hidden.home === "child" ? child : sample;
  let [bytes, right] = [0, 0];
  for (const piece of hidden.pieces) {
    const holders = unpacked.holders(piece);
    bytes += piece.length;
    if (holders.size === 1 && holders.has(home)) right += piece.length;
  }
  return { bytes, right };
}

function proofOf(sample: Sample, hidden: Hidden & { kind: "program" }, unpacked: Unpacked): string {
  const base = hidden.original.imageBase;
  const images = unpacked.imagesAt(base);
  const found = provenImage(hidden.behaviour, images);
  if (!found) return "no image";
  const { proof, image } = found;
  if (proof.outcome === "same") {
    const behind = proof.before > 0 ? ` behind ${proof.before} of the packer's` : "";
    return `same ${proof.calls} calls${behind}, layer ${image.layer}`;
  }
  if (sample.entryByHand === undefined) return "no";
  const { bytes } = images[images.length - 1];
  const copy = bytes.slice();
  setEntryPoint(copy, sample.entryByHand);
  const again = provenImage(hidden.behaviour, [{ bytes: copy }])!.proof;
  return again.outcome === "same" ? `same ${again.calls} calls, with its entry point set` : "no";
}
