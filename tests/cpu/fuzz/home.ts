// SPDX-License-Identifier: Apache-2.0
/**
 * Where a fuzzed guest runs: on a bare CPU, whose host maps guest frames by a map that changes, or as a domain of
 * the model of Xen with the monitor watching. One machine serves many cases.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Model } from "../../../emulator/hypervisor/model.ts";
import type { Domain, Vcpu } from "../../../emulator/hypervisor/types.ts";
import type { InterpretedCpu } from "../../../emulator/machine/cpu.ts";
import { AREA_BASE, AREA_SIZE, FRAMES_BASE } from "../../../emulator/machine/layout.ts";
import type { LinearMemory } from "../../../emulator/machine/memory.ts";
import { createMachine, tierDefaults } from "../../../emulator/machine/mod.ts";
import { Access, type Cpu, type CpuExit, type Machine, type Tier } from "../../../emulator/machine/types.ts";
import { Bridge } from "../../../xen/bridge.ts";
import { Random } from "../random.ts";
import { FRAMES, type FuzzCase } from "./make_case.ts";

/** Kind of home. */
export type Home = "bare CPU" | "watched guest under shadow paging";

/** What a case did, to be compared between tiers. */
export interface FuzzRun {
  readonly lines: readonly string[];
  readonly end: string;
  readonly instructions: number;
}

const PAGE = 4096;
/** Frames of the machine beyond the guest's, which stay as they are on the bare CPU. */
const GUARD = 16;
/** Entries after which a block is hot. */
const HOT = 2;
/** Frames of the pool of shadow tables: few, so that it is recycled. */
const SHADOW_FRAMES = 24;
const CASES_OF_A_DOMAIN = 64;

function hash(bytes: Uint8Array): number {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  let h = 0x811c_9dc5 | 0;
  for (let i = 0; i < words.length; i++) h = Math.imul(h ^ words[i], 0x0100_0193);
  return h;
}

/** One home; see the module. */
export class FuzzHome {
  readonly name: string;
  readonly #home: Home;
  readonly #tier: Tier;
  #machine!: Machine;
  #cpu!: Cpu;
  #model: Model | undefined;
  #domain: Domain | undefined;
  #neighbour: Domain | undefined;
  #vcpu: Vcpu | undefined;
  #bridge: Bridge | undefined;
  /** Cases until the machine is made anew. */
  #left = 0;
  #compiled = 0;
  #outside = 0;
  /** Rights of pages on the bare CPU that are not all. */
  readonly #rights = new Map<number, number>();

  constructor(home: Home, tier: Tier) {
    this.#home = home;
    this.#tier = tier;
    this.name = `${home}, ${tier}`;
  }
  /** Regions compiled so far. */
  get compiled(): number {
    return this.#compiled + ((this.#cpu as InterpretedCpu)?.jitStatistics?.compiled ?? 0);
  }

