// SPDX-License-Identifier: Apache-2.0
import { Capstone, Const, loadCapstone } from "capstone-wasm";
import { providedWasm } from "./npm_wasm.ts";

/** One instruction, as evidence. */
export interface Instruction {
  readonly address: number;
  /** Its bytes in hexadecimal. */
  readonly bytes: string;
  readonly text: string;
}

let loaded: Promise<void> | undefined;

/**
 * Disassembles 32-bit x86 code that lies at `address`: at most `count` instructions, up to the first byte that
 * is no instruction.
 */
export async function disassemble(code: Uint8Array, address: number, count: number): Promise<Instruction[]> {
  if (code.length === 0) return [];
  const wasmBinary = providedWasm("capstone.wasm");
  loaded ??= loadCapstone(wasmBinary ? { wasmBinary } : undefined);
  await loaded;
  const capstone = new Capstone(Const.CS_ARCH_X86, Const.CS_MODE_32);
  try {
    return capstone.disasm(code, { address, count }).map((instruction) => ({
      address: Number(instruction.address),
      bytes: [...instruction.bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
      text: `${instruction.mnemonic} ${instruction.opStr}`.trim(),
    }));
  } catch {
    // The package throws when not even the first bytes are an instruction.
    return [];
  } finally {
    capstone.close();
  }
}
