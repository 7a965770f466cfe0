// SPDX-License-Identifier: Apache-2.0
/**
 * RtlUnwind: takes frames off the chain, calling their handlers once more.
 *
 * @module
 */
import type { Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { ExceptionFlag, Status } from "./constants.ts";
import { CONTEXT_FULL, CONTEXT_SIZE, copyContext, encodeContext } from "./context.ts";
import {
  continueWith,
  Disposition,
  executeHandler,
  finish,
  raiseHere,
  Record,
  RECORD_SIZE,
  recordBytes,
} from "./exceptions.ts";
import { Chain, CHAIN_END, isValidHandler, MAX_FRAMES } from "./frame_chain.ts";
import { Teb } from "./structures.ts";

/**
 * Calls the handlers of the frames above the target with the unwinding flag and takes them off. A frame whose
 * handler was running when this unwinding began (a collided one) is passed over.
 */
export function* unwind(
  call: KernelCall,
  target: number,
  given: number,
  result: number,
): Generator<Request, void, number> {
  const { memory, teb, kernel } = call;
  const after = copyContext(call.context);
  after.eip = call.returnAddress;
  after.registers[0] = result;
  after.registers[4] = call.stack + 20;
  const context = call.reserve(CONTEXT_SIZE);
  memory.setBytes(context, encodeContext(after, CONTEXT_FULL));
  const record = given || call.reserve(RECORD_SIZE);
  if (given === 0) {
    const address = call.returnAddress;
    memory.setBytes(record, recordBytes({ code: Status.unwind, flags: 0, address, parameters: [] }));
  }
  const flags = memory.u32(record + Record.flags) | ExceptionFlag.unwinding |
    (target === 0 ? ExceptionFlag.exitUnwind : 0);
  memory.setU32(record + Record.flags, flags);
  const passedOver = ["NestedExceptionHandler", "FinalExceptionHandler"].map((name) =>
    kernel.symbol("ntdll.dll", name)
  );
  const unwindHandler = kernel.symbol("ntdll.dll", "UnwindHandler");
  const dispatcher = call.reserve(8);
  const chain = new Chain(call);
  let frame = memory.u32(teb + Teb.exceptionList);
  for (let walked = 0; frame !== CHAIN_END && frame !== target; walked++) {
    if (target !== 0 && frame > target) return raiseHere(call, Status.invalidUnwindTarget, record);
    if (walked > MAX_FRAMES || !chain.isValid(frame)) return raiseHere(call, Status.badStack, record);
    const handler = chain.handler(frame);
    if (handler === unwindHandler) {
      // Its handler does not come back: go on behind the frame it was called for.
      frame = chain.establisher(frame);
    } else if (!passedOver.includes(handler)) {
      if (!isValidHandler(call, handler)) return raiseHere(call, Status.badStack, record);
      const args = [record, frame, context, dispatcher, handler, unwindHandler];
      const disposition = yield executeHandler(call, args);
      chain.refresh();
      if (disposition === Disposition.collided) frame = memory.u32(dispatcher);
      else if (disposition !== Disposition.continueSearch) {
        return raiseHere(call, Status.invalidDisposition, record);
      }
    }
    if (!chain.isValid(frame)) return raiseHere(call, Status.badStack, record);
    frame = chain.next(frame);
    memory.setU32(teb + Teb.exceptionList, frame);
  }
  // The frame to stop at is not there: nobody is left to handle the exception.
  if (frame !== target && target !== 0) return finish(call, record);
  continueWith(call, context);
}
