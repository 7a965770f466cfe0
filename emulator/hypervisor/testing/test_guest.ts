// SPDX-License-Identifier: Apache-2.0
/**
 * A small guest for tests of shadow paging: page tables it builds itself, no operating system.
 *
 * @module
 */
import { build as buildCpu } from "../../machine/build_cpu.ts";
import { createMachine } from "../../machine/mod.ts";
import { build as buildMonitor } from "../../../xen/build_monitor.ts";
import type { Machine } from "../../machine/types.ts";
import { CR0_PE, CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, EFER_NXE } from "../entries.ts";
import { Model } from "../model.ts";
import type { Domain, Vcpu } from "../types.ts";

await buildMonitor();
await buildCpu();

/** Flags of a PAE entry, bit 63 too. */
export const P = 1n, W = 2n, U = 4n, A = 0x20n, D = 0x40n, PS = 0x80n, NX = 1n << 63n;

/** A domain with one vCPU in PAE mode, NX and WP on. */
export class TestGuest {
  readonly machine: Machine;
  readonly model: Model;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  /** Page-directory-pointer table of the first address space. */
  readonly cr3: number;
  #nextFrame = 1;

  constructor(
    options: {
      guestFrames?: number;
      shadowFrames?: number;
      frames?: number;
      domains?: number;
      vcpus?: number;
    } = {},
  ) {
    const { guestFrames = 256, shadowFrames = 64, frames = 2048, domains = 1, vcpus = 1 } = options;
    this.machine = createMachine({ frames, cpus: domains - 1 + vcpus });
    this.model = new Model(this.machine, shadowFrames);
    this.domain = this.model.createDomain({ guestFrames, vcpus });
    this.vcpu = this.domain.vcpus[0];
    this.cr3 = this.newSpace();
    const { cpu } = this.vcpu;
    cpu.cr4 = CR4_PAE | CR4_PSE;
    cpu.efer = EFER_NXE;
    cpu.cr0 = (CR0_PE | CR0_PG | CR0_WP) >>> 0;
    this.vcpu.loadCr3(this.cr3);
  }

  /** A zeroed guest frame nobody uses; its number. */
  frame(): number {
    const gfn = this.#nextFrame++;
    this.domain.writePhysical(gfn * 4096, new Uint8Array(4096));
    return gfn;
  }

  /** A new address space: its CR3, with four empty directories. */
  newSpace(): number {
    const gpa = this.frame() * 4096;
    for (let i = 0; i < 4; i++) this.set(gpa + i * 8, BigInt(this.frame() * 4096) | P);
    return gpa;
  }

  set(gpa: number, entry: bigint): void {
    this.domain.writeEntry(gpa, Number((entry >> 32n) & 0xffff_ffffn), Number(entry & 0xffff_ffffn));
  }

  get(gpa: number): bigint {
    const { high, low } = this.domain.readEntry(gpa);
    return (BigInt(high) << 32n) | BigInt(low);
  }

  /** Guest-physical address of the directory entry for an address. */
  directoryEntry(va: number, cr3 = this.cr3): number {
    const root = this.get(cr3 + (va >>> 30) * 8);
    return Number(root & 0xf_ffff_f000n) + ((va >>> 21) & 511) * 8;
  }

  /** Guest-physical address of the level-1 entry for an address; its table is made if need be. */
  entry(va: number, cr3 = this.cr3): number {
    const at = this.directoryEntry(va, cr3);
    if (!(this.get(at) & P)) this.set(at, BigInt(this.frame() * 4096) | P | W | U);
    return Number(this.get(at) & 0xf_ffff_f000n) + ((va >>> 12) & 511) * 8;
  }

  /** Maps a page; makes a frame when none is given. Returns the frame. */
  map(va: number, flags: bigint, gfn = this.frame(), cr3 = this.cr3): number {
    this.set(this.entry(va, cr3), BigInt(gfn) * 4096n | flags);
    return gfn;
  }

  /** What the CPU would be told of an access. Negative: -1 - error code of the guest's own #PF. */
  translate(va: number, access: 0 | 1 | 2, user: boolean): number {
    return this.vcpu.cpu.host.translate(va, access, user);
  }

  /** Error code of the guest's own #PF for an access, or -1 when it is allowed. */
  faultOf(va: number, access: 0 | 1 | 2, user: boolean): number {
    const answer = this.translate(va, access, user);
    return answer >= 0 ? -1 : -1 - answer;
  }
}
