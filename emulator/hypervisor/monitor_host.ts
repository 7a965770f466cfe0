// SPDX-License-Identifier: Apache-2.0
/**
 * Hosts the monitor's WebAssembly module: what Xen's glue does in C, done for the model. The interface is
 * `xen/monitor/umbra_monitor.h`.
 *
 * @module
 */

import { type FrameMemory, PAGE_SIZE } from "../machine/types.ts";

/** Xen's error numbers that the model gives to the monitor. */
export const ESRCH = 3;
export const EFAULT = 14;
export const EINVAL = 22;

/** Word offsets in `struct umbra_access`; 64-bit fields have their low half at the offset given. */
export const AccessWord = {
  domain: 0,
  vcpu: 1,
  errorCode: 2,
  flags: 3,
  va: 4,
  guestEntry: 6,
  oldShadowEntry: 8,
  newShadowEntry: 10,
  gfn: 12,
  mfn: 14,
  eip: 16,
  esp: 17,
  eflags: 18,
  cs: 19,
  eax: 20,
  ecx: 21,
  edx: 22,
  ebx: 23,
  ebp: 24,
  esi: 25,
  edi: 26,
  reserved: 27,
  oldGuestEntry: 28,
  reserved2: 30,
} as const;
const ACCESS_WORDS = 32;

/** UMBRA_ACCESS_NO_VA and UMBRA_ACCESS_OTHER_SPACE. */
export const AccessFlag = { noAddress: 1, otherSpace: 2 } as const;

const NO_FRAME = 0xffff_ffff;

/** A domain, as the monitor's imports need it. */
export interface MonitoredDomain {
  /** True for machine frames of this domain. */
  owns(mfn: number): boolean;
  readonly memory: FrameMemory;
  /** Machine frame, or -1. */
  machineFrame(gfn: number): number;
  readonly vcpuCount: number;
  /** CR3, GDT base and TSC of a vCPU; undefined when there is none of that number. */
  vmcs(vcpu: number): { readonly cr3: number; readonly gdtBase: number; readonly tsc: number } | undefined;
  revokeWrite(mfn: number): void;
  revokeMappings(mfn: number): void;
  revokeSpace(cr3: number): void;
  hold(vcpu: number): void;
  release(vcpu: number): void;
}

/** Everything around the monitor that is not a domain. */
export interface MonitorHome {
  domain(id: number): MonitoredDomain | undefined;
  raiseVirq(): void;
  /** Memory of the hypercall's caller, or undefined when the range is not all its own. */
  callerMemory(address: number, length: number): Uint8Array | undefined;
}

interface Exports {
  readonly memory: WebAssembly.Memory;
  umbra_init(): void;
  umbra_exchange(): number;
  umbra_domain_create(domain: number): number;
  umbra_domain_destroy(domain: number): void;
  umbra_cr3_loaded(domain: number, vcpu: number): void;
  umbra_fault(access: number): number;
  umbra_filter(access: number): void;
  umbra_entry_removed(access: number): void;
  umbra_hypercall(caller: number, command: number, argumentLow: number, argumentHigh: number): number;
}

/** The monitor, instantiated. */
export class MonitorHost {
  readonly #exports: Exports;
  readonly #exchange: number;
  readonly #views: Views;
  #access: Uint32Array;

  /** Throws when the bytes are not the monitor's module. */
  constructor(wasm: Uint8Array<ArrayBuffer>, home: MonitorHome) {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm), {
      env: imports(home, () => this.#views),
    });
    this.#exports = instance.exports as unknown as Exports;
    this.#views = new Views(this.#exports.memory);
    this.#exports.umbra_init();
    this.#exchange = this.#exports.umbra_exchange() >>> 0;
    this.#access = this.#view();
  }

  /** The one `struct umbra_access`, as words; take it anew for each call (the memory may have grown). */
  get access(): Uint32Array {
    // A grown memory detaches the old buffer.
    if (this.#access.length === 0) this.#access = this.#view();
    return this.#access;
  }

  /** Throws when the monitor has no memory for it. */
  domainCreated(domain: number): void {
    const result = this.#exports.umbra_domain_create(domain);
    if (result < 0) {
      throw new Error(`Cannot create domain ${domain}: the monitor refused it, error ${-result}`);
    }
  }

  domainDestroyed(domain: number): void {
    this.#exports.umbra_domain_destroy(domain);
  }

  cr3Loaded(domain: number, vcpu: number): void {
    this.#exports.umbra_cr3_loaded(domain, vcpu);
  }

  /** The fault in {@link access}: true when the vCPU is held and nothing is to be written. */
  fault(): boolean {
    return this.#exports.umbra_fault(this.#exchange) !== 0;
  }

  /** The new entry in {@link access} may come back narrowed. */
  filter(): void {
    this.#exports.umbra_filter(this.#exchange);
  }

  entryRemoved(): void {
    this.#exports.umbra_entry_removed(this.#exchange);
  }

  /** 0 or more, or a negative error number. */
  hypercall(caller: number, command: number, argument: bigint): number {
    return this.#exports.umbra_hypercall(
      caller,
      command,
      Number(argument & 0xffff_ffffn),
      Number((argument >> 32n) & 0xffff_ffffn),
    );
  }

  #view(): Uint32Array {
    return new Uint32Array(this.#exports.memory.buffer, this.#exchange, ACCESS_WORDS);
  }
}

