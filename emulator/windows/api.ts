// SPDX-License-Identifier: Apache-2.0
/**
 * What a DLL of the model is made of, and what its functions may ask of the kernel's model.
 *
 * A DLL file in `dll/` exports one {@link DllDefinition}; the kernel's model builds a real PE image from it
 * (export directory, a stub per function that begins like a real function and ends in a system call) and
 * calls the handler when guest code reaches the stub.
 *
 * @module
 */

/** What a handler may yield: it is resumed with the result when the kernel has done it. */
export type Request =
  /** Call guest code in the calling thread; resumed with its EAX. */
  | {
    readonly kind: "invoke";
    readonly address: number;
    readonly args: readonly number[];
    readonly cdecl?: boolean;
  }
  /** Block the thread until one (or all) of the handles is signalled; resumed with a WAIT_… value. */
  | {
    readonly kind: "wait";
    readonly handles: readonly number[];
    readonly all: boolean;
    readonly timeout: number;
    /** APCs of the thread run first; the wait then ends with WAIT_IO_COMPLETION. */
    readonly alertable?: boolean;
  }
  /** Sleep: advances the virtual clock if nothing else can run. Milliseconds, INFINITE = 0xffffffff. */
  | { readonly kind: "sleep"; readonly milliseconds: number; readonly alertable?: boolean };

/** Result of a plain handler: EAX, or undefined for 0. */
export type HandlerResult = number | void;

/**
 * A function of a DLL. Arguments arrive as unsigned 32-bit words. It either returns at once or is a
 * generator that yields {@link Request}s.
 */
export type Handler = (
  call: ApiCall,
  ...args: number[]
) => HandlerResult | Generator<Request, HandlerResult, number>;

/** One exported function. */
export interface DllFunction {
  readonly name: string;
  readonly convention: "stdcall" | "cdecl";
  /** Number of 32-bit argument words (stdcall: what RET removes; cdecl: how many the handler is given). */
  readonly args: number;
  readonly handler: Handler;
  /**
   * Machine code (position independent) put between the stub's prologue and its system call, and between the
   * system call and RET: moves x87 and 64-bit values through the scratch words of the TEB (see dll/code.ts).
   */
  readonly head?: Uint8Array;
  readonly tail?: Uint8Array;
  /** The whole function as position independent machine code, RET included; no stub, no handler call. */
  readonly code?: Uint8Array;
}

/** One exported variable; `initial` is its content, in the image's writable data. */
export interface DllVariable {
  readonly name: string;
  readonly initial: Uint8Array | ((call: ApiCall) => Uint8Array);
  readonly size: number;
}

/** A DLL of the model. */
export interface DllDefinition {
  /** Lower case with suffix: `kernel32.dll`. */
  readonly name: string;
  /** Preferred base; the kernel's model places it there. Multiples of 0x10000, 0x68000000–0x77ff0000. */
  readonly base: number;
  readonly functions: readonly DllFunction[];
  readonly variables?: readonly DllVariable[];
  /** Exports that forward: name → `DLL.Function`. */
  readonly forwards?: Readonly<Record<string, string>>;
  /** Functions known by name only: name → stdcall argument words (a call is counted missing, returns 0). */
  readonly known?: Readonly<Record<string, number>>;
  /** Fixed ordinals of exports (the others get free ones above the highest of these, or from 1). */
  readonly ordinals?: Readonly<Record<string, number>>;
}

/** Declares a stdcall function; `args` is taken from the handler's parameter count unless given. */
export function stdcall(name: string, args: number, handler: Handler): DllFunction {
  return { name, convention: "stdcall", args, handler };
}

/** Declares a cdecl function; `args` is how many words the handler is given. */
export function cdecl(name: string, args: number, handler: Handler): DllFunction {
  return { name, convention: "cdecl", args, handler };
}

