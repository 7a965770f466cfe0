// SPDX-License-Identifier: Apache-2.0
/**
 * What a hypervisor finds of a vCPU in its VMCS guest-state area (SDM volume 3C, 25.4), read from the CPU.
 *
 * @module
 */
import type { Cpu } from "../machine/types.ts";

/** Guest state of one vCPU; always current while the guest does not run. */
export class Vmcs {
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  get cr0(): number {
    return this.#cpu.cr0;
  }

  get cr3(): number {
    return this.#cpu.cr3;
  }

  get cr4(): number {
    return this.#cpu.cr4;
  }

  get efer(): number {
    return this.#cpu.efer;
  }

  get gdtBase(): number {
    return this.#cpu.gdtr.base;
  }

  get gdtLimit(): number {
    return this.#cpu.gdtr.limit;
  }

  /** Base in the hidden part of a segment register (`Segment`). */
  segmentBase(segment: number): number {
    return this.#cpu.segmentBase(segment);
  }

  /** The guest's time-stamp counter. */
  get tsc(): number {
    return this.#cpu.instructions + this.#cpu.tscOffset;
  }
}