/** The module's memory as bytes and words, made anew when it has grown (that detaches the old buffer). */
class Views {
  #bytes: Uint8Array;
  #words: Uint32Array;

  constructor(readonly memory: WebAssembly.Memory) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
  }

  get bytes(): Uint8Array {
    if (this.#bytes.length === 0) this.#bytes = new Uint8Array(this.memory.buffer);
    return this.#bytes;
  }

  get words(): Uint32Array {
    if (this.#words.length === 0) this.#words = new Uint32Array(this.memory.buffer);
    return this.#words;
  }
}

/** Longest aligned read that is done word by word, without making a view: pointers and entries. */
const WORDWISE = 16;

/** The imports of module "env". None of them calls back into the module. */
function imports(home: MonitorHome, views: () => Views): Record<string, WebAssembly.ImportValue> {
  const address = (low: number, high: number) => (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
  return {
    read_frame(id: number, mfn: number, offset: number, buffer: number, length: number): number {
      const domain = home.domain(id);
      mfn >>>= 0;
      offset >>>= 0;
      buffer >>>= 0;
      length >>>= 0;
      if (!domain?.owns(mfn)) return -ESRCH;
      if (offset + length > PAGE_SIZE) return -EINVAL;
      if (length <= WORDWISE && ((offset | buffer | length) & 3) === 0) {
        const { words } = views();
        for (let at = 0; at < length; at += 4) {
          words[(buffer + at) >>> 2] = domain.memory.readWord(mfn, offset + at);
        }
        return 0;
      }
      const frame = domain.memory.frame(mfn);
      views().bytes.set(length === PAGE_SIZE ? frame : frame.subarray(offset, offset + length), buffer);
      return 0;
    },
    gfn_to_mfn(domain: number, gfn: number): number {
      const mfn = home.domain(domain)?.machineFrame(gfn >>> 0) ?? -1;
      return mfn < 0 ? NO_FRAME : mfn;
    },
    vcpu_count: (domain: number): number => home.domain(domain)?.vcpuCount ?? 0,
    vcpu_cr3: (domain: number, vcpu: number): number => home.domain(domain)?.vmcs(vcpu >>> 0)?.cr3 ?? 0,
    vcpu_gdt_base: (domain: number, vcpu: number): number =>
      home.domain(domain)?.vmcs(vcpu >>> 0)?.gdtBase ?? 0,
    vcpu_tsc(domain: number, vcpu: number, result: number): void {
      const tsc = home.domain(domain)?.vmcs(vcpu >>> 0)?.tsc ?? 0;
      const { words } = views();
      words[result >>> 2] = tsc >>> 0;
      words[(result >>> 2) + 1] = Math.floor(tsc / 0x1_0000_0000) >>> 0;
    },
    revoke_write: (domain: number, mfn: number): void => home.domain(domain)?.revokeWrite(mfn >>> 0),
    revoke_mappings: (domain: number, mfn: number): void => home.domain(domain)?.revokeMappings(mfn >>> 0),
    revoke_space: (domain: number, cr3: number): void => home.domain(domain)?.revokeSpace(cr3 >>> 0),
    vcpu_hold: (domain: number, vcpu: number): void => home.domain(domain)?.hold(vcpu >>> 0),
    vcpu_release: (domain: number, vcpu: number): void => home.domain(domain)?.release(vcpu >>> 0),
    raise_virq: (): void => home.raiseVirq(),
    copy_from_caller(buffer: number, low: number, high: number, length: number): number {
      const source = home.callerMemory(address(low, high), length >>> 0);
      if (!source) return -EFAULT;
      views().bytes.set(source, buffer >>> 0);
      return 0;
    },
    copy_to_caller(low: number, high: number, buffer: number, length: number): number {
      buffer >>>= 0;
      const target = home.callerMemory(address(low, high), length >>> 0);
      if (!target) return -EFAULT;
      target.set(views().bytes.subarray(buffer, buffer + (length >>> 0)));
      return 0;
    },
  };
}
