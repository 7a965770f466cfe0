// SPDX-License-Identifier: Apache-2.0
// Arguments are the guest's word: whatever they are, a function answers or faults in the guest, and soon.
import assert from "node:assert/strict";
import { createXenModel, machineFramesFor } from "../../hypervisor/mod.ts";
import type { ApiCall, DllDefinition, DllFunction } from "../api.ts";
import { WindowsGuest } from "../mod.ts";
import { GuestFault } from "../user_memory.ts";
import { dlls } from "./mod.ts";

const FRAMES = 32 * 256;
const ROUNDS = 2;
/** A single call may take this long (milliseconds): far above what any needs, far below a hang. */
const MAX_TIME = 2000;
const MAX_YIELDS = 60;
const BUFFER = 0x10000;

/** A small program that makes one call: the place from which everything is tried. */
function caller(): Uint8Array {
  const file = new Uint8Array(0x400);
  const view = new DataView(file.buffer);
  const put = (at: number, ...words: number[]) =>
    words.forEach((word, i) => view.setUint32(at + 4 * i, word, true));
  const text = (at: number, value: string) => file.set(new TextEncoder().encode(value), at);
  text(0, "MZ");
  put(0x3c, 0x40);
  text(0x40, "PE");
  put(
    0x44,
    0x1014c,
    0,
    0,
    0,
    0x010300e0,
    0x10b,
    0x200,
    0,
    0,
    0x1000,
    0x1000,
    0x1000,
    0x400000,
    0x1000,
    0x200,
  );
  put(0x80, 4, 0, 4, 0, 0x2000, 0x200, 0, 3, 0x100000, 0x1000, 0x100000, 0x1000, 0, 16);
  put(0xc0, 0x1080, 40);
  text(0x138, ".text");
  put(0x140, 0x200, 0x1000, 0x200, 0x200, 0, 0, 0, 0xe0000020);
  // call [GetVersion]; ret
  file.set([0xff, 0x15, 0xc0, 0x10, 0x40, 0x00, 0xc3], 0x200);
  put(0x280, 0x10b0, 0, 0, 0x10d0, 0x10c0);
  put(0x2b0, 0x10e0);
  put(0x2c0, 0x10e0);
  text(0x2d0, "kernel32.dll");
  text(0x2e2, "GetVersion");
  return file;
}

/** Runs `inside` with the call of a guest's thread. */
function withCall(inside: (call: ApiCall) => void): void {
  const spy = (dll: DllDefinition): DllDefinition => ({
    ...dll,
    functions: dll.functions.map((one) =>
      one.name !== "GetVersion" ? one : {
        ...one,
        handler: (call) => {
          inside(call);
          call.exitProcess(0);
        },
      }
    ),
  });
  const xen = createXenModel({ frames: machineFramesFor(FRAMES) });
  const guest = new WindowsGuest(xen.createDomain({ guestFrames: FRAMES }), {
    dlls: dlls.map((dll) => dll.name === "kernel32.dll" ? spy(dll) : dll),
  });
  guest.addProcess({ name: "caller.exe", bytes: caller(), args: [] });
  const { end } = guest.run(1_000_000, () => false);
  assert.equal(`${end?.reason}: ${end?.detail}`, "exited: exit code 0");
}

/** What ends the guest would end the test. */
const ENDS = new Set(["exitProcess", "exitThread", "raise"]);

function tamed(call: ApiCall, stack: number): ApiCall {
  return new Proxy(call, {
    get: (target, key) => {
      if (ENDS.has(String(key))) return () => {};
      if (key === "stack") return stack;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
}

function execute(
  one: DllFunction,
  call: ApiCall,
  args: readonly number[],
  random: (below: number) => number,
): void {
  try {
    const result = one.handler(call, ...args);
    if (typeof result !== "object") return;
    let step = result.next();
    for (let i = 0; !step.done && i < MAX_YIELDS; i++) step = result.next(random(3));
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
  }
}

Deno.test("functions survive any arguments", () => {
  let tried = 0;
  withCall((call) => {
    let seed = 20101121;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor(seed / 2 ** 32 * below);
    };
    const buffer = call.heaps.allocate(call.heaps.processHeap, BUFFER, true);
    const values = [0, 1, 2, 8, 0xffffffff, 0xfffffffe, buffer, 0x400000, 0x7ffe0000, call.teb, 0x80000002];
    const value = () =>
      [
        () => values[random(values.length)],
        () => buffer + random(BUFFER - 64),
        () => random(0x10000),
        () => random(2 ** 32),
      ][random(4)]() >>> 0;
    const own = tamed(call, buffer + 0x100);
    const seen = new Set<unknown>();
    for (const dll of dlls) {
      for (const one of dll.functions) {
        if (one.code || one.name === "GetVersion" || seen.has(one.handler)) continue;
        seen.add(one.handler);
        for (let round = 0; round < ROUNDS; round++) {
          for (let i = 0; i < 64; i++) call.memory.setU32(buffer + 4 * random(0x3000), value());
          for (let i = 0; i < 128; i++) call.memory.setU8(buffer + random(0x2000), 0x20 + random(95));
          const args = Array.from({ length: Math.max(one.args, one.handler.length - 1) }, value);
          const label = `${dll.name}!${one.name}(${args.map((word) => word.toString(16)).join(", ")})`;
          const start = performance.now();
          try {
            execute(one, own, args, random);
          } catch (error) {
            throw new Error(`${label}: ${error}`, { cause: error });
          }
          assert.ok(performance.now() - start < MAX_TIME, `${label} takes long`);
          tried++;
        }
      }
    }
  });
  assert.ok(tried > 4000, `${tried} calls`);
});
