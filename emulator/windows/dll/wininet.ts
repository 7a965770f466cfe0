// SPDX-License-Identifier: Apache-2.0
/** wininet.dll: sessions and requests that never reach a server. @module */
import type { DllDefinition } from "../api.ts";
import { both, define, type Handlers } from "./define.ts";
import names from "./known/wininet.json" with { type: "json" };
import { Win32 } from "./shared/errors.ts";
import { store, text } from "./shared/text.ts";

const NOT_CONNECTED = Win32.internetCannotConnect;

const internet: Handlers = {
  ...both({
    InternetOpen: () => (call) => call.handles.open({ kind: "internet" }),
    InternetConnect: (wide) => (call, _session, server, port) => {
      call.print(`[connect] ${text(call, server, wide, 256)}:${port & 0xffff}\n`);
      return call.handles.open({ kind: "internet" });
    },
    InternetOpenUrl: (wide) => (call, _session, url) => {
      call.print(`[url] ${text(call, url, wide, 2048)}\n`);
      return call.fail(Win32.internetNameNotResolved);
    },
    HttpOpenRequest: (wide) => (call, _connection, verb, path) => {
      call.print(`[request] ${text(call, verb, wide, 32) || "GET"} ${text(call, path, wide, 2048)}\n`);
      return call.handles.open({ kind: "internet" });
    },
    HttpSendRequest: () => (call) => call.fail(Win32.internetNameNotResolved),
    HttpSendRequestEx: () => (call) => call.fail(Win32.internetNameNotResolved),
    HttpAddRequestHeaders: () => () => 1,
    HttpQueryInfo: () => (call) => call.fail(12150),
    InternetSetOption: () => () => 1,
    InternetQueryOption: () => (call) => call.fail(12009),
    InternetCheckConnection: () => (call) => call.fail(NOT_CONNECTED),
    InternetGetConnectedStateEx: () => () => 0,
    InternetCanonicalizeUrl: (wide) => (call, url, buffer, size) => {
      const value = text(call, url, wide, 2048);
      if (call.memory.u32(size) <= value.length) return call.fail(Win32.insufficientBuffer);
      store(call, buffer, value, wide);
      call.memory.setU32(size, value.length);
      return 1;
    },
    InternetCrackUrl: () => (call) => call.fail(12005),
    DeleteUrlCacheEntry: () => (call) => call.fail(2),
    FtpOpenFile: () => (call) => call.fail(NOT_CONNECTED),
    FtpPutFile: () => (call) => call.fail(NOT_CONNECTED),
    FtpGetFile: () => (call) => call.fail(NOT_CONNECTED),
  }),
  InternetReadFile: (call, _handle, _buffer, _length, read) => {
    call.memory.setU32(read, 0);
    return call.fail(NOT_CONNECTED);
  },
  InternetCloseHandle: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidHandle),
  InternetGetConnectedState: (call, flags) => {
    if (flags) call.memory.setU32(flags, 0x20);
    return 0;
  },
  InternetAttemptConnect: () => NOT_CONNECTED,
};

export const wininet: DllDefinition = define({
  name: "wininet.dll",
  base: 0x72e00000,
  known: names,
  handlers: [internet],
});
