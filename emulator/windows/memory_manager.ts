// SPDX-License-Identifier: Apache-2.0
/**
 * Virtual memory of one process by the rules of Windows: reserve, commit, protect, free, query, views of
 * sections, guard pages and stacks, copy-on-write, and the resolution of page faults.
 *
 * Source: documentation of VirtualAlloc, VirtualFree, VirtualProtect, VirtualQuery and MapViewOfFile.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import type { AddressSpace } from "./address_space.ts";
import type { MemoryRegion } from "./api.ts";
import { alignUp } from "./bytes.ts";
import { GRANULARITY, Memory, Protect, SHARED_DATA, Status, USER_END, USER_START } from "./constants.ts";
import { partOf, regionOf } from "./memory_base.ts";
import type { FaultOutcome, MemoryBase } from "./memory_base.ts";
import * as rules from "./protection.ts";
import { Residency } from "./residency.ts";
import type { Section } from "./sections.ts";
import { Mm } from "./vad.ts";
import type { Vad, VadKind, VadTree } from "./vad.ts";

const STEP = GRANULARITY / PAGE_SIZE;
const FIRST_PAGE = USER_START / PAGE_SIZE;
const LAST_PAGE = SHARED_DATA / PAGE_SIZE;
/** Bits of a #PF error code. */
const ERROR_WRITE = 2;
const ERROR_FETCH = 16;
/** Largest ZeroBits of NtAllocateVirtualMemory. */
const MAX_ZERO_BITS = 21;

/** Virtual memory of one process. */
export class MemoryManager {
  private readonly resident: Residency;
  /** Called with the new limit when a stack grew. */
  onStackGrowth: (limit: number) => void = () => {};

  /** `anywhere`: DEP is off for this process. */
  constructor(
    private readonly base: MemoryBase,
    space: AddressSpace,
    readonly vads: VadTree,
    private anywhere: boolean,
  ) {
    this.resident = new Residency(base, space);
  }

  /** DEP is off: code runs in every page that can be read. */
  get executeAnywhere(): boolean {
    return this.anywhere;
  }
  set executeAnywhere(value: boolean) {
    this.anywhere = value;
    if (value) return;
    // What ran by that grace does no more.
    this.resident.each((vpn) => this.resident.writeEntry(vpn, this.codeOf(this.vads.find(vpn)!, vpn)));
  }

  /** Called with a page's address after its entry was changed or narrowed. */
  set onEntryChanged(call: (va: number) => void) {
    this.resident.onEntryChanged = call;
  }

  /** The code of a page: 0 when it is not committed. */
  private codeOf(vad: Vad, vpn: number): number {
    const index = vpn - vad.start;
    return vad.section && !vad.section.isCommitted(vad.sectionPage + index) ? 0 : vad.pages[index];
  }

  /** NtAllocateVirtualMemory; with `zeroBits` that many bits at the top of the address are 0. */
  allocate(base: number, size: number, type: number, protect: number, zeroBits = 0) {
    const failed = (status: number) => ({ status, base: 0, size: 0 });
    if (zeroBits > MAX_ZERO_BITS) return failed(Status.invalidParameter3);
    const wanted = type & ~Memory.topDown;
    const isReset = wanted === Memory.reset;
    if (!isReset && (wanted === 0 || (wanted & ~(Memory.commit | Memory.reserve)) !== 0)) {
      return failed(Status.invalidParameter5);
    }
    const code = rules.toMm(protect);
    if (code === undefined || rules.isCopyOnWrite(code)) return failed(Status.invalidPageProtection);
    if (base >= USER_END) return failed(Status.invalidParameter2);
    if (size === 0 || size > USER_END - base) return failed(Status.invalidParameter4);
    if (isReset) return this.reset(base, size);
    if (base === 0 || type & Memory.reserve) return this.reserve(base, size, type, code, zeroBits);
    return this.commit(base, size, code);
  }

