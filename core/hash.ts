// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";

/** SHA-256 of bytes, as 64 lower-case hexadecimal digits. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** SHA-256 of a text's UTF-8 bytes in base64, as content security policies name scripts and style sheets. */
export function sha256Base64(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}
