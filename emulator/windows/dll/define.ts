// SPDX-License-Identifier: Apache-2.0
/**
 * Puts a DLL together from its handlers and from the data in `known/`. How many words a stdcall function
 * removes comes from that data, said once; a handler names only the arguments it uses.
 *
 * @module
 */
import type { DllDefinition, DllFunction, DllVariable, Handler, Request } from "../api.ts";

/** Content of a file in `known/`: argument words, `cdecl` or `data` → names with blanks between. */
export type KnownData = Readonly<Record<string, string>>;

/** Handlers by exported name. */
export type Handlers = Readonly<Record<string, Handler>>;

/** Parts of a DLL; see {@link define}. */
export interface DllParts {
  readonly name: string;
  readonly base: number;
  readonly known?: KnownData;
  /** Conventions come from `known`; a function it lacks needs an entry in `words`. */
  readonly handlers?: readonly Handlers[];
  /** What an unmodelled function answers instead of 0 (it is counted missing all the same). */
  readonly refusal?: (name: string) => number | undefined;
  /** stdcall words of functions that the data lacks, or "cdecl". */
  readonly words?: Readonly<Record<string, number | "cdecl">>;
  /** Ready functions (machine code, x87 results); they win over handlers of the same name. */
  readonly functions?: readonly DllFunction[];
  readonly variables?: readonly DllVariable[];
  readonly forwards?: Readonly<Record<string, string>>;
  readonly ordinals?: Readonly<Record<string, number>>;
}

/** What `known/` says of one name. */
export interface KnownName {
  readonly convention: "stdcall" | "cdecl" | "data";
  readonly words: number;
}

/** Decodes a file of `known/` into a map by name. */
export function knownNames(data: KnownData): Map<string, KnownName> {
  const names = new Map<string, KnownName>();
  for (const [group, list] of Object.entries(data)) {
    const convention = group === "cdecl" || group === "data" ? group : "stdcall";
    const words = convention === "stdcall" ? Number(group) : 0;
    for (const name of list.split(" ")) names.set(name, { convention, words });
  }
  return names;
}

/** Words that a handler takes after the call itself. */
export function parameters(handler: Handler): number {
  return Math.max(0, handler.length - 1);
}

/** The definition of a DLL that is made when somebody asks for more than its name and base. */
export function lazily(name: string, base: number, make: () => DllDefinition): DllDefinition {
  let made: DllDefinition | undefined;
  const get = () => made ??= make();
  return {
    name,
    base,
    get functions() {
      return get().functions;
    },
    get variables() {
      return get().variables;
    },
    get forwards() {
      return get().forwards;
    },
    get known() {
      return get().known;
    },
    get ordinals() {
      return get().ordinals;
    },
  };
}

/**
 * Makes the definition of a DLL, once its functions are asked for; most programs use a few DLLs only. Asking
 * throws when a function's argument words are neither in the data nor said, or when a handler takes more words
 * than the function has.
 */
export function define(parts: DllParts): DllDefinition {
  return lazily(parts.name, parts.base, () => definition(parts));
}

function definition(parts: DllParts): DllDefinition {
  const known = knownNames(parts.known ?? {});
  const functions = new Map<string, DllFunction>();
  for (const [name, handler] of (parts.handlers ?? []).flatMap((group) => Object.entries(group))) {
    const said = parts.words?.[name];
    const fact = known.get(name);
    const convention = said === undefined
      ? fact?.convention ?? "data"
      : said === "cdecl"
      ? "cdecl" as const
      : "stdcall" as const;
    if (convention === "data") throw new Error(`Cannot define ${parts.name}!${name}: argument words unknown`);
    const words = convention === "cdecl"
      ? parameters(handler)
      : said === undefined
      ? fact!.words
      : Number(said);
    if (parameters(handler) > words) {
      throw new Error(
        `Cannot define ${parts.name}!${name}: handler takes ${
          parameters(handler)
        } words, function has ${words}`,
      );
    }
    functions.set(name, { name, convention, args: words, handler });
  }
  for (const ready of parts.functions ?? []) functions.set(ready.name, ready);
  const variables = new Set((parts.variables ?? []).map((variable) => variable.name));
  const rest: Record<string, number> = {};
  for (const [name, fact] of known) {
    const taken = functions.has(name) || variables.has(name) || Object.hasOwn(parts.forwards ?? {}, name);
    if (taken || fact.convention === "data") continue;
    const refusal = parts.refusal?.(name);
    if (refusal === undefined) rest[name] = fact.words;
    else functions.set(name, refusing(name, fact, refusal));
  }
  return {
    name: parts.name,
    base: parts.base,
    functions: [...functions.values()],
    variables: parts.variables,
    forwards: parts.forwards,
    known: rest,
    ordinals: parts.ordinals,
  };
}

/** A function that is not modelled and says no. */
function refusing(name: string, fact: KnownName, answer: number): DllFunction {
  return {
    name,
    convention: fact.convention === "cdecl" ? "cdecl" : "stdcall",
    args: fact.words,
    handler: (call) => {
      call.missing(name);
      return answer;
    },
  };
}

/** Functions that come as `NameA` and `NameW`, from one maker that is told which of the two it makes. */
export function both(makers: Readonly<Record<string, (wide: boolean) => Handler>>): Handlers {
  const made: Record<string, Handler> = {};
  for (const [name, make] of Object.entries(makers)) {
    made[`${name}A`] = make(false);
    made[`${name}W`] = make(true);
  }
  return made;
}

/** The same handler under several names. */
export function alias(names: readonly string[], handler: Handler): Handlers {
  return Object.fromEntries(names.map((name) => [name, handler]));
}

/** Functions that always answer the same number. */
export function constant(value: number, names: string): Handlers {
  return alias(names.split(" "), () => value >>> 0);
}

/** A request to call guest code. */
export function invoke(address: number, args: readonly number[], cdecl = false): Request {
  return { kind: "invoke", address: address >>> 0, args: args.map((arg) => arg >>> 0), cdecl };
}
