// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel's own state: memory, tables, processes, threads, named objects, and which address space and
 * thread are the CPU's at the moment.
 *
 * @module
 */
import type { Domain, Vcpu } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { AddressSpace, buildKernelDirectories } from "./address_space.ts";
import type { DllDefinition, KernelObject } from "./api.ts";
import { ProcessorTables } from "./boot.ts";
import { put32, put64 } from "./bytes.ts";
import type { GuestSettings } from "../../core/ports.ts";
import { AddressLayout } from "./address_layout.ts";
import { CallTrace } from "./call_trace.ts";
import { VirtualClock } from "./clock.ts";
import { DllRegistry } from "./dll_registry.ts";
import { DEP_POLICIES } from "./dep.ts";
import { FpuState } from "./fpu_state.ts";
import { FAST_CALL_LENGTH, INTERNALS, withKernelFunctions } from "./kernel_functions.ts";
import { FileSystem } from "./files.ts";
import { TimerQueue } from "./objects.ts";
import { FrameAllocator, KERNEL_PHYSICAL, KERNEL_SIZE, KernelMemory } from "./kernel_memory.ts";
import { CommitLedger } from "./memory_base.ts";
import { createEprocess, createEthread, Process, Thread } from "./process.ts";
import { Section } from "./sections.ts";
import { Ethread, initializeList, SharedData, systemTimeBytes, wideZ } from "./structures.ts";
import { Mm } from "./vad.ts";

/** A function that was called and is not modelled. */
interface MissingCall {
  readonly dll: string;
  readonly name: string;
  calls: number;
}

/** DEP as Windows has it, everything at its fixed place. */
const DEFAULT_SETTINGS: GuestSettings = { dep: "optin", aslr: false };
/** Frames kept back from commitment for page tables. */
const TABLE_RESERVE = 0.06;
/** Bounds on what is kept for the report. */
const MAX_MISSING_NAMES = 4096;
const MAX_OUTPUT = 1 << 20;

/** See the module's description. */
export class Kernel {
  readonly vcpu: Vcpu;
  readonly memory: KernelMemory;
  readonly frames: FrameAllocator;
  readonly ledger: CommitLedger;
  readonly tables: ProcessorTables;
  readonly fpu: FpuState;
  readonly layout: AddressLayout;
  readonly clock: VirtualClock;
  readonly dlls: DllRegistry;
  readonly files: FileSystem;
  readonly directories: readonly [number, number];
  readonly sharedData: Section;
  /** Behind the trap in KiFastSystemCall. */
  readonly fastCallEnd: number;
  readonly processes: Process[] = [];
  readonly threads: Thread[] = [];
  readonly names = new Map<string, KernelObject>();
  readonly timers = new TimerQueue();
  readonly missingCalls = new Map<string, MissingCall>();
  readonly trace: CallTrace;
  /** PsActiveProcessHead. */
  readonly processList: number;
  readonly system: Process;
  /** Thread whose registers are, or were last, in the CPU. */
  current: Thread | undefined;
  /** Set when the run cannot go on; says why. */
  unsupported: string | undefined;
  output = "";
  private readonly systemSpace: AddressSpace;
  private readonly systemThread: Thread;
  private attached: Process | undefined;
  private nextId = 4;

