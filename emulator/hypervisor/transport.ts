// SPDX-License-Identifier: Apache-2.0
/**
 * dom0's side of the model: memory that hypercalls reach by address, the hypercall itself, and the VIRQ.
 *
 * @module
 */
import type { HypercallBuffer, HypercallTransport } from "../../xen/transport.ts";
import { PAGE_SIZE } from "../machine/types.ts";

/** The domain that makes the hypercalls. */
const DOM0 = 0;
/** dom0's buffers lie above this address, each with an unmapped page behind it, so that overruns are seen. */
const FIRST_ADDRESS = 0x7f00_0000_0000;
/** Most memory one buffer may have. */
const LARGEST_BUFFER = 256 * 1024 * 1024;

/** The transport of the test bed. */
export class ModelTransport implements HypercallTransport {
  readonly name = "test bed";
  readonly #hypercall: (caller: number, command: number, argument: bigint) => number;
  readonly #buffers = new Map<number, Uint8Array>();
  readonly #listeners = new Set<() => void>();
  #nextAddress = FIRST_ADDRESS;
  #closed = false;

  constructor(hypercall: (caller: number, command: number, argument: bigint) => number) {
    this.#hypercall = hypercall;
  }

  /** Throws RangeError for sizes that are no positive integer, or too large. */
  allocate(size: number): HypercallBuffer {
    if (!Number.isSafeInteger(size) || size <= 0 || size > LARGEST_BUFFER) {
      throw new RangeError(`Cannot allocate a hypercall buffer of ${size} bytes: 1 to ${LARGEST_BUFFER} go`);
    }
    const bytes = new Uint8Array(Math.ceil(size / PAGE_SIZE) * PAGE_SIZE);
    const address = this.#nextAddress;
    this.#nextAddress += bytes.length + PAGE_SIZE;
    this.#buffers.set(address, bytes);
    return { bytes, address: BigInt(address), release: () => void this.#buffers.delete(address) };
  }

  call(command: number, argument: bigint): number {
    if (this.#closed) throw new Error(`Cannot make hypercall ${command}: the transport is closed`);
    return this.#hypercall(DOM0, command, argument);
  }

  onVirq(listener: () => void): () => void {
    // A wrapper of its own, so that a listener given twice is called twice and stopped once.
    const entry = () => listener();
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  close(): void {
    this.#closed = true;
    this.#buffers.clear();
    this.#listeners.clear();
  }

  /** Calls the listeners, once each. */
  deliver(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** dom0's memory at an address; undefined unless the whole range lies in one buffer. */
  memory(address: number, length: number): Uint8Array | undefined {
    for (const [base, bytes] of this.#buffers) {
      if (address >= base && address + length <= base + bytes.length) {
        return bytes.subarray(address - base, address - base + length);
      }
    }
    return undefined;
  }
}