  /** MEM_RESET: the content is not needed; the model keeps it. */
  private reset(base: number, size: number) {
    const start = Math.floor(base / PAGE_SIZE);
    const end = Math.ceil((base + size) / PAGE_SIZE) - 1;
    const vad = this.vads.find(start);
    if (!vad || vad.end < end) return { status: Status.conflictingAddresses, base: 0, size: 0 };
    return { status: Status.success, base: start * PAGE_SIZE, size: (end - start + 1) * PAGE_SIZE };
  }

  private reserve(base: number, size: number, type: number, code: number, zeroBits: number) {
    const count = Math.ceil(size / PAGE_SIZE);
    const top = (type & Memory.topDown) !== 0;
    let start: number | undefined;
    let pages = count;
    if (base === 0) start = this.findFree(count, top, zeroBits);
    else {
      start = (base - base % GRANULARITY) / PAGE_SIZE;
      pages = Math.ceil((base + size) / PAGE_SIZE) - start;
      if (start < FIRST_PAGE || !this.vads.isFree(start, start + pages - 1)) {
        return { status: Status.conflictingAddresses, base: 0, size: 0 };
      }
    }
    if (start === undefined) return { status: Status.noMemory, base: 0, size: 0 };
    const commit = (type & Memory.commit) !== 0 || (type & Memory.reserve) === 0;
    const status = this.addPrivate(start, pages, code, commit ? pages : 0);
    return { status, base: status ? 0 : start * PAGE_SIZE, size: status ? 0 : pages * PAGE_SIZE };
  }

  private findFree(pages: number, topDown: boolean, zeroBits = 0): number | undefined {
    const end = Math.min(LAST_PAGE, 2 ** (32 - zeroBits) / PAGE_SIZE);
    return topDown
      ? this.vads.highestFree(pages, STEP, FIRST_PAGE, end)
      : this.vads.lowestFree(pages, STEP, FIRST_PAGE, end);
  }

  /** A private range at a page number, its last `committed` pages committed. Returns a status. */
  addPrivate(start: number, pages: number, code: number, committed: number, stack = false): number {
    if (!this.base.ledger.charge(committed)) return Status.commitmentLimit;
    const codes = new Uint8Array(pages);
    codes.fill(Mm.committed | code, pages - committed);
    const vad: Vad = {
      start,
      end: start + pages - 1,
      kind: "private",
      protect: code,
      pages: codes,
      sectionPage: 0,
      stack,
    };
    if (this.vads.insert(vad)) return Status.success;
    this.base.ledger.used -= committed;
    return Status.insufficientResources;
  }

  /** A thread's stack, `skip` places of 64 KiB above the lowest: reserved, its top committed, a guard page below. Returns its range, or undefined. */
  addStack(
    reserve: number,
    commit: number,
    skip = 0,
  ): { low: number; high: number; limit: number } | undefined {
    const pages = alignUp(Math.max(reserve, 0x1_0000), GRANULARITY) / PAGE_SIZE;
    const committed = Math.min(Math.max(Math.ceil(commit / PAGE_SIZE), 1), pages - 3);
    let start = this.findFree(pages, false);
    if (start === undefined) return undefined;
    const higher = start + skip * STEP;
    if (this.vads.isFree(higher, higher + pages - 1)) start = higher;
    if (this.addPrivate(start, pages, Mm.readWrite, committed + 1, true) !== Status.success) return undefined;
    const vad = this.vads.find(start)!;
    vad.pages[pages - committed - 1] |= Mm.guard;
    const high = (start + pages) * PAGE_SIZE;
    return { low: start * PAGE_SIZE, high, limit: high - committed * PAGE_SIZE };
  }

