// SPDX-License-Identifier: Apache-2.0
/**
 * HTTP status page, API and metrics of the dom0 service.
 *
 * @module
 */
export { type ListenAddress, parseListen } from "./listen.ts";
export { startStatusServer, type StatusServer } from "./server.ts";
export type { DomainStatus, StatusSnapshot, VerdictStatus } from "./snapshot.ts";
