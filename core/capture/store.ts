// SPDX-License-Identifier: Apache-2.0
/**
 * The content-addressed page store: each content of each page address is kept once.
 *
 * @module
 */
import { sha256 } from "../hash.ts";
import { hex8 } from "../text.ts";
import type { CaptureFiles } from "./files.ts";

/** Bytes of a page. */
export const PAGE_SIZE = 4096;

/** What became of a page handed to the store. */
export interface StoredPage {
  readonly sha256: string;
  /** True when this content at this address was not there before. */
  readonly fresh: boolean;
}

/** Keeps pages by address and content, in files of a {@link CaptureFiles}. */
export class PageStore {
  readonly #known = new Set<string>();
  /** @param limit most pages kept, over all domains; what comes after is refused, and so counted lost. */
  constructor(private readonly files: CaptureFiles, private readonly limit: number) {}

  /** Number of different pages kept. */
  get size(): number {
    return this.#known.size;
  }

  /**
   * Keeps one page of exactly 4096 bytes under its address and hash. Returns undefined when the store is full.
   * Throws when the bytes are not a page, or the files cannot take it; then nothing has changed.
   */
  put(va: number, bytes: Uint8Array): StoredPage | undefined {
    if (bytes.length !== PAGE_SIZE) {
      throw new RangeError(`Cannot store page ${hex8(va)}: it has ${bytes.length} bytes, not ${PAGE_SIZE}`);
    }
    const hash = sha256(bytes);
    const name = `${hex8(va)}-${hash}`;
    if (this.#known.has(name)) return { sha256: hash, fresh: false };
    if (this.#known.size >= this.limit) return undefined;
    this.files.write("pages", `${name}.bin`, bytes);
    this.#known.add(name);
    return { sha256: hash, fresh: true };
  }
}