  private commit(base: number, size: number, code: number) {
    const failed = (status: number) => ({ status, base: 0, size: 0 });
    const start = Math.floor(base / PAGE_SIZE);
    const end = Math.ceil((base + size) / PAGE_SIZE) - 1;
    const vad = this.vads.find(start);
    if (!vad || vad.end < end) return failed(Status.conflictingAddresses);
    const result = { status: Status.success, base: start * PAGE_SIZE, size: (end - start + 1) * PAGE_SIZE };
    if (vad.kind !== "private") {
      // The pages of a section made with SEC_RESERVE are committed for all its views; it was charged for them.
      if (!vad.section!.commit(vad.sectionPage + start - vad.start, end - start + 1)) {
        return failed(Status.alreadyCommitted);
      }
      return result;
    }
    let fresh = 0;
    for (let vpn = start; vpn <= end; vpn++) if (vad.pages[vpn - vad.start] === 0) fresh++;
    if (!this.base.ledger.charge(fresh)) return failed(Status.commitmentLimit);
    for (let vpn = start; vpn <= end; vpn++) this.setCode(vad, vpn, Mm.committed | code);
    return result;
  }

  /** NtFreeVirtualMemory. */
  free(base: number, size: number, type: number) {
    const failed = (status: number) => ({ status, base: 0, size: 0 });
    if (type !== Memory.decommit && type !== Memory.release) return failed(Status.invalidParameter4);
    if (base >= USER_END) return failed(Status.invalidParameter2);
    if (size > USER_END - base) return failed(Status.invalidParameter3);
    let start = Math.floor(base / PAGE_SIZE);
    const vad = this.vads.find(start);
    if (!vad) return failed(Status.memoryNotAllocated);
    if (vad.kind !== "private") return failed(Status.unableToDeleteSection);
    let end = Math.ceil((base + size) / PAGE_SIZE) - 1;
    if (size === 0) {
      if (start !== vad.start) return failed(Status.freeVmNotAtBase);
      start = vad.start;
      end = vad.end;
    }
    if (end > vad.end) return failed(Status.unableToFreeVm);
    this.discard(vad, start, end);
    const result = { status: Status.success, base: start * PAGE_SIZE, size: (end - start + 1) * PAGE_SIZE };
    if (type === Memory.decommit) return result;
    this.vads.remove(vad);
    if (start > vad.start) this.vads.insert(partOf(vad, vad.start, start - 1));
    if (end < vad.end) this.vads.insert(partOf(vad, end + 1, vad.end));
    return result;
  }

  /** Takes pages of a private range back: entries, frames, commitment. */
  private discard(vad: Vad, start: number, end: number): void {
    for (let vpn = start; vpn <= end; vpn++) {
      if (vad.pages[vpn - vad.start] === 0) continue;
      vad.pages[vpn - vad.start] = 0;
      this.base.ledger.used--;
      this.resident.drop(vpn);
    }
  }

  /** NtProtectVirtualMemory. */
  protect(base: number, size: number, protect: number): { status: number; old: number } {
    const failed = (status: number) => ({ status, old: 0 });
    const code = rules.toMm(protect);
    if (code === undefined) return failed(Status.invalidPageProtection);
    if (base >= USER_END) return failed(Status.invalidParameter2);
    if (size === 0 || size > USER_END - base) return failed(Status.invalidParameter3);
    const start = Math.floor(base / PAGE_SIZE);
    const end = Math.ceil((base + size) / PAGE_SIZE) - 1;
    const vad = this.vads.find(start);
    if (!vad || vad.end < end) return failed(Status.conflictingAddresses);
    if (rules.isCopyOnWrite(code) && vad.kind === "private") return failed(Status.invalidPageProtection);
    if (vad.kind === "mapped" && !rules.allows(vad.protect, code)) return failed(Status.sectionProtection);
    let charge = 0;
    for (let vpn = start; vpn <= end; vpn++) {
      const before = this.codeOf(vad, vpn);
      if (before === 0) return failed(Status.notCommitted);
      charge += this.chargeOf(vad, vpn, this.codeFor(vad, vpn, code)) - this.chargeOf(vad, vpn, before);
    }
    if (!this.base.ledger.charge(charge)) return failed(Status.commitmentLimit);
    const old = rules.fromMm(vad.pages[start - vad.start]);
    for (let vpn = start; vpn <= end; vpn++) {
      this.setCode(vad, vpn, Mm.committed | this.codeFor(vad, vpn, code));
    }
    return { status: Status.success, old };
  }

