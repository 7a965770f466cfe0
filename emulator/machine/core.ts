// SPDX-License-Identifier: Apache-2.0
/**
 * State of one CPU as TypeScript sees it, and its accesses to memory. What is in linear memory is shared
 * with the handlers (layout.ts); the rest is here.
 *
 * @module
 */
import { BlockCache, type Mode } from "./blocks.ts";
import { Breakpoints } from "./breakpoints.ts";
import { GuestFault, GuestHold, Vector } from "./fault.ts";
import { Fpu } from "./fpu.ts";
import { FRAMES_BASE, SEGMENT_SIZE, SegmentField, State } from "./layout.ts";
import type { LinearMemory } from "./memory.ts";
import { Permission, Tlb } from "./tlb.ts";
import { Access, type CpuExit, type CpuHost, TRANSLATE_HOLD } from "./types.ts";

/** EFLAGS bits. */
export const Flag = {
  cf: 1,
  pf: 4,
  af: 0x10,
  zf: 0x40,
  sf: 0x80,
  tf: 0x100,
  if: 0x200,
  df: 0x400,
  of: 0x800,
  iopl: 0x3000,
  nt: 0x4000,
  rf: 0x1_0000,
  vm: 0x2_0000,
  ac: 0x4_0000,
  vif: 0x8_0000,
  vip: 0x10_0000,
  id: 0x20_0000,
} as const; // deno-fmt-ignore
const ARITHMETIC = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf | Flag.of;
/** Bits of EFLAGS that exist here. */
const EFLAGS_BITS = 0x3f_7fd5;

/** CR0.AM. */
const ALIGNMENT_MASK = 0x4_0000;

/** Kinds of code segment that are told apart at a time. */
const MAX_MODES = 1024;

/** Access rights as in the second word of a descriptor, shifted right by 8 (VMX format). */
export const Rights = {
  accessed: 1,
  writable: 2,
  readable: 2,
  expandDown: 4,
  conforming: 4,
  code: 8,
  notSystem: 0x10,
  dpl: 0x60,
  present: 0x80,
  long: 0x2000,
  big: 0x4000,
  pages: 0x8000,
  unusable: 0x1_0000,
} as const; // deno-fmt-ignore

/** True when an operand of so many bytes must not lie there while alignment is checked (SDM table 6-7). */
function isMisaligned(va: number, size: number): boolean {
  return (va & (size === 2 ? 1 : size === 4 || size === 6 ? 3 : size === 8 || size === 10 ? 7 : 0)) !== 0;
}

const nobody: CpuHost = {
  translate: () => {
    throw new Error("Cannot run the CPU: it has no host");
  },
  controlRegisterWritten: () => {},
  invalidatePage: () => {},
  portRead: (_port, size) => size === 1 ? 0xff : size === 2 ? 0xffff : 0xffff_ffff,
  portWrite: () => {},
};

/** State and memory of one CPU. */
export class Core {
  host: CpuHost = nobody;
  readonly memory: LinearMemory;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly area: number;
  /** Index of the area's first word. */
  readonly w: number;
  readonly tlb: Tlb;
  readonly blocks: BlockCache;
  /** All CPUs of the machine, this one among them: a store of one drops decoded code of all. */
  peers: readonly Core[] = [this];

  /** Hidden parts of ES, CS, SS, DS, FS, GS; their bases are in linear memory. */
  readonly selectors = new Uint16Array(6);
  readonly limits = new Uint32Array(6);
  readonly rights = new Uint32Array(6);
  cpl = 0;
  cr0 = 0x11;
  cr2 = 0;
  cr3 = 0;
  cr4 = 0;
  efer = 0;
  gdtr = { base: 0, limit: 0 };
  idtr = { base: 0, limit: 0x3ff };
  ldtr = { selector: 0, base: 0, limit: 0, rights: 0 };
  tr = { selector: 0, base: 0, limit: 0, rights: 0x8b };
  readonly breakpoints = new Breakpoints();
  readonly sysenter = { cs: 0, esp: 0, eip: 0 };
  tscOffset = 0;
  /** IA32_TSC_AUX and IA32_PAT. */
  tscAux = 0;
  pat: readonly [low: number, high: number] = [0x0007_0406, 0x0007_0406];
  /** Instructions retired before the current one; the CPU puts its counter here. */
  retired: () => number = () => 0;