  constructor(
    readonly domain: Domain,
    dlls: readonly DllDefinition[],
    readonly settings: GuestSettings = DEFAULT_SETTINGS,
  ) {
    this.vcpu = domain.vcpus[0];
    this.trace = new CallTrace(domain);
    const first = (KERNEL_PHYSICAL + KERNEL_SIZE) / PAGE_SIZE;
    if (domain.guestFrames < first + 2048) {
      throw new RangeError(
        `Cannot boot the guest: ${domain.guestFrames} frames, at least ${first + 2048} are needed`,
      );
    }
    this.frames = new FrameAllocator(domain, first);
    this.memory = new KernelMemory(domain);
    this.directories = buildKernelDirectories(domain, this.frames);
    this.systemSpace = new AddressSpace(domain, this.frames, this.directories);
    this.tables = new ProcessorTables(this.memory, this.vcpu, this.systemSpace.cr3);
    this.fpu = new FpuState(this.memory, this.tables, this.threads);
    this.clock = new VirtualClock(this.vcpu.cpu);
    this.layout = new AddressLayout(settings.aslr);
    this.dlls = new DllRegistry(
      domain,
      this.frames,
      withKernelFunctions(dlls),
      this.layout.dllShift,
      INTERNALS,
    );
    this.files = new FileSystem(this.dlls);
    this.ledger = new CommitLedger(Math.floor(this.frames.free * (1 - TABLE_RESERVE)));
    this.processList = this.memory.mustAllocate(8);
    initializeList(this.memory, this.processList);
    this.fastCallEnd = this.symbol("ntdll.dll", "KiFastSystemCall") + FAST_CALL_LENGTH;
    this.sharedData = new Section(domain, this.frames, 1, Mm.readOnly);
    this.fillSharedData();
    const identity = { pid: this.newId(), parentPid: 0, name: "System", path: "System", commandLine: "" };
    this.system = new Process(identity, this.mustEprocess(identity, this.systemSpace.cr3), false);
    this.processes.push(this.system);
    const tid = this.newId();
    const ethread = createEthread(this.memory, this.system, {
      tid,
      teb: 0,
      start: 0,
      createTime: this.clock.systemTime,
    })!;
    this.systemThread = new Thread(tid, this.system, ethread, 0, 0, false);
    this.tables.setCurrentThread(ethread);
  }

  private mustEprocess(identity: Process["identity"], cr3: number): number {
    const fields = { cr3, createTime: this.clock.systemTime };
    const at = createEprocess(this.memory, this.processList, identity, fields);
    if (at === undefined) throw new RangeError("Cannot boot the guest: kernel memory is empty");
    return at;
  }

  /** A process that is only there to be seen: no threads, no user memory. */
  addBystander(name: string, parentPid: number): number {
    const path = `C:\\Windows\\System32\\${name}`;
    const identity = { pid: this.newId(), parentPid, name, path, commandLine: "" };
    this.processes.push(new Process(identity, this.mustEprocess(identity, this.systemSpace.cr3), false));
    return identity.pid;
  }

  /** A number for a process or thread; `atLeast` leaves a gap, as a machine that has been up would have. */
  newId(atLeast = 0): number {
    const id = Math.max(this.nextId, atLeast);
    this.nextId = id + 4;
    return id;
  }

  private fillSharedData(): void {
    const bytes = new Uint8Array(PAGE_SIZE);
    put32(bytes, SharedData.tickCountMultiplier, 0x0fa0_0000);
    bytes.set([0x4c, 0x01, 0x4c, 0x01], SharedData.imageNumberLow);
    bytes.set(wideZ("C:\\Windows"), SharedData.systemRoot);
    put32(bytes, SharedData.ntProductType, 1);
    bytes[SharedData.productTypeIsValid] = 1;
    bytes[SharedData.nxSupportPolicy] = DEP_POLICIES[this.settings.dep];
    put32(bytes, SharedData.ntMajorVersion, 6);
    put32(bytes, SharedData.ntMinorVersion, 1);
    // PF_… features: MMX 3, XMMI 6, RDTSC 8, PAE 9, XMMI64 10, NX 12.
    for (const feature of [2, 3, 6, 8, 9, 10, 12]) bytes[SharedData.processorFeatures + feature] = 1;
    put32(bytes, SharedData.activeConsoleId, 1);
    put32(bytes, SharedData.numberOfPhysicalPages, this.domain.guestFrames);
    put32(bytes, SharedData.systemCall, this.symbol("ntdll.dll", "KiFastSystemCall"));
    put32(bytes, SharedData.systemCallReturn, this.symbol("ntdll.dll", "KiFastSystemCallRet"));
    put32(bytes, SharedData.activeProcessorCount, 2);
    put32(bytes, SharedData.cookie, 0x5d3a_91c4);
    this.sharedData.fill(0, bytes);
    this.updateSharedData();
  }

