// SPDX-License-Identifier: Apache-2.0
/**
 * The ports of the core: what the dom0 service needs from the other rooms, and nothing of how they do it.
 *
 * @module
 */

/** A process name rule: which processes of a domain are watched (design: "rule"). */
export interface WatchRule {
  /** How {@link WatchRule.pattern} is compared with the image's file name (without regard to case). */
  readonly kind: "prefix" | "exact" | "glob" | "pid" | "all";
  /** The pattern; for `pid` a decimal number, for `all` empty. At most 63 UTF-8 bytes. */
  readonly pattern: string;
}

/** What the monitor does for one watched domain; omitted fields take the monitor's defaults. */
export interface WatchSettings {
  /** When the data centre is full: hold the vCPU (nothing is lost) or count the page lost. */
  readonly whenFull?: "pause" | "drop";
  /** Turns of one page inside the window after which its turns are coalesced. */
  readonly coalesceAfter?: number;
  /** That window, in ticks of the guest's time-stamp counter. */
  readonly coalesceWindow?: bigint;
  /** Most pages captured as one layer. */
  readonly layerCap?: number;
}

/** What an event means. The first two are the design's S1 and S2; the others are the monitor's book-keeping. */
export type EventKind =
  /** A page became executable after having been data; it carries the page. */
  | "S1"
  /** A writable and executable page turned from data to code again; it carries the page if it changed. */
  | "S2"
  /** A page captured with a hop into fresh code: written since its last capture, same allocation. */
  | "layer"
  /** A page written and never executed, captured at exit, crash or end of watch. */
  | "residue"
  /** A page of the same allocation captured once for completeness (so that an image can be rebuilt). */
  | "context"
  /** Turns of one page that were counted, not reported one by one; carries the last content. */
  | "coalesced"
  /** A watched process was first seen. */
  | "process-start"
  /** A watched process ended. */
  | "process-end";

/** A process as the monitor rebuilt it from the guest's own structures; every field is the guest's word. */
export interface ProcessIdentity {
  /** The monitor's own number for this process, unique within the domain for as long as it is watched. */
  readonly key: number;
  readonly pid: number;
  readonly parentPid: number;
  readonly cr3: number;
  /** EPROCESS.ImageFileName, at most 15 characters. */
  readonly name: string;
  /** Full image path from the PEB, or "" when it could not be read. */
  readonly path: string;
  readonly commandLine: string;
  /** True when some structure could not be read, so that fields are missing. */
  readonly partial: boolean;
  /**
   * True when the guest's kernel is not one whose structures the monitor knows: the process is an address space, told
   * by its CR3, and nothing else will ever be known of it.
   */
  readonly anonymous?: true;
}

/** One event `(S, env)` as dom0 sees it. Numbers that are 64 bits in the ABI are safe integers or bigint. */
export interface MonitorEvent {
  /** Position in the domain's event stream, from 1, without gaps. */
  readonly sequence: number;
  readonly kind: EventKind;
  readonly domain: number;
  readonly vcpu: number;
  /** Key of the {@link ProcessIdentity}; 0 when unknown. */
  readonly process: number;
  readonly pid: number;
  readonly tid: number;
  /** CR3 of a process of which nothing else is known ({@link ProcessIdentity.anonymous}); absent for others. */
  readonly addressSpace?: number;
  /** Page-aligned virtual address (0 for process events). */
  readonly va: number;
  readonly gfn: number;
  /** Guest entry, old and new shadow entry, as read. */
  readonly guestEntry: bigint;
  readonly oldShadowEntry: bigint;
  readonly newShadowEntry: bigint;
  /** #PF error code of the fault that caused it. */
  readonly errorCode: number;
  /** Wave of unpacking this belongs to, from 0. */
  readonly layer: number;
  /** True on the event that opened a new layer. */
  readonly hop: boolean;
  /** For a hop: last address known to have run before, and the first address run in the fresh page. Else 0. */
  readonly hopFrom: number;
  readonly hopTo: number;
  /** Snapshot to copy, or 0 when the event carries none (unchanged, lost, or a process event). */
  readonly snapshot: number;
  /** What became of the page's content: see the invariant seen = stored + deduplicated + lost. */
  readonly content: "captured" | "unchanged" | "lost" | "none";
  /** How many turns this event stands for (1, or more for `coalesced`). */
  readonly turns: number;
  /** Start and length (bytes) of the allocation the page lies in; 0,0 when unknown. */
  readonly allocationBase: number;
  readonly allocationSize: number;
  readonly eip: number;
  readonly esp: number;
  /** Guest time-stamp counter at the event. */
  readonly tsc: bigint;
}

