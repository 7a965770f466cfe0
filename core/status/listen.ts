// SPDX-License-Identifier: Apache-2.0
/**
 * Where the status page listens, and which names it answers to.
 *
 * @module
 */
import { InputError } from "../ports.ts";

/** An address to listen on. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
  readonly loopback: boolean;
}

/** True for a name or address that only this machine reaches (no brackets around IPv6). */
function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Splits `HOST:PORT` (IPv6 in brackets); undefined when it is not of that form. */
function split(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  if (!match || Number(match[3]) > 65535) return undefined;
  return { host: (match[1] ?? match[2]).toLowerCase(), port: Number(match[3]) };
}

/**
 * Reads `--listen`. Throws {@link InputError} for a text that is not HOST:PORT, and for an address that other
 * machines reach unless `expose` says that this is meant.
 */
export function parseListen(text: string, expose: boolean): ListenAddress {
  const parts = split(text);
  if (!parts) throw new InputError(`Cannot listen on "${text}": HOST:PORT is wanted, e.g. 127.0.0.1:8080`);
  const loopback = isLoopback(parts.host);
  if (!loopback && !expose) {
    throw new InputError(
      `Cannot listen on "${text}": other machines can reach it; add --expose if that is meant`,
    );
  }
  return { hostname: parts.host, port: parts.port, loopback };
}

/**
 * True when a request's Host header names this machine itself. A page of another site whose name was made to
 * resolve to 127.0.0.1 (DNS rebinding) comes with that site's name and is not answered.
 */
export function isLocalHost(header: string | undefined): boolean {
  if (header === undefined) return false;
  const parts = split(/:\d+$/.test(header) ? header : `${header}:80`);
  return parts !== undefined && isLoopback(parts.host);
}
