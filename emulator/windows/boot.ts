// SPDX-License-Identifier: Apache-2.0
/**
 * The processor's tables as Windows lays them out, in guest memory: GDT, IDT with ring-0 stubs that leave the
 * CPU by VMCALL, TSS, KPCR. And how a thread's registers get into the CPU and out of it.
 *
 * Source: Intel SDM volume 3, chapters 3 (descriptors), 6 (interrupts), 7 (TSS).
 *
 * @module
 */
import type { Vcpu } from "../hypervisor/types.ts";
import { Segment } from "../machine/types.ts";
import { code, Interrupt } from "./assembler.ts";
import { get32, put16, put32, words } from "./bytes.ts";
import { Selector } from "./constants.ts";
import { cleanDebugRegister, type Context } from "./context.ts";
import type { KernelMemory } from "./kernel_memory.ts";
import { Kpcr } from "./structures.ts";

/** Exceptions that push an error code. */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);
/** Interrupts that ring 3 may call: int3, into, GetTickCount, callback return, assertion, debug service. */
const USER_GATES = new Set<number>([3, 4, 0x2a, Interrupt.callbackReturn, 0x2c, 0x2d, Interrupt.systemCall]);

const STUB_SIZE = 16;
const VMCALL = code(0x0f, 0x01, 0xc1);
/** `add esp, 8; iretd`. */
const LEAVE = code(0x83, 0xc4, 8, 0xcf);
/** `fxsave [eax]` and `fxrstor [eax]`, each with its VMCALL. */
const FPU_STUBS = [[0x0f, 0xae, 0x00], [0x0f, 0xae, 0x08]].map((bytes) => code(...bytes, VMCALL));
/** Bytes of an FXSAVE area. */
export const FPU_AREA = 512;
const STACK_SIZE = 0x3000;
/** Vector, error code, EIP, CS, EFLAGS, ESP, SS as the stub leaves them on the ring-0 stack. */
const FRAME_WORDS = 7;

/** What a trap into ring 0 brought. */
export interface Trap {
  readonly vector: number;
  readonly errorCode: number;
}

/** The tables of one CPU, and the way in and out of ring 0. */
export class ProcessorTables {
  readonly kpcr: number;
  private readonly gdt: number;
  private readonly tss: number;
  private readonly stackTop: number;
  private readonly leaveStub: number;

  /** Builds the tables and loads them into the CPU. Paging must be set up by `cr3`. */
  constructor(private readonly memory: KernelMemory, private readonly vcpu: Vcpu, cr3: number) {
    this.kpcr = memory.mustAllocate(0x4000);
    const gdt = memory.mustAllocate(0x400);
    const idt = memory.mustAllocate(0x800);
    this.gdt = gdt;
    this.tss = memory.mustAllocate(0x80);
    this.stackTop = memory.mustAllocate(STACK_SIZE) + STACK_SIZE;
    const stubs = memory.mustAllocate((257 + FPU_STUBS.length) * STUB_SIZE);
    this.leaveStub = stubs + 256 * STUB_SIZE;
    memory.write(this.leaveStub, LEAVE);
    FPU_STUBS.forEach((bytes, i) => memory.write(this.leaveStub + (i + 1) * STUB_SIZE, bytes));
    this.buildIdt(idt, stubs);
    this.buildGdt();
    this.buildKpcr(idt);
    this.loadCpu(idt, cr3);
  }

  private buildIdt(idt: number, stubs: number): void {
    const table = new Uint8Array(0x800);
    for (let vector = 0; vector < 256; vector++) {
      const stub = stubs + vector * STUB_SIZE;
      const error = WITH_ERROR_CODE.has(vector) ? new Uint8Array(0) : code(0x6a, 0);
      this.memory.write(stub, code(error, 0x68, words([vector]), VMCALL, LEAVE));
      put16(table, vector * 8, stub & 0xffff);
      put16(table, vector * 8 + 2, Selector.kernelCode);
      table[vector * 8 + 5] = USER_GATES.has(vector) ? 0xee : 0x8e;
      put16(table, vector * 8 + 6, stub >>> 16);
    }
    this.memory.write(idt, table);
  }