  /** Brings the times in KUSER_SHARED_DATA up to date. */
  updateSharedData(): void {
    const gpa = this.sharedData.frame(0, true)! * PAGE_SIZE;
    const bytes = new Uint8Array(24);
    bytes.set(systemTimeBytes(this.clock.interruptTime), 0);
    bytes.set(systemTimeBytes(this.clock.systemTime), 12);
    this.domain.writePhysical(gpa + SharedData.interruptTime, bytes);
    const ticks = new Uint8Array(12);
    const count = this.clock.interruptTime / 156_250n;
    put64(ticks, 0, count);
    put32(ticks, 8, Number(count >> 32n));
    this.domain.writePhysical(gpa + SharedData.tickCount, ticks);
  }

  /** Makes a thread the CPU's: KPCR, TEB descriptor, CR3. Returns whether it was another one. */
  switchTo(thread: Thread): boolean {
    if (this.current === thread) return false;
    this.current = thread;
    this.tables.setCurrentThread(thread.ethread);
    this.tables.setTeb(thread.teb);
    if (this.attached !== thread.process) {
      this.attached = thread.process;
      this.vcpu.loadCr3(thread.process.user!.space.cr3);
    }
    return true;
  }

  /** The current thread or address space is gone: stand on the System process. */
  switchToSystem(): void {
    this.current = undefined;
    this.tables.setCurrentThread(this.systemThread.ethread);
    if (this.attached !== undefined) {
      this.attached = undefined;
      this.vcpu.loadCr3(this.systemSpace.cr3);
    }
  }

  /** Acts in another process's address space, as a kernel thread attached to it. */
  attach<T>(process: Process, act: () => T): T {
    if (this.attached === process) return act();
    const before = this.attached;
    const ethread = (this.current ?? this.systemThread).ethread;
    const home = this.memory.get32(ethread + Ethread.apcStateProcess);
    this.memory.set32(ethread + Ethread.apcStateProcess, process.eprocess);
    this.attached = process;
    this.vcpu.loadCr3(process.user!.space.cr3);
    try {
      return act();
    } finally {
      this.memory.set32(ethread + Ethread.apcStateProcess, home);
      this.attached = before;
      this.vcpu.loadCr3(before?.user?.space.cr3 ?? this.systemSpace.cr3);
    }
  }

  /** A page-table entry of a process changed: what the CPU remembers of the page is void. */
  entryChanged(process: Process, va: number): void {
    if (this.attached === process) this.vcpu.cpu.flushPage(va);
  }

  /** Address of a function of a DLL of the model, exported or not, where it is by default. */
  symbol(dll: string, name: string): number {
    const image = this.dlls.image(dll);
    const rva = image?.exports.get(name)?.rva ?? image?.internals.get(name);
    if (!image || rva === undefined) throw new RangeError(`The model's ${dll} has no ${name}`);
    return image.definition.base + rva;
  }

  /** Counts a call of something that is not modelled. */
  countMissing(dll: string, name: string): void {
    const key = `${dll}!${name}`;
    const known = this.missingCalls.get(key);
    if (known) known.calls++;
    else if (this.missingCalls.size < MAX_MISSING_NAMES) this.missingCalls.set(key, { dll, name, calls: 1 });
  }

  /** Address of a stub for a function nobody has; 0 when there is no room for one. */
  missingAddress(process: Process, dll: string, name: string): number {
    const offset = this.dlls.missingStub(dll, name);
    const section = offset === undefined ? undefined : this.dlls.missingSection();
    if (offset === undefined || !section) return 0;
    let base = process.states.get("missing-stubs") as number | undefined;
    if (base === undefined) {
      const { manager } = process.user!;
      base = manager.mapSection(section, "mapped", 0, 0, section.pages, Mm.executeRead).base;
      if (base === 0) return 0;
      process.states.set("missing-stubs", base);
    }
    return base + offset;
  }

  /** Text the program shows; bounded. */
  print(text: string): void {
    if (this.output.length < MAX_OUTPUT) this.output += text.slice(0, MAX_OUTPUT - this.output.length);
  }
}
