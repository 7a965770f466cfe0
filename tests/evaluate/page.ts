// SPDX-License-Identifier: Apache-2.0
/**
 * The evaluation as a page of Markdown.
 *
 * @module
 */
import { machineName } from "../bench/measure.ts";
import type { Row } from "./measure.ts";
import type { Group } from "./samples.ts";

const INTRODUCTION = `# Evaluation

Made by \`deno task evaluate:packers\`; all but times is the same each time it is made with the same compiler.

Each sample runs in the test bed as with \`umbra emulate\` and its defaults, to its own end, and what was captured is
scanned by YARA-X with the built-in rules.

- _Instructions_ counts the guest's, Windows' own included. _Seconds_ is processor time, all threads, from loading the
  program to its report, of one run; the engines were started before.
- _Layers_ are waves of unpacking, the program's first code and what is left at its end included. _Pages_: seen = stored + known already + lost; where nothing is
  lost only stored ones and seen ones differ, by those known already.
- _Code_ is the share of the hidden code's bytes that captured pages hold at their address (words that the loader
  relocates left out).
- _Proof by use_: a rebuilt image, run in the test bed, makes the same calls of functions in the same order as the
  program that was packed, with the same arguments and results, shows the same text and ends the same way. Numbers and
  texts must be equal; an address may differ, but each must stand for one other throughout. The layer is the one whose
  image does so.
- _Missing_: functions the program called that the model of Windows knows by name only.
`;

const GROUPS: Readonly<Record<Group, { readonly title: string; readonly text: string }>> = {
  clam: {
    title: "ClamAV's test files",
    text:
      `One host program, packed by eight packers, from Debian's \`clamav-testfiles\`; the code is the host's \`.text\`
(247 bytes), which \`clam-fsg.exe\` carries in the clear. Of the eight packed files unipacker, an unpacker on top of
Unicorn, recovers 3 (measured apart, not in this run).`,
  },
  upx: {
    title: "UPX on programs of ours",
    text:
      `Programs built by mingw, packed by UPX 3.94 in each of its ways; the code is \`.text\` (and what the program
itself decrypts).`,
  },
  technique: {
    title: "Ways to unpack and to hide",
    text:
      `The self-test's programs. The code is the payload each hides, all of it or nothing; it counts only when it was
captured in the process in which it runs, and in no other.`,
  },
};

/** The whole page. */
export function page(rows: readonly Row[], compiler: string): string {
  const parts = [INTRODUCTION];
  for (const group of ["clam", "upx", "technique"] as const) {
    const own = rows.filter(({ sample }) => sample.group === group);
    if (own.length === 0) continue;
    const { title, text } = GROUPS[group];
    parts.push(`## ${title}\n\n${text}\n`, table(own, group), remarks(own));
  }
  parts.push(summary(rows), `## Machine\n\n${machineName()}; ${compiler}.\n`);
  return parts.filter((part) => part !== "").join("\n");
}

function table(rows: readonly Row[], group: Group): string {
  const proof = group !== "technique";
  const head = [
    "sample",
    group === "clam" ? "packer" : group === "upx" ? "program" : "way",
    "instructions",
    "seconds",
    "layers",
    "pages seen / stored / lost",
    "code",
    ...proof ? ["proof by use"] : [],
    "end",
    "missing",
  ];
  const lines = rows.map(({ sample, end, seconds, layers, pages, recovered, proof: proven, missing }) => [
    sample.name,
    sample.what,
    String(end.instructions),
    seconds.toFixed(1),
    String(layers),
    `${pages.seen} / ${pages.stored} / ${pages.lost}`,
    `${percent(recovered.right / recovered.bytes)} of ${recovered.bytes}`,
    ...proof ? [proven ?? ""] : [],
    `${end.reason}: ${end.detail}`,
    missing.join(", ") || "none",
  ]);
  return [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.map(cell).join(" | ")} |\n`).join(
    "",
  );
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

function remarks(rows: readonly Row[]): string {
  return rows.filter(({ sample }) => sample.remark)
    .map(({ sample }) => `- \`${sample.name}\`: ${sample.remark}.\n`).join("");
}

/** At most one decimal, and 100 % only when it is all. */
function percent(share: number): string {
  return `${Math.floor(share * 1000) / 10} %`;
}

function summary(rows: readonly Row[]): string {
  const whole = rows.filter(({ recovered }) => recovered.right === recovered.bytes).length;
  const programs = rows.filter(({ proof }) => proof !== undefined);
  const proven = programs.filter(({ proof }) => /^same \d+ calls(?!.*entry point)/.test(proof!)).length;
  const slowest = rows.reduce((a, b) => b.seconds > a.seconds ? b : a);
  const lost = rows.reduce((sum, { pages }) => sum + pages.lost, 0);
  return `## Together

- ${whole} of ${rows.length} samples: all of the code captured. ${lost} pages lost.
- ${proven} of ${programs.length} packed programs: an image that behaves as the program.
- The slowest, ${slowest.sample.name}: ${slowest.seconds.toFixed(1)} s.
`;
}
