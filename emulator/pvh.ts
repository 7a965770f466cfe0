// SPDX-License-Identifier: Apache-2.0
/**
 * Starts a guest image that is an ELF file as Xen starts PVH guests, in the model of Xen: no Windows model, only
 * what the image brings. The same file boots on real Xen.
 *
 * @module
 */
import { InputError } from "../core/ports.ts";
import type { Hypervisor } from "../core/ports.ts";
import { Bridge } from "../xen/bridge.ts";
import { createXenModel, machineFramesFor } from "./hypervisor/mod.ts";
import { PAGE_SIZE, Register, Segment } from "./machine/types.ts";

/** Where Xen's debug console is (port 0xe9). */
const CONSOLE_PORT = 0xe9;
/** Most characters of the console that are kept. */
const CONSOLE_LENGTH = 65536;
const MIB = 1024 * 1024;
/** Frames of a MiB. */
const FRAMES = MIB / PAGE_SIZE;
/** Guest memory in MiB: default and most. */
const MEMORY = { default: 32, most: 1024 } as const;
/** XEN_ELFNOTE_PHYS32_ENTRY, and `struct hvm_start_info`: magic, version, bytes. */
const ENTRY_NOTE = 18, START_INFO = { magic: 0x336e_c578, version: 1, size: 56 } as const;
const PT_LOAD = 1, PT_NOTE = 4;

/** A part of the image: where it goes, what stands there, and how long it is (zeros behind). */
interface Part {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** What a loader needs of a PVH image. */
interface PvhImage {
  readonly parts: readonly Part[];
  readonly entry: number;
  /** First address behind all parts. */
  readonly end: number;
}

/** How a guest ended: what it did last, in words. */
export interface PvhEnd {
  readonly reason: "shutdown" | "crashed" | "unsupported";
  readonly detail: string;
}

/** A running guest. */
export interface PvhGuest {
  /** dom0's bridge; the owner closes it. */
  readonly hypervisor: Hypervisor;
  readonly domain: number;
  /** What it wrote to Xen's debug console. */
  readonly console: string;
  readonly instructions: number;
  /**
   * Runs on for at most so many instructions and delivers the VIRQ; its end once it has ended. While the monitor
   * holds it, it does not get on: somebody has to fetch and acknowledge.
   */
  run(instructions: number): PvhEnd | undefined;
}

function refuse(reason: string): never {
  throw new InputError(`Cannot start the guest: ${reason}`);
}

/** Reads a 32-bit ELF file for x86; its physical addresses count. Throws InputError for what is none. */
function readImage(file: Uint8Array, memory: number): PvhImage {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 52 || view.getUint32(0) !== 0x7f454c46) refuse("it is not an ELF file");
  if (file[4] !== 1 || file[5] !== 1 || view.getUint16(18, true) !== 3) {
    refuse("it is not a little-endian 32-bit ELF file for x86");
  }
  const table = view.getUint32(28, true), size = view.getUint16(42, true), count = view.getUint16(44, true);
  if (size < 32 || table + size * count > file.length) refuse("its program headers are past its end");
  const parts: Part[] = [];
  let entry: number | undefined;
  for (let at = table; at < table + size * count; at += size) {
    const [type, offset, , address, stored, length] = [0, 4, 8, 12, 16, 20].map((field) =>
      view.getUint32(at + field, true)
    );
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    if (stored > file.length - offset || offset > file.length) {
      refuse(`the segment at offset 0x${offset.toString(16)} is past the end of the file`);
    }
    const bytes = file.subarray(offset, offset + stored);
    if (type === PT_NOTE) entry ??= entryNote(bytes);
    else if (length < stored || address + length > memory) {
      refuse(`the segment at 0x${address.toString(16)} (${length} bytes) does not fit into ${memory} bytes`);
    } else parts.push({ address, bytes, length });
  }
  if (entry === undefined) refuse("it has no note of Xen that says where PVH guests begin");
  return { parts, entry, end: Math.max(...parts.map(({ address, length }) => address + length)) };
}

