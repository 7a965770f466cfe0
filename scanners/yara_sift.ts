// SPDX-License-Identifier: Apache-2.0
/**
 * Rules for sifting: a scan costs the same few milliseconds for 16 bytes as for a megabyte, so many small units
 * are joined and scanned once for the patterns alone. A unit in which no pattern is cannot match a rule that needs
 * one of its patterns: it is clean without a scan of its own.
 *
 * That holds only for rules of which it can be proven, and this proves little: every condition that is false while
 * none of the rule's patterns is there, by `and`, `or`, `$a` and `any of them`; patterns that look at nothing
 * outside themselves. One rule that is not so, or that is not understood, and nothing is sifted.
 *
 * Source: YARA documentation, "Writing YARA rules".
 *
 * @module
 */

/** A rule as far as it is understood. */
interface Rule {
  readonly name: string;
  readonly isPrivate: boolean;
  /** Text of the strings section; "" when there is none. */
  readonly strings: string;
  /** Whether a match needs one of these strings. */
  readonly needsString: boolean;
}

/** Longest bounded jump in a hexadecimal string that counts as local. */
const LONGEST_JUMP = 100;

/**
 * The rules with their conditions replaced by `any of them`, one text for each source; undefined when not every
 * unit that matches a rule holds one of its patterns, or when that is not sure.
 */
export function siftRules(sources: readonly string[]): string[] | undefined {
  const texts: string[] = [];
  for (const source of sources) {
    const rules = new Parser(source).rules();
    // What a private rule says is not reported: it is only there for others.
    const told = rules?.filter(({ isPrivate }) => !isPrivate);
    if (!told || !told.every(({ needsString }) => needsString)) return undefined;
    texts.push(
      told.map(({ name, strings }) => `rule ${name} { strings: ${strings} condition: any of them }`).join(
        "\n",
      ),
    );
  }
  return texts;
}

/** Modifiers of strings: base64 ends otherwise at the end of the data; where a private string is found is not told. */
const NOT_SIFTED: ReadonlySet<string> = new Set(["base64", "base64wide", "private"]);

