// SPDX-License-Identifier: Apache-2.0
/**
 * Processes, threads, sections and synchronisation objects by handle, for the handlers of DLL functions.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import type { KernelObject, SystemServices, VirtualMemory } from "./api.ts";
import { ProcessVirtual } from "./api_call.ts";
import { pagesOf } from "./bytes.ts";
import { applyContext, CONTEXT_ALL, encodeContext } from "./context.ts";
import { absolutePath } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { EventObject, MutexObject, SemaphoreObject } from "./objects.ts";
import { Process, Thread } from "./process.ts";
import { createProcess, createThread, endProcess, endThread } from "./process_life.ts";
import { imageSection } from "./dll_registry.ts";
import { toMm } from "./protection.ts";
import { Section } from "./sections.ts";
import { GuestFault } from "./user_memory.ts";
import { Mm } from "./vad.ts";
import { resolve } from "./wait.ts";

const MAX_NAMES = 4096;
const MAX_APCS = 1024;
const MAX_VECTORED = 256;
const STILL_ACTIVE = 0x103;
const SEC_IMAGE = 0x100_0000;
const Win32 = {
  fileNotFound: 2,
  accessDenied: 5,
  invalidHandle: 6,
  notEnoughMemory: 8,
  badExeFormat: 193,
  alreadyExists: 183,
  invalidParameter: 87,
} as const;

/** See {@link SystemServices}; made for one thread. */
export class Services implements SystemServices {
  constructor(private readonly kernel: Kernel, private readonly thread: Thread) {}

  private get caller(): Process {
    return this.thread.process;
  }

  private fail<T>(error: number, result: T): T {
    const { memory } = this.caller.user!;
    memory.setU32(this.thread.teb + 0x34, error);
    return result;
  }

  private object(handle: number): KernelObject | undefined {
    return resolve(this.thread, handle);
  }

  private processOf(handle: number): Process | undefined {
    const object = this.object(handle);
    return object instanceof Process && object.user && object.exitCode === undefined ? object : undefined;
  }

  private threadOf(handle: number): Thread | undefined {
    const object = this.object(handle);
    return object instanceof Thread ? object : undefined;
  }

  private open(object: KernelObject): number {
    return this.caller.handles.open(object) || this.fail(Win32.notEnoughMemory, 0);
  }

  createThread(start: number, parameter: number, stackSize: number, suspended: boolean, process?: number) {
    const failed = { handle: 0, tid: 0 };
    const target = process === undefined ? this.caller : this.processOf(process);
    if (!target?.user) return this.fail(Win32.invalidHandle, failed);
    const { pe } = target.user;
    const thread = createThread(this.kernel, target, {
      start,
      parameter,
      stackReserve: stackSize > pe.stackReserve ? stackSize : pe.stackReserve || 0x10_0000,
      stackCommit: pe.stackCommit,
      suspended,
      ofSample: this.thread.ofSample || target.ofSample,
    });
    if (!thread) return this.fail(Win32.notEnoughMemory, failed);
    return { handle: this.open(thread), tid: thread.tid };
  }

  createProcess(image: string, commandLine: string, suspended: boolean) {
    const path = absolutePath(image, this.caller.currentDirectory);
    const bytes = this.kernel.files.read(path);
    if (!bytes) return this.fail(Win32.fileNotFound, undefined);
    let thread: Thread | undefined;
    try {
      thread = createProcess(this.kernel, {
        bytes,
        name: path.slice(path.lastIndexOf("\\") + 1),
        path,
        commandLine: commandLine || `"${path}"`,
        parentPid: this.caller.pid,
        ofSample: this.thread.ofSample,
        suspended,
        environment: this.caller.environment,
      });
    } catch (error) {
      if (error instanceof InputError) return this.fail(Win32.badExeFormat, undefined);
      throw error;
    }
    if (!thread) return this.fail(Win32.notEnoughMemory, undefined);
    const { process, tid } = thread;
    return { process: this.open(process), thread: this.open(thread), pid: process.pid, tid };
  }

  openProcess(pid: number): number {
    const process = this.kernel.processes.find((one) => one.pid === pid && one.exitCode === undefined);
    if (!process) return this.fail(Win32.invalidParameter, 0);
    return process.user ? this.open(process) : this.fail(Win32.accessDenied, 0);
  }

  processId(handle: number): number {
    const object = this.object(handle);
    return object instanceof Process ? object.pid : 0;
  }

