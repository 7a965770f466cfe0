// SPDX-License-Identifier: Apache-2.0
/**
 * Writes `monitor/umbra_abi.h` from the table in `abi.ts`; run as a program it writes the file.
 *
 * @module
 */
import {
  ABI_VERSION,
  COMMANDS,
  CONTENTS,
  ERRORS,
  EVENT_KINDS,
  FLAGS,
  LAYOUTS,
  LIMITS,
  POLICIES,
  RULE_KINDS,
  type StructName,
  STRUCTS,
} from "./abi.ts";

/** Where the generated header stands. */
export const HEADER = new URL("./monitor/umbra_abi.h", import.meta.url);

const constant = (name: string, value: number) =>
  `#define UMBRA_${name.toUpperCase().replaceAll("-", "_")} ${value}`;

const numbered = (prefix: string, names: readonly string[]) =>
  names.map((name, i) => constant(`${prefix}_${name}`, i));

function struct(name: StructName): string[] {
  const { fields, size } = LAYOUTS[name];
  const lines = [`/* ${STRUCTS[name].note} */`, `struct umbra_${name} {`];
  for (const { name: field, type, count, text, note, offset } of fields) {
    const c = type === "rule" ? "struct umbra_rule" : text ? "char" : `uint${type.slice(1)}_t`;
    const comment = `/* ${String(offset).padStart(4)}${note ? `  ${note}` : ""} */`;
    lines.push(`    ${`${c} ${field}${count ? `[${count}]` : ""};`.padEnd(34)} ${comment}`);
  }
  lines.push("};", `_Static_assert(sizeof(struct umbra_${name}) == ${size}, "umbra_${name}");`, "");
  return lines;
}

/** The header's text. */
export function header(): string {
  return [
    "/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */",
    "/* Written by xen/abi_header.ts from the table in xen/abi.ts: change that and run it again. */",
    "#ifndef UMBRA_ABI_H",
    "#define UMBRA_ABI_H",
    "",
    "#ifdef __XEN__",
    "#include <xen/types.h>",
    "#else",
    "#include <stdint.h>",
    "#endif",
    "",
    constant("abi_version", ABI_VERSION),
    "",
    ...Object.entries(COMMANDS).map(([name, value]) => constant(`command_${name}`, value)),
    "",
    ...Object.entries(LIMITS).map(([name, value]) => constant(name, value)),
    "",
    ...numbered("event", EVENT_KINDS),
    "",
    ...numbered("content", CONTENTS),
    "",
    ...numbered("rule", RULE_KINDS),
    "",
    ...numbered("policy", POLICIES),
    "",
    ...Object.entries(FLAGS).map(([name, value]) => constant(`flag_${name}`, value)),
    "",
    ...Object.entries(ERRORS).map(([name, value]) => constant(name, value)),
    "",
    "/* umbra_fetch.after: go on behind the last event fetched. */",
    "#define UMBRA_FETCH_ON (~(uint64_t)0)",
    "",
    ...(Object.keys(STRUCTS) as StructName[]).flatMap(struct),
    "#endif",
    "",
  ].join("\n");
}

if (import.meta.main) await Deno.writeTextFile(HEADER, header());