  /** The code a page gets when `code` is asked for: a shared image page becomes copy-on-write. */
  private codeFor(vad: Vad, vpn: number, code: number): number {
    if (this.resident.isOwn(vpn)) return rules.afterCopy(code);
    return vad.kind === "image" || rules.isCopyOnWrite(vad.protect) ? rules.beforeCopy(code) : code;
  }

  /** Pages of commitment a page of a shared range stands for: one when it is or may become a copy. */
  private chargeOf(vad: Vad, vpn: number, code: number): number {
    if (vad.kind === "private") return code === 0 ? 0 : 1;
    return rules.isCopyOnWrite(code) || this.resident.isOwn(vpn) ? 1 : 0;
  }

  private setCode(vad: Vad, vpn: number, code: number): void {
    if (vad.pages[vpn - vad.start] === code) return;
    vad.pages[vpn - vad.start] = code;
    this.resident.writeEntry(vpn, code);
  }

  /** VirtualQuery. */
  query(address: number): MemoryRegion {
    const vpn = Math.floor(address / PAGE_SIZE);
    const vad = this.vads.find(vpn);
    if (!vad) {
      const next = this.vads.ranges.find((range) => range.start > vpn);
      const end = next ? next.start : USER_END / PAGE_SIZE;
      return regionOf(vpn, vpn, Math.max(end - vpn, 1), Memory.free, 0, 0, Protect.noAccess);
    }
    const code = this.codeOf(vad, vpn);
    let end = vpn;
    while (end < vad.end && this.codeOf(vad, end + 1) === code) end++;
    const type = { private: Memory.private, mapped: Memory.mapped, image: Memory.image }[vad.kind];
    const state = code === 0 ? Memory.reserve : Memory.commit;
    const protect = code === 0 ? 0 : rules.fromMm(code);
    return regionOf(vpn, vad.start, end - vpn + 1, state, type, rules.fromMm(vad.protect), protect);
  }

  /**
   * Maps pages of a section. `base` 0 lets the model choose. `code` is the MM code of data views; images
   * bring their own. Image pages that have content are mapped at once, others at the first touch.
   */
  mapSection(section: Section, kind: VadKind, base: number, from: number, pages: number, code: number) {
    const failed = (status: number) => ({ status, base: 0, size: 0 });
    if (pages <= 0 || from + pages > section.pages) return failed(Status.invalidViewSize);
    let start: number | undefined = base / PAGE_SIZE;
    if (base === 0) start = this.findFree(pages, false);
    else if (base % PAGE_SIZE || start < FIRST_PAGE || start + pages > USER_END / PAGE_SIZE) {
      return failed(Status.invalidParameter3);
    } else if (!this.vads.isFree(start, start + pages - 1)) return failed(Status.conflictingAddresses);
    if (start === undefined) return failed(Status.noMemory);
    const codes = new Uint8Array(pages).fill(Mm.committed | code);
    if (section.protects) {
      for (let i = 0; i < pages; i++) codes[i] = Mm.committed | section.protects[from + i];
    }
    const charge = codes.reduce((sum, one) => sum + (rules.isCopyOnWrite(one) ? 1 : 0), 0);
    if (!this.base.ledger.charge(charge)) return failed(Status.commitmentLimit);
    const vad: Vad = {
      start,
      end: start + pages - 1,
      kind,
      protect: kind === "image" ? Mm.executeWriteCopy : code,
      pages: codes,
      section,
      sectionPage: from,
    };
    if (!this.vads.insert(vad)) {
      this.base.ledger.used -= charge;
      return failed(Status.insufficientResources);
    }
    section.retain();
    if (kind === "image") {
      for (let i = 0; i < pages; i++) {
        const gfn = section.frame(from + i, false);
        if (gfn === undefined) continue;
        this.resident.share(start + i, gfn, codes[i]);
      }
    }
    return { status: Status.success, base: start * PAGE_SIZE, size: pages * PAGE_SIZE };
  }

