// SPDX-License-Identifier: Apache-2.0
/**
 * The engines umbra can ask, in the order in which they stand in reports.
 *
 * @module
 */
import type { EngineFactory } from "../core/ports.ts";
import { yara } from "./yara.ts";

export { startScanner } from "./orchestrator.ts";
export { BUILTIN_RULES, EICAR, SELFTEST_MARKER } from "./builtin_rules.ts";

/** How each known engine is made. */
export const engineFactories: readonly EngineFactory[] = [yara];
