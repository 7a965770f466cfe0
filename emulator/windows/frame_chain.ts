// SPDX-License-Identifier: Apache-2.0
/**
 * The chain of exception registration records at fs:[0], and which of their handlers may be called.
 *
 * @module
 */
import { PAGE_SIZE } from "../machine/types.ts";
import type { KernelCall } from "./api_call.ts";
import { get32 } from "./bytes.ts";
import { Memory } from "./constants.ts";
import type { LoadedModule } from "./modules.ts";
import { Directory } from "./pe.ts";
import { isExecutable, toMm } from "./protection.ts";
import { Teb } from "./structures.ts";
import { GuestFault } from "./user_memory.ts";

/** End of the chain. */
export const CHAIN_END = 0xffffffff;
/** Frames walked at most. */
export const MAX_FRAMES = 4096;

/**
 * The registration records on a thread's stack. Thousands can stand there (handlers that fault again and
 * again), so that the stack is read by pages, anew whenever guest code ran.
 */
export class Chain {
  private base = 0;
  private limit = 0;
  private page = 0;
  private bytes: Uint8Array = new Uint8Array(0);

  constructor(private readonly call: KernelCall) {
    this.refresh();
  }

  /** Guest code ran: nothing that was read counts any more. */
  refresh(): void {
    const { memory, teb } = this.call;
    this.base = memory.u32(teb + Teb.stackBase);
    this.limit = memory.u32(teb + Teb.stackLimit);
    this.page = 0;
  }

  /** A record lies on the thread's stack, aligned; its handler does not. */
  isValid(frame: number): boolean {
    if (frame % 4 !== 0 || frame < this.limit || frame + 8 > this.base) return false;
    const handler = this.handler(frame);
    return handler < this.limit || handler >= this.base;
  }

  next(frame: number): number {
    return this.word(frame);
  }
  handler(frame: number): number {
    return this.word(frame + 4);
  }
  /** In a nested record: the frame whose handler was running. */
  establisher(frame: number): number {
    return this.word(frame + 8);
  }

  private word(address: number): number {
    const page = address - address % PAGE_SIZE;
    if (page !== this.page) {
      this.bytes = this.call.memory.bytes(page, PAGE_SIZE);
      this.page = page;
    }
    return get32(this.bytes, address - page);
  }
}

/** SEHandlerTable and SEHandlerCount in IMAGE_LOAD_CONFIG_DIRECTORY32, and the size from which on it has them. */
const LoadConfig = { handlerTable: 0x40, handlerCount: 0x44, size: 0x48 } as const;
const MAX_SAFE_HANDLERS = 0x1_0000;

/**
 * Whether a handler may be called (RtlIsValidHandler): not one that its image does not list although it has a
 * list, and where DEP is on for the process none outside of images. An image that says it has no handlers at
 * all (NO_SEH) is not held to it: packers leave that of the program they pack.
 */
export function isValidHandler(call: KernelCall, handler: number): boolean {
  const module = call.process.modules.find(({ base, size }) => handler >= base && handler < base + size);
  if (module) return module.image !== undefined || safeHandlers(call, module)?.has(handler) !== false;
  const { manager } = call.process.user!;
  if (manager.executeAnywhere) return true;
  const region = manager.query(handler);
  return region.type === Memory.image && isExecutable(toMm(region.protect) ?? 0);
}

/** The handlers an image lists; undefined when it has no list (all are allowed). Read once. */
function safeHandlers(call: KernelCall, module: LoadedModule): ReadonlySet<number> | undefined {
  const lists = call.state("safe-handlers", () => new Map<number, ReadonlySet<number> | undefined>());
  if (!lists.has(module.base)) lists.set(module.base, readSafeHandlers(call, module.base));
  return lists.get(module.base);
}

function readSafeHandlers(call: KernelCall, base: number): ReadonlySet<number> | undefined {
  const { memory } = call;
  try {
    const optional = base + memory.u32(base + 0x3c) + 0x18;
    if (memory.u32(optional + 0x5c) <= Directory.loadConfig) return undefined;
    const at = memory.u32(optional + 0x60 + Directory.loadConfig * 8);
    if (at === 0) return undefined;
    const config = memory.bytes(base + at, LoadConfig.size);
    const [table, count] = [get32(config, LoadConfig.handlerTable), get32(config, LoadConfig.handlerCount)];
    if (get32(config, 0) < LoadConfig.size || table === 0) return undefined;
    const rvas = memory.bytes(table, 4 * Math.min(count, MAX_SAFE_HANDLERS));
    return new Set(Array.from({ length: rvas.length / 4 }, (_, i) => base + get32(rvas, 4 * i)));
  } catch (error) {
    if (error instanceof GuestFault) return undefined;
    throw error;
  }
}
