// SPDX-License-Identifier: Apache-2.0
/**
 * Functions that hand what there is to a callback, one by one: there is one of each in the model. Programs that
 * hide their code have it run that way too.
 *
 * @module
 */
import type { Handler } from "../../api.ts";
import { type Handlers, invoke } from "../define.ts";
import { lasting } from "./text.ts";

/** What a callback is given: a text of the function's width, a number, or one of the function's arguments. */
type Given = string | number | { readonly argument: number };

/** One of a function's arguments, counted from 0. */
const its = (argument: number): Given => ({ argument });

/** Calls the callback that is the argument `callback` once; answers what it answered, or `result`. */
function enumeration(wide: boolean, callback: number, given: readonly Given[], result?: number): Handler {
  return function* (call, ...args) {
    const words = given.map((one) => {
      if (typeof one === "number") return one;
      return typeof one === "string"
        ? lasting(call, `enumerated:${one}`, one, wide)
        : args[one.argument] ?? 0;
    });
    const answer: number = yield invoke(args[callback], words);
    return result ?? answer;
  };
}

type Row = readonly [callback: number, given: readonly Given[], result?: number];

/** The handlers of a table; `widths` are the suffixes of each name and whether texts are wide. */
function handlersOf(
  rows: Readonly<Record<string, Row>>,
  widths: readonly (readonly [string, boolean])[],
): Handlers {
  return Object.fromEntries(
    Object.entries(rows).flatMap(([name, [callback, given, result]]) =>
      widths.map(([suffix, wide]) =>
        [`${name}${suffix}`, enumeration(wide, callback, given, result)] as const
      )
    ),
  );
}

const BOTH = [["A", false], ["W", true]] as const;
const PLAIN = [["", true]] as const;
const LANGUAGE_GROUP = "Western Europe and United States";

/** kernel32: formats, calendars, code pages, languages. */
export const localeEnumerations: Handlers = {
  ...handlersOf({
    EnumDateFormats: [0, ["M/d/yyyy"], 1],
    EnumDateFormatsEx: [0, ["M/d/yyyy", 1], 1],
    EnumTimeFormats: [0, ["h:mm:ss tt"], 1],
    EnumCalendarInfo: [0, ["Gregorian Calendar"], 1],
    EnumCalendarInfoEx: [0, ["Gregorian Calendar", 1], 1],
    EnumSystemCodePages: [0, ["1252"], 1],
    EnumUILanguages: [0, ["0409", its(2)], 1],
    EnumSystemLanguageGroups: [0, [1, "1", LANGUAGE_GROUP, 1, its(2)], 1],
    EnumLanguageGroupLocales: [0, [1, 0x409, "00000409", its(3)], 1],
  }, BOTH),
  ...handlersOf({
    EnumSystemGeoID: [2, [244], 1],
    EnumSystemLocalesEx: [0, ["en-US", 1, its(2)], 1],
    EnumDateFormatsExEx: [0, ["M/d/yyyy", 1, its(3)], 1],
    EnumTimeFormatsEx: [0, ["h:mm:ss tt", its(3)], 1],
  }, PLAIN),
};

/** user32: stations, desktops; drawing by a callback. */
export const desktopEnumerations: Handlers = {
  ...handlersOf({
    EnumDesktops: [1, ["Default", its(2)]],
    EnumWindowStations: [0, ["WinSta0", its(1)]],
    GrayString: [2, [its(0), its(3), its(4)], 1],
    DrawState: [2, [its(0), its(3), its(4), its(7), its(8)], 1],
    SendMessageCallback: [4, [its(0), its(1), its(5), 0], 1],
  }, BOTH),
};

/** gdi32: colour profiles. */
export const profileEnumerations: Handlers = handlersOf({
  EnumICMProfiles: [1, [
    "C:\\Windows\\system32\\spool\\drivers\\color\\sRGB Color Space Profile.icm",
    its(2),
  ]],
}, BOTH);

/** crypt32: certificate stores. */
export const storeEnumerations: Handlers = handlersOf({
  CertEnumSystemStore: [3, ["MY", 0x10000, 0, 0, its(2)], 1],
  CertEnumSystemStoreLocation: [2, ["CurrentUser", 0x10000, 0, its(1)], 1],
  CryptEnumOIDInfo: [3, [0, its(2)], 1],
}, PLAIN);

/** Of DLLs that are otherwise known by name only. */
export const otherEnumerations: Readonly<Record<string, Handlers>> = {
  imm32: handlersOf({ ImmEnumInputContext: [1, [0x10001, its(2)]] }, PLAIN),
  powrprof: handlersOf({ EnumPwrSchemes: [0, [0, 18, "Balanced", 2, "", 0, its(1)], 1] }, PLAIN),
  dbghelp: {
    ...handlersOf({ SymEnumProcesses: [0, [4, its(1)], 1] }, PLAIN),
    EnumerateLoadedModules: function* (call, _process, callback, context) {
      for (const { name, base, size } of [...call.modules.all()]) {
        const address = lasting(call, `enumerated:${name}`, name, false);
        const goesOn: number = yield invoke(callback, [address, base, size, context]);
        if (goesOn === 0) break;
      }
      return 1;
    },
    EnumerateLoadedModules64: function* (call, _process, callback, context) {
      for (const { name, base, size } of [...call.modules.all()]) {
        const address = lasting(call, `enumerated:${name}`, name, false);
        const goesOn: number = yield invoke(callback, [address, base, 0, size, context]);
        if (goesOn === 0) break;
      }
      return 1;
    },
  },
};
