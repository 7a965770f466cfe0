// SPDX-License-Identifier: Apache-2.0
/**
 * What the evaluation runs: ClamAV's test files, programs of ours packed by UPX, and the self-test's programs,
 * each of which hides a payload in its own way.
 *
 * @module
 */
import { asset } from "../../core/assets.ts";
import { suite } from "../../emulator/samples/suite.ts";
import { clamFile, PESPIN_ENTRY, repairedWwpack } from "../e2e/clam.ts";
import { type Pe, readPe } from "../e2e/pe.ts";
import { buildProgram, packByUpx, PROGRAMS, WAYS } from "../e2e/programs.ts";
import { type Behaviour, behaviour } from "../e2e/proof.ts";

/** A file with a name. */
export interface File {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What a sample hides, and so what its captures are held against. */
export type Hidden =
  /** A program, known byte by byte, of which these sections are code. */
  | {
    readonly kind: "program";
    readonly original: Pe;
    readonly sections: readonly string[];
    readonly behaviour: Behaviour;
  }
  /** Pieces of code, to be captured in this process: the sample's own, or the one it writes into. */
  | { readonly kind: "payload"; readonly pieces: readonly Uint8Array[]; readonly home: "sample" | "child" };

/** One program to run. */
export interface Sample {
  readonly name: string;
  readonly group: Group;
  /** What packed it, or what it shows. */
  readonly what: string;
  readonly file: File;
  /** Programs that run beside it. */
  readonly company: readonly File[];
  readonly hidden: Hidden;
  /** What the reader has to know of it. */
  readonly remark?: string;
  /** Entry point (virtual address) that its image has to be given by hand. */
  readonly entryByHand?: number;
}

/** The tables of the evaluation. */
export type Group = "clam" | "upx" | "technique";

const CLAM: readonly {
  readonly packer: string;
  readonly what: string;
  readonly remark?: string;
  readonly entryByHand?: number;
}[] = [
  { packer: "fsg", what: "none: the host in the clear" },
  { packer: "aspack", what: "ASPack", remark: "packs data only" },
  { packer: "mew", what: "MEW" },
  {
    packer: "pespin",
    what: "PESpin",
    remark:
      "runs the first 41 bytes of `.text` in its own section and changes 10 bytes of calls. Its image behaves " +
      "as the host once its entry point is set by hand, to 004068fc",
    entryByHand: PESPIN_ENTRY,
  },
  { packer: "petite", what: "PEtite" },
  { packer: "upack", what: "Upack" },
  { packer: "upx", what: "UPX" },
  {
    packer: "wwpack",
    what: "WWPack",
    remark:
      "packs data only, and unpacks it in place with 4 bytes too few between what it reads and what it " +
      "writes: it overwrites itself and crashes, in Unicorn too",
  },
  {
    packer: "yc",
    what: "Yoda's Crypter over UPX",
    remark:
      "the crypter wipes the names of DLLs that UPX's stub loads: it asks for one without a name and leaves, " +
      "before the host's functions are known. No image of it can run as the host",
  },
];

/** ClamAV's test files: one host program, packed by eight packers, and in the clear. */
export function clamSamples(): Sample[] {
  const hidden: Hidden = {
    kind: "program",
    original: readPe(clamFile("fsg")),
    sections: [".text"],
    behaviour: behaviour(clamFile("fsg")),
  };
  const samples = CLAM.map(({ packer, ...rest }): Sample => {
    const name = `clam-${packer}.exe`;
    return { name, group: "clam", file: { name, bytes: clamFile(packer) }, company: [], hidden, ...rest };
  });
  samples.push({
    name: "clam-wwpack.exe + 4",
    group: "clam",
    what: "WWPack",
    remark: "the same with the distance it needs: one word of the file is changed",
    file: { name: "clam-wwpack.exe", bytes: repairedWwpack() },
    company: [],
    hidden,
  });
  return samples;
}

/** Names of the programs of ours packed by UPX in each of its ways. */
export function upxNames(): string[] {
  return PROGRAMS.flatMap(({ name }) => WAYS.map(([way]) => `${name}, ${way}`));
}

/** Those of {@link upxNames} that are wanted; built in a folder that must last as long as they do. */
export async function upxSamples(folder: string, wanted: (name: string) => boolean): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const program of PROGRAMS) {
    const ways = WAYS.filter(([way]) => wanted(`${program.name}, ${way}`));
    if (ways.length === 0) continue;
    const { file, linked } = await buildProgram(program, folder);
    const hidden: Hidden = {
      kind: "program",
      original: readPe(Deno.readFileSync(linked)),
      sections: [".text", ...program.secret ? [program.secret] : []],
      behaviour: behaviour(Deno.readFileSync(file)),
    };
    for (const [way, options] of ways) {
      const packed = `${folder}/${program.name} ${way}.exe`;
      await packByUpx(file, packed, options);
      samples.push({
        name: `${program.name}, ${way}`,
        group: "upx",
        what: program.what,
        file: { name: `${program.name}.exe`, bytes: Deno.readFileSync(packed) },
        company: [],
        hidden,
      });
    }
  }
  return samples;
}

/** The self-test's programs that hide something. */
export function techniqueSamples(): Sample[] {
  const fileOf = (path: string): File => ({ name: path.split("/").at(-1)!, bytes: asset(path) });
  return suite.filter(({ expected }) => expected.marker).map(({ name, shows, file, company, expected }) => {
    const text = new TextDecoder().decode(asset(file.replace(/\.exe$/, ".json")));
    const { payloads } = JSON.parse(text) as { payloads: string[] };
    const pieces = payloads.map((hex) => Uint8Array.fromHex(hex));
    return {
      name,
      group: "technique" as const,
      what: shows,
      file: fileOf(file),
      company: company.map(fileOf),
      hidden: { kind: "payload" as const, pieces, home: expected.marker!.process },
    };
  });
}
