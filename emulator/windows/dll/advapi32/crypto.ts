// SPDX-License-Identifier: Apache-2.0
/** advapi32: CryptoAPI with MD5, SHA, RC4 and AES. Random numbers follow from the process alone. @module */
import { createCipheriv, createDecipheriv, createHash, createHmac } from "node:crypto";
import type { ApiCall, KernelObject } from "../../api.ts";
import { alias, both, constant, type Handlers } from "../define.ts";
import { Win32 } from "../shared/errors.ts";

const Algorithm = {
  md5: 0x8003,
  sha1: 0x8004,
  hmac: 0x8009,
  sha256: 0x800c,
  sha384: 0x800d,
  sha512: 0x800e,
  rc4: 0x6801,
  aes128: 0x660e,
  aes192: 0x660f,
  aes256: 0x6610,
} as const;
const HASHES: Record<number, string> = {
  [Algorithm.md5]: "md5",
  [Algorithm.sha1]: "sha1",
  [Algorithm.sha256]: "sha256",
  [Algorithm.sha384]: "sha384",
  [Algorithm.sha512]: "sha512",
};
const KEY_SIZES: Record<number, number> = {
  [Algorithm.rc4]: 16,
  [Algorithm.aes128]: 16,
  [Algorithm.aes192]: 24,
  [Algorithm.aes256]: 32,
};
const MAX_DATA = 0x4000000;
const MAX_PIECE = 0x10000;
const BAD_ALGORITHM = 0x80090008;
const BAD_DATA = 0x80090005;

interface HashObject extends KernelObject {
  readonly kind: "hash";
  readonly algorithm: number;
  readonly key?: Uint8Array;
  readonly parts: Uint8Array[];
  size: number;
}

interface KeyObject extends KernelObject {
  readonly kind: "key";
  readonly algorithm: number;
  readonly bytes: Uint8Array;
  iv: Uint8Array;
  chaining: number;
  stream: Rc4 | undefined;
}

/** RC4's state. */
export class Rc4 {
  private readonly s = Uint8Array.from({ length: 256 }, (_, i) => i);
  private i = 0;
  private j = 0;

  constructor(key: Uint8Array) {
    for (let i = 0, j = 0; i < 256; i++) {
      j = (j + this.s[i] + key[i % key.length]) & 255;
      [this.s[i], this.s[j]] = [this.s[j], this.s[i]];
    }
  }

  /** Encrypts or decrypts the next bytes. */
  apply(bytes: Uint8Array): Uint8Array {
    const { s } = this;
    const out = new Uint8Array(bytes.length);
    let { i, j } = this;
    for (let at = 0; at < bytes.length; at++) {
      i = (i + 1) & 255;
      const a = s[i];
      j = (j + a) & 255;
      const b = s[j];
      s[i] = b;
      s[j] = a;
      out[at] = bytes[at] ^ s[(a + b) & 255];
    }
    this.i = i;
    this.j = j;
    return out;
  }
}

/** RC4 of a counted buffer (length, room, address) with the key of another, in place: SystemFunction032. */
function rc4Buffer(call: ApiCall, data: number, key: number): number {
  const [length, size] = [call.memory.u32(data), call.memory.u32(key)];
  if (size === 0 || size > MAX_PIECE || length > MAX_DATA) return 0xc000000d;
  const at = call.memory.u32(data + 8);
  const stream = new Rc4(call.memory.bytes(call.memory.u32(key + 8), size));
  call.memory.setBytes(at, stream.apply(call.memory.bytes(at, length)));
  return 0;
}

function objectOf<T extends KernelObject>(call: ApiCall, handle: number, kind: T["kind"]): T | undefined {
  const object = call.handles.get(handle);
  return object?.kind === kind ? object as T : undefined;
}

function digest(hash: HashObject): Uint8Array {
  const made = hash.key ? createHmac("sha1", hash.key) : createHash(HASHES[hash.algorithm] ?? "sha1");
  for (const part of hash.parts) made.update(part);
  return new Uint8Array(made.digest());
}