  private buildGdt(): void {
    const flat = 0xc;
    this.descriptor(Selector.kernelCode, 0, 0xfffff, 0x9b, flat);
    this.descriptor(Selector.kernelData, 0, 0xfffff, 0x93, flat);
    this.descriptor(Selector.userCode, 0, 0xfffff, 0xfb, flat);
    this.descriptor(Selector.userData, 0, 0xfffff, 0xf3, flat);
    this.descriptor(Selector.tss, this.tss, 0x67, 0x89, 0);
    this.descriptor(Selector.kpcr, this.kpcr, 0x3748, 0x93, 4);
    this.setTeb(0);
    this.memory.write(this.tss + 4, words([this.stackTop, Selector.kernelData]));
    this.memory.write(this.tss + 0x66, new Uint8Array([0x68, 0]));
  }

  private descriptor(selector: number, base: number, limit: number, access: number, flags: number): void {
    const bytes = new Uint8Array(8);
    put16(bytes, 0, limit & 0xffff);
    put16(bytes, 2, base & 0xffff);
    bytes[4] = base >>> 16;
    bytes[5] = access;
    bytes[6] = (limit >>> 16) | (flags << 4);
    bytes[7] = base >>> 24;
    this.memory.write(this.gdt + (selector & ~7), bytes);
  }

  private buildKpcr(idt: number): void {
    const put = (offset: number, value: number) => this.memory.set32(this.kpcr + offset, value);
    put(Kpcr.exceptionList, 0xffffffff);
    put(Kpcr.self, this.kpcr);
    put(Kpcr.prcb, this.kpcr + Kpcr.prcbData);
    put(Kpcr.idt, idt);
    put(Kpcr.gdt, this.gdt);
    put(Kpcr.tss, this.tss);
    put(Kpcr.majorVersion, 0x0001_0001);
    put(Kpcr.prcbData, 0x0001_0001);
  }

  private loadCpu(idt: number, cr3: number): void {
    const { cpu } = this.vcpu;
    cpu.gdtr = { base: this.gdt, limit: 0x3ff };
    cpu.idtr = { base: idt, limit: 0x7ff };
    cpu.efer = 0x800;
    cpu.cr4 = 0x620;
    cpu.cr3 = cr3;
    cpu.cr0 = 0x8001_0033;
    cpu.host.controlRegisterWritten(4, cpu.cr4);
    cpu.host.controlRegisterWritten(0, cpu.cr0);
    this.vcpu.loadCr3(cr3);
    cpu.loadSegment(Segment.cs, Selector.kernelCode);
    cpu.loadSegment(Segment.ss, Selector.kernelData);
    for (const segment of [Segment.ds, Segment.es]) cpu.loadSegment(segment, Selector.userData);
    cpu.loadSegment(Segment.gs, 0);
    cpu.loadSegment(Segment.fs, Selector.teb);
    cpu.loadTaskRegister(Selector.tss);
    cpu.eflags = 2;
  }

  /** Makes FS:0 of ring 3 the thread's TEB: GDT entry 7. */
  setTeb(teb: number): void {
    this.descriptor(Selector.teb, teb, 0xfff, 0xf3, 4);
  }

  /** Makes the thread current in the KPCR. */
  setCurrentThread(ethread: number): void {
    this.memory.set32(this.kpcr + Kpcr.currentThread, ethread);
  }

  /**
   * Takes the user registers out of the CPU, which stands behind a stub's VMCALL. Undefined when the trap
   * came from ring 0: then the model's own stubs are at fault.
   */
  trap(into: Context): Trap | undefined {
    const { cpu } = this.vcpu;
    const esp = cpu.getRegister(4);
    const frame = this.memory.read(esp, FRAME_WORDS * 4);
    const field = (index: number) => get32(frame, index * 4);
    if ((field(3) & 3) !== 3) return undefined;
    this.general(into);
    into.eip = field(2);
    into.cs = field(3) & 0xffff;
    into.eflags = field(4);
    into.registers[4] = field(5);
    into.ss = field(6) & 0xffff;
    return { vector: field(0), errorCode: field(1) };
  }

