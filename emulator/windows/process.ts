// SPDX-License-Identifier: Apache-2.0
/**
 * Processes and threads of the model, with their EPROCESS and ETHREAD in guest memory.
 *
 * @module
 */
import type { AddressSpace } from "./address_space.ts";
import type { Request } from "./api.ts";
import { FPU_AREA } from "./boot.ts";
import type { KernelCall } from "./api_call.ts";
import { latin1, put32, put64 } from "./bytes.ts";
import type { Context } from "./context.ts";
import { newContext } from "./context.ts";
import type { ExecutionPrevention } from "./dep.ts";
import type { Heap } from "./heap.ts";
import type { KernelMemory } from "./kernel_memory.ts";
import type { MemoryManager } from "./memory_manager.ts";
import type { LoadedModule } from "./modules.ts";
import { HandleTable } from "./objects.ts";
import type { MutexObject, Owner, Waitable } from "./objects.ts";
import type { PeFile } from "./pe.ts";
import type { Section } from "./sections.ts";
import { Eprocess, Ethread, initializeList, insertTail, ProcessFlag, removeEntry } from "./structures.ts";
import type { UserMemory } from "./user_memory.ts";

/** What is known of a process before it has an address space. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly parentPid: number;
  readonly name: string;
  readonly path: string;
  readonly commandLine: string;
}

/** How a process ended when it was not by its own will. */
export interface Crash {
  readonly code: number;
  readonly address: number;
  readonly detail: string;
}

/** A process's user half: what a process has that runs programs (the System process has none). */
export interface UserHalf {
  readonly space: AddressSpace;
  readonly manager: MemoryManager;
  readonly memory: UserMemory;
  readonly pe: PeFile;
  readonly image: Section;
  readonly imageBase: number;
  readonly peb: number;
  readonly dep: ExecutionPrevention;
}

/** A process. */
export class Process implements Waitable {
  readonly kind = "process";
  readonly handles = new HandleTable();
  readonly threads: Thread[] = [];
  readonly modules: LoadedModule[] = [];
  readonly heaps = new Map<number, Heap>();
  readonly states = new Map<string, unknown>();
  readonly environment = new Map<string, string>();
  /** Vectored handlers: asked first, and told last that the program goes on. */
  readonly vectored: { readonly handle: number; readonly address: number }[] = [];
  readonly vectoredContinue: { readonly handle: number; readonly address: number }[] = [];
  currentDirectory = "C:\\Users\\user\\Desktop";
  unhandledFilter = 0;
  processHeap = 0;
  /** Address of the loader's data and how much of it is used. */
  loaderArena = { next: 0, end: 0 };
  /** DLLs that are not the model's, in the order in which they are initialized. */
  readonly initialized: LoadedModule[] = [];
  /** Bases of DLLs that do not want to hear of threads. */
  readonly quiet = new Set<number>();
  /** Address of the array of TLS callbacks, by module base. */
  readonly tlsCallbacks = new Map<number, number>();
  /** TLS directories: start, end, zero fill of each index. */
  tlsTemplates: { readonly start: number; readonly size: number; readonly zeros: number }[] = [];
  exitCode: number | undefined;
  crash: Crash | undefined;
  user: UserHalf | undefined;

  constructor(
    readonly identity: ProcessIdentity,
    readonly eprocess: number,
    /** The sample's own process, or one it made. */
    readonly ofSample: boolean,
  ) {}

  get pid(): number {
    return this.identity.pid;
  }
  isSignalled(): boolean {
    return this.exitCode !== undefined;
  }
  acquire(): void {}
}

/** A handler in progress that waits for guest code, an object or time. */
export interface CallFrame {
  readonly call: KernelCall;
  readonly generator: Generator<Request, number | void, number>;
  /** Registers to go on with when the handler is done. */
  readonly context: Context;
  /** ESP at the callback's first instruction, and the argument words above it; 0 when there is none. */
  callbackStack: number;
  callbackWords: number;
  /** The waiting handler whose thread runs APCs in this frame. */
  readonly parent?: CallFrame;
}

/** What a blocked thread waits for. */
export interface WaitBlock {
  readonly objects: readonly Waitable[];
  readonly all: boolean;
  /** Time (clock's nanoseconds) at which it gives up; Infinity: never. */
  readonly deadline: number;
  readonly alertable: boolean;
}

/** An APC queued to a thread. */
export interface Apc {
  readonly routine: number;
  readonly args: readonly number[];
  /** Queued by the sample: while it is queued or runs, the thread runs for the sample. */
  readonly ofSample: boolean;
}

/** A thread. */
export class Thread implements Waitable, Owner {
  readonly kind = "thread";
  readonly context: Context = newContext();
  readonly frames: CallFrame[] = [];
  readonly apcs: Apc[] = [];
  readonly owned = new Set<MutexObject>();
  suspendCount = 0;
  waiting: WaitBlock | undefined;
  /** Result of a wait that is over, until the thread is resumed with it. */
  wakeValue: number | undefined;
  /** Registers it was created with (or given since), used when ntdll has set up the process. */
  startContext: Context | undefined;
  exitCode: number | undefined;
  teb = 0;
  stackLow = 0;
  stackHigh = 0;
  /** False until the thread ran for the first time, which it does in LdrInitializeThunk. */
  started = false;
  /** Area of its x87 and SSE registers in kernel memory; 0 until it ran. */
  fpuArea = 0;

