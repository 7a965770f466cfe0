// SPDX-License-Identifier: Apache-2.0
/** The shape of an instruction in TypeScript. @module */
import type { Core } from "../core.ts";
import type { OpView } from "../op_view.ts";

/**
 * Runs one instruction. Returns nothing to go on behind it, `HelperResult.jump` when it set EIP itself. Throws
 * GuestFault or GuestHold before it has changed anything. `core.exit` ends the run.
 */
export type Helper = (core: Core, op: OpView) => number | void;