  /** Set by helpers: no single-step trap after this instruction (MOV SS, a gate was taken). */
  noTrap = false;
  /** Set by helpers: RF of EFLAGS was loaded by this instruction, so it holds for the next one. */
  resumeLoaded = false;
  /**
   * Number of retired instructions right behind a MOV SS or POP SS, and behind an STI that set IF: before the
   * next instruction no debug exception and no interrupt is taken (SDM volume 3, 6.8).
   */
  stackShadow = -1;
  interruptShadow = -1;
  /** What {@link Cpu.run} returns once WebAssembly is left. */
  exit: CpuExit | undefined;
  /** Exception to deliver once WebAssembly is left. */
  fault: GuestFault | undefined;
  stopRequested = false;
  /** Mode of the next instruction; `modeStale` when segments, CPL or the code size changed. */
  mode!: Mode;
  modeStale = true;
  single = false;
  readonly #modes = new Map<string, Mode>();

  readonly fpu = new Fpu();
  /** Eight XMM registers of four words, and their control and status. */
  readonly xmm = new Int32Array(32);
  mxcsr = 0x1f80;

  constructor(memory: LinearMemory, area: number) {
    this.memory = memory;
    this.words = memory.words;
    this.bytes = memory.bytes;
    this.area = area;
    this.w = area >>> 2;
    this.blocks = new BlockCache(memory, area);
    this.tlb = new Tlb(
      memory,
      area,
      (frame) => this.peers.some((core) => core.blocks.hasCode(frame)),
      this.breakpoints.withheld,
    );
    this.breakpoints.onWatchedChanged = () => this.flushAll();
    this.breakpoints.onExecutedChanged = () => this.blocks.clear();
    this.blocks.watched = (linear) => this.breakpoints.at(linear) !== 0;
    this.blocks.onCodeChanged = (frame) => {
      const hasCode = this.peers.some((core) => core.blocks.hasCode(frame));
      for (const core of this.peers) core.tlb.codeChanged(frame, hasCode);
    };
    this.words[this.w + (State.flagResult >> 2)] = 1;
    this.words[this.w + (State.generation >> 2)] = 1;
    // Flat ring 0: what a boot loader would leave.
    this.setSegment(1, 8, 0, 0xffff_ffff, 0xc09b);
    for (const s of [0, 2, 3, 4, 5]) this.setSegment(s, 0x10, 0, 0xffff_ffff, 0xc093);
    this.setCpl(0);
    this.eflags = 2;
  }

  // Registers.

  state(offset: number): number {
    return this.words[this.w + (offset >> 2)];
  }
  setState(offset: number, value: number): void {
    this.words[this.w + (offset >> 2)] = value;
  }
  /** A general register, signed. */
  reg(index: number): number {
    return this.words[this.w + index];
  }
  setReg(index: number, value: number): void {
    this.words[this.w + index] = value;
  }
  reg16(index: number): number {
    return this.words[this.w + index] & 0xffff;
  }
  setReg16(index: number, value: number): void {
    this.words[this.w + index] = (this.words[this.w + index] & ~0xffff) | (value & 0xffff);
  }
  reg8(index: number): number {
    return this.bytes[this.area + 4 * (index & 3) + (index >> 2)];
  }
  setReg8(index: number, value: number): void {
    this.bytes[this.area + 4 * (index & 3) + (index >> 2)] = value;
  }
  get eip(): number {
    return this.state(State.eip);
  }
  set eip(value: number) {
    this.setState(State.eip, value);
  }

