// SPDX-License-Identifier: Apache-2.0
/**
 * The model of Windows 7 SP1 x86 as a guest of a domain.
 *
 * @module
 */
export { WindowsGuest } from "./guest.ts";
export type { GuestOptions, Program } from "./guest.ts";
export type { EmulationEnd, MissingFunction } from "../../core/ports.ts";
export type { Domain } from "../hypervisor/types.ts";
export type * from "./api.ts";
