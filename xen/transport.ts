// SPDX-License-Identifier: Apache-2.0
/**
 * How hypercalls travel. A real dom0 has one transport (an ioctl on privcmd), the test bed another (a call
 * into the monitor's WebAssembly module); both carry the same bytes of `abi.ts`.
 *
 * @module
 */

/** Memory of the calling domain that the hypervisor can reach, with the address to put into a hypercall. */
export interface HypercallBuffer {
  /** The bytes; the same memory the hypervisor reads and writes. */
  readonly bytes: Uint8Array;
  /** Address of the first byte in the calling domain. */
  readonly address: bigint;
  release(): void;
}

/** A way to make hypercalls and to hear of the monitor's VIRQ. */
export interface HypercallTransport {
  /** What answers, in words (`test bed`, `Xen 4.17.5`). */
  readonly name: string;
  /** Memory for arguments and pages; `size` in bytes, rounded up to whole pages. */
  allocate(size: number): HypercallBuffer;
  /** Issues the monitor's hypercall; returns its result: 0 or more, or a negative Xen errno. */
  call(command: number, argument: bigint): number;
  /** Calls back at each VIRQ of the monitor; returns a function that stops it. */
  onVirq(listener: () => void): () => void;
  close(): void;
}
