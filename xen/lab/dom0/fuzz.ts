// SPDX-License-Identifier: Apache-2.0
/**
 * The monitor's hypercall from dom0 with random operations, domains, sizes and pointers, while a guest is watched:
 * Xen must stand, answer each call with a number of its own, and watch on.
 *
 * @module
 */
import { ABI_VERSION, COMMANDS, decode, encode, ERRORS, RULE_KINDS, type Values } from "../../abi.ts";
import { Bridge } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { type Check, must } from "./checks.ts";
import { exercise } from "./exerciser.ts";
import { Guest, xl } from "./guest.ts";

const GUESTS = 10, CALLS = 10_000;
/** The buffer, and how much of it may be named: the longest answer behind that is still inside. */
const BUFFER = 8 << 20, NAMED = 3 << 20;
const LOWEST = -134;
/** Where the exerciser's program lies. */
const PROGRAM = 0x400000;

/** Numbers from a seed (xorshift). */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 1;
  }
  word(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (this.#state = x) >>> 0;
  }
  below(limit: number): number {
    return this.word() % limit;
  }
  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

/** Start of the kernel's code in dom0, which is mapped and cannot be written. */
function kernelText(): bigint {
  const line = /^([0-9a-f]{16}) [Tt] _?stext$/m.exec(Deno.readTextFileSync("/proc/kallsyms"));
  must(line !== null, "/proc/kallsyms names no start of the kernel");
  return BigInt(`0x${line[1]}`);
}

/** A field's value: mostly near what counts. */
function value(random: Random): bigint {
  const near = [
    0n,
    1n,
    2n,
    8n,
    16n,
    511n,
    512n,
    513n,
    1024n,
    4096n,
    65536n,
    0x7fffffffn,
    0x80000000n,
    0xffffffffn,
  ];
  return random.below(4)
    ? random.one(near) + BigInt(random.below(3))
    : BigInt(random.word()) << BigInt(random.below(33));
}

/** Hands on what a watch left, so that the next one can begin. */
function collect(bridge: Bridge, domain: number): void {
  for (let events = bridge.fetch(domain, 512); events.length; events = bridge.fetch(domain, 512)) {
    bridge.acknowledge(domain, events.at(-1)!.sequence);
  }
}

/** Random calls about one domain; counts the answers. */
function fuzz(
  { transport, bridge, random, answers }: {
    readonly transport: PrivcmdTransport;
    readonly bridge: Bridge;
    readonly random: Random;
    readonly answers: Map<string, number>;
  },
  domain: number,
): void {
  const buffer = transport.allocate(BUFFER);
  const argument = { bytes: buffer.bytes.subarray(0, 4096), address: buffer.address };
  const pointers = [
    buffer.address,
    buffer.address + 1n,
    buffer.address + BigInt(NAMED),
    0n,
    1n,
    0x1000n,
    0x7fff_ffff_f000n,
    0x7fff_ffff_ffffn,
    0x8000_0000_0000n, // not canonical
    0xdead_beef_dead_beefn,
    0xffff_8000_0000_0000n, // Xen's own, from here on: the page tables of PV guests,
    0xffff_8300_0000_0000n, // its map of memory,
    0xffff_82d0_4020_0000n, // its code
    0xffff_82e0_0000_0000n,
    0xffff_ffff_ffff_f000n,
    0xffff_ffff_ffff_ffffn,
    kernelText(),
  ];
  const names = Object.keys(COMMANDS) as (keyof typeof COMMANDS)[];
  /** Processes that the monitor was seen to know, the last ones. */
  const keys: number[] = [];
  const key = () =>
    random.below(4) && keys.length ? random.one(keys) : random.below(2) ? random.below(64) : random.word();
  for (let i = 0; i < CALLS; i++) {
    let name = random.one(names);
    // Most of what there is to ask needs a watch that goes on.
    if (name === "unwatch" && random.below(8)) name = "watch";
    const strange = random.below(16) === 0;
    const command = strange ? random.word() : COMMANDS[name];
    argument.bytes.fill(0);
    if (random.below(8) === 0) {
      for (let at = 0; at < 1024; at++) argument.bytes[at] = random.word();
    } else {
      const values: Record<string, Values[string]> = name === "info" ? {} : {
        abi: random.below(20) ? ABI_VERSION : random.word(),
        domain: random.below(6) ? domain : random.one([0, 1, GONE, 0x7ff0, 0x7ff4, 0xffffffff]),
      };
      const word = () => Number(value(random) & 0xffff_ffffn);
      const pointer = () =>
        random.below(3) ? buffer.address + BigInt(random.below(NAMED)) : random.one(pointers);
      if (name === "watch") {
        Object.assign(values, {
          policy: random.below(3),
          ring_events: random.below(4) ? random.below(64) : word(),
          ring_pages: random.below(4) ? random.below(64) : word(),
          frame_cap: word(),
          spill_cap: word(),
          coalesce_after: word(),
          layer_cap: word(),
          virq_events: word(),
          coalesce_window: value(random),
          rules: random.below(2) ? 1 : random.below(12),
          rule: [{
            kind: random.below(2) ? RULE_KINDS.indexOf("all") : random.below(6),
            pid: word(),
            pattern: random.one(["", "exe", "*", "[", "a".repeat(62)]),
          }],
        });
      } else if (name === "fetch") {
        Object.assign(values, {
          buffer: pointer(),
          after: random.below(2) ? 0xffff_ffff_ffff_ffffn : value(random),
          capacity: random.below(3) ? random.below(1100) : word(),
        });
      } else if (name === "copy") {
        Object.assign(values, {
          snapshots: pointer(),
          buffer: pointer(),
          count: random.below(3) ? random.below(520) : word(),
        });
      } else if (name === "acknowledge") values.sequence = value(random);
      else if (name === "process") values.key = key();
      else if (name === "read") {
        Object.assign(values, {
          key: key(),
          address: random.below(2) ? PROGRAM + random.below(9000) : word(),
          buffer: pointer(),
          length: random.below(2) ? random.below(9000) : word(),
        });
      }
      encode(name, values, argument.bytes);
    }
    const at = random.below(8) ? argument.address : random.one(pointers);
    const result = transport.call(command, at);
    must(
      result >= LOWEST && result <= 512 * 4096,
      `call ${i} about domain ${domain} (${name}) gave ${result}`,
    );
    if (name === "process" && result === 0 && !strange && at === argument.address) {
      keys.push(Number(decode("process", argument.bytes).key));
      if (keys.length > 4) keys.shift();
    }
    if (name === "watch" && result === -ERRORS.EBUSY) collect(bridge, domain);
    const answer = strange ? `other ${result}` : `${name} ${result < 0 ? result : "good"}`;
    answers.set(answer, (answers.get(answer) ?? 0) + 1);
  }
  buffer.release();
}

const GONE = 4000;

async function run(): Promise<string> {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  console.log(`hypercall fuzz: seed ${seed}`);
  const transport = new PrivcmdTransport(), bridge = new Bridge(new PrivcmdTransport());
  const random = new Random(seed), answers = new Map<string, number>();
  try {
    for (let i = 0; i < GUESTS; i++) {
      // Each is at work while it is asked about.
      await using guest = await Guest.create("exerciser");
      await guest.unpause();
      fuzz({ transport, bridge, random, answers }, guest.id);
    }
    await Deno.writeTextFile(
      "/result/fuzz.json",
      JSON.stringify({ seed, answers: Object.fromEntries(answers) }, null, 2),
    );
    const good = [...answers].filter(([key]) => key.endsWith(" good"));
    for (const name of Object.keys(COMMANDS)) {
      must(good.some(([key]) => key === `${name} good`), `no ${name} was ever accepted (seed ${seed})`);
    }
    await xl("info");
    // It watches on, and right.
    const after = await exercise(bridge, "/tmp/after-fuzz");
    const accepted = good.reduce((sum, [, count]) => sum + count, 0);
    return `seed ${seed}, ${
      GUESTS * CALLS
    } calls, ${accepted} accepted; Xen stands, and captured ${after.truths} pages after`;
  } finally {
    bridge.close();
    transport.close();
  }
}

/** Xen stands. */
export const fuzzChecks: readonly Check[] = [{ name: "hypercall fuzz", limit: 600, run }];