  get eflags(): number {
    const result = this.state(State.flagResult), aux = this.state(State.flagAux);
    let flags = this.state(State.eflags) | 2;
    if (aux < 0) flags |= Flag.cf;
    let parity = (result ^ (aux >>> 8)) & 0xff;
    parity ^= parity >> 4;
    if (!((0x6996 >> (parity & 15)) & 1)) flags |= Flag.pf;
    if (aux & 8) flags |= Flag.af;
    if (result === 0) flags |= Flag.zf;
    if ((result ^ (aux << 31)) < 0) flags |= Flag.sf;
    if ((aux ^ (aux << 1)) < 0) flags |= Flag.of;
    return flags;
  }
  set eflags(value: number) {
    const cf = value & 1, of = (value >> 11) & 1;
    const aux = (cf << 31) | ((cf ^ of) << 30) | ((value & Flag.af) >> 1) | ((value >> 7) & 1) |
      (value & Flag.pf ? 0 : 0x100);
    this.setState(State.flagAux, aux);
    this.setState(State.flagResult, value & Flag.zf ? 0 : 0x100);
    this.setState(State.eflags, value & EFLAGS_BITS & ~ARITHMETIC);
  }
  /** Right behind MOV SS or POP SS. */
  get inStackShadow(): boolean {
    return this.stackShadow >= 0 && this.stackShadow === this.retired();
  }
  /** The run loop has something to do behind the instruction at hand. */
  get leaves(): boolean {
    return this.stopRequested || this.breakpoints.hits !== 0;
  }
  get iopl(): number {
    return (this.state(State.eflags) >> 12) & 3;
  }

  // Segments and mode.

