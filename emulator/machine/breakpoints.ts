// SPDX-License-Identifier: Apache-2.0
/**
 * Debug registers and the breakpoints they set (SDM volume 3, 18.2): addresses that must not be executed,
 * bytes that must not be touched, ports. What a breakpoint costs stays with the pages it is set in: the TLB
 * holds no right to watched bytes, and blocks begin at watched instructions.
 *
 * @module
 */
import { TLB_INVALID } from "./layout.ts";

/** Bits of DR6. */
export const DebugStatus = { detected: 0x2000, step: 0x4000, task: 0x8000 } as const;
/** DR7: any access to a debug register raises #DB. */
export const GENERAL_DETECT = 0x2000;
const DR6_FIXED = 0xffff_0ff0 | 0, DR6_BITS = 0xe00f;
const DR7_FIXED = 0x400, DR7_BITS = 0xffff_23ff | 0;

/** What a breakpoint waits for, as DR7 encodes it; ports only with CR4.DE. */
const Kind = { execute: 0, write: 1, port: 2, access: 3 } as const;

interface Watch {
  readonly first: number;
  readonly length: number;
  /** Its bit in DR6. */
  readonly bit: number;
  readonly kind: number;
}

/** Rights that the TLB must not hold. */
export const Withheld = { write: 1, read: 2 } as const;

/** The debug registers of one CPU. */
export class Breakpoints {
  readonly #registers = new Int32Array([0, 0, 0, 0, 0, 0, DR6_FIXED, DR7_FIXED]);
  #watches: readonly Watch[] = [];
  #ports: readonly Watch[] = [];
  #executed: readonly Watch[] = [];
  /** Bits of DR6 that the instruction at hand has caused; delivered behind it. */
  hits = 0;
  /** Rights withheld from pages with watched bytes. */
  readonly withheld = new Map<number, number>();
  /** Data accesses must be shown to {@link Breakpoints.access}. */
  watching = false;
  /** The instructions or bytes that are watched are others now. */
  onExecutedChanged: () => void = () => {};
  onWatchedChanged: () => void = () => {};

  get(register: number): number {
    return this.#registers[register];
  }
  /** Takes a value as MOV to a debug register does; `ports`: CR4.DE is set. */
  set(register: number, value: number, ports: boolean): void {
    this.#registers[register] = register === 6
      ? (value & DR6_BITS) | DR6_FIXED
      : register === 7
      ? (value & DR7_BITS) | DR7_FIXED
      : value;
    if (register !== 6) this.#arm(ports);
  }
  /** Adds to DR6. */
  report(bits: number): void {
    this.#registers[6] |= bits;
  }
  /** CR4.DE changed, or DR7: finds out what is watched. */
  rearm(ports: boolean): void {
    this.#arm(ports);
  }

  #arm(ports: boolean): void {
    const control = this.#registers[7];
    const all: Watch[] = [];
    for (let i = 0; i < 4; i++) {
      if (!((control >> (2 * i)) & 3)) continue;
      const kind = (control >>> (16 + 4 * i)) & 3;
      if (kind === Kind.port && !ports) continue;
      const size = kind === Kind.execute ? 1 : [1, 2, 8, 4][(control >>> (18 + 4 * i)) & 3];
      all.push({ first: this.#registers[i] & -size, length: size, bit: 1 << i, kind });
    }
    const of = (...kinds: number[]) => all.filter(({ kind }) => kinds.includes(kind));
    const executed = of(Kind.execute), watches = of(Kind.write, Kind.access);
    this.#ports = of(Kind.port);
    const same = (a: readonly Watch[], b: readonly Watch[]) => JSON.stringify(a) === JSON.stringify(b);
    if (!same(executed, this.#executed)) {
      this.#executed = executed;
      this.onExecutedChanged();
    }
    if (same(watches, this.#watches)) return;
    this.#watches = watches;
    this.watching = watches.length > 0;
    this.withheld.clear();
    for (const { first, kind } of watches) {
      // Watched bytes are aligned, so they lie in one page; an access may begin in the page before.
      const page = first & -4096;
      const rights = kind === Kind.write ? Withheld.write : Withheld.write | Withheld.read;
      this.withheld.set(page, (this.withheld.get(page) ?? 0) | rights);
    }
    this.onWatchedChanged();
  }

  /** Bits of the breakpoints at an instruction. */
  at(linear: number): number {
    let bits = 0;
    for (const { first, bit } of this.#executed) if (first === linear) bits |= bit;
    return bits;
  }
  /** True when some instruction is watched. */
  get executing(): boolean {
    return this.#executed.length > 0;
  }
  /** Notes an access to data. */
  access(linear: number, size: number, write: boolean): void {
    for (const watch of this.#watches) {
      if (!write && watch.kind === Kind.write) continue;
      if (overlaps(watch, linear, size)) this.hits |= watch.bit;
    }
  }
  /** Notes an access to a port. */
  port(port: number, size: number): void {
    for (const watch of this.#ports) if (overlaps(watch, port, size)) this.hits |= watch.bit;
  }
}

function overlaps({ first, length }: Watch, at: number, size: number): boolean {
  return ((at - first) >>> 0) < length || ((first - at) >>> 0) < size;
}

/** The tag a TLB entry gets for a right, when its page has watched bytes. */
export function tagFor(withheld: number, right: number, tag: number): number {
  return withheld & right ? TLB_INVALID : tag;
}
