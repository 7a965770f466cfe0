// SPDX-License-Identifier: Apache-2.0
/**
 * user32: message queues, timers, and the user at the desktop, who closes windows when a program has nothing
 * else to do, so that message loops end.
 *
 * @module
 */
import type { ApiCall, HandlerResult, Request } from "../../api.ts";
import { alias, both, constant, type Handlers, invoke } from "../define.ts";
import { Win32 } from "../shared/errors.ts";
import { atom } from "../kernel32/environment.ts";
import { text } from "../shared/text.ts";
import { waitFor } from "../kernel32/sync.ts";
import { desktop, Message, post, type Posted, type Window, windowOf } from "./desktop.ts";
import { send } from "./procedure.ts";

/** How long the user watches an idle program before closing its windows, and how often it is asked. */
const PATIENCE = 20000;
const STEP = 500;
const MAX_CLOSES = 3;

function write(call: ApiCall, at: number, posted: Posted): void {
  [posted.window, posted.message, posted.wparam, posted.lparam, call.clock.tickCount, 512, 384].forEach((
    value,
    i,
  ) => call.memory.setU32(at + 4 * i, value >>> 0));
}

const fits = (posted: Posted, window: number, low: number, high: number) =>
  (window === 0 || posted.window === window || (window === 0xffffffff && posted.window === 0)) &&
  (low === 0 && high === 0 || (posted.message >= low && posted.message <= high));

/** Windows whose messages reach the program. */
const isProgram = (window: Window) => window.procedure !== 0 || window.dialogProcedure !== 0;

/** The next message of the calling thread, taken out of the queue if asked; undefined when there is none. */
export function next(
  call: ApiCall,
  window: number,
  low: number,
  high: number,
  take: boolean,
): Posted | undefined {
  const state = desktop(call);
  const queue = state.queues.get(call.tid) ?? [];
  const at = queue.findIndex((posted) => fits(posted, window, low, high));
  if (at >= 0) return take ? queue.splice(at, 1)[0] : queue[at];
  if (state.quit !== undefined) {
    const code = state.quit;
    if (take) state.quit = undefined;
    return { window: 0, message: Message.quit, wparam: code, lparam: 0 };
  }
  for (const shown of state.windows.values()) {
    if (!shown.visible || shown.painted || shown.tid !== call.tid || !isProgram(shown)) continue;
    const posted = { window: shown.handle, message: Message.paint, wparam: 0, lparam: 0 };
    if (!fits(posted, window, low, high)) continue;
    if (take) shown.painted = true;
    return posted;
  }
  const now = call.clock.tickCount;
  for (const timer of state.timers) {
    const posted = { window: timer.window, message: Message.timer, wparam: timer.id, lparam: timer.callback };
    if (timer.due > now || !fits(posted, window, low, high)) continue;
    if (take) timer.due = now + timer.period;
    return posted;
  }
  return undefined;
}

/** Waits for a message; an idle program's windows get WM_CLOSE, and in the end its loop WM_QUIT. */
export function* wait(
  call: ApiCall,
  window: number,
  low: number,
  high: number,
): Generator<Request, Posted, number> {
  const state = desktop(call);
  for (let waited = 0;;) {
    const found = next(call, window, low, high, true);
    if (found) return found;
    const due = Math.min(...state.timers.map((timer) => timer.due), call.clock.tickCount + STEP);
    const step = Math.max(1, due - call.clock.tickCount);
    yield { kind: "sleep", milliseconds: step };
    waited += step;
    if (waited < PATIENCE) continue;
    waited = 0;
    const open = [...state.windows.values()].filter((one) =>
      one.parent === 0 && one.tid === call.tid && one.procedure
    );
    if (state.closes++ >= MAX_CLOSES || open.length === 0) {
      return { window: 0, message: Message.quit, wparam: 0, lparam: 0 };
    }
    for (const one of open) {
      post(call, call.tid, { window: one.handle, message: Message.close, wparam: 0, lparam: 0 });
    }
  }
}

/** Programs with timers that never rest are also closed, by the count of messages they got. */
const MAX_MESSAGES = 20000;

function* getMessage(
  call: ApiCall,
  at: number,
  window: number,
  low: number,
  high: number,
): Generator<Request, HandlerResult, number> {
  const counter = call.state("messages", () => ({ count: 0 }));
  const posted = counter.count++ >= MAX_MESSAGES
    ? { window: 0, message: Message.quit, wparam: 0, lparam: 0 }
    : yield* wait(call, window, low, high);
  write(call, at, posted);
  return posted.message === Message.quit ? 0 : 1;
}

function* peek(
  call: ApiCall,
  at: number,
  window: number,
  low: number,
  high: number,
  flags: number,
): Generator<Request, HandlerResult, number> {
  const found = next(call, window, low, high, (flags & 1) !== 0);
  if (found) {
    write(call, at, found);
    return 1;
  }
  // A loop that polls must not stop the clock, and must end as one that waits does.
  const idle = call.state("polls", () => ({ count: 0 }));
  if (++idle.count > PATIENCE) {
    desktop(call).quit ??= 0;
    idle.count = 0;
  }
  yield { kind: "sleep", milliseconds: 1 };
  return 0;
}

