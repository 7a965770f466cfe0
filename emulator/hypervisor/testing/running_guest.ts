// SPDX-License-Identifier: Apache-2.0
/**
 * A guest for tests that runs code: descriptor tables, ring 0 and ring 3, exceptions that end the run, and as
 * much of Windows 7's structures as names its process.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Bridge } from "../../../xen/bridge.ts";
import { type CpuExit, Register } from "../../machine/types.ts";
import { NX, P, TestGuest, U, W } from "./test_guest.ts";

const GDT = 0x8000_1000, PCR = 0x8000_2000, THREAD = 0x8000_3000, PROCESS = 0x8000_4000;
const IDT = 0x8000_5000, STUBS = 0x8000_6000, STACK = 0x8000_7000, TSS = 0x8000_8000;
const KERNEL_CODE = 0x8001_0000, TABLES = 0x9000_0000;
const USER_STACK = 0x0030_7000;
/** Where user code is put, and an address far from it; no two share a place in a small TLB. */
export const CODE = 0x0040_0000, DATA = 0x0050_9000;
/** The vector of user programs' way out. */
export const OUT = 0x2e;

export const le32 = (
  value: number,
) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
/** A few instructions (Intel's manual, volume 2). */
export const asm = {
  movEax: (value: number) => [0xb8, ...le32(value)],
  load: (va: number) => [0xa1, ...le32(va)],
  store: (va: number) => [0xa3, ...le32(va)],
  storeByte: (va: number, value: number) => [0xc6, 0x05, ...le32(va), value],
  storeWord: (va: number, value: number) => [0xc7, 0x05, ...le32(va), ...le32(value)],
  movEbxEax: () => [0x89, 0xc3],
  movEcxEax: () => [0x89, 0xc1],
  callEax: () => [0xff, 0xd0],
  invlpg: (va: number) => [0x0f, 0x01, 0x3d, ...le32(va)],
  movCr3Eax: () => [0x0f, 0x22, 0xd8],
  vmcall: () => [0x0f, 0x01, 0xc1],
  int: (vector: number) => [0xcd, vector],
};

/** How a program left its ring. */
export interface Outcome {
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: number;
  /** EIP in the frame of the exception. */
  readonly eip: number;
}

/** A guest with descriptor tables whose exceptions and interrupts end in VMCALL. */
export class RunningGuest extends TestGuest {
  constructor(
    options: { guestFrames?: number; shadowFrames?: number; frames?: number; vcpus?: number } = {},
  ) {
    super({ guestFrames: 512, ...options });
    for (const va of [GDT, PCR, THREAD, PROCESS, IDT, STACK, TSS]) this.map(va, P | W | NX);
    for (const va of [STUBS, KERNEL_CODE]) this.map(va, P | W);
    this.map(USER_STACK, P | W | U | NX);
    // Windows's selectors: 8 and 0x10 for ring 0, 0x1b and 0x23 for ring 3, 0x28 TSS, 0x30 KPCR.
    this.descriptor(1, 0, 0xf_ffff, 0xc9b);
    this.descriptor(2, 0, 0xf_ffff, 0xc93);
    this.descriptor(3, 0, 0xf_ffff, 0xcfb);
    this.descriptor(4, 0, 0xf_ffff, 0xcf3);
    this.descriptor(5, TSS, 0x67, 0x089);
    this.descriptor(6, PCR, 0xfff, 0x493);
    this.words(TSS + 4, STACK + 0x1000, 0x10);
    for (let vector = 0; vector < 256; vector++) {
      const stub = STUBS + vector * 8;
      this.words(
        IDT + vector * 8,
        ((8 << 16) | (stub & 0xffff)) >>> 0,
        ((stub & 0xffff_0000) | 0xee00) >>> 0,
      );
      this.vcpu.writeVirtual(stub, Uint8Array.from(asm.vmcall()));
    }
    this.words(PCR + 0x124, THREAD);
    this.words(THREAD + 0x50, PROCESS);
    this.words(THREAD + 0x150, PROCESS);
    this.words(PROCESS + 0x18, this.cr3);
    this.words(PROCESS + 0xb4, 77);
    this.words(PROCESS + 0xb8, PROCESS + 0xb8);
    this.vcpu.writeVirtual(PROCESS + 0x16c, new TextEncoder().encode("virus.exe"));
    const { cpu } = this.vcpu;
    cpu.gdtr = { base: GDT, limit: 0xff };
    cpu.idtr = { base: IDT, limit: 0x7ff };
    cpu.loadTaskRegister(0x28);
  }

