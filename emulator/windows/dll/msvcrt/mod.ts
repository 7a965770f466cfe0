// SPDX-License-Identifier: Apache-2.0
/** msvcrt.dll, and the later runtimes that share its functions. @module */
import type { DllDefinition } from "../../api.ts";
import { define, type Handlers, type KnownData, knownNames, lazily } from "../define.ts";
import known from "../known/msvcrt.json" with { type: "json" };
import runtimes from "../known/runtimes.json" with { type: "json" };
import { controlCode, runtimeCode } from "../shared/machine_code.ts";
import { math } from "./math.ts";
import { formatted } from "./printf.ts";
import { scanning } from "./scanf.ts";
import { startup, variables } from "./startup.ts";
import { stdio } from "./stdio.ts";
import { stdlib, stdlibFunctions } from "./stdlib.ts";
import { strings } from "./string.ts";
import { time, timeFunctions } from "./time.ts";
import { UCRT_BASE, universalRuntime } from "./ucrt.ts";

const handlers: Handlers = {
  ...strings,
  ...formatted,
  ...scanning,
  ...stdio,
  ...stdlib,
  ...startup,
  ...time,
};
const functions = [...runtimeCode, ...controlCode, ...math, ...stdlibFunctions, ...timeFunctions];
const STDCALL: Record<string, number> = { _CxxThrowException: 2 };

/** All are cdecl but one. */
const words = Object.fromEntries(
  Object.keys(handlers).map((name) => [name, STDCALL[name] ?? "cdecl" as const]),
);

/** msvcrt.dll, with all its functions. */
export const msvcrt: DllDefinition = define({
  name: "msvcrt.dll",
  base: 0x75800000,
  known,
  handlers: [handlers],
  words,
  functions,
  variables,
});

/** The universal runtime, behind the API sets `api-ms-win-crt-…`. */
export const ucrtbase: DllDefinition = lazily(
  "ucrtbase.dll",
  UCRT_BASE,
  () => universalRuntime(handlers, functions, words),
);

/** The runtimes that programs bring with them or that later compilers use: what each of them exports. */
export const laterRuntimes: readonly DllDefinition[] = Object.entries(runtimes as Record<string, KnownData>)
  .map(([name, data], i) => {
    const base = 0x70000000 + i * 0x100000;
    return lazily(`${name}.dll`, base, () => {
      const has = knownNames(data);
      const own = Object.fromEntries(Object.entries(handlers).filter(([handler]) => has.has(handler)));
      return define({
        name: `${name}.dll`,
        base,
        known: data,
        handlers: [own],
        words: Object.fromEntries(Object.keys(own).map((handler) => [handler, words[handler]])),
        functions: functions.filter((one) => has.has(one.name)),
        variables: variables.filter((one) => has.has(one.name)),
      });
    });
  });
