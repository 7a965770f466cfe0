// SPDX-License-Identifier: Apache-2.0
/**
 * The guest as a whole: Windows 7 SP1 x86 with a few processes of its own and the sample's.
 *
 * @module
 */
import { InputError } from "../../core/ports.ts";
import type { EmulationEnd, GuestSettings, MissingFunction, TracedCall } from "../../core/ports.ts";
import type { Domain } from "../hypervisor/types.ts";
import { decode, Instruction } from "../isa/mod.ts";
import type { DllDefinition } from "./api.ts";
import { hex } from "./bytes.ts";
import { Kernel } from "./kernel.ts";
import type { Process } from "./process.ts";
import { createProcess } from "./process_life.ts";
import { Scheduler } from "./scheduler.ts";
import { SYSTEM_PROGRAMS } from "./system_programs.ts";
import { TrapHandler } from "./traps.ts";

/** What a guest is made with. */
export interface GuestOptions {
  /** The DLLs of the model. */
  readonly dlls: readonly DllDefinition[];
  /** DEP at OptIn and no ASLR when absent. */
  readonly settings?: GuestSettings;
}

/** A program to run. */
export interface Program {
  /** File name without path. */
  readonly name: string;
  /** The PE file. */
  readonly bytes: Uint8Array;
  /** Arguments behind the name in the command line. */
  readonly args: readonly string[];
  /** True for a program that only runs beside the sample: its end is not waited for. */
  readonly beside?: boolean;
}

const DESKTOP = "C:\\Users\\user\\Desktop";
/** Process numbers as on a machine that has been up. */
const EXPLORER_PID = 1408;
const SAMPLE_PID = 2980;
/** Virtual time the guest may sleep away: a day. */
const MAX_IDLE = 24 * 3600 * 1e9;
/** One call of the CPU at most, so that a VIRQ is served soon. */
const CHUNK = 50_000;

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ["ALLUSERSPROFILE", "C:\\ProgramData"],
  ["APPDATA", "C:\\Users\\user\\AppData\\Roaming"],
  ["CommonProgramFiles", "C:\\Program Files\\Common Files"],
  ["COMPUTERNAME", "USER-PC"],
  ["ComSpec", "C:\\Windows\\system32\\cmd.exe"],
  ["HOMEDRIVE", "C:"],
  ["HOMEPATH", "\\Users\\user"],
  ["LOCALAPPDATA", "C:\\Users\\user\\AppData\\Local"],
  ["LOGONSERVER", "\\\\USER-PC"],
  ["NUMBER_OF_PROCESSORS", "2"],
  ["OS", "Windows_NT"],
  ["Path", "C:\\Windows\\system32;C:\\Windows;C:\\Windows\\System32\\Wbem"],
  ["PATHEXT", ".COM;.EXE;.BAT;.CMD;.VBS;.VBE;.JS;.JSE;.WSF;.WSH;.MSC"],
  ["PROCESSOR_ARCHITECTURE", "x86"],
  ["PROCESSOR_IDENTIFIER", "x86 Family 6 Model 15 Stepping 6, GenuineIntel"],
  ["PROCESSOR_LEVEL", "6"],
  ["PROCESSOR_REVISION", "0f06"],
  ["ProgramData", "C:\\ProgramData"],
  ["ProgramFiles", "C:\\Program Files"],
  ["PUBLIC", "C:\\Users\\Public"],
  ["SESSIONNAME", "Console"],
  ["SystemDrive", "C:"],
  ["SystemRoot", "C:\\Windows"],
  ["TEMP", "C:\\Users\\user\\AppData\\Local\\Temp"],
  ["TMP", "C:\\Users\\user\\AppData\\Local\\Temp"],
  ["USERDOMAIN", "USER-PC"],
  ["USERNAME", "user"],
  ["USERPROFILE", "C:\\Users\\user"],
  ["windir", "C:\\Windows"],
];