  terminateProcess(handle: number, code: number): boolean {
    const process = this.processOf(handle);
    if (!process) return this.fail(Win32.invalidHandle, false);
    endProcess(this.kernel, process, code);
    return true;
  }

  terminateThread(handle: number, code: number): boolean {
    const thread = this.threadOf(handle);
    if (!thread) return this.fail(Win32.invalidHandle, false);
    endThread(this.kernel, thread, code);
    return true;
  }

  exitCode(handle: number): number | undefined {
    const object = this.object(handle);
    if (object instanceof Process || object instanceof Thread) return object.exitCode ?? STILL_ACTIVE;
    return undefined;
  }

  suspendThread(handle: number): number {
    const thread = this.threadOf(handle);
    if (!thread?.alive || thread.suspendCount >= 127) return this.fail(Win32.invalidHandle, 0xffffffff);
    return thread.suspendCount++;
  }

  resumeThread(handle: number): number {
    const thread = this.threadOf(handle);
    if (!thread) return this.fail(Win32.invalidHandle, 0xffffffff);
    return thread.suspendCount === 0 ? 0 : thread.suspendCount--;
  }

  getContext(handle: number): Uint8Array | undefined {
    const thread = this.threadOf(handle);
    return thread?.alive ? encodeContext(thread.context, CONTEXT_ALL) : undefined;
  }

  setContext(handle: number, context: Uint8Array): boolean {
    const thread = this.threadOf(handle);
    if (!thread?.alive) return this.fail(Win32.invalidHandle, false);
    applyContext(thread.context, context);
    thread.ofSample ||= this.thread.ofSample;
    return true;
  }

  queueApc(handle: number, routine: number, args: readonly number[]): boolean {
    const thread = this.threadOf(handle);
    if (!thread?.alive || thread.apcs.length >= MAX_APCS) return this.fail(Win32.invalidHandle, false);
    thread.ofSample ||= this.thread.ofSample;
    thread.apcs.push({ routine, args: args.slice(0, 3) });
    return true;
  }

  virtualOf(handle: number): VirtualMemory | undefined {
    const process = this.processOf(handle);
    if (!process) return this.fail(Win32.invalidHandle, undefined);
    return new AttachedVirtual(this.kernel, process, new ProcessVirtual(process, this.thread));
  }

  readProcess(handle: number, address: number, length: number): Uint8Array | undefined {
    const process = this.processOf(handle);
    if (!process) return undefined;
    return this.kernel.attach(process, () => {
      try {
        return process.user!.memory.bytes(address, length);
      } catch (error) {
        if (error instanceof GuestFault) return undefined;
        throw error;
      }
    });
  }

  writeProcess(handle: number, address: number, bytes: Uint8Array): boolean {
    const process = this.processOf(handle);
    if (!process) return false;
    return this.kernel.attach(process, () => {
      try {
        process.user!.memory.setBytes(address, bytes);
        return true;
      } catch (error) {
        if (error instanceof GuestFault) return false;
        throw error;
      }
    });
  }

  createSection(size: number, protect: number, file?: string): number {
    const { kernel } = this;
    if (file !== undefined && protect & SEC_IMAGE) return this.createImageSection(file);
    const content = file === undefined ? undefined : kernel.files.read(this.absolute(file));
    if (file !== undefined && !content) return this.fail(Win32.fileNotFound, 0);
    const bytes = size === 0 ? content?.length ?? 0 : size;
    const code = toMm(protect & 0xff);
    if (bytes === 0 || code === undefined) return this.fail(Win32.invalidParameter, 0);
    const pages = pagesOf(bytes);
    if (!kernel.ledger.charge(pages)) return this.fail(Win32.notEnoughMemory, 0);
    const section = new Section(kernel.domain, kernel.frames, pages, code & ~Mm.committed, undefined, () => {
      kernel.ledger.used -= pages;
    });
    for (let page = 0; content && page < pagesOf(Math.min(content.length, bytes)); page++) {
      section.fill(page, content.subarray(page * 4096, (page + 1) * 4096));
    }
    const handle = this.open(section);
    section.release();
    return handle;
  }

  private createImageSection(file: string): number {
    const { kernel } = this;
    const bytes = kernel.files.read(this.absolute(file));
    if (!bytes) return this.fail(Win32.fileNotFound, 0);
    try {
      const section = imageSection(kernel.domain, kernel.frames, bytes, file);
      if (!section) return this.fail(Win32.notEnoughMemory, 0);
      const handle = this.open(section);
      section.release();
      return handle;
    } catch (error) {
      if (error instanceof InputError) return this.fail(Win32.badExeFormat, 0);
      throw error;
    }
  }

