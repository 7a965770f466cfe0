// SPDX-License-Identifier: Apache-2.0
/**
 * Processes, threads, sections and synchronisation objects by handle, for the handlers of DLL functions.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import type {
  Module,
  ProcessOptions,
  SectionFile,
  SystemServices,
  ThreadInfo,
  VirtualMemory,
} from "./api.ts";
import { ProcessVirtual } from "./api_call.ts";
import { pagesOf } from "./bytes.ts";
import { CONTEXT_ALL } from "./context.ts";
import { absolutePath } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { MAX_APCS, ObjectServices, Win32 } from "./object_services.ts";
import { Process, Thread } from "./process.ts";
import { createProcess, createThread, endProcess, endThread } from "./process_life.ts";
import { DEP_POLICIES } from "./dep.ts";
import { imageSection } from "./dll_registry.ts";
import { isWritable, toMm } from "./protection.ts";
import { Section } from "./sections.ts";
import { readContext, writeContext } from "./thread_context.ts";
import { GuestFault } from "./user_memory.ts";
import { Mm } from "./vad.ts";
import { resolve } from "./wait.ts";

const MAX_SUSPENSIONS = 127;
const MAX_VECTORED = 256;
const STILL_ACTIVE = 0x103;
const SEC_IMAGE = 0x100_0000;
const CURRENT_PROCESS = 0xffffffff;
const SEC_RESERVE = 0x400_0000;

/** See {@link SystemServices}; made for one thread. */
export class Services extends ObjectServices implements SystemServices {
  private processOf(handle: number): Process | undefined {
    const object = this.object(handle);
    return object instanceof Process && object.user && object.exitCode === undefined ? object : undefined;
  }

