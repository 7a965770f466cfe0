// SPDX-License-Identifier: Apache-2.0
/**
 * The journal's tables, as a list of migrations: the journal of any earlier version is brought forward, one of a
 * later version is refused.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";

/** Statements that lead from version `index` to `index + 1`. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE domains (
    id INTEGER PRIMARY KEY, number INTEGER NOT NULL, name TEXT NOT NULL, hypervisor TEXT NOT NULL,
    started INTEGER NOT NULL, ended INTEGER,
    seen INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0,
    deduplicated INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
    CHECK (seen = stored + deduplicated + lost)
  ) STRICT;
  CREATE TABLE processes (
    domain INTEGER NOT NULL REFERENCES domains (id), key INTEGER NOT NULL,
    pid INTEGER NOT NULL, parent_pid INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL,
    command_line TEXT NOT NULL, partial INTEGER NOT NULL,
    PRIMARY KEY (domain, key)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE events (
    domain INTEGER NOT NULL REFERENCES domains (id), sequence INTEGER NOT NULL, at INTEGER NOT NULL,
    kind TEXT NOT NULL, process INTEGER NOT NULL, tid INTEGER NOT NULL, va INTEGER NOT NULL,
    layer INTEGER NOT NULL, hop_from INTEGER NOT NULL, hop_to INTEGER NOT NULL, turns INTEGER NOT NULL,
    outcome TEXT NOT NULL, sha256 TEXT,
    PRIMARY KEY (domain, sequence)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE captures (
    domain INTEGER NOT NULL REFERENCES domains (id), va INTEGER NOT NULL, sha256 TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (domain, va, sha256)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE findings (
    id INTEGER PRIMARY KEY, domain INTEGER NOT NULL REFERENCES domains (id), at INTEGER NOT NULL,
    unit TEXT NOT NULL, engine TEXT NOT NULL, status TEXT NOT NULL, threat TEXT NOT NULL,
    offset INTEGER, detail TEXT NOT NULL
  ) STRICT;
  CREATE INDEX findings_domain ON findings (domain, status);
  CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY, domain INTEGER NOT NULL REFERENCES domains (id), at INTEGER NOT NULL,
    pid INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, verdict TEXT NOT NULL,
    reasons TEXT NOT NULL, threats TEXT NOT NULL
  ) STRICT;
  `,
];

/** The version this program writes. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/** Brings a database to {@link SCHEMA_VERSION}. Throws, with both versions named, when it is from a later umbra. */
export function migrate(database: DatabaseSync): void {
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version ?? 0);
  if (version > SCHEMA_VERSION) {
    throw new Error(
      `its schema has version ${version}, and this umbra knows versions up to ${SCHEMA_VERSION}`,
    );
  }
  for (let next = version; next < SCHEMA_VERSION; next++) {
    database.exec(`BEGIN IMMEDIATE; ${MIGRATIONS[next]} PRAGMA user_version = ${next + 1}; COMMIT;`);
  }
}
