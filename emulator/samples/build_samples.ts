// SPDX-License-Identifier: Apache-2.0
/**
 * Makes `build/samples/NAME.exe`, the programs of the self-test, from the texts in `asm/`, and beside each
 * `NAME.json`, what it hides: `{ "payloads": [hexadecimal, …] }`.
 *
 * @module
 */
import { assembleProgram, loadAssembler } from "./assemble.ts";

const TEXTS = new URL("./asm/", import.meta.url);
const OUT = new URL("../../build/samples/", import.meta.url);
/** What the programs are made by: a change in one of these makes them anew. */
const MAKERS = ["./assemble.ts", "./pe_writer.ts", "./marker.ts", "./build_samples.ts"];

/** Names of the texts, without suffix, in order. */
export function sampleNames(): string[] {
  return [...Deno.readDirSync(TEXTS)].map((entry) => entry.name).filter((name) => name.endsWith(".asm"))
    .map((name) => name.slice(0, -4)).sort();
}

/** Makes the sample programs; does nothing when neither texts nor makers changed since the last time. */
export async function build(): Promise<void> {
  const names = sampleNames();
  const inputs = [
    ...MAKERS.map((path) => new URL(path, import.meta.url)),
    ...names.map((name) => new URL(`${name}.asm`, TEXTS)),
  ];
  const stamp = await digest(
    inputs.map((url) => `${url.pathname.split("/").at(-1)}\n${Deno.readTextFileSync(url)}`),
  );
  const stampFile = new URL("stamp", OUT);
  try {
    if (Deno.readTextFileSync(stampFile) === stamp) return;
  } catch {
    // Never built.
  }
  Deno.mkdirSync(OUT, { recursive: true });
  const assembler = await loadAssembler();
  for (const name of names) {
    const text = Deno.readTextFileSync(new URL(`${name}.asm`, TEXTS));
    const { file, payloads } = assembleProgram(`${name}.asm`, text, assembler);
    Deno.writeFileSync(new URL(`${name}.exe`, OUT), file);
    const hidden = JSON.stringify({ payloads: payloads.map((bytes) => bytes.toHex()) });
    Deno.writeTextFileSync(new URL(`${name}.json`, OUT), hidden);
  }
  Deno.writeTextFileSync(stampFile, stamp);
}

async function digest(texts: readonly string[]): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join("\0")));
  return new Uint8Array(hash).toHex();
}

if (import.meta.main) await build();
