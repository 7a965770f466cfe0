// SPDX-License-Identifier: Apache-2.0
/**
 * A virtual CPU: a CPU with shadow paging around it, and the guest kernel's model reaching guest memory through
 * the same paging.
 *
 * @module
 */
import {
  Access,
  type Cpu,
  type CpuExit,
  type CpuHost,
  PAGE_SIZE,
  TRANSLATE_HOLD,
  type Translation,
} from "../machine/types.ts";
import type { GuestWalk } from "./guest_walk.ts";
import type { VcpuPaging } from "./report.ts";
import type { ShadowRoot } from "./shadow.ts";
import { GuestPageFault, type PortHandler, type Vcpu } from "./types.ts";
import { Vmcs } from "./vmcs.ts";

const HELD: CpuExit = { kind: "held" };
/** Most bytes one call of readVirtual or writeVirtual moves. */
const LARGEST_COPY = 64 * 1024 * 1024;

/** What a vCPU needs of its domain. */
export interface VcpuHome {
  translate(vcpu: VcpuPaging, va: number, access: Access, user: boolean): Translation;
  invalidate(vcpu: VcpuPaging, va: number): void;
  /** Control registers changed: shadow paging follows; `root`: CR3 may be another one, the monitor is told. */
  controlChanged(vcpu: VcpuPaging, root: boolean): void;
  /** The live bytes of a machine frame. */
  frame(mfn: number): Uint8Array;
  /** Bytes of a frame were changed by the kernel's model. */
  frameWritten(mfn: number, offset: number, length: number): void;
  readonly onPort: PortHandler | undefined;
}

/** The model's vCPU. */
export class VcpuModel implements Vcpu, VcpuPaging, CpuHost {
  readonly vmcs: Vmcs;
  readonly #home: VcpuHome;
  #held = false;

  constructor(
    readonly index: number,
    readonly cpu: Cpu,
    readonly walk: GuestWalk,
    readonly root: ShadowRoot,
    home: VcpuHome,
  ) {
    this.#home = home;
    this.vmcs = new Vmcs(cpu);
    cpu.host = this;
  }

  get held(): boolean {
    return this.#held;
  }

  /**
   * The monitor's vcpu_hold. The monitor holds a vCPU in its own shadow fault, which answers the CPU with a
   * hold too, so the CPU needs no other stop.
   */
  hold(): void {
    this.#held = true;
  }

  /** The monitor's vcpu_release. */
  release(): void {
    this.#held = false;
  }

  run(limit: number): CpuExit {
    this.#follow();
    if (this.#held) return HELD;
    return this.cpu.run(limit);
  }

  loadCr3(value: number): void {
    this.cpu.cr3 = value >>> 0;
    this.#home.controlChanged(this, true);
  }

  readVirtual(va: number, length: number): Uint8Array {
    this.#probe(va, length, Access.read);
    const bytes = new Uint8Array(length);
    this.#pieces(va, length, (at, done, size) => {
      const mfn = this.#frameFor(at, Access.read);
      const offset = at % PAGE_SIZE;
      bytes.set(this.#home.frame(mfn).subarray(offset, offset + size), done);
    });
    return bytes;
  }

  writeVirtual(va: number, bytes: Uint8Array): void {
    // All pages first: a refused one leaves nothing half written.
    this.#probe(va, bytes.length, Access.write);
    this.#pieces(va, bytes.length, (at, done, size) => {
      const mfn = this.#frameFor(at, Access.write);
      const offset = at % PAGE_SIZE;
      this.#home.frame(mfn).set(bytes.subarray(done, done + size), offset);
      this.#home.frameWritten(mfn, offset, size);
    });
  }

  translate(va: number, access: Access, user: boolean): Translation {
    return this.#home.translate(this, va, access, user);
  }

  controlRegisterWritten(register: 0 | 3 | 4, _value: number): void {
    this.#home.controlChanged(this, register === 3);
  }

  directoryPointersValid(cr3: number): boolean {
    return this.walk.pointersValid(cr3);
  }

  invalidatePage(va: number): void {
    this.#home.invalidate(this, va);
  }

  portRead(port: number, size: 1 | 2 | 4): number {
    // An empty bus reads as ones.
    return this.#home.onPort?.read(port, size, this) ?? (size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1);
  }

  portWrite(port: number, size: 1 | 2 | 4, value: number): void {
    this.#home.onPort?.write(port, size, value, this);
  }

  /** Takes in control registers that were set from outside. */
  #follow(): void {
    if (!this.walk.changed) return;
    this.cpu.flushAll();
    this.#home.controlChanged(this, true);
  }

  #probe(va: number, length: number, access: Access): void {
    if (!Number.isInteger(length) || length < 0 || length > LARGEST_COPY) {
      throw new RangeError(
        `Cannot access ${length} bytes at guest address 0x${
          (va >>> 0).toString(16)
        }: 0 to ${LARGEST_COPY} go`,
      );
    }
    this.#follow();
    this.#pieces(va, length, (at) => void this.#frameFor(at, access));
  }

  /** Calls back for each page's part of a range: address, bytes before it, bytes in it. Wraps at 4 GiB. */
  #pieces(va: number, length: number, piece: (at: number, done: number, size: number) => void): void {
    for (let done = 0; done < length;) {
      const at = (va + done) >>> 0;
      const size = Math.min(length - done, PAGE_SIZE - at % PAGE_SIZE);
      piece(at, done, size);
      done += size;
    }
  }

  /** Machine frame for an access with ring 0's rights. Throws GuestPageFault. */
  #frameFor(va: number, access: Access): number {
    const answer = this.#home.translate(this, va, access, false);
    // The monitor waits for room before a page is captured, and that is at fetches only.
    if (answer === TRANSLATE_HOLD) {
      throw new Error(`Cannot access guest address 0x${va.toString(16)}: the monitor held a data access`);
    }
    if (answer < 0) throw new GuestPageFault(va, -1 - answer);
    return Math.floor(answer / 8);
  }
}