/** Processes that are only there to be seen, each with its parent: 0 is one that has ended. */
const BYSTANDERS: readonly (readonly [name: string, parent: string | number])[] = [
  ["smss.exe", 4],
  ["csrss.exe", 0],
  ["wininit.exe", 0],
  ["csrss.exe", 0],
  ["winlogon.exe", 0],
  ["services.exe", "wininit.exe"],
  ["lsass.exe", "wininit.exe"],
  ["lsm.exe", "wininit.exe"],
  ["svchost.exe", "services.exe"],
  ["svchost.exe", "services.exe"],
  ["svchost.exe", "services.exe"],
  ["spoolsv.exe", "services.exe"],
  ["SearchIndexer.exe", "services.exe"],
  ["taskhost.exe", "services.exe"],
  ["dwm.exe", "svchost.exe"],
];
/** Number of the last smss.exe, csrss.exe's and winlogon.exe's parent, and of userinit.exe, explorer.exe's. */
const ENDED_SMSS = 336;
const ENDED_USERINIT = 1376;

/** See the module's description. */
export class WindowsGuest {
  private readonly kernel: Kernel;
  private readonly scheduler: Scheduler;
  private readonly traps: TrapHandler;
  private sample: Process | undefined;
  private ended: EmulationEnd | undefined;

  /**
   * Boots the guest: kernel structures, explorer.exe. The domain's first vCPU is the guest's.
   *
   * @throws RangeError when the domain is too small.
   */
  constructor(private readonly domain: Domain, options: GuestOptions) {
    this.kernel = new Kernel(domain, options.dlls, options.settings);
    this.scheduler = new Scheduler(this.kernel);
    this.traps = new TrapHandler(this.kernel);
    const numbers = new Map<string, number>();
    for (const [name, parent] of BYSTANDERS) {
      const parentPid = typeof parent === "string" ? numbers.get(parent)! : parent || ENDED_SMSS;
      numbers.set(name, this.kernel.addBystander(name, parentPid));
    }
    for (const [path, make] of Object.entries(SYSTEM_PROGRAMS)) this.kernel.files.write(path, make());
    const path = "C:\\Windows\\explorer.exe";
    const bytes = this.kernel.files.read(path)!;
    const made = createProcess(this.kernel, {
      bytes,
      name: "explorer.exe",
      path,
      commandLine: "C:\\Windows\\Explorer.EXE",
      parentPid: ENDED_USERINIT,
      ofSample: false,
      environment: new Map(ENVIRONMENT),
      pid: EXPLORER_PID,
    });
    if (!made) throw new RangeError("Cannot boot the guest: no memory for explorer.exe");
  }

  /**
   * Puts a program on the desktop and makes a process of it, which runs from the next {@link run} on.
   * Returns its process number.
   *
   * @throws {InputError} when the program cannot be loaded.
   */
  addProcess(program: Program): number {
    const path = `${DESKTOP}\\${program.name}`;
    this.kernel.files.write(path, program.bytes);
    const line = [`"${path}"`, ...program.args.map(quote)].join(" ");
    const thread = createProcess(this.kernel, {
      bytes: program.bytes,
      name: program.name,
      path,
      commandLine: line,
      parentPid: EXPLORER_PID,
      ofSample: !program.beside,
      environment: new Map(ENVIRONMENT),
      pid: program.beside ? undefined : SAMPLE_PID,
    });
    if (!thread) {
      throw new InputError(`Cannot load ${JSON.stringify(program.name)}: not enough guest memory for it`);
    }
    if (!program.beside) this.sample ??= thread.process;
    return thread.process.pid;
  }

  /** Instructions executed so far, the guest kernel's included. */
  get instructions(): number {
    return this.kernel.vcpu.cpu.instructions;
  }

  /** Text the programs showed. */
  get output(): string {
    return this.kernel.output;
  }

  /**
   * Runs at most `limit` instructions, less when `pause` says so or the monitor holds the vCPU. `end` is set
   * when there is nothing more to run.
   */
  run(limit: number, pause: () => boolean = () => false): { readonly end?: EmulationEnd } {
    const { kernel, scheduler } = this;
    const { vcpu } = kernel;
    const target = vcpu.cpu.instructions + limit;
    while (!this.ended) {
      const left = target - vcpu.cpu.instructions;
      if (left <= 0 || vcpu.held || pause()) return {};
      if (this.finished()) break;
      const prepared = scheduler.prepare();
      if (prepared === "deadlock") {
        this.stuck();
        break;
      }
      if (scheduler.idleTime > MAX_IDLE) {
        this.end("budget", "the guest slept a day of its own time away");
        break;
      }
      if (this.finished()) break;
      if (prepared === "later") return {};
      this.execute(Math.min(left, CHUNK, Math.max(scheduler.quantum, 1)));
    }
    return { end: this.ended };
  }

