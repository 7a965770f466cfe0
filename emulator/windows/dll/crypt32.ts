// SPDX-License-Identifier: Apache-2.0
/** crypt32.dll: texts of bytes; certificate stores that are empty. @module */
import { Buffer } from "node:buffer";
import type { ApiCall, DllDefinition } from "../api.ts";
import { both, define } from "./define.ts";
import names from "./known/crypt32.json" with { type: "json" };
import { storeEnumerations } from "./shared/enumerations.ts";
import { Win32 } from "./shared/errors.ts";
import { fromAnsi, fromWide, store, text } from "./shared/text.ts";

const handle = (kind: string) => (call: ApiCall) => call.handles.open({ kind });

const BASE64 = 1;
const BASE64_HEADER = 0;
const BASE64_NO_WRAP = 0x40000000;

export const crypt32: DllDefinition = define({
  name: "crypt32.dll",
  base: 0x73b00000,
  known: names,
  handlers: [
    storeEnumerations,
    both({
      CryptStringToBinary: (wide) => (call, source, length, flags, buffer, size, skipped, used) => {
        const value = length ? fetch(call, source, length, wide) : text(call, source, wide, 0x100000);
        const kind = flags & 0xff;
        const isHex = kind === 4 || kind === 8 || kind === 12;
        const body = value.replace(/-----[^-]+-----/g, "").replace(/\s+/g, "");
        const isGood = isHex ? /^([0-9a-f]{2})*$/i.test(body) : /^[A-Za-z0-9+/]*={0,2}$/.test(body);
        if (!isGood) return call.fail(13);
        const bytes = new Uint8Array(Buffer.from(body, isHex ? "hex" : "base64"));
        const room = call.memory.u32(size);
        call.memory.setU32(size, bytes.length);
        if (skipped) call.memory.setU32(skipped, 0);
        if (used) call.memory.setU32(used, kind);
        if (buffer === 0) return 1;
        if (room < bytes.length) return call.fail(Win32.moreData);
        call.memory.setBytes(buffer, bytes);
        return 1;
      },
      CryptBinaryToString: (wide) => (call, source, length, flags, buffer, size) => {
        const kind = flags & 0xff;
        if (kind !== BASE64 && kind !== BASE64_HEADER && kind !== 12) {
          return call.fail(Win32.invalidParameter);
        }
        const bytes = Buffer.from(call.memory.bytes(source, Math.min(length, 0x1000000)));
        let value = kind === 12 ? bytes.toString("hex") : bytes.toString("base64");
        if (!(flags & BASE64_NO_WRAP)) value = value.replace(/.{1,64}/g, "$&\r\n");
        const room = call.memory.u32(size);
        call.memory.setU32(size, value.length + (buffer ? 0 : 1));
        if (buffer === 0) return 1;
        if (room <= value.length) return call.fail(Win32.moreData);
        store(call, buffer, value, wide);
        return 1;
      },
      CertOpenSystemStore: () => handle("store"),
    }),
    {
      CertOpenStore: handle("store"),
      CertCloseStore: (call, store) => call.handles.close(store) ? 1 : 0,
      CryptProtectData: (call) => call.fail(Win32.notSupported),
      CryptUnprotectData: (call) => call.fail(13),
    },
  ],
});

function fetch(call: ApiCall, source: number, length: number, wide: boolean): string {
  const size = Math.min(length, 0x1000000);
  return (wide ? fromWide(call.memory.bytes(source, 2 * size)) : fromAnsi(call.memory.bytes(source, size)))
    .replace(/\0+$/, "");
}
