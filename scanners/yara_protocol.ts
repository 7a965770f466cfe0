// SPDX-License-Identifier: Apache-2.0
/** One source of YARA rules: where it comes from, in words, and its text. */
export interface YaraSource {
  readonly name: string;
  readonly text: string;
}

/** A rule that matched, and the lowest offset at which one of its patterns was found. */
export interface YaraRule {
  readonly name: string;
  readonly offset: number | undefined;
}

/** What the worker is asked. */
export type YaraRequest =
  | {
    readonly id: number;
    readonly kind: "compile";
    /** The package's module when it was provided; else the worker reads the package's own file. */
    readonly wasm: Uint8Array<ArrayBuffer> | undefined;
    readonly sources: readonly YaraSource[];
    /** Rules to sift by, a text for each source (see yara_sift.ts); undefined: nothing is sifted. */
    readonly sift: readonly string[] | undefined;
  }
  | { readonly id: number; readonly kind: "scan"; readonly bytes: Uint8Array }
  | { readonly id: number; readonly kind: "sift"; readonly units: readonly Uint8Array[] };

/** What the worker answers, under the request's id. */
export type YaraReply =
  | { readonly id: number; readonly kind: "compiled" }
  | { readonly id: number; readonly kind: "refused"; readonly file: string; readonly message: string }
  | { readonly id: number; readonly kind: "scanned"; readonly rules: readonly YaraRule[] }
  /** Indices of units in which no pattern is. */
  | { readonly id: number; readonly kind: "sifted"; readonly clean: readonly number[] }
  | { readonly id: number; readonly kind: "failed"; readonly message: string; readonly broken?: boolean };
