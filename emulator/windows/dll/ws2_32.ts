// SPDX-License-Identifier: Apache-2.0
/** ws2_32.dll: sockets on a machine whose cable is unplugged. @module */
import type { ApiCall, DllDefinition, Handler, KernelObject } from "../api.ts";
import { both, define, type Handlers } from "./define.ts";
import { COMPUTER } from "./kernel32/system.ts";
import names from "./known/ws2_32.json" with { type: "json" };
import { ws2Ordinals } from "./ordinals.ts";
import { lasting, store, text } from "./shared/text.ts";

const SOCKET_ERROR = 0xffffffff;
const WsaError = {
  badHandle: 10009,
  fault: 10014,
  notSocket: 10038,
  unreachable: 10051,
  notConnected: 10057,
  wouldBlock: 10035,
  hostNotFound: 11001,
  notInitialised: 10093,
} as const;

interface SocketObject extends KernelObject {
  readonly kind: "socket";
  nonBlocking: boolean;
}

const socketOf = (call: ApiCall, handle: number) => {
  const object = call.handles.get(handle);
  return object?.kind === "socket" ? object as SocketObject : undefined;
};

const failing = (error: number): Handler => (call, handle) =>
  call.fail(socketOf(call, handle) ? error : WsaError.notSocket, SOCKET_ERROR);
const working: Handler = (call, handle) =>
  socketOf(call, handle) ? 0 : call.fail(WsaError.notSocket, SOCKET_ERROR);

/** `1.2.3.4:80` of a sockaddr_in. */
function address(call: ApiCall, at: number): string {
  if (at === 0 || call.memory.u16(at) !== 2) return "?";
  const port = (call.memory.u8(at + 2) << 8) | call.memory.u8(at + 3);
  return `${[...call.memory.bytes(at + 4, 4)].join(".")}:${port}`;
}

/** inet_addr: a, a.b, a.b.c or a.b.c.d in decimal, octal or hexadecimal. */
export function parseAddress(value: string): number | undefined {
  const parts = value.trim().split(".");
  if (parts.length > 4 || parts.some((part) => !/^(0[xX][0-9a-fA-F]+|\d+)$/.test(part))) return undefined;
  const numbers = parts.map((part) => /^0\d/.test(part) ? parseInt(part, 8) : Number(part));
  const last = numbers.pop()!;
  const room = 2 ** (8 * (4 - numbers.length));
  if (last >= room || numbers.some((part) => part > 255)) return undefined;
  const whole = numbers.reduce((sum, part, i) => sum + part * 2 ** (24 - 8 * i), 0) + last;
  return swap32(whole >>> 0);
}

const swap16 = (value: number) => ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
const swap32 = (value: number) => (swap16(value & 0xffff) << 16 | swap16(value >>> 16)) >>> 0;

const MAX_SELECT = 64;