  words(va: number, ...values: number[]): void {
    this.vcpu.writeVirtual(va, new Uint8Array(Uint32Array.from(values).buffer));
  }

  descriptor(index: number, base: number, limit: number, flags: number): void {
    this.words(
      GDT + index * 8,
      (((base & 0xffff) << 16) | (limit & 0xffff)) >>> 0,
      ((base & 0xff00_0000) | ((flags & 0xf00) << 12) | (limit & 0xf_0000) | ((flags & 0xff) << 8) |
        ((base >>> 16) & 0xff)) >>> 0,
    );
  }

  /** Puts code into a frame from outside (no write the monitor sees). */
  place(va: number, code: ArrayLike<number>): void {
    const gfn = Number((this.get(this.entry(va)) & 0xf_ffff_f000n) / 4096n);
    this.domain.writePhysical(gfn * 4096 + va % 4096, Uint8Array.from(code));
  }

  /** Makes the vCPU ready to run at an address in ring 3 or 0. */
  start(eip: number, user = true): void {
    const { cpu } = this.vcpu;
    cpu.loadSegment(1, user ? 0x1b : 0x08);
    for (const segment of [0, 2, 3]) cpu.loadSegment(segment, user ? 0x23 : 0x10);
    cpu.setRegister(Register.esp, user ? USER_STACK + 0xff0 : STACK + 0x800);
    cpu.eip = eip;
  }

  /** Runs until a stub is reached; says which. */
  finish(exit: CpuExit = this.vcpu.run(100_000)): Outcome {
    const { cpu } = this.vcpu;
    assert.equal(exit.kind, "vmcall", JSON.stringify(exit));
    const vector = (cpu.eip - 3 - STUBS) / 8;
    const frame = new Uint32Array(this.vcpu.readVirtual(cpu.getRegister(Register.esp), 8).slice().buffer);
    const hasCode = [8, 10, 11, 12, 13, 14, 17].includes(vector);
    return {
      vector,
      errorCode: hasCode ? frame[0] : 0,
      cr2: cpu.cr2,
      eip: hasCode ? frame[1] : frame[0],
    };
  }

  /** Runs ring-3 code at {@link CODE}. */
  user(...code: number[][]): Outcome {
    this.place(CODE, [...code.flat(), ...asm.int(OUT)]);
    this.start(CODE);
    return this.finish();
  }

  /** Runs ring-0 code; it must get to its end. EAX, EBX, ECX as it left them. */
  kernel(...code: number[][]): { eax: number; ebx: number; ecx: number } {
    this.place(KERNEL_CODE, [...code.flat(), ...asm.vmcall()]);
    this.start(KERNEL_CODE, false);
    const exit = this.vcpu.run(100_000);
    const { cpu } = this.vcpu;
    assert.equal(exit.kind, "vmcall", JSON.stringify(exit));
    assert.equal(cpu.eip, KERNEL_CODE + code.flat().length + 3, `left at 0x${cpu.eip.toString(16)}`);
    return {
      eax: cpu.getRegister(Register.eax),
      ebx: cpu.getRegister(Register.ebx),
      ecx: cpu.getRegister(Register.ecx),
    };
  }

  /** Maps the guest frame that holds an entry; returns the entry's address there. */
  window(n: number, gpa: number): number {
    this.map(TABLES + n * 4096, P | W | NX, Math.floor(gpa / 4096));
    return TABLES + n * 4096 + gpa % 4096;
  }

  /** Puts a value into the first word of a guest frame. */
  mark(gfn: number, value: number): number {
    this.domain.writePhysical(gfn * 4096, Uint8Array.from(le32(value)));
    return gfn;
  }

  watch(options: { ringPages?: number; ringEvents?: number } = {}): Bridge {
    const bridge = new Bridge(this.model.transport, options);
    bridge.watch(this.domain.id, [{ kind: "prefix", pattern: "virus" }]);
    return bridge;
  }
}