  segmentBase(segment: number): number {
    return this.state(State.segments + segment * SEGMENT_SIZE + SegmentField.base);
  }
  /** Sets the hidden part of a segment register. `rights` as {@link Rights}; `limit` in bytes. */
  setSegment(segment: number, selector: number, base: number, limit: number, rights: number): void {
    this.selectors[segment] = selector;
    this.limits[segment] = limit;
    this.rights[segment] = rights;
    const at = State.segments + segment * SEGMENT_SIZE;
    const usable = (rights & Rights.present) !== 0 && (rights & Rights.unusable) === 0;
    const code = (rights & Rights.code) !== 0;
    let low = 0, span = limit >>> 0, empty = false;
    if (!code && rights & Rights.expandDown) {
      const top = rights & Rights.big ? 0xffff_ffff : 0xffff;
      low = (limit + 1) >>> 0;
      empty = limit >>> 0 >= top;
      span = top - low;
    }
    const deny = !usable || empty;
    this.setState(at + SegmentField.base, base);
    this.setState(at + SegmentField.low, low);
    this.setState(at + SegmentField.span, span);
    this.setState(at + SegmentField.denyRead, deny || (code && !(rights & Rights.readable)) ? 1 : 0);
    this.setState(at + SegmentField.denyWrite, deny || code || !(rights & Rights.writable) ? 1 : 0);
    if (segment === 2) this.setState(State.stackMask, rights & Rights.big ? -1 : 0xffff);
    this.modeStale = true;
  }
  setCpl(cpl: number): void {
    this.cpl = cpl;
    this.#chooseBank();
    this.modeStale = true;
  }
  /** Accesses of ring 3 must be aligned (SDM volume 3, 6.15, interrupt 17). */
  get checksAlignment(): boolean {
    return this.cpl === 3 && (this.cr0 & ALIGNMENT_MASK) !== 0 && (this.state(State.eflags) & Flag.ac) !== 0;
  }
  #chooseBank(): void {
    const bank = this.checksAlignment ? this.area + State.emptyBank : this.tlb.bankAddress(this.cpl === 3);
    this.setState(State.tlb, bank);
  }
  #flat(segment: number): boolean {
    const at = State.segments + segment * SEGMENT_SIZE;
    return this.state(at) === 0 && this.state(at + 4) === 0 && this.state(at + 8) === -1 &&
      (this.state(at + 12) | this.state(at + 16)) === 0;
  }
  /** Finds the number of the current mode. */
  updateMode(): void {
    const checked = this.checksAlignment;
    if (!this.modeStale && this.mode.single === this.single && this.mode.checked === checked) return;
    this.#chooseBank();
    const code32 = (this.rights[1] & Rights.big) !== 0;
    const flat = this.#flat(0) && this.#flat(2) && this.#flat(3) && this.state(State.stackMask) === -1;
    const limit = this.limits[1];
    const name = `${this.cpl === 3} ${code32} ${flat} ${this.single} ${checked} ${
      this.segmentBase(1)
    } ${limit}`;
    let mode = this.#modes.get(name);
    if (mode === undefined) {
      if (this.#modes.size >= MAX_MODES) {
        // A guest that makes segments without end: start over.
        this.#modes.clear();
        this.blocks.clear();
      }
      const { single } = this;
      mode = { id: this.#modes.size + 1, code32, flat, single, checked, user: this.cpl === 3, limit };
      this.#modes.set(name, mode);
    }
    this.mode = mode;
    this.modeStale = false;
    this.setState(State.mode, mode.id);
  }

  // Translation.

  /** Some right to execute may be gone: blocks check their page again. */
  bumpGeneration(): void {
    const next = (this.state(State.generation) + 1) | 0;
    this.setState(State.generation, next < 0 ? 1 : next);
  }
  flushAll(): void {
    this.tlb.flushAll();
    this.bumpGeneration();
  }
  /** TLB entry that allows an access; asks the host when there is none. Throws GuestFault or GuestHold. */
  translate(va: number, access: Access, user: boolean): number {
    const needed = access === Access.read
      ? Permission.read
      : access === Access.write
      ? Permission.write
      : Permission.execute;
    let found = this.tlb.find(va, user);
    if (found < 0) found = this.tlb.recall(va, user);
    if (found >= 0 && this.tlb.permissions[found] & needed) return found;
    const answer = this.host.translate(va >>> 0, access, user);
    if (answer === TRANSLATE_HOLD) throw new GuestHold();
    if (answer < 0) {
      this.cr2 = va;
      throw new GuestFault(Vector.pf, -1 - answer);
    }
    const frame = Math.floor(answer / 8), permissions = answer & 7;
    if (!(frame < this.memory.frames) || !(permissions & needed)) {
      throw new Error(
        `Cannot use the translation 0x${answer.toString(16)} of 0x${(va >>> 0).toString(16)}: ` +
          `access ${access} is not in it or the frame is outside ${this.memory.frames} frames`,
      );
    }
    if (this.tlb.fill(va, user, frame, permissions)) this.bumpGeneration();
    return this.tlb.find(va, user);
  }
  /** Host address of a linear address for an access within one page. */
  address(va: number, access: Access, user: boolean): number {
    const entry = this.translate(va, access, user);
    return FRAMES_BASE + this.tlb.frames[entry] * 4096 + (va & 4095);
  }

  // Memory by linear address, for helpers; little-endian, sizes 1, 2, 4. Throw GuestFault.

  read(va: number, size: number, user = this.cpl === 3): number {
    if (user && isMisaligned(va, size) && this.checksAlignment) throw new GuestFault(Vector.ac, 0);
    if (this.breakpoints.watching) this.breakpoints.access(va, size, false);
    if ((va & 4095) + size <= 4096) return this.#get(this.address(va, Access.read, user), size);
    let value = 0;
    const first = 4096 - (va & 4095);
    const a = this.address(va, Access.read, user), b = this.address(va + first, Access.read, user);
    for (let i = 0; i < size; i++) value |= this.bytes[i < first ? a + i : b + i - first] << (8 * i);
    return value;
  }
  #get(at: number, size: number): number {
    const m = this.bytes;
    if (size === 1) return m[at];
    if (size === 2) return m[at] | (m[at + 1] << 8);
    return m[at] | (m[at + 1] << 8) | (m[at + 2] << 16) | (m[at + 3] << 24);
  }
  /** Checks that bytes can be written, without writing. */
  prepareWrite(va: number, size: number, user = this.cpl === 3): void {
    if (user && isMisaligned(va, size) && this.checksAlignment) throw new GuestFault(Vector.ac, 0);
    this.address(va, Access.write, user);
    if ((va & 4095) + size > 4096) this.address((va + size - 1) | 0, Access.write, user);
  }
  write(va: number, size: number, value: number, user = this.cpl === 3): void {
    this.prepareWrite(va, size, user);
    if (this.breakpoints.watching) this.breakpoints.access(va, size, true);
    for (let i = 0; i < size;) {
      const at = (va + i) | 0;
      const n = Math.min(size - i, 4096 - (at & 4095));
      const host = this.address(at, Access.write, user);
      for (let k = 0; k < n; k++) this.bytes[host + k] = value >> (8 * (i + k));
      this.frameChanged((host - FRAMES_BASE) >>> 12, at & 4095, n);
      i += n;
    }
  }
  /** Told of every write by helpers and the host: decoded code from there is dropped. */
  frameChanged(frame: number, offset: number, length: number): void {
    for (const core of this.peers) {
      if (core.blocks.hasCode(frame)) core.blocks.invalidate(frame, offset, length);
    }
  }
}