  /** NtUnmapViewOfSection: any address inside the view. */
  unmap(address: number): number {
    const vad = this.vads.find(Math.floor(address / PAGE_SIZE));
    if (!vad || vad.kind === "private") return Status.notMappedView;
    this.removeShared(vad);
    return Status.success;
  }

  private removeShared(vad: Vad): void {
    for (let vpn = vad.start; vpn <= vad.end; vpn++) {
      this.base.ledger.used -= this.chargeOf(vad, vpn, vad.pages[vpn - vad.start]);
      this.resident.drop(vpn);
    }
    this.vads.remove(vad);
    vad.section!.release();
  }

  /** Frees everything: the process ends. */
  clear(): void {
    for (const vad of [...this.vads.ranges]) {
      if (vad.kind === "private") {
        this.discard(vad, vad.start, vad.end);
        this.vads.remove(vad);
      } else this.removeShared(vad);
    }
  }

  /** What an access with this #PF error code at an address comes to; resolves it when it is the kernel's. */
  fault(address: number, errorCode: number): FaultOutcome {
    const vpn = Math.floor(address / PAGE_SIZE);
    const vad = this.vads.find(vpn);
    const code = vad ? this.codeOf(vad, vpn) : 0;
    if (!vad || code === 0 || (code & 0x1f) === Mm.noAccess) return "violation";
    if (rules.isBarred(code)) return this.guardTouched(vad, vpn, code);
    if (errorCode & ERROR_WRITE && !rules.isWritable(code)) return "violation";
    const fetch = (errorCode & ERROR_FETCH) !== 0;
    if (fetch && !rules.isExecutable(code) && !this.anywhere) return "violation";
    const next = this.resident.materialise(vad, vpn, code, (errorCode & ERROR_WRITE) !== 0);
    if (next === undefined) return "noMemory";
    vad.pages[vpn - vad.start] = next;
    if (!this.resident.writeEntry(vpn, next)) return "noMemory";
    if (fetch && !rules.isExecutable(code)) this.resident.clearNoExecute(vpn);
    return "resolved";
  }

  private guardTouched(vad: Vad, vpn: number, code: number): FaultOutcome {
    this.setCode(vad, vpn, code & ~Mm.guard);
    if (!vad.stack) return "guard";
    this.onStackGrowth(vpn * PAGE_SIZE);
    // The lowest page of a stack is never given out, and the one above it is left for the handler.
    const below = vpn - 1;
    if (below <= vad.start + 1) return "stackOverflow";
    if (vad.pages[below - vad.start] === 0) {
      if (!this.base.ledger.charge(1)) return "stackOverflow";
      this.setCode(vad, below, Mm.committed | Mm.readWrite | Mm.guard);
    }
    return this.fault(vpn * PAGE_SIZE, 0);
  }

  /** True when every page of the range allows the access without an exception. */
  accessible(address: number, length: number, write: boolean): boolean {
    if (length === 0) return true;
    if (address + length > USER_END) return false;
    const last = Math.floor((address + length - 1) / PAGE_SIZE);
    for (let vpn = Math.floor(address / PAGE_SIZE); vpn <= last; vpn++) {
      const vad = this.vads.find(vpn);
      const code = vad ? this.codeOf(vad, vpn) : 0;
      const stackGuard = vad?.stack && (code & 0x1f) !== Mm.noAccess && code & Mm.guard;
      if (code === 0 || (rules.isBarred(code) && !stackGuard)) return false;
      if (write && !rules.isWritable(code) && !stackGuard) return false;
    }
    return true;
  }
}
