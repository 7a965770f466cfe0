// SPDX-License-Identifier: Apache-2.0
/**
 * Reading YARA rules from files and folders.
 *
 * @module
 */
import { join } from "node:path";
import { InputError } from "../core/ports.ts";
import { byText, escapeText, sayError } from "../core/text.ts";
import type { YaraSource } from "./yara_protocol.ts";

/** Bounds on what `--rules` may name, so that a wrong path (`/`) ends in an error and not in a walk of the disk. */
const MOST_FILES = 20_000;
const MOST_BYTES = 256 * 1024 * 1024;
const DEEPEST = 16;

/**
 * Reads the rule files behind paths: a file as it is, a folder with every `.yar` and `.yara` below it, in
 * order of their names. Throws {@link InputError} when a path cannot be read, holds no rules or is too much.
 */
export function readYaraSources(paths: readonly string[]): YaraSource[] {
  const sources: YaraSource[] = [];
  let bytes = 0;
  const addFile = (path: string) => {
    const content = attempt(path, () => Deno.readFileSync(path));
    bytes += content.length;
    if (sources.length >= MOST_FILES || bytes > MOST_BYTES) {
      throw new InputError(
        `Cannot read rules ${quote(path)}: more than ${MOST_FILES} files or ${MOST_BYTES} bytes of rules`,
      );
    }
    sources.push({ name: path, text: new TextDecoder().decode(content) });
  };
  const addFolder = (path: string, depth: number) => {
    if (depth > DEEPEST) {
      throw new InputError(`Cannot read rules ${quote(path)}: more than ${DEEPEST} folders deep`);
    }
    const entries = attempt(path, () => [...Deno.readDirSync(path)]).sort((a, b) => byText(a.name, b.name));
    for (const entry of entries) {
      const child = join(path, entry.name);
      if (entry.isDirectory) addFolder(child, depth + 1);
      else if (entry.isFile && /\.yara?$/i.test(entry.name)) addFile(child);
    }
  };
  for (const path of paths) {
    const before = sources.length;
    if (attempt(path, () => Deno.statSync(path)).isDirectory) addFolder(path, 0);
    else addFile(path);
    if (sources.length === before) {
      throw new InputError(`Cannot read rules ${quote(path)}: no .yar or .yara file in it`);
    }
  }
  return sources;
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`Cannot read rules ${quote(path)}: ${sayError(error)}`);
  }
}

function quote(path: string): string {
  return `"${escapeText(path)}"`;
}

/**
 * The error for a rule file that does not compile, with file, line and column where the compiler says them
 * (its report starts `error[E001]: syntax error` and has ` --> line:4:2` on the next line).
 */
export function compileError(file: string, report: string): InputError {
  const place = report.match(/-->\s+line:(\d+):(\d+)/);
  const title = report.split("\n", 1)[0].replace(/^(Error: )?error(\[\w+\])?: /, "");
  const hint = report.match(/\^+ (.+)/)?.[1];
  const where = place ? `${escapeText(file)}:${place[1]}:${place[2]}` : escapeText(file);
  return new InputError(
    `Cannot compile YARA rules ${where}: ${escapeText(hint ? `${title}: ${hint}` : title)}`,
  );
}
