// SPDX-License-Identifier: Apache-2.0
/**
 * The rules umbra carries: enough to prove that an engine works, nothing more. Real rules come with `--rules`.
 *
 * @module
 */

/**
 * What the self-test's payloads contain: 32 bytes of ASCII that stand encrypted in the packed samples and in
 * the clear in memory only after they unpacked themselves.
 */
export const SELFTEST_MARKER: string = ["UMBRA-SELFTEST", "PAYLOAD-5d1c07e9#"].join("-");

/**
 * The EICAR antivirus test string. Put together backwards, so that no scanner takes this file, or the
 * executable made from it, for the test file itself.
 */
export const EICAR: string = [
  "*H+H$!ELIF-TSET-SURIVITNA-",
  "DRADNATS-RACIE$}7)CC7)^P(45XZP\\4[PA@%P!O5X",
].join("").split("").reverse().join("");

/** Names of the built-in rules, as they stand in findings. */
export const BUILTIN_RULES = {
  selftest: "UMBRA_selftest_payload",
  eicar: "UMBRA_EICAR_test_string",
} as const;

function hexString(text: string): string {
  return [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** The built-in rules as YARA source. */
export function builtinRules(): string {
  return `
rule ${BUILTIN_RULES.selftest} {
  meta: description = "payload of umbra's own self-test"
  strings: $marker = { ${hexString(SELFTEST_MARKER)} }
  condition: $marker
}
rule ${BUILTIN_RULES.eicar} {
  meta: description = "EICAR antivirus test string"
  strings: $eicar = { ${hexString(EICAR)} }
  condition: $eicar
}
`;
}
