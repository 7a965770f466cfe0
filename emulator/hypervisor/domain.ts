// SPDX-License-Identifier: Apache-2.0
/**
 * A domain: guest-physical memory, vCPUs and their shadow paging, and what the monitor may do to it.
 *
 * @module
 */
import { type Access, type Cpu, type FrameMemory, PAGE_SIZE, type Translation } from "../machine/types.ts";
import { frameOf, PRESENT, WRITABLE } from "./entries.ts";
import { ShadowPaging } from "./fault.ts";
import { GuestWalk } from "./guest_walk.ts";
import type { MonitoredDomain, MonitorHost } from "./monitor_host.ts";
import { HYPERVISOR, type MachineFrames, PhysicalMap } from "./p2m.ts";
import { Kind } from "./pool.ts";
import { Reporter, type VcpuPaging } from "./report.ts";
import { KERNEL_BASE, ShadowTables } from "./shadow.ts";
import { TableSync } from "./sync.ts";
import type { Domain, PortHandler } from "./types.ts";
import { VcpuModel } from "./vcpu.ts";

/** Level-3 entries below the guest kernel's half. */
const USER_GIGABYTES = KERNEL_BASE / 2 ** 30;

function isDirectory(kind: number): boolean {
  return kind === Kind.l2 || kind === Kind.l2Legacy || kind === Kind.l2Identity;
}

/** What a domain is made from. */
export interface DomainParts {
  readonly id: number;
  readonly guestFrames: number;
  readonly shadowFrames: number;
  readonly cpus: readonly Cpu[];
  readonly memory: FrameMemory;
  readonly machine: MachineFrames;
  readonly monitor: MonitorHost;
}

/** The model's domain. */
export class DomainModel implements Domain, MonitoredDomain {
  readonly id: number;
  readonly guestFrames: number;
  readonly vcpus: readonly VcpuModel[];
  onPort: PortHandler | undefined;
  readonly memory: FrameMemory;
  readonly #machine: MachineFrames;
  readonly #monitor: MonitorHost;
  readonly #map: PhysicalMap;
  readonly #own: Int32Array;
  readonly #tables: ShadowTables;
  readonly #sync: TableSync;
  readonly #paging: ShadowPaging;

