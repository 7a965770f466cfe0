// SPDX-License-Identifier: Apache-2.0
/** advapi32.dll: registry, cryptography, tokens, services, events. @module */
import type { ApiCall, DllDefinition } from "../../api.ts";
import { both, constant, define, type Handlers } from "../define.ts";
import known from "../known/advapi32.json" with { type: "json" };
import { USER } from "../kernel32/system.ts";
import { Win32 } from "../shared/errors.ts";
import { fill } from "../shared/text.ts";
import { crypto } from "./crypto.ts";
import { registryFunctions } from "./registry.ts";

/** SID of a local user, S-1-5-21-…-1000: revision 1, five parts. */
const USER_SID = Uint8Array.of(
  1,
  5,
  0,
  0,
  0,
  0,
  0,
  5,
  ...[21, 0x5a6b7c81, 0x1f2e3d4c, 0x0a1b2c3d, 1000].flatMap((part) => [
    part & 255,
    (part >>> 8) & 255,
    (part >>> 16) & 255,
    part >>> 24,
  ]),
);

function tokenInformation(
  call: ApiCall,
  handle: number,
  kind: number,
  buffer: number,
  length: number,
  needed: number,
) {
  if (call.handles.get(handle)?.kind !== "token") return call.fail(Win32.invalidHandle);
  // TokenUser carries a SID behind its pointer; elevation (20): no; elevation type (18): limited is 3; others a word.
  const size = kind === 1 ? 8 + USER_SID.length : 4;
  if (needed) call.memory.setU32(needed, size);
  if (length < size) return call.fail(Win32.insufficientBuffer);
  if (kind === 1) {
    call.memory.setU32(buffer, buffer + 8);
    call.memory.setU32(buffer + 4, 0);
    call.memory.setBytes(buffer + 8, USER_SID);
  } else call.memory.setU32(buffer, kind === 18 ? 3 : kind === 8 ? 1 : 0);
  return 1;
}

const openToken = (call: ApiCall, result: number) => {
  call.memory.setU32(result, call.handles.open({ kind: "token" }));
  return 1;
};

const tokens: Handlers = {
  OpenProcessToken: (call, _process, _access, result) => openToken(call, result),
  OpenThreadToken: (call) => call.fail(1008),
  DuplicateToken: (call, _token, _level, result) => openToken(call, result),
  DuplicateTokenEx: (call, _token, _access, _attributes, _level, _type, result) => openToken(call, result),
  GetTokenInformation: tokenInformation,
  AdjustTokenPrivileges: (call, _token, _disable, _new, _length, _previous, needed) => {
    if (needed) call.memory.setU32(needed, 0);
    call.lastError = 0;
    return 1;
  },
  AllocateAndInitializeSid: (call, authority, count, a, b, c, d, e, f, g, h, result) => {
    const parts = [a, b, c, d, e, f, g, h].slice(0, Math.min(count & 255, 8));
    const sid = call.heaps.allocate(call.heaps.processHeap, 8 + 4 * parts.length, true);
    if (sid === 0) return call.fail(Win32.notEnoughMemory);
    call.memory.setU8(sid, 1);
    call.memory.setU8(sid + 1, parts.length);
    call.memory.setBytes(sid + 2, call.memory.bytes(authority, 6));
    parts.forEach((part, i) => call.memory.setU32(sid + 8 + 4 * i, part));
    call.memory.setU32(result, sid);
    return 1;
  },
  CreateWellKnownSid: (call, kind, _domain, buffer, size) => {
    // BUILTIN groups are kinds 26 and up: administrators, users, guests, … from S-1-5-32-544 on.
    const parts = kind >= 26 && kind <= 36 ? [32, 544 + kind - 26] : [kind === 1 ? 0 : 18];
    const length = 8 + 4 * parts.length;
    const room = call.memory.u32(size);
    call.memory.setU32(size, length);
    if (room < length) return call.fail(Win32.insufficientBuffer);
    call.memory.setBytes(buffer, Uint8Array.of(1, parts.length, 0, 0, 0, 0, 0, kind === 1 ? 1 : 5));
    parts.forEach((part, i) => call.memory.setU32(buffer + 8 + 4 * i, part));
    return 1;
  },
  FreeSid: (call, sid) => {
    call.heaps.free(call.heaps.processHeap, sid);
  },
  GetLengthSid: (call, sid) => 8 + 4 * call.memory.u8(sid + 1),
  GetSidLengthRequired: (_, count) => 8 + 4 * (count & 255),
  IsValidSid: (call, sid) => sid !== 0 && call.memory.u8(sid) === 1 && call.memory.u8(sid + 1) <= 15 ? 1 : 0,
  GetSidSubAuthorityCount: (_, sid) => sid + 1,
  GetSidSubAuthority: (_, sid, index) => sid + 8 + 4 * (index & 255),
  GetSidIdentifierAuthority: (_, sid) => sid + 2,
  EqualSid: (call, a, b) => {
    const size = 8 + 4 * call.memory.u8(a + 1);
    const [x, y] = [call.memory.bytes(a, size), call.memory.bytes(b, size)];
    return x.every((byte, i) => byte === y[i]) ? 1 : 0;
  },
  CopySid: (call, length, to, from) => {
    const size = 8 + 4 * call.memory.u8(from + 1);
    if (length < size) return call.fail(Win32.insufficientBuffer);
    call.memory.setBytes(to, call.memory.bytes(from, size));
    return 1;
  },
  CheckTokenMembership: (call, _token, _sid, result) => {
    call.memory.setU32(result, 0);
    return 1;
  },
  InitializeSecurityDescriptor: (call, at) => {
    call.memory.setBytes(at, new Uint8Array(20));
    call.memory.setU8(at, 1);
    return 1;
  },
  ...constant(
    1,
    "SetSecurityDescriptorDacl SetSecurityDescriptorOwner SetSecurityDescriptorGroup InitializeAcl",
  ),
  ...constant(1, "IsValidSecurityDescriptor AddAccessAllowedAce AddAce RevertToSelf ImpersonateSelf"),
  ...constant(
    1,
    "SetFileSecurityA SetFileSecurityW SetKernelObjectSecurity ImpersonateLoggedOnUser SetTokenInformation",
  ),
  ...constant(
    0,
    "SetEntriesInAclA SetEntriesInAclW SetNamedSecurityInfoA SetNamedSecurityInfoW SetSecurityInfo",
  ),
  ...constant(0, "LogonUserA LogonUserW CreateProcessAsUserA CreateProcessAsUserW"),
  ...both({
    GetUserName: (wide) => (call, buffer, size) => {
      const capacity = call.memory.u32(size);
      call.memory.setU32(size, USER.length + 1);
      return fill(call, buffer, capacity, USER, wide) === USER.length
        ? 1
        : call.fail(Win32.insufficientBuffer);
    },
    LookupPrivilegeValue: () => (call, _system, _name, luid) => {
      call.memory.setU32(luid, 20);
      call.memory.setU32(luid + 4, 0);
      return 1;
    },
    LookupAccountSid: (wide) => (call, _system, _sid, name, nameSize, domain, domainSize, use) => {
      for (const [at, size, value] of [[name, nameSize, USER], [domain, domainSize, "USER-PC"]] as const) {
        const capacity = call.memory.u32(size);
        call.memory.setU32(size, value.length + (capacity > value.length ? 0 : 1));
        if (fill(call, at, capacity, value, wide) !== value.length) {
          return call.fail(Win32.insufficientBuffer);
        }
      }
      call.memory.setU32(use, 1);
      return 1;
    },
  }),
};