  private absolute(path: string): string {
    return absolutePath(path, this.caller.currentDirectory);
  }

  /** Opens the object of that name and kind, or makes it. Last error tells which. */
  private named(name: string, kind: string, make: () => KernelObject): number {
    if (name === "") return this.open(make());
    const key = name.toLowerCase();
    const known = this.kernel.names.get(key);
    if (known) {
      if (known.kind !== kind) return this.fail(Win32.invalidHandle, 0);
      return this.fail(Win32.alreadyExists, this.caller.handles.open(known));
    }
    if (this.kernel.names.size >= MAX_NAMES) return this.fail(Win32.notEnoughMemory, 0);
    const object = make();
    this.kernel.names.set(key, object);
    return this.fail(0, this.open(object));
  }

  createEvent(manual: boolean, initial: boolean, name: string): number {
    return this.named(name, "event", () => new EventObject(manual, initial));
  }

  setEvent(handle: number, signalled: boolean): boolean {
    const object = this.object(handle);
    if (!(object instanceof EventObject)) return this.fail(Win32.invalidHandle, false);
    object.signalled = signalled;
    return true;
  }

  createMutex(owned: boolean, name: string): number {
    return this.named(name, "mutex", () => {
      const mutex = new MutexObject();
      if (owned) mutex.acquire(this.thread.tid);
      return mutex;
    });
  }

  releaseMutex(handle: number): boolean {
    const object = this.object(handle);
    if (!(object instanceof MutexObject)) return this.fail(Win32.invalidHandle, false);
    return object.release(this.thread.tid) || this.fail(288, false);
  }

  createSemaphore(count: number, maximum: number, name: string): number {
    if (maximum === 0 || count > maximum) return this.fail(Win32.invalidParameter, 0);
    return this.named(name, "semaphore", () => new SemaphoreObject(count, maximum));
  }

  releaseSemaphore(handle: number, count: number): number | undefined {
    const object = this.object(handle);
    if (!(object instanceof SemaphoreObject)) return this.fail(Win32.invalidHandle, undefined);
    if (count === 0 || object.count + count > object.maximum) return this.fail(298, undefined);
    const before = object.count;
    object.count += count;
    return before;
  }

  duplicate(handle: number): number {
    const object = this.object(handle);
    return object ? this.open(object) : this.fail(Win32.invalidHandle, 0);
  }

  addVectoredHandler(first: boolean, address: number): number {
    const { vectored } = this.caller;
    if (vectored.length >= MAX_VECTORED) return 0;
    const next = (this.caller.states.get("vectored-handles") as number | undefined) ?? 0x1000;
    this.caller.states.set("vectored-handles", next + 0x10);
    const entry = { handle: next, address };
    if (first) vectored.unshift(entry);
    else vectored.push(entry);
    return next;
  }

  removeVectoredHandler(handle: number): boolean {
    const { vectored } = this.caller;
    const index = vectored.findIndex((one) => one.handle === handle);
    if (index < 0) return false;
    vectored.splice(index, 1);
    return true;
  }

  setUnhandledFilter(address: number): number {
    const before = this.caller.unhandledFilter;
    this.caller.unhandledFilter = address;
    return before;
  }

  processes() {
    return this.kernel.processes.filter((one) => one.exitCode === undefined).map((one) => ({
      pid: one.pid,
      parentPid: one.identity.parentPid,
      name: one.identity.name,
    }));
  }
}

/** Virtual memory of another process: the kernel attaches to it for every operation. */
class AttachedVirtual implements VirtualMemory {
  constructor(
    private readonly kernel: Kernel,
    private readonly process: Process,
    private readonly inner: VirtualMemory,
  ) {}

  allocate(base: number, size: number, type: number, protect: number) {
    return this.kernel.attach(this.process, () => this.inner.allocate(base, size, type, protect));
  }
  free(base: number, size: number, type: number) {
    return this.kernel.attach(this.process, () => this.inner.free(base, size, type));
  }
  protect(base: number, size: number, protect: number) {
    return this.kernel.attach(this.process, () => this.inner.protect(base, size, protect));
  }
  query(address: number) {
    return this.inner.query(address);
  }
  mapView(section: number, base: number, offset: number, size: number, protect: number) {
    return this.kernel.attach(this.process, () => this.inner.mapView(section, base, offset, size, protect));
  }
  unmapView(base: number): number {
    return this.kernel.attach(this.process, () => this.inner.unmapView(base));
  }
}
