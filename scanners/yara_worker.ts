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

let scanner: Scanner | undefined;

const scope = self as unknown as {
  onmessage: (event: MessageEvent<YaraRequest>) => void;
  postMessage(message: YaraReply): void;
};

scope.onmessage = (event) => scope.postMessage(answer(event.data));

function answer(request: YaraRequest): YaraReply {
  try {
    if (request.kind === "compile") return compile(request);
    if (!scanner) throw new Error("the rules are not compiled");
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
  scanner.setMaxMatchesPerPattern(1000);
  return { id: request.id, kind: "compiled" };
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
    readonly patterns: readonly { readonly matches: readonly { readonly offset: number }[] }[];
  }[];
}
