// SPDX-License-Identifier: Apache-2.0
/**
 * Memory of the current process as kernel and API code use it: user addresses only, page faults resolved as
 * for the program's own instructions, bad pointers thrown as {@link GuestFault}.
 *
 * @module
 */
import { GuestPageFault } from "../hypervisor/types.ts";
import type { Vcpu } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import type { GuestMemory } from "./api.ts";
import { get16, get32, latin1, put16, utf16, word } from "./bytes.ts";
import { Status, USER_END } from "./constants.ts";
import type { FaultOutcome } from "./memory_base.ts";
import type { MemoryManager } from "./memory_manager.ts";

/** An exception to raise in the guest: the model touched memory it may not touch in the caller's name. */
export class GuestFault extends Error {
  override name = "GuestFault";
  constructor(readonly code: number, readonly parameters: readonly number[]) {
    super(`exception 0x${code.toString(16)} [${parameters.map((p) => p.toString(16)).join(", ")}]`);
  }
}

/** The exception that an unresolved page fault becomes. `kind`: 0 read, 1 write, 8 execute. */
export function faultException(outcome: FaultOutcome, kind: number, address: number) {
  switch (outcome) {
    case "guard":
      return { code: Status.guardPageViolation, parameters: [kind, address] };
    case "stackOverflow":
      return { code: Status.stackOverflow, parameters: [kind, address] };
    case "noMemory":
      return { code: Status.inPageError, parameters: [kind, address, Status.noMemory] };
    default:
      return { code: Status.accessViolation, parameters: [kind, address] };
  }
}

/** Most times one access is retried after resolved faults: a guard page, a copy, a stack that grows. */
const MAX_RETRIES = 8;
/** Longest single transfer: a bound on what a length from the guest can cost. */
const MAX_TRANSFER = 0x1000_0000;

/** Memory of one process; only while its address space is the current one. */
export class UserMemory implements GuestMemory {
  constructor(private readonly vcpu: Vcpu, private readonly manager: MemoryManager) {}

  u8(address: number): number {
    return this.bytes(address, 1)[0];
  }
  u16(address: number): number {
    return get16(this.bytes(address, 2), 0);
  }
  u32(address: number): number {
    return get32(this.bytes(address, 4), 0);
  }
  setU8(address: number, value: number): void {
    this.setBytes(address, new Uint8Array([value]));
  }
  setU16(address: number, value: number): void {
    this.setBytes(address, new Uint8Array([value, value >>> 8]));
  }
  setU32(address: number, value: number): void {
    this.setBytes(address, word(value));
  }

  bytes(address: number, length: number): Uint8Array {
    const within = address % PAGE_SIZE + length <= PAGE_SIZE;
    if (within) return length === 0 ? new Uint8Array(0) : this.readPiece(address, length);
    this.checkRange(address, length, false);
    const result = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const piece = Math.min(length - at, PAGE_SIZE - (address + at) % PAGE_SIZE);
      result.set(this.readPiece(address + at, piece), at);
      at += piece;
    }
    return result;
  }

  setBytes(address: number, bytes: Uint8Array): void {
    this.checkRange(address, bytes.length, true);
    for (let at = 0; at < bytes.length;) {
      const piece = Math.min(bytes.length - at, PAGE_SIZE - (address + at) % PAGE_SIZE);
      const part = bytes.subarray(at, at + piece);
      this.access(true, () => this.vcpu.writeVirtual(address + at, part));
      at += piece;
    }
  }

  text(address: number, wide: boolean, max = 32767): string {
    let text = "";
    const unit = wide ? 2 : 1;
    while (text.length < max) {
      const room = PAGE_SIZE - address % PAGE_SIZE;
      if (room < unit) {
        const code = this.u16(address);
        if (code === 0) return text;
        text += String.fromCharCode(code);
        address += 2;
        continue;
      }
      const count = Math.min(Math.floor(room / unit), max - text.length, 256);
      const piece = this.bytes(address, count * unit);
      for (let i = 0; i < count; i++) {
        const code = wide ? get16(piece, i * 2) : piece[i];
        if (code === 0) return text;
        text += String.fromCharCode(code);
      }
      address += count * unit;
    }
    return text;
  }

  setText(address: number, wide: boolean, value: string, capacity: number): number {
    if (capacity <= 0) return 0;
    const text = value.slice(0, capacity - 1);
    const body = wide ? utf16(text) : latin1(text);
    const bytes = new Uint8Array(body.length + (wide ? 2 : 1));
    bytes.set(body);
    if (wide) put16(bytes, body.length, 0);
    this.setBytes(address, bytes);
    return text.length;
  }

  accessible(address: number, length: number, write: boolean): boolean {
    return this.manager.accessible(address, length, write);
  }

  private checkRange(address: number, length: number, write: boolean): void {
    if (address + length > USER_END || length > MAX_TRANSFER) {
      throw new GuestFault(Status.accessViolation, [write ? 1 : 0, address < USER_END ? USER_END : address]);
    }
  }

  private readPiece(address: number, length: number): Uint8Array {
    this.checkRange(address, length, false);
    return this.access(false, () => this.vcpu.readVirtual(address, length));
  }

  private access<T>(write: boolean, act: () => T): T {
    for (let tries = 0;; tries++) {
      try {
        return act();
      } catch (error) {
        if (!(error instanceof GuestPageFault)) throw error;
        const outcome = this.manager.fault(error.address >>> 0, write ? 2 : 0);
        if (outcome === "resolved" && tries < MAX_RETRIES) continue;
        const fault = faultException(outcome, write ? 1 : 0, error.address >>> 0);
        throw new GuestFault(fault.code, fault.parameters);
      }
    }
  }
}
