// SPDX-License-Identifier: Apache-2.0
/**
 * The calls programs make of the model's functions, in order, for the report. Looking at a call changes nothing
 * in the guest: texts are read past the CPU, from pages that are present.
 *
 * @module
 */
import type { TracedCall } from "../../core/ports.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import type { Domain } from "../hypervisor/types.ts";
import { Pte } from "./address_space.ts";
import type { KernelCall } from "./api_call.ts";
import { get32 } from "./bytes.ts";
import { USER_END } from "./constants.ts";
import type { Thread } from "./process.ts";

/** Calls kept, and arguments and characters of each. */
const MOST_CALLS = 20_000;
const MOST_ARGUMENTS = 12;
const LONGEST_TEXT = 96;
/** Fewer characters are more likely a number than a text. */
const SHORTEST_TEXT = 3;
/** Where the kernel sends a thread that raised an exception. */
const EXCEPTION = "KiUserExceptionDispatcher";

type Recorded = { -readonly [K in keyof TracedCall]: TracedCall[K] };

/** See the module's description. */
export class CallTrace {
  readonly calls: Recorded[] = [];
  /** Calls that were made, kept or not. */
  made = 0;

  constructor(private readonly domain: Domain) {}

  /**
   * Takes in a call that begins; the record to complete with its result. Undefined for calls that are not the
   * sample's own code's, and when there are too many.
   */
  begin(call: KernelCall, args: readonly number[]): Recorded | undefined {
    const { thread, service } = call;
    if (!thread.ofSample) return undefined;
    let from = get32(this.#peek(thread, call.stack, 4), 0);
    if (service.name === "LdrInitializeThunk") return undefined;
    if (service.name === EXCEPTION) {
      // Entered by the kernel with the address of the EXCEPTION_RECORD: its code and address are what matters.
      const exception = this.#peek(thread, from, 16);
      args = [get32(exception, 0), get32(exception, 12)];
      from = 0;
    } else if (
      thread.process.modules.some(({ image, base, size }) => image && from >= base && from < base + size)
    ) {
      return undefined;
    }
    this.made++;
    if (this.calls.length >= MOST_CALLS) return undefined;
    const { cpu } = call.kernel.vcpu;
    const record: Recorded = {
      instructions: cpu.instructions,
      tsc: cpu.instructions + cpu.tscOffset,
      pid: thread.process.pid,
      tid: thread.tid,
      from,
      dll: service.dll,
      name: service.name,
      args: args.slice(0, MOST_ARGUMENTS).map((value) => this.#argument(thread, service.name, value)),
      result: undefined,
    };
    this.calls.push(record);
    return record;
  }

  #argument(thread: Thread, name: string, value: number): TracedCall["args"][number] {
    const text = value >= 0x1_0000 && value < USER_END ? this.#text(thread, value, name) : undefined;
    return text === undefined ? { value } : { value, text };
  }

  /** The text at an address, wide or narrow as it looks (a function's last letter decides when both do). */
  #text(thread: Thread, address: number, name: string): string | undefined {
    const wide = readText(this.#peek(thread, address, 2 * (LONGEST_TEXT + 1)), 2);
    if (wide !== undefined && !name.endsWith("A")) return wide;
    return readText(this.#peek(thread, address, LONGEST_TEXT + 1), 1) ?? wide;
  }

  /** Bytes of user memory as far as its pages are present, then zeros. */
  #peek(thread: Thread, address: number, length: number): Uint8Array {
    const space = thread.process.user?.space;
    const out = new Uint8Array(length);
    let done = 0;
    while (space && done < length && address + done < USER_END) {
      const at = address + done;
      const { low, high } = space.get(at);
      const gfn = (low >>> 12) + (high & 0xf) * 0x10_0000;
      if (!(low & Pte.present) || gfn >= this.domain.guestFrames) break;
      const piece = Math.min(length - done, PAGE_SIZE - at % PAGE_SIZE);
      out.set(this.domain.readPhysical(gfn * PAGE_SIZE + at % PAGE_SIZE, piece), done);
      done += piece;
    }
    return out;
  }
}

/** Printable text that ends with a zero or at the limit; undefined when it is none. */
function readText(bytes: Uint8Array, unit: 1 | 2): string | undefined {
  let text = "";
  for (let at = 0; at + unit <= bytes.length; at += unit) {
    const code = unit === 2 ? bytes[at] | bytes[at + 1] << 8 : bytes[at];
    if (code === 0) return text.length >= SHORTEST_TEXT ? text : undefined;
    if (code < 0x20 ? code !== 9 && code !== 10 && code !== 13 : code >= 0x7f) return undefined;
    text += String.fromCharCode(code);
    if (text.length === LONGEST_TEXT) return `${text}…`;
  }
  return undefined;
}