/** The service manager answers, but has no service and makes none. */
const services: Handlers = {
  ...both({
    OpenSCManager: () => (call, _machine, _database, access) =>
      access & 2 ? call.fail(Win32.accessDenied) : call.handles.open({ kind: "services" }),
    OpenService: () => (call) => call.fail(Win32.serviceDoesNotExist),
    CreateService: () => (call) => call.fail(Win32.accessDenied),
    StartService: () => (call) => call.fail(Win32.invalidHandle),
    StartServiceCtrlDispatcher: () => (call) => call.fail(1063),
    RegisterServiceCtrlHandler: () => (call) => call.fail(Win32.serviceDoesNotExist),
    RegisterServiceCtrlHandlerEx: () => (call) => call.fail(Win32.serviceDoesNotExist),
    EnumServicesStatus: () => (call) => call.fail(Win32.accessDenied),
    EnumServicesStatusEx: () => (call) => call.fail(Win32.accessDenied),
    QueryServiceConfig: () => (call) => call.fail(Win32.invalidHandle),
    ChangeServiceConfig: () => (call) => call.fail(Win32.invalidHandle),
    ChangeServiceConfig2: () => (call) => call.fail(Win32.invalidHandle),
    RegisterEventSource: () => (call) => call.handles.open({ kind: "events" }),
    OpenEventLog: () => (call) => call.handles.open({ kind: "events" }),
    ReportEvent: () => () => 1,
    ClearEventLog: () => (call) => call.fail(Win32.accessDenied),
    InitiateSystemShutdown: () => (call) => call.fail(Win32.accessDenied),
    InitiateSystemShutdownEx: () => (call) => call.fail(Win32.accessDenied),
  }),
  CloseServiceHandle: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidHandle),
  DeregisterEventSource: (call, handle) => call.handles.close(handle) ? 1 : 0,
  CloseEventLog: (call, handle) => call.handles.close(handle) ? 1 : 0,
  ...Object.fromEntries(
    "ControlService DeleteService QueryServiceStatus QueryServiceStatusEx SetServiceStatus".split(" ").map((
      name,
    ) => [
      name,
      (call: ApiCall) => call.fail(Win32.invalidHandle),
    ]),
  ),
  ...constant(
    0,
    "RegisterTraceGuidsA RegisterTraceGuidsW UnregisterTraceGuids EventRegister EventUnregister",
  ),
  ...constant(0, "EventWrite EventEnabled EventProviderEnabled GetTraceEnableFlags TraceEvent"),
};

/** advapi32.dll, with all its functions. */
export const advapi32: DllDefinition = define({
  name: "advapi32.dll",
  base: 0x76500000,
  known,
  handlers: [crypto, registryFunctions, services, tokens],
  refusal: (name) => /^Reg[A-Z].*[AW]$/.test(name) ? Win32.callNotImplemented : undefined,
});