/** Counters of one watched domain, from the monitor. */
export interface DomainStatistics {
  readonly domain: number;
  readonly events: number;
  /** Pages whose content the monitor looked at; snapshots taken; unchanged (counted, not copied); lost. */
  readonly pagesSeen: number;
  readonly pagesCaptured: number;
  readonly pagesUnchanged: number;
  readonly pagesLost: number;
  readonly turnsCoalesced: number;
  readonly vcpuPauses: number;
  /** Shadow faults the hook looked at, and those it passed over. */
  readonly faults: number;
  readonly faultsPassed: number;
  /** Processes that were not watched, and address spaces whose watch ended, for want of a place in the table. */
  readonly processesRefused: number;
  readonly processesDisplaced: number;
}

/** What the monitor says of itself. */
export interface HypervisorInfo {
  /** ABI version spoken by the monitor (equal to ours, else the bridge refuses). */
  readonly abi: number;
  /** e.g. `test bed` or `Xen 4.17`. */
  readonly name: string;
  /** Pages per copy call and events the data centre holds per domain. */
  readonly copyPages: number;
  readonly ringEvents: number;
  readonly ringPages: number;
}

/** User memory of a watched process, as it is when it is read; the guest may run on between two reads. */
export interface ProcessMemory {
  /** Address of the process environment block, the guest's word; 0 when unknown. */
  readonly peb: number;
  /**
   * Bytes from an address on, as far as the pages are present: shorter than `length` where one is not, empty
   * when the process is gone. At most 512 pages at a time.
   */
  read(address: number, length: number): Uint8Array;
}

/**
 * The hypervisor as the service sees it. The bridge (`xen/bridge.ts`) implements it over any transport of
 * hypercalls; the service cannot tell a real Xen from the test bed.
 */
export interface Hypervisor {
  info(): HypervisorInfo;
  watch(domain: number, rules: readonly WatchRule[], settings?: WatchSettings): void;
  /** Ends the watch: the monitor captures what was written and never captured, as `residue` events. */
  unwatch(domain: number): void;
  /** Takes up to `max` events that were not fetched yet, oldest first; empty when there are none. */
  fetch(domain: number, max: number): MonitorEvent[];
  /** The process behind a key, or undefined when the monitor has forgotten it. */
  process(domain: number, key: number): ProcessIdentity | undefined;
  /**
   * Copies snapshots through the page buffer, `copyPages` at a time, and hands each to `receive`, in order.
   * The bytes are only valid during the call. A snapshot that is gone is handed over as undefined (lost).
   */
  copy(
    domain: number,
    snapshots: readonly number[],
    receive: (snapshot: number, bytes: Uint8Array | undefined) => void,
  ): void;
  /** Frees everything up to and including this event's sequence number, snapshots too. */
  acknowledge(domain: number, sequence: number): void;
  statistics(domain: number): DomainStatistics;
  /** The memory of a watched process; undefined when it has ended, or the monitor cannot read it. */
  memory?(domain: number, key: number): ProcessMemory | undefined;
  /** Calls back at each VIRQ; returns a function that stops it. */
  onVirq(listener: () => void): () => void;
  close(): void;
}

