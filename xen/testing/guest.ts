// SPDX-License-Identifier: Apache-2.0
/**
 * A little guest for tests of the monitor: physical memory with real PAE tables and Windows structures in it (or, as
 * another system has it, none, and the kernel at 3 GiB), a shadow of a few maps, and the monitor's own module around which all of it is put. It executes nothing;
 * a test says which accesses the guest makes.
 *
 * @module
 */
import { asset } from "../../core/assets.ts";
import type { HypercallBuffer, HypercallTransport } from "../transport.ts";

export const PRESENT = 1n, WRITE = 2n, USER = 4n, NX = 1n << 63n;
const FRAME = 0x000f_ffff_ffff_f000n;
const PAGE = 4096, GIB = 0x4000_0000;
/** Machine frames are guest frames shifted, so that confusing the two is found out. */
const SHIFT = 0x1000;
const DOM0_BASE = 0x1_0000_0000;

/** Rights of a page in the guest's own tables. */
export interface Rights {
  readonly w?: boolean;
  readonly x?: boolean;
}

/** A process of the guest. */
export interface Process {
  readonly pid: number;
  readonly cr3: number;
  /** Addresses of EPROCESS and ETHREAD. */
  readonly object: number;
  readonly thread: number;
  readonly vads: { start: number; end: number; node: number }[];
}

interface Exports {
  readonly memory: WebAssembly.Memory;
  umbra_init(): void;
  umbra_exchange(): number;
  umbra_domain_create(domain: number): number;
  umbra_domain_destroy(domain: number): void;
  umbra_cr3_loaded(domain: number, vcpu: number): void;
  umbra_cr3_dying(domain: number, vcpu: number, cr3: number): void;
  umbra_fault(access: number): number;
  umbra_filter(access: number): void;
  umbra_entry_removed(access: number): void;
  umbra_hypercall(caller: number, command: number, low: number, high: number): number;
}

/** The monitor's module, compiled once. */
let compiled: WebAssembly.Module | undefined;

/** The guest, domain 1 with one vCPU or two. */
export class TestGuest {
  readonly memory: Uint8Array;
  readonly view: DataView;
  readonly dom0 = new Uint8Array(8 << 20);
  /** Shadow entries by CR3, then by page address. */
  readonly shadow = new Map<number, Map<number, bigint>>();
  readonly domain = 1;
  tsc = 1000;
  held = false;
  virqs = 0;
  /** How often the monitor read from a frame. */
  frameReads = 0;
  /** Who makes hypercalls. */
  caller = 0;
  vcpus = 1;
  /** The one that does what the test says next. */
  vcpu = 0;
  readonly #cr3s = [0, 0];
  exports!: Exports;
  readonly transport: HypercallTransport;
  #nextFrame = 1;
  #dom0At = 0;
  /** First address of the kernel. */
  readonly kernelBase: number;
  #kernelAt: number;
  #kernelDirectory = 0;
  #gdt = 0;
  #kpcr = 0;
  #processes: Process[] = [];
  #listeners = new Set<() => void>();

  /** @param windows false: without Windows' structures. */
  constructor(frames = 4096, windows = true) {
    this.kernelBase = this.#kernelAt = windows ? 0x8000_0000 : 0xc000_0000;
    this.memory = new Uint8Array(frames * PAGE);
    this.view = new DataView(this.memory.buffer);
    this.#kernelDirectory = this.frame();
    this.#gdt = this.kernel(64);
    this.#kpcr = this.kernel(PAGE);
    if (windows) this.structures(true);
    this.exports = this.#instantiate();
    this.exports.umbra_init();
    this.exports.umbra_domain_create(this.domain);
    this.transport = {
      name: "test guest",
      allocate: (size) => this.#allocate(size),
      call: (command, argument) => this.hypercall(command, argument),
      onVirq: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      close: () => {},
    };
  }