/** Guest memory of the calling process, with user rights; bad pointers raise an access violation in the guest. */
export interface GuestMemory {
  u8(address: number): number;
  u16(address: number): number;
  u32(address: number): number;
  setU8(address: number, value: number): void;
  setU16(address: number, value: number): void;
  setU32(address: number, value: number): void;
  bytes(address: number, length: number): Uint8Array;
  setBytes(address: number, bytes: Uint8Array): void;
  /** Zero-terminated text, at most `max` characters (default 32767). `wide` is UTF-16. */
  text(address: number, wide: boolean, max?: number): string;
  /** Writes text with its zero; `capacity` in characters; returns characters written without the zero. */
  setText(address: number, wide: boolean, value: string, capacity: number): number;
  /** True when the range can be read (or written) without a fault. */
  accessible(address: number, length: number, write: boolean): boolean;
}

/** What VirtualQuery says of a page. */
export interface MemoryRegion {
  readonly base: number;
  readonly allocationBase: number;
  readonly allocationProtect: number;
  readonly size: number;
  /** MEM_COMMIT, MEM_RESERVE or MEM_FREE. */
  readonly state: number;
  readonly protect: number;
  /** MEM_PRIVATE, MEM_MAPPED, MEM_IMAGE or 0. */
  readonly type: number;
}

/** Virtual memory of one process; results are NTSTATUS values (0 is success) or objects. */
export interface VirtualMemory {
  /** NtAllocateVirtualMemory; base 0 lets the model choose. */
  allocate(
    base: number,
    size: number,
    type: number,
    protect: number,
    zeroBits?: number,
  ): { status: number; base: number; size: number };
  free(base: number, size: number, type: number): { status: number; base: number; size: number };
  protect(base: number, size: number, protect: number): { status: number; old: number };
  query(address: number): MemoryRegion;
  /** Maps a view of a section object; size 0 is all of it. */
  mapView(
    section: number,
    base: number,
    offset: number,
    size: number,
    protect: number,
  ): { status: number; base: number; size: number };
  unmapView(base: number): number;
  /** Writes what was changed in the view at an address back to its file. Returns a status. */
  flushView(address: number): number;
}

/** A loaded module. */
export interface Module {
  readonly name: string;
  readonly path: string;
  readonly base: number;
  readonly size: number;
  readonly entryPoint: number;
}

/** Modules of the calling process. */
export interface Modules {
  /** The program itself. */
  readonly main: Module;
  /** By name in any case, with or without suffix and path. */
  find(name: string): Module | undefined;
  at(address: number): Module | undefined;
  /**
   * Loads a DLL of the model or of the sample's file system, or counts one more use of it; undefined when there
   * is none. Runs no code.
   */
  load(name: string): Module | undefined;
  /** Calls the entry points of what was loaded, dependencies first; false when the module refuses and is gone. */
  attach(module: Module): Generator<Request, boolean, number>;
  /** One use less: with the last one the module is called and unmapped. */
  release(module: Module): Generator<Request, void, number>;
  /** The module is not called for threads (DisableThreadLibraryCalls). */
  silence(module: Module): void;
  /** The process is about to end: other threads end, modules are called. */
  shutDown(): Generator<Request, void, number>;
  /** Address of an export, following forwards; 0 when there is none. */
  export(module: Module, name: string | number): number;
  all(): readonly Module[];
}

/** A block of a heap (`size` and `overhead` in bytes), or a region blocks lie in. */
export interface HeapEntry {
  readonly address: number;
  readonly size: number;
  readonly overhead: number;
  readonly kind: "region" | "busy" | "free";
}

/** Heap blocks in guest memory. */
export interface Heaps {
  readonly processHeap: number;
  /** 0 when there is no room. `maximum` in bytes, 0: it grows. */
  create(executable?: boolean, maximum?: number): number;
  /** Gives a heap's memory back; false for the process heap and what is no heap. */
  destroy(heap: number): boolean;
  /** Addresses of all heaps, the process heap first. */
  all(): readonly number[];
  /** What a heap consists of, by address; undefined when it is none. */
  entries(heap: number): readonly HeapEntry[] | undefined;
  /** 0 when there is no room. */
  allocate(heap: number, size: number, zero: boolean): number;
  free(heap: number, address: number): boolean;
  /** Size of a block, or undefined when it is none. */
  size(heap: number, address: number): number | undefined;
  /** 0 when there is no room; `inPlace`: the block stays where it is, or it fails. */
  reallocate(heap: number, address: number, size: number, zero: boolean, inPlace?: boolean): number;
}

