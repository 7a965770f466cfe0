// SPDX-License-Identifier: Apache-2.0
/**
 * Options that several commands share, and how their values are read.
 *
 * @module
 */
import { InvalidArgumentError, Option } from "commander";
import { PageCollector } from "../html/collect.ts";
import { type EngineFactory, InputError, type Scanner } from "../ports.ts";
import { escapeText, sayError } from "../text.ts";
import type { Wiring } from "./wiring.ts";

/** Milliseconds an engine has for one unit. */
export const SCAN_TIMEOUT = 30_000;
/** Longest sample that is taken, in bytes. */
const LONGEST_FILE = 256 * 1024 * 1024;

/** Reads a whole number from `least` up; for commander. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`It is not a whole number from ${least} up.`);
    }
    return value;
  };
}

/** Reads a number of seconds above 0; for commander. */
export function seconds(text: string): number {
  const value = Number(text);
  if (!/^\d{1,9}(\.\d{1,6})?$/.test(text) || !(value > 0)) {
    throw new InvalidArgumentError("It is not a number of seconds above 0.");
  }
  return value;
}

/** Options that choose the engines and what they know. */
export const ENGINE = new Option("--engine <name...>", "ask only these engines (see umbra engines)");
export const RULES = new Option(
  "--rules <path...>",
  "YARA rules: files, or folders with .yar and .yara files",
);
export const HTML_OUTPUT = new Option(
  "--html",
  "write report.html into the folder of --out as well: one page for analysts",
);
export const JSON_OUTPUT = new Option("--json", "print the report as JSON on stdout, and nothing else");

/** What {@link ENGINE} and {@link RULES} say. */
export interface EngineChoice {
  readonly engine?: readonly string[];
  readonly rules?: readonly string[];
}

/** Collects for the page of {@link HTML_OUTPUT}, when it is asked for. Throws {@link InputError} without a folder. */
export function openAnalysis(
  options: { readonly html?: true; readonly out?: string },
): PageCollector | undefined {
  if (!options.html) return undefined;
  if (options.out === undefined) throw new InputError("Cannot write report.html: --html needs --out");
  return new PageCollector();
}

/** The factories that were named, or all; in their own order. Throws {@link InputError} for an unknown name. */
export function chosenEngines(
  wiring: Wiring,
  names: readonly string[] | undefined,
): readonly EngineFactory[] {
  if (!names) return wiring.engines;
  for (const name of names) {
    if (!wiring.engines.some((engine) => engine.name === name)) {
      const known = wiring.engines.map((engine) => engine.name).join(", ");
      throw new InputError(`Cannot use engine "${escapeText(name)}": it is not known (known: ${known})`);
    }
  }
  return wiring.engines.filter((engine) => names.includes(engine.name));
}

/** Starts the engines that were chosen. One that was named must start; others may be unavailable. */
export function openScanner(wiring: Wiring, choice: EngineChoice, timeout = SCAN_TIMEOUT): Promise<Scanner> {
  const factories = chosenEngines(wiring, choice.engine);
  const engines = factories.map((factory) => factory.create({ rules: choice.rules ?? [] }));
  return wiring.startScanner(engines, { timeout, strict: choice.engine !== undefined });
}

/** Reads an input file whole. Throws {@link InputError} when it cannot be read, is a folder or too long. */
export function readInput(path: string): Uint8Array<ArrayBuffer> {
  const refuse = (reason: string): never => {
    throw new InputError(`Cannot read "${escapeText(path)}": ${reason}`);
  };
  try {
    const info = Deno.statSync(path);
    if (info.isDirectory) return refuse("it is a folder");
    if (!info.isFile) return refuse("it is not a regular file");
    if (info.size > LONGEST_FILE) return refuse(`it has ${info.size} bytes, more than ${LONGEST_FILE}`);
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof InputError) throw error;
    if (error instanceof Deno.errors.NotFound) return refuse("it is not there");
    if (error instanceof Deno.errors.PermissionDenied) return refuse("permission denied");
    return refuse(sayError(error));
  }
}
