// SPDX-License-Identifier: Apache-2.0
/**
 * The model of Xen as the guest's model sees it: a domain with physical memory and virtual CPUs.
 *
 * @module
 */
import type { Cpu, CpuExit } from "../machine/types.ts";
import type { HypercallTransport } from "../../xen/transport.ts";

/** Thrown by {@link Vcpu.readVirtual} and {@link Vcpu.writeVirtual} when the guest's own tables refuse. */
export class GuestPageFault extends Error {
  /** The class's name, as errors show it. */
  override name = "GuestPageFault";
  /** `address` as CR2 would hold it, `errorCode` as #PF would push it. */
  constructor(readonly address: number, readonly errorCode: number) {
    super(
      `Cannot access guest address 0x${address.toString(16)}: page fault, error code 0x${
        errorCode.toString(16)
      }`,
    );
  }
}

/** A virtual CPU: a CPU whose translations come from shadow page tables. */
export interface Vcpu {
  /** Number within the domain, from 0. */
  readonly index: number;
  /** The CPU behind it; registers may be read and set while it does not run. */
  readonly cpu: Cpu;
  /** Runs the CPU; exits that are the hypervisor's own business are handled inside. */
  run(limit: number): CpuExit;
  /** True while the monitor holds the vCPU (data centre full): run returns `held` at once. */
  readonly held: boolean;
  /** Loads CR3 as the guest kernel's MOV CR3 would: flush, exit to the hypervisor, monitor told. */
  loadCr3(value: number): void;
  /**
   * Reads or writes guest-virtual memory in the current address space, with ring 0's rights, through the
   * shadow tables exactly as the guest kernel's own instructions would (faults that are the hypervisor's are
   * handled, dirty tracking sees the write). Throws {@link GuestPageFault} for faults that are the guest's.
   * While the monitor holds the vCPU the access still completes.
   */
  readVirtual(va: number, length: number): Uint8Array;
  /** See {@link Vcpu.readVirtual}; a refused page leaves nothing half written. */
  writeVirtual(va: number, bytes: Uint8Array): void;
}

/** Devices at I/O ports. A port without a device reads as ones. */
export interface PortHandler {
  /** IN; the value has `size` bytes. */
  read(port: number, size: 1 | 2 | 4, vcpu: Vcpu): number;
  /** OUT. */
  write(port: number, size: 1 | 2 | 4, value: number, vcpu: Vcpu): void;
}

/** A domain: guest-physical memory, vCPUs, shadow paging. */
export interface Domain {
  /** What answers IN and OUT; none at first. */
  onPort?: PortHandler | undefined;
  /** Domain number, from 1; never used twice. */
  readonly id: number;
  /** Guest frames from 0 to this number (exclusive) exist. */
  readonly guestFrames: number;
  /** Its virtual CPUs, by number. */
  readonly vcpus: readonly Vcpu[];
  /** Reads guest-physical memory. Throws RangeError outside it. */
  readPhysical(gpa: number, length: number): Uint8Array;
  /**
   * Writes guest-physical memory. Frames that are shadowed page tables are validated as Xen does, code
   * decoded from the frame is dropped. It is how a loader or a device fills memory: dirty tracking of the
   * monitor does not see it (a real DMA is not seen either).
   */
  writePhysical(gpa: number, bytes: Uint8Array): void;
  /** Writes one 64-bit PAE entry (high, low) at an 8-aligned address as one guest-table write. */
  writeEntry(gpa: number, high: number, low: number): void;
  /** Reads one 64-bit PAE entry at an 8-aligned address. */
  readEntry(gpa: number): { high: number; low: number };
}

/** The model of Xen: domains, the monitor inside it, and the bridge's transport for dom0. */
export interface XenModel {
  /** Throws RangeError when frames or CPUs do not suffice, with what is free. */
  createDomain(options: { readonly guestFrames: number; readonly vcpus?: number }): Domain;
  /** Frees a domain; its vCPUs must not run any more. Throws RangeError when there is none of that number. */
  destroyDomain(id: number): void;
  /** dom0's way in. */
  readonly transport: HypercallTransport;
  /** True while a VIRQ was raised and not yet taken by {@link XenModel.deliverVirq}. */
  readonly virqPending: boolean;
  /** Delivers a pending VIRQ to the transport's listeners. */
  deliverVirq(): void;
}