  /** Makes the way to Windows' structures readable, or not. */
  structures(readable: boolean): void {
    this.descriptor(6, readable ? this.#kpcr : 0);
    this.descriptor(7, readable ? 0x7ffd_e000 : 0);
  }

  get cr3(): number {
    return this.#cr3s[this.vcpu];
  }

  set cr3(value: number) {
    this.#cr3s[this.vcpu] = value;
  }

  hypercall(command: number, argument: bigint, caller = this.caller): number {
    return this.exports.umbra_hypercall(
      caller,
      command,
      Number(argument & 0xffff_ffffn),
      Number(argument >> 32n & 0xffff_ffffn),
    );
  }

  /** A fresh guest frame; zeroed. */
  frame(): number {
    const gfn = this.#nextFrame++;
    if (gfn * PAGE >= this.memory.length) throw new Error("Cannot take a frame: the test guest is full");
    return gfn;
  }

  /** Kernel memory, mapped in every process at one address. */
  kernel(size: number): number {
    const address = this.#kernelAt;
    this.#kernelAt += (size + 63) & ~63;
    for (let page = address & ~(PAGE - 1); page >>> 0 < this.#kernelAt; page += PAGE) {
      const at = this.#leaf(this.#kernelDirectory, page >>> 0);
      if (!(this.view.getBigUint64(at, true) & PRESENT)) {
        this.view.setBigUint64(at, BigInt(this.frame() * PAGE) | PRESENT | WRITE | NX, true);
      }
    }
    return address;
  }

  /** An address space in which nothing is mapped but the kernel, and of which no structure tells. */
  space(cr3 = this.frame() * PAGE): Process {
    for (let i = 0; i < 4; i++) {
      const directory = i === this.kernelBase / GIB ? this.#kernelDirectory : this.frame();
      this.view.setBigUint64(cr3 + i * 8, BigInt(directory * PAGE) | PRESENT, true);
    }
    return { pid: 0, cr3, object: 0, thread: 0, vads: [] };
  }

  /** A process with PEB and parameters; not running yet. */
  process(
    pid: number,
    name: string,
    options: { parent?: number; path?: string; created?: bigint } = {},
  ): Process {
    const { cr3 } = this.space();
    const object = this.kernel(0x2c0), thread = this.kernel(0x280);
    const process: Process = { pid, cr3, object, thread, vads: [] };
    this.poke(cr3, object + 0x18, cr3);
    this.poke(cr3, object + 0xa0, Number((options.created ?? 1n) & 0xffff_ffffn));
    this.poke(cr3, object + 0xb4, pid);
    this.poke(cr3, object + 0x140, options.parent ?? 0);
    this.pokeBytes(cr3, object + 0x16c, new TextEncoder().encode(name.slice(0, 14)));
    this.poke(cr3, thread + 0x50, object);
    this.poke(cr3, thread + 0x150, object);
    this.poke(cr3, thread + 0x22c, pid);
    this.poke(cr3, thread + 0x230, pid + 1);
    const peb = 0x7ffd_f000, parameters = 0x0002_0000;
    this.map(process, peb, { w: true });
    this.map(process, parameters, { w: true });
    this.poke(cr3, object + 0x1a8, peb);
    this.poke(cr3, peb + 0x10, parameters);
    this.poke(cr3, parameters + 8, 1);
    const string = (offset: number, at: number, text: string) => {
      this.poke(cr3, parameters + offset, text.length * 2 | (text.length * 2) << 16);
      this.poke(cr3, parameters + offset + 4, at);
      [...text].forEach((each, i) =>
        this.pokeBytes(cr3, at + i * 2, Uint8Array.of(each.charCodeAt(0), each.charCodeAt(0) >> 8))
      );
    };
    const path = options.path ?? `C:\\test\\${name}`;
    string(0x38, parameters + 0x200, path);
    string(0x40, parameters + 0x600, `"${path}" -x`);
    this.#processes.push(process);
    // One ring of ActiveProcessLinks.
    this.#processes.forEach((each, i) => {
      const next = this.#processes[(i + 1) % this.#processes.length];
      this.poke(cr3, each.object + 0xb8, next.object + 0xb8);
    });
    return process;
  }

  /** Adds a VAD of that many pages; the tree is a list to the right, which is a tree too. */
  vad(process: Process, start: number, pages: number): void {
    const node = this.kernel(0x20), first = process.vads.length === 0;
    process.vads.push({ start, end: start + pages * PAGE, node });
    process.vads.sort((a, b) => a.start - b.start);
    this.poke(process.cr3, node + 0xc, start / PAGE);
    this.poke(process.cr3, node + 0x10, start / PAGE + pages - 1);
    const nodes = process.vads.map((each) => each.node), root = nodes[nodes.length >> 1];
    this.poke(process.cr3, process.object + 0x278 + 8, root);
    nodes.forEach((each, i) => {
      const middle = nodes.length >> 1;
      this.poke(process.cr3, each + 4, i <= middle && i > 0 ? nodes[i - 1] : 0);
      this.poke(process.cr3, each + 8, i >= middle && i + 1 < nodes.length ? nodes[i + 1] : 0);
    });
    if (first) this.poke(process.cr3, process.object + 0x278 + 8, node);
  }

  /** Maps a page (a fresh frame unless one is given) in the guest's tables; returns the guest frame. */
  map(process: Process, va: number, rights: Rights, gfn = this.frame()): number {
    this.view.setBigUint64(this.#entryAt(process.cr3, va), this.#entry(gfn, rights), true);
    return gfn;
  }

  /** Changes a page's rights as the guest kernel does: table write, then the hypervisor validates. */
  protect(process: Process, va: number, rights: Rights): void {
    const at = this.#entryAt(process.cr3, va), old = this.view.getBigUint64(at, true);
    const entry = this.#entry(Number((old & FRAME) >> 12n), rights);
    this.view.setBigUint64(at, entry, true);
    const before = this.#space(process.cr3).get(va);
    this.#fill({ va, entry, old: before ?? 0n, gl1eOld: old });
    this.exports.umbra_entry_removed(this.#exchange);
    if (before === undefined) return;
    this.#fill({ va, entry, old: before, shadow: this.#toShadow(entry), gl1eOld: old });
    this.exports.umbra_filter(this.#exchange);
    this.#space(process.cr3).set(va, this.#result());
  }

  /** Takes a page away; its frame stays as it is. */
  unmap(process: Process, va: number): void {
    const old = this.#clear(process, va);
    if (old & PRESENT) this.#removed(process, va, old);
  }

  #clear(process: Process, va: number): bigint {
    const at = this.#entryAt(process.cr3, va), old = this.view.getBigUint64(at, true);
    this.view.setBigUint64(at, 0n, true);
    return old;
  }

  #removed(process: Process, va: number, gl1eOld: bigint): void {
    // Where another address space is loaded, only the table is known.
    const flags = process.cr3 === this.cr3 ? 0 : 3;
    this.#fill({
      va: flags ? 0 : va,
      entry: 0n,
      old: this.#space(process.cr3).get(va) ?? 0n,
      gl1eOld,
      flags,
    });
    this.exports.umbra_entry_removed(this.#exchange);
    this.#space(process.cr3).delete(va);
  }

  /** Loads CR3 for a process; `owner` is the process whose thread runs, when it is attached. */
  switchTo(process: Process, owner: Process = process): void {
    if (owner.thread) {
      this.poke(process.cr3, this.#kpcr + 0x124, owner.thread);
      this.poke(process.cr3, owner.thread + 0x50, process.object);
    }
    this.cr3 = process.cr3;
    this.exports.umbra_cr3_loaded(this.domain, this.vcpu);
  }

  /**
   * The running process ends: flag, time, then its entries are cleared: each seen by the hypervisor before the
   * next, or all before it sees the first, as when the table is out of sync.
   */
  exit(process: Process, atOnce = false): void {
    if (process.object) {
      const flags = this.peek(process.cr3, process.object + 0x270);
      this.poke(process.cr3, process.object + 0x270, flags | 4);
      this.poke(process.cr3, process.object + 0xa8, 99);
    }
    const pages = this.pages(process);
    if (atOnce) {
      const old = pages.map((va) => this.#clear(process, va));
      pages.forEach((va, i) => this.#removed(process, va, old[i]));
    } else for (const va of pages) this.unmap(process, va);
  }

  /** The kernel tells the hypervisor that it is about to take a space apart. */
  dying(process: Process): void {
    this.exports.umbra_cr3_dying(this.domain, this.vcpu, process.cr3);
  }

  /** Present user pages of a process. */
  pages(process: Process): number[] {
    const found: number[] = [];
    for (let top = 0; top * GIB < this.kernelBase; top++) {
      const directory = Number(this.view.getBigUint64(process.cr3 + top * 8, true) & FRAME);
      for (let i = 0; i < 512; i++) {
        const table = this.view.getBigUint64(directory + i * 8, true);
        if (!(table & PRESENT)) continue;
        for (let j = 0; j < 512; j++) {
          if (this.view.getBigUint64(Number(table & FRAME) + j * 8, true) & PRESENT) {
            found.push(top * GIB + i * 0x20_0000 + j * PAGE);
          }
        }
      }
    }
    return found;
  }

  /** Runs code at an address of the running process; false when the vCPU is held. */
  run(va: number): boolean {
    return this.access("fetch", va, va);
  }

  /** Reads; false when the vCPU is held. */
  read(va: number, eip = 0x40_0000): boolean {
    return this.access("read", va, eip);
  }

  /** Writes bytes within one page by an instruction at `eip`; nothing happens when the vCPU is held. */
  write(va: number, bytes: ArrayLike<number>, eip = 0x40_0000): boolean {
    if (!this.access("write", va, eip)) return false;
    const entry = this.view.getBigUint64(this.#entryAt(this.cr3, va), true);
    this.memory.set(bytes, Number(entry & FRAME) + (va & (PAGE - 1)));
    return true;
  }

  /** One access in the current address space. False when the vCPU is held; throws when it is not allowed. */
  access(kind: "read" | "write" | "fetch", va: number, eip: number): boolean {
    this.tsc++;
    const page = va - va % PAGE, right = kind === "write" ? WRITE : kind === "fetch" ? NX : 0n;
    const allowed = (entry: bigint) => right === NX ? !(entry & NX) : right === 0n || (entry & right) !== 0n;
    const shadow = this.#space(this.cr3).get(page);
    if (shadow !== undefined && allowed(shadow)) return true;
    const entry = this.view.getBigUint64(this.#entryAt(this.cr3, va), true);
    if (!(entry & PRESENT) || !allowed(entry)) {
      throw new Error(`Cannot ${kind} 0x${va.toString(16)}: the guest's own tables refuse`);
    }
    const code = (shadow === undefined ? 0 : 1) | (kind === "write" ? 2 : 0) | (kind === "fetch" ? 16 : 0) |
      (eip < this.kernelBase ? 4 : 0);
    this.#fill({ va, entry, old: shadow ?? 0n, shadow: this.#toShadow(entry), code, eip });
    if (this.exports.umbra_fault(this.#exchange)) return false;
    const narrowed = this.#result();
    this.#space(this.cr3).set(page, narrowed);
    if (!allowed(narrowed)) {
      throw new Error(`Cannot ${kind} 0x${va.toString(16)}: the shadow never allows it`);
    }
    return true;
  }

  /** The shadow entry of a page of the current process. */
  shadowOf(va: number): bigint | undefined {
    return this.#space(this.cr3).get(va);
  }

  /** The 4096 bytes behind a guest frame. */
  bytes(gfn: number): Uint8Array {
    return this.memory.subarray(gfn * PAGE, (gfn + 1) * PAGE);
  }

  peek(cr3: number, va: number): number {
    return this.view.getUint32(this.#physical(cr3, va), true);
  }

  /** Writes behind everybody's back, as a loader or device does. */
  poke(cr3: number, va: number, value: number): void {
    this.view.setUint32(this.#physical(cr3, va), value, true);
  }

  pokeBytes(cr3: number, va: number, bytes: Uint8Array): void {
    this.memory.set(bytes, this.#physical(cr3, va));
  }

  get exchangeAddress(): number {
    return this.#exchange;
  }

  get #exchange(): number {
    return this.exports.umbra_exchange();
  }

  #allocate(size: number): HypercallBuffer {
    const from = this.#dom0At, length = Math.ceil(size / PAGE) * PAGE;
    this.#dom0At += length;
    if (this.#dom0At > this.dom0.length) throw new Error("Cannot allocate: the test's dom0 is full");
    return {
      bytes: this.dom0.subarray(from, from + length),
      address: BigInt(DOM0_BASE + from),
      release: () => {},
    };
  }

  #space(cr3: number): Map<number, bigint> {
    let space = this.shadow.get(cr3);
    if (!space) this.shadow.set(cr3, space = new Map());
    return space;
  }

  /** Writes a segment's descriptor into the GDT. */
  descriptor(index: number, base: number): void {
    const at = this.#gdt + index * 8, physical = this.#kernelPhysical(at);
    this.memory.set(
      [0xff, 0xff, base & 255, base >>> 8 & 255, base >>> 16 & 255, 0x93, 0xcf, base >>> 24],
      physical,
    );
  }

  #kernelPhysical(va: number): number {
    return Number(this.view.getBigUint64(this.#leaf(this.#kernelDirectory, va), true) & FRAME) + va % PAGE;
  }

  #physical(cr3: number, va: number): number {
    return Number(this.view.getBigUint64(this.#entryAt(cr3, va), true) & FRAME) + va % PAGE;
  }

  #entryAt(cr3: number, va: number): number {
    const top = this.view.getBigUint64(cr3 + Math.floor(va / GIB) * 8, true);
    return this.#leaf(Number((top & FRAME) >> 12n), va);
  }

  #leaf(directory: number, va: number): number {
    const at = directory * PAGE + (va >>> 21 & 511) * 8;
    let table = this.view.getBigUint64(at, true);
    if (!(table & PRESENT)) {
      table = BigInt(this.frame() * PAGE) | PRESENT | WRITE | USER;
      this.view.setBigUint64(at, table, true);
    }
    return Number(table & FRAME) + (va >>> 12 & 511) * 8;
  }

  #entry(gfn: number, rights: Rights): bigint {
    return BigInt(gfn * PAGE) | PRESENT | USER | (rights.w ? WRITE : 0n) | (rights.x ? 0n : NX);
  }

  #toShadow(entry: bigint): bigint {
    return entry & PRESENT ? (entry & ~FRAME) | (entry & FRAME) + BigInt(SHIFT * PAGE) : 0n;
  }

  #fill(
    access: {
      va: number;
      entry: bigint;
      old: bigint;
      shadow?: bigint;
      code?: number;
      eip?: number;
      gl1eOld?: bigint;
      flags?: number;
    },
  ): void {
    const view = new DataView(this.exports.memory.buffer, this.#exchange, 128);
    for (let i = 0; i < 128; i += 4) view.setUint32(i, 0, true);
    const frame = (access.shadow === undefined ? access.gl1eOld ?? 0n : access.entry) & FRAME;
    view.setUint32(0, this.domain, true);
    view.setUint32(4, this.vcpu, true);
    view.setUint32(8, access.code ?? 0, true);
    view.setUint32(12, access.flags ?? 0, true);
    view.setBigUint64(16, BigInt(access.va), true);
    view.setBigUint64(24, access.entry, true);
    view.setBigUint64(32, access.old, true);
    view.setBigUint64(40, access.shadow ?? 0n, true);
    view.setBigUint64(48, frame >> 12n, true);
    view.setBigUint64(56, (frame >> 12n) + BigInt(SHIFT), true);
    view.setUint32(64, access.eip ?? 0, true);
    view.setUint32(68, 0x12_f000, true);
    view.setBigUint64(112, access.gl1eOld ?? 0n, true);
  }

  #result(): bigint {
    return new DataView(this.exports.memory.buffer, this.#exchange, 128).getBigUint64(40, true);
  }

  #instantiate(): Exports {
    const frames = this.memory.length / PAGE;
    const monitor = (at: number, length: number) =>
      new Uint8Array(this.exports.memory.buffer, at >>> 0, length >>> 0);
    const caller = (low: number, high: number, length: number) => {
      const from = (high >>> 0) * 0x1_0000_0000 + (low >>> 0) - DOM0_BASE;
      return from >= 0 && from + (length >>> 0) <= this.dom0.length
        ? this.dom0.subarray(from, from + (length >>> 0))
        : undefined;
    };
    const each = (change: (space: Map<number, bigint>, va: number, entry: bigint) => void, mfn: number) => {
      for (const space of this.shadow.values()) {
        for (const [va, entry] of [...space]) {
          if ((entry & FRAME) >> 12n === BigInt(mfn >>> 0)) change(space, va, entry);
        }
      }
    };
    const env = {
      read_frame: (_domain: number, mfn: number, offset: number, buffer: number, length: number) => {
        const gfn = (mfn >>> 0) - SHIFT;
        this.frameReads++;
        if (gfn < 0 || gfn >= frames || offset + length > PAGE) return -22;
        monitor(buffer, length).set(this.memory.subarray(gfn * PAGE + offset, gfn * PAGE + offset + length));
        return 0;
      },
      gfn_to_mfn: (_domain: number, gfn: number) => gfn >>> 0 < frames ? gfn + SHIFT : -1,
      vcpu_count: () => this.vcpus,
      vcpu_cr3: (_domain: number, vcpu: number) => this.#cr3s[vcpu],
      vcpu_gdt_base: () => this.#gdt,
      vcpu_tsc: (_domain: number, _vcpu: number, at: number) =>
        new DataView(this.exports.memory.buffer).setBigUint64(at >>> 0, BigInt(this.tsc), true),
      revoke_write: (_domain: number, mfn: number) =>
        each((space, va, entry) => space.set(va, entry & ~WRITE), mfn),
      revoke_mappings: (_domain: number, mfn: number) => each((space, va) => space.delete(va), mfn),
      revoke_space: (_domain: number, cr3: number) => {
        for (const [each, space] of this.shadow) {
          if (cr3 !== 0 && each !== cr3) continue;
          for (const [va, entry] of [...space]) if (entry & USER) space.delete(va);
        }
      },
      vcpu_hold: () => this.held = true,
      vcpu_release: () => this.held = false,
      raise_virq: () => {
        this.virqs++;
        for (const listener of this.#listeners) listener();
      },
      copy_from_caller: (buffer: number, low: number, high: number, length: number) => {
        const source = caller(low, high, length);
        if (!source) return -14;
        monitor(buffer, length).set(source);
        return 0;
      },
      copy_to_caller: (low: number, high: number, buffer: number, length: number) => {
        const target = caller(low, high, length);
        if (!target) return -14;
        target.set(monitor(buffer, length));
        return 0;
      },
    };
    compiled ??= new WebAssembly.Module(asset("monitor.wasm"));
    return new WebAssembly.Instance(compiled, { env: env as unknown as WebAssembly.ModuleImports })
      .exports as unknown as Exports;
  }
}
