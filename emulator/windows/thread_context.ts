// SPDX-License-Identifier: Apache-2.0
/**
 * The whole CONTEXT of a thread: general registers from the model's books, x87 and SSE from the CPU.
 *
 * @module
 */
import { get32 } from "./bytes.ts";
import { applyContext, applyFpu, ContextFlag, ContextOffset, encodeContext } from "./context.ts";
import type { Context } from "./context.ts";
import type { Kernel } from "./kernel.ts";
import type { Thread } from "./process.ts";

const FPU_PARTS = ContextFlag.floatingPoint | ContextFlag.extended;

/** A thread's CONTEXT with the parts named by `flags`; its general registers are `context`. */
export function readContext(kernel: Kernel, thread: Thread, context: Context, flags: number): Uint8Array {
  return encodeContext(context, flags, flags & FPU_PARTS ? kernel.fpu.read(thread) : undefined);
}

/** Takes the parts a CONTEXT carries into a thread. */
export function writeContext(kernel: Kernel, thread: Thread, bytes: Uint8Array): void {
  applyContext(thread.context, bytes);
  if ((get32(bytes, ContextOffset.flags) & FPU_PARTS) === 0) return;
  const area = kernel.fpu.read(thread);
  if (applyFpu(area, bytes)) kernel.fpu.write(thread, area);
}
