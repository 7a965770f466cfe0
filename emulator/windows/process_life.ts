// SPDX-License-Identifier: Apache-2.0
/**
 * How processes and threads begin and end.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import { AddressSpace } from "./address_space.ts";
import { code } from "./assembler.ts";
import { hex, put16, put32 } from "./bytes.ts";
import { Memory, Protect, SHARED_DATA, Status, USER_END } from "./constants.ts";
import { newContext } from "./context.ts";
import { ExecutionPrevention } from "./dep.ts";
import { imageSection } from "./dll_registry.ts";
import type { Kernel } from "./kernel.ts";
import { MemoryManager } from "./memory_manager.ts";
import { Directory, parsePe } from "./pe.ts";
import type { PeFile } from "./pe.ts";
import {
  createEprocess,
  createEthread,
  destroyEthread,
  markExiting,
  Process,
  Thread,
  unlinkProcess,
} from "./process.ts";
import type { Crash } from "./process.ts";
import type { Section } from "./sections.ts";
import { Eprocess, Parameters, Peb, Teb, unicodeString, wideZ } from "./structures.ts";
import { GuestFault, UserMemory } from "./user_memory.ts";
import { Mm, VadTree } from "./vad.ts";
import type { Vad } from "./vad.ts";

const MAX_PROCESSES = 64;
const MAX_PROCESSES_EVER = 1024;
const MAX_THREADS = 256;
/** Frames a process needs at least: tables, stack, environment, copies of DLL data. */
const MIN_FRAMES = 512;
const RELOCATIONS_STRIPPED = 1;
const MAX_STACK = 0x1000_0000;
/** TEB.FiberData of a thread that is no fiber: the version of the OS/2 subsystem. */
const NO_FIBER = 0x1e00;

/** What a process is made from. */
export interface ProcessOptions {
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly path: string;
  readonly commandLine: string;
  readonly parentPid: number;
  readonly ofSample: boolean;
  readonly suspended?: boolean;
  readonly environment: ReadonlyMap<string, string>;
  /** Current directory; the desktop's when absent. */
  readonly directory?: string;
  readonly pid?: number;
}

/**
 * Makes a process with its first thread. Undefined when some resource is exhausted.
 *
 * @throws {InputError} when the program is not one that can be loaded.
 */
export function createProcess(kernel: Kernel, options: ProcessOptions): Thread | undefined {
  const { bytes, name, path, commandLine, parentPid, ofSample } = options;
  const file = parsePe(bytes, name);
  const alive = kernel.processes.reduce((sum, one) => sum + (one.exitCode === undefined ? 1 : 0), 0);
  if (alive >= MAX_PROCESSES || kernel.processes.length >= MAX_PROCESSES_EVER) return undefined;
  if (kernel.frames.free < MIN_FRAMES) return undefined;
  const moved = kernel.layout.imageBase(file);
  const section = (base?: number) => imageSection(kernel.domain, kernel.frames, bytes, name, base);
  const image = (moved === file.imageBase ? undefined : section(moved)) ?? section();
  const pe = image ? { ...file, imageBase: image.imageBase! } : file;
  if (!image || kernel.frames.free < MIN_FRAMES) {
    image?.release();
    return undefined;
  }
  const identity = { pid: kernel.newId(options.pid), parentPid, name, path, commandLine };
  const space = new AddressSpace(kernel.domain, kernel.frames, kernel.directories);
  const fields = { cr3: space.cr3, createTime: kernel.clock.systemTime };
  const eprocess = createEprocess(kernel.memory, kernel.processList, identity, fields);
  if (eprocess === undefined) {
    space.release();
    image.release();
    return undefined;
  }
  const process = new Process(identity, eprocess, ofSample);
  process.handles.open({ kind: "directory" });
  for (const [key, value] of options.environment) process.environment.set(key, value);
  if (options.directory !== undefined) process.currentDirectory = options.directory;
  const vads = new VadTree(kernel.memory, eprocess + Eprocess.vadRoot);
  const dep = new ExecutionPrevention(kernel.settings.dep, pe);
  const manager = new MemoryManager(kernel, space, vads, !dep.isOn);
  manager.onEntryChanged = (va) => kernel.entryChanged(process, va);
  const memory = new UserMemory(kernel.vcpu, manager);
  manager.onStackGrowth = (limit) => stackGrew(process, limit);
  const imageBase = mapProgram(manager, image, pe);
  process.user = { space, manager, memory, pe, image, imageBase, dep, peb: kernel.layout.peb() };
  kernel.processes.push(process);
  const ready = imageBase !== 0 && mapSystemPages(kernel, process) &&
    kernel.attach(process, () => buildEnvironment(kernel, process));
  const thread = ready
    ? createThread(kernel, process, {
      start: imageBase + pe.entryPoint,
      parameter: process.user.peb,
      stackReserve: pe.stackReserve || 0x10_0000,
      stackCommit: pe.stackCommit,
      suspended: options.suspended ?? false,
      ofSample,
    })
    : undefined;
  if (!thread) endProcess(kernel, process, Status.noMemory);
  if (imageBase === 0 && !pe.directory(Directory.relocation).rva) {
    throw new InputError(
      `Cannot load ${JSON.stringify(name)}: no room for ${hex(pe.sizeOfImage)} bytes at its base ${
        hex(pe.imageBase)
      }, and it has no relocations`,
    );
  }
  return thread;
}

