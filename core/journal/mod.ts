// SPDX-License-Identifier: Apache-2.0
export {
  Journal,
  type JournalDomain,
  type JournalEngine,
  type JournalThreat,
  type JournalVerdict,
  threatsOf,
} from "./journal.ts";
export { SCHEMA_VERSION } from "./schema.ts";
