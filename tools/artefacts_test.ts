// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { packArtefacts, readArtefacts } from "./artefacts.ts";

Deno.test("artefacts packed behind other bytes are read back; a damaged file is refused", () => {
  const path = Deno.makeTempFileSync({ prefix: "umbra-artefacts-" });
  try {
    const artefacts = new Map([
      ["a.wasm", new Uint8Array([1, 2, 3])],
      ["empty", new Uint8Array(0)],
      ["samples/ä.exe", new Uint8Array(70_000).fill(7)],
    ]);
    const before = new Uint8Array(1000).fill(0xee);
    const packed = packArtefacts(artefacts, before.length);
    Deno.writeFileSync(path, new Uint8Array([...before, ...packed]));
    assert.deepEqual(readArtefacts(path), artefacts);

    Deno.truncateSync(path, before.length + packed.length - 1);
    assert.throws(() => readArtefacts(path), /it is damaged/);
  } finally {
    Deno.removeSync(path);
  }
});
