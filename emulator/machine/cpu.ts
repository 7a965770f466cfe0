// SPDX-License-Identifier: Apache-2.0
/**
 * The CPU: runs the interpreter module, answers its slow paths, and turns what is pending into exceptions
 * and exits.
 *
 * @module
 */
import { rows, tableFingerprint } from "../isa/mod.ts";
import { type BlockInfo, MAX_BLOCK, rowOf } from "./blocks.ts";
import { DebugStatus } from "./breakpoints.ts";
import { Core, Flag } from "./core.ts";
import { CpuFace } from "./cpu_face.ts";
import { GuestFault, GuestHold, Vector } from "./fault.ts";
import { Handler, type IMPORTS } from "./generate.ts";
import { helpers } from "./helpers/mod.ts";
import { deliver, DeliveryKind } from "./interrupts.ts";
import {
  Block,
  Exit,
  FRAMES_BASE,
  HelperResult,
  Op,
  OP_SIZE,
  OpInfo,
  SEGMENT_SIZE,
  State,
} from "./layout.ts";
import { SLOW_WRITE } from "./lowering.ts";
import { Jit, type JitStatistics } from "./jit.ts";
import type { LinearMemory } from "./memory.ts";
import { OpView } from "./op_view.ts";
import { trueHandler } from "./region_graph.ts";
import { Access, type CpuExit } from "./types.ts";

/** Most instructions before WebAssembly is left, so that V8 can put optimised code in place. */
const SLICE = 500_000;
/** Exceptions in a row, without an instruction retired, after which the guest is taken for lost. */
const MAX_DELIVERIES = 1000;

interface Exports {
  enter(op: number, cpu: number): number;
  handlers: WebAssembly.Table;
  fingerprint(): number;
}
type Imports = { [name in keyof typeof IMPORTS]: (...values: number[]) => number | void };

/** Part of an access that crosses a page. */
interface Bounce {
  first: number;
  second: number;
  firstLength: number;
  length: number;
}

/** Mask of the address bits that must be clear for an access of so many bytes; PUSHA and POPA are words. */
function alignmentOf(length: number): number {
  return length === 32 ? 3 : length === 16 ? 1 : length - 1;
}

/** One CPU. */
export class InterpretedCpu extends CpuFace {
  readonly #core = this.core;
  readonly #enter: Exports["enter"];
  readonly #op: OpView;
  readonly #helpers = rows.map((row) => row.helper === undefined ? undefined : helpers[row.helper]);
  readonly #bounce: Bounce = { first: 0, second: 0, firstLength: 0, length: 0 };
  /** Ops whose handler leads out of the block for once, with their true handler. */
  readonly #patches: { op: number; handler: number }[] = [];
  /** Budget taken away by a stop request. */
  #withheld = 0;
  #retired = 0;
  #slice = 0;
  /** Instructions of the current block that are paid for and not yet run. */
  #unfinished = 0;
  /** Debug conditions that an instruction right behind MOV SS holds back, as bits of DR6. */
  #heldBack = 0;
  /** The CPU shut down outside of {@link run}. */
  #lost: CpuExit | undefined;

  /** The second tier, when this CPU has it (`hotEntries` of the constructor is not 0). */
  readonly #jit: Jit | undefined;
  readonly #tableSize: number;

  constructor(memory: LinearMemory, area: number, module: WebAssembly.Module, hotEntries: number) {
    super(new Core(memory, area));
    this.#op = new OpView(this.#core);
    const imports: Imports = {
      slow: (op, linear, spec) => this.#slow(op, linear, spec),
      segmentFault: (op, cache) => this.#segmentFault(op, cache),
      raise: (op, vector) => this.#pend(op, new GuestFault(vector)),
      commit: () => this.#commit(),
      helper: (op) => this.#helper(op),
      lookup: () => this.#lookup(),
      link: (op, field) => this.#link(op, field),
      leave: (op) => this.#leave(op),
      hot: (op) => this.#jit!.hot(op),
    };
    const instance = new WebAssembly.Instance(module, {
      env: { memory: memory.memory, ...(imports as Record<string, (...values: number[]) => number>) },
    });
    const exports = instance.exports as unknown as Exports;
    if (exports.fingerprint() !== tableFingerprint) {
      throw new Error(
        'Cannot use cpu.wasm: it was built from another instruction table; run "deno task build"',
      );
    }
    this.#enter = exports.enter;
    this.#core.retired = () =>
      this.#retired +
      (this.#slice > 0
        ? this.#slice - this.#core.state(State.budget) - this.#withheld - this.#unfinished
        : 0);
    this.#tableSize = exports.handlers.length;
    const { blocks } = this.#core;
    if (hotEntries > 0) {
      const jit = this.#jit = new Jit(this.#core, exports.handlers, hotEntries, (op) => this.#helper(op));
      blocks.onDecoded = (block, mode) => jit.watch(block, mode);
      blocks.onClear = () => jit.cleared();
    }
    blocks.onDeath = (block) => {
      this.#forgetPatches(block);
      this.#jit?.died(block);
    };
  }