function dispatch(call: ApiCall, at: number) {
  const [window, message, wparam, lparam] = Array.from({ length: 4 }, (_, i) => call.memory.u32(at + 4 * i));
  return deliver(call, { window, message, wparam, lparam });
}

/** Hands a message to its timer callback or its window. */
export function* deliver(call: ApiCall, posted: Posted): Generator<Request, number, number> {
  const { window, message, wparam, lparam } = posted;
  if (message === Message.timer && lparam !== 0) {
    yield invoke(lparam, [window, message, wparam, call.clock.tickCount]);
    return 0;
  }
  return yield* send(call, window, message, wparam, lparam);
}

const BROADCAST = 0xffff;

export const messages: Handlers = {
  ...both({
    GetMessage: () => getMessage,
    PeekMessage: () => peek,
    DispatchMessage: () => dispatch,
    SendMessage: () => send,
    SendMessageTimeout: () =>
      function* (call, window, message, wparam, lparam, _flags, _timeout, result) {
        const answer = yield* send(call, window, message, wparam, lparam);
        if (result) call.memory.setU32(result, answer);
        return 1;
      },
    SendNotifyMessage: () =>
      function* (call, window, message, wparam, lparam) {
        yield* send(call, window, message, wparam, lparam);
        return 1;
      },
    PostMessage: () => (call, window, message, wparam, lparam) => {
      if (window === BROADCAST) return 1;
      const target = window === 0 ? undefined : windowOf(call, window);
      if (window !== 0 && !target) return 0;
      return post(call, target?.tid ?? call.tid, { window, message, wparam, lparam });
    },
    PostThreadMessage: () => (call, tid, message, wparam, lparam) =>
      post(call, tid, { window: 0, message, wparam, lparam }),
    RegisterWindowMessage: (wide) => (call, name) => atom(call, "message", text(call, name, wide, 255), true),
    IsDialogMessage: () => () => 0,
    TranslateAccelerator: () => () => 0,
  }),
  TranslateMessage: () => 0,
  IsDialogMessage: () => 0,
  PostQuitMessage: (call, code) => {
    desktop(call).quit = code;
  },
  WaitMessage: function* (call) {
    const found = yield* wait(call, 0, 0, 0);
    const { queues } = desktop(call);
    queues.set(call.tid, [found, ...(queues.get(call.tid) ?? [])]);
    return 1;
  },
  MsgWaitForMultipleObjects: function* (call, count, handles, all, timeout) {
    return yield* waitOrMessage(call, count, handles, all, timeout);
  },
  MsgWaitForMultipleObjectsEx: function* (call, count, handles, timeout, _mask, flags) {
    return yield* waitOrMessage(call, count, handles, flags & 1, timeout);
  },
  WaitForInputIdle: () => 0,
  ...constant(0, "GetQueueStatus GetInputState InSendMessage InSendMessageEx GetMessageExtraInfo"),
  ReplyMessage: () => 1,
  GetMessageTime: (call) => call.clock.tickCount,
  GetMessagePos: () => 512 | (384 << 16),
  AttachThreadInput: () => 1,
  ...alias(["SetTimer", "SetCoalescableTimer"], (call, window, id, period, callback) => {
    const state = desktop(call);
    if (state.timers.length > 1000) return call.fail(Win32.notEnoughMemory);
    const number = window === 0 || id === 0 ? state.nextTimer++ : id;
    const old = state.timers.findIndex((timer) => timer.window === window && timer.id === number);
    if (old >= 0) state.timers.splice(old, 1);
    const step = Math.max(10, Math.min(period, 0x7fffffff));
    state.timers.push({ window, id: number, period: step, callback, due: call.clock.tickCount + step });
    return number;
  }),
  KillTimer: (call, window, id) => {
    const { timers } = desktop(call);
    const at = timers.findIndex((timer) => timer.window === window && timer.id === id);
    if (at < 0) return call.fail(Win32.invalidParameter);
    timers.splice(at, 1);
    return 1;
  },
};

function* waitOrMessage(
  call: ApiCall,
  count: number,
  handles: number,
  all: number,
  timeout: number,
): Generator<Request, HandlerResult, number> {
  if (next(call, 0, 0, 0, false)) return count;
  if (count === 0) {
    yield { kind: "sleep", milliseconds: Math.min(timeout, STEP) };
    return next(call, 0, 0, 0, false) || timeout === 0xffffffff ? 0 : 0x102;
  }
  const list = Array.from({ length: Math.min(count, 63) }, (_, i) => call.memory.u32(handles + 4 * i));
  return yield* waitFor(call, list, all !== 0, timeout);
}