/** What an engine scans. */
export interface Unit {
  /** Unique within one report: `page:<va8hex>-<sha256>`, `region:…`, `image:…`, `file:<sha256>`. */
  readonly id: string;
  readonly kind: "page" | "region" | "image" | "file";
  readonly sha256: string;
  readonly bytes: Uint8Array;
  /** Virtual address of the first byte; 0 for a file. */
  readonly va: number;
  /** Layer, for pages, regions and images; 0 for a file. */
  readonly layer: number;
  /** Process keys it was seen in (empty for a file). */
  readonly processes: readonly number[];
}

/** How a scan of one unit ended. Only `clean` means that the engine looked at all of it and found nothing. */
export type ScanStatus = "malicious" | "clean" | "incomplete" | "error";

/** One thing an engine found in a unit. */
export interface Threat {
  /** The engine's name for it, as text from outside: escape before showing. */
  readonly name: string;
  /** Byte offset of the first match in the unit, when the engine says it. */
  readonly offset?: number;
}

/** What one engine said of one unit. */
export interface ScanResult {
  readonly status: ScanStatus;
  readonly threats: readonly Threat[];
  /** Why it is incomplete or an error; what else the engine said. */
  readonly detail?: string;
}

/** Who an engine is. */
export interface EngineInfo {
  readonly name: string;
  readonly version: string;
  /** What it knows: number of rules or signatures and where they come from, in words. */
  readonly knowledge: string;
}

/**
 * One antivirus or rule scanner. An engine never throws for what it found or could not do with a unit: that
 * is a {@link ScanResult}. It must end within `timeout` milliseconds or on abort, with `incomplete`.
 */
export interface Engine {
  readonly name: string;
  /** Starts it and says who it is. Throws when it cannot be used, with the reason. */
  start(): Promise<EngineInfo>;
  scan(unit: Unit, options: { readonly timeout: number; readonly signal?: AbortSignal }): Promise<ScanResult>;
  /**
   * Told of units that will be scanned next, so that it may look at many at once and answer for each the sooner.
   * Changes no answer of {@link Engine.scan}, which is asked for every one all the same. Same time limit, for all.
   */
  sift?(
    units: readonly Unit[],
    options: { readonly timeout: number; readonly signal?: AbortSignal },
  ): Promise<void>;
  close(): Promise<void>;
}

/** How an engine is made from what the user said. */
export interface EngineFactory {
  readonly name: string;
  readonly description: string;
  create(options: { readonly rules: readonly string[] }): Engine;
}

/** Why an emulation ended. */
export type EndReason = "exited" | "crashed" | "budget" | "deadlock" | "unsupported" | "interrupted";

/** How the run of a guest ended. */
export interface EmulationEnd {
  readonly reason: EndReason;
  /** For people: exit code, exception and address, which budget, which opcode… */
  readonly detail: string;
  readonly instructions: number;
}

/** An API function a sample called that the model does not have. */
export interface MissingFunction {
  readonly dll: string;
  readonly name: string;
  readonly calls: number;
}

/**
 * One call of an API function, made by a program's own code; or an exception, as `KiUserExceptionDispatcher` with
 * the arguments code and address.
 */
export interface TracedCall {
  /** Instructions the guest had executed, and its time-stamp counter, which also advances while it sleeps. */
  readonly instructions: number;
  readonly tsc: number;
  readonly pid: number;
  readonly tid: number;
  /** Address it returns to; 0 for an exception. */
  readonly from: number;
  readonly dll: string;
  readonly name: string;
  /** The first arguments, with the text a pointer leads to: the guest's word, escape before showing. */
  readonly args: readonly { readonly value: number; readonly text?: string }[];
  /** EAX; undefined when it has not returned, or ended by an exception. */
  readonly result: number | undefined;
}

/** When data may not run: as Windows has it for programs that ask (`optin`), for all but exceptions, for all. */
export type DepPolicy = "optin" | "optout" | "alwayson";

