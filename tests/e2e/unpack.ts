// SPDX-License-Identifier: Apache-2.0
/**
 * Unpacks a program in this process, by the service that `umbra emulate` runs, and keeps everything in memory.
 *
 * @module
 */
import { MemoryFiles } from "../../core/capture/files.ts";
import type { Scanner } from "../../core/ports.ts";
import type { Report } from "../../core/report.ts";
import { emulate } from "../../core/service/emulate.ts";
import { testbed } from "../../emulator/testbed.ts";
import { indexOf } from "./umbra.ts";

/** What an emulation left. */
export class Unpacked {
  constructor(readonly report: Report, private readonly files: MemoryFiles) {}

  /** The captured pages that lie at this virtual address. */
  pagesAt = (va: number): Uint8Array[] => {
    const prefix = `pages/${va.toString(16).padStart(8, "0")}-`;
    return [...this.files.files].filter(([name]) => name.startsWith(prefix)).map(([, bytes]) => bytes);
  };

  /** Processes in whose name pages were captured that hold these bytes. */
  holders(bytes: Uint8Array): Set<number> {
    const hashes = new Set<string>();
    for (const [name, page] of this.files.files) {
      if (name.startsWith("pages/") && indexOf(page, bytes) >= 0) hashes.add(name.slice(-68, -4));
    }
    const events = this.files.lines.map((line) => JSON.parse(line) as { pid: number; sha256: string | null });
    return new Set(
      events.filter(({ sha256 }) => sha256 !== null && hashes.has(sha256)).map(({ pid }) => pid),
    );
  }

  /** The rebuilt images of the allocation at this address, in the order of their layers. */
  imagesAt(va: number): { readonly id: string; readonly layer: number; readonly bytes: Uint8Array }[] {
    return this.report.images.filter((image) => image.va === va).map(({ id, layer }) => ({
      id,
      layer,
      bytes: this.files.files.get(`images/${id.slice("image:".length)}.exe`)!,
    }));
  }
}

/** Emulates a program to its end; without a scanner nothing is scanned. */
export async function unpack(
  sample: { readonly name: string; readonly bytes: Uint8Array },
  options: {
    readonly scanner?: Scanner;
    readonly company?: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  } = {},
): Promise<Unpacked> {
  const files = new MemoryFiles();
  const report = await emulate(testbed, sample, {
    umbra: "test",
    maxInstructions: 1_000_000_000,
    timeLimit: 0,
    args: [],
    files,
    ...options,
  });
  return new Unpacked(report, files);
}
