// SPDX-License-Identifier: Apache-2.0
/**
 * Generated loops of many instructions, run in one go: what single instructions do not show, such as flags
 * that one instruction leaves for another, blocks that follow each other, and budgets that end in between.
 *
 * @module
 */
import { type Instruction, Layout, makeInstruction, type Poke, type State, usesRegister } from "./cases.ts";
import type { Random } from "./random.ts";
import { Flag, rows, shiftNames, undefinedAfterShift, undefinedFlags } from "./rows.ts";

const { cf, zf, of } = Flag;
const ALL = 0x8d5;
const EBP = 5, ESP = 4, EDI = 7;

/** CMPXCHG8B is not among them: in Unicorn 2.0.1 it takes flags that the instruction before left pending. */
const FIT = new Set(
  ("add or adc sbb and sub xor cmp test inc dec not neg mul imul rol ror rcl rcr shl shr sal sar shld shrd bt bts " +
    "btr btc bsf bsr bswap mov movzx movsx xchg xadd cmpxchg lahf sahf cbw cwd daa das aaa aas aad salc clc " +
    "stc cmc nop").split(" "),
);
const POOL = rows.filter((row) =>
  (FIT.has(row.name) || /^(set|cmov)/.test(row.name)) && row.operands.every((o) => !/^[JOM]/.test(o)) &&
  !(row.name === "test" && row.extension === 1)
);
const READS_FLAGS = /^(adc|sbb|rcl|rcr|cmc|lahf|salc|set\w+|cmov\w+|daa|das|aaa|aas)$/;
const DEFINES_ALL = /^(add|adc|sub|sbb|cmp|neg|cmpxchg|xadd)$/;

/** Undefined flags behind an instruction, given those before it. */
function undefinedBehind(instruction: Instruction, before: number): number {
  const { name, bits, count } = instruction;
  if (DEFINES_ALL.test(name)) return 0;
  if (name === "inc" || name === "dec") return before & cf;
  if (name === "sahf") return before & of;
  if (/^(clc|stc|cmc)$/.test(name)) return before & ~cf;
  if (name === "shld" || name === "shrd" || (shiftNames.includes(name) && count < 0)) return ALL;
  if (shiftNames.includes(name)) {
    if (count === 0) return before;
    return undefinedAfterShift(name, count, bits) | (name.startsWith("r") ? before & ~(cf | of) : 0);
  }
  if (/^bt[src]?$/.test(name)) return undefinedFlags[name] | (before & zf);
  return name in undefinedFlags ? undefinedFlags[name] : before;
}

/** Turns the register operand of ModRM into an absolute memory operand. */
function intoMemory(instruction: Instruction, r: Random): number[] {
  const at = (instruction.bytes[0] === 0x66 ? 1 : 0) + instruction.row.opcode.length;
  const bytes = [...instruction.bytes];
  const address = Layout.data + 0x400 + r.below(0x1800);
  const displacement = [0, 8, 16, 24].map((shift) => (address >>> shift) & 0xff);
  bytes.splice(at, 1, bytes[at] & 0x38 | 5, ...displacement);
  return bytes;
}

function piece(r: Random): { bytes: readonly number[]; instruction: Instruction } {
  for (;;) {
    const instruction = makeInstruction(r.pick(POOL), r);
    const { name, memory, row } = instruction;
    const toMemory = row.operands.some((o) => o[0] === "E") &&
      !(/^bt[src]?$/.test(name) && row.extension < 0) &&
      r.oneIn(3);
    if (memory !== undefined) continue;
    if ([ESP, EBP, EDI].some((number) => usesRegister(instruction, number))) continue;
    if (/^sh[lr]d$/.test(name) && instruction.bits === 16) continue;
    return { bytes: toMemory ? intoMemory(instruction, r) : [...instruction.bytes], instruction };
  }
}

/** CMP ECX, EDX: defines all flags. */
const DEFINE = [0x39, 0xd1];

/** Makes a loop: EDI counts it down, ESP and EBP stay as they are. */
export function makeChain(r: Random): Instruction {
  const body: number[] = [...DEFINE];
  let undef = 0;
  for (let n = 2 + r.below(16); n > 0; n--) {
    const { bytes, instruction } = piece(r);
    const skip = r.oneIn(6);
    if ((skip || READS_FLAGS.test(instruction.name)) && undef !== 0) {
      body.push(...DEFINE);
      undef = 0;
    }
    const behind = undefinedBehind(instruction, undef);
    if (skip) body.push(0x70 | r.below(16), bytes.length);
    body.push(...bytes);
    undef = skip ? undef | behind : behind;
  }
  const code = [...body, 0x4f, 0x0f, 0x85]; // dec edi; jnz body
  const back = -(code.length + 4);
  code.push(back & 0xff, (back >> 8) & 0xff, 0xff, 0xff);
  return {
    name: "chain",
    bytes: new Uint8Array(code),
    address: Layout.code + 0x1000 + r.below(0x1c00),
    bits: 32,
    row: { name: "chain", opcode: [], operands: ["-"], extension: -1, lock: false },
    repeated: false,
    count: -1,
    register: -1,
    target: -1,
    undefinedAtEnd: undef & cf,
    slice: r.pick([1, 3, 17, 1_000_000, 1_000_000, 1_000_000]),
  };
}

/** Fills registers for a loop. */
export function prepareChain(chain: Instruction, r: Random, state: State, _poke: Poke): void {
  for (let i = 0; i < 8; i++) state[i] = r.value();
  state[ESP] = state[EBP] = Layout.data + 0x200;
  state[EDI] = r.oneIn(32) && chain.slice! > 1000 ? 1 + r.below(20_000) : 1 + r.below(20);
  state[8] = chain.address;
  state[9] = (r.word() & ALL) | 2;
}