/** A file of the model's small file system; paths are Windows paths in any case. */
export interface Files {
  exists(path: string): boolean;
  read(path: string): Uint8Array | undefined;
  write(path: string, bytes: Uint8Array): boolean;
  remove(path: string): boolean;
  /** Names of the files and directories in a directory, sorted. */
  list?(directory: string): readonly string[];
  /** Resolves against the current directory. */
  absolute(path: string): string;
  currentDirectory: string;
}

/** Things behind handles. A DLL may keep objects of its own; `kind` tells them apart. */
export interface KernelObject {
  readonly kind: string;
}

/** Handles of the calling process. */
export interface Handles {
  open(object: KernelObject): number;
  get(handle: number): KernelObject | undefined;
  close(handle: number): boolean;
}

/** The virtual clock. */
export interface Clock {
  /** Milliseconds since boot. */
  readonly tickCount: number;
  /** 100 ns since 1601. */
  readonly systemTime: bigint;
  readonly performanceCounter: bigint;
  readonly performanceFrequency: bigint;
}

/** One call of a model function, with everything it may ask of the kernel's model. */
export interface ApiCall {
  readonly memory: GuestMemory;
  readonly virtual: VirtualMemory;
  readonly modules: Modules;
  readonly heaps: Heaps;
  readonly files: Files;
  readonly handles: Handles;
  readonly clock: Clock;
  readonly pid: number;
  readonly tid: number;
  /** Linear addresses of the calling thread's TEB and process's PEB. */
  readonly teb: number;
  readonly peb: number;
  readonly commandLine: string;
  readonly imagePath: string;
  /** Environment variables, live; names in any case. */
  readonly environment: Map<string, string>;
  /** Where the call returns to, and ESP at the stub's entry (pointing at the return address). */
  readonly returnAddress: number;
  readonly stack: number;
  /** Win32 last error of the calling thread (TEB+0x34). */
  lastError: number;
  /** Sets last error and returns `result` (0): `return call.fail(ERROR_…)`. */
  fail(error: number, result?: number): number;
  /** Ends the process (it does not come back to guest code) or the calling thread. */
  exitProcess(code: number): void;
  exitThread(code: number): void;
  /** Raises an exception at the call's return address. */
  raise(code: number, flags: number, parameters: readonly number[]): void;
  /** Other processes, threads and objects: created by the kernel's model. */
  readonly system: SystemServices;
  /** Text the program shows (console, message box): kept for the report, bounded. */
  print(text: string): void;
  /** Counts this function as not modelled, with its name, and goes on. */
  missing(what: string): void;
  /** State of a DLL for the calling process, made at first use. */
  state<T>(key: string, make: () => T): T;
}

/** What a new process has otherwise than its parent. */
export interface ProcessOptions {
  readonly environment?: ReadonlyMap<string, string>;
  readonly directory?: string;
}

/** What is known of a process. */
export interface ProcessInfo {
  readonly pid: number;
  readonly parentPid: number;
  readonly name: string;
  readonly path: string;
  readonly threads: number;
}

/** What is known of a thread. */
export interface ThreadInfo {
  readonly tid: number;
  readonly pid: number;
  readonly teb: number;
  readonly start: number;
  readonly suspendCount: number;
  /** Absent while it runs. */
  readonly exitCode?: number;
}

/** What a completion port hands on. */
export interface CompletionPacket {
  readonly bytes: number;
  readonly key: number;
  readonly overlapped: number;
}

