// SPDX-License-Identifier: Apache-2.0
/**
 * One call of a model function: what its handler may ask of the kernel.
 *
 * @module
 */
import type { ApiCall, Handles, Heaps, MemoryRegion, VirtualMemory } from "./api.ts";
import { words } from "./bytes.ts";
import type { Service } from "./dll_registry.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { GRANULARITY, Status } from "./constants.ts";
import type { Context } from "./context.ts";
import { ProcessFiles } from "./files.ts";
import { Heap } from "./heap.ts";
import type { Kernel } from "./kernel.ts";
import { ProcessModules } from "./modules.ts";
import type { Process, Thread } from "./process.ts";
import { endProcess, endThread } from "./process_life.ts";
import { isCopyOnWrite, isWritable, toMm } from "./protection.ts";
import { Section } from "./sections.ts";
import { Peb, Teb } from "./structures.ts";
import { Services } from "./system_services.ts";
import type { UserMemory } from "./user_memory.ts";

const MAX_HEAPS = 256;
/** Where the list of heaps stands in the page of the PEB. */
const HEAP_LIST = 0x800;

/** An exception a handler asked for, raised when it returns. */
export interface RaisedException {
  readonly code: number;
  readonly flags: number;
  readonly parameters: readonly number[];
  /** Address of the record of the exception that led to it. */
  readonly cause?: number;
}

/** See the module's description. The objects behind the getters are made when they are first asked for. */
export class KernelCall implements ApiCall {
  readonly stack: number;
  /** Lowest stack address the handler uses: callbacks push below it. */
  stackPointer: number;
  /** Set by handlers that put other registers into the thread: EAX stays as it is there. */
  replaced = false;
  raised: RaisedException | undefined;
  /** Its place in the trace, to be completed with the result. */
  record: { result: number | undefined } | undefined;
  private ownModules: ProcessModules | undefined;
  private ownSystem: Services | undefined;

  constructor(
    readonly kernel: Kernel,
    readonly thread: Thread,
    readonly service: Service,
  ) {
    this.stack = thread.context.registers[4];
    this.stackPointer = this.stack;
  }

  get process(): Process {
    return this.thread.process;
  }
  /** Registers of the calling thread: as they will be when the handler is done. */
  get context(): Context {
    return this.thread.context;
  }
  get memory(): UserMemory {
    return this.process.user!.memory;
  }
  get virtual(): VirtualMemory {
    return new ProcessVirtual(this.process, this.thread);
  }
  get modules(): ProcessModules {
    return this.ownModules ??= new ProcessModules(this.kernel, this.process, this);
  }
  get heaps(): Heaps {
    return new ProcessHeaps(this.process);
  }
  get files(): ProcessFiles {
    return new ProcessFiles(this.kernel.files, this.process);
  }
  get handles(): Handles {
    return this.process.handles;
  }
  get clock() {
    return this.kernel.clock;
  }
  get pid(): number {
    return this.process.pid;
  }
  get tid(): number {
    return this.thread.tid;
  }
  get teb(): number {
    return this.thread.teb;
  }
  get peb(): number {
    return this.process.user!.peb;
  }
  get commandLine(): string {
    return this.process.identity.commandLine;
  }
  get imagePath(): string {
    return this.process.identity.path;
  }
  get environment(): Map<string, string> {
    return this.process.environment;
  }
  get returnAddress(): number {
    return this.memory.u32(this.stack);
  }
  get lastError(): number {
    return this.memory.u32(this.teb + Teb.lastError);
  }
  set lastError(value: number) {
    this.memory.setU32(this.teb + Teb.lastError, value);
  }
  get system(): Services {
    return this.ownSystem ??= new Services(this.kernel, this.thread);
  }

  fail(error: number, result = 0): number {
    this.lastError = error;
    return result;
  }

  exitProcess(code: number): void {
    endProcess(this.kernel, this.process, code);
  }

  exitThread(code: number): void {
    endThread(this.kernel, this.thread, code);
  }

  raise(code: number, flags: number, parameters: readonly number[], cause?: number): void {
    this.raised = { code: code >>> 0, flags, parameters: parameters.slice(0, 15), cause };
  }

  print(text: string): void {
    this.kernel.print(text);
  }

  missing(what: string): void {
    this.kernel.countMissing(this.service.dll, what);
  }

  state<T>(key: string, make: () => T): T {
    const { states } = this.process;
    if (!states.has(key)) states.set(key, make());
    return states.get(key) as T;
  }

  /** Takes `size` bytes of the caller's stack for the handler's use; returns their address. */
  reserve(size: number): number {
    this.stackPointer = (this.stackPointer - size) & ~3;
    this.stackPointer >>>= 0;
    return this.stackPointer;
  }
}

/** Virtual memory of a process as a thread (perhaps another process's) asks for it. */
export class ProcessVirtual implements VirtualMemory {
  constructor(private readonly process: Process, private readonly caller: Thread) {}

