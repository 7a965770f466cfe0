// SPDX-License-Identifier: Apache-2.0
/** What the samples' payloads carry; equal to what `scanners/builtin_rules.ts` looks for (a test compares them). */
export const MARKER: string = ["UMBRA-SELFTEST", "PAYLOAD-5d1c07e9#"].join("-");