/** Maps the program at its base, or elsewhere when it can be moved; returns where, 0 when nowhere. */
function mapProgram(manager: MemoryManager, image: Section, pe: PeFile): number {
  const preferred = pe.imageBase === 0
    ? undefined
    : manager.mapSection(image, "image", pe.imageBase, 0, image.pages, 0);
  if (preferred?.status === Status.success) return preferred.base;
  const canMove = (pe.characteristics & RELOCATIONS_STRIPPED) === 0 &&
    pe.directory(Directory.relocation).rva !== 0;
  return canMove ? manager.mapSection(image, "image", 0, 0, image.pages, 0).base : 0;
}

function mapSystemPages(kernel: Kernel, process: Process): boolean {
  const { manager } = process.user!;
  const shared = manager.mapSection(kernel.sharedData, "mapped", SHARED_DATA, 0, 1, Mm.readOnly);
  const rest = (USER_END - SHARED_DATA) / PAGE_SIZE - 1;
  const ntdll = kernel.dlls.file("ntdll.dll");
  if (shared.status || !ntdll) return false;
  if (manager.addPrivate(SHARED_DATA / PAGE_SIZE + 1, rest, Mm.noAccess, 0) !== 0) return false;
  const { section, image } = ntdll;
  return manager.mapSection(section, "image", image.definition.base, 0, section.pages, 0).status === 0;
}

/** The PEB and the process parameters, written in the process's own address space. */
function buildEnvironment(kernel: Kernel, process: Process): boolean {
  const { manager, memory, pe, imageBase, peb } = process.user!;
  const parameters = buildParameters(process);
  const block = manager.allocate(
    0,
    parameters.length,
    Memory.reserve | Memory.commit,
    Protect.readWrite,
  );
  if (block.status !== 0) return false;
  memory.setBytes(block.base, relocateParameters(parameters, block.base));
  if (manager.addPrivate(peb / PAGE_SIZE, 1, Mm.readWrite, 1) !== 0) return false;
  const bytes = new Uint8Array(Peb.size);
  put32(bytes, 4, 0xffffffff);
  put32(bytes, Peb.imageBaseAddress, imageBase);
  put32(bytes, Peb.processParameters, block.base);
  put32(bytes, Peb.numberOfProcessors, 2);
  put32(bytes, Peb.heapSegmentReserve, 0x10_0000);
  put32(bytes, Peb.heapSegmentCommit, 0x2000);
  put32(bytes, Peb.maximumNumberOfHeaps, 16);
  put32(bytes, Peb.osMajorVersion, 6);
  put32(bytes, Peb.osMinorVersion, 1);
  put16(bytes, Peb.osBuildNumber, 7601);
  put16(bytes, Peb.osCsdVersion, 0x100);
  put32(bytes, Peb.osPlatformId, 2);
  put32(bytes, Peb.imageSubsystem, pe.subsystem);
  put32(bytes, Peb.imageSubsystemMajor, 6);
  put32(bytes, Peb.imageSubsystemMinor, 1);
  put32(bytes, Peb.sessionId, 1);
  memory.setBytes(peb, bytes);
  kernel.memory.set32(process.eprocess + Eprocess.peb, peb);
  kernel.memory.set32(process.eprocess + Eprocess.sectionBaseAddress, imageBase);
  return true;
}

