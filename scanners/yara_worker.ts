// SPDX-License-Identifier: Apache-2.0
/**
 * The worker in which YARA-X runs: one compiled rule set, one scan at a time. It can be ended at any moment,
 * whatever a rule or a unit makes of it.
 *
 * @module
 */
import { Compiler, initSync, type Scanner } from "@virustotal/yara-x";
import type { YaraReply, YaraRequest, YaraRule } from "./yara_protocol.ts";

/** Most rules of one unit that are reported. */
const MOST_THREATS = 64;

/** Matches of one pattern that are told; where there are more, they may be anywhere. */
const MOST_MATCHES = 1000;
/** Zeros around each of the units that are scanned together: what ends a word at their edges. */
const GAP = 16;

let scanner: Scanner | undefined;
let sifter: Scanner | undefined;

const scope = self as unknown as {
  onmessage: (event: MessageEvent<YaraRequest>) => void;
  postMessage(message: YaraReply): void;
};

scope.onmessage = (event) => scope.postMessage(answer(event.data));

function answer(request: YaraRequest): YaraReply {
  try {
    if (request.kind === "compile") return compile(request);
    if (!scanner) throw new Error("the rules are not compiled");
    if (request.kind === "sift") return { id: request.id, kind: "sifted", clean: sift(request.units) };
    const { valid, errors, matches } = scanner.scan(request.bytes) as Outcome;
    if (!valid) return { id: request.id, kind: "failed", message: errors.join("; ") };
    const rules: YaraRule[] = [];
    for (const match of matches) {
      if (match.isPrivate) continue;
      let offset: number | undefined;
      for (const pattern of match.patterns) {
        for (const { offset: at } of pattern.matches) if (offset === undefined || at < offset) offset = at;
      }
      rules.push({ name: match.identifier, offset });
    }
    rules.sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : (a.offset ?? -1) - (b.offset ?? -1));
    return { id: request.id, kind: "scanned", rules: rules.slice(0, MOST_THREATS) };
  } catch (error) {
    return {
      id: request.id,
      kind: "failed",
      message: error instanceof Error ? error.message : String(error),
      // A trap inside the module leaves it in an unknown state.
      broken: error instanceof WebAssembly.RuntimeError,
    };
  }
}

function compile(request: YaraRequest & { kind: "compile" }): YaraReply {
  initSync({ module: request.wasm ?? ownWasm() });
  scanner = sifter = undefined;
  const compiler = new Compiler();
  for (const [index, source] of request.sources.entries()) {
    try {
      // A name space of its own for each file, so that equal rule names do not clash.
      compiler.newNamespace(`file${index}`);
      compiler.addSource(source.text);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { id: request.id, kind: "refused", file: source.name, message };
    }
  }
  const rules = compiler.build();
  scanner = rules.scanner();
  scanner.setMaxMatchesPerPattern(MOST_MATCHES);
  if (request.sift) sifter = compileSifter(request.sift);
  return { id: request.id, kind: "compiled" };
}

/** The scanner to sift by; undefined when its rules do not compile: nothing is sifted then. */
function compileSifter(texts: readonly string[]): Scanner | undefined {
  try {
    const compiler = new Compiler();
    for (const [index, text] of texts.entries()) {
      compiler.newNamespace(`file${index}`);
      compiler.addSource(text);
    }
    const made = compiler.build().scanner();
    made.setMaxMatchesPerPattern(MOST_MATCHES);
    return made;
  } catch {
    return undefined;
  }
}

/** Indices of the units that no match of a pattern touches. */
function sift(units: readonly Uint8Array[]): number[] {
  if (!sifter) return [];
  const starts: number[] = [];
  let size = GAP;
  for (const unit of units) {
    starts.push(size);
    size += unit.length + GAP;
  }
  const joined = new Uint8Array(size);
  units.forEach((unit, index) => joined.set(unit, starts[index]));
  const { valid, matches } = sifter.scan(joined) as Outcome;
  if (!valid) return [];
  const touched = new Set<number>();
  for (const { patterns } of matches) {
    if (patterns.every((pattern) => pattern.matches.length === 0)) return [];
    for (const pattern of patterns) {
      if (pattern.matches.length >= MOST_MATCHES) return [];
      for (const { offset, length } of pattern.matches) {
        // The first unit that ends behind the match's start, and those that begin before its end.
        let [low, high] = [0, units.length];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (starts[middle] + units[middle].length <= offset) low = middle + 1;
          else high = middle;
        }
        for (; low < units.length && starts[low] < offset + length; low++) touched.add(low);
      }
    }
  }
  return [...units.keys()].filter((index) => !touched.has(index));
}

/** The module that lies beside the package's entry. */
function ownWasm(): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL("yara_x_js_bg.wasm", import.meta.resolve("@virustotal/yara-x")));
}

/** What the package's scan returns, as far as it is used. */
interface Outcome {
  readonly valid: boolean;
  readonly errors: readonly string[];
  readonly matches: readonly {
    readonly identifier: string;
    readonly isPrivate: boolean;
    readonly patterns: readonly {
      readonly matches: readonly { readonly offset: number; readonly length: number }[];
    }[];
  }[];
}
