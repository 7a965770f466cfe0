// SPDX-License-Identifier: Apache-2.0
/**
 * Machine code in DLL functions: results wider than EAX, x87 arguments and results, and short functions that
 * run wholly in the guest. Values cross between handler and code through 24 spare bytes of the TEB (Windows 7
 * x86: SpareBytes at +0x1ac).
 *
 * @module
 */
import type { ApiCall, DllFunction, Handler } from "../api.ts";

/** TEB offsets: the result's eight bytes, and two x87 arguments. */
const RESULT = 0x1b0;
const FIRST = 0x1b8;
const SECOND = 0x1c0;

/** Bytes of a hexadecimal text; blanks are free. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, i) => parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

const word = (value: number) =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 255).toString(16).padStart(2, "0")).join("");

/** mov edx, fs:[result + 4] */
const LOAD_EDX = hex(`64 8b 15 ${word(RESULT + 4)}`);
/** fld qword fs:[result] */
const LOAD_ST0 = hex(`64 dd 05 ${word(RESULT)}`);
/** fstp qword fs:[…] */
const POP_FIRST = hex(`64 dd 1d ${word(FIRST)}`);
/** st(0) is the second argument, st(1) the first. */
const POP_BOTH = hex(`64 dd 1d ${word(SECOND)} 64 dd 1d ${word(FIRST)}`);

const scratch = new DataView(new ArrayBuffer(8));

/** The double at an address of guest memory. */
export function readF64(call: ApiCall, address: number): number {
  scratch.setUint32(0, call.memory.u32(address), true);
  scratch.setUint32(4, call.memory.u32((address + 4) >>> 0), true);
  return scratch.getFloat64(0, true);
}

/** Writes a double. */
export function writeF64(call: ApiCall, address: number, value: number): void {
  scratch.setFloat64(0, value, true);
  call.memory.setU32(address, scratch.getUint32(0, true));
  call.memory.setU32((address + 4) >>> 0, scratch.getUint32(4, true));
}

/** The 64-bit number at an address, unsigned. */
export function readU64(call: ApiCall, address: number): bigint {
  return BigInt(call.memory.u32(address)) | (BigInt(call.memory.u32((address + 4) >>> 0)) << 32n);
}

/** Writes the low 64 bits of a number. */
export function writeU64(call: ApiCall, address: number, value: bigint): void {
  call.memory.setU32(address, Number(value & 0xffffffffn));
  call.memory.setU32((address + 4) >>> 0, Number((value >> 32n) & 0xffffffffn));
}

/** A 64-bit number from its two words. */
export function join64(low: number, high: number): bigint {
  return BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n);
}

/** A function whose 64-bit result is in EDX:EAX. */
export function returns64(
  name: string,
  convention: "stdcall" | "cdecl",
  args: number,
  compute: (call: ApiCall, ...args: number[]) => bigint,
): DllFunction {
  return {
    name,
    convention,
    args,
    tail: LOAD_EDX,
    handler: (call, ...words) => {
      const value = compute(call, ...words);
      call.memory.setU32(call.teb + RESULT + 4, Number((value >> 32n) & 0xffffffffn));
      return Number(value & 0xffffffffn);
    },
  };
}

/** A cdecl function whose double result is in st(0); its words are read by `compute`. */
export function returnsReal(
  name: string,
  args: number,
  compute: (call: ApiCall, ...args: number[]) => number,
): DllFunction {
  return {
    name,
    convention: "cdecl",
    args,
    tail: LOAD_ST0,
    handler: (call, ...words) => writeF64(call, call.teb + RESULT, compute(call, ...words)),
  };
}

/** A cdecl function of one or two doubles on the stack, with a double result. */
export function realFunction(name: string, compute: (x: number, y: number) => number): DllFunction {
  const two = compute.length > 1;
  return returnsReal(name, 0, (call) => {
    const x = readF64(call, (call.stack + 4) >>> 0);
    return compute(x, two ? readF64(call, (call.stack + 12) >>> 0) : 0);
  });
}

/** A compiler intrinsic (`_CIpow`): arguments and result on the x87 stack. */
export function stackFunction(name: string, compute: (x: number, y: number) => number): DllFunction {
  return {
    ...returnsReal(
      name,
      0,
      (call) => compute(readF64(call, call.teb + FIRST), readF64(call, call.teb + SECOND)),
    ),
    head: compute.length > 1 ? POP_BOTH : POP_FIRST,
  };
}

/**
 * A function whose common case is machine code that returns by itself (`assembly` before the system call), and
 * whose other cases fall through to the handler.
 */
export function shortcut(
  name: string,
  convention: "stdcall" | "cdecl",
  args: number,
  assembly: string,
  handler: Handler,
): DllFunction {
  return { name, convention, args, head: hex(assembly), handler };
}

/** A function that is machine code and nothing else; `assembly` is its hexadecimal text. */
export function machineCode(
  name: string,
  convention: "stdcall" | "cdecl",
  args: number,
  assembly: string,
): DllFunction {
  return {
    name,
    convention,
    args,
    code: hex(assembly),
    handler: (call) => call.missing(`${name} (machine code expected)`),
  };
}