/** Functions that wsock32 has too. */
export const sockets: Handlers = {
  WSAStartup: (call, version, data) => {
    call.memory.setBytes(data, new Uint8Array(400));
    call.memory.setU16(data, Math.min(version & 0xffff, 0x202));
    call.memory.setU16(data + 2, 0x202);
    store(call, data + 4, "WinSock 2.0", false);
    store(call, data + 261, "Running", false);
    call.memory.setU16(data + 390, 0x7fff);
    return 0;
  },
  WSACleanup: () => 0,
  WSAGetLastError: (call) => call.lastError,
  WSASetLastError: (call, error) => {
    call.lastError = error;
  },
  socket: (call) => call.handles.open({ kind: "socket", nonBlocking: false } as SocketObject),
  closesocket: (call, handle) =>
    socketOf(call, handle) && call.handles.close(handle) ? 0 : call.fail(WsaError.notSocket, SOCKET_ERROR),
  connect: function* (call, handle, name) {
    const socket = socketOf(call, handle);
    if (!socket) return call.fail(WsaError.notSocket, SOCKET_ERROR);
    call.print(`[connect] ${address(call, name)}\n`);
    if (!socket.nonBlocking) yield { kind: "sleep", milliseconds: 500 };
    return call.fail(WsaError.unreachable, SOCKET_ERROR);
  },
  bind: working,
  listen: working,
  shutdown: working,
  setsockopt: working,
  getsockopt: (call, handle, _level, _name, value, size) => {
    if (!socketOf(call, handle)) return call.fail(WsaError.notSocket, SOCKET_ERROR);
    if (call.memory.u32(size) < 4) return call.fail(WsaError.fault, SOCKET_ERROR);
    call.memory.setU32(value, 0);
    call.memory.setU32(size, 4);
    return 0;
  },
  ioctlsocket: (call, handle, command, value) => {
    const socket = socketOf(call, handle);
    if (!socket) return call.fail(WsaError.notSocket, SOCKET_ERROR);
    if (command === 0x8004667e) socket.nonBlocking = call.memory.u32(value) !== 0;
    else call.memory.setU32(value, 0);
    return 0;
  },
  accept: failing(WsaError.wouldBlock),
  recv: failing(WsaError.notConnected),
  recvfrom: failing(WsaError.wouldBlock),
  send: failing(WsaError.notConnected),
  sendto: (call, handle, _buffer, _length, _flags, name) => {
    if (!socketOf(call, handle)) return call.fail(WsaError.notSocket, SOCKET_ERROR);
    call.print(`[send] ${address(call, name)}\n`);
    return call.fail(WsaError.unreachable, SOCKET_ERROR);
  },
  getpeername: failing(WsaError.notConnected),
  getsockname: (call, handle, name, size) => {
    if (!socketOf(call, handle)) return call.fail(WsaError.notSocket, SOCKET_ERROR);
    call.memory.setBytes(name, new Uint8Array(16));
    call.memory.setU16(name, 2);
    call.memory.setU32(size, 16);
    return 0;
  },
  select: function* (call, _count, read, write, errors, timeout) {
    for (const set of [read, write, errors]) if (set) call.memory.setU32(set, 0);
    const wait = timeout ? call.memory.u32(timeout) * 1000 + call.memory.u32(timeout + 4) / 1000 : 60000;
    yield { kind: "sleep", milliseconds: Math.min(Math.floor(wait), 0x7fffffff) };
    return 0;
  },
  __WSAFDIsSet: (call, handle, set) => {
    const count = Math.min(call.memory.u32(set), MAX_SELECT);
    for (let i = 0; i < count; i++) if (call.memory.u32(set + 4 + 4 * i) === handle) return 1;
    return 0;
  },
  htons: (_, value) => swap16(value),
  ntohs: (_, value) => swap16(value),
  htonl: (_, value) => swap32(value),
  ntohl: (_, value) => swap32(value),
  inet_addr: (call, name) => parseAddress(text(call, name, false, 64)) ?? 0xffffffff,
  inet_ntoa: (call, value) => {
    const shown = [0, 8, 16, 24].map((shift) => (value >>> shift) & 255).join(".");
    return lasting(call, `inet:${shown}`, shown, false);
  },
  gethostname: (call, buffer, capacity) => {
    if (capacity <= COMPUTER.length) return call.fail(WsaError.fault, SOCKET_ERROR);
    store(call, buffer, COMPUTER, false);
    return 0;
  },
  gethostbyname: (call, name) => {
    call.print(`[resolve] ${text(call, name, false, 256)}\n`);
    return call.fail(WsaError.hostNotFound);
  },
  gethostbyaddr: (call) => call.fail(WsaError.hostNotFound),
  getservbyname: (call) => call.fail(11004),
  getservbyport: (call) => call.fail(11004),
  getprotobyname: (call) => call.fail(11004),
  getprotobynumber: (call) => call.fail(11004),
  WSAAsyncSelect: failing(WsaError.unreachable),
};

const modern: Handlers = {
  ...both({
    WSASocket: () => (call) => call.handles.open({ kind: "socket", nonBlocking: false } as SocketObject),
  }),
  getaddrinfo: (call, name) => {
    call.print(`[resolve] ${text(call, name, false, 256)}\n`);
    return WsaError.hostNotFound;
  },
  GetAddrInfoW: (call, name) => {
    call.print(`[resolve] ${text(call, name, true, 256)}\n`);
    return WsaError.hostNotFound;
  },
  freeaddrinfo: () => 0,
  FreeAddrInfoW: () => 0,
  inet_pton: (call, family, name, at) => {
    const value = family === 2 ? parseAddress(text(call, name, false, 64)) : undefined;
    if (value === undefined) return 0;
    call.memory.setU32(at, value);
    return 1;
  },
  WSAConnect: (call, _handle, name) => {
    call.print(`[connect] ${address(call, name)}\n`);
    return call.fail(WsaError.unreachable, SOCKET_ERROR);
  },
  WSASend: failing(WsaError.notConnected),
  WSARecv: failing(WsaError.notConnected),
  WSAIoctl: failing(WsaError.unreachable),
  WSACreateEvent: (call) => call.system.createEvent(true, false, ""),
  WSACloseEvent: (call, handle) => call.handles.close(handle) ? 1 : 0,
  WSAEventSelect: working,
};

export const ws2: DllDefinition = define({
  name: "ws2_32.dll",
  base: 0x76400000,
  known: names,
  handlers: [sockets, modern],
  ordinals: ws2Ordinals,
});