/** Offsets of pointers in the block of {@link buildParameters}, to be moved by its address. */
const POINTERS = [
  Parameters.currentDirectory + 4,
  Parameters.dllPath + 4,
  Parameters.imagePathName + 4,
  Parameters.commandLine + 4,
  Parameters.environment,
  Parameters.windowTitle + 4,
  Parameters.desktopInfo + 4,
];

function buildParameters(process: Process): Uint8Array {
  const { path, commandLine } = process.identity;
  const head = new Uint8Array(Parameters.size);
  const pieces: Uint8Array[] = [head];
  let at = head.length;
  const text = (field: number, value: string) => {
    const bytes = wideZ(value);
    head.set(unicodeString(value, at), field);
    pieces.push(bytes);
    at += bytes.length;
  };
  put32(head, Parameters.flags, 1);
  text(Parameters.currentDirectory, `${process.currentDirectory}\\`);
  text(Parameters.dllPath, `${process.currentDirectory};C:\\Windows\\system32;C:\\Windows`);
  text(Parameters.imagePathName, path);
  text(Parameters.commandLine, commandLine);
  text(Parameters.windowTitle, path);
  text(Parameters.desktopInfo, "WinSta0\\Default");
  const variables = [...process.environment].map(([key, value]) => `${key}=${value}\0`).join("");
  const environment = wideZ(variables + "\0");
  put32(head, Parameters.environment, at);
  put32(head, Parameters.environmentSize, environment.length);
  pieces.push(environment);
  const bytes = code(...pieces);
  put32(bytes, Parameters.maximumLength, bytes.length);
  put32(bytes, Parameters.length, bytes.length);
  return bytes;
}

function relocateParameters(bytes: Uint8Array, base: number): Uint8Array {
  const view = new DataView(bytes.buffer);
  for (const at of POINTERS) view.setUint32(at, view.getUint32(at, true) + base, true);
  return bytes;
}

/** What a thread is made from. */
export interface ThreadOptions {
  readonly start: number;
  readonly parameter: number;
  readonly stackReserve: number;
  readonly stackCommit: number;
  readonly suspended: boolean;
  readonly ofSample: boolean;
}

/** Makes a thread; undefined when some resource is exhausted. */
export function createThread(kernel: Kernel, process: Process, options: ThreadOptions): Thread | undefined {
  const { manager, memory, peb } = process.user!;
  if (kernel.threads.length >= MAX_THREADS || process.exitCode !== undefined) return undefined;
  const stack = manager.addStack(
    Math.min(options.stackReserve, MAX_STACK),
    options.stackCommit,
    kernel.layout.stackSkip(),
  );
  if (!stack) return undefined;
  const top = peb / PAGE_SIZE;
  let page = top - 1;
  while (page > top - 4 * MAX_THREADS && !manager.vads.isFree(page, page)) page--;
  if (!manager.vads.isFree(page, page) || manager.addPrivate(page, 1, Mm.readWrite, 1) !== 0) {
    manager.free(stack.low, 0, Memory.release);
    return undefined;
  }
  const teb = page * PAGE_SIZE;
  const tid = kernel.newId();
  const createTime = kernel.clock.systemTime;
  const ethread = createEthread(kernel.memory, process, { tid, teb, start: options.start, createTime });
  if (ethread === undefined) {
    manager.free(stack.low, 0, Memory.release);
    manager.free(teb, 0, Memory.release);
    return undefined;
  }
  const { start, parameter, ofSample } = options;
  const thread = new Thread(tid, process, ethread, start, parameter, ofSample);
  thread.teb = teb;
  thread.stackLow = stack.low;
  thread.stackHigh = stack.high;
  thread.suspendCount = options.suspended ? 1 : 0;
  kernel.attach(process, () => {
    const bytes = new Uint8Array(Teb.realClientId + 8);
    put32(bytes, Teb.exceptionList, 0xffffffff);
    put32(bytes, Teb.stackBase, stack.high);
    put32(bytes, Teb.stackLimit, stack.limit);
    put32(bytes, Teb.fiberData, NO_FIBER);
    put32(bytes, Teb.self, teb);
    put32(bytes, Teb.peb, peb);
    put32(bytes, Teb.currentLocale, 0x409);
    for (const field of [Teb.clientId, Teb.realClientId]) {
      put32(bytes, field, process.pid);
      put32(bytes, field + 4, tid);
    }
    memory.setBytes(teb, bytes);
    memory.setU32(teb + Teb.deallocationStack, stack.low);
  });
  startContext(kernel, thread);
  process.threads.push(thread);
  kernel.threads.push(thread);
  return thread;
}

