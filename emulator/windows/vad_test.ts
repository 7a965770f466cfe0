// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { get32 } from "./bytes.ts";
import { Vad as Offset } from "./structures.ts";
import { bootKernel } from "./testing/guest.ts";
import { VadTree } from "./vad.ts";

Deno.test("the tree in guest memory holds what was put in, in order, with true parents and small depth", () => {
  const { kernel } = bootKernel();
  const { memory } = kernel;
  const ranges = fc.array(fc.tuple(fc.nat(2000), fc.nat(5), fc.boolean()), { maxLength: 120 });
  fc.assert(
    fc.property(ranges, (operations) => {
      const table = memory.mustAllocate(0x20);
      const tree = new VadTree(memory, table);
      for (const [start, length, remove] of operations) {
        const known = tree.find(start);
        if (remove && known) tree.remove(known);
        else if (tree.isFree(start, start + length)) {
          const pages = new Uint8Array(length + 1);
          const vad = { start, end: start + length, protect: 4, pages, sectionPage: 0 };
          tree.insert({ ...vad, kind: "private" });
        }
      }
      const walked: [number, number][] = [];
      let deepest = 0;
      const walk = (node: number, parent: number, depth: number) => {
        if (node === 0) return;
        deepest = Math.max(deepest, depth);
        assert.equal(memory.get32(node), parent);
        const bytes = memory.read(node, Offset.size);
        walk(get32(bytes, Offset.left), node, depth + 1);
        walked.push([get32(bytes, Offset.startingVpn), get32(bytes, Offset.endingVpn)]);
        walk(get32(bytes, Offset.right), node, depth + 1);
      };
      walk(memory.get32(table + Offset.right), table, 1);
      assert.deepEqual(walked, tree.ranges.map((vad) => [vad.start, vad.end]));
      assert.ok(deepest <= 20, `depth ${deepest} of ${walked.length}`);
      for (const vad of [...tree.ranges]) tree.remove(vad);
      assert.equal(memory.get32(table + Offset.right), 0);
      memory.release(table, 0x20);
    }),
    { numRuns: 40 },
  );
});