/** CryptDeriveKey's bytes: the hash's first ones, or for longer keys the hash of two padded copies. */
function derive(hash: HashObject, algorithm: number, size: number): Uint8Array {
  const value = digest(hash);
  if (
    size <= value.length &&
    !(algorithm >= Algorithm.aes128 && algorithm <= Algorithm.aes256 && value.length < 32)
  ) {
    return value.slice(0, size);
  }
  const name = HASHES[hash.algorithm] ?? "sha1";
  const padded = (fill: number) => {
    const block = new Uint8Array(64).fill(fill);
    value.slice(0, 64).forEach((byte, i) => block[i] ^= byte);
    return createHash(name).update(block).digest();
  };
  return new Uint8Array([...padded(0x36), ...padded(0x5c)]).slice(0, size);
}

function makeKey(call: ApiCall, algorithm: number, bytes: Uint8Array): number {
  const key: KeyObject = {
    kind: "key",
    algorithm,
    bytes,
    iv: new Uint8Array(16),
    chaining: 1,
    stream: undefined,
  };
  return call.handles.open(key);
}

function cipher(key: KeyObject, data: Uint8Array, final: boolean, encrypt: boolean): Uint8Array | undefined {
  if (key.algorithm === Algorithm.rc4) {
    key.stream ??= new Rc4(key.bytes);
    const out = key.stream.apply(data);
    if (final) key.stream = undefined;
    return out;
  }
  const name = `aes-${key.bytes.length * 8}-${key.chaining === 2 ? "ecb" : "cbc"}`;
  const iv = key.chaining === 2 ? null : key.iv;
  try {
    const made = encrypt ? createCipheriv(name, key.bytes, iv) : createDecipheriv(name, key.bytes, iv);
    made.setAutoPadding(final);
    const out = new Uint8Array([...made.update(data), ...made.final()]);
    const last = encrypt ? out : data;
    key.iv = final ? new Uint8Array(16) : last.slice(-16);
    return out;
  } catch {
    return undefined;
  }
}

function transform(
  call: ApiCall,
  handle: number,
  hash: number,
  final: number,
  buffer: number,
  size: number,
  encrypt: boolean,
  capacity: number,
) {
  const key = objectOf<KeyObject>(call, handle, "key");
  if (!key) return call.fail(Win32.invalidHandle);
  const length = call.memory.u32(size);
  if (length > MAX_DATA) return call.fail(Win32.invalidParameter);
  const isBlock = key.algorithm !== Algorithm.rc4;
  const needed = encrypt && isBlock && final ? (Math.floor(length / 16) + 1) * 16 : length;
  if (buffer === 0) {
    call.memory.setU32(size, needed);
    return 1;
  }
  if (encrypt && capacity < needed) {
    call.memory.setU32(size, needed);
    return call.fail(Win32.moreData);
  }
  const data = call.memory.bytes(buffer, length);
  const out = cipher(key, data, final !== 0, encrypt);
  if (!out) return call.fail(BAD_DATA);
  const hashed = hash ? objectOf<HashObject>(call, hash, "hash") : undefined;
  hashed?.parts.push(encrypt ? data : out);
  call.memory.setBytes(buffer, out);
  call.memory.setU32(size, out.length);
  return 1;
}

/** Fills a buffer of the guest with {@link pseudoRandom} bytes, piece by piece: bad pointers fault at once. */
function fillRandom(call: ApiCall, buffer: number, length: number): number {
  for (let done = 0; done < length; done += MAX_PIECE) {
    call.memory.setBytes((buffer + done) >>> 0, pseudoRandom(call, Math.min(MAX_PIECE, length - done)));
  }
  return 1;
}

/** Bytes of a generator that starts the same in every process: reports must not differ between runs. */
export function pseudoRandom(call: ApiCall, length: number): Uint8Array {
  const state = call.state(
    "random-bytes",
    () => ({ stream: new Rc4(Uint8Array.of(0x75, 0x6d, 0x62, call.pid & 255)) }),
  );
  return state.stream.apply(new Uint8Array(Math.min(length, MAX_DATA)));
}

const acquire = (call: ApiCall, result: number, flags: number) => {
  if (flags & 0x10) return 1;
  call.memory.setU32(result, call.handles.open({ kind: "provider" }));
  return 1;
};