/**
 * Registers of a new thread. What a suspended thread's creator sees and may change are these: EAX is the
 * start address, EBX the parameter (the PEB for the first thread), as Windows shows them.
 */
function startContext(kernel: Kernel, thread: Thread): void {
  const context = newContext();
  const file = kernel.dlls.file("ntdll.dll")!;
  const start = file.image.exports.get("RtlUserThreadStart");
  context.eip = file.image.definition.base + (start?.rva ?? 0);
  context.registers[0] = thread.start;
  context.registers[3] = thread.parameter;
  context.registers[4] = thread.stackHigh - 0x10;
  Object.assign(thread.context, context);
}

function stackGrew(process: Process, limit: number): void {
  const thread = process.threads.find((one) => limit >= one.stackLow && limit < one.stackHigh);
  if (!thread) return;
  try {
    process.user!.memory.setU32(thread.teb + Teb.stackLimit, limit);
  } catch (error) {
    // A program may have barred its own TEB; its stack grows all the same.
    if (!(error instanceof GuestFault)) throw error;
  }
}

/** Ends a thread; with its last thread the process ends too. */
export function endThread(kernel: Kernel, thread: Thread, exitCode: number): void {
  if (!thread.alive) return;
  thread.exitCode = exitCode >>> 0;
  thread.waiting = undefined;
  thread.frames.length = 0;
  const { process } = thread;
  abandonMutexes(thread);
  kernel.threads.splice(kernel.threads.indexOf(thread), 1);
  process.threads.splice(process.threads.indexOf(thread), 1);
  if (process.threads.length === 0) {
    endProcess(kernel, process, exitCode);
  } else {
    const { manager } = process.user!;
    const isCurrent = kernel.current === thread;
    kernel.attach(process, () => {
      for (const low of [thread.stackLow, thread.teb]) freeRange(manager, low);
    });
    if (isCurrent) kernel.switchToSystem();
  }
  destroyEthread(kernel.memory, thread);
}

function abandonMutexes(thread: Thread): void {
  for (const mutex of thread.owned) mutex.abandon();
  thread.owned.clear();
}

function freeRange(manager: MemoryManager, address: number): void {
  const vad: Vad | undefined = manager.vads.find(address / PAGE_SIZE);
  if (vad?.kind === "private" && vad.start === address / PAGE_SIZE) manager.free(address, 0, Memory.release);
}

/** Ends a process: says so in its EPROCESS, clears its user memory, leaves its address space. */
export function endProcess(kernel: Kernel, process: Process, exitCode: number, crash?: Crash): void {
  if (process.exitCode !== undefined || !process.user) return;
  process.exitCode = exitCode >>> 0;
  process.crash = crash;
  for (const thread of [...process.threads]) {
    thread.exitCode = exitCode >>> 0;
    thread.waiting = undefined;
    thread.frames.length = 0;
    abandonMutexes(thread);
    kernel.threads.splice(kernel.threads.indexOf(thread), 1);
  }
  markExiting(kernel.memory, process, kernel.clock.systemTime);
  const { manager, space, image } = process.user;
  process.handles.closeAll();
  kernel.attach(process, () => manager.clear());
  if (kernel.current?.process === process) kernel.switchToSystem();
  image.release();
  for (const thread of process.threads) destroyEthread(kernel.memory, thread);
  process.threads.length = 0;
  unlinkProcess(kernel.memory, process);
  space.release();
  process.states.clear();
  process.heaps.clear();
}

/** Text for a crash in a report. */
export function crashDetail(code: number, address: number, parameters: readonly number[]): string {
  const base = `exception ${hex(code)} at ${hex(address)}`;
  if (code !== Status.accessViolation || parameters.length < 2) return base;
  const kind = { 0: "read", 1: "write", 8: "execution" }[parameters[0]] ?? "access";
  return `${base} (${kind} of ${hex(parameters[1])})`;
}