const SPACE = /(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;
const WORD = /[A-Za-z_][A-Za-z0-9_]*/y;
const TEXT = /"(?:[^"\\\n]|\\.)*"/y;
const PATTERN_ID = /\$[A-Za-z0-9_]*/y;
/** In a condition: what is not told apart any further. */
const OTHER = /[#@!]?\$?[A-Za-z0-9_.]+|[^\s(){}"/]/y;

class Misunderstood extends Error {}

/** A reader of rules that gives up on what it does not know. */
class Parser {
  #at = 0;
  constructor(private readonly source: string) {}

  /** All rules of the source; undefined when one is not understood. */
  rules(): Rule[] | undefined {
    try {
      const rules: Rule[] = [];
      while (!this.#ended()) {
        if (this.#word("import")) this.#expect(TEXT);
        else rules.push(this.#rule());
      }
      return rules;
    } catch (error) {
      if (error instanceof Misunderstood) return undefined;
      throw error;
    }
  }

  #rule(): Rule {
    let isPrivate = false;
    for (;;) {
      if (this.#word("private")) isPrivate = true;
      else if (!this.#word("global")) break;
    }
    if (!this.#word("rule")) throw new Misunderstood();
    const name = this.#expect(WORD);
    if (this.#sign(":")) { while (this.#match(WORD)); }
    this.#must("{");
    if (this.#section("meta")) this.#meta();
    let strings = "";
    if (this.#section("strings")) {
      const start = this.#at;
      this.#strings();
      strings = this.source.slice(start, this.#at);
    }
    if (!this.#section("condition")) throw new Misunderstood();
    const never = this.#or();
    this.#must("}");
    return { name, isPrivate, strings, needsString: strings !== "" && never };
  }

  #meta(): void {
    while (!this.#peekSection("strings") && !this.#peekSection("condition")) {
      this.#expect(WORD);
      this.#must("=");
      if (!this.#match(TEXT) && !this.#match(/-?[0-9][0-9A-Za-z]*/y)) this.#expect(/true|false/y);
    }
  }

  #strings(): void {
    while (this.#match(PATTERN_ID) !== undefined) {
      this.#must("=");
      // Regular expressions look around themselves, and match as far as they can: not sifted.
      if (this.#match(TEXT) === undefined) this.#hexadecimal();
      const modifiers = new Set<string>();
      while (!this.#peekSection("condition")) {
        const modifier = this.#match(WORD);
        if (modifier === undefined) break;
        if (NOT_SIFTED.has(modifier)) throw new Misunderstood();
        modifiers.add(modifier);
        this.#match(/\((?:[^()"]|"(?:[^"\\\n]|\\.)*")*\)/y);
      }
      // What stands beside a word is then taken for encrypted too: a zero may be a letter.
      if (modifiers.has("xor") && modifiers.has("fullword")) throw new Misunderstood();
    }
  }

  #hexadecimal(): void {
    const text = this.#expect(/\{[^}]*\}/y).replace(/\/\/[^\n]*|\/\*[^]*?\*\//g, "");
    for (const [, jump] of text.matchAll(/\[([^\]]*)\]/g)) {
      const longest = /^\s*(?:\d+\s*-\s*)?(\d+)\s*$/.exec(jump)?.[1];
      if (longest === undefined || Number(longest) > LONGEST_JUMP) throw new Misunderstood();
    }
  }

  /** Each of these: true when the expression is false while no string of the rule is there. */
  #or(): boolean {
    let never = this.#and();
    while (this.#word("or")) never = this.#and() && never;
    return never;
  }

  #and(): boolean {
    let never = this.#primary();
    while (this.#word("and")) never = this.#primary() || never;
    return never;
  }

  #primary(): boolean {
    const start = this.#at;
    if (this.#sign("(")) {
      const never = this.#or();
      this.#must(")");
      // What is in brackets may be a number, to be compared with what follows.
      return this.#rest() && never;
    }
    const id = this.#match(/\$[A-Za-z0-9_]+/y);
    if (id !== undefined) {
      const where = this.#word("at") || this.#word("in");
      return this.#rest() || where;
    }
    if (this.#quantified()) {
      const where = this.#word("at") || this.#word("in");
      return this.#rest() || where;
    }
    this.#at = start;
    if (this.#rest()) throw new Misunderstood();
    return false;
  }

  /** Whether `any of them`, `all of ($a*)` or the like comes next, over strings and with at least one. */
  #quantified(): boolean {
    if (
      !this.#word("any") && !this.#word("all") && this.#match(/[1-9][0-9]*(?![0-9A-Za-z.%])/y) === undefined
    ) {
      return false;
    }
    if (!this.#word("of")) return false;
    if (this.#word("them")) return true;
    return this.#match(/\(\s*\$[A-Za-z0-9_]*\*?(?:\s*,\s*\$[A-Za-z0-9_]*\*?)*\s*\)/y) !== undefined;
  }

  /** Passes over the rest of an expression, up to `and`, `or` or a bracket that closes; true when there is none. */
  #rest(): boolean {
    for (let empty = true;; empty = false) {
      this.#space();
      if (this.#ended()) throw new Misunderstood();
      const next = this.source[this.#at];
      if (next === ")" || next === "}" || this.#peek(/(?:and|or)\b/y)) return empty;
      if (next === "(") this.#brackets();
      else if (next === "/") throw new Misunderstood();
      else if (this.#match(TEXT) === undefined) this.#expect(OTHER);
    }
  }

  /** Passes over brackets and all that is in them. */
  #brackets(): void {
    this.#must("(");
    while (!this.#sign(")")) {
      if (this.#ended()) throw new Misunderstood();
      const next = this.source[this.#at];
      if (next === "(") this.#brackets();
      else if (next === "/" || next === "{" || next === "}") throw new Misunderstood();
      else if (this.#match(TEXT) === undefined) this.#expect(OTHER);
    }
  }

  #space(): void {
    SPACE.lastIndex = this.#at;
    SPACE.exec(this.source);
    this.#at = SPACE.lastIndex;
  }

  #ended(): boolean {
    this.#space();
    return this.#at >= this.source.length;
  }

  #peek(pattern: RegExp): boolean {
    this.#space();
    pattern.lastIndex = this.#at;
    return pattern.test(this.source);
  }

  #match(pattern: RegExp): string | undefined {
    this.#space();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.source)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #expect(pattern: RegExp): string {
    const found = this.#match(pattern);
    if (found === undefined) throw new Misunderstood();
    return found;
  }

  #word(word: string): boolean {
    return this.#match(new RegExp(`${word}\\b`, "y")) !== undefined;
  }

  #sign(sign: string): boolean {
    this.#space();
    if (this.source[this.#at] !== sign) return false;
    this.#at++;
    return true;
  }

  #must(sign: string): void {
    if (!this.#sign(sign)) throw new Misunderstood();
  }

  #peekSection(name: string): boolean {
    return this.#peek(new RegExp(`${name}\\s*:`, "y"));
  }

  #section(name: string): boolean {
    return this.#match(new RegExp(`${name}\\s*:`, "y")) !== undefined;
  }
}
