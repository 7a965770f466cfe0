// SPDX-License-Identifier: Apache-2.0
/** ntdll.dll: system calls, runtime library and loader. The exception dispatcher is the kernel model's. @module */
import type { DllDefinition } from "../../api.ts";
import { define } from "../define.ts";
import known from "../known/ntdll.json" with { type: "json" };
import { memoryCode, runtimeCode } from "../shared/machine_code.ts";
import { formatted } from "../msvcrt/printf.ts";
import { stdlib } from "../msvcrt/stdlib.ts";
import { strings } from "../msvcrt/string.ts";
import { Status } from "../shared/errors.ts";
import { addresses } from "./addresses.ts";
import { heap, heapFunctions } from "./heap.ts";
import { loader } from "./loader.ts";
import { native } from "./native.ts";
import { unicode } from "./unicode.ts";

/** Functions of the C runtime that ntdll exports too. */
const RUNTIME = (
  "strcat strchr strcspn strncat strncmp strncpy strpbrk strrchr strspn strstr _stricmp _strnicmp _strlwr _strupr " +
  "wcscat wcschr wcscmp wcscpy wcscspn wcsncat wcsncmp wcsncpy wcspbrk wcsrchr wcsspn wcsstr _wcsicmp _wcsnicmp " +
  "_wcslwr _wcsupr toupper tolower towupper towlower isalpha isdigit isalnum isspace isupper islower isxdigit " +
  "atoi atol _wtoi strtol strtoul wcstoul _itoa _ltoa _ultoa _itow _ltow _ultow"
).split(" ");
const PRINTING = "sprintf _snprintf _vsnprintf swprintf _snwprintf vsprintf".split(" ");

const pick = (from: Record<string, unknown>, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, from[name]])) as typeof strings;

const crt = { ...pick({ ...strings, ...stdlib }, RUNTIME), ...pick(formatted, PRINTING) };

/** ntdll.dll, with all its functions. */
export const ntdll: DllDefinition = define({
  name: "ntdll.dll",
  base: 0x77200000,
  known,
  handlers: [addresses, heap, loader, native, unicode, crt],
  words: {
    ...Object.fromEntries(Object.keys(crt).map((name) => [name, "cdecl" as const])),
    // Names of ours that Windows 7 keeps to itself but kernel32 forwards to.
    DbgPrint: "cdecl",
  },
  // A status of success would promise handles and results that nobody wrote.
  refusal: (name) =>
    /^(Nt|Zw)[A-Z]/.test(name) && !/(Continue|RaiseException|CallbackReturn)$/.test(name)
      ? Status.notImplemented
      : undefined,
  functions: [...memoryCode, ...runtimeCode, ...heapFunctions],
});