  /** Takes the user registers out of the CPU, which stands in ring 3. */
  interrupt(into: Context): void {
    const { cpu } = this.vcpu;
    this.general(into);
    into.eip = cpu.eip;
    into.eflags = cpu.eflags;
    into.cs = cpu.selector(Segment.cs);
    into.ss = cpu.selector(Segment.ss);
  }

  private general(into: Context): void {
    const { cpu } = this.vcpu;
    for (let i = 0; i < 8; i++) into.registers[i] = cpu.getRegister(i);
    into.ds = cpu.selector(Segment.ds);
    into.es = cpu.selector(Segment.es);
    into.fs = cpu.selector(Segment.fs);
    into.gs = cpu.selector(Segment.gs);
    DEBUG_NUMBERS.forEach((number, i) => {
      into.debug[i] = cleanDebugRegister(i, cpu.getDebugRegister(number));
    });
  }

  private enterRing0(): void {
    const { cpu } = this.vcpu;
    if (cpu.cpl === 0) return;
    cpu.loadSegment(Segment.cs, Selector.kernelCode);
    cpu.loadSegment(Segment.ss, Selector.kernelData);
  }

  /**
   * Saves the x87 and SSE registers to an area in kernel memory, or loads them, by the kernel's own
   * instructions. The general registers must have been taken out before.
   */
  moveFpu(area: number, load: boolean): void {
    const { cpu } = this.vcpu;
    this.enterRing0();
    cpu.eflags = 2;
    cpu.setRegister(0, area);
    cpu.setRegister(4, this.stackTop);
    cpu.eip = this.leaveStub + STUB_SIZE * (load ? 2 : 1);
    // Two instructions; once more when the host had asked for a stop.
    let exit = cpu.run(4);
    if (exit.kind === "stop") exit = cpu.run(4);
    if (exit.kind !== "vmcall") throw new Error(`The kernel's FXSAVE stub ended by ${exit.kind}`);
  }

  /** An area as a new thread has it: x87 at 53 bits, all exceptions masked. */
  newFpuArea(): number | undefined {
    const area = this.memory.allocate(FPU_AREA);
    if (area === undefined) return undefined;
    const bytes = new Uint8Array(FPU_AREA);
    put16(bytes, 0, 0x27f);
    put32(bytes, 24, 0x1f80);
    put32(bytes, 28, 0xffff);
    this.memory.write(area, bytes);
    return area;
  }

  /**
   * Puts user registers into the CPU, which will run `add esp, 8; iretd` on the ring-0 stack. `switched`:
   * another thread than the last, so its TEB's descriptor must be loaded.
   */
  resume(context: Context, switched: boolean): void {
    const { cpu } = this.vcpu;
    const esp = this.stackTop - FRAME_WORDS * 4;
    const { registers, eip, cs, eflags, ss } = context;
    this.memory.write(esp, words([0, 0, eip, cs, eflags, registers[4], ss]));
    this.enterRing0();
    const selectors = [[Segment.ds, context.ds], [Segment.es, context.es], [Segment.gs, context.gs]];
    for (const [segment, selector] of selectors) {
      if (cpu.selector(segment) !== selector) cpu.loadSegment(segment, selector);
    }
    if (switched || cpu.selector(Segment.fs) !== context.fs) cpu.loadSegment(Segment.fs, context.fs);
    for (let i = 0; i < 8; i++) if (i !== 4) cpu.setRegister(i, registers[i]);
    cpu.setRegister(4, esp);
    DEBUG_NUMBERS.forEach((number, i) => {
      const loaded = cleanDebugRegister(i, cpu.getDebugRegister(number));
      if (loaded !== context.debug[i]) cpu.setDebugRegister(number, context.debug[i]);
    });
    cpu.eflags = 2;
    cpu.eip = this.leaveStub;
  }
}

const DEBUG_NUMBERS = [0, 1, 2, 3, 6, 7];