  constructor(
    readonly tid: number,
    readonly process: Process,
    readonly ethread: number,
    readonly start: number,
    readonly parameter: number,
    /** Made by the sample: in its own process, or in another. */
    private readonly madeBySample: boolean,
  ) {}

  /** The sample gave it other registers. */
  takenOver = false;
  /** APCs of the sample that are queued or run. */
  sampleApcs = 0;

  /** Runs for the sample. */
  get ofSample(): boolean {
    return this.madeBySample || this.takenOver || this.sampleApcs > 0;
  }

  queueApc(apc: Apc): void {
    this.apcs.push(apc);
    if (apc.ofSample) this.sampleApcs++;
  }

  /** Takes the APCs out of the queue one by one and has each run. */
  *runApcs(): Generator<Request, void, number> {
    for (let apc = this.apcs.shift(); apc; apc = this.apcs.shift()) {
      yield { kind: "invoke", address: apc.routine, args: apc.args };
      if (apc.ofSample) this.sampleApcs--;
    }
  }

  isSignalled(): boolean {
    return this.exitCode !== undefined;
  }
  acquire(): void {}
  get alive(): boolean {
    return this.exitCode === undefined;
  }
}

/** Writes an EPROCESS and links it into the list of processes. Undefined when the pool is empty. */
export function createEprocess(
  memory: KernelMemory,
  listHead: number,
  identity: ProcessIdentity,
  fields: { readonly cr3: number; readonly createTime: bigint },
): number | undefined {
  const at = memory.allocate(Eprocess.size);
  if (at === undefined) return undefined;
  const bytes = new Uint8Array(Eprocess.size);
  bytes[Eprocess.dispatcherType] = 3;
  bytes[2] = 0x26;
  put32(bytes, Eprocess.directoryTableBase, fields.cr3);
  put64(bytes, Eprocess.createTime, fields.createTime);
  put32(bytes, Eprocess.uniqueProcessId, identity.pid);
  put32(bytes, Eprocess.inheritedFrom, identity.parentPid);
  bytes.set(latin1(identity.name.slice(0, 15)), Eprocess.imageFileName);
  put32(bytes, Eprocess.exitStatus, 0x103);
  memory.write(at, bytes);
  initializeList(memory, at + Eprocess.threadListHead);
  initializeList(memory, at + Eprocess.threadListHeadKernel);
  insertTail(memory, listHead, at + Eprocess.activeProcessLinks);
  return at;
}

/** Says in the EPROCESS that the process is going away. */
export function markExiting(memory: KernelMemory, process: Process, time: bigint): void {
  const flags = memory.get32(process.eprocess + Eprocess.flags);
  memory.set32(process.eprocess + Eprocess.flags, flags | ProcessFlag.processExiting);
  const bytes = new Uint8Array(8);
  put64(bytes, 0, time);
  memory.write(process.eprocess + Eprocess.exitTime, bytes);
  memory.set32(process.eprocess + Eprocess.exitStatus, process.exitCode ?? 0);
}

/** Takes the EPROCESS out of the list; its memory stays (handles may still name it). */
export function unlinkProcess(memory: KernelMemory, process: Process): void {
  removeEntry(memory, process.eprocess + Eprocess.activeProcessLinks);
}

/** Writes an ETHREAD and links it into its process. Undefined when the pool is empty. */
export function createEthread(
  memory: KernelMemory,
  process: Process,
  fields: { readonly tid: number; readonly teb: number; readonly start: number; readonly createTime: bigint },
): number | undefined {
  const at = memory.allocate(Ethread.size);
  if (at === undefined) return undefined;
  const bytes = new Uint8Array(Ethread.size);
  bytes[Ethread.dispatcherType] = 6;
  put32(bytes, Ethread.apcStateProcess, process.eprocess);
  bytes[Ethread.state] = 1;
  put32(bytes, Ethread.teb, fields.teb);
  put32(bytes, Ethread.process, process.eprocess);
  put64(bytes, Ethread.createTime, fields.createTime << 3n);
  put32(bytes, Ethread.startAddress, fields.start);
  put32(bytes, Ethread.win32StartAddress, fields.start);
  put32(bytes, Ethread.cid, process.pid);
  put32(bytes, Ethread.cid + 4, fields.tid);
  memory.write(at, bytes);
  insertTail(memory, process.eprocess + Eprocess.threadListHead, at + Ethread.threadListEntry);
  insertTail(memory, process.eprocess + Eprocess.threadListHeadKernel, at + Ethread.threadListEntryKernel);
  const count = memory.get32(process.eprocess + Eprocess.activeThreads);
  memory.set32(process.eprocess + Eprocess.activeThreads, count + 1);
  return at;
}

/** Takes an ETHREAD out of its process and frees it. */
export function destroyEthread(memory: KernelMemory, thread: Thread): void {
  removeEntry(memory, thread.ethread + Ethread.threadListEntry);
  removeEntry(memory, thread.ethread + Ethread.threadListEntryKernel);
  const count = memory.get32(thread.process.eprocess + Eprocess.activeThreads);
  memory.set32(thread.process.eprocess + Eprocess.activeThreads, Math.max(count - 1, 0));
  memory.release(thread.ethread, Ethread.size);
  if (thread.fpuArea !== 0) memory.release(thread.fpuArea, FPU_AREA);
}