  /** Throws RangeError when the machine has too few frames; nothing is taken then. */
  constructor(parts: DomainParts) {
    const { id, guestFrames, shadowFrames, cpus, memory, machine, monitor } = parts;
    const needed = guestFrames + shadowFrames + cpus.length + 1;
    if (needed > machine.free) {
      throw new RangeError(
        `Cannot create a domain of ${guestFrames} frames: it needs ${needed} machine frames, ` +
          `${machine.free} are free`,
      );
    }
    this.id = id;
    this.guestFrames = guestFrames;
    this.memory = memory;
    this.#machine = machine;
    this.#monitor = monitor;
    this.#map = new PhysicalMap(machine, id, guestFrames);
    // One sink for addresses without memory, a level-3 table a vCPU, the pool.
    this.#own = machine.take(shadowFrames + cpus.length + 1, HYPERVISOR);
    const pool = this.#own.subarray(cpus.length + 1);
    this.#tables = new ShadowTables(memory, pool, guestFrames);
    const reporter = new Reporter(id, monitor, this.#tables.pool, this.#map);
    this.#sync = new TableSync(memory, this.#map, this.#tables, reporter);
    this.#paging = new ShadowPaging(
      memory,
      this.#map,
      this.#tables,
      this.#sync,
      reporter,
      this.#own[0],
    );
    this.vcpus = cpus.map((cpu, index) => {
      const root = this.#tables.addRoot(cpu, this.#own[index + 1]);
      const vcpu = new VcpuModel(index, cpu, new GuestWalk(cpu, memory, this.#map), root, this);
      vcpu.walk.reload();
      return vcpu;
    });
  }

  readPhysical(gpa: number, length: number): Uint8Array {
    this.#check(gpa, length);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const offset = (gpa + done) % PAGE_SIZE;
      const size = Math.min(length - done, PAGE_SIZE - offset);
      const frame = this.frame(this.#map.machineFrame(Math.floor((gpa + done) / PAGE_SIZE)));
      bytes.set(frame.subarray(offset, offset + size), done);
      done += size;
    }
    return bytes;
  }

  writePhysical(gpa: number, bytes: Uint8Array): void {
    this.#check(gpa, bytes.length);
    for (let done = 0; done < bytes.length;) {
      const offset = (gpa + done) % PAGE_SIZE;
      const size = Math.min(bytes.length - done, PAGE_SIZE - offset);
      const gfn = Math.floor((gpa + done) / PAGE_SIZE);
      this.#sync.write(this.vcpus[0], gfn, offset, bytes.subarray(done, done + size));
      this.frameWritten(this.#map.machineFrame(gfn), offset, size);
      done += size;
    }
  }

  readEntry(gpa: number): { high: number; low: number } {
    this.#checkEntry(gpa);
    const mfn = this.#map.machineFrame(Math.floor(gpa / PAGE_SIZE));
    const offset = gpa % PAGE_SIZE;
    return {
      high: this.memory.readWord(mfn, offset + 4) >>> 0,
      low: this.memory.readWord(mfn, offset) >>> 0,
    };
  }

  writeEntry(gpa: number, high: number, low: number): void {
    this.#checkEntry(gpa);
    this.#entry[0] = low;
    this.#entry[1] = high;
    this.writePhysical(gpa, this.#entryBytes);
  }
  readonly #entry = new Uint32Array(2);
  readonly #entryBytes = new Uint8Array(this.#entry.buffer);

  /** Frees everything; the vCPUs must not run any more. */
  destroy(): void {
    this.#monitor.domainDestroyed(this.id);
    this.#tables.blow();
    this.#map.release();
    this.#machine.give(this.#own);
  }

  // What vCPUs need.

  translate(vcpu: VcpuPaging, va: number, access: Access, user: boolean): Translation {
    return this.#paging.translate(vcpu, va, access, user);
  }

  invalidate(vcpu: VcpuPaging, va: number): void {
    this.#paging.invalidate(vcpu, va);
  }

  controlChanged(vcpu: VcpuPaging, root: boolean): void {
    this.#paging.pagingChanged(vcpu);
    if (root) this.#monitor.cr3Loaded(this.id, vcpu.index);
  }

  frame(mfn: number): Uint8Array {
    return this.memory.frame(mfn);
  }

  frameWritten(mfn: number, offset: number, length: number): void {
    for (const vcpu of this.vcpus) vcpu.cpu.frameWritten(mfn, offset, length);
  }

  // What the monitor may ask for.

  owns(mfn: number): boolean {
    return this.#map.owns(mfn);
  }

  machineFrame(gfn: number): number {
    return this.#map.machineFrame(gfn);
  }

  get vcpuCount(): number {
    return this.vcpus.length;
  }

  vmcs(vcpu: number): VcpuModel["vmcs"] | undefined {
    return this.vcpus[vcpu]?.vmcs;
  }

  revokeWrite(mfn: number): void {
    if (this.#map.owns(mfn)) this.#tables.revokeWrite(mfn);
  }

  revokeMappings(mfn: number): void {
    if (this.#map.owns(mfn)) this.#tables.revokeMappings(mfn);
  }

  revokeSpace(cr3: number): void {
    this.#tables.revokeDirectories(cr3 === 0 ? this.#allDirectories() : this.#userDirectories(cr3));
  }

  /** How many shadow entries map a frame, of those that are writable or executable if so asked. */
  countMappings(mfn: number, only: { writable?: boolean; executable?: boolean } = {}): number {
    return this.#tables.countMappings(mfn, only.writable ? WRITABLE : 0, only.executable);
  }

  hold(vcpu: number): void {
    this.vcpus[vcpu]?.hold();
  }

  release(vcpu: number): void {
    this.vcpus[vcpu]?.release();
  }

  #allDirectories(): Set<number> {
    const { pool } = this.#tables;
    const found = new Set<number>();
    for (let slot = 0; slot < pool.slots; slot++) if (isDirectory(pool.kind[slot])) found.add(slot);
    return found;
  }

  /** Directories of the user half of the address space that a CR3 stands for. */
  #userDirectories(cr3: number): Set<number> {
    const { pool } = this.#tables;
    const found = new Set<number>();
    // The loaded entries count, whatever the memory behind CR3 says now.
    for (const { cpu, root } of this.vcpus) {
      for (let i = 0; i < USER_GIGABYTES && ((cpu.cr3 ^ cr3) & ~31) === 0; i++) {
        if (root.directories[i] >= 0) found.add(root.directories[i]);
      }
    }
    const add = (gfn: number) => {
      if (this.#map.machineFrame(gfn) < 0) return;
      for (let slot = pool.first(gfn); slot >= 0; slot = pool.next(slot)) {
        if (isDirectory(pool.kind[slot])) found.add(slot);
      }
    };
    add(cr3 >>> 12);
    const mfn = this.#map.machineFrame(cr3 >>> 12);
    for (let i = 0; i < USER_GIGABYTES && mfn >= 0; i++) {
      const low = this.memory.readWord(mfn, (cr3 & 0xfe0) + i * 8);
      const high = this.memory.readWord(mfn, (cr3 & 0xfe0) + i * 8 + 4);
      if (low & PRESENT) add(frameOf(high, low));
    }
    return found;
  }

  #check(gpa: number, length: number): void {
    if (!Number.isInteger(gpa) || gpa < 0 || gpa + length > this.guestFrames * PAGE_SIZE || !(length >= 0)) {
      throw new RangeError(
        `Cannot access ${length} bytes at guest-physical address 0x${gpa.toString(16)}: ` +
          `the domain has ${this.guestFrames} frames`,
      );
    }
  }

  #checkEntry(gpa: number): void {
    if (gpa % 8 !== 0) {
      throw new RangeError(`Cannot access the entry at 0x${gpa.toString(16)}: it is not 8-aligned`);
    }
    this.#check(gpa, 8);
  }
}