export const crypto: Handlers = {
  ...alias(["SystemFunction032", "SystemFunction033"], rc4Buffer),
  ...both({
    CryptAcquireContext: () => (call, result, _container, _provider, _type, flags) =>
      acquire(call, result, flags),
  }),
  CryptReleaseContext: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidParameter),
  CryptCreateHash: (call, _provider, algorithm, key, _flags, result) => {
    const hmac = algorithm === Algorithm.hmac ? objectOf<KeyObject>(call, key, "key")?.bytes : undefined;
    if (!HASHES[algorithm] && !hmac) return call.fail(BAD_ALGORITHM);
    call.memory.setU32(
      result,
      call.handles.open({ kind: "hash", algorithm, key: hmac, parts: [], size: 0 } as HashObject),
    );
    return 1;
  },
  CryptHashData: (call, handle, buffer, length) => {
    const hash = objectOf<HashObject>(call, handle, "hash");
    if (!hash) return call.fail(Win32.invalidHandle);
    if ((hash.size += length) > MAX_DATA) return call.fail(Win32.notEnoughMemory);
    hash.parts.push(call.memory.bytes(buffer, length).slice());
    return 1;
  },
  CryptGetHashParam: (call, handle, kind, buffer, size) => {
    const hash = objectOf<HashObject>(call, handle, "hash");
    if (!hash) return call.fail(Win32.invalidHandle);
    const value = digest(hash);
    const word = kind === 1 ? hash.algorithm : kind === 4 ? value.length : undefined;
    const bytes = word === undefined ? value : new Uint8Array(Uint32Array.of(word).buffer);
    if (kind !== 1 && kind !== 2 && kind !== 4) return call.fail(Win32.invalidParameter);
    const room = call.memory.u32(size);
    call.memory.setU32(size, bytes.length);
    if (buffer === 0) return 1;
    if (room < bytes.length) return call.fail(Win32.moreData);
    call.memory.setBytes(buffer, bytes);
    return 1;
  },
  CryptDestroyHash: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidHandle),
  CryptDestroyKey: (call, handle) => call.handles.close(handle) ? 1 : call.fail(Win32.invalidHandle),
  CryptDeriveKey: (call, _provider, algorithm, hashHandle, flags, result) => {
    const hash = objectOf<HashObject>(call, hashHandle, "hash");
    if (!hash) return call.fail(Win32.invalidHandle);
    const asked = (flags >>> 16) >>> 3;
    const size = algorithm === Algorithm.rc4 && asked ? Math.min(asked, 16) : KEY_SIZES[algorithm];
    if (!size) return call.fail(BAD_ALGORITHM);
    call.memory.setU32(result, makeKey(call, algorithm, derive(hash, algorithm, size)));
    return 1;
  },
  CryptImportKey: (call, _provider, blob, length, _public, _flags, result) => {
    const algorithm = call.memory.u32(blob + 4);
    // PLAINTEXTKEYBLOB: header of 8 bytes, size, key.
    if (call.memory.u8(blob) !== 8 || length < 12) return call.fail(BAD_DATA);
    const size = call.memory.u32(blob + 8);
    if (size > 256 || size + 12 > length) return call.fail(BAD_DATA);
    call.memory.setU32(result, makeKey(call, algorithm, call.memory.bytes(blob + 12, size).slice()));
    return 1;
  },
  CryptGenKey: (call, _provider, algorithm, _flags, result) => {
    const size = KEY_SIZES[algorithm];
    if (!size) return call.fail(BAD_ALGORITHM);
    call.memory.setU32(result, makeKey(call, algorithm, pseudoRandom(call, size)));
    return 1;
  },
  CryptSetKeyParam: (call, handle, kind, data) => {
    const key = objectOf<KeyObject>(call, handle, "key");
    if (!key) return call.fail(Win32.invalidHandle);
    if (kind === 1) key.iv = call.memory.bytes(data, 16).slice();
    if (kind === 4) key.chaining = call.memory.u32(data);
    return 1;
  },
  CryptEncrypt: (call, key, hash, final, _flags, buffer, size, capacity) =>
    transform(call, key, hash, final, buffer, size, true, capacity),
  CryptDecrypt: (call, key, hash, final, _flags, buffer, size) =>
    transform(call, key, hash, final, buffer, size, false, 0),
  CryptGenRandom: (call, _provider, length, buffer) => fillRandom(call, buffer, length),
  SystemFunction036: fillRandom,
  ...constant(1, "CryptSetProvParam CryptSetHashParam CryptContextAddRef"),
};