  /** Runs the CPU once and acts on why it came back. */
  private execute(limit: number): void {
    const { kernel, scheduler } = this;
    const { vcpu } = kernel;
    let exit = vcpu.run(limit);
    // A thread can only be switched away in ring 3: the stubs of ring 0 are a few instructions long.
    for (let i = 0; exit.kind === "budget" && vcpu.cpu.cpl !== 3 && i < 64; i++) exit = vcpu.run(1);
    switch (exit.kind) {
      case "vmcall": {
        const thread = kernel.current!;
        const trap = kernel.tables.trap(thread.context);
        scheduler.trapped();
        if (trap) this.traps.handle(thread, trap);
        else kernel.unsupported = `trap in ring 0 at ${hex(vcpu.cpu.eip)}`;
        break;
      }
      case "unsupported": {
        kernel.unsupported = `instruction ${describe(exit.bytes)} at ${hex(exit.address)}`;
        break;
      }
      case "shutdown":
        kernel.unsupported = `triple fault: ${exit.detail}`;
        break;
      case "halt":
        kernel.unsupported = `HLT in ring 0 at ${hex(vcpu.cpu.eip)}`;
        break;
    }
    if (kernel.unsupported !== undefined) this.end("unsupported", kernel.unsupported);
  }

  /** Nothing of the sample runs any more. */
  private finished(): boolean {
    const { sample, kernel } = this;
    if (!sample || kernel.threads.some((thread) => thread.ofSample)) return false;
    if (sample.crash) this.end("crashed", sample.crash.detail);
    else this.end("exited", `exit code ${sample.exitCode ?? 0}`);
    return true;
  }

  /**
   * Nobody will ever run again. When the sample itself has ended, what it left behind (a program it started, a
   * thread it took over) may wait as it likes: that is how such programs stay.
   */
  private stuck(): void {
    const { sample } = this;
    if (sample?.exitCode === undefined) {
      this.end("deadlock", "every thread waits for something that cannot happen");
    } else if (sample.crash) {
      this.end("crashed", sample.crash.detail);
    } else {
      const left = this.kernel.threads.filter((thread) => thread.ofSample);
      const names = [...new Set(left.map(({ process }) => `${process.identity.name} (${process.pid})`))];
      this.end("exited", `exit code ${sample.exitCode}; ${names.join(", ")} still waits`);
    }
  }

  /** The first reason to end stays. */
  private end(reason: EmulationEnd["reason"], detail: string): void {
    this.ended ??= { reason, detail, instructions: this.instructions };
  }

  /** API calls of the sample's own code so far, bounded; `made` counts all. */
  calls(): { readonly calls: readonly TracedCall[]; readonly made: number } {
    const { calls, made } = this.kernel.trace;
    return { calls, made };
  }

  /** Functions that were called and are not modelled, by DLL and name. */
  missing(): readonly MissingFunction[] {
    const key = (one: MissingFunction) => `${one.dll}!${one.name}`;
    return [...this.kernel.missingCalls.values()].map((one) => ({ ...one })).sort((a, b) =>
      key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0
    );
  }
}

/** An instruction's name, when it has one, and its bytes. */
function describe(bytes: Uint8Array): string {
  const instruction = new Instruction();
  const length = decode(bytes, 0, bytes.length, true, instruction);
  const shown = length > 0 ? bytes.subarray(0, length) : bytes;
  const text = [...shown].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return length > 0 ? `${instruction.row.mnemonic} (${text})` : text;
}

/** An argument as the C runtime takes it apart again. */
function quote(argument: string): string {
  if (argument !== "" && !/[\s"]/.test(argument)) return argument;
  return `"${argument.replace(/(\\*)"/g, '$1$1\\"').replace(/(\\*)$/, "$1$1")}"`;
}