  #make(): void {
    if (this.#left-- > 0) return;
    this.#left = CASES_OF_A_DOMAIN;
    if (this.#machine) {
      this.checkOutside();
      this.#compiled = this.compiled;
    }
    const before = { ...tierDefaults };
    Object.assign(tierDefaults, { tier: this.#tier, hotEntries: HOT });
    try {
      const shadowed = this.#home !== "bare CPU";
      const frames = shadowed ? 2 * (FRAMES + SHADOW_FRAMES) + 80 : FRAMES + GUARD;
      this.#machine = createMachine({ frames, cpus: 3 });
      if (shadowed) {
        const model = this.#model = new Model(this.#machine, SHADOW_FRAMES);
        this.#domain = model.createDomain({ guestFrames: FRAMES });
        this.#neighbour = model.createDomain({ guestFrames: FRAMES });
        for (let i = 0; i < FRAMES; i++) {
          this.#neighbour.writePhysical(i * PAGE, new Uint8Array(PAGE).fill(0x40 + i));
        }
        this.#vcpu = this.#domain.vcpus[0];
        this.#cpu = this.#vcpu.cpu;
        this.#bridge = new Bridge(model.transport, { ringPages: 8, ringEvents: 64 });
        this.#bridge.watch(this.#domain.id, [{ kind: "all", pattern: "" }]);
        this.#domain.onPort = {
          read: (port, size) => (port * 0x0101_0101 >>> 0) % 2 ** (8 * size),
          write: () => {},
        };
      } else {
        this.#cpu = this.#machine.cpus[0];
        for (let i = FRAMES; i < FRAMES + GUARD; i++) this.#machine.memory.frame(i).fill(0x40 + i);
      }
    } finally {
      Object.assign(tierDefaults, before);
    }
    this.#outside = this.#hashOutside();
  }

  /** Everything that no guest may change: other CPUs' areas, frames that are not its own. */
  #hashOutside(): number {
    const { bytes } = this.#machine.memory as LinearMemory;
    let h = hash(bytes.subarray(0, AREA_BASE));
    const own = this.#home === "bare CPU" ? 0 : this.#machine.cpus.indexOf(this.#cpu);
    for (let i = 0; i < 3; i++) {
      if (i === own) continue;
      const area = AREA_BASE + i * AREA_SIZE;
      h = Math.imul(h, 31) ^ hash(bytes.subarray(area, area + 0x2_0000));
    }
    if (this.#neighbour) {
      for (let i = 0; i < FRAMES; i++) {
        h = Math.imul(h, 31) ^ hash(this.#neighbour.readPhysical(i * PAGE, PAGE).slice());
      }
    } else {h = Math.imul(h, 31) ^
        hash(bytes.subarray(FRAMES_BASE + FRAMES * PAGE, FRAMES_BASE + (FRAMES + GUARD) * PAGE));}
    return h;
  }
  /** Fails when a byte outside of the guest's memory is not what it was. */
  checkOutside(): void {
    assert.equal(
      this.#hashOutside(),
      this.#outside,
      `${this.name}: bytes outside of the guest's memory changed`,
    );
  }

  #bareHost(r: Random): void {
    this.#rights.clear();
    for (let i = r.below(12); i > 0; i--) this.#rights.set(r.below(FRAMES), r.below(8));
    const other = r.below(FRAMES);
    this.#cpu.host = {
      translate: (va, access, user) => {
        const page = va >>> 12;
        // The identity, once more a megabyte above, and nothing beyond.
        const frame = page < FRAMES
          ? page
          : page - 256 >= 0 && page - 256 < FRAMES
          ? (page - 256) ^ (other & 1)
          : -1;
        const rights = frame < 0 ? 0 : this.#rights.get(frame) ?? 7;
        const needed = access === Access.read ? 1 : access === Access.write ? 2 : 4;
        if (rights & needed) return frame * 8 + rights;
        return -1 - ((rights ? 1 : 0) | (access === Access.write ? 2 : 0) | (user ? 4 : 0));
      },
      controlRegisterWritten: () => {},
      invalidatePage: () => {},
      portRead: (port, size) => (port * 0x0101_0101 >>> 0) % 2 ** (8 * size),
      portWrite: () => {},
    };
  }

  #run(limit: number): CpuExit {
    return this.#vcpu ? this.#vcpu.run(limit) : this.#cpu.run(limit);
  }
  #memory(): number {
    if (this.#domain) return hash(this.#domain.readPhysical(0, FRAMES * PAGE).slice());
    const { bytes } = this.#machine.memory as LinearMemory;
    return hash(bytes.subarray(FRAMES_BASE, FRAMES_BASE + FRAMES * PAGE));
  }
  /** dom0 takes what the monitor has. */
  #drain(lines: string[]): void {
    const bridge = this.#bridge, domain = this.#domain;
    if (!bridge || !domain) return;
    for (const event of bridge.fetch(domain.id, 1000)) {
      lines.push(`${event.kind} ${event.va} ${event.gfn} ${event.snapshot !== 0}`);
      bridge.acknowledge(domain.id, event.sequence);
    }
  }

  /** Runs a case. Throws whatever the CPU or the model throws. */
  run(fuzz: FuzzCase): FuzzRun {
    this.#make();
    const cpu = this.#cpu, lines: string[] = [];
    const between = new Random(fuzz.seed ^ 0x5a5a_5a5a);
    if (this.#domain) this.#domain.writePhysical(0, fuzz.memory);
    else {
      this.#bareHost(between);
      for (let i = 0; i < FRAMES; i++) {
        this.#machine.memory.frame(i).set(fuzz.memory.subarray(i * PAGE, (i + 1) * PAGE));
        cpu.frameWritten(i, 0, PAGE);
      }
    }
    cpu.flushAll();
    fuzz.enter(cpu);
    const begin = cpu.instructions;
    let exit: CpuExit = { kind: "budget" };
    for (const limit of fuzz.slices) {
      exit = this.#run(limit);
      this.#drain(lines);
      lines.push(this.#state(exit, begin));
      this.#happen(between, cpu);
    }
    lines.push(`memory ${this.#memory()}`);
    return { lines, end: exit.kind, instructions: cpu.instructions - begin };
  }
  #state(exit: CpuExit, begin: number): string {
    const cpu = this.#cpu;
    const hex = (n: number) => n.toString(16);
    const registers = Array.from({ length: 8 }, (_, i) => hex(cpu.getRegister(i)));
    const selectors = Array.from(
      { length: 6 },
      (_, i) => `${hex(cpu.selector(i))}:${hex(cpu.segmentBase(i))}`,
    );
    return [
      exit.kind,
      cpu.instructions - begin,
      `eip ${hex(cpu.eip)} flags ${hex(cpu.eflags)} cpl ${cpu.cpl}`,
      `cr ${hex(cpu.cr0)} ${hex(cpu.cr2)} ${hex(cpu.cr3)} ${hex(cpu.cr4)} dr6 ${
        hex(cpu.getDebugRegister(6))
      }`,
      ...registers,
      ...selectors,
    ].join(" ");
  }
  /** What the host does between runs. */
  #happen(r: Random, cpu: Cpu): void {
    if (r.oneIn(6)) cpu.flushAll();
    if (r.oneIn(6)) cpu.flushPage(r.below(FRAMES) * PAGE);
    if (r.oneIn(8)) cpu.setDebugRegister(7, r.word());
    if (r.oneIn(30)) {
      cpu.raise(r.pick([32, 0x80, 14, 13]), r.oneIn(2) ? r.below(32) : undefined);
      // A CPU that shut down on it stays so.
      this.#left = 0;
    }
    if (r.oneIn(4) && !this.#domain) {
      const frame = r.below(FRAMES);
      this.#rights.set(frame, r.below(8));
      cpu.flushFrame(frame);
    }
    if (r.oneIn(6) && this.#vcpu) this.#vcpu.loadCr3(cpu.cr3);
  }
}
