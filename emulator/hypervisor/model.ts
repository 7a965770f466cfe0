// SPDX-License-Identifier: Apache-2.0
/**
 * The hypervisor as a whole: who has which domain, CPU and frame, the monitor, and the VIRQ.
 *
 * @module
 */
import { asset } from "../../core/assets.ts";
import type { HypercallTransport } from "../../xen/transport.ts";
import type { Machine } from "../machine/types.ts";
import { DomainModel } from "./domain.ts";
import { MonitorHost } from "./monitor_host.ts";
import { MachineFrames } from "./p2m.ts";
import { ModelTransport } from "./transport.ts";
import type { Domain, XenModel } from "./types.ts";

/** Fewest shadow tables with which any one instruction gets through. */
const FEWEST_SHADOW_FRAMES = 16;

/** Shadow tables of a domain of that size: a sixteenth of its frames, 64 to 1024. */
export function shadowFramesFor(guestFrames: number): number {
  return Math.max(64, Math.min(1024, guestFrames >>> 4));
}

/** See {@link XenModel}. */
export class Model implements XenModel {
  readonly transport: HypercallTransport;
  readonly #transport: ModelTransport;
  readonly #machine: Machine;
  readonly #frames: MachineFrames;
  readonly #monitor: MonitorHost;
  readonly #domains = new Map<number, DomainModel>();
  readonly #shadowFrames: number | undefined;
  #nextDomain = 1;
  #nextCpu = 0;
  #virq = false;

  constructor(machine: Machine, shadowFrames?: number) {
    if (shadowFrames !== undefined && shadowFrames < FEWEST_SHADOW_FRAMES) {
      throw new RangeError(
        `Cannot make a shadow pool of ${shadowFrames} frames: at least ${FEWEST_SHADOW_FRAMES} are needed`,
      );
    }
    this.#machine = machine;
    this.#shadowFrames = shadowFrames;
    this.#frames = new MachineFrames(
      machine.memory.frames,
      (frame) => void machine.memory.frame(frame).fill(0),
    );
    this.#monitor = new MonitorHost(asset("monitor.wasm"), {
      domain: (id) => this.#domains.get(id),
      raiseVirq: () => void (this.#virq = true),
      callerMemory: (address, length) => this.#transport.memory(address, length),
    });
    this.transport = this.#transport = new ModelTransport((caller, command, argument) =>
      this.#monitor.hypercall(caller, command, argument)
    );
  }

  createDomain(options: { readonly guestFrames: number; readonly vcpus?: number }): Domain {
    const { guestFrames } = options;
    const vcpus = options.vcpus ?? 1;
    if (!Number.isInteger(guestFrames) || guestFrames < 1 || guestFrames > 0x10_0000) {
      throw new RangeError(`Cannot create a domain of ${guestFrames} frames: 1 to 1048576 go`);
    }
    if (!Number.isInteger(vcpus) || vcpus < 1 || this.#nextCpu + vcpus > this.#machine.cpus.length) {
      throw new RangeError(
        `Cannot create a domain of ${vcpus} vCPUs: ${this.#machine.cpus.length - this.#nextCpu} of ` +
          `${this.#machine.cpus.length} CPUs are free`,
      );
    }
    const domain = new DomainModel({
      id: this.#nextDomain,
      guestFrames,
      shadowFrames: this.#shadowFrames ?? shadowFramesFor(guestFrames),
      cpus: this.#machine.cpus.slice(this.#nextCpu, this.#nextCpu + vcpus),
      memory: this.#machine.memory,
      machine: this.#frames,
      monitor: this.#monitor,
    });
    this.#nextCpu += vcpus;
    this.#nextDomain++;
    this.#domains.set(domain.id, domain);
    this.#monitor.domainCreated(domain.id);
    return domain;
  }

  destroyDomain(id: number): void {
    const domain = this.#domains.get(id);
    if (!domain) throw new RangeError(`Cannot destroy domain ${id}: there is none of that number`);
    domain.destroy();
    this.#domains.delete(id);
  }

  get virqPending(): boolean {
    return this.#virq;
  }

  deliverVirq(): void {
    if (!this.#virq) return;
    this.#virq = false;
    this.#transport.deliver();
  }
}
