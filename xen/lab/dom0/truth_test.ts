// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { sha256 } from "../../../core/hash.ts";
import { hex8 } from "../../../core/text.ts";
import { compare, readCaptures, type Truth, truthHash } from "./truth.ts";

/** Pages of the first processor's area: one by itself, and one of the part that the other processor writes. */
const PAGE = 0x2000000, SHARED_PAGE = 0x2064000, SHARED = 100;

function page(fill: number): Uint8Array {
  return new Uint8Array(4096).fill(fill);
}

interface Event {
  readonly sequence: number;
  readonly fill?: number;
  readonly va?: number;
  readonly gfn?: number;
  readonly kind?: string;
  readonly content?: string;
}

/** A folder as a collector leaves it; calls back, and removes it. */
function withFolders(collectors: readonly (readonly Event[])[], use: (folders: string[]) => void): void {
  const root = Deno.makeTempDirSync();
  try {
    const folders = collectors.map((events, i) => {
      const folder = `${root}/${i}`;
      Deno.mkdirSync(`${folder}/pages`, { recursive: true });
      const lines = events.map(
        ({ sequence, fill, va = PAGE, gfn = 7, kind = "S1", content = "captured" }) => {
          const hash = fill === undefined ? null : sha256(page(fill));
          if (fill !== undefined && content === "captured") {
            Deno.writeFileSync(`${folder}/pages/${hex8(va)}-${hash}.bin`, page(fill));
          }
          return JSON.stringify({ sequence, kind, va, gfn, sha256: hash, content });
        },
      );
      Deno.writeTextFileSync(`${folder}/events.jsonl`, lines.map((line) => `${line}\n`).join(""));
      return folder;
    });
    use(folders);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

function truth(fill: number, va = PAGE, part = 0): Truth {
  return { va, hash: truthHash(page(fill)), part };
}

Deno.test("what two collectors wrote one after the other is one stream; what stands in both counts once", () => {
  const first = [{ sequence: 1, fill: 1 }, { sequence: 2, fill: 2 }];
  const second = [{ sequence: 2, fill: 2 }, { sequence: 3, fill: 3 }];
  withFolders([first, second], (folders) => {
    compare([truth(1), truth(2), truth(3)], readCaptures(...folders));
    assert.throws(() => readCaptures(folders[1]), /event 2 comes behind 0/);
  });
});

Deno.test("an event that is missing between two collectors is found", () => {
  withFolders([[{ sequence: 1, fill: 1 }], [{ sequence: 3, fill: 3 }]], (folders) => {
    assert.throws(() => readCaptures(...folders), /event 3 comes behind 1/);
  });
});

Deno.test("a page that is unchanged is what its frame held when it was captured last", () => {
  const events = [
    { sequence: 1, fill: 1 },
    { sequence: 2, fill: 2, kind: "layer" },
    { sequence: 3, content: "unchanged" },
  ];
  withFolders([events], ([folder]) => compare([truth(1), truth(2)], readCaptures(folder)));
  withFolders([[{ sequence: 1, content: "unchanged" }]], ([folder]) => {
    assert.throws(() => readCaptures(folder), /unchanged, and never captured/);
  });
});

Deno.test("a page that was lost, was captured otherwise than it ran, or never ran is found", () => {
  withFolders([[{ sequence: 1, content: "lost" }]], ([folder]) => {
    assert.throws(() => readCaptures(folder), /an event without content/);
  });
  withFolders([[{ sequence: 1, fill: 1 }, { sequence: 2, fill: 2 }]], ([folder]) => {
    const captured = readCaptures(folder);
    assert.throws(
      () => compare([truth(2), truth(1)], captured),
      /ran 2 times and was captured 2 times, the first/,
    );
    assert.throws(() => compare([truth(1)], captured), /ran 1 times and was captured 2 times/);
    assert.throws(
      () => compare([truth(1), truth(2), truth(3)], captured),
      /ran 3 times and was captured 2 times/,
    );
    assert.throws(
      () => compare([truth(1, PAGE + 0x2000)], captured),
      /02002000 ran 1 times and was captured 0/,
    );
    assert.throws(() => compare([], captured), /the guest ran nothing/);
    const elsewhere = new Map([...captured, [PAGE + 0x2000, [truthHash(page(9))]]]);
    assert.throws(() => compare([truth(1), truth(2)], elsewhere), /02002000 was captured and never ran/);
  });
});

Deno.test("a page that another processor writes may be captured in between, and must be as it ran", () => {
  const events = [1, 9, 2].map((fill, i) => ({ sequence: i + 1, fill, va: SHARED_PAGE }));
  withFolders([events], ([folder]) => {
    const captured = readCaptures(folder);
    compare([truth(1, SHARED_PAGE, SHARED), truth(2, SHARED_PAGE, SHARED)], captured);
    assert.throws(
      () => compare([truth(1, SHARED_PAGE), truth(2, SHARED_PAGE)], captured),
      /captured 3 times/,
    );
    assert.throws(() => compare([truth(3, SHARED_PAGE, SHARED)], captured), /captured 0 times/);
  });
});