  private get manager() {
    return this.process.user!.manager;
  }

  allocate(base: number, size: number, type: number, protect: number, zeroBits?: number) {
    return this.manager.allocate(base, size, type, protect, zeroBits);
  }

  free(base: number, size: number, type: number) {
    return this.manager.free(base, size, type);
  }

  protect(base: number, size: number, protect: number) {
    return this.manager.protect(base, size, protect);
  }

  query(address: number): MemoryRegion {
    return this.manager.query(address);
  }

  mapView(handle: number, base: number, offset: number, size: number, protect: number) {
    const failed = (status: number) => ({ status, base: 0, size: 0 });
    const section = this.caller.process.handles.get(handle);
    if (!(section instanceof Section)) return failed(Status.invalidHandle);
    const code = toMm(protect);
    if (code === undefined) return failed(Status.invalidPageProtection);
    if (isWritable(code) && !isCopyOnWrite(code) && !isWritable(section.protect)) {
      return failed(Status.sectionProtection);
    }
    if (offset % GRANULARITY || base % GRANULARITY) return failed(Status.mappedAlignment);
    const from = offset / PAGE_SIZE;
    const pages = size === 0 ? section.pages - from : Math.ceil(size / PAGE_SIZE);
    if (section.imageBase === undefined) {
      return this.manager.mapSection(section, "mapped", base, from, pages, code);
    }
    // An image goes where it is linked to if it can; its pages bring their own protections.
    const places = base === 0 ? [section.imageBase, 0] : [base];
    let mapped = failed(Status.conflictingAddresses);
    for (const place of places) {
      mapped = this.manager.mapSection(section, "image", place, from, pages, code);
      if (mapped.status === Status.success) break;
    }
    const moved = mapped.status === Status.success && mapped.base !== section.imageBase + offset;
    return moved ? { ...mapped, status: Status.imageNotAtBase } : mapped;
  }

  unmapView(base: number): number {
    this.flushView(base);
    return this.manager.unmap(base);
  }

  flushView(address: number): number {
    const vad = this.manager.vads.find(Math.floor(address / PAGE_SIZE));
    if (vad?.kind !== "mapped") return Status.notMappedView;
    if (isWritable(vad.protect) && !isCopyOnWrite(vad.protect)) vad.section!.writeBack();
    return Status.success;
  }
}

/** Heaps of a process. */
export class ProcessHeaps implements Heaps {
  constructor(private readonly process: Process) {}

  get processHeap(): number {
    return this.process.processHeap;
  }

  create(executable = false, maximum = 0, at = 0): number {
    const { heaps, user } = this.process;
    if (heaps.size >= MAX_HEAPS) return 0;
    const made = Heap.create(user!.manager, user!.memory, { executable, maximum, at });
    if (!made) return 0;
    heaps.set(made.base, made.heap);
    this.listInPeb();
    return made.base;
  }

  destroy(heap: number): boolean {
    const { heaps, processHeap } = this.process;
    if (heap === processHeap || !heaps.has(heap)) return false;
    heaps.get(heap)!.destroy();
    heaps.delete(heap);
    this.listInPeb();
    return true;
  }

  all(): readonly number[] {
    return [...this.process.heaps.keys()];
  }

  entries(heap: number) {
    return this.process.heaps.get(heap)?.entries();
  }

  /** PEB.ProcessHeaps: the array stands behind the PEB. */
  private listInPeb(): void {
    const { memory, peb } = this.process.user!;
    const all = this.all().slice(0, (PAGE_SIZE - HEAP_LIST) / 4);
    if (!memory.accessible(peb, PAGE_SIZE, true)) return;
    memory.setBytes(peb + HEAP_LIST, words(all));
    memory.setU32(peb + Peb.processHeaps, peb + HEAP_LIST);
    memory.setU32(peb + Peb.numberOfHeaps, all.length);
  }

  allocate(heap: number, size: number, zero: boolean): number {
    return this.process.heaps.get(heap)?.allocate(size, zero) ?? 0;
  }

  free(heap: number, address: number): boolean {
    return this.process.heaps.get(heap)?.release(address) ?? false;
  }

  size(heap: number, address: number): number | undefined {
    return this.process.heaps.get(heap)?.size(address);
  }

  reallocate(heap: number, address: number, size: number, zero: boolean, inPlace = false): number {
    return this.process.heaps.get(heap)?.reallocate(address, size, zero, inPlace) ?? 0;
  }
}

/** Creates the process heap, at an address if it is free (0: anywhere), and names it in the PEB. False when there is no room. */
export function createProcessHeap(process: Process, at: number): boolean {
  const base = new ProcessHeaps(process).create(false, 0, at);
  if (base === 0) return false;
  process.processHeap = base;
  const { memory, peb } = process.user!;
  memory.setU32(peb + Peb.processHeap, base);
  return true;
}