/** What can be chosen of an emulated guest. */
export interface GuestSettings {
  readonly dep: DepPolicy;
  /** Programs that allow it, DLLs, stacks and heaps lie at other addresses, the same in every run. */
  readonly aslr: boolean;
}

/** Limits and choices for one emulation. */
export interface EmulationOptions {
  readonly maxInstructions: number;
  /** How the guest is set up; DEP at OptIn and no ASLR when absent. */
  readonly settings?: GuestSettings;
  /** Arguments of the sample's command line, after its name. */
  readonly args: readonly string[];
  /** Guest memory in MiB. */
  readonly memory?: number;
  /**
   * Other programs that run in the same guest from the start; {@link Emulation.rules} does not name them. Their
   * names differ from the sample's.
   */
  readonly company?: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

/** A guest with a sample in it, inside the test bed. */
export interface Emulation {
  /** Domain number of the guest. */
  readonly domain: number;
  /** The hypervisor it runs on, spoken to through the same bridge as a real Xen. */
  readonly hypervisor: Hypervisor;
  /** The rule that names the sample's process. */
  readonly rules: readonly WatchRule[];
  /**
   * Runs the guest until a VIRQ is pending, `slice` instructions are done, or it ends. Returns the end, or
   * undefined while there is more to run. Never throws for what the guest does.
   */
  step(slice: number): EmulationEnd | undefined;
  /** Instructions executed so far. */
  readonly instructions: number;
  missing(): readonly MissingFunction[];
  /** API calls of the sample's processes in order, the first ones when there are too many; `made` counts all. */
  calls?(): { readonly calls: readonly TracedCall[]; readonly made: number };
  close(): void;
}

/** The test bed, as the command line sees it. */
export interface Emulator {
  /**
   * Puts a program into a fresh guest. Throws {@link InputError} when it is not a 32-bit PE that can be
   * loaded.
   */
  load(sample: { readonly name: string; readonly bytes: Uint8Array }, options: EmulationOptions): Emulation;
}

/** Bad input from the user: reported in one line, exit code 2, no stack trace. */
export class InputError extends Error {
  override name = "InputError";
}

/** What one engine said of one unit, under the names the report uses. */
export interface Finding extends ScanResult {
  /** {@link Unit.id}. */
  readonly unit: string;
  readonly engine: string;
}

/** An engine and what came of it so far. */
export interface EngineStatus extends EngineInfo {
  /** `cut off`: failed so often that it is not asked any more; `unavailable`: could not be started. */
  readonly state: "ready" | "cut off" | "unavailable";
  /** Why it is not ready, in words; "" when it is. */
  readonly detail: string;
  /** Scans by how they ended. */
  readonly scans: Readonly<Record<ScanStatus, number>>;
}

/** Many engines behind one face: each unit goes to all of them, bounded in number and time. */
export interface Scanner {
  engines(): EngineStatus[];
  /** Scans one unit with every engine; one finding an engine, in the engines' order. Never rejects. */
  scan(unit: Unit, signal?: AbortSignal): Promise<readonly Finding[]>;
  /** Tells the engines of units that will be scanned next (see {@link Engine.sift}). Never rejects. */
  sift?(units: readonly Unit[], signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** How a {@link Scanner} is made from engines. */
export interface ScannerOptions {
  /** Milliseconds one engine has for one unit. */
  readonly timeout: number;
  /** Units one engine is given at the same time. */
  readonly concurrency?: number;
  /** Failures (errors, time-outs) in a row after which an engine is cut off. */
  readonly failures?: number;
  /** True when every engine must start; else one that cannot is shown as `unavailable`. */
  readonly strict?: boolean;
}

/** Starts the engines. Rejects with {@link InputError} when one refuses what the user gave it. */
export type StartScanner = (engines: readonly Engine[], options: ScannerOptions) => Promise<Scanner>;
