// SPDX-License-Identifier: Apache-2.0
/**
 * The transport of a real dom0: hypercalls through `/dev/xen/privcmd`, memory that Xen can reach through
 * `/dev/xen/hypercall`, the VIRQ through `/dev/xen/evtchn`, all by calls into the C library.
 *
 * Numbers and layouts are those of Linux's public headers `xen/privcmd.h` and `xen/evtchn.h`, and of Xen's
 * `public/xen.h`.
 *
 * @module
 */
import { InputError } from "../core/ports.ts";
import type { HypercallBuffer, HypercallTransport } from "./transport.ts";

/** Xen's numbers: the monitor's hypercall and VIRQ (VIRQ_ARCH_4), and xen_version. */
const HYPERCALL_UMBRA = 43n;
const VIRQ_UMBRA = 20;
const HYPERCALL_XEN_VERSION = 17n;
const XENVER_VERSION = 0n, XENVER_EXTRAVERSION = 1n;
const EXTRAVERSION_BYTES = 16;

/** `_IOC(_IOC_NONE, type, number, size)`. */
const ioc = (type: string, number: number, size: number): bigint =>
  BigInt(size << 16 | type.charCodeAt(0) << 8 | number);
/** `struct privcmd_hypercall`: number and five arguments of 64 bits. */
const HYPERCALL_BYTES = 48;
const IOCTL_PRIVCMD_HYPERCALL = ioc("P", 0, HYPERCALL_BYTES);
/** `struct ioctl_evtchn_bind_virq`: the VIRQ's number. */
const IOCTL_EVTCHN_BIND_VIRQ = ioc("E", 0, 4);

const O_RDWR = 2, O_NONBLOCK = 0o4000, O_CLOEXEC = 0o2000000;
const PROT_READ_WRITE = 3, MAP_SHARED = 1;
const POLLIN = 1;
const EPERM = 1, ENOENT = 2, ENXIO = 6, EACCES = 13, ENODEV = 19;
const PAGE = 4096;

const LIBC = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  // In a thread of its own: it waits.
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
  __errno_location: { parameters: [], result: "pointer" },
} as const;

type Libc = Deno.DynamicLibrary<typeof LIBC>;

/** Where the devices are. */
export interface PrivcmdPaths {
  readonly privcmd: string;
  readonly hypercall: string;
  readonly evtchn: string;
}

const PATHS: PrivcmdPaths = {
  privcmd: "/dev/xen/privcmd",
  hypercall: "/dev/xen/hypercall",
  evtchn: "/dev/xen/evtchn",
};

const MODULES: Readonly<Record<keyof PrivcmdPaths, string>> = {
  privcmd: "xen-privcmd",
  hypercall: "xen-privcmd",
  evtchn: "xen-evtchn",
};

/** {@link HypercallTransport} of a dom0 on real Xen. */
export class PrivcmdTransport implements HypercallTransport {
  readonly name: string;
  readonly #libc: Libc;
  readonly #errno: Deno.UnsafePointerView;
  readonly #privcmd: number;
  readonly #memory: number;
  readonly #paths: PrivcmdPaths;
  readonly #request = new BigUint64Array(HYPERCALL_BYTES / 8);
  readonly #listeners = new Set<() => void>();
  #events: { readonly evtchn: number; readonly wake: number; readonly ended: Promise<void> } | undefined;