/** The value of the entry note among ELF notes, each of three words, a padded name and a padded value. */
function entryNote(notes: Uint8Array): number | undefined {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  for (let at = 0; at + 12 <= notes.length;) {
    const nameSize = view.getUint32(at, true), valueSize = view.getUint32(at + 4, true);
    const value = at + 12 + Math.ceil(nameSize / 4) * 4;
    if (view.getUint32(at + 8, true) === ENTRY_NOTE && valueSize >= 4 && value + 4 <= notes.length) {
      return view.getUint32(value, true);
    }
    at = value + Math.ceil(valueSize / 4) * 4;
  }
  return undefined;
}

/** What a PVH guest finds at EBX: no command line, no modules, no memory map (`public/arch-x86/hvm/start_info.h`). */
function startInfo(): Uint8Array {
  const info = new DataView(new ArrayBuffer(START_INFO.size));
  info.setUint32(0, START_INFO.magic, true);
  info.setUint32(4, START_INFO.version, true);
  return new Uint8Array(info.buffer);
}

/**
 * Loads the image into a domain of its own and puts its vCPU into the state of PVH's start (Xen's
 * `docs/misc/pvh.pandoc`): 32-bit protected mode, paging off, flat segments, EBX at the start info.
 *
 * @param options.memory MiB of guest memory; default 32.
 */
export function startPvhGuest(file: Uint8Array, options: { readonly memory?: number } = {}): PvhGuest {
  const mib = options.memory ?? MEMORY.default;
  if (!Number.isInteger(mib) || mib < 1 || mib > MEMORY.most) {
    refuse(`${mib} MiB of memory were asked for, 1 to ${MEMORY.most} are possible`);
  }
  const image = readImage(file, mib * MIB);
  const guestFrames = mib * FRAMES;
  const xen = createXenModel({ frames: machineFramesFor(guestFrames) });
  const domain = xen.createDomain({ guestFrames });
  for (const { address, bytes } of image.parts) domain.writePhysical(address, bytes);
  const infoAt = Math.ceil(image.end / PAGE_SIZE) * PAGE_SIZE;
  if (infoAt + START_INFO.size <= mib * MIB) domain.writePhysical(infoAt, startInfo());

  const [vcpu] = domain.vcpus, { cpu } = vcpu;
  cpu.cr0 = 0x11;
  cpu.setSegment(Segment.cs, 0, 0, 0xffff_ffff, 0xc09b);
  for (const segment of [Segment.ds, Segment.es, Segment.ss, Segment.fs, Segment.gs]) {
    cpu.setSegment(segment, 0, 0, 0xffff_ffff, 0xc093);
  }
  cpu.setRegister(Register.ebx, infoAt);
  cpu.eflags = 2;
  cpu.eip = image.entry;

  let text = "", end: PvhEnd | undefined;
  domain.onPort = {
    read: (_port, size) => size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1,
    write: (port, _size, value) => {
      if (port === CONSOLE_PORT && text.length < CONSOLE_LENGTH) text += String.fromCharCode(value & 0xff);
    },
  };
  const hypervisor = new Bridge(xen.transport);
  return {
    hypervisor,
    domain: domain.id,
    get console() {
      return text;
    },
    get instructions() {
      return cpu.instructions;
    },
    run(instructions) {
      if (!end) {
        const exit = vcpu.run(instructions);
        const at = `EIP 0x${cpu.eip.toString(16)}`;
        // No interrupt can wake it: there are none.
        if (exit.kind === "halt") end = { reason: "shutdown", detail: `it halted, ${at}` };
        else if (exit.kind === "shutdown") end = { reason: "crashed", detail: `${exit.detail}, ${at}` };
        else if (exit.kind === "unsupported") {
          end = { reason: "unsupported", detail: `${exit.bytes.toHex()}, ${at}` };
        } else if (exit.kind === "vmcall") end = { reason: "unsupported", detail: `a hypercall, ${at}` };
      }
      xen.deliverVirq();
      return end;
    },
  };
}