  private threadOf(handle: number): Thread | undefined {
    const object = this.object(handle);
    return object instanceof Thread ? object : undefined;
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

  createProcess(image: string, commandLine: string, suspended: boolean, options: ProcessOptions = {}) {
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
        environment: options.environment ?? this.caller.environment,
        directory: this.absolute(options.directory ?? this.caller.currentDirectory),
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

  openThread(tid: number): number {
    const thread = this.kernel.threads.find((one) => one.tid === tid);
    return thread ? this.open(thread) : this.fail(Win32.invalidParameter, 0);
  }

  processId(handle: number): number {
    const object = this.object(handle);
    return object instanceof Process ? object.pid : 0;
  }

  threadInfo(handle: number): ThreadInfo | undefined {
    const thread = this.threadOf(handle);
    if (!thread) return undefined;
    const { tid, teb, start, suspendCount, process: { pid } } = thread;
    return { tid, pid, teb, start, suspendCount, exitCode: thread.exitCode };
  }

  threads() {
    return this.kernel.threads.map(({ tid, process: { pid } }) => ({ tid, pid }));
  }

  modulesOf(pid: number): readonly Module[] | undefined {
    const process = this.kernel.processes.find((one) => one.pid === pid && one.exitCode === undefined);
    return process?.user && process.modules;
  }

  pebOf(handle: number): number {
    return this.processOf(handle)?.user?.peb ?? 0;
  }

  suspendProcess(handle: number, suspend: boolean): boolean {
    const process = this.processOf(handle);
    if (!process) return this.fail(Win32.invalidHandle, false);
    for (const thread of process.threads) {
      if (suspend) thread.suspendCount = Math.min(thread.suspendCount + 1, MAX_SUSPENSIONS);
      else if (thread.suspendCount > 0) thread.suspendCount--;
    }
    return true;
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
    if (!thread?.alive || thread.suspendCount >= MAX_SUSPENSIONS) {
      return this.fail(Win32.invalidHandle, 0xffffffff);
    }
    return thread.suspendCount++;
  }

  resumeThread(handle: number): number {
    const thread = this.threadOf(handle);
    if (!thread) return this.fail(Win32.invalidHandle, 0xffffffff);
    return thread.suspendCount === 0 ? 0 : thread.suspendCount--;
  }

  getContext(handle: number): Uint8Array | undefined {
    const thread = this.threadOf(handle);
    return thread?.alive ? readContext(this.kernel, thread, thread.context, CONTEXT_ALL) : undefined;
  }

  setContext(handle: number, context: Uint8Array): boolean {
    const thread = this.threadOf(handle);
    if (!thread?.alive) return this.fail(Win32.invalidHandle, false);
    writeContext(this.kernel, thread, context);
    thread.takenOver ||= this.thread.ofSample;
    return true;
  }

  queueApc(handle: number, routine: number, args: readonly number[]): boolean {
    const thread = this.threadOf(handle);
    if (!thread?.alive || thread.apcs.length >= MAX_APCS) return this.fail(Win32.invalidHandle, false);
    thread.queueApc({ routine, args: args.slice(0, 3), ofSample: this.thread.ofSample });
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

  createSection(size: number, protect: number, file?: SectionFile, name = ""): number {
    return this.named(name, "section", () => this.makeSection(size, protect, file), (made) => made.release());
  }

  /** A section that nobody has a handle to yet; undefined, with last error set, when it cannot be made. */
  private makeSection(size: number, protect: number, file?: SectionFile): Section | undefined {
    const { kernel } = this;
    if (file !== undefined && protect & SEC_IMAGE) return this.makeImageSection(file.path);
    const path = file && this.absolute(file.path);
    const content = path === undefined ? undefined : kernel.files.read(path);
    if (path !== undefined && !content) return this.fail(Win32.fileNotFound, undefined);
    const bytes = size === 0 ? content?.length ?? 0 : size;
    const code = toMm(protect & 0xff);
    if (bytes === 0 || code === undefined) return this.fail(Win32.invalidParameter, undefined);
    const pages = pagesOf(bytes);
    if (!kernel.ledger.charge(pages)) return this.fail(Win32.notEnoughMemory, undefined);
    const changed = (bytes: Uint8Array) => {
      kernel.files.write(path!, bytes);
      file?.changed?.(bytes);
    };
    const section = new Section(kernel.domain, kernel.frames, pages, code & ~Mm.committed, {
      reserved: path === undefined && (protect & SEC_RESERVE) !== 0,
      file: path !== undefined && isWritable(code) ? { size: bytes, changed } : undefined,
      onFree: () => {
        kernel.ledger.used -= pages;
      },
    });
    for (let page = 0; content && page < pagesOf(Math.min(content.length, bytes)); page++) {
      section.fill(page, content.subarray(page * 4096, (page + 1) * 4096));
    }
    return section;
  }

  private makeImageSection(file: string): Section | undefined {
    const { kernel } = this;
    const bytes = kernel.files.read(this.absolute(file));
    if (!bytes) return this.fail(Win32.fileNotFound, undefined);
    try {
      return imageSection(kernel.domain, kernel.frames, bytes, file) ??
        this.fail(Win32.notEnoughMemory, undefined);
    } catch (error) {
      if (error instanceof InputError) return this.fail(Win32.badExeFormat, undefined);
      throw error;
    }
  }

  private absolute(path: string): string {
    return absolutePath(path, this.caller.currentDirectory);
  }

  executeFlags(handle: number): number | undefined {
    return this.processOf(handle)?.user?.dep.executeFlags;
  }

  setExecuteFlags(flags: number): number {
    const { dep, manager } = this.caller.user!;
    const status = dep.setExecuteFlags(flags);
    if (manager.executeAnywhere === dep.isOn) manager.executeAnywhere = !dep.isOn;
    return status;
  }

  get depPolicy(): number {
    return DEP_POLICIES[this.kernel.settings.dep];
  }

  addVectoredHandler(first: boolean, address: number, toContinue = false): number {
    const vectored = toContinue ? this.caller.vectoredContinue : this.caller.vectored;
    if (vectored.length >= MAX_VECTORED) return 0;
    const next = (this.caller.states.get("vectored-handles") as number | undefined) ?? 0x1000;
    this.caller.states.set("vectored-handles", next + 0x10);
    const entry = { handle: next, address };
    if (first) vectored.unshift(entry);
    else vectored.push(entry);
    return next;
  }

  removeVectoredHandler(handle: number, toContinue = false): boolean {
    const vectored = toContinue ? this.caller.vectoredContinue : this.caller.vectored;
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

  duplicate(handle: number, from = CURRENT_PROCESS, to = CURRENT_PROCESS): number {
    const [source, target] = [this.processOf(from), this.processOf(to)];
    const object = source && resolve(this.thread, handle, source);
    if (!object || !target) return this.fail(Win32.invalidHandle, 0);
    return target.handles.open(object) || this.fail(Win32.notEnoughMemory, 0);
  }

  processes() {
    return this.kernel.processes.filter((one) => one.exitCode === undefined).map((one) => ({
      pid: one.pid,
      parentPid: one.identity.parentPid,
      name: one.identity.name,
      path: one.identity.path,
      threads: one.threads.length,
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

  allocate(base: number, size: number, type: number, protect: number, zeroBits?: number) {
    return this.kernel.attach(this.process, () => this.inner.allocate(base, size, type, protect, zeroBits));
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
  flushView(address: number): number {
    return this.inner.flushView(address);
  }
}