/** The file behind a section. */
export interface SectionFile {
  readonly path: string;
  /** Told the whole content when what views wrote goes back to the file. */
  readonly changed?: (bytes: Uint8Array) => void;
}

/** Processes, threads, sections and synchronisation, by handle. Results 0 mean failure, with lastError set. */
export interface SystemServices {
  createThread(
    start: number,
    parameter: number,
    stackSize: number,
    suspended: boolean,
    process?: number,
  ): { handle: number; tid: number };
  createProcess(
    image: string,
    commandLine: string,
    suspended: boolean,
    options?: ProcessOptions,
  ): { process: number; thread: number; pid: number; tid: number } | undefined;
  openProcess(pid: number): number;
  openThread(tid: number): number;
  threadInfo(handle: number): ThreadInfo | undefined;
  threads(): readonly { tid: number; pid: number }[];
  /** Modules of a process; undefined when there is none, or it may not be looked at. */
  modulesOf(pid: number): readonly Module[] | undefined;
  /** Suspends or resumes all threads of a process. */
  suspendProcess(handle: number, suspend: boolean): boolean;
  /** pid of a process handle (0xffffffff is the caller), or 0. */
  processId(handle: number): number;
  terminateProcess(handle: number, code: number): boolean;
  terminateThread(handle: number, code: number): boolean;
  exitCode(handle: number): number | undefined;
  suspendThread(handle: number): number;
  resumeThread(handle: number): number;
  getContext(handle: number): Uint8Array | undefined;
  setContext(handle: number, context: Uint8Array): boolean;
  queueApc(thread: number, routine: number, args: readonly number[]): boolean;
  /** PEB address of a process. */
  pebOf(process: number): number;
  /** Virtual memory of another process. */
  virtualOf(process: number): VirtualMemory | undefined;
  readProcess(process: number, address: number, length: number): Uint8Array | undefined;
  /** Written by the calling thread attached to the other process, as Windows does it. */
  writeProcess(process: number, address: number, bytes: Uint8Array): boolean;
  /** `protect` with the SEC_… flags. */
  createSection(size: number, protect: number, file?: SectionFile, name?: string): number;
  /** Opens an event, mutex, semaphore, timer or section by its name. */
  openNamed(name: string, kind: string): number;
  createEvent(manual: boolean, initial: boolean, name: string): number;
  setEvent(handle: number, signalled: boolean): boolean;
  pulseEvent(handle: number): boolean;
  eventState(handle: number): { manual: boolean; signalled: boolean } | undefined;
  createMutex(owned: boolean, name: string): number;
  releaseMutex(handle: number): boolean;
  createSemaphore(count: number, maximum: number, name: string): number;
  releaseSemaphore(handle: number, count: number): number | undefined;
  createTimer(manual: boolean, name: string): number;
  /** Arms a timer; delay and period in milliseconds, the routine (0: none) runs as an APC of the caller. */
  setTimer(handle: number, delay: number, period: number, routine: number, argument: number): boolean;
  cancelTimer(handle: number): boolean;
  createCompletionPort(): number;
  postCompletion(port: number, packet: CompletionPacket): boolean;
  /** The packet that the caller's wait for the port gave it. */
  takeCompletion(port: number): CompletionPacket | undefined;
  /** A handle of process `to` for what a handle of process `from` names; both the caller when absent. */
  duplicate(handle: number, from?: number, to?: number): number;
  /** MEM_EXECUTE_OPTION_… of a process: whether DEP is on for it. */
  executeFlags(process: number): number | undefined;
  /** Changes those of the calling process; returns a status. */
  setExecuteFlags(flags: number): number;
  /** The system's policy, as GetSystemDEPPolicy numbers it. */
  readonly depPolicy: number;
  /** Vectored handlers and the unhandled filter of the calling process. */
  addVectoredHandler(first: boolean, address: number, toContinue?: boolean): number;
  removeVectoredHandler(handle: number, toContinue?: boolean): boolean;
  setUnhandledFilter(address: number): number;
  processes(): readonly ProcessInfo[];
}
