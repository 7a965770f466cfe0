// SPDX-License-Identifier: Apache-2.0
/**
 * Runs umbra as a user does, and reads what it leaves.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import { ROOT } from "../../tools/files.ts";

/** How one run of umbra ended. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The part of `report.json` (version 1) that the tests look at. */
export interface Report {
  readonly version: number;
  readonly end: { readonly reason: string; readonly detail: string; readonly instructions: number };
  readonly processes: readonly { readonly pid: number; readonly name: string; readonly verdict: string }[];
  readonly pages: {
    readonly seen: number;
    readonly stored: number;
    readonly deduplicated: number;
    readonly lost: number;
  };
  readonly layers: readonly { readonly index: number; readonly pages: number; readonly hopTo: unknown }[];
  readonly images: readonly {
    readonly id: string;
    readonly va: number;
    readonly entryPoint: number;
    readonly notes: readonly string[];
  }[];
  readonly units: number;
  readonly findings: readonly {
    readonly unit: string;
    readonly engine: string;
    readonly status: string;
    readonly threat: string;
  }[];
  readonly verdict: string;
  readonly missing: readonly { readonly dll: string; readonly name: string; readonly calls: number }[];
}

/** Command that starts umbra from the source tree. */
export const FROM_SOURCE: readonly string[] = [
  Deno.execPath(),
  "run",
  "--allow-all",
  "--no-check",
  "--quiet",
  `${ROOT}main.ts`,
];

/** Runs umbra with arguments; kills it (and fails) after `seconds`. */
export async function umbra(
  args: readonly string[],
  options: {
    readonly seconds?: number;
    readonly command?: readonly string[];
    readonly cwd?: string;
    readonly emptyEnvironment?: boolean;
  } = {},
): Promise<Ran> {
  const [program, ...before] = options.command ?? FROM_SOURCE;
  const seconds = options.seconds ?? 120;
  const child = new Deno.Command(program, {
    args: [...before, ...args],
    cwd: options.cwd,
    clearEnv: options.emptyEnvironment,
    env: options.emptyEnvironment ? {} : { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, seconds * 1000);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const text = new TextDecoder();
  const ran = { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  assert.ok(
    !late,
    `umbra ${args.join(" ")} did not end within ${seconds} s; stderr: ${ran.stderr.slice(-500)}`,
  );
  return ran;
}

/** What one emulation left in its folder. */
export class Output {
  constructor(readonly folder: string) {}

  get report(): Report {
    return JSON.parse(Deno.readTextFileSync(`${this.folder}/report.json`));
  }

  /** Names of the files in one of its folders (`pages`, `regions`, `images`), in order; none when it is absent. */
  names(kind: string): string[] {
    try {
      return [...Deno.readDirSync(`${this.folder}/${kind}`)].map((entry) => entry.name).sort();
    } catch {
      return [];
    }
  }

  /** Files of one of its folders with their content. */
  files(kind: string): { readonly name: string; readonly bytes: Uint8Array }[] {
    return this.names(kind).map((name) => ({
      name,
      bytes: Deno.readFileSync(`${this.folder}/${kind}/${name}`),
    }));
  }

  /** The captured pages that lie at this virtual address. */
  pagesAt(va: number): Uint8Array[] {
    const prefix = `${va.toString(16).padStart(8, "0")}-`;
    return this.files("pages").filter(({ name }) => name.startsWith(prefix)).map(({ bytes }) => bytes);
  }
}

/** Runs `body` with a fresh folder that is removed afterwards. */
export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "umbra-e2e-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Emulates a file into a folder; the run must end with one of the documented exit codes. */
export async function emulate(
  file: string,
  folder: string,
  ...more: readonly string[]
): Promise<Ran & { readonly output: Output }> {
  const ran = await umbra(["emulate", file, "--out", folder, ...more]);
  assert.ok([0, 1, 3].includes(ran.code), `exit ${ran.code}: ${ran.stderr.slice(-1000)}`);
  assert.equal(ran.stderr, "");
  return { ...ran, output: new Output(folder) };
}

/** Offset of `needle` in `bytes` from `from` on, or -1. */
export function indexOf(bytes: Uint8Array, needle: Uint8Array, from = 0): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(needle, from);
}

/** True when one of these holds the bytes. */
export function anyHolds(files: readonly { readonly bytes: Uint8Array }[], needle: Uint8Array): boolean {
  return files.some(({ bytes }) => indexOf(bytes, needle) >= 0);
}

/** A YARA rule for exact bytes. */
export function yaraRule(name: string, bytes: Uint8Array): string {
  return `rule ${name} { strings: $a = { ${bytes.toHex()} } condition: $a }\n`;
}