  // The run loop.

  run(limit: number): CpuExit {
    const core = this.#core;
    let remaining = limit, deliveries = 0;
    if (this.#lost) return this.#lost;
    for (;;) {
      if (core.stopRequested) {
        core.stopRequested = false;
        return { kind: "stop" };
      }
      if (remaining <= 0) return { kind: "budget" };
      const flags = core.state(State.eflags);
      const trace = (flags & Flag.tf) !== 0, resume = (flags & Flag.rf) !== 0;
      // What MOV SS has held back comes behind the next instruction.
      this.#heldBack |= core.breakpoints.hits;
      core.breakpoints.hits = 0;
      // RF holds for one instruction.
      const step = trace || resume || this.#heldBack !== 0;
      core.single = step || remaining < MAX_BLOCK;
      core.updateMode();
      this.#slice = step ? 1 : Math.min(remaining, SLICE);
      this.#withheld = 0;
      core.noTrap = core.resumeLoaded = false;
      const from = core.eip;
      core.setState(State.budget, this.#slice);
      const code = this.#enter(0, core.area);
      this.#restorePatches();
      const executed = this.#slice - core.state(State.budget) - this.#withheld;
      this.#retired += executed;
      this.#slice = 0;
      remaining -= executed;
      if (executed > 0) deliveries = 0;
      // Between two turns of a repeated instruction.
      const between = step && executed > 0 && core.eip === from && this.#repeats(from);
      if (resume && executed > 0 && !core.resumeLoaded && !between) {
        core.setState(State.eflags, core.state(State.eflags) & ~Flag.rf);
      }
      if (code === Exit.event) {
        const { exit, fault } = core;
        core.exit = undefined;
        core.fault = undefined;
        if (exit) return exit;
        if (fault) {
          if (++deliveries > MAX_DELIVERIES) {
            return {
              kind: "shutdown",
              detail: `exception ${fault.vector} without end at 0x${(core.eip >>> 0).toString(16)}`,
            };
          }
          const kind = fault.resumes ? DeliveryKind.fault : DeliveryKind.trap;
          const lost = this.#deliver(fault.vector, fault.errorCode, kind);
          if (lost) return lost;
          continue;
        }
      }
      if (executed > 0 && !core.inStackShadow) {
        const { hits } = core.breakpoints;
        const cause = hits | this.#heldBack | (trace && !core.noTrap ? DebugStatus.step : 0);
        if (cause === 0) continue;
        core.breakpoints.hits = this.#heldBack = 0;
        core.breakpoints.report(cause);
        const kind = between ? DeliveryKind.fault : DeliveryKind.trap;
        const lost = this.#deliver(Vector.db, undefined, kind);
        if (lost) return lost;
      }
    }
  }
  /** True when the instruction at an EIP, just run by itself, is a repeated one. */
  #repeats(eip: number): boolean {
    const core = this.#core;
    const block = core.blocks.findNear(eip, core.mode);
    if (block === undefined) return false;
    const info = core.words[(block.address + OP_SIZE + Op.info) >>> 2];
    const { repeat, helper } = rowOf(info);
    return (repeat !== undefined || helper === "inString" || helper === "outString") &&
      ((info >> OpInfo.repeat) & 3) !== 0;
  }

  /** Delivers through the IDT; a fault on the way that ends in #DF and a third one shut the CPU down. */
  #deliver(vector: number, errorCode: number | undefined, kind: DeliveryKind): CpuExit | undefined {
    try {
      deliver(this.#core, vector, errorCode, kind);
      return undefined;
    } catch (thrown) {
      if (thrown instanceof GuestHold) return { kind: "held" };
      if (!(thrown instanceof GuestFault)) throw thrown;
      const at = (this.#core.eip >>> 0).toString(16);
      return {
        kind: "shutdown",
        detail: `triple fault: exception ${vector} at 0x${at}, then ${thrown.vector}`,
      };
    }
  }

  // Slow paths, called by handlers.

  /** Notes an exception at an op and gives back the instructions that did not run. */
  #pend(op: number, fault: GuestFault): void {
    const core = this.#core;
    const w = op >>> 2;
    core.fault = fault;
    // What the instruction touched before it failed is no access; it will come again.
    core.breakpoints.hits = 0;
    if (!fault.committed) core.eip = core.words[w + (Op.eip >> 2)];
    core.setState(State.budget, core.state(State.budget) + core.words[w + (Op.remaining >> 2)]);
  }
  /** Whatever was thrown while an op ran. */
  #thrown(op: number, thrown: unknown): void {
    if (thrown instanceof GuestFault) return this.#pend(op, thrown);
    if (!(thrown instanceof GuestHold)) throw thrown;
    const core = this.#core;
    this.#pend(op, new GuestFault(0));
    core.fault = undefined;
    core.exit = { kind: "held" };
  }
  #segmentFault(op: number, cache: number): void {
    const stack = cache === this.#core.area + State.segments + 2 * SEGMENT_SIZE;
    this.#pend(op, new GuestFault(stack ? Vector.ss : Vector.gp, 0));
  }

  #slow(op: number, linear: number, spec: number): number {
    const core = this.#core;
    const length = spec & 0xff;
    const write = (spec & SLOW_WRITE) !== 0;
    const access = write ? Access.write : Access.read;
    const user = core.cpl === 3;
    const generation = core.state(State.generation);
    // Registers are current as of the start of the instruction; so is EIP, for the host's sake.
    core.eip = core.words[(op + Op.eip) >>> 2];
    this.#unfinished = core.words[(op + Op.remaining) >>> 2];
    let host: number;
    try {
      if (core.mode.checked && linear & alignmentOf(length)) throw new GuestFault(Vector.ac, 0);
      host = core.address(linear, access, user);
      const first = 4096 - (linear & 4095);
      if (first < length) {
        const second = core.address((linear + first) | 0, access, user);
        // Filling the second page may have changed the first one.
        host = core.address(linear, access, user);
        const b = this.#bounce;
        b.first = host;
        b.second = second;
        b.firstLength = first;
        b.length = length;
        const at = core.area + State.bounce;
        core.bytes.copyWithin(at, host, host + first);
        core.bytes.copyWithin(at + first, second, second + length - first);
        host = at;
      } else if (write) core.frameChanged((host - FRAMES_BASE) >>> 12, linear & 4095, length);
    } catch (thrown) {
      this.#thrown(op, thrown);
      return 0;
    }
    if (core.breakpoints.watching) core.breakpoints.access(linear, length, write);
    if (core.state(State.generation) !== generation || core.leaves) this.#leaveAfter(op);
    return host;
  }

  #commit(): void {
    const core = this.#core;
    const b = this.#bounce;
    const at = core.area + State.bounce;
    core.bytes.copyWithin(b.first, at, at + b.firstLength);
    core.bytes.copyWithin(b.second, at + b.firstLength, at + b.length);
    core.frameChanged((b.first - FRAMES_BASE) >>> 12, b.first & 4095, b.firstLength);
    core.frameChanged((b.second - FRAMES_BASE) >>> 12, b.second & 4095, b.length - b.firstLength);
  }

  #helper(op: number): number {
    const core = this.#core;
    const w = op >>> 2;
    const info = core.words[w + (Op.info >> 2)];
    const row = rowOf(info);
    core.eip = core.words[w + (Op.eip >> 2)];
    const remaining = core.words[w + (Op.remaining >> 2)];
    this.#unfinished = remaining;
    const generation = core.state(State.generation);
    const view = this.#op;
    view.set(op, info);
    let result: number | void;
    try {
      result = this.#helpers[info & OpInfo.rowMask]!(core, view);
    } catch (thrown) {
      this.#thrown(op, thrown);
      return HelperResult.event;
    }
    if (core.exit) {
      // `unsupported` did nothing; the others are behind the instruction.
      const undone = core.exit.kind === "unsupported" ? remaining : remaining - 1;
      if (core.exit.kind !== "unsupported" && !result) core.eip = core.words[w + (Op.next >> 2)];
      core.setState(State.budget, core.state(State.budget) + undone);
      return HelperResult.event;
    }
    if (!result && !row.ends) {
      if (core.state(State.generation) !== generation || core.leaves) this.#leaveAfter(op);
      return HelperResult.next;
    }
    if (!result) core.eip = core.words[w + (Op.next >> 2)];
    core.setState(State.budget, core.state(State.budget) + remaining - 1);
    // A changed TF or RF, a breakpoint or a stop is looked at by the run loop.
    const trace = (core.state(State.eflags) & (Flag.tf | Flag.rf)) !== 0;
    if (trace || core.leaves) return HelperResult.event;
    core.updateMode();
    return HelperResult.jump;
  }

  /**
   * Makes the op behind this one leave the block, once. A repeated one goes on with what was fetched; only a stop ends it in
   * the middle.
   */
  #leaveAfter(op: number): void {
    const core = this.#core;
    const info = core.words[(op + Op.info) >>> 2];
    const row = rowOf(info);
    // A handler that runs the jump behind it too ends the block.
    const handler = trueHandler(core.words, op, this.#tableSize);
    if (row.ends || (row.firstFused >= 0 && handler >= row.firstFused)) {
      // Linked jumps check the generation, but not for a stop.
      if (core.leaves) this.#withhold();
      return;
    }
    if (core.leaves) this.#withhold();
    this.#patch(op + OP_SIZE);
    if (core.stopRequested && row.repeat && (info >> OpInfo.repeat) & 3) this.#patch(op);
  }
  #patch(op: number): void {
    const w = op >>> 2;
    const handler = this.#core.words[w];
    if (handler === Handler.leave) return;
    this.#patches.push({ op, handler });
    this.#core.words[w] = Handler.leave;
  }
  #restorePatches(): void {
    for (const { op, handler } of this.#patches) this.#core.words[op >>> 2] = handler;
    this.#patches.length = 0;
  }
  #forgetPatches(block: BlockInfo): void {
    const end = block.address + (block.ops + 1) * OP_SIZE;
    for (let i = this.#patches.length - 1; i >= 0; i--) {
      const { op } = this.#patches[i];
      if (op >= block.address && op < end) this.#patches.splice(i, 1);
    }
  }
  #withhold(): void {
    const core = this.#core;
    this.#withheld += core.state(State.budget);
    core.setState(State.budget, 0);
  }

  #leave(op: number): number {
    const core = this.#core;
    const w = op >>> 2;
    this.#restorePatches();
    core.eip = core.words[w + (Op.eip >> 2)];
    core.setState(State.budget, core.state(State.budget) + core.words[w + (Op.remaining >> 2)]);
    return core.leaves ? 0 : 1;
  }

  #lookup(): number {
    const core = this.#core;
    this.#restorePatches();
    this.#unfinished = 0;
    if (core.state(State.budget) <= 0 || core.leaves) return 0;
    try {
      const block = this.#find();
      core.blocks.cacheJump(core.eip, block.address);
      if (core.stopRequested) return 0;
      return block.address;
    } catch (thrown) {
      if (thrown instanceof GuestFault) core.fault = thrown;
      else if (thrown instanceof GuestHold) core.exit = { kind: "held" };
      else throw thrown;
      return 0;
    }
  }
  #link(op: number, field: number): number {
    const arena = this.#core.blocks.epoch;
    const block = this.#lookup();
    if (block !== 0 && this.#core.blocks.epoch === arena) this.#core.words[(op + field) >>> 2] = block;
    return block;
  }

  /** The block at EIP, valid now. Throws GuestFault when its bytes cannot be fetched. */
  #find(): BlockInfo {
    const core = this.#core;
    const { mode } = core;
    const eip = core.eip;
    if (eip >>> 0 > core.limits[1]) throw new GuestFault(Vector.gp, 0);
    const linear = (eip + core.segmentBase(1)) | 0;
    if (core.breakpoints.executing) this.#checkBreakpoint(linear);
    const frame = core.tlb.frames[core.translate(linear, Access.fetch, mode.user)];
    const nextPage = ((linear & -4096) + 4096) | 0;
    const nextFrame = () => core.tlb.frames[core.translate(nextPage, Access.fetch, mode.user)];
    let block = core.blocks.find(eip, mode, frame);
    if (block && block.frame2 >= 0 && nextFrame() !== block.frame2) {
      core.blocks.remove(block);
      block = undefined;
    }
    block ??= core.blocks.decode({ eip, linear, frame, mode, nextFrame });
    if (block === undefined) throw new GuestFault(Vector.gp, 0);
    // A block with a breakpoint asks each time (its mode is 0).
    if (core.words[(block.address + Block.mode) >>> 2] !== 0) {
      core.words[block.address >>> 2] = core.state(State.generation);
    }
    return block;
  }
  /** Throws #DB when the instruction that is about to run has a breakpoint. */
  #checkBreakpoint(linear: number): void {
    const core = this.#core;
    if (core.state(State.eflags) & Flag.rf || core.inStackShadow) return;
    const bits = core.breakpoints.at(linear);
    if (bits === 0) return;
    core.breakpoints.report(bits);
    throw new GuestFault(Vector.db, undefined, false);
  }

  // The face to the host.

  /** What the second tier did; undefined without one. */
  get jitStatistics(): JitStatistics | undefined {
    return this.#jit?.statistics;
  }

  /** Makes this CPU and others of the same memory one machine. */
  static join(cpus: readonly InterpretedCpu[]): void {
    for (const cpu of cpus) cpu.#core.peers = cpus.map((c) => c.#core);
  }
  raise(vector: number, errorCode?: number): void {
    this.#lost = this.#deliver(vector, errorCode, DeliveryKind.fault);
  }
}