  /** Throws {@link InputError} when this is no domain of Xen, or the devices may not be used. */
  constructor(paths: PrivcmdPaths = PATHS) {
    this.#paths = paths;
    this.#libc = Deno.dlopen("libc.so.6", LIBC);
    this.#errno = new Deno.UnsafePointerView(this.#libc.symbols.__errno_location()!);
    const open: number[] = [];
    try {
      open.push(this.#privcmd = this.#open("privcmd"));
      open.push(this.#memory = this.#open("hypercall"));
      this.name = `Xen ${this.#version()}`;
    } catch (error) {
      for (const descriptor of open) this.#libc.symbols.close(descriptor);
      this.#libc.close();
      throw error;
    }
  }

  allocate(size: number): HypercallBuffer {
    const bytes = Math.max(1, Math.ceil(size / PAGE)) * PAGE;
    const at = this.#libc.symbols.mmap(null, BigInt(bytes), PROT_READ_WRITE, MAP_SHARED, this.#memory, 0n);
    const address = Deno.UnsafePointer.value(at);
    if (at === null || BigInt(address) === 0xffff_ffff_ffff_ffffn) {
      throw new Error(`Cannot allocate ${bytes} bytes for hypercalls: errno ${this.#errno.getInt32()}`);
    }
    return {
      bytes: new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(at, bytes)),
      address: BigInt(address),
      release: () => {
        this.#libc.symbols.munmap(at, BigInt(bytes));
      },
    };
  }

  call(command: number, argument: bigint): number {
    return this.#hypercall(HYPERCALL_UMBRA, BigInt(command), argument);
  }

  /** The first listener binds the VIRQ; it stays bound until {@link close}. */
  onVirq(listener: () => void): () => void {
    this.#events ??= this.#bind();
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    const { close, write } = this.#libc.symbols;
    this.#listeners.clear();
    close(this.#privcmd);
    close(this.#memory);
    if (!this.#events) {
      this.#libc.close();
      return;
    }
    // The waiting thread ends first: what it uses must not go before it.
    write(this.#events.wake, new BigUint64Array([1n]), 8n);
    this.#events.ended.then(() => this.#libc.close());
  }

  #open(device: keyof PrivcmdPaths, flags = 0): number {
    const path = this.#paths[device];
    const descriptor = this.#libc.symbols.open(
      new TextEncoder().encode(`${path}\0`),
      O_RDWR | O_CLOEXEC | flags,
    );
    if (descriptor >= 0) return descriptor;
    const errno = this.#errno.getInt32();
    const reasons: Readonly<Record<number, string>> = {
      [ENOENT]: `there is no ${path}: this is not dom0 of a Xen host, or its module ${
        MODULES[device]
      } is not loaded`,
      [ENODEV]: `${path} answers nobody: this is not a domain of Xen`,
      [ENXIO]: `${path} answers nobody: this is not a domain of Xen`,
      [EACCES]: `permission denied for ${path}: run umbra as root`,
      [EPERM]: `permission denied for ${path}: run umbra as root`,
    };
    throw new InputError(`Cannot talk to Xen: ${reasons[errno] ?? `opening ${path} failed, errno ${errno}`}`);
  }

  /** Result of the hypercall, or its negative errno. */
  #hypercall(number: bigint, ...args: readonly bigint[]): number {
    this.#request.fill(0n);
    this.#request[0] = number;
    args.forEach((argument, i) => this.#request[i + 1] = argument);
    const result = this.#libc.symbols.ioctl(this.#privcmd, IOCTL_PRIVCMD_HYPERCALL, this.#request);
    return result >= 0 ? result : -this.#errno.getInt32();
  }

  #version(): string {
    const version = this.#hypercall(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0n);
    if (version < 0) {
      throw new InputError(
        `Cannot talk to Xen: asking for its version failed (errno ${-version}); dom0's root may ask`,
      );
    }
    const buffer = this.allocate(EXTRAVERSION_BYTES);
    try {
      const plain = `${version >>> 16}.${version & 0xffff}`;
      if (this.#hypercall(HYPERCALL_XEN_VERSION, XENVER_EXTRAVERSION, buffer.address) < 0) return plain;
      const extra = buffer.bytes.subarray(0, EXTRAVERSION_BYTES);
      const end = extra.indexOf(0);
      return plain + new TextDecoder().decode(end < 0 ? extra : extra.subarray(0, end));
    } finally {
      buffer.release();
    }
  }

  #bind(): { readonly evtchn: number; readonly wake: number; readonly ended: Promise<void> } {
    const { symbols } = this.#libc;
    const evtchn = this.#open("evtchn", O_NONBLOCK);
    const port = symbols.ioctl(evtchn, IOCTL_EVTCHN_BIND_VIRQ, new Uint32Array([VIRQ_UMBRA]));
    if (port < 0) {
      const errno = this.#errno.getInt32();
      symbols.close(evtchn);
      throw new InputError(
        `Cannot hear the monitor: binding VIRQ ${VIRQ_UMBRA} failed (errno ${errno}); ` +
          "another umbra may be listening",
      );
    }
    const wake = symbols.eventfd(0, O_NONBLOCK | O_CLOEXEC);
    if (wake < 0) {
      const errno = this.#errno.getInt32();
      symbols.close(evtchn);
      throw new Error(`Cannot hear the monitor: eventfd failed, errno ${errno}`);
    }
    return { evtchn, wake, ended: this.#listen(evtchn, wake) };
  }

  async #listen(evtchn: number, wake: number): Promise<void> {
    const { read, write, close, poll } = this.#libc.symbols;
    // Two of `struct pollfd`: descriptor, events wanted and events that came.
    const waiting = new DataView(new ArrayBuffer(16));
    const ports = new Uint8Array(4 * 64);
    while (true) {
      [evtchn, wake].forEach((descriptor, i) => {
        waiting.setInt32(8 * i, descriptor, true);
        waiting.setInt16(8 * i + 4, POLLIN, true);
        waiting.setInt16(8 * i + 6, 0, true);
      });
      await poll(new Uint8Array(waiting.buffer), 2n, -1);
      if (waiting.getInt16(14, true) !== 0) break;
      const got = Number(read(evtchn, ports, BigInt(ports.length)));
      if (got <= 0) continue;
      // Writing a port back unmasks it: done first, so that what comes meanwhile is heard.
      write(evtchn, ports.subarray(0, got), BigInt(got));
      for (const listener of [...this.#listeners]) listener();
    }
    close(evtchn);
    close(wake);
  }
}
